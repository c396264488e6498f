//! Workers that end the transaction that they were lent, or pass over its errors.

use std::sync::Arc;

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, Event, EventWorker, FeedSource, Handled, PageRequest, ProcessErrorKind,
    StartPosition, WorkerError,
};
use atomfeed_core::atom::{ReadLimits, read_feed};
use atomfeed_core::store::conformance::{Harness, MySqlHarness, PostgresHarness, SqliteHarness};
use atomfeed_core::store::sql::{Dialect, SqlStore, Value};
use atomfeed_core::store::{ConsumerStore, FailedEventQuery};
use atomfeed_core::{EntryId, Marker};
use sqlx::SqlSafeStr;

use crate::feeds::{Apply, Emr, applied, feed_uri};

/// Runs a statement with event 3, and passes over its error.
struct Runs<H> {
    apply: Apply<H>,
    statement: &'static str,
    then: Then,
}

/// What it does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    /// It gives an error of its own.
    Fails,
    /// It gives that which the database has for this.
    FailsWith(&'static str),
}

macro_rules! runs_statements {
    ($($connection:ty),+) => {
        $(#[async_trait]
        impl<H: Harness<Conn = $connection> + 'static> EventWorker<$connection> for Runs<H> {
            async fn process(
                &self,
                event: &Event,
                conn: &mut $connection,
            ) -> Result<Handled, WorkerError> {
                self.apply.process(event, conn).await?;
                if event.content() == "3" {
                    let _ = sqlx::raw_sql(self.statement).execute(&mut *conn).await;
                    match self.then {
                        Then::Nothing => {}
                        Then::Fails => return Err(WorkerError::new("after all")),
                        Then::FailsWith(statement) => {
                            sqlx::raw_sql(statement).execute(conn).await?;
                        }
                    }
                }
                Ok(Handled::Applied)
            }
        })+
    };
}

runs_statements!(
    sqlx::SqliteConnection,
    sqlx::PgConnection,
    sqlx::MySqlConnection
);

fn ids(emr: &[Event]) -> Vec<String> {
    emr.iter().map(|event| event.id().to_string()).collect()
}

/// The feed stops, and says which events are in doubt; the marker has not moved past one of them.
///
/// `away` is a statement with which the database says that it is away for a while.
async fn stops<D, H>(harness: H, statement: &'static str, away: &'static str)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>, Conn = D::Connection> + 'static,
    Runs<H>: EventWorker<D::Connection>,
{
    let harness = Arc::new(harness);
    let emr = Emr::with_events(5).await;
    for (batch, then) in [
        (100, Then::Nothing),
        (1, Then::Nothing),
        (1, Then::Fails),
        (1, Then::FailsWith("SELECT nothing")),
        (1, Then::FailsWith(away)),
    ] {
        let store = harness.store().await;
        let worker = Runs {
            apply: Apply::all(&harness),
            statement,
            then,
        };
        let client = emr.client().batch(batch).build(store.clone(), worker);
        let error = client.process_events().await.unwrap_err();
        let ProcessErrorKind::BrokenTransaction { events, .. } = error.kind() else {
            panic!("{statement}, {batch}: {error:?}");
        };
        let doubtful = match batch {
            1 => 1,
            _ => 5,
        };
        assert_eq!(events.len(), doubtful, "{statement}, {batch}: {events:?}");
        let said = error.kind().to_string();
        assert!(
            said.contains(&events[0]) && said.contains("in doubt"),
            "{said}"
        );
        let marker = store.marker(&feed_uri()).await.unwrap();
        let before = marker.as_ref().and_then(Marker::last_read_entry_id);
        assert_eq!(before.is_some(), batch == 1, "{statement}: {marker:?}");
        assert_ne!(before.map(EntryId::as_str), Some(events[0].as_str()));

        // Once it is known how much was applied, a person sets the marker, or does not.
        let written = applied(harness.as_ref(), &store).await;
        let mut read = Vec::new();
        let seen = Seen::default();
        let reader = AtomFeedClient::builder(feed_uri(), emr.source())
            .build(atomfeed_core::store::MemoryStore::new(), seen.clone());
        reader.process_events().await.unwrap();
        read.append(&mut seen.0.lock().unwrap());
        let last = written.len();
        if written != (1..=last as u32).collect::<Vec<_>>() {
            // What came after a ROLLBACK was committed by itself: for a person to see to.
            assert_eq!((statement, batch), ("ROLLBACK", 100));
            continue;
        }
        if last > 0 {
            let to = Marker::new(feed_uri())
                .after(read[last - 1].id().clone())
                .on_page("http://127.0.0.1:8080/feed/1");
            let mut work = store.begin().await.unwrap();
            work.move_marker(marker.as_ref(), &to).await.unwrap();
            work.commit().await.unwrap();
        }
        assert!(ids(&read).contains(&events[0]));
        let client = emr.client().build(store.clone(), Apply::all(&harness));
        client.process_events().await.unwrap();
        let written = applied(harness.as_ref(), &store).await;
        assert_eq!(written, [1, 2, 3, 4, 5], "{statement}, {batch}");
    }
}

