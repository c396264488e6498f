//! Systems as processes: each is started, listened to, started again when it dies, and ended in the end.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::hospital::system::System;

/// How long a system may take until it listens.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// How long a system may take to end before it is killed.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// How soon one that has died is started again.
const STARTS_AGAIN: Duration = Duration::from_secs(1);

/// All systems, each a process of this executable.
#[derive(Debug)]
pub(super) struct Supervisor(Vec<Supervised>);

/// A system, and the task that looks after its process.
#[derive(Debug)]
struct Supervised {
    system: System,
    orders: mpsc::Sender<Order>,
    pid: watch::Receiver<Option<u32>>,
    task: JoinHandle<()>,
}

/// What is to be done with a process.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// It is killed on the spot, and started again.
    Kill,
    /// It is killed on the spot.
    TakeDown,
    /// It is started again.
    BringBack,
    /// It ends by itself, and so does the task.
    End,
}

impl Supervisor {
    /// Starts all systems with these arguments, one after the other, and waits until each listens.
    pub(super) async fn start(
        arguments: impl Fn(System) -> anyhow::Result<Vec<OsString>> + Send,
    ) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for system in System::ALL {
            let start = Start {
                system,
                arguments: arguments(system)?,
            };
            let process = start.now().await?;
            let (orders, receiver) = mpsc::channel(4);
            let (shows, pid) = watch::channel(process.child.id());
            let task = tokio::spawn(look_after(start, process, receiver, shows));
            all.push(Supervised {
                system,
                orders,
                pid,
                task,
            });
        }
        Ok(Self(all))
    }

    /// Kills a system (SIGKILL), and waits until it listens again.
    pub(super) async fn kill(&self, system: System) {
        let Some(supervised) = self.of(system) else {
            return;
        };
        let before = *supervised.pid.borrow();
        supervised.order(Order::Kill).await;
        let is_another = |now: &Option<u32>| now.is_some() && *now != before;
        // Fails when the task has ended: then nobody waits.
        let _ = supervised.pid.clone().wait_for(is_another).await;
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

    /// The processes that there are.
    pub(super) fn pids(&self) -> Vec<(System, u32)> {
        let pids = self.0.iter().map(|supervised| {
            let pid = *supervised.pid.borrow();
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
    async fn order(&self, order: Order) {
        // Fails when the task has ended: then there is no process either.
        let _ = self.orders.send(order).await;
    }
}

/// How a system is started.
#[derive(Debug)]
struct Start {
    system: System,
    arguments: Vec<OsString>,
}

/// A process. It ends when its standard input does, and so with this one, whatever becomes of it.
#[derive(Debug)]
struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Start {
    /// Starts it, and waits until it listens.
    async fn now(&self) -> anyhow::Result<Process> {
        let system = self.system;
        let executable = std::env::current_exe().context("looking for this program itself")?;
        let mut command = Command::new(executable);
        command
            .args(["--as", system.option()])
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // Ctrl-C is for the parent alone, which then ends all in order.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command
            .spawn()
            .with_context(|| format!("starting the {system}"))?;
        let stdin = child.stdin.take();
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(pass_on(system, BufReader::new(stderr)));
        }
        let stdout = child.stdout.take().context("its output is not there")?;
        let mut lines = BufReader::new(stdout);
        let mut line = String::new();
        match timeout(STARTS_WITHIN, lines.read_line(&mut line)).await {
            Err(_) => bail!("the {system} does not listen after {STARTS_WITHIN:?}"),
            Ok(read) => read.with_context(|| format!("listening to the {system}"))?,
        };
        if !line.starts_with("listening on ") {
            let status = child.wait().await?;
            ensure!(
                !line.is_empty(),
                "the {system} has ended ({status}) instead of listening: see above what it said"
            );
            bail!("the {system} said {line:?} instead of where it listens, and ended ({status})");
        }
        tokio::spawn(pass_on(system, lines));
        Ok(Process { child, stdin })
    }
}

/// Writes what a system says to standard error, with its name in front.
async fn pass_on(system: System, mut output: impl AsyncBufRead + Unpin + Send) {
    let mut line = Vec::new();
    while output
        .read_until(b'\n', &mut line)
        .await
        .is_ok_and(|read| read > 0)
    {
        eprintln!("{system}: {}", String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
}

impl Process {
    async fn kill(mut self) {
        // Fails when it has ended by itself, and that is fine.
        let _ = self.child.kill().await;
    }

    async fn end(mut self, system: System) {
        self.stdin = None;
        if timeout(ENDS_WITHIN, self.child.wait()).await.is_err() {
            eprintln!("hospital: the {system} does not end, and is killed");
            self.kill().await;
        }
    }
}

/// What there is to be done next.
enum Next {
    Order(Option<Order>),
    Died(String),
    Start,
}

/// Keeps a system running, or not, as it is told.
async fn look_after(
    start: Start,
    process: Process,
    mut orders: mpsc::Receiver<Order>,
    pid: watch::Sender<Option<u32>>,
) {
    let system = start.system;
    let mut process = Some(process);
    let mut is_wanted = true;
    loop {
        let next = match &mut process {
            Some(process) => tokio::select! {
                order = orders.recv() => Next::Order(order),
                status = process.child.wait() => Next::Died(match status {
                    Ok(status) => status.to_string(),
                    Err(error) => error.to_string(),
                }),
            },
            None if is_wanted => Next::Start,
            None => Next::Order(orders.recv().await),
        };
        match next {
            Next::Start => match start.now().await {
                Ok(started) => process = Some(started),
                Err(error) => {
                    eprintln!("hospital: {error:#}; it is tried again");
                    sleep(STARTS_AGAIN).await;
                }
            },
            Next::Died(status) => {
                eprintln!("hospital: the {system} has died ({status}), and is started again");
                process = None;
                sleep(STARTS_AGAIN).await;
            }
            Next::Order(Some(order @ (Order::Kill | Order::TakeDown))) => {
                if let Some(process) = process.take() {
                    process.kill().await;
                }
                is_wanted = matches!(order, Order::Kill);
            }
            Next::Order(Some(Order::BringBack)) => is_wanted = true,
            Next::Order(Some(Order::End) | None) => {
                if let Some(process) = process.take() {
                    process.end(system).await;
                }
                return;
            }
        }
        pid.send_replace(process.as_ref().and_then(|process| process.child.id()));
    }
}
