//! What feed-consumer reads, prints and applies.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use crate::emr::{Emr, category, content, entry_id, event, ndjson, sqlite};
use crate::lab::{Lab, ids};

/// What is printed for an event of a feed with pages of ten.
fn printed(emr: &Emr, number: u32) -> Value {
    let time = "2024-03-01T08:01:00Z";
    json!({
        "event_id": entry_id(number),
        "title": format!("Event {number}"),
        "content": content(number),
        "categories": [category(number), "imported"],
        "feed_uri": emr.recent(),
        "page_uri": emr.url(&format!("/feed/{}", (number - 1) / 10 + 1)),
        "updated": time,
        "published": time,
    })
}

fn all_printed(emr: &Emr, numbers: impl IntoIterator<Item = u32>) -> Vec<Value> {
    numbers
        .into_iter()
        .map(|number| printed(emr, number))
        .collect()
}

#[tokio::test]
async fn an_empty_feed_has_nothing_to_print_and_what_comes_later_is_read() {
    for start in ["beginning", "latest"] {
        let folder = tempfile::tempdir().unwrap();
        let mut emr = Emr::start("memory:", &["--page-size", "10", "--import", "-"]);
        let lab = Lab::new(folder.path(), emr.recent());
        for _again in 0..2 {
            assert_eq!(
                lab.catch_up(&["--start", start], 0, 0),
                [Value::Null; 0],
                "{start}"
            );
        }
        emr.publish(1..=12).await;
        assert_eq!(
            lab.catch_up(&["--start", start], 12, 0),
            all_printed(&emr, 1..=12),
            "{start}"
        );
    }
}

#[tokio::test]
async fn every_event_is_printed_once_in_order_and_only_new_ones_later() {
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=250).map(event));
    let database = sqlite(folder.path(), "emr.db");
    let filled = Emr::start(&database, &["--page-size", "10", "--import", &file]);
    filled.stop().assert_status(0);
    let mut emr = Emr::start(&database, &["--import", "-"]);
    let lab = Lab::new(folder.path(), emr.recent());
    assert_eq!(
        lab.catch_up(&["--apply"], 250, 0),
        all_printed(&emr, 1..=250)
    );
    assert_eq!(lab.catch_up(&["--apply"], 0, 0), [Value::Null; 0]);
    // On to a page boundary, past it by one, and over several pages.
    for numbers in [251..=260, 261..=261, 262..=300] {
        emr.publish(numbers.clone()).await;
        let length = numbers.clone().count() as u64;
        assert_eq!(
            lab.catch_up(&["--apply"], length, 0),
            all_printed(&emr, numbers)
        );
    }
    assert_eq!(lab.catch_up(&["--apply"], 0, 0), [Value::Null; 0]);

    let applied: Vec<_> = (1..=300)
        .map(|number| (entry_id(number), content(number)))
        .collect();
    assert_eq!(lab.applied().await, applied);
    assert_eq!(lab.count("failed_events").await, 0);
    assert_eq!(lab.count("markers").await, 1);
}

#[tokio::test]
async fn it_reads_once_without_being_told_and_applies_nothing_without_being_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=3).map(event));
    let emr = Emr::start("memory:", &["--import", &file]);
    let lab = Lab::new(folder.path(), emr.recent());
    let finished = lab.run(&[]);
    finished.assert_status(0);
    assert_eq!(finished.summary(), (3, 0));
    assert_eq!(lab.count("sqlite_schema WHERE name = 'applied'").await, 0);
}

#[tokio::test]
async fn a_feed_of_a_category_has_its_own_events_pages_and_marker() {
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=50).map(event));
    let emr = Emr::start("memory:", &["--page-size", "10", "--import", &file]);
    let feed = emr.url("/feed/patient/recent");
    let of_patients = Lab::new(folder.path(), &*feed).catch_up(&[], 25, 0);
    let patients: Vec<_> = (2..=50).step_by(2).map(entry_id).collect();
    assert_eq!(ids(&of_patients), patients);
    assert_eq!(of_patients[10]["page_uri"], emr.url("/feed/patient/2"));
    assert_eq!(of_patients[10]["feed_uri"], feed);

    // The same database follows the feed of all events from its own beginning.
    let lab = Lab::new(folder.path(), emr.recent());
    assert_eq!(lab.catch_up(&[], 50, 0).len(), 50);
    assert_eq!(lab.count("markers").await, 2);
}