#[derive(Clone, Default)]
struct Seen(Arc<std::sync::Mutex<Vec<Event>>>);

#[async_trait]
impl<C: ?Sized + Send + 'static> EventWorker<C> for Seen {
    async fn process(&self, event: &Event, _: &mut C) -> Result<Handled, WorkerError> {
        self.0.lock().unwrap().push(event.clone());
        Ok(Handled::Ignored)
    }
}

#[tokio::test]
async fn on_sqlite() {
    // It has no such statement.
    for statement in ["COMMIT", "ROLLBACK"] {
        stops(SqliteHarness::default(), statement, "SELECT nothing").await;
    }
}

#[tokio::test]
async fn on_postgres() {
    for statement in ["COMMIT", "ROLLBACK", "COMMIT; BEGIN"] {
        let Some(harness) = PostgresHarness::from_env() else {
            return;
        };
        let away = "DO $$ BEGIN RAISE 'away' USING ERRCODE = '53300'; END $$";
        stops(harness, statement, away).await;
    }
}

#[tokio::test]
async fn on_mysql() {
    for statement in [
        "COMMIT",
        "ROLLBACK",
        "COMMIT; BEGIN",
        "CREATE TABLE IF NOT EXISTS made_by_a_worker (id INT)",
    ] {
        let Some(harness) = MySqlHarness::from_env() else {
            return;
        };
        let away = "SIGNAL SQLSTATE '08004' SET MYSQL_ERRNO = 1040";
        stops(harness, statement, away).await;
    }
}

/// PostgreSQL undoes all of a transaction in which a statement has failed: that is the event's fault.
#[tokio::test]
async fn an_error_that_is_passed_over_parks_the_event() {
    let Some(harness) = PostgresHarness::from_env() else {
        return;
    };
    let harness = Arc::new(harness);
    let emr = Emr::with_events(5).await;
    for batch in [1, 100] {
        let store = harness.store().await;
        let worker = Runs {
            apply: Apply::all(&harness),
            statement: "SELECT 1 / 0",
            then: Then::Nothing,
        };
        let client = emr.client().batch(batch).build(store.clone(), worker);
        let processed = client.process_events().await.unwrap();
        assert_eq!((processed.applied, processed.failed), (4, 1));
        assert_eq!(applied(harness.as_ref(), &store).await, [1, 2, 4, 5]);
        let mut work = store.begin().await.unwrap();
        let query = FailedEventQuery::of(feed_uri());
        let failed = work.failed_events(&query).await.unwrap();
        let message = failed[0].failure.message();
        assert!(message.contains("passed over"), "{message}");
    }
}

/// Loses a deadlock against another transaction on purpose, and says nothing of it.
struct Deadlocks {
    store: SqlStore<sqlx::MySql>,
    returns_it: bool,
}

#[async_trait]
impl EventWorker<sqlx::MySqlConnection> for Deadlocks {
    async fn process(
        &self,
        event: &Event,
        conn: &mut sqlx::MySqlConnection,
    ) -> Result<Handled, WorkerError> {
        let locks = "SELECT value FROM locked WHERE id = 1 FOR UPDATE";
        if event.content() != "3" {
            return Ok(Handled::Applied);
        }
        sqlx::query(locks).execute(&mut *conn).await?;
        // The other has written more, so that it is this one that is undone.
        let mut other = self.store.pool().begin().await?;
        let write = "UPDATE locked SET value = value + 1 WHERE id > 1";
        sqlx::query(write).execute(&mut *other).await?;
        let waits = tokio::spawn(async move {
            let write = "UPDATE locked SET value = value + 1 WHERE id = 1";
            sqlx::query(write).execute(&mut *other).await.unwrap();
            other.rollback().await.unwrap();
        });
        let write = "UPDATE locked SET value = value + 1 WHERE id = 2";
        let locked = loop {
            // Until the other waits for this one, too. MariaDB shows nothing new to who asks more often
            // than every 100 ms.
            tokio::time::sleep(std::time::Duration::from_millis(150)).await;
            let waiting = "SELECT COUNT(*) FROM information_schema.innodb_lock_waits";
            let mut looking = self.store.pool().acquire().await?;
            let count: i64 = sqlx::query_scalar(waiting).fetch_one(&mut *looking).await?;
            if count > 0 {
                break sqlx::query(write).execute(&mut *conn).await;
            }
        };
        waits.await.unwrap();
        let error = locked.expect_err("it was a deadlock");
        match self.returns_it {
            true => Err(error.into()),
            false => Ok(Handled::Applied),
        }
    }
}

