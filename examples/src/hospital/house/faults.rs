//! What goes wrong in a day, on purpose.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::supervisor::Supervisor;
use crate::hospital::system::System;

/// How often each system is killed in a day.
const TURNS: usize = 2;

/// For how long a system is away without which the day does not go on, at least and at most.
const AWAY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// Kills each system (SIGKILL) in turn, spread over a day of so many events.
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
        println!("the {system} is killed; {put} of {events} events are put");
        supervisor.kill(system).await;
    }
}

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
    println!("the {system} is down; {put} of {events} events are put");
    supervisor.take_down(system).await;
    let put = match system {
        // Without it nothing is put: it is away for as long as the first third took.
        System::Emr => {
            sleep(begun.elapsed().clamp(AWAY.0, AWAY.1)).await;
            put
        }
        _ => reached(&mut progress, events * 2 / 3).await.unwrap_or(put),
    };
    println!("the {system} comes back; {put} of {events} events are put");
    supervisor.bring_back(system).await;
}

/// Waits until so many events are put, and says how many are; `None` when the day has ended before.
async fn reached(progress: &mut watch::Receiver<usize>, events: usize) -> Option<usize> {
    let put = progress.wait_for(|put| *put >= events).await.ok()?;
    Some(*put)
}

/// Says now and then how many events are put, until all are.
pub(super) async fn say(events: usize, mut progress: watch::Receiver<usize>, every: Duration) {
    let mut said = 0;
    loop {
        let all = async {
            // Fails when the day has ended before.
            let _ = progress.wait_for(|put| *put >= events).await;
        };
        if timeout(every, all).await.is_ok() {
            return;
        }
        let put = *progress.borrow();
        if put != said {
            println!("{put} of {events} events are put");
            said = put;
        }
    }
}
