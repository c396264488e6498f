//! Runs of feed-consumer on one database, and what stands there afterwards.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use regex::Regex;
use serde_json::Value;
use sqlx::{Connection, SqliteConnection};

use crate::emr::sqlite;
use crate::programs::{Finished, Program};

pub(crate) struct Lab {
    feed: String,
    database: String,
}

impl Lab {
    /// A consumer of a feed, with a database of its own in `folder`.
    pub(crate) fn new(folder: &Path, feed: impl Into<String>) -> Self {
        Self {
            feed: feed.into(),
            database: sqlite(folder, "lab.db"),
        }
    }

    /// A consumer of a feed, with a database that there is.
    pub(crate) fn on(database: &str, feed: impl Into<String>) -> Self {
        Self {
            feed: feed.into(),
            database: database.to_owned(),
        }
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Program {
        let mut all = vec!["--feed", &self.feed, "--database", &self.database];
        all.extend(arguments);
        Program::start("feed-consumer", &all)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        self.start(arguments).finish()
    }

    /// Runs it to the head of the feed, and gives what it printed.
    #[track_caller]
    pub(crate) fn catch_up(&self, arguments: &[&str], applied: u64, failed: u64) -> Vec<Value> {
        let mut all = vec!["--once"];
        all.extend(arguments);
        let finished = self.run(&all);
        finished.assert_status(0);
        assert_eq!(finished.summary(), (applied, failed), "{finished:#?}");
        finished.events()
    }

    /// The rows of `applied`, in the order in which they were written.
    pub(crate) async fn applied(&self) -> Vec<(String, String)> {
        let mut database = self.open().await;
        sqlx::query_as("SELECT event_id, content FROM applied ORDER BY rowid")
            .fetch_all(&mut database)
            .await
            .unwrap()
    }

    /// Id, content and number of retries of what is parked.
    pub(crate) async fn parked(&self) -> Vec<(String, String, i64)> {
        let mut database = self.open().await;
        sqlx::query_as("SELECT event_id, event_content, retries FROM failed_events ORDER BY id")
            .fetch_all(&mut database)
            .await
            .unwrap()
    }

    pub(crate) async fn count(&self, table: &'static str) -> i64 {
        let mut database = self.open().await;
        let count = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
        sqlx::query_scalar(count)
            .fetch_one(&mut database)
            .await
            .unwrap()
    }

    async fn open(&self) -> SqliteConnection {
        SqliteConnection::connect(&self.database).await.unwrap()
    }
}

impl Finished {
    /// What feed-consumer printed, a JSON object a line and nothing else.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        let event = |line: &String| {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|error| {
                panic!("standard output has a line that is no JSON ({error}): {line:?}")
            });
            assert!(event.is_object(), "{line}");
            event
        };
        self.stdout.iter().map(event).collect()
    }

    /// How many were applied and how many failed, as the last line of standard error says.
    #[track_caller]
    pub(crate) fn summary(&self) -> (u64, u64) {
        let form = Regex::new(r"^processed=(\d+) failed=(\d+) seconds=\d+(\.\d+)?$").unwrap();
        let last = self.stderr.last().map_or("", String::as_str);
        let found = form
            .captures(last)
            .unwrap_or_else(|| panic!("no summary: {self:#?}"));
        (found[1].parse().unwrap(), found[2].parse().unwrap())
    }
}

/// The ids of events that were printed.
pub(crate) fn ids(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["event_id"].as_str().unwrap())
        .collect()
}
