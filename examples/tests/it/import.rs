//! What feed-server makes of the lines it is given.

#![allow(clippy::unwrap_used)]

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{Connection, SqliteConnection};

use crate::emr::{Emr, content, entry_id, event, import_file, ndjson, sqlite, uuid};

fn time(text: &str) -> Option<DateTime<Utc>> {
    Some(text.parse().unwrap())
}

#[tokio::test]
async fn a_file_is_published_whole_before_the_server_listens() {
    for database in ["memory", "sqlite"] {
        let folder = tempfile::tempdir().unwrap();
        let database = match database {
            "memory" => "memory:".to_owned(),
            _ => sqlite(folder.path(), "emr.db"),
        };
        // More than is published in one transaction.
        let file = ndjson(folder.path(), (1..=2_345).map(event));
        let emr = Emr::start(&database, &["--page-size", "100", "--import", &file]);
        if let Ok(file) = SqliteConnection::connect(&database).await {
            assert_eq!(events_in(file).await, 2_345, "when it says that it listens");
        }
        let newest = emr.page("/feed/recent").await;
        assert_eq!(
            newest.link("via"),
            Some(&*emr.url("/feed/24")),
            "{database}"
        );
        assert_eq!(newest.entries.len(), 45, "{database}");
        let first = emr.page("/feed/1").await;
        assert_eq!(first.entries.len(), 100, "{database}");
        let event = &first.entries[1];
        assert_eq!((&event.id, &event.content), (&entry_id(2), &content(2)));
        assert_eq!(event.title, "Event 2");
        assert_eq!(event.terms, ["patient", "imported"]);
        let published = time("2024-03-01T08:01:00Z");
        assert_eq!((event.updated, event.published), (published, published));
    }
}

async fn events_in(mut file: SqliteConnection) -> i64 {
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM event_records");
    count.fetch_one(&mut file).await.unwrap()
}

