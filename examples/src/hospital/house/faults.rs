//! What goes wrong in a day, on purpose.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::databases::{Databases, number};
use super::process::STARTS_WITHIN;
use super::supervisor::Supervisor;
use crate::hospital::system::System;

/// How often each system is killed in a day.
const TURNS: usize = 2;

/// For how long a system is away without which the day does not go on, at least and at most.
const AWAY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// Kills each system (SIGKILL) in turn, spread over a day of so many events; not one that is down anyway.
pub(super) async fn kill_in_turn(
    supervisor: &Supervisor,
    events: usize,
    mut progress: watch::Receiver<usize>,
) {
    let kills = TURNS * System::ALL.len();
    for kill in 0..kills {
        let system = System::ALL[kill % System::ALL.len()];
        let Some(put) = reached(&mut progress, events * (kill + 1) / (kills + 1)).await else {
            return;
        };
        if supervisor.is_down(system) {
            say!("the {system} is down, and is not killed; {put} of {events} events are put");
            continue;
        }
        say!("the {system} is killed; {put} of {events} events are put");
        // A little longer, so that it is said before why it does not start.
        if !supervisor.kill(system, STARTS_WITHIN + SAID_WITHIN).await {
            say!(
                "the {system} does not listen again after {STARTS_WITHIN:?}, and is waited for no longer: see above, \
                 or on standard error, why it does not start"
            );
        }
    }
}

/// How long it may take until it is said that a system does not start.
const SAID_WITHIN: Duration = Duration::from_secs(5);

/// Takes a system down for the middle third of a day of so many events.
pub(super) async fn take_down(
    supervisor: &Supervisor,
    system: System,
    events: usize,
    mut progress: watch::Receiver<usize>,
) {
    let begun = Instant::now();
    let Some(put) = reached(&mut progress, events / 3).await else {
        return;
    };
    say!("the {system} is down; {put} of {events} events are put");
    supervisor.take_down(system).await;
    let put = match system {
        // Without it nothing is put: it is away for as long as the first third took.
        System::Emr => {
            sleep(begun.elapsed().clamp(AWAY.0, AWAY.1)).await;
            put
        }
        _ => reached(&mut progress, events * 2 / 3).await.unwrap_or(put),
    };
    say!("the {system} comes back; {put} of {events} events are put");
    supervisor.bring_back(system).await;
}

/// Waits until so many events are put, and says how many are; `None` when the day has ended before.
async fn reached(progress: &mut watch::Receiver<usize>, events: usize) -> Option<usize> {
    let put = progress.wait_for(|put| *put >= events).await.ok()?;
    Some(*put)
}

/// Says now and then how many events are put, until all are, and how many are parked.
pub(super) async fn say(
    events: usize,
    mut progress: watch::Receiver<usize>,
    every: Duration,
    databases: &Databases,
) {
    let mut said = (0, String::new());
    loop {
        let all = async {
            // Fails when the day has ended before.
            let _ = progress.wait_for(|put| *put >= events).await;
        };
        if timeout(every, all).await.is_ok() {
            return;
        }
        let put = *progress.borrow();
        if put != said.0 {
            say!("{put} of {events} events are put");
            said.0 = put;
        }
        // Fails when a database is busy: then it is said the next time.
        if let Ok(parked) = parked(databases).await
            && parked != said.1
        {
            match parked.is_empty() {
                true => say!("nothing is parked any more"),
                false => say!("{parked}"),
            }
            said.1 = parked;
        }
    }
}

/// How many events each system has parked: `lab: 1 parked, ERP: 12 parked`.
async fn parked(databases: &Databases) -> anyhow::Result<String> {
    let mut parked = Vec::new();
    for system in System::ALL {
        let count = "SELECT COUNT(*) FROM failed_events";
        let count = number(databases.of_consumer(system), count).await?;
        if count > 0 {
            parked.push(format!("{system}: {count} parked"));
        }
    }
    Ok(parked.join(", "))
}
