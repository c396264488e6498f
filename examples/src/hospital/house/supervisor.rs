//! Who looks after the systems: each is started, started again when it dies, and ended in the end.

use std::time::Duration;

use atomfeed_client::CancellationToken;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::process::{Process, Start, complain};
use crate::hospital::system::System;

/// How soon one that has died is started again.
const STARTS_AGAIN: Duration = Duration::from_secs(1);

/// All systems, each a process.
#[derive(Debug)]
pub(super) struct Supervisor(Vec<Supervised>);

/// A system, and the task that looks after its process.
#[derive(Debug)]
struct Supervised {
    system: System,
    orders: mpsc::Sender<Order>,
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

/// What is to be done with a process.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// It is killed on the spot, and started again unless it is down.
    Kill,
    /// It is killed on the spot, and is down.
    TakeDown,
    /// It is down no longer.
    BringBack,
    /// It ends by itself, and so does the task.
    End,
}

/// How it is with a system.
#[derive(Debug, Clone, Copy)]
struct State {
    /// Whether it is to be there.
    is_wanted: bool,
    /// The process that listens.
    pid: Option<u32>,
}

impl Supervisor {
    /// Starts systems, one after the other, and waits until each listens. `None` when they are to end before all
    /// have started; those that have are ended then, as they are when one cannot be started.
    pub(super) async fn start(
        starts: Vec<Start>,
        end: &CancellationToken,
    ) -> anyhow::Result<Option<Self>> {
        let mut all = Self(Vec::new());
        for start in starts {
            let started = end.run_until_cancelled(start.now()).await;
            let failed = match started {
                Some(Ok(process)) => {
                    all.0.push(Supervised::over(start, process));
                    continue;
                }
                Some(Err(error)) => Err(error),
                None => Ok(None),
            };
            all.end().await;
            return failed;
        }
        Ok(Some(all))
    }

    /// Kills a system (SIGKILL), and waits until it listens again, or is down; but only so long. Says whether it
    /// was worth the wait.
    pub(super) async fn kill(&self, system: System, patience: Duration) -> bool {
        let Some(supervised) = self.of(system) else {
            return true;
        };
        let mut state = supervised.state.clone();
        let before = state.borrow().pid;
        supervised.order(Order::Kill).await;
        let is_over = |now: &State| !now.is_wanted || (now.pid.is_some() && now.pid != before);
        // Ends as well when the task has ended: then nobody waits.
        timeout(patience, state.wait_for(is_over)).await.is_ok()
    }

    /// Kills a system, which stays away.
    pub(super) async fn take_down(&self, system: System) {
        if let Some(supervised) = self.of(system) {
            supervised.order(Order::TakeDown).await;
        }
    }

    /// Starts a system again that was taken down.
    pub(super) async fn bring_back(&self, system: System) {
        if let Some(supervised) = self.of(system) {
            supervised.order(Order::BringBack).await;
        }
    }

    /// Whether a system was taken down, and not brought back.
    pub(super) fn is_down(&self, system: System) -> bool {
        let supervised = self.of(system);
        supervised.is_some_and(|supervised| !supervised.state.borrow().is_wanted)
    }

    /// The processes that there are.
    pub(super) fn pids(&self) -> Vec<(System, u32)> {
        let pids = self.0.iter().map(|supervised| {
            let pid = supervised.state.borrow().pid;
            Some((supervised.system, pid?))
        });
        pids.flatten().collect()
    }

    /// Ends all systems, and waits until they have.
    pub(super) async fn end(self) {
        for supervised in &self.0 {
            supervised.order(Order::End).await;
        }
        for supervised in self.0 {
            // Fails when it has panicked, which has been said.
            let _ = supervised.task.await;
        }
    }

    fn of(&self, system: System) -> Option<&Supervised> {
        self.0.iter().find(|supervised| supervised.system == system)
    }
}

impl Supervised {
    /// Looks after a process that was started so.
    fn over(start: Start, process: Process) -> Self {
        let system = start.system;
        let (orders, receiver) = mpsc::channel(4);
        let (shows, state) = watch::channel(State {
            is_wanted: true,
            pid: process.id(),
        });
        Self {
            system,
            orders,
            state,
            task: tokio::spawn(look_after(start, process, receiver, shows)),
        }
    }

    async fn order(&self, order: Order) {
        // Fails when the task has ended: then there is no process either.
        let _ = self.orders.send(order).await;
    }
}

/// What there is to be done next.
enum Next {
    Order(Option<Order>),
    Died(String),
    Started(anyhow::Result<Box<Process>>),
}

