//! The hospital as a program that is started, asked to end, killed, and mended by hand.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use atomfeed_examples::hospital::feeds::{PASSWORD, USER};
use tokio::net::TcpListener;
use tokio::time::{Sleep, sleep, timeout};
use uuid::Uuid;

use super::run::{Approver, Run, one_at_a_time};
use super::{events, text};
use crate::programs::{PATIENCE, Program};

const EXEC: &str = "exec \"$0\" \"$@\"";

fn start(arguments: &[&str]) -> Program {
    Program::start("hospital", &[&["--any-port"], arguments].concat())
}

/// Starts it as a script does that ends in [`EXEC`].
fn start_after(script: &str, arguments: &[&str]) -> Program {
    let script = format!("{script}; {EXEC}");
    let arguments = [&["--any-port"], arguments].concat();
    Program::by_shell(&script, "hospital", &arguments)
}

/// Waits for a line that begins so, and gives the rest of it.
#[track_caller]
fn rest(program: &Program, beginning: &str) -> String {
    program.stdout.wait_for(beginning, |lines| {
        let mut rests = lines.iter().filter_map(|line| line.strip_prefix(beginning));
        rests.next().map(str::to_owned)
    })
}

/// Waits until all have started, and says where they listen.
fn addresses(program: &Program) -> [String; 4] {
    rest(program, "console: ");
    let addresses =
        ["EMR: ", "lab: ", "ERP: ", "imaging: "].map(|beginning| rest(program, beginning));
    for address in &addresses {
        assert!(listens(address), "{address}");
    }
    addresses
}

fn listens(address: &str) -> bool {
    TcpStream::connect(address).is_ok()
}

/// Looks again and again, as long as that makes sense.
struct Looks(Instant);

impl Looks {
    fn begin() -> Self {
        Self(Instant::now())
    }

    #[track_caller]
    fn again(&self, what: &str) -> Sleep {
        assert!(self.0.elapsed() < PATIENCE, "{what}");
        sleep(Duration::from_millis(50))
    }
}

async fn until_gone(addresses: &[String]) {
    let looks = Looks::begin();
    for address in addresses {
        while listens(address) {
            looks.again(address).await;
        }
    }
}

#[tokio::test]
async fn systems_end_with_the_one_that_has_started_them() {
    let _alone = one_at_a_time().await;
    let folder = tempfile::tempdir().unwrap();
    let program = start(&["--data", text(folder.path())]);
    let addresses = addresses(&program);
    program.kill();
    until_gone(&addresses).await;
}

#[tokio::test]
async fn ctrl_c_ends_all_with_0_when_nobody_asked_for_a_proof() {
    let _alone = one_at_a_time().await;
    let program = start(&["--rate", "60"]);
    let addresses = addresses(&program);
    rest(&program, "the hospital goes on until Ctrl-C");
    program.signal("INT");
    program.finish().assert_status(0);
    for address in addresses {
        assert!(!listens(&address), "{address}");
    }
}

#[tokio::test]
async fn ctrl_c_before_the_proof_ends_all_with_1() {
    let _alone = one_at_a_time().await;
    let program = start(&["--load", "5000", "--rate", "10"]);
    let addresses = addresses(&program);
    program.signal("INT");
    let finished = program.finish();
    finished.assert_status(1);
    let said = finished.stderr.join("\n");
    assert!(said.contains("stopped before the proof"), "{finished:#?}");
    for address in addresses {
        assert!(!listens(&address), "{address}");
    }
}

#[tokio::test]
async fn ctrl_c_is_heard_while_it_starts() {
    let _alone = one_at_a_time().await;
    // A PostgreSQL that never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let url = format!("postgres://nobody:nothing@{address}/nowhere");
    let script = format!("export HOSPITAL_POSTGRES={url}");
    let program = start_after(&script, &["--load", "10"]);
    let asked = timeout(PATIENCE, silent.accept()).await;
    let _held = asked.unwrap().unwrap();
    program.signal("INT");
    let finished = program.finish();
    finished.assert_status(1);
    let said = finished.stderr.join("\n");
    assert!(said.contains("stopped before the proof"), "{finished:#?}");
    assert!(!said.contains("nobody:nothing"), "{finished:#?}");
}

