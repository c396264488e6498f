//! The console as a person uses it: in Chromium, over a database on which a consumer is at work.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Instant;

use atomfeed_core::store::{ConsumerStore, SqliteStore};
use atomfeed_core::{EntryId, Event, Failure, FeedUri, Place};
use chrono::{DateTime, TimeDelta, Utc};

use crate::browser::{Browser, Kind};
use crate::emr::{Emr, event, ndjson, sqlite};
use crate::lab::Lab;
use crate::programs::{PATIENCE, Program};

/// A hospital whose lab has much that is parked, and its console.
struct Hospital {
    _emr: Emr,
    consumer: Option<Program>,
    console: Program,
    base: String,
    password: String,
    lab: Lab,
}

const LATER: TimeDelta = TimeDelta::days(30);

/// What is parked, in this order.
struct Parked {
    title: &'static str,
    content: String,
    error: &'static str,
    key: Option<&'static str>,
    is_due: bool,
}

fn parked(number: u32) -> Parked {
    let plain = |title, content: String, error| Parked {
        title,
        content,
        error,
        key: None,
        is_due: false,
    };
    match number {
        0 => plain(
            "Needle",
            "/patient/bad-1".to_owned(),
            "the order has no patient",
        ),
        1 => Parked {
            key: Some("patient 7"),
            ..plain("First", "/patient/bad-7".to_owned(), "boom")
        },
        // It goes on by itself once the first is out of the way.
        2 => Parked {
            key: Some("patient 7"),
            is_due: true,
            ..plain("Second", "/patient/7-later".to_owned(), "waits")
        },
        3..23 => plain("Away", format!("/patient/away-{number}"), "the lab is away"),
        _ => plain("Straw", format!("/patient/{number}"), "nobody knows"),
    }
}

async fn park_all(database: &str, feed: &FeedUri, count: u32) {
    let store = SqliteStore::connect(database).await.unwrap();
    let now: DateTime<Utc> = Utc::now();
    let mut work = store.begin().await.unwrap();
    for number in 0..count {
        let Parked {
            title,
            content,
            error,
            key,
            is_due,
        } = parked(number);
        let event = Event::new(
            EntryId::new(format!("tag:parked-{number}")).unwrap(),
            feed.clone(),
        )
        .with_text(title, content)
        .on_page(Some(feed.as_str().replace("recent", "1")));
        let failure = Failure::new(format!("{error} ({number})"), now - TimeDelta::hours(1));
        let id = work.park(&event, &failure).await.unwrap();
        let place = Place {
            key: key.map(str::to_owned),
            due_at: (!is_due).then_some(now + LATER),
        };
        work.place(feed, id, &place).await.unwrap();
        if number == 0 {
            let query = atomfeed_core::store::FailedEventQuery::of(feed.clone());
            let failed = work.failed_events(&query).await.unwrap();
            let again = Failure::new("still no patient", now - TimeDelta::minutes(30));
            work.record_failed_retry(&failed[0], &again).await.unwrap();
            work.place(feed, id, &place).await.unwrap();
        }
    }
    work.commit().await.unwrap();
    store.pool().close().await;
}

impl Hospital {
    async fn open(folder: &Path, count: u32) -> Self {
        let file = ndjson(folder, (1..=12).map(event));
        let emr = Emr::start(
            &sqlite(folder, "emr.db"),
            &["--page-size", "5", "--import", &file],
        );
        let lab = Lab::new(folder, emr.recent());
        lab.catch_up(&["--apply"], 12, 0);
        let database = sqlite(folder, "lab.db");
        park_all(&database, &emr.recent().parse().unwrap(), count).await;
        let missing = sqlite(folder, "missing.db");
        let apps = [format!("Lab={database}"), format!("PACS={missing}")];
        let arguments = [
            "--app",
            &apps[0],
            "--app",
            &apps[1],
            "--listen",
            "127.0.0.1:0",
        ];
        let console = Program::start("console", &arguments);
        let (base, password) = console.stdout.wait_for("the password", |lines| {
            let base = lines.first()?.strip_prefix("listening on ")?;
            let password = lines.get(1)?.strip_prefix("sign in as admin with ")?;
            Some((base.to_owned(), password.to_owned()))
        });
        Self {
            _emr: emr,
            consumer: None,
            console,
            base: base.trim_end_matches('/').to_owned(),
            password,
            lab,
        }
    }