#[tokio::test]
async fn a_deadlock_is_waited_out_or_stops_the_feed() {
    let Some(harness) = MySqlHarness::from_env() else {
        return;
    };
    let emr = Emr::with_events(5).await;
    for returns_it in [true, false] {
        let store = harness.store().await;
        for statement in [
            "CREATE TABLE locked (id INT PRIMARY KEY, value INT NOT NULL)",
            "INSERT INTO locked SELECT seq, 0 FROM seq_1_to_50",
        ] {
            let mut conn = store.pool().acquire().await.unwrap();
            let statement = statement.into_sql_str();
            <sqlx::MySql as Dialect>::execute(&mut conn, statement, Vec::<Value>::new())
                .await
                .unwrap();
        }
        let worker = Deadlocks {
            store: store.clone(),
            returns_it,
        };
        let client = emr.client().build(store.clone(), worker);
        let error = client.process_events().await.unwrap_err();
        match (returns_it, error.kind()) {
            (true, ProcessErrorKind::Waiting { .. })
            | (false, ProcessErrorKind::BrokenTransaction { .. }) => {}
            other => panic!("{other:?}"),
        }
        let mut work = store.begin().await.unwrap();
        assert_eq!(work.failed_event_count(&feed_uri()).await.unwrap(), 0);
        let marker = work.marker(&feed_uri()).await.unwrap();
        assert_eq!(marker.is_some(), returns_it, "{marker:?}");
    }
}

/// Moves the marker itself, through another connection, as some targets do.
struct MovesMarker<S> {
    store: S,
    fails: bool,
}

#[async_trait]
impl<S: ConsumerStore> EventWorker<S::Conn> for MovesMarker<S> {
    async fn process(&self, event: &Event, _: &mut S::Conn) -> Result<Handled, WorkerError> {
        let to = Marker::new(feed_uri())
            .after(event.id().clone())
            .on_page(event.page_uri().unwrap());
        let mut work = self.store.begin().await?;
        let from = work.marker(&feed_uri()).await?;
        work.move_marker(from.as_ref(), &to).await?;
        work.commit().await?;
        match self.fails && event.content() == "7" {
            true => Err(WorkerError::new("behind its transaction")),
            false => Ok(Handled::Applied),
        }
    }
}

async fn a_marker_that_was_moved<D, H>(harness: H)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>, Conn = D::Connection> + 'static,
{
    for batch in [1, 100] {
        let emr = Emr::with_events(12).await;
        let store = harness.store().await;
        let worker = MovesMarker {
            store: store.clone(),
            fails: true,
        };
        let client = emr.client().batch(batch).worker_moves_marker();
        let client = client.build(store.clone(), worker);
        let processed =
            tokio::time::timeout(std::time::Duration::from_secs(60), client.process_events());
        let processed = processed.await.expect("no deadlock").unwrap();
        // What fails is parked, although the marker stands behind it already.
        assert_eq!((processed.applied, processed.failed), (11, 1));
        let mut work = store.begin().await.unwrap();
        assert_eq!(work.failed_event_count(&feed_uri()).await.unwrap(), 1);
        drop(work);
        // Without a word of it, another consumer is at work.
        emr.publish(13..=13).await;
        let worker = MovesMarker {
            store: store.clone(),
            fails: false,
        };
        let client = emr.client().build(store.clone(), worker);
        let error = client.process_events().await.unwrap_err();
        assert!(
            matches!(error.kind(), ProcessErrorKind::Store(_)),
            "{error:?}"
        );
        // The worker's own transaction stands.
        assert_eq!(client.process_events().await.unwrap().applied, 0);
    }
}

#[tokio::test]
async fn a_worker_that_moves_the_marker_on_postgres() {
    if let Some(harness) = PostgresHarness::from_env() {
        a_marker_that_was_moved(harness).await;
    }
}

#[tokio::test]
async fn a_worker_that_moves_the_marker_on_mysql() {
    if let Some(harness) = MySqlHarness::from_env() {
        a_marker_that_was_moved(harness).await;
    }
}