/// Signals that whoever started these tests has them pass over, as a mask; nothing where nobody tells.
fn ignored_signals() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[tokio::test]
async fn a_terminal_that_is_closed_ends_it_and_leaves_no_folder() {
    if ignored_signals().is_some_and(|mask| mask & 1 == 1) {
        return; // under nohup
    }
    let _alone = one_at_a_time().await;
    let folder = tempfile::tempdir().unwrap();
    let script = format!("export TMPDIR='{}'", text(folder.path()));
    let program = start_after(&script, &[]);
    rest(&program, "console: ");
    let left = || fs::read_dir(folder.path()).unwrap().count();
    assert!(left() > 0);
    program.signal("HUP");
    program.finish().assert_status(0);
    assert_eq!(left(), 0);
}

#[tokio::test]
async fn a_terminal_that_is_closed_does_not_end_it_under_nohup() {
    if ignored_signals().is_none() {
        return;
    }
    let _alone = one_at_a_time().await;
    let program = start_after("trap '' HUP", &["--rate", "60"]);
    rest(&program, "console: ");
    program.signal("HUP");
    rest(&program, "the hospital goes on until Ctrl-C");
    program.terminate();
    program.finish().assert_status(0);
}

#[tokio::test]
async fn all_agree_when_all_was_killed_in_the_middle_and_started_again() {
    let _alone = one_at_a_time().await;
    let folder = tempfile::tempdir().unwrap();
    let data = ["--data", text(folder.path())];
    let first = start(&[&["--load", "3000", "--rate", "30"], &data[..]].concat());
    let addresses = addresses(&first);
    let looks = Looks::begin();
    while events(folder.path()).await < 100 {
        looks.again("nothing is put").await;
    }
    first.kill();
    until_gone(&addresses).await;
    let left = events(folder.path()).await;
    assert!(left < 3000, "nothing was left to be done");

    let second = Run::start(&[&["--load", "100"], &data[..]].concat());
    let finished = second.until_it_ends();
    finished.assert_status(0);
    let last = finished.stdout.last().unwrap();
    assert!(last.starts_with("all systems agree: "), "{finished:#?}");
    let there = events(folder.path()).await;
    assert!(there >= left + 100, "{there} of {left} and 100");
}

/// What says that they have come into agreement on the day that is played where none is asked for.
fn is_agreement(line: &str) -> bool {
    line == "all systems agree: 60 events, 0 differences"
}

/// That it waits, and has given no verdict, though its patience is over by now.
fn assert_waits(run: &Run) {
    run.say("that it waits", |line| line.starts_with("waiting: "));
    assert!(!run.has_verdict(), "it has not waited");
}

#[tokio::test]
async fn an_unknown_test_may_take_long_to_be_told_of() {
    let _alone = one_at_a_time().await;
    let arguments = ["--rate", "60", "--break", "order", "--patience", "1"];
    let run = Run::start(&arguments);
    let approver = Approver::of(&run);
    let command = run.say("the command", |line| line.trim().starts_with("curl "));
    assert_waits(&run);
    let looks = Looks::begin();
    while approver.parked("Lab").await.unwrap() == 0 {
        looks.again("it is not parked").await;
    }

    let parts: Vec<_> = command.split('\'').collect();
    let [_, header, _, document, url] = parts[..] else {
        panic!("{command}");
    };
    assert!(command.contains(&format!("-X PUT -H '{header}'")));
    let (name, value) = header.split_once(": ").unwrap();
    let answer = reqwest::Client::new()
        .put(url.trim())
        .basic_auth(USER, Some(PASSWORD))
        .header(name, value)
        .body(document.to_owned())
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    run.say("that all agree", is_agreement);
    run.terminate().assert_status(0);
}

#[tokio::test]
async fn a_sale_may_take_long_to_be_approved_of() {
    let _alone = one_at_a_time().await;
    let arguments = ["--rate", "60", "--over-limit", "5", "--patience", "1"];
    let run = Run::start(&arguments);
    let approver = Approver::of(&run);
    run.say("how", |line| {
        line.contains("Edit and retry") && line.contains("&approved=yes")
    });
    assert_waits(&run);
    let looks = Looks::begin();
    while approver.approve_all().await.unwrap() == 0 {
        looks.again("no sale is refused").await;
    }
    run.say("that all agree", is_agreement);
    run.terminate().assert_status(0);
}

#[tokio::test]
async fn a_sale_that_is_passed_over_is_not_waited_for() {
    let _alone = one_at_a_time().await;
    let arguments = ["--rate", "8", "--over-limit", "5", "--patience", "1"];
    let run = Run::start(&arguments);
    let approver = Approver::of(&run);
    let looks = Looks::begin();
    // As soon as one is refused, which is before the day has ended.
    while approver.skip_all().await.unwrap() == 0 {
        looks.again("no sale is refused").await;
    }
    // It is said more than once where something else was late.
    run.say("that all else agrees", |line| {
        line.starts_with("not in agreement: 60 events")
    });
    run.terminate().assert_status(0);
}

