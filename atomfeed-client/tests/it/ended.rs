//! A server that ends the connection in the middle of a transaction: that is no fault of the event, which is
//! neither parked nor counted as tried in vain.

use std::sync::Arc;
use std::time::Duration;

use atomfeed_core::store::ConsumerStore;
use atomfeed_core::store::conformance::{Harness, PostgresHarness};
use atomfeed_core::store::{FailedEventQuery, PostgresStore};

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