/// The feed stops, instead of applying the same again in every round, and goes on when it is told to.
async fn run_ends_until_a_person_has_seen_to_it<H: Harness + 'static>(harness: H)
where
    Runs<H>: EventWorker<H::Conn>,
{
    let harness = Arc::new(harness);
    let emr = Emr::with_events(5).await;
    for workers in [1, 3] {
        let store = harness.store().await;
        let worker = Runs {
            apply: Apply::all(&harness).with_key(|event| Some(event.content().to_owned())),
            statement: "COMMIT",
            then: Then::Nothing,
        };
        let client = emr.client().batch(1).workers(workers);
        let client = client.interval(std::time::Duration::from_millis(1));
        let client = client.build(store.clone(), worker);
        let ended = client.run(atomfeed_client::CancellationToken::new());
        let ended = tokio::time::timeout(std::time::Duration::from_secs(60), ended).await;
        let error = ended.expect("it ends").unwrap_err();
        let ProcessErrorKind::BrokenTransaction { worker, .. } = error.kind() else {
            panic!("{error:?}");
        };
        assert!(worker.contains("Runs"), "{worker}");
        let before = applied(harness.as_ref(), &store).await;
        let threes = before.iter().filter(|number| **number == 3).count();
        assert_eq!(threes, 1, "once, and not in every round: {before:?}");

        // A person sees that it stands there, and says so.
        let marker = StartPosition::After(entry_of(&emr, 3).await);
        let mended = emr.client().build(store.clone(), Apply::all(&harness));
        if workers == 1 {
            mended.set_marker(&marker).await.unwrap();
        } else {
            let mut work = store.begin().await.unwrap();
            let third = entry_of(&emr, 3).await;
            work.complete(&feed_uri(), &[&third]).await.unwrap();
            work.commit().await.unwrap();
        }
        mended.process_events().await.unwrap();
        assert_eq!(applied(harness.as_ref(), &store).await, [1, 2, 3, 4, 5]);
    }
}

async fn entry_of(emr: &Emr, number: usize) -> EntryId {
    let first = PageRequest::new("http://127.0.0.1:8080/feed/1".parse().unwrap());
    let page = emr.source().fetch(&first).await.unwrap();
    let page = read_feed(&page.body, &ReadLimits::default()).unwrap();
    EntryId::new(page.entries[number - 1].id.as_str()).unwrap()
}

#[tokio::test]
async fn run_ends_on_postgres() {
    if let Some(harness) = PostgresHarness::from_env() {
        run_ends_until_a_person_has_seen_to_it(harness).await;
    }
}

#[tokio::test]
async fn run_ends_on_mysql() {
    if let Some(harness) = MySqlHarness::from_env() {
        run_ends_until_a_person_has_seen_to_it(harness).await;
    }
}

/// What only the commit refuses is a fault of the event that wrote it.
#[tokio::test]
async fn a_constraint_that_is_looked_at_when_it_commits_parks_the_event() {
    let Some(harness) = PostgresHarness::from_env() else {
        return;
    };
    for batch in [1, 100] {
        for workers in [1, 3] {
            let emr = Emr::with_events(5).await;
            let store = harness.store().await;
            sqlx::raw_sql("CREATE TABLE once (id INT UNIQUE DEFERRABLE INITIALLY DEFERRED)")
                .execute(store.pool())
                .await
                .unwrap();
            let worker = atomfeed_client::worker_fn(|event, conn: &mut sqlx::PgConnection| {
                // 2 and 4 cannot both be.
                let id: i32 = event.content().parse().unwrap();
                let id = if id == 4 { 2 } else { id };
                Box::pin(async move {
                    let insert = sqlx::query("INSERT INTO once VALUES ($1)").bind(id);
                    insert.execute(conn).await?;
                    Ok(())
                })
            });
            let client = emr.client().batch(batch).workers(workers);
            let client = client.build(store.clone(), worker);
            let processed = client.process_events().await.unwrap();
            assert_eq!(
                (processed.applied, processed.failed),
                (4, 1),
                "{batch}, {workers}"
            );
            let ids: Vec<i32> = sqlx::query_scalar("SELECT id FROM once ORDER BY id")
                .fetch_all(store.pool())
                .await
                .unwrap();
            assert_eq!(ids, [1, 2, 3, 5]);
            // Tried again, it fails again, and stands in nobody's way.
            let retried = client.retry_all_failed_events().await.unwrap();
            assert_eq!((retried.applied, retried.failed), (0, 1));
            sqlx::raw_sql("DELETE FROM once WHERE id = 2")
                .execute(store.pool())
                .await
                .unwrap();
            let retried = client.retry_all_failed_events().await.unwrap();
            assert_eq!((retried.applied, retried.failed), (1, 0));
        }
    }
}