#[tokio::test]
async fn what_is_parked_on_purpose_is_not_logged_by_each_event() {
    let _alone = one_at_a_time().await;
    let arguments = ["--any-port", "--load", "30", "--break", "order"];
    let arguments = [&arguments[..], &["--patience", "10"]].concat();
    let finished = Program::with_files(1024, "hospital", &arguments).finish();
    finished.assert_status(1);
    let last = finished.stdout.last().unwrap();
    assert!(last.starts_with("not in agreement: "), "{finished:#?}");
    let said = finished.stderr.join("\n");
    for noise in ["event parked", "retry failed", "RLIMIT_NOFILE"] {
        assert!(!said.contains(noise), "{noise}: {finished:#?}");
    }
}

#[tokio::test]
async fn nobody_has_to_read_what_it_says() {
    let _alone = one_at_a_time().await;
    let script = "{ \"$0\" \"$@\"; echo \"status $?\" >&2; } | head -n 1";
    let arguments = ["--any-port", "--load", "40"];
    let finished = Program::by_shell(script, "hospital", &arguments).finish();
    assert_eq!(finished.stdout.len(), 1, "{finished:#?}");
    let said = finished.stderr.join("\n");
    assert!(said.contains("status 0"), "{finished:#?}");
    assert!(!said.contains("panicked"), "{finished:#?}");
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_passed_by() {
    let _alone = one_at_a_time().await;
    let script = "export http_proxy=http://127.0.0.1:9; unset no_proxy NO_PROXY";
    let finished = start_after(script, &["--load", "40"]).finish();
    let last = finished.stdout.last().unwrap();
    let agreed = "all systems agree: 40 events, 0 differences";
    assert_eq!(last, agreed, "{finished:#?}");
    finished.assert_status(0);
}

fn has(bytes: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(bytes).contains(text)
}

/// The systems of whose environment a text is part, `""` for the program itself. It is part of nobody's options.
fn holders(secret: &str) -> Vec<String> {
    let mut holders = Vec::new();
    for process in fs::read_dir("/proc").unwrap() {
        let process = process.unwrap().path();
        // Fails for what is no process, has ended meanwhile, or is another user's.
        let (Ok(options), Ok(environment)) = (
            fs::read(process.join("cmdline")),
            fs::read(process.join("environ")),
        ) else {
            continue;
        };
        assert!(!has(&options, secret), "{}", process.display());
        if has(&environment, secret) {
            let options = String::from_utf8_lossy(&options);
            let mut options = options.split('\0').skip_while(|option| *option != "--as");
            holders.push(options.nth(1).unwrap_or_default().to_owned());
        }
    }
    holders.sort();
    holders
}

#[tokio::test]
async fn a_password_is_no_option_and_known_to_the_erp_alone() {
    if !Path::new("/proc/self/environ").exists() {
        return;
    }
    let _alone = one_at_a_time().await;
    let secret = Uuid::new_v4().simple().to_string();
    let script = format!("export ODOO_PASSWORD={secret}");
    let odoo = [
        "--odoo",
        "http://127.0.0.1:9",
        "--odoo-database",
        "hospital",
    ];
    let program = start_after(&script, &[&odoo[..], &["--odoo-user", "feed"]].concat());
    rest(&program, "console: ");
    assert_eq!(holders(&secret), ["", "erp"]);
    program.terminate();
    program.finish().assert_status(0);
}

#[tokio::test]
async fn what_makes_no_program_is_refused() {
    let _alone = one_at_a_time().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let odoo = [
        "--odoo",
        "http://127.0.0.1:9",
        "--odoo-database",
        "hospital",
    ];
    let odoo = [&odoo[..], &["--odoo-user", "feed"]].concat();
    for (arguments, words) in [
        (&["--modality", "foo"][..], "HOST:PORT"),
        (&["--modality", "127.0.0.1:0"], "HOST:PORT"),
        (&["--console", taken.as_str()], "--any-port"),
        (&odoo[..], "ODOO_PASSWORD"),
    ] {
        let program = start_after("unset ODOO_PASSWORD", arguments);
        program.finish().assert_refused(&[words]);
    }
}