/// Keeps a system running, or not, as it is told.
async fn look_after(
    start: Start,
    process: Process,
    mut orders: mpsc::Receiver<Order>,
    shows: watch::Sender<State>,
) {
    let system = start.system;
    let mut process = Some(process);
    let mut is_wanted = true;
    let mut not_before = Instant::now();
    loop {
        let next = match &mut process {
            Some(process) => tokio::select! {
                order = orders.recv() => Next::Order(order),
                status = process.ended() => Next::Died(status),
            },
            None if is_wanted => tokio::select! {
                order = orders.recv() => Next::Order(order),
                started = start.not_before(not_before) => Next::Started(started.map(Box::new)),
            },
            None => Next::Order(orders.recv().await),
        };
        match next {
            Next::Started(Ok(started)) => process = Some(*started),
            Next::Started(Err(error)) => {
                complain(&format!("hospital: {error:#}; it is tried again"));
                not_before = Instant::now() + STARTS_AGAIN;
            }
            Next::Died(status) => {
                complain(&format!(
                    "hospital: the {system} has died ({status}), and is started again"
                ));
                process = None;
                not_before = Instant::now() + STARTS_AGAIN;
            }
            Next::Order(Some(order @ (Order::Kill | Order::TakeDown))) => {
                if let Some(process) = process.take() {
                    process.kill().await;
                }
                if matches!(order, Order::TakeDown) {
                    is_wanted = false;
                }
            }
            Next::Order(Some(Order::BringBack)) => is_wanted = true,
            Next::Order(Some(Order::End) | None) => {
                if let Some(process) = process.take() {
                    process.end(system).await;
                }
                return;
            }
        }
        let pid = process.as_ref().and_then(Process::id);
        shows.send_replace(State { is_wanted, pid });
    }
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;

    /// How long anything may take before the test fails: less than a system may take to start.
    const PATIENCE: Duration = Duration::from_secs(40);

    /// A system that is a script of the shell, to which `$0` is a file.
    fn start(system: System, script: &str, file: &Path) -> Start {
        Start {
            system,
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into(), file.into()],
            environment: Vec::new(),
        }
    }

    async fn started(start: Start) -> Supervisor {
        let started = Supervisor::start(vec![start], &CancellationToken::new()).await;
        started.unwrap().unwrap()
    }

    const LISTENS: &str = "echo listening on nothing; exec cat";

    #[tokio::test]
    async fn what_is_down_stays_down_when_it_is_killed() {
        let supervisor = started(start(System::Erp, LISTENS, Path::new(""))).await;
        let supervised = supervisor.of(System::Erp).unwrap();
        let mut state = supervised.state.clone();
        assert!(!supervisor.is_down(System::Erp));
        supervisor.take_down(System::Erp).await;
        let is_down = state.wait_for(|now| !now.is_wanted);
        drop(timeout(PATIENCE, is_down).await.unwrap().unwrap());
        assert!(supervisor.is_down(System::Erp));

        supervised.order(Order::Kill).await;
        timeout(PATIENCE, state.changed()).await.unwrap().unwrap();
        assert!(supervisor.is_down(System::Erp));
        // Nor does anybody wait for it.
        assert!(supervisor.kill(System::Erp, PATIENCE).await);

        supervisor.bring_back(System::Erp).await;
        let is_back = state.wait_for(|now| now.pid.is_some());
        drop(timeout(PATIENCE, is_back).await.unwrap().unwrap());
        supervisor.end().await;
    }

    #[tokio::test]
    async fn a_system_that_is_killed_comes_back_as_another_process() {
        let supervisor = started(start(System::Lab, LISTENS, Path::new(""))).await;
        let before = supervisor.pids();
        assert!(supervisor.kill(System::Lab, PATIENCE).await);
        let after = supervisor.pids();
        assert_eq!((before.len(), after.len()), (1, 1));
        assert_ne!(before, after);
        supervisor.end().await;
    }

    #[tokio::test]
    async fn who_cannot_be_started_again_is_not_waited_for_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let only_once = "if [ -e \"$0\" ]; then exit 1; fi; touch \"$0\"; \
                         echo listening on nothing; exec cat";
        let file = folder.path().join("started");
        let supervisor = started(start(System::Lab, only_once, &file)).await;
        let kill = supervisor.kill(System::Lab, Duration::from_millis(10));
        assert!(!timeout(PATIENCE, kill).await.unwrap());
        timeout(PATIENCE, supervisor.end()).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_being_started_can_be_ended() {
        let folder = tempfile::tempdir().unwrap();
        let only_once = "if [ -e \"$0\" ]; then exec cat; fi; touch \"$0\"; \
                         echo listening on nothing; exec cat";
        let file = folder.path().join("started");
        let supervisor = started(start(System::Lab, only_once, &file)).await;
        let supervised = supervisor.of(System::Lab).unwrap();
        supervised.order(Order::Kill).await;
        let mut state = supervised.state.clone();
        let is_dead = state.wait_for(|now| now.pid.is_none());
        drop(timeout(PATIENCE, is_dead).await.unwrap().unwrap());
        timeout(PATIENCE, supervisor.end()).await.unwrap();
    }

    #[tokio::test]
    async fn who_has_started_is_ended_when_the_next_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let [ended, begun] = ["ended", "begun"].map(|name| folder.path().join(name));
        let first = "echo listening on nothing; cat; touch \"$0\"";
        let never = "touch \"$0\"; exec cat";
        let starts = vec![
            start(System::Emr, first, &ended),
            start(System::Lab, never, &begun),
        ];
        let end = CancellationToken::new();
        let ending = async {
            while !begun.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            end.cancel();
        };
        let both = async { tokio::join!(Supervisor::start(starts, &end), ending) };
        let (started, ()) = timeout(PATIENCE, both).await.unwrap();
        assert!(started.unwrap().is_none());
        assert!(ended.exists());
    }
}
