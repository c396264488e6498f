//! The programs as processes: built, started, watched, and ended whatever becomes of the test.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// How long anything may take before the test fails. It says nothing about how long it should take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// A program that was started; it is killed when this is dropped.
pub(crate) struct Program {
    name: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
}

impl Program {
    /// Starts an example program. Its standard input stays open until it is closed.
    pub(crate) fn start(name: &'static str, arguments: &[&str]) -> Self {
        let mut program = Self::spawn(name, arguments);
        program.stdout = Output::of(program.child.stdout.take().unwrap());
        program
    }

    /// Starts an example program that is asked to end (SIGTERM) the moment it has written a line,
    /// and waits until it has ended. The line goes to whoever asks.
    pub(crate) fn terminated_at_its_first_line(name: &'static str, arguments: &[&str]) -> Finished {
        let mut program = Self::spawn(name, arguments);
        program.stdout.add(|said| said.ended = true);
        let pid = program.child.id().to_string();
        let mut asking = Command::new("sh")
            .args(["-c", "read -r line && kill -TERM \"$0\"", &pid])
            .stdin(program.child.stdout.take().unwrap())
            .spawn()
            .unwrap();
        let finished = program.finish();
        assert!(
            asking.wait().unwrap().success(),
            "{name} wrote no line: {finished:#?}"
        );
        finished
    }

    /// Starts an example program that may open so many files.
    pub(crate) fn with_files(files: u32, name: &'static str, arguments: &[&str]) -> Self {
        let limited = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        Self::by_shell(&limited, name, arguments)
    }

    /// Starts an example program as a script of the shell does, to which it is `"$0" "$@"`.
    pub(crate) fn by_shell(script: &str, name: &'static str, arguments: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(executable(name));
        let mut program = Self::spawned(name, command.args(arguments));
        program.stdout = Output::of(program.child.stdout.take().unwrap());
        program
    }

    fn spawn(name: &'static str, arguments: &[&str]) -> Self {
        Self::spawned(name, Command::new(executable(name)).args(arguments))
    }

    fn spawned(name: &'static str, command: &mut Command) -> Self {
        let mut child = command
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("starting {name}: {error}"));
        Self {
            name,
            stdin: child.stdin.take(),
            stdout: Output::default(),
            stderr: Output::of(child.stderr.take().unwrap()),
            child,
        }
    }

    pub(crate) fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Asks it to end (SIGTERM).
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal: `INT`, as Ctrl-C does, or `HUP`, as a terminal that is closed.
    pub(crate) fn signal(&self, signal: &str) {
        // Not waited for yet, so that the id is this child's even if it has ended.
        let pid = self.child.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$1\" \"$0\"", &pid, signal])
            .status();
        assert!(
            sent.unwrap().success(),
            "SIG{signal} was not sent to {}",
            self.name
        );
    }

    /// Ends it on the spot (SIGKILL).
    pub(crate) fn kill(mut self) -> Finished {
        self.child.kill().unwrap();
        self.finish()
    }

    /// Waits until it ends by itself.
    pub(crate) fn finish(mut self) -> Finished {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{} did not end; it said {:?} and {:?}",
                self.name,
                self.stdout.lines(),
                self.stderr.lines()
            );
            thread::sleep(Duration::from_millis(5));
        };
        Finished {
            status,
            stdout: self.stdout.whole(),
            stderr: self.stderr.whole(),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails when it has ended already, and that is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("{} said: {:#?}", self.name, self.stderr.lines());
        }
    }
}

impl Finished {
    #[track_caller]
    pub(crate) fn assert_status(&self, expected: i32) {
        assert_eq!(self.status.code(), Some(expected), "{self:#?}");
    }

    /// That it refused to do anything, and said so with these words.
    #[track_caller]
    pub(crate) fn assert_refused(&self, words: &[&str]) {
        assert!(!self.status.success(), "{self:#?}");
        assert_eq!(self.stdout, [""; 0], "{self:#?}");
        let said = self.stderr.join("\n");
        for word in words {
            assert!(said.contains(word), "{word:?} is not said: {self:#?}");
        }
    }
}

/// The lines that a program has written so far.
#[derive(Clone, Default)]
pub(crate) struct Output(Arc<(Mutex<Said>, Condvar)>);

#[derive(Default)]
struct Said {
    lines: Vec<String>,
    ended: bool,
}

impl Output {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let output = Self::default();
        let said = output.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                said.add(|said| said.lines.push(line));
            }
            said.add(|said| said.ended = true);
        });
        output
    }

    fn add(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.0.lock().unwrap().lines.clone()
    }

    /// Waits until there is, among the lines, what is looked for.
    #[track_caller]
    pub(crate) fn wait_for<T>(&self, what: &str, find: impl Fn(&[String]) -> Option<T>) -> T {
        let begun = Instant::now();
        let mut said = self.0.0.lock().unwrap();
        loop {
            if let Some(found) = find(&said.lines) {
                return found;
            }
            assert!(
                !said.ended,
                "it ended before it said {what}: {:#?}",
                said.lines
            );
            let left = PATIENCE.saturating_sub(begun.elapsed());
            assert!(!left.is_zero(), "it never said {what}: {:#?}", said.lines);
            said = self.0.1.wait_timeout(said, left).unwrap().0;
        }
    }

    /// Everything, once there is no more to come.
    fn whole(&self) -> Vec<String> {
        let (said, left) = self
            .0
            .1
            .wait_timeout_while(self.0.0.lock().unwrap(), PATIENCE, |said| !said.ended)
            .unwrap();
        assert!(
            !left.timed_out(),
            "the output of a program that ended does not end"
        );
        said.lines.clone()
    }
}

/// The executable of an example, of the profile that the test is of.
fn executable(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(Path::parent).unwrap();
        let folder = profile.join("examples");
        if [
            "quickstart",
            "feed-server",
            "feed-consumer",
            "guarded-feed",
            "feeds-from-properties",
            "hospital",
            "own-integration",
        ]
        .iter()
        .any(|name| stale(&folder, name))
        {
            build(profile);
        }
        folder
    });
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    FOLDER.get().unwrap().join(file)
}

/// Whether an example is to be built: `cargo test` does it, `cargo test --test it` does not.
fn stale(folder: &Path, name: &str) -> bool {
    let executable = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let rule = std::fs::read_to_string(folder.join(format!("{name}.d")));
    let (Ok(built), Ok(rule)) = (changed(executable), rule) else {
        return true;
    };
    // As make has it: the target, a colon, and the sources, in whose names spaces are escaped.
    let rule = rule.replace("\\ ", "\0");
    let mut sources = rule
        .split_whitespace()
        .skip(1)
        .map(|source| source.replace('\0', " "));
    sources.any(|source| changed(source).is_ok_and(|changed| changed > built))
}

fn changed(file: impl AsRef<Path>) -> std::io::Result<SystemTime> {
    file.as_ref().metadata()?.modified()
}

fn build(profile: &Path) {
    let name = match profile.file_name().and_then(|name| name.to_str()).unwrap() {
        "debug" => "dev",
        name => name,
    };
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args([
            "build",
            "--examples",
            "--manifest-path",
            manifest,
            "--profile",
            name,
        ])
        .arg("--target-dir")
        .arg(profile.parent().unwrap())
        .stdout(Stdio::null());
    // What cargo tells a test of its package; build scripts that look at it would run again.
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(variable);
        }
    }
    let built = cargo.status();
    assert!(built.unwrap().success(), "the examples were not built");
}
