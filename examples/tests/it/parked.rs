//! What feed-consumer parks, and tries again.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use crate::emr::{Emr, content, entry_id, event, ndjson};
use crate::lab::{Lab, ids};

/// Matches the content of 7, 17 and 27.
const SEVENS: &[&str] = &["--apply", "--fail-matching", r"/\d?7\?"];

fn is_seven(number: &u32) -> bool {
    number % 10 == 7
}

#[tokio::test]
async fn what_fails_is_parked_and_the_others_flow() {
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=30).map(event));
    let emr = Emr::start("memory:", &["--page-size", "10", "--import", &file]);
    let lab = Lab::new(folder.path(), emr.recent());

    let events = lab.catch_up(SEVENS, 27, 3);
    let others: Vec<_> = (1..=30).filter(|number| !is_seven(number)).collect();
    assert_eq!(
        ids(&events),
        others.iter().map(|n| entry_id(*n)).collect::<Vec<_>>()
    );
    let row = |number: &u32| (entry_id(*number), content(*number));
    assert_eq!(
        lab.applied().await,
        others.iter().map(row).collect::<Vec<_>>()
    );
    let parked = |retries| [7, 17, 27].map(|n| (entry_id(n), content(n), retries));
    assert_eq!(lab.parked().await, parked(0));

    // Reading on retries nothing.
    assert_eq!(lab.catch_up(&["--apply"], 0, 0), [Value::Null; 0]);
    assert_eq!(lab.parked().await, parked(0));

    // What fails again stays.
    for retries in 1..=2 {
        let finished = lab.run(&[&["--retry-failed"], SEVENS].concat());
        finished.assert_status(0);
        assert_eq!((finished.summary(), finished.events().len()), ((0, 3), 0));
        assert_eq!(lab.parked().await, parked(retries));
        assert_eq!(lab.count("failed_event_retry_log").await, 3 * retries);
    }

    let finished = lab.run(&["--retry-failed", "--apply"]);
    finished.assert_status(0);
    assert_eq!(finished.summary(), (3, 0));
    assert_eq!(ids(&finished.events()), [7, 17, 27].map(entry_id));
    let time = "2024-03-01T08:01:00Z";
    let expected = json!({
        "event_id": entry_id(17),
        "title": "Event 17",
        "content": content(17),
        "categories": ["encounter", "imported"],
        "feed_uri": emr.recent(),
        "page_uri": emr.url("/feed/2"),
        "updated": time,
        "published": time,
    });
    assert_eq!(finished.events()[1], expected);
    assert_eq!(lab.parked().await, []);
    assert_eq!(lab.count("failed_event_retry_log").await, 0);
    let applied = others
        .iter()
        .chain(&[7, 17, 27])
        .map(row)
        .collect::<Vec<_>>();
    assert_eq!(lab.applied().await, applied, "each exactly once");

    let finished = lab.run(&["--retry-failed", "--apply"]);
    finished.assert_status(0);
    assert_eq!((finished.summary(), finished.events().len()), ((0, 0), 0));
}

#[tokio::test]
async fn every_parked_event_is_retried_however_often_it_was_and_however_many_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=120).map(event));
    let emr = Emr::start("memory:", &["--import", &file]);
    let lab = Lab::new(folder.path(), emr.recent());
    let all = ["--fail-matching", "rest", "--apply"];
    assert_eq!(lab.catch_up(&all, 0, 120), [Value::Null; 0]);
    assert_eq!(lab.count("applied").await, 0);
    // More often than the limit of what is retried without being asked.
    for _retry in 0..6 {
        let finished = lab.run(&[&["--retry-failed"], &all[..]].concat());
        finished.assert_status(0);
        assert_eq!(finished.summary(), (0, 120));
    }
    let finished = lab.run(&["--retry-failed", "--apply"]);
    finished.assert_status(0);
    assert_eq!(finished.summary(), (120, 0));
    let applied: Vec<_> = (1..=120).map(|n| (entry_id(n), content(n))).collect();
    assert_eq!(lab.applied().await, applied);
}

#[tokio::test]
async fn retrying_reads_nothing_new() {
    let folder = tempfile::tempdir().unwrap();
    let mut emr = Emr::start("memory:", &["--import", "-"]);
    emr.publish(1..=7).await;
    let lab = Lab::new(folder.path(), emr.recent());
    lab.catch_up(SEVENS, 6, 1);
    emr.publish(8..=9).await;
    let finished = lab.run(&["--retry-failed", "--apply"]);
    assert_eq!(ids(&finished.events()), [entry_id(7)]);
    // Nor does it need the server.
    drop(emr);
    lab.run(&["--retry-failed"]).assert_status(0);
}

#[tokio::test]
async fn following_retries_what_is_parked() {
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=10).map(event));
    let emr = Emr::start("memory:", &["--import", &file]);
    let lab = Lab::new(folder.path(), emr.recent());
    lab.catch_up(SEVENS, 9, 1);
    let following = lab.start(&["--follow", "--apply", "--poll", "0.05"]);
    let printed = |lines: &[String]| (!lines.is_empty()).then_some(());
    following.stdout.wait_for("the parked event", printed);
    following.terminate();
    let finished = following.finish();
    finished.assert_status(0);
    assert_eq!(finished.summary(), (1, 0));
    assert_eq!(ids(&finished.events()), [entry_id(7)]);
    assert_eq!(
        (lab.count("applied").await, lab.count("failed_events").await),
        (10, 0)
    );
}

#[tokio::test]
async fn without_apply_events_fail_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=10).map(event));
    let emr = Emr::start("memory:", &["--import", &file]);
    let lab = Lab::new(folder.path(), emr.recent());
    let events = lab.catch_up(&SEVENS[1..], 9, 1);
    assert_eq!(events.len(), 9);
    assert_eq!(lab.parked().await, [(entry_id(7), content(7), 0)]);
}

/// What is down for now is waited for: nothing is parked, and nothing overtakes.
#[tokio::test]
async fn what_is_down_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=30).map(event));
    let emr = Emr::start("memory:", &["--page-size", "10", "--import", &file]);
    let lab = Lab::new(folder.path(), emr.recent());
    let down = ["--once", "--apply", "--transient-matching", r"/\d?7\?"];
    let finished = lab.run(&down);
    finished.assert_status(1);
    assert_eq!(finished.summary(), (6, 0));
    let said = finished.stderr.join("\n");
    assert!(said.contains("is tried again in"), "{said}");
    assert_eq!((lab.applied().await.len(), lab.parked().await), (6, vec![]));
    lab.catch_up(&["--apply"], 24, 0);
    let expected = (1..=30).map(|number| (entry_id(number), content(number)));
    assert_eq!(lab.applied().await, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn it_stops_at_so_many_where_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=30).map(event));
    let emr = Emr::start("memory:", &["--page-size", "10", "--import", &file]);
    let lab = Lab::new(folder.path(), emr.recent());
    let stops = ["--once", "--max-failed-events", "2", "--batch", "1"];
    let finished = lab.run(&[&stops, SEVENS].concat());
    finished.assert_status(1);
    assert_eq!(finished.summary(), (15, 2));
    let said = finished.stderr.join("\n");
    assert!(said.contains("2 events of the feed are parked"), "{said}");
}
