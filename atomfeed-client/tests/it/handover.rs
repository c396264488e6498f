//! A consumer takes over the tables that the original has used, and leaves them as the original
//! expects them, on tables of our own and on those that deployed systems have: row by row, column by
//! column, beside what the original leaves for the same pages and failures.

use std::sync::Arc;
use std::time::Duration;

use atomfeed_client::{AtomFeedClient, Event};
use atomfeed_core::store::conformance::{Harness, MySqlHarness, PostgresHarness, SqliteHarness};
use atomfeed_core::store::sql::{Dialect, SqlStore, Value as Cell};
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, SqlSafeStr};

use crate::feeds::{Apply, feed_uri};
use crate::tables::{NOON, Noon, TABLES, assert_row, fourth_and_ninth, pages, read};

/// One named test for each kind of tables.
macro_rules! on_all_tables {
    ($($case:ident),+ $(,)?) => {
        on_all_tables!(@ on_sqlite, Some(SqliteHarness::default()); $($case),+);
        on_all_tables!(@ on_postgres, PostgresHarness::from_env(); $($case),+);
        on_all_tables!(@ on_mysql, MySqlHarness::from_env(); $($case),+);
        on_all_tables!(@ on_odoo, PostgresHarness::odoo(); $($case),+);
        on_all_tables!(@ on_openelis, PostgresHarness::openelis(); $($case),+);
        on_all_tables!(@ on_openmrs, MySqlHarness::openmrs(); $($case),+);
        on_all_tables!(@ on_openmrs_sync2, MySqlHarness::openmrs_sync2(); $($case),+);
    };
    (@ $tables:ident, $harness:expr; $($case:ident),+) => {
        mod $tables {
            #[allow(unused_imports)]
            use super::{MySqlHarness, PostgresHarness, SqliteHarness};

            $(#[tokio::test]
            async fn $case() {
                if let Some(harness) = $harness {
                    super::$case(std::sync::Arc::new(harness)).await;
                }
            })+
        }
    };
}

on_all_tables!(
    what_the_original_leaves_is_continued,
    what_we_leave_is_what_the_original_expects,
);

struct Lab<H: Harness> {
    harness: Arc<H>,
    store: H::Store,
    /// By table, the columns that there are.
    columns: Vec<(String, String)>,
}

const NUMBERS: [&str; 3] = ["id", "error_hash_code", "retries"];

