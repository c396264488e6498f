//! What stands in a consumer's tables, column by column, beside what the original leaves there for
//! the same pages and the same failures (`tests/golden/*.json`).

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use atomfeed_client::{AtomFeedClient, Event, StartPosition};
use atomfeed_core::store::SqliteStore;
use atomfeed_core::store::conformance::{Harness, SqliteHarness};
use atomfeed_core::{Clock, Failure};
use chrono::{DateTime, NaiveDateTime, Utc};
use serde_json::{Map, Value};
use sqlx::{Column, Row, TypeInfo, ValueRef};

use crate::feeds::{Apply, Pages, feed_uri};

pub(crate) const TABLES: [&str; 3] = ["markers", "failed_events", "failed_event_retry_log"];

#[derive(Debug)]
pub(crate) struct Noon;

pub(crate) const NOON: &str = "2026-11-23 12:00:00.123456";

impl Clock for Noon {
    fn now(&self) -> DateTime<Utc> {
        NaiveDateTime::parse_from_str(NOON, "%Y-%m-%d %H:%M:%S%.f")
            .unwrap()
            .and_utc()
    }
}

struct Lab {
    harness: Arc<SqliteHarness>,
    store: SqliteStore,
}

impl Lab {
    async fn new() -> Self {
        let harness = Arc::new(SqliteHarness::default());
        let store = harness.store().await;
        Self { harness, store }
    }

    fn client(&self, fails: fn(&Event) -> bool) -> AtomFeedClient<sqlx::SqliteConnection> {
        AtomFeedClient::builder(feed_uri(), pages())
            // As the original does it: no more than that, and without waiting.
            .max_retries(5)
            .retry_delays(Duration::ZERO, Duration::ZERO)
            .clock(Noon)
            .build(self.store.clone(), Apply::but(&self.harness, fails))
    }

    async fn table(&self, table: &str) -> Vec<Map<String, Value>> {
        let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
            "SELECT * FROM {table} ORDER BY 1"
        )));
        let rows = rows.fetch_all(self.store.pool()).await.unwrap();
        rows.iter()
            .map(|row| {
                let cells = row.columns().iter().map(|column| {
                    let raw = row.try_get_raw(column.ordinal()).unwrap();
                    let value = match raw.type_info().name() {
                        _ if raw.is_null() => Value::Null,
                        "INTEGER" => row.get::<i64, _>(column.ordinal()).into(),
                        _ => row.get::<String, _>(column.ordinal()).into(),
                    };
                    (column.name().to_owned(), value)
                });
                cells.collect()
            })
            .collect()
    }

    /// Holds all three tables against a snapshot of the original's.
    async fn assert_is(&self, snapshot: &str) {
        let golden: Value = serde_json::from_slice(&read(snapshot)).unwrap();
        for table in TABLES {
            let original = golden[table].as_array().unwrap();
            let ours = self.table(table).await;
            assert_eq!(ours.len(), original.len(), "{snapshot} {table}");
            for (ours, original) in ours.into_iter().zip(original) {
                let at = format!("{snapshot} {table}");
                assert_row(&at, table, ours, original.as_object().unwrap());
            }
        }
    }
}

/// Each column as the original's, but for what cannot be equal: when it failed, and what a stack
/// trace of Java says. Content is as the feed has it, where the original escapes it.
pub(crate) fn assert_row(
    at: &str,
    table: &str,
    ours: Map<String, Value>,
    original: &Map<String, Value>,
) {
    let columns = |row: &Map<String, Value>| row.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        sorted(columns(&ours)),
        sorted(columns(original)),
        "{at}: columns"
    );
    for (column, value) in &ours {
        let theirs = &original[column];
        let at = format!("{at} {column}");
        match column.as_str() {
            "failed_at" => assert_eq!(value, NOON, "{at}"),
            "error_message" => {
                let message = value.as_str().unwrap();
                let prefix = "Failed processing event in feed [";
                assert_eq!(
                    message.starts_with(prefix),
                    theirs.as_str().unwrap().starts_with(prefix)
                );
                assert_eq!(
                    message.starts_with(prefix),
                    table == "failed_events",
                    "{at}"
                );
                // The page, and what the worker said; then Java goes on.
                let theirs = theirs.as_str().unwrap().replace("&amp;", "&");
                assert!(
                    theirs.starts_with(message),
                    "{at}: {message:?} of {theirs:?}"
                );
            }
            "error_hash_code" => {
                let message = ours["error_message"].as_str().unwrap();
                assert_eq!(
                    *value,
                    Failure::new(message, Utc::now()).hash_code(),
                    "{at}"
                );
                let theirs = original["error_message"].as_str().unwrap();
                assert_eq!(
                    original[column],
                    Failure::new(theirs, Utc::now()).hash_code(),
                    "{at}"
                );
            }
            "event_content" => {
                assert_eq!(
                    value.as_str().unwrap(),
                    theirs.as_str().unwrap().replace("&amp;", "&")
                );
            }
            "tags" => {
                let tags = |value: &Value| {
                    let tags = value.as_str().unwrap().split(',').map(str::to_owned);
                    sorted(tags.collect::<Vec<_>>())
                };
                assert_eq!(tags(value), tags(theirs), "{at}");
            }
            // A new database counts from 1.
            "id" => {}
            _ => assert_eq!(value, theirs, "{at}"),
        }
    }
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

pub(crate) fn read(file: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden")
            .join(file),
    )
    .unwrap()
}