    fn start_consumer(&mut self) {
        let options = [
            "--apply",
            "--follow",
            "--fail-matching",
            "bad",
            "--transient-matching",
            "away",
        ];
        self.consumer = Some(self.lab.start(&options));
    }

    async fn sign_in(&self, browser: &Browser) {
        browser.go(&format!("{}/failed", self.base)).await;
        browser.fill("#name", "admin").await;
        browser.fill("#password", "wrong").await;
        browser.press("Sign in").await;
        browser.until("Name or password is wrong").await;
        browser.fill("#name", "admin").await;
        browser.fill("#password", &self.password).await;
        browser.press("Sign in").await;
        browser.until("Failed events").await;
    }

    fn end(mut self) {
        if let Some(consumer) = self.consumer.take() {
            consumer.terminate();
            consumer.finish().assert_status(0);
        }
        self.console.terminate();
        self.console.finish().assert_status(0);
    }
}

async fn why(browser: &Browser, button: &str) {
    browser.fill("#why", "as the lab asked").await;
    browser.press(button).await;
}

/// Finds one among ten thousand, reads its history, edits it, retries it, and sees it succeed; retries a group
/// whose target is down, and sees it stop; skips one, and sees what waited go on; moves a marker, having seen
/// where to.
async fn a_person_sets_it_right(kind: Kind) {
    let Some(browser) = Browser::open(kind).await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut hospital = Hospital::open(folder.path(), 10_000).await;
    hospital.sign_in(&browser).await;
    hospital.start_consumer();

    let text = browser.until("Lab: 10\u{202f}000 parked").await;
    assert!(
        text.contains("PACS") && text.contains("no such file"),
        "{text}"
    );
    browser.assert_fits().await;
    browser.fill("#title", "needle").await;
    browser.press("Find").await;
    browser.until("Lab: 1 parked").await;
    browser.follow("Needle").await;
    let text = browser.until("Retries that failed").await;
    for words in ["still no patient", "/patient/bad-1", "Retries\n1"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    browser.assert_fits().await;
    browser.follow("Edit and retry").await;
    browser.fill("#detail", "/patient/good-1").await;
    why(&browser, "Replace it and retry").await;
    let text = browser.until("applied; it is parked no longer").await;
    assert!(
        text.contains("/patient/bad-1") && text.contains("as the lab asked"),
        "{text}"
    );
    browser.assert_fits().await;

    browser
        .go(&format!(
            "{}/failed?system=Lab&error=the+lab+is+away",
            hospital.base
        ))
        .await;
    // The first of many: a page looks at so many, and the next one at those before them, by itself with script.
    if !browser.has_script() {
        browser.until("Look at the ones before them").await;
        browser.follow("Look at the ones before them").await;
    }
    browser.until("Retry all like these").await;
    browser.follow("Retry all").await;
    browser.until("Retry many events").await;
    why(&browser, "Retry them").await;
    let text = browser.until("stopped, with 0 that succeeded").await;
    assert!(text.contains("what they need is away"), "{text}");

    browser
        .go(&format!(
            "{}/failed?system=Lab&key=patient+7",
            hospital.base
        ))
        .await;
    browser.until("waits").await;
    browser.follow("First").await;
    let text = browser.until("Parked behind it").await;
    assert!(text.contains("Second"), "{text}");
    browser.follow("Skip").await;
    why(&browser, "Skip it").await;
    browser.until("what waited behind it goes on").await;
    let begun = Instant::now();
    let has_second = |applied: Vec<(String, String)>| {
        applied
            .iter()
            .any(|(_, content)| content == "/patient/7-later")
    };
    while !has_second(hospital.lab.applied().await) {
        assert!(begun.elapsed() < PATIENCE, "what waited does not go on");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }

    browser.follow("Markers").await;
    browser.until("How far each feed has been read").await;
    browser.assert_fits().await;
    browser.follow("Move").await;
    browser.fill("#detail", "beginning").await;
    browser.press("Show what would happen").await;
    browser.until("12 events would be replayed").await;
    assert_eq!(hospital.lab.applied().await.len(), 14);
    browser.follow("Move the marker there").await;
    why(&browser, "Move the marker").await;
    browser.until("the marker stands").await;
    let begun = Instant::now();
    while hospital.lab.applied().await.len() < 26 {
        assert!(begun.elapsed() < PATIENCE, "it is not read again");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    browser.follow("Actions").await;
    let text = browser.until("What was asked for, by whom").await;
    for words in [
        "edit and retry",
        "retry many",
        "skip",
        "move the marker",
        "as the lab asked",
        "admin",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    browser.assert_fits().await;
    hospital.end();
}

#[tokio::test]
async fn in_a_wide_window() {
    a_person_sets_it_right(Kind::DESK).await;
}

#[tokio::test]
async fn on_a_phone() {
    a_person_sets_it_right(Kind::PHONE).await;
}

#[tokio::test]
async fn without_script() {
    a_person_sets_it_right(Kind {
        has_script: false,
        ..Kind::DESK
    })
    .await;
}

/// Every page, light and dark, wide and narrow. With ATOMFEED_SCREENSHOTS they are written there.
#[tokio::test]
async fn every_page_is_accessible() {
    let folder = tempfile::tempdir().unwrap();
    let mut hospital = Hospital::open(folder.path(), 200).await;
    hospital.start_consumer();
    let pages = std::env::var_os("ATOMFEED_SCREENSHOTS").map(std::path::PathBuf::from);
    for (kind, name) in [
        (
            Kind {
                height: 1_000,
                ..Kind::DESK
            },
            "light",
        ),
        (
            Kind {
                is_dark: true,
                height: 1_000,
                ..Kind::DESK
            },
            "dark",
        ),
        (Kind::PHONE, "phone"),
        (
            Kind {
                is_dark: true,
                ..Kind::PHONE
            },
            "phone-dark",
        ),
    ] {
        let Some(browser) = Browser::open(kind).await else {
            return;
        };
        browser.go(&format!("{}/sign-in", hospital.base)).await;
        let look = async |page: &str| {
            browser.assert_accessible().await;
            browser.assert_fits().await;
            if let Some(folder) = &pages {
                let picture = browser.client.screenshot().await.unwrap();
                std::fs::write(folder.join(format!("{page}-{name}.png")), picture).unwrap();
            }
        };
        look("sign-in").await;
        hospital.sign_in(&browser).await;
        look("failed").await;
        browser.go(&format!("{}/", hospital.base)).await;
        browser.until("Last 24 hours").await;
        look("overview").await;
        browser
            .go(&format!("{}/failed?title=Away", hospital.base))
            .await;
        browser.follow("Away").await;
        browser.until("Retries that failed").await;
        look("event").await;
        browser.follow("Edit and retry").await;
        look("edit").await;
        browser.follow("Back").await;
        browser.follow("Retry").await;
        why(&browser, "Retry it").await;
        browser.until("failed: what it needs is away").await;
        look("action").await;
        browser
            .go(&format!("{}/failed?title=Straw", hospital.base))
            .await;
        browser.follow("Retry all").await;
        look("retry").await;
        browser
            .go(&format!("{}/failed?title=Straw", hospital.base))
            .await;
        browser.follow("Export all like these").await;
        look("export").await;
        browser.go(&format!("{}/markers", hospital.base)).await;
        look("markers").await;
        browser.follow("Move").await;
        look("marker").await;
        browser.go(&format!("{}/markers", hospital.base)).await;
        browser.follow("Give a host another address").await;
        look("rebase").await;
        browser.go(&format!("{}/actions", hospital.base)).await;
        look("actions").await;
        browser
            .go(&format!("{}/systems/Lab/failed/999999", hospital.base))
            .await;
        look("not-found").await;
        // By keyboard alone: the first stop leads past the header.
        browser.go(&format!("{}/", hospital.base)).await;
        let keys = "\u{e004}\u{e007}";
        browser.find("body").await.send_keys(keys).await.unwrap();
        let focus = "return document.activeElement.id";
        let focus = browser.client.execute(focus, Vec::new()).await.unwrap();
        assert_eq!(focus, "main");
    }
    hospital.end();
}

#[test]
fn what_is_no_app_is_refused() {
    for (arguments, words) in [
        (&["--app", "Lab"][..], &["NAME=URL"][..]),
        (&["--app", "Lab=memory:"], &["sqlite:FILE"]),
        (&[], &["--app"]),
        (
            &["--app", "Lab=sqlite:x.db", "--listen", "0.0.0.0:0"],
            &["--behind-tls"],
        ),
        (
            &["--app", "Lab=sqlite:x.db", "--users", "/nonexistent"],
            &["/nonexistent"],
        ),
    ] {
        Program::start("console", arguments)
            .finish()
            .assert_refused(words);
    }
}

/// Users from a file, and a database that is made by nobody here.
#[tokio::test]
async fn users_come_from_a_file_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = String::new();
    for (user, password) in [("asha", "hunter2"), ("ravi:view", "hunter3")] {
        let mut made = Program::start("console", &["--make-user", user]);
        made.write(&format!("{password}\n"));
        made.close_stdin();
        let made = made.finish();
        made.assert_status(0);
        lines.push_str(&format!("{}\n", made.stdout[0]));
    }
    let users = folder.path().join("users");
    std::fs::write(&users, lines).unwrap();
    let foreign = folder.path().join("foreign.db");
    let empty = SqliteStore::connect(&format!("sqlite:{}", folder.path().join("x.db").display()))
        .await
        .unwrap();
    drop(empty);
    std::fs::write(&foreign, "").unwrap();
    let apps = [
        sqlite(folder.path(), "missing.db"),
        sqlite(folder.path(), "foreign.db"),
    ];
    let apps = apps.map(|url| {
        format!(
            "{}={url}",
            if url.contains("missing") {
                "Missing"
            } else {
                "Foreign"
            }
        )
    });
    let console = Program::start(
        "console",
        &[
            "--app",
            &apps[0],
            "--app",
            &apps[1],
            "--listen",
            "127.0.0.1:0",
            "--users",
            users.to_str().unwrap(),
        ],
    );
    let base = console.stdout.wait_for("where it listens", |lines| {
        Some(lines.first()?.strip_prefix("listening on ")?.to_owned())
    });
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::new();
    for (user, password, status) in [
        ("asha", "hunter2", 200),
        ("ravi", "hunter3", 200),
        ("ravi", "hunter2", 401),
    ] {
        let systems = http
            .get(format!("{base}api/systems"))
            .basic_auth(user, Some(password))
            .send()
            .await
            .unwrap();
        assert_eq!(systems.status(), status, "{user}");
        if status == 200 {
            let systems = systems.text().await.unwrap();
            assert!(
                systems.contains("no such file") && systems.contains("there are none"),
                "{systems}"
            );
            assert!(!systems.contains("\"reachable\":true"), "{systems}");
        }
    }
    assert!(!folder.path().join("missing.db").exists());
    assert_eq!(std::fs::read(&foreign).unwrap(), b"");
    console.terminate();
    console.finish().assert_status(0);
}
