//! A feed of few events, or of none for a long time, costs no more than what is on its pages: by how many
//! rows the databases say that they have read.

use std::time::Duration;

use atomfeed_core::store::conformance::{MySqlHarness, PostgresHarness};
use atomfeed_core::store::sql::{Dialect, SqlStore};
use atomfeed_core::store::{Adoption, FeedStore, MySqlStore, PostgresStore, RecordRange};
use atomfeed_core::{Category, FeedScope};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Executor, MySqlPool, PgPool, Row};

/// As many events as there are.
const EVENTS: u64 = 30_000;

/// Every other of the first ones was of a category that has been quiet ever since.
const QUIET: u64 = 5_000;

/// Once in so many events of the first ones, and last so far from the end that not all are gone through.
const RARE: u64 = 2_000;
const LAST_RARE: u64 = 18_001;

/// What it may cost, where all of a category, or all events, would be some thousands.
const MOST: i64 = 500;

fn fill(numbers: &str) -> String {
    format!(
        "INSERT INTO event_records (uuid, title, object, category)
         SELECT CONCAT('event ', n), 'Event', '/event', CASE
          WHEN n <= {LAST_RARE} AND MOD(n, {RARE}) = 1 THEN 'rare'
          WHEN n <= 2 * {QUIET} AND MOD(n, 2) = 0 THEN 'quiet'
          WHEN MOD(n, 7) = 0 THEN 'Common'
          ELSE 'common' END
         FROM {numbers} ORDER BY n"
    )
}

/// How many rows, and entries of indexes, this database has read of the schema's tables.
async fn read_of_postgres(pool: &PgPool, schema: &str) -> i64 {
    pool.execute("SELECT pg_stat_force_next_flush()")
        .await
        .unwrap();
    let select = format!(
        "SELECT (SELECT SUM(seq_tup_read) FROM pg_stat_user_tables WHERE schemaname = '{schema}')::bigint
         + (SELECT SUM(idx_tup_read) FROM pg_stat_user_indexes WHERE schemaname = '{schema}')::bigint"
    );
    let read = sqlx::query_scalar(AssertSqlSafe(select)).fetch_one(pool);
    read.await.unwrap()
}

/// How many rows, and entries of indexes, the connection has read.
async fn read_of_mariadb(pool: &MySqlPool, _schema: &str) -> i64 {
    let show = "SHOW SESSION STATUS LIKE 'Handler_read_%'";
    let rows = sqlx::raw_sql(show).fetch_all(pool).await.unwrap();
    let read = rows
        .iter()
        .map(|row| row.get::<String, _>(1).parse::<i64>().unwrap());
    read.sum()
}

/// What is asked of a feed for a page, by its number.
async fn ask<D: Dialect>(store: &SqlStore<D>, scope: &FeedScope, question: u32, last: i64) {
    let range = |after| RecordRange {
        after,
        through: None,
        skip: 0,
        limit: 5,
    };
    match question {
        0 => assert_eq!(store.records(scope, range(0)).await.unwrap().len(), 5),
        1 => assert_eq!(store.records(scope, range(last)).await.unwrap(), []),
        2 => assert_eq!(store.count(scope, last, None).await.unwrap(), 0),
        3 => assert_eq!(store.every_nth_id(scope, last, 1).await.unwrap(), []),
        _ => {
            // As between two positions that are known.
            let page = RecordRange {
                through: Some(last + 100),
                ..range(last)
            };
            assert_eq!(store.records(scope, page).await.unwrap().len(), 5);
        }
    }
}

macro_rules! on_adopted_tables {
    ($($name:ident: $store:ident, $harness:expr, $pool:ident, $numbers:expr, $analyze:expr, $read:ident;)+) => {
        $(#[tokio::test]
        async fn $name() {
            let Some(harness) = $harness else { return };
            let (pool, schema) = harness.foreign().await;
            // One connection, whose doings are counted.
            let options = pool.connect_options().as_ref().clone();
            let one = $pool::new().max_connections(1).connect_lazy_with(options);
            let numbers = format!($numbers, EVENTS);
            one.execute(AssertSqlSafe(fill(&numbers))).await.unwrap();
            // As is done by itself sooner or later.
            one.execute($analyze).await.unwrap();
            let adoption = Adoption::of_publisher().waiting_for_gaps(Duration::from_millis(200));
            let store = $store::over(one.clone(), Some(&schema));
            let store = store.adopt(&adoption).await.unwrap();
            for (category, last, questions) in [
                ("quiet", 2 * QUIET, 0..4),
                ("rare", LAST_RARE, 0..4),
                // Nor does one of almost all, in two spellings.
                ("common", EVENTS / 2, 4..5),
            ] {
                let scope = FeedScope::Category(Category::new(category).unwrap());
                for question in questions {
                    let last = last.cast_signed();
                    // First, what is only done once.
                    ask(&store, &scope, question, last).await;
                    let before = $read(&one, schema.as_str()).await;
                    ask(&store, &scope, question, last).await;
                    let read = $read(&one, schema.as_str()).await - before;
                    assert!(read <= MOST, "{category}, question {question}: {read} rows are read");
                }
            }
        })+
    };
}

on_adopted_tables! {
    odoo: PostgresStore, PostgresHarness::odoo(), PgPoolOptions,
        "generate_series(1, {}) AS numbers (n)", "ANALYZE event_records", read_of_postgres;
    openelis: PostgresStore, PostgresHarness::openelis(), PgPoolOptions,
        "generate_series(1, {}) AS numbers (n)", "ANALYZE event_records", read_of_postgres;
    openmrs: MySqlStore, MySqlHarness::openmrs(), MySqlPoolOptions,
        "(SELECT seq AS n FROM seq_1_to_{}) AS numbers", "ANALYZE TABLE event_records", read_of_mariadb;
    openmrs_sync2: MySqlStore, MySqlHarness::openmrs_sync2(), MySqlPoolOptions,
        "(SELECT seq AS n FROM seq_1_to_{}) AS numbers", "ANALYZE TABLE event_records", read_of_mariadb;
}