/// The pages that the original's consumer read.
pub(crate) fn pages() -> Pages {
    let page = |name: &str, file: &str| (format!("http://127.0.0.1:8080/feed/{name}"), read(file));
    Pages(vec![
        page("1", "page_1.xml"),
        page("2", "page_2.xml"),
        page("3", "page_3.xml"),
        page("recent", "page_recent.xml"),
    ])
}

pub(crate) fn fourth_and_ninth(event: &Event) -> bool {
    event.content().ends_with("n=4") || event.content().ends_with("n=9")
}

#[tokio::test]
async fn a_clean_run() {
    let lab = Lab::new().await;
    let processed = lab.client(|_| false).process_events().await.unwrap();
    assert_eq!((processed.applied, processed.failed), (12, 0));
    lab.assert_is("0_clean_run.json").await;
}

#[tokio::test]
async fn two_failures_and_their_retries() {
    let lab = Lab::new().await;
    let processed = lab.client(fourth_and_ninth).process_events().await.unwrap();
    assert_eq!((processed.applied, processed.failed), (10, 2));
    lab.assert_is("1_two_failing.json").await;

    for snapshot in ["2_retry_fails.json", "3_retry_fails_again.json"] {
        let processed = lab
            .client(fourth_and_ninth)
            .process_failed_events()
            .await
            .unwrap();
        assert_eq!((processed.applied, processed.failed), (0, 2));
        lab.assert_is(snapshot).await;
    }
    let ninth = |event: &Event| event.content().ends_with("n=9");
    let processed = lab.client(ninth).process_failed_events().await.unwrap();
    assert_eq!((processed.applied, processed.failed), (1, 1));
    lab.assert_is("4_retry_one_succeeds.json").await;

    lab.client(|_| false).process_failed_events().await.unwrap();
    lab.assert_is("5_retry_succeeds.json").await;
    let written = lab.harness.written(&lab.store).await;
    assert_eq!(
        written.len(),
        12,
        "what the failing worker wrote was undone"
    );
}

/// An event is tried five times again, and then left to a person.
#[tokio::test]
async fn retries_end() {
    let lab = Lab::new().await;
    lab.client(fourth_and_ninth).process_events().await.unwrap();
    let mut tried = 0;
    for _ in 0..7 {
        tried += lab
            .client(fourth_and_ninth)
            .process_failed_events()
            .await
            .unwrap()
            .failed;
    }
    assert_eq!(tried, 2 * 5);
    let retries: Vec<_> = lab
        .table("failed_events")
        .await
        .iter()
        .map(|row| row["retries"].clone())
        .collect();
    assert_eq!(retries, [5, 5]);
    let processed = lab
        .client(|_| false)
        .retry_all_failed_events()
        .await
        .unwrap();
    assert_eq!((processed.applied, processed.failed), (2, 0));
    lab.assert_is("0_clean_run.json").await;
}

#[tokio::test]
async fn a_long_error_is_cut_as_the_original_cuts_it() {
    let lab = Lab::new().await;
    let long = atomfeed_client::worker_fn(|_, _: &mut sqlx::SqliteConnection| {
        Box::pin(async { Err::<(), _>(atomfeed_client::WorkerError::new("é😀".repeat(5_000))) })
    });
    let client = AtomFeedClient::builder(feed_uri(), pages()).build(lab.store.clone(), long);
    client.process_events().await.unwrap();
    client.process_failed_events().await.unwrap();
    for table in ["failed_events", "failed_event_retry_log"] {
        for row in lab.table(table).await {
            let message = row["error_message"].as_str().unwrap();
            let units = message.encode_utf16().count();
            assert!((3_999..=4_000).contains(&units), "{table}: {units}");
        }
    }
}

/// The original's time chunks have a row on their border on both pages: it is applied once.
#[tokio::test]
async fn an_entry_on_two_pages_is_applied_once() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../atomfeed-server/tests/golden/time");
    let page = |name: &str| {
        let body = fs::read(folder.join(format!("pages/{name}.xml"))).unwrap();
        (format!("http://127.0.0.1:8080/feed/{name}"), body)
    };
    let names = ["0", "1", "2", "3", "4", "5", "6", "7", "recent"];
    let lab = Lab::new().await;
    let client = AtomFeedClient::builder(feed_uri(), Pages(names.map(page).to_vec()))
        .build(lab.store.clone(), Apply::all(&lab.harness));
    assert_eq!(client.process_events().await.unwrap().applied, 39);
    assert_eq!(lab.harness.written(&lab.store).await.len(), 39);
}

/// `Latest` leaves what is there alone, and applies what comes; on an empty feed it applies all.
#[tokio::test]
async fn a_start_may_be_chosen() {
    let client = |lab: &Lab, start| {
        AtomFeedClient::builder(feed_uri(), pages())
            .start(start)
            .build(lab.store.clone(), Apply::all(&lab.harness))
    };
    let lab = Lab::new().await;
    let processed = client(&lab, StartPosition::Latest)
        .process_events()
        .await
        .unwrap();
    assert_eq!(processed.applied, 0);
    lab.assert_is("0_clean_run.json").await;

    let lab = Lab::new().await;
    let page = StartPosition::Page("http://127.0.0.1:8080/feed/3".parse().unwrap());
    let processed = client(&lab, page).process_events().await.unwrap();
    assert_eq!(processed.applied, 2);
    lab.assert_is("0_clean_run.json").await;
}
