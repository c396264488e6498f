//! Queued rows that cannot be moved are set aside, and those alone.

use atomfeed_core::store::conformance::{Harness, MySqlHarness, PostgresHarness, SqliteHarness};
use atomfeed_core::store::sql::{Dialect, SqlStore};
use atomfeed_core::store::{MySqlStore, PostgresStore, SequencedStore, StoreErrorKind};
use atomfeed_core::{Clock, SystemClock};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::{AssertSqlSafe, Executor, PgPool, SqlSafeStr};

use crate::sql_stores::{on_sql_stores, run};

on_sql_stores!(what_ails_every_row_sets_none_aside,);

async fn count<D: Dialect>(store: &SqlStore<D>, select: &'static str) -> i64 {
    let mut conn = store.pool().acquire().await.unwrap();
    let rows = D::fetch(&mut conn, select.into_sql_str(), vec![]).await;
    rows.unwrap()[0].required_int().unwrap()
}

const QUEUED: &str = "SELECT COUNT(*) FROM event_records_queue";
const SET_ASIDE: &str = "SELECT COUNT(*) FROM atomfeed_set_aside";
const INSERT: &str = "INSERT INTO event_records_queue (uuid, title) VALUES ('a', 'good')";

/// A right that is missing, a full disk, a column that is gone: it is mended, and then they go on.
async fn what_ails_every_row_sets_none_aside<D, H>(harness: &H)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>>,
{
    let store = harness.store().await;
    run(&store, INSERT).await;
    let rename = "ALTER TABLE event_records RENAME COLUMN tags TO elsewhere";
    run(&store, rename).await;
    let error = store.sequence(10, SystemClock.now()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Database, "{error:?}");
    assert_eq!(count(&store, QUEUED).await, 1);
    assert_eq!(count(&store, SET_ASIDE).await, 0);
    let rename = "ALTER TABLE event_records RENAME COLUMN elsewhere TO tags";
    run(&store, rename).await;
    let sequenced = store.sequence(10, SystemClock.now()).await.unwrap();
    assert_eq!((sequenced.moved, sequenced.set_aside), (1, 0));
}

/// Somebody else holds the table for longer than this one waits.
#[tokio::test]
async fn a_lock_of_postgres_that_is_not_had_in_time_sets_nothing_aside() {
    let Some(harness) = PostgresHarness::from_env() else {
        return;
    };
    let store = harness.store().await;
    run(&store, INSERT).await;
    let options = store.pool().connect_options().as_ref().clone();
    let options = options.options([("lock_timeout", "50ms")]);
    let impatient = PostgresStore::over(PgPool::connect_with(options).await.unwrap(), None);
    let mut held = store.pool().begin().await.unwrap();
    let lock = "LOCK TABLE event_records IN SHARE MODE";
    held.execute(lock).await.unwrap();
    impatient.sequence(10, SystemClock.now()).await.unwrap_err();
    held.rollback().await.unwrap();
    assert_eq!(count(&store, SET_ASIDE).await, 0);
    let sequenced = impatient.sequence(10, SystemClock.now()).await.unwrap();
    assert_eq!((sequenced.moved, sequenced.set_aside), (1, 0));
}

#[tokio::test]
async fn a_lock_of_mariadb_that_is_not_had_in_time_sets_nothing_aside() {
    let Some(harness) = MySqlHarness::from_env() else {
        return;
    };
    let store = harness.store().await;
    run(&store, INSERT).await;
    let database = sqlx::query_scalar("SELECT DATABASE()").fetch_one(store.pool());
    let database: String = database.await.unwrap();
    let pool = MySqlPoolOptions::new().after_connect(move |conn, _| {
        let of = format!("USE {database}; SET SESSION lock_wait_timeout = 1");
        Box::pin(async move {
            sqlx::raw_sql(AssertSqlSafe(of))
                .execute(conn)
                .await
                .map(drop)
        })
    });
    let options = store.pool().connect_options().as_ref().clone();
    let impatient = MySqlStore::over(pool.connect_with(options).await.unwrap(), None);
    let mut held = store.pool().acquire().await.unwrap();
    let lock = sqlx::raw_sql("LOCK TABLES event_records READ");
    lock.execute(&mut *held).await.unwrap();
    impatient.sequence(10, SystemClock.now()).await.unwrap_err();
    let unlock = sqlx::raw_sql("UNLOCK TABLES");
    unlock.execute(&mut *held).await.unwrap();
    assert_eq!(count(&store, SET_ASIDE).await, 0);
    let sequenced = impatient.sequence(10, SystemClock.now()).await.unwrap();
    assert_eq!((sequenced.moved, sequenced.set_aside), (1, 0));
}
