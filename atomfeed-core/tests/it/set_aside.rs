//! Queued rows that cannot be moved are set aside, and those alone.

use atomfeed_core::store::conformance::{
    Harness, MySqlHarness, PostgresHarness, SqliteHarness, sequence_all,
};
use atomfeed_core::store::sql::{Dialect, SqlStore};
use atomfeed_core::store::{
    FeedStore, MySqlStore, Obstacle, OutboxStore, PostgresStore, SequencedStore, StoreErrorKind,
};
use atomfeed_core::{Category, Clock, FeedScope, NewEvent, SystemClock};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::{AssertSqlSafe, Executor, PgPool, SqlSafeStr};
use uuid::Uuid;

use crate::sql_stores::{all, on_sql_stores, run};

on_sql_stores!(
    what_ails_every_row_sets_none_aside,
    a_category_that_no_index_can_hold_holds_nothing_up,
    a_queue_may_begin_its_ids_anew,
);

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
    // By one who waits for as long as the other is still being rolled back.
    let sequenced = store.sequence(10, SystemClock.now()).await.unwrap();
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

/// Queued by other programs: too long for any index, too long for an index of MariaDB's, and too long
/// for that in lower case.
async fn a_category_that_no_index_can_hold_holds_nothing_up<D, H>(harness: &H)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>>,
{
    let store = harness.store().await;
    // Of what repeats itself a database keeps less.
    let long: String = (0..600).map(|_| Uuid::new_v4().to_string()).collect();
    let longest = "é".repeat(500);
    for (uuid, category, is_kept) in [
        ("a", "Lab", true),
        ("b", &*long, false),
        ("c", &"x".repeat(501), false),
        ("d", &"İ".repeat(500), false),
        ("e", &*longest, true),
    ] {
        let insert = format!(
            "INSERT INTO event_records_queue (uuid, category) VALUES ('{uuid}', '{category}')"
        );
        let mut conn = store.pool().acquire().await.unwrap();
        let inserted = D::execute(&mut conn, AssertSqlSafe(insert).into_sql_str(), vec![]).await;
        assert!(inserted.is_ok() || !is_kept, "{inserted:?}");
    }
    let queued = count(&store, QUEUED).await;
    assert!(queued >= 3, "MariaDB's own column refuses two of them");
    sequence_all(&store).await;
    let moved: Vec<_> = all(&store)
        .await
        .into_iter()
        .map(|found| found.uuid)
        .collect();
    assert_eq!(moved, ["a", "e"]);
    assert_eq!(count(&store, QUEUED).await, 0);
    assert_eq!(count(&store, SET_ASIDE).await, queued - 2);
    for category in ["LAB", &"É".repeat(500)] {
        let scope = FeedScope::Category(Category::new(category).unwrap());
        assert_eq!(store.count(&scope, 0, None).await.unwrap(), 1);
    }

    // Whoever publishes through this library is told at once.
    let mut conn = store.pool().acquire().await.unwrap();
    for category in ["x".repeat(501), "İ".repeat(251)] {
        let event = NewEvent::blank().in_category(category);
        let published = store.publish(&mut conn, &event, SystemClock.now()).await;
        let error = published.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Refused);
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("500"), "{cause}");
    }
}

/// Emptied with TRUNCATE, say, after which the same ids come again.
async fn a_queue_may_begin_its_ids_anew<D, H>(harness: &H)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>>,
{
    let store = harness.store().await;
    run(
        &store,
        "INSERT INTO event_records (uuid, timestamp) VALUES ('a', '2024-03-01 08:00:00')",
    )
    .await;
    for _time in 0..2 {
        run(
            &store,
            "INSERT INTO event_records_queue (id, uuid) VALUES (7, 'a')",
        )
        .await;
        let sequenced = store.sequence(10, SystemClock.now()).await.unwrap();
        assert_eq!((sequenced.moved, sequenced.set_aside), (0, 1));
    }
    let obstacles = store.obstacles().await.unwrap();
    assert_eq!(obstacles.len(), 2, "{obstacles:?}");
    for obstacle in obstacles {
        assert!(matches!(obstacle, Obstacle::SetAside { queue_id: 7, .. }));
    }
}

/// SQLite keeps whatever it is given.
#[tokio::test]
async fn a_text_that_is_none_holds_nothing_up() {
    let harness = SqliteHarness::default();
    let store = harness.store().await;
    for insert in [
        "INSERT INTO event_records_queue (uuid, object) VALUES ('a', x'ff41')",
        "INSERT INTO event_records_queue (uuid, title) VALUES ('b', CAST(x'42ff' AS TEXT))",
        "INSERT INTO event_records_queue (uuid, timestamp) VALUES ('c', x'ff')",
        "INSERT INTO event_records_queue (uuid, object) VALUES ('d', CAST('fine' AS BLOB))",
        "INSERT INTO event_records_queue (uuid) VALUES (x'ff')",
    ] {
        run(&store, insert).await;
    }
    let sequenced = store.sequence(10, SystemClock.now()).await.unwrap();
    assert_eq!((sequenced.moved, sequenced.set_aside), (1, 4));
    assert_eq!(all(&store).await[0].content.as_deref(), Some("fine"));
    let select = "SELECT uuid, object, title, error FROM atomfeed_set_aside ORDER BY queue_id";
    type Aside = (String, Option<String>, Option<String>, String);
    let aside: Vec<Aside> = sqlx::query_as(select)
        .fetch_all(store.pool())
        .await
        .unwrap();
    assert_eq!(
        (&*aside[0].0, aside[0].1.as_deref()),
        ("a", Some("\u{fffd}A"))
    );
    assert_eq!(
        (&*aside[1].0, aside[1].2.as_deref()),
        ("b", Some("B\u{fffd}"))
    );
    assert_eq!((&*aside[2].0, &*aside[3].0), ("c", "\u{fffd}"));
    for (_, _, _, error) in aside {
        assert!(error.contains("UTF-8"), "{error}");
    }

    // One that another program wrote among the events stops no feed.
    run(
        &store,
        "INSERT INTO event_records (uuid, timestamp, title)
          VALUES ('e', '2024-03-01 08:00:00', x'ff45')",
    )
    .await;
    assert_eq!(all(&store).await[1].title.as_deref(), Some("\u{fffd}E"));
}