impl<D, H> Lab<H>
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>, Conn = D::Connection> + 'static,
    D::Connection: 'static,
{
    async fn new(harness: Arc<H>) -> Self {
        let store = harness.store().await;
        let sql = match D::NUMBERED_PLACEHOLDERS {
            true => D::COLUMNS.replace('?', "$1"),
            false => D::COLUMNS.to_owned(),
        };
        let mut conn = store.pool().acquire().await.unwrap();
        let sql = AssertSqlSafe(sql).into_sql_str();
        let rows = D::fetch(&mut conn, sql, vec![Cell::Text(None)]).await;
        let columns = rows.unwrap().into_iter().map(|mut row| {
            let name = row.text_or_empty().unwrap();
            (name, row.text_or_empty().unwrap())
        });
        Self {
            columns: columns.collect(),
            harness,
            store,
        }
    }

    fn client(&self, fails: fn(&Event) -> bool) -> AtomFeedClient<D::Connection> {
        AtomFeedClient::builder(feed_uri(), pages())
            // As the original does it: no more than that, and without waiting.
            .max_retries(5)
            .retry_delays(Duration::ZERO, Duration::ZERO)
            .clock(Noon)
            .build(self.store.clone(), Apply::but(&self.harness, fails))
    }

    /// Those of a row's columns that the table has.
    fn columns_of<'a>(&self, table: &str, row: &'a Map<String, Value>) -> Vec<&'a str> {
        let has = |column: &str| {
            let mut columns = self.columns.iter();
            columns.any(|(name, found)| name == table && found == column)
        };
        row.keys()
            .map(String::as_str)
            .filter(|column| has(column))
            .collect()
    }

    /// Puts the original's rows in the place of what is there.
    async fn load(&self, snapshot: &str) {
        let golden: Value = serde_json::from_slice(&read(snapshot)).unwrap();
        let mut conn = self.store.pool().acquire().await.unwrap();
        for table in TABLES {
            for row in golden[table].as_array().unwrap() {
                let row = row.as_object().unwrap();
                let mut columns = self.columns_of(table, row);
                // Ids are given as they come, in the same order.
                columns.retain(|column| *column != "id");
                if columns.is_empty() {
                    continue;
                }
                let mut cells = Vec::new();
                let marks: Vec<_> = columns
                    .iter()
                    .map(|column| {
                        let value = &row[*column];
                        let cell = match value.as_i64() {
                            Some(number) => Cell::from(number),
                            None => Cell::from(value.as_str()),
                        };
                        match (*column, value.as_str()) {
                            ("failed_at", Some(time)) => format!("'{}'", time.replace('T', " ")),
                            _ => {
                                cells.push(cell);
                                match D::NUMBERED_PLACEHOLDERS {
                                    true => format!("${}", cells.len()),
                                    false => "?".to_owned(),
                                }
                            }
                        }
                    })
                    .collect();
                let (columns, marks) = (columns.join(", "), marks.join(", "));
                let insert = format!("INSERT INTO {table} ({columns}) VALUES ({marks})");
                let insert = AssertSqlSafe(insert).into_sql_str();
                D::execute(&mut conn, insert, cells).await.unwrap();
            }
        }
    }

    async fn table(&self, table: &str, columns: &[&str]) -> Vec<Map<String, Value>> {
        let select = format!("SELECT {} FROM {table} ORDER BY 1", columns.join(", "));
        let select = AssertSqlSafe(select).into_sql_str();
        let mut conn = self.store.pool().acquire().await.unwrap();
        let rows = D::fetch(&mut conn, select, Vec::new()).await.unwrap();
        let rows = rows.into_iter().map(|mut row| {
            let cells = columns.iter().map(|column| {
                let value = match *column {
                    "failed_at" => {
                        let time = row.time().unwrap().unwrap();
                        time.format("%Y-%m-%d %H:%M:%S%.6f").to_string().into()
                    }
                    column if NUMBERS.contains(&column) => row.int().unwrap().into(),
                    _ => row.text().unwrap().into(),
                };
                ((*column).to_owned(), value)
            });
            cells.collect()
        });
        rows.collect()
    }

    /// Holds the tables against a snapshot of the original's. Rows that were loaded from it may be as
    /// the original wrote them.
    async fn assert_is(&self, snapshot: &str, loaded: bool) {
        let golden: Value = serde_json::from_slice(&read(snapshot)).unwrap();
        for table in TABLES {
            let original = golden[table].as_array().unwrap();
            if !self.columns.iter().any(|(name, _)| name == table) {
                continue;
            }
            let Some(first) = original.first() else {
                let count = self.table(table, &["feed_uri"]).await.len();
                assert_eq!(count, 0, "{snapshot} {table}");
                continue;
            };
            let mut columns = self.columns_of(table, first.as_object().unwrap());
            // The order of the rows is that of their ids.
            columns.sort_by_key(|column| *column != "id");
            let ours = self.table(table, &columns).await;
            assert_eq!(ours.len(), original.len(), "{snapshot} {table}");
            for (mut ours, original) in ours.into_iter().zip(original) {
                let mut original = original.as_object().unwrap().clone();
                original.retain(|column, _| columns.contains(&column.as_str()));
                if loaded && is_untouched(&ours, &original) {
                    continue;
                }
                // A column that keeps whole seconds.
                if let Some(failed_at) = ours.get_mut("failed_at")
                    && failed_at == "2026-11-23 12:00:00.000000"
                {
                    *failed_at = NOON.into();
                }
                assert_row(&format!("{snapshot} {table}"), table, ours, &original);
            }
        }
    }

    async fn written(&self) -> Vec<String> {
        let written = self.harness.written(&self.store).await;
        written.into_iter().map(|(key, _)| key).collect()
    }
}

/// Whether a row is as the original wrote it, but for its id, and for the fractions of a second.
fn is_untouched(ours: &Map<String, Value>, original: &Map<String, Value>) -> bool {
    ours.iter().all(|(column, value)| match column.as_str() {
        "id" => true,
        "failed_at" => {
            let second = |value: &Value| value.as_str().unwrap()[..19].replace('T', " ");
            second(value) == second(&original[column])
        }
        _ => *value == original[column],
    })
}

