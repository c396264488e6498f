//! A migration that is cut off is resumed. On PostgreSQL and SQLite it is one transaction; MariaDB
//! commits each statement that makes a table, and may stop behind any of them.

use atomfeed_core::NewEvent;
use atomfeed_core::store::conformance::{Harness, MySqlHarness, sequence_all};
use atomfeed_core::store::{FeedStore, MySqlStore, OutboxStore};
use atomfeed_core::{Clock, SystemClock};
use sqlx::mysql::{MySqlConnectOptions, MySqlPool};
use sqlx::{AssertSqlSafe, Executor, Row};

const BESIDE: &str = concat!(
    include_str!("../../migrations/mysql/0001_beside.sql"),
    include_str!("../../migrations/mysql/0003_consumers.sql"),
);
const TABLES: &str = include_str!("../../migrations/mysql/0002_tables.sql");

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

#[tokio::test]
async fn a_migration_is_resumed_behind_any_statement() {
    let Some(harness) = MySqlHarness::from_env() else {
        return;
    };
    let whole = harness.store().await;
    let reference: String = sqlx::query_scalar("SELECT DATABASE()")
        .fetch_one(whole.pool())
        .await
        .unwrap();
    let expected = shape(whole.pool()).await;
    let beside = statements(BESIDE).count();
    let all: Vec<_> = statements(BESIDE).chain(statements(TABLES)).collect();
    assert!(beside > 10 && all.len() > beside + 5);

    for done in 0..=all.len() {
        let database = format!("{reference}_{done}");
        let make = format!("CREATE DATABASE {database}");
        whole.pool().execute(AssertSqlSafe(make)).await.unwrap();
        let options: MySqlConnectOptions = whole.pool().connect_options().as_ref().clone();
        let pool = MySqlPool::connect_lazy_with(options.database(&database));
        for statement in &all[..done] {
            pool.execute(*statement).await.unwrap();
        }
        // As the migrator leaves it: what it has begun is written down, and not as done.
        let (version, owner) = match done < beside {
            true => (1, "NULL"),
            false => (2, "'managed'"),
        };
        let begun = [
            format!("CREATE TABLE atomfeed_migrations LIKE {reference}.atomfeed_migrations"),
            format!(
                "INSERT INTO atomfeed_migrations SELECT * FROM {reference}.atomfeed_migrations"
            ),
            format!("DELETE FROM atomfeed_migrations WHERE version > {version}"),
            format!("UPDATE atomfeed_migrations SET success = FALSE WHERE version = {version}"),
        ];
        for statement in begun {
            pool.execute(AssertSqlSafe(statement)).await.unwrap();
        }
        if done >= beside {
            let claim = format!("UPDATE atomfeed_feed_state SET owner = {owner}");
            pool.execute(AssertSqlSafe(claim)).await.unwrap();
        }

        let store = MySqlStore::over(pool.clone(), None);
        store
            .migrate()
            .await
            .unwrap_or_else(|error| panic!("resumed behind statement {done}: {error:?}"));
        assert_eq!(shape(&pool).await, expected, "behind statement {done}");
        let mut transaction = pool.begin().await.unwrap();
        let event = NewEvent::new("Patient", "/patient/1");
        let published = store.publish(&mut transaction, &event, SystemClock.now());
        published.await.unwrap();
        transaction.commit().await.unwrap();
        sequence_all(&store).await;
        assert_eq!(store.newest_id().await.unwrap(), 1);
        pool.close().await;
        let drop = format!("DROP DATABASE {database}");
        whole.pool().execute(AssertSqlSafe(drop)).await.unwrap();
    }
}
