//! What feed-consumer does with markers: shows them, gives their feeds another address, begins anywhere,
//! and keeps those of several consumers apart.

#![allow(clippy::unwrap_used)]

use serde_json::Value;

use crate::emr::{Emr, entry_id, event, ndjson};
use crate::lab::{Lab, ids};
use crate::programs::{Finished, Program};

fn on(database: &str, options: &[&str]) -> Finished {
    Program::start(
        "feed-consumer",
        &[&["--database", database], options].concat(),
    )
    .finish()
}

fn markers(database: &str) -> Vec<Value> {
    let shown = on(database, &["--show-markers"]);
    shown.assert_status(0);
    shown.events()
}

#[tokio::test]
async fn markers_are_shown_and_given_another_address() {
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=23).map(event));
    let emr = Emr::start("memory:", &["--page-size", "5", "--import", &file]);
    let database = crate::emr::sqlite(folder.path(), "lab.db");
    let lab = Lab::on(&database, emr.recent());
    lab.catch_up(&["--fail-matching", "/rest/encounter/7"], 22, 1);
    let [marker] = &markers(&database)[..] else {
        panic!("there is one");
    };
    assert_eq!(marker["feed_uri"], emr.recent());
    assert_eq!(marker["last_read_entry_id"], entry_id(23));
    assert_eq!(marker["page_uri"], emr.url("/feed/5"));
    assert_eq!(marker["parked"], 1);
    assert_eq!(marker["events_behind"], 0);
    assert!(marker["succeeded_at"].is_string() && marker["error"].is_null());

    // Nothing begins so: that is said, with what there is.
    let nothing = on(&database, &["--rebase", "http://nowhere=http://emr"]);
    nothing.assert_status(1);
    let said = nothing.stderr.join("\n");
    assert!(said.contains(&emr.recent()), "{said}");
    // The same server by another name.
    let (old, new) = (emr.url(""), emr.url("").replace("127.0.0.1", "localhost"));
    let rebased = on(&database, &["--rebase", &format!("{old}={new}")]);
    rebased.assert_status(0);
    assert_eq!(
        rebased.stdout,
        ["1 markers, 1 failed events and 0 failed retries have another address"]
    );
    let [marker] = &markers(&database)[..] else {
        panic!("there is one");
    };
    assert_eq!(marker["feed_uri"], format!("{new}/feed/recent"));
    assert_eq!(marker["page_uri"], format!("{new}/feed/5"));
    assert_eq!(marker["parked"], 1);
    // Under the old name nothing is read anew.
    let stopped = lab.run(&["--once"]);
    stopped.assert_status(1);
    assert_eq!(stopped.summary(), (0, 0));
    let said = stopped.stderr.join("\n");
    assert!(
        said.contains("another address") && said.contains(&new),
        "{said}"
    );
}

#[tokio::test]
async fn a_consumer_begins_where_it_is_told_to_and_keeps_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=12).map(event));
    let emr = Emr::start("memory:", &["--page-size", "5", "--import", &file]);
    let database = crate::emr::sqlite(folder.path(), "lab.db");
    let lab = Lab::on(&database, emr.recent());
    let after = format!("after:{}", entry_id(9));
    let read = lab.catch_up(&["--name", "lab", "--start", &after], 3, 0);
    assert_eq!(ids(&read), [10, 11, 12].map(entry_id));
    // All were published in the same minute.
    lab.catch_up(
        &["--name", "stock", "--start", "at:2024-03-01T08:01:00Z"],
        12,
        0,
    );
    lab.catch_up(
        &["--name", "late", "--start", "at:2024-03-01T08:01:01Z"],
        0,
        0,
    );
    lab.catch_up(&["--name", "lab"], 0, 0);
    let feeds = markers(&database);
    let feeds: Vec<_> = feeds
        .iter()
        .map(|marker| marker["feed_uri"].as_str().unwrap())
        .collect();
    let named = |name: &str| format!("{}#{name}", emr.recent());
    assert_eq!(feeds, [named("lab"), named("stock")]);
    for (options, word) in [
        (&["--start", "after:"][..], "--start"),
        (&["--start", "at:noon"], "--start"),
        (&["--name", ""], "--name"),
        (&["--workers", "0"], "--workers"),
        (&["--follow", "--cron", "often"], "--cron"),
        (&["--standby"], "--standby"),
        (&["--retry-failed", "--follow"], "--follow"),
    ] {
        lab.run(options).assert_refused(&[word]);
    }
}

#[tokio::test]
async fn a_cron_expression_says_when_it_reads() {
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=3).map(event));
    let emr = Emr::start("memory:", &["--import", &file]);
    let lab = Lab::new(folder.path(), emr.recent());
    let following = lab.start(&["--follow", "--cron", "* * * * * ?", "--apply"]);
    let seen = |lines: &[String]| (lines.len() >= 3).then_some(());
    following.stdout.wait_for("three events", seen);
    following.terminate();
    following.finish().assert_status(0);
}