#[tokio::test]
async fn an_event_without_anything_is_printed_with_every_key() {
    let folder = tempfile::tempdir().unwrap();
    let bare = json!({ "uuid": crate::emr::uuid(1), "title": null, "content": null });
    let odd = json!({ "title": " a\n\"b\" ", "content": "]]>\n{\"a\": \"<b>&amp;😀\"}\n" });
    let emr = Emr::start(
        "memory:",
        &["--import", &ndjson(folder.path(), [bare, odd.clone()])],
    );
    let events = Lab::new(folder.path(), emr.recent()).catch_up(&["--apply"], 2, 0);
    let mut keys: Vec<_> = events[0].as_object().unwrap().keys().collect();
    keys.sort();
    let expected = [
        "categories",
        "content",
        "event_id",
        "feed_uri",
        "page_uri",
        "published",
        "title",
        "updated",
    ];
    assert_eq!(keys, expected);
    assert_eq!(events[0]["event_id"], entry_id(1));
    assert_eq!([&events[0]["title"], &events[0]["content"]], ["", ""]);
    assert_eq!(events[0]["categories"], json!([]));
    // A line each, whatever is in them, and nothing lost on the way.
    assert_eq!(events[1]["title"], odd["title"]);
    assert_eq!(events[1]["content"], odd["content"]);
}

#[tokio::test]
async fn begins_at_the_latest_event_when_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut emr = Emr::start("memory:", &["--page-size", "10", "--import", "-"]);
    emr.publish(1..=30).await;
    let lab = Lab::new(folder.path(), emr.recent());
    assert_eq!(lab.catch_up(&["--start", "latest"], 0, 0), [Value::Null; 0]);
    emr.publish(31..=42).await;
    // There is a marker now, and it alone counts.
    for (start, expected) in [("latest", 31..43), ("beginning", 43..43)] {
        let events = lab.catch_up(&["--start", start], expected.len() as u64, 0);
        assert_eq!(events, all_printed(&emr, expected), "{start}");
    }
}

#[tokio::test]
async fn begins_at_a_page_when_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=35).map(event));
    let emr = Emr::start("memory:", &["--page-size", "10", "--import", &file]);
    let lab = Lab::new(folder.path(), emr.recent());
    let start = ["--start", &*emr.url("/feed/3"), "--apply"];
    assert_eq!(lab.catch_up(&start, 15, 0), all_printed(&emr, 21..=35));
    assert_eq!(lab.catch_up(&start, 0, 0), [Value::Null; 0]);
    assert_eq!(lab.count("applied").await, 15);
}

#[tokio::test]
async fn follows_new_events_until_it_is_asked_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut emr = Emr::start("memory:", &["--page-size", "10", "--import", "-"]);
    emr.publish(1..=5).await;
    let lab = Lab::new(folder.path(), emr.recent());
    let following = lab.start(&["--follow", "--apply", "--poll", "0.05"]);
    let printed = |count: usize| {
        let found = |lines: &[String]| (lines.len() >= count).then_some(());
        following.stdout.wait_for(&format!("{count} events"), found);
    };
    printed(5);
    emr.publish(6..=6).await;
    printed(6);
    emr.publish(7..=31).await;
    printed(31);
    following.terminate();
    let finished = following.finish();
    finished.assert_status(0);
    assert_eq!(finished.summary(), (31, 0), "{finished:#?}");
    assert_eq!(finished.events(), all_printed(&emr, 1..=31));
    // Each once, also over a restart.
    emr.publish([32]).await;
    assert_eq!(lab.catch_up(&["--apply"], 1, 0), all_printed(&emr, [32]));
    let applied: Vec<_> = (1..=32)
        .map(|number| (entry_id(number), content(number)))
        .collect();
    assert_eq!(lab.applied().await, applied);
}

#[tokio::test]
async fn asked_to_end_in_the_middle_it_finishes_the_event_in_hand() {
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=3_000).map(event));
    let emr = Emr::start("memory:", &["--page-size", "10", "--import", &file]);
    let lab = Lab::new(folder.path(), emr.recent());
    // In a transaction each, they take longer than it takes to ask.
    let following = lab.start(&["--follow", "--apply", "--batch", "1"]);
    let printed = |lines: &[String]| (lines.len() >= 20).then_some(());
    following.stdout.wait_for("20 events", printed);
    following.terminate();
    let finished = following.finish();
    finished.assert_status(0);
    let before = finished.events().len();
    assert!(before < 3_000, "it was asked to end in the middle");
    assert_eq!(finished.summary(), (before as u64, 0));
    assert_eq!(
        lab.count("applied").await,
        before as i64,
        "what is applied is printed"
    );
    let rest = lab.catch_up(&["--apply"], 3_000 - before as u64, 0);
    assert_eq!(rest[0]["event_id"], entry_id(before as u32 + 1));
    assert_eq!(lab.count("applied").await, 3_000);
}