#[tokio::test]
async fn bad_lines_are_reported_by_number_and_the_rest_goes_on() {
    let bad = [
        ("{ \"title\": ", 2),
        ("[1, 2]", 3),
        ("not JSON at all", 4),
        (r#"{"title": "a\u0001", "content": "illegal character"}"#, 5),
        (r#"{"title": "a", "content": "\uffff"}"#, 6),
        (
            r#"{"title": "a", "content": "comma", "tags": ["fine", "a,b"]}"#,
            7,
        ),
        (
            r#"{"title": "a", "content": "time", "timestamp": "yesterday"}"#,
            8,
        ),
        (
            r#"{"title": "a", "content": "time", "timestamp": "2024-02-30T00:00:00Z"}"#,
            9,
        ),
        (r#"{"title": "a", "content": "uuid", "uuid": "12"}"#, 10),
        (r#"{"title": 3, "content": "type"}"#, 11),
        (r#"{"title": "a", "content": "type", "tags": "a"}"#, 12),
    ];
    let mut lines = format!("{}\n", event(1));
    for (line, number) in bad {
        assert_eq!(lines.lines().count() + 1, number);
        lines.push_str(line);
        lines.push('\n');
    }
    // A uuid that is there already, a blank line, which is no event and no mistake, and one without
    // an end.
    lines.push_str(&format!("{}\n{}\n\n{}", event(1), event(2), event(3)));
    let folder = tempfile::tempdir().unwrap();
    let database = sqlite(folder.path(), "emr.db");
    let file = import_file(folder.path(), &lines);
    for database in ["memory:", &database] {
        let emr = Emr::start(database, &["--import", &file]);
        let page = emr.page("/feed/recent").await;
        let ids: Vec<_> = page.entries.iter().map(|entry| entry.id.clone()).collect();
        assert_eq!(ids, [1, 2, 3].map(entry_id), "{database}");
        let said = emr.stop().stderr;
        let reported = reported(&said);
        assert_eq!(
            reported,
            (2..=13).collect::<Vec<u64>>(),
            "{database}: {said:#?}"
        );
        for (number, word) in [(5, "title"), (6, "content"), (7, "a,b"), (8, "yesterday")] {
            let line = said
                .iter()
                .find(|line| line.starts_with(&format!("line {number}:")));
            assert!(line.unwrap().contains(word), "{said:#?}");
        }
        let already = said
            .iter()
            .find(|line| line.starts_with("line 13:"))
            .unwrap();
        assert!(already.contains(&uuid(1).to_string()), "{already}");
    }
    // Again into the same file: every event with a uuid is there already.
    let emr = Emr::start(&database, &["--import", &file]);
    assert_eq!(emr.page("/feed/recent").await.entries.len(), 3);
    let said = emr.stop().stderr;
    let expected: Vec<u64> = (1..=14).chain([16]).collect();
    assert_eq!(reported(&said), expected, "{said:#?}");
}

/// The numbers of the lines that were reported.
fn reported(said: &[String]) -> Vec<u64> {
    let number = |line: &String| {
        let (number, _) = line.strip_prefix("line ")?.split_once(':')?;
        number.parse().ok()
    };
    said.iter().filter_map(number).collect()
}

#[tokio::test]
async fn fields_may_be_null_or_missing_and_times_are_utc() {
    let lines = [
        json!({
            "uuid": uuid(1), "title": null, "content": null,
            "timestamp": "2024-03-01T08:01:59.999Z",
        }),
        json!({
            "uuid": uuid(2), "category": null, "uri": null,
            "timestamp": "2024-03-01 08:02:00",
        }),
        json!({
            "uuid": uuid(3), "tags": ["x", "y"], "uri": "/x",
            "timestamp": "2024-03-01T13:33:00+05:30",
        }),
        json!({
            "uuid": uuid(4), "title": " <b>&", "content": "]]>\n<a>&amp;😀\t",
            "category": "x", "tags": ["x"],
            "timestamp": "1969-07-20T20:17:40Z",
        }),
    ];
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), lines);
    for database in ["memory:", &sqlite(folder.path(), "emr.db")] {
        let emr = Emr::start(database, &["--import", &file]);
        let page = emr.page("/feed/recent").await;
        let found: Vec<_> = page
            .entries
            .iter()
            .map(|entry| {
                (
                    &*entry.title,
                    &*entry.content,
                    entry.terms.join(","),
                    entry.updated,
                )
            })
            .collect();
        let expected = [
            ("", "", "", "2024-03-01T08:01:59Z"),
            ("", "", "", "2024-03-01T08:02:00Z"),
            ("", "", "x,y", "2024-03-01T08:03:00Z"),
            (" <b>&", "]]>\n<a>&amp;😀\t", "x", "1969-07-20T20:17:40Z"),
        ];
        let expected = expected
            .map(|(title, content, terms, at)| (title, content, terms.to_owned(), time(at)));
        assert_eq!(found, expected, "{database}");
    }
}

#[tokio::test]
async fn an_event_without_uuid_and_timestamp_gets_both() {
    let folder = tempfile::tempdir().unwrap();
    let line = json!({ "title": "a", "content": "b" });
    let file = ndjson(folder.path(), [line.clone(), line]);
    let before = Utc::now().timestamp();
    let emr = Emr::start("memory:", &["--import", &file]);
    let entries = emr.page("/feed/recent").await.entries;
    assert_eq!(entries.len(), 2);
    assert_ne!(entries[0].id, entries[1].id);
    for entry in entries {
        let updated = entry.updated.unwrap().timestamp();
        assert!(
            (before..=Utc::now().timestamp()).contains(&updated),
            "{updated}"
        );
    }
}

#[tokio::test]
async fn lines_of_standard_input_are_published_as_they_arrive() {
    for database in ["memory", "sqlite"] {
        let folder = tempfile::tempdir().unwrap();
        let database = match database {
            "memory" => "memory:".to_owned(),
            _ => sqlite(folder.path(), "emr.db"),
        };
        let mut emr = Emr::start(&database, &["--page-size", "2", "--import", "-"]);
        assert_eq!(emr.page("/feed/recent").await.entries.len(), 0);
        for number in 1..=3 {
            // Each only once the one before is shown: none waits for the next, or for the end.
            emr.publish([number]).await;
        }
        assert_eq!(emr.page("/feed/1").await.entries.len(), 2);
        emr.program.write("no event\n");
        emr.publish([4]).await;
        emr.program.stderr.wait_for("which line is none", |lines| {
            (reported(lines) == [4]).then_some(())
        });

        // The last one has no line end.
        emr.program.write(&event(5).to_string());
        emr.program.close_stdin();
        let newest = emr.wait_until_shown(&entry_id(5)).await;
        assert_eq!(newest.link("via"), Some(&*emr.url("/feed/3")));
        emr.program
            .stderr
            .wait_for("how many it published", |lines| {
                lines
                    .iter()
                    .any(|line| line.starts_with("5 of 6 "))
                    .then_some(())
            });
        assert_eq!(
            emr.page("/feed/1").await.entries.len(),
            2,
            "it goes on serving"
        );
        emr.stop().assert_status(0);
    }
}

/// Standard input stays open under a supervisor, or on a terminal.
#[tokio::test]
async fn ends_well_while_standard_input_is_open() {
    let mut emr = Emr::start("memory:", &["--import", "-"]);
    emr.publish([1]).await;
    emr.stop().assert_status(0);
}

/// What cannot be served is not published, either.
#[tokio::test]
async fn a_file_for_other_chunks_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let database = sqlite(folder.path(), "emr.db");
    let file = ndjson(folder.path(), (1..=3).map(event));
    drop(Emr::start(&database, &["--import", &file]));
    let refused = Emr::refused(&database, &["--chunking", "time", "--import", &file]);
    assert!(!refused.status.success());
    let said = refused.stderr.join("\n");
    assert!(said.contains("--chunking time"), "{said}");
    let file = SqliteConnection::connect(&database).await.unwrap();
    assert_eq!(events_in(file).await, 3);
}

/// Time chunks would follow it there, and every later event with them.
#[tokio::test]
async fn a_line_of_the_future_is_left_out_of_time_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let database = sqlite(folder.path(), "emr.db");
    let mut lines: Vec<_> = (1..=3).map(event).collect();
    lines[1]["timestamp"] = json!("2099-01-01T00:00:00Z");
    let file = ndjson(folder.path(), lines);
    let emr = Emr::start(&database, &["--chunking", "time", "--import", &file]);
    drop(emr);
    let file = SqliteConnection::connect(&database).await.unwrap();
    assert_eq!(events_in(file).await, 2);
}