fn ninth(event: &Event) -> bool {
    event.content().ends_with("n=9")
}

type Fails = fn(&Event) -> bool;

/// What is done to a snapshot: events are processed, or those that are parked, or all of these.
#[derive(Debug, Clone, Copy)]
enum Step {
    Events,
    Failed,
    AllFailed,
}

async fn step<D, H>(lab: &Lab<H>, step: Step, fails: Fails) -> (u64, u64)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>, Conn = D::Connection> + 'static,
    D::Connection: 'static,
{
    let client = lab.client(fails);
    let processed = match step {
        Step::Events => client.process_events().await,
        Step::Failed => client.process_failed_events().await,
        Step::AllFailed => client.retry_all_failed_events().await,
    };
    let processed = processed.unwrap();
    (processed.applied, processed.failed)
}

async fn what_the_original_leaves_is_continued<D, H>(harness: Arc<H>)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>, Conn = D::Connection> + 'static,
    D::Connection: 'static,
{
    let nothing: Fails = |_| false;
    let all: Fails = |_| true;
    for (left, step_taken, fails, counts, then) in [
        (
            "0_clean_run.json",
            Step::Events,
            all,
            (0, 0),
            "0_clean_run.json",
        ),
        (
            "1_two_failing.json",
            Step::Events,
            all,
            (0, 0),
            "1_two_failing.json",
        ),
        (
            "1_two_failing.json",
            Step::Failed,
            all,
            (0, 2),
            "2_retry_fails.json",
        ),
        (
            "2_retry_fails.json",
            Step::Failed,
            all,
            (0, 2),
            "3_retry_fails_again.json",
        ),
        (
            "3_retry_fails_again.json",
            Step::Failed,
            ninth,
            (1, 1),
            "4_retry_one_succeeds.json",
        ),
        (
            "4_retry_one_succeeds.json",
            Step::Failed,
            nothing,
            (1, 0),
            "5_retry_succeeds.json",
        ),
        // It has halted; we do not.
        ("6_halt_at_5.json", Step::Failed, nothing, (5, 0), ""),
        ("6_halt_at_5.json", Step::Events, nothing, (7, 0), ""),
        // Retries are exhausted: a person has them tried again.
        (
            "7_long_error.json",
            Step::Failed,
            nothing,
            (0, 0),
            "7_long_error.json",
        ),
        ("7_long_error.json", Step::AllFailed, nothing, (5, 0), ""),
    ] {
        let lab = Lab::new(Arc::clone(&harness)).await;
        // Where there is no column for it, nobody knows how often it was tried.
        let counts_retries = lab.columns.iter().any(|(_, column)| column == "retries");
        if !counts_retries && left == "7_long_error.json" {
            continue;
        }
        lab.load(left).await;
        let at = format!("{left}, {step_taken:?}");
        assert_eq!(step(&lab, step_taken, fails).await, counts, "{at}");
        if !then.is_empty() {
            lab.assert_is(then, true).await;
        }
        // What was applied is what the feed says, also where the original stored something else.
        let written = lab.written().await;
        assert_eq!(written.len() as u64, counts.0, "{at}");
        for content in written {
            assert!(content.contains("?v=full&n="), "{at}: {content}");
        }
    }
}

async fn what_we_leave_is_what_the_original_expects<D, H>(harness: Arc<H>)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>, Conn = D::Connection> + 'static,
    D::Connection: 'static,
{
    let lab = Lab::new(harness).await;
    for (step_taken, fails, counts, snapshot) in [
        (
            Step::Events,
            fourth_and_ninth as Fails,
            (10, 2),
            "1_two_failing.json",
        ),
        (Step::Failed, fourth_and_ninth, (0, 2), "2_retry_fails.json"),
        (
            Step::Failed,
            fourth_and_ninth,
            (0, 2),
            "3_retry_fails_again.json",
        ),
        (Step::Failed, ninth, (1, 1), "4_retry_one_succeeds.json"),
        (Step::Failed, |_| false, (1, 0), "5_retry_succeeds.json"),
    ] {
        assert_eq!(step(&lab, step_taken, fails).await, counts, "{snapshot}");
        lab.assert_is(snapshot, false).await;
    }
}
