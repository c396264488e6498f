//! Old events are pruned, and a feed goes on after its database was restored from a backup.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::{Value, json};

use crate::emr::{Emr, entry_id, event, ndjson, sqlite};
use crate::lab::Lab;
use crate::nginx::free_port;

/// Event n, published on day n of March.
fn on_day(number: u32) -> Value {
    let mut event = event(number);
    event["timestamp"] = json!(format!("2024-03-{number:02}T12:00:00Z"));
    event
}

fn with_days(folder: &Path, days: u32) -> String {
    ndjson(folder, (1..=days).map(on_day))
}

#[tokio::test]
async fn what_is_old_is_pruned() {
    let folder = tempfile::tempdir().unwrap();
    let file = with_days(folder.path(), 30);
    let database = sqlite(folder.path(), "emr.db");
    let pages = ["--page-size", "5", "--public-url", "http://emr.example.org"];
    let emr = Emr::start(&database, &[&pages[..], &["--import", &file]].concat());
    let mut before = Vec::new();
    for number in 4..=6 {
        before.push(emr.get(&format!("/feed/{number}")).await);
    }
    emr.stop().assert_status(0);

    for prune in ["2024-03-18", "2024-03-18T12:00:00Z", "2024-03-18 07:00:00"] {
        let emr = Emr::start(
            &database,
            &[&pages[..], &["--prune-before", prune]].concat(),
        );
        for (number, before) in (4..=6).zip(&before) {
            assert_eq!(emr.get(&format!("/feed/{number}")).await, *before);
        }
        let (status, body) = emr.get("/feed/3").await;
        assert!(status == 410 && body.contains("pruned"), "{status} {body}");
        assert_eq!(emr.page("/feed/patient/recent").await.entries.len(), 5);
        let finished = emr.stop();
        let said = finished.stderr.join("\n");
        assert!(
            said.contains("the oldest page of all events is 4"),
            "{said}"
        );
        let deleted = if prune == "2024-03-18" {
            "10 events"
        } else {
            "0 events"
        };
        assert!(said.contains(deleted), "{said}");
    }

    let emr = Emr::start(&database, &["--empty-page-before-oldest"]);
    let page = emr.page("/feed/3").await;
    assert!(page.entries.is_empty() && page.link("prev-archive").is_none());
    // Whoever is new begins there.
    let lab = Lab::new(folder.path(), emr.recent());
    lab.catch_up(&[], 15, 0);
}

#[test]
fn a_prune_that_makes_no_sense_is_refused() {
    for (options, why) in [
        (
            &["--prune-before", "yesterday"][..],
            "no day, such as 2024-03-01",
        ),
        (
            &["--prune-before", "2024-03-01", "--adopt"],
            "--prune-adopted",
        ),
        (&["--prune-adopted"], "--prune-before"),
    ] {
        let refused = Emr::refused("sqlite:never-made.db", options);
        assert!(!refused.status.success());
        assert!(refused.stderr.join("\n").contains(why), "{refused:#?}");
    }
}

/// A database of 23 events is lost, and a copy with 13 takes its place.
#[tokio::test]
async fn a_restored_feed_goes_on_above_what_was_lost() {
    let folder = tempfile::tempdir().unwrap();
    let listen = format!("127.0.0.1:{}", free_port());
    let options = ["--page-size", "5", "--listen", &listen];
    let file = with_days(folder.path(), 23);
    let lost = sqlite(folder.path(), "lost.db");
    let emr = Emr::start(&lost, &[&options[..], &["--import", &file]].concat());
    // One that has read everything, and one that has not begun.
    let (ahead, behind) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ahead = Lab::new(ahead.path(), emr.recent());
    let behind = Lab::new(behind.path(), emr.recent());
    ahead.catch_up(&[], 23, 0);
    emr.stop().assert_status(0);

    let file = with_days(folder.path(), 13);
    let restored = sqlite(folder.path(), "restored.db");
    let emr = Emr::start(&restored, &[&options[..], &["--import", &file]].concat());
    let stopped = ahead.run(&["--once"]);
    assert!(!stopped.status.success());
    let said = stopped.stderr.join("\n");
    assert!(
        said.contains("--continue-after") && said.contains("/feed/5"),
        "{said}"
    );
    emr.stop().assert_status(0);

    let refused = Emr::refused(&restored, &["--continue-after", "13"]);
    assert!(!refused.status.success());
    let said = refused.stderr.join("\n");
    assert!(said.contains("have come to id 13 already"), "{said}");

    let file = ndjson(folder.path(), (101..=107).map(event));
    let more = ["--continue-after", "23", "--import", &file];
    let emr = Emr::start(&restored, &[&options[..], &more].concat());
    let page = emr.page("/feed/6").await;
    assert_eq!(page.entries[0].id, entry_id(101));
    assert!(page.link("prev-archive").unwrap().ends_with("/feed/3"));
    let stopped = ahead.run(&["--once"]);
    assert!(!stopped.status.success());
    let said = stopped.stderr.join("\n");
    assert!(said.contains("410"), "{said}");
    behind.catch_up(&[], 20, 0);
    emr.stop().assert_status(0);
    // Said again, as in a unit file, it changes nothing.
    let emr = Emr::start(&restored, &[&options[..], &more[..2]].concat());
    assert_eq!(emr.page("/feed/7").await.entries.len(), 2);
}
