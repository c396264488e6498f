//! A server that ends the connection in the middle of a transaction: that is no fault of the event, which is
//! neither parked nor counted as tried in vain, until patience has ended.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_client::{Event, EventWorker, Handled, ProcessErrorKind, WorkerError};
use atomfeed_core::store::conformance::{Harness, MySqlHarness, PostgresHarness};
use atomfeed_core::store::sql::SqlStore;
use atomfeed_core::store::{
    ConsumerStore, FailedEventQuery, MemoryConnection, MemoryStore, MySqlStore, PostgresStore,
    StoreErrorKind,
};
use atomfeed_core::{Clock, EntryId, Failure, SystemClock};
use chrono::TimeDelta;

use crate::feeds::{Apply, Emr, applied, feed_uri};

/// Has a transaction that writes what is applied end its own connection with COMMIT, this often.
async fn end_at_commit(store: &PostgresStore, times: u32) {
    // A sequence counts on, whatever becomes of the transaction.
    let trigger = format!(
        "DROP SEQUENCE IF EXISTS commits;
        CREATE SEQUENCE commits;
        CREATE OR REPLACE FUNCTION end_connection() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF nextval('commits') <= {times} THEN
            PERFORM pg_terminate_backend(pg_backend_pid());
            PERFORM pg_sleep(60);
          END IF;
          RETURN NULL;
        END $$;
        DROP TRIGGER IF EXISTS at_commit ON applied;
        CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON applied
          DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION end_connection();"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(trigger))
        .execute(store.pool())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_commit_that_postgres_ends_parks_nothing() {
    let Some(harness) = PostgresHarness::from_env() else {
        return;
    };
    let harness = Arc::new(harness);
    let emr = Emr::with_events(5).await;
    let soon = Duration::from_millis(1);
    for (batch, workers) in [(1, 1), (100, 1), (1, 3)] {
        let store = harness.store().await;
        end_at_commit(&store, 2).await;
        let client = emr.client().batch(batch).workers(workers);
        let client = client
            .wait_out(soon, soon, Duration::from_secs(3_600))
            .build(store.clone(), Apply::all(&harness));
        let mut errors = 0;
        while client.process_events().await.is_err() {
            errors += 1;
            assert!(errors < 1_000, "it never ends");
        }
        assert!(errors > 0, "{batch}, {workers}: nothing was ended");
        let mut work = store.begin().await.unwrap();
        let parked = work.failed_event_count(&feed_uri()).await.unwrap();
        assert_eq!(parked, 0, "{batch}, {workers}");
        let written = applied(harness.as_ref(), &store).await;
        assert_eq!(written, [1, 2, 3, 4, 5], "{batch}, {workers}");
    }
}

#[tokio::test]
async fn a_retry_that_postgres_ends_counts_for_none() {
    let Some(harness) = PostgresHarness::from_env() else {
        return;
    };
    let harness = Arc::new(harness);
    let emr = Emr::with_events(5).await;
    let store = harness.store().await;
    let fails = Apply::but(&harness, |event| event.content() == "3");
    let client = emr.client().build(store.clone(), fails);
    assert_eq!(client.process_events().await.unwrap().failed, 1);
    end_at_commit(&store, 1).await;
    let soon = Duration::from_millis(1);
    let client = emr
        .client()
        .wait_out(soon, soon, Duration::from_secs(3_600))
        .build(store.clone(), Apply::all(&harness));
    client.process_failed_events().await.unwrap_err();
    let mut work = store.begin().await.unwrap();
    let query = FailedEventQuery::of(feed_uri());
    let failed = work.failed_events(&query).await.unwrap();
    assert_eq!((failed.len(), failed[0].retries), (1, 0));
    drop(work);
    while client.process_failed_events().await.is_err() {}
    let mut work = store.begin().await.unwrap();
    assert_eq!(work.failed_event_count(&feed_uri()).await.unwrap(), 0);
    assert_eq!(applied(harness.as_ref(), &store).await, [1, 2, 3, 4, 5]);
}

/// Loses its connection with event 3, each time.
struct Ends<H: Harness> {
    apply: Apply<H>,
    how: How<H::Store>,
}

enum How<S> {
    /// By a statement on it, whose error it returns.
    BySelf(&'static str),
    /// By somebody else, which it does not notice: by what names a connection, and what ends the one of
    /// that name.
    ByOthers(S, &'static str, &'static str),
}

macro_rules! ends {
    ($($database:ty: $connection:ty),+) => {
        $(#[async_trait]
        impl<H> EventWorker<$connection> for Ends<H>
        where
            H: Harness<Conn = $connection, Store = SqlStore<$database>> + 'static,
        {
            async fn process(
                &self,
                event: &Event,
                conn: &mut $connection,
            ) -> Result<Handled, WorkerError> {
                self.apply.process(event, conn).await?;
                if event.content() != "3" {
                    return Ok(Handled::Applied);
                }
                match &self.how {
                    How::BySelf(end) => {
                        sqlx::raw_sql(*end).execute(conn).await?;
                    }
                    How::ByOthers(store, name, end) => {
                        let id = sqlx::query_scalar::<_, i64>(*name).fetch_one(conn).await?;
                        let end = end.replace('?', &id.to_string());
                        let end = sqlx::raw_sql(sqlx::AssertSqlSafe(end));
                        end.execute(store.pool()).await?;
                    }
                }
                Ok(Handled::Applied)
            }
        })+
    };
}

ends!(
    sqlx::Postgres: sqlx::PgConnection,
    sqlx::MySql: sqlx::MySqlConnection
);

/// It is waited for as for all that is away, and then it is the event's fault.
async fn an_event_that_ends_its_connection<H>(
    harness: Option<H>,
    how: impl Fn(&H::Store) -> How<H::Store> + Send + Sync,
) where
    H: Harness + 'static,
    Ends<H>: EventWorker<H::Conn>,
{
    let Some(harness) = harness.map(Arc::new) else {
        return;
    };
    let emr = Emr::with_events(5).await;
    for batch in [1, 100] {
        let store = harness.store().await;
        let client = |patience| {
            let worker = Ends {
                apply: Apply::all(&harness),
                how: how(&store),
            };
            let soon = Duration::ZERO;
            let client = emr.client().batch(batch).wait_out(soon, soon, patience);
            client.build(store.clone(), worker)
        };
        let patient = client(Duration::from_secs(3_600));
        let error = patient.process_events().await.unwrap_err();
        let is_waited_for = matches!(error.kind(), ProcessErrorKind::Waiting { .. });
        assert!(is_waited_for, "{error:?}");
        let impatient = client(Duration::ZERO);
        let processed = impatient.process_events().await.unwrap();
        assert_eq!((processed.applied, processed.failed), (2, 1));
        assert_eq!(applied(harness.as_ref(), &store).await, [1, 2, 4, 5]);

        // A retry neither counts nor stands in the way of others, and then does.
        let error = patient.process_failed_events().await.unwrap_err();
        let is_lost = matches!(error.kind(), ProcessErrorKind::Store(error)
            if error.kind() == StoreErrorKind::Unavailable);
        assert!(is_lost, "{error:?}");
        assert_eq!(retries(&store).await, [0]);
        let mut work = store.begin().await.unwrap();
        let query = FailedEventQuery::of(feed_uri());
        let parked = work.failed_events(&query).await.unwrap();
        let place = parked[0].place.as_ref();
        assert!(place.is_some_and(|place| place.due_at.is_some()));
        drop(work);
        impatient.process_failed_events().await.unwrap();
        assert_eq!(retries(&store).await, [1]);
    }
}

async fn retries<S: ConsumerStore>(store: &S) -> Vec<u32> {
    let mut work = store.begin().await.unwrap();
    let query = FailedEventQuery::of(feed_uri());
    let failed = work.failed_events(&query).await.unwrap();
    failed.iter().map(|failed| failed.retries).collect()
}

#[tokio::test]
async fn an_event_that_ends_its_connection_stops_no_feed() {
    let postgres = PostgresHarness::from_env;
    let end = "SELECT pg_terminate_backend(pg_backend_pid())";
    an_event_that_ends_its_connection(postgres(), |_| How::BySelf(end)).await;
    let name = "SELECT pg_backend_pid()::bigint";
    // It is waited for until it has gone.
    let end = "SELECT pg_terminate_backend(?, 60000)";
    let by_others = |store: &PostgresStore| How::ByOthers(store.clone(), name, end);
    an_event_that_ends_its_connection(postgres(), by_others).await;
    let mysql = MySqlHarness::from_env;
    let end = "KILL CONNECTION CONNECTION_ID()";
    an_event_that_ends_its_connection(mysql(), |_| How::BySelf(end)).await;
    let name = "SELECT CAST(CONNECTION_ID() AS SIGNED)";
    let end = "KILL CONNECTION ?";
    let by_others = |store: &MySqlStore| How::ByOthers(store.clone(), name, end);
    an_event_that_ends_its_connection(mysql(), by_others).await;
}

/// What an event needs may go away long after it was parked.
#[tokio::test(start_paused = true)]
async fn an_outage_is_waited_out_however_long_ago_it_was_parked() {
    struct Away;

    #[async_trait]
    impl EventWorker<MemoryConnection> for Away {
        async fn process(
            &self,
            _event: &Event,
            _conn: &mut MemoryConnection,
        ) -> Result<Handled, WorkerError> {
            Err(WorkerError::transient("away"))
        }
    }

    let emr = Emr::with_events(1).await;
    let store = MemoryStore::new();
    let long_ago = SystemClock.now() - TimeDelta::days(30);
    let event = Event::new(EntryId::new("tag:1").unwrap(), feed_uri());
    let mut work = store.begin().await.unwrap();
    work.park(&event, &Failure::new("boom", long_ago))
        .await
        .unwrap();
    work.commit().await.unwrap();
    let day = Duration::from_secs(24 * 3_600);
    let client = emr
        .client()
        .wait_out(Duration::ZERO, Duration::ZERO, day)
        .build(store.clone(), Away);
    for _again in 0..3 {
        let error = client.process_failed_events().await.unwrap_err();
        let is_waited_for = matches!(error.kind(), ProcessErrorKind::Waiting { .. });
        assert!(is_waited_for, "{error:?}");
        assert_eq!(retries(&store).await, [0]);
    }
    tokio::time::advance(day).await;
    client.process_failed_events().await.unwrap();
    assert_eq!(retries(&store).await, [1]);
}
