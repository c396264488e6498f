//! A system as a process: started, listened to, and ended.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep_until, timeout};

use crate::hospital::system::System;

/// How long a system may take until it listens.
pub(super) const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// How long a system may take to end before it is killed.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// How a system is started.
pub(super) struct Start {
    pub(super) system: System,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    /// Variables of the environment that are to be so, or not there.
    pub(super) environment: Vec<(&'static str, Option<OsString>)>,
}

/// A process. It ends when its standard input does, and so with this one, whatever becomes of it.
pub(super) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Start {
    /// Starts it, and waits until it listens. Where nobody waits for that to the end, it is killed.
    pub(super) async fn now(&self) -> anyhow::Result<Process> {
        let system = self.system;
        let mut child = self
            .command()
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

    pub(super) async fn not_before(&self, moment: Instant) -> anyhow::Result<Process> {
        sleep_until(moment).await;
        self.now().await
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        // Ctrl-C is for the parent alone, which then ends all in order.
        #[cfg(unix)]
        command.process_group(0);
        command
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
        let said = String::from_utf8_lossy(&line);
        complain(&format!("{system}: {}", said.trim_end()));
        line.clear();
    }
}

/// Writes a line to standard error; where nobody reads that, it is lost.
pub(super) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

impl Process {
    /// Its number, as long as it has not ended.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it has ended by itself, and says how.
    pub(super) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Kills it on the spot, and waits until it has ended.
    pub(super) async fn kill(mut self) {
        // Fails when it has ended by itself, and that is fine.
        let _ = self.child.kill().await;
    }

    /// Has it end by itself, and waits for that.
    pub(super) async fn end(mut self, system: System) {
        self.stdin = None;
        if timeout(ENDS_WITHIN, self.child.wait()).await.is_err() {
            complain(&format!(
                "hospital: the {system} does not end, and is killed"
            ));
            self.kill().await;
        }
    }
}
