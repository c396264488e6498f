//! A migration that is cut off is resumed. On PostgreSQL and SQLite it is one transaction; MariaDB
//! commits each statement that makes a table, and may stop behind any of them.

use atomfeed_core::NewEvent;
use atomfeed_core::store::conformance::{Harness, MySqlHarness, sequence_all};
use atomfeed_core::store::{Adoption, FeedStore, MySqlStore, OutboxStore};
use atomfeed_core::{Clock, SystemClock};
use sqlx::mysql::{MySqlConnectOptions, MySqlPool};
use sqlx::{AssertSqlSafe, Executor, Row};

/// Version and statements of the tables beside, and of those of the feed, in the order in which they run;
/// between the two it is written down whose they are.
const BESIDE: &[(i64, &str)] = &[
    (1, include_str!("../../migrations/mysql/0001_beside.sql")),
    (3, include_str!("../../migrations/mysql/0003_consumers.sql")),
    (
        4,
        include_str!("../../migrations/mysql/0004_fingerprints.sql"),
    ),
];
const TABLES: &[(i64, &str)] = &[(2, include_str!("../../migrations/mysql/0002_tables.sql"))];

fn statements(file: &'static str) -> impl Iterator<Item = &'static str> {
    let statements = file.split_inclusive(";\n");
    statements.filter(|statement| statement.contains(';'))
}

/// Every table with its columns, keys and defaults.
async fn shape(pool: &MySqlPool) -> Vec<String> {
    let mut shape = Vec::new();
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()
        AND table_name <> 'applied' ORDER BY table_name",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    for table in tables {
        let show = AssertSqlSafe(format!("SHOW CREATE TABLE {table}"));
        let row = sqlx::query(show).fetch_one(pool).await.unwrap();
        let made: String = row.get(1);
        // The next id says how many rows there were once.
        let made = made.lines().filter(|line| !line.starts_with(") ENGINE"));
        shape.push(made.collect::<Vec<_>>().join("\n"));
    }
    let versions = "SELECT version FROM atomfeed_migrations WHERE success ORDER BY version";
    let versions: Vec<i64> = sqlx::query_scalar(versions).fetch_all(pool).await.unwrap();
    shape.push(format!("{versions:?}"));
    let rows: Vec<String> = sqlx::query_scalar(
        "SELECT CONCAT('state ', owner) FROM atomfeed_feed_state
        UNION ALL SELECT CONCAT('lock ', name) FROM atomfeed_locks",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    shape.extend(rows);
    shape
}

/// What a migration does, one after the other, as the migrator does it: what it has begun is written
/// down, and in the end as done. It may be cut off behind any of them.
fn steps(reference: &str, owner: &str) -> Vec<String> {
    let mut steps = vec![format!(
        "CREATE TABLE atomfeed_migrations LIKE {reference}.atomfeed_migrations"
    )];
    let run = |files: &[(i64, &'static str)]| {
        let mut steps = Vec::new();
        for (version, file) in files {
            steps.push(format!(
                "INSERT INTO atomfeed_migrations
                 (version, description, success, checksum, execution_time)
                 SELECT version, description, FALSE, checksum, -1
                 FROM {reference}.atomfeed_migrations WHERE version = {version}"
            ));
            steps.extend(statements(file).map(str::to_owned));
            steps.push(format!(
                "UPDATE atomfeed_migrations SET success = TRUE WHERE version = {version}"
            ));
        }
        steps
    };
    steps.extend(run(BESIDE));
    steps.push(format!("UPDATE atomfeed_feed_state SET owner = '{owner}'"));
    if owner == "managed" {
        steps.extend(run(TABLES));
    }
    steps
}

async fn database_of(store: &MySqlStore) -> String {
    let select = sqlx::query_scalar("SELECT DATABASE()");
    select.fetch_one(store.pool()).await.unwrap()
}

/// It publishes.
async fn assert_works(store: &MySqlStore) {
    let mut transaction = store.pool().begin().await.unwrap();
    let event = NewEvent::new("Patient", "/patient/1");
    let published = store.publish(&mut transaction, &event, SystemClock.now());
    published.await.unwrap();
    transaction.commit().await.unwrap();
    sequence_all(store).await;
    assert_eq!(store.newest_id().await.unwrap(), 1);
}

#[tokio::test]
async fn a_migration_is_resumed_behind_any_statement() {
    let Some(harness) = MySqlHarness::from_env() else {
        return;
    };
    let whole = harness.store().await;
    let reference = database_of(&whole).await;
    let expected = shape(whole.pool()).await;
    let steps = steps(&reference, "managed");
    assert!(steps.len() > 20);

    for done in 0..=steps.len() {
        let database = format!("{reference}_{done}");
        let make = format!("CREATE DATABASE {database}");
        whole.pool().execute(AssertSqlSafe(make)).await.unwrap();
        let options: MySqlConnectOptions = whole.pool().connect_options().as_ref().clone();
        let pool = MySqlPool::connect_lazy_with(options.database(&database));
        for step in &steps[..done] {
            pool.execute(AssertSqlSafe(step.as_str())).await.unwrap();
        }
        let store = MySqlStore::over(pool.clone(), None);
        store
            .migrate()
            .await
            .unwrap_or_else(|error| panic!("resumed behind step {done}: {error:?}"));
        assert_eq!(shape(&pool).await, expected, "behind step {done}");
        assert_works(&store).await;
        pool.close().await;
        let drop = format!("DROP DATABASE {database}");
        whole.pool().execute(AssertSqlSafe(drop)).await.unwrap();
    }
}

#[tokio::test]
async fn an_adoption_is_resumed_behind_any_statement() {
    let Some(harness) = MySqlHarness::openmrs() else {
        return;
    };
    let adoption = Adoption::of_publisher().sequencing();
    let (pool, _) = harness.foreign().await;
    let whole = MySqlStore::over(pool, None).adopt(&adoption).await.unwrap();
    let expected = shape(whole.pool()).await;
    let steps = steps(&database_of(&whole).await, "adopted");
    for done in 0..=steps.len() {
        let (pool, schema) = harness.foreign().await;
        for step in &steps[..done] {
            pool.execute(AssertSqlSafe(step.as_str())).await.unwrap();
        }
        let store = MySqlStore::over(pool.clone(), None).adopt(&adoption).await;
        let store = store.unwrap_or_else(|error| panic!("resumed behind step {done}: {error:?}"));
        assert_eq!(shape(&pool).await, expected, "behind step {done}");
        assert_works(&store).await;
        let drop = format!("DROP DATABASE {schema}");
        pool.execute(AssertSqlSafe(drop)).await.unwrap();
    }
}
