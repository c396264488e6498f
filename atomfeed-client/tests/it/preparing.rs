//! The step before the transaction: it runs ahead, holds nothing, and runs again on a retry.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use atomfeed_client::{Event, Handled, PreparingWorker, WorkerError};
use atomfeed_core::store::conformance::{Harness, SqliteHarness};
use atomfeed_core::store::{MemoryConnection, MemoryStore};
use sqlx::{SqliteConnection, SqlitePool};
use tokio::sync::Semaphore;

use crate::feeds::Emr;

/// Writes to the consumer's own file on another connection, in prepare and in process.
struct WritesTwice {
    pool: SqlitePool,
}

#[async_trait]
impl PreparingWorker<SqliteConnection> for WritesTwice {
    type Prepared = String;

    async fn prepare(&self, event: &Event) -> Result<String, WorkerError> {
        let insert = sqlx::query("INSERT INTO applied VALUES ('prepared', ?)");
        insert.bind(event.content()).execute(&self.pool).await?;
        Ok(event.content().to_owned())
    }

    async fn process(
        &self,
        _event: &Event,
        prepared: &String,
        conn: &mut SqliteConnection,
    ) -> Result<Handled, WorkerError> {
        let insert = sqlx::query("INSERT INTO applied VALUES ('processed', ?)");
        insert.bind(prepared).execute(conn).await?;
        Ok(Handled::Applied)
    }
}

#[tokio::test]
async fn preparing_may_write_to_the_same_file() {
    let emr = Emr::with_events(40).await;
    let harness = SqliteHarness::default();
    let store = harness.store().await;
    // Also with one connection for all: the transaction's, or prepare's, never both at once.
    for connections in [8, 1] {
        let options = store.pool().connect_options();
        let pool = sqlx::sqlite::SqlitePoolOptions::new()
            .max_connections(connections)
            .connect_with(options.as_ref().clone())
            .await
            .unwrap();
        sqlx::raw_sql("DELETE FROM applied; DELETE FROM markers")
            .execute(&pool)
            .await
            .unwrap();
        let lab = atomfeed_core::store::SqliteStore::over(pool.clone(), None);
        let client = emr
            .client()
            .prepare_ahead(6)
            .build(lab, WritesTwice { pool });
        let processed = client.process_events().await.unwrap();
        assert_eq!((processed.applied, processed.failed), (40, 0));
        let written = harness.written(&store).await;
        assert_eq!(
            written
                .iter()
                .filter(|(step, _)| step == "prepared")
                .count(),
            40
        );
        assert_eq!(
            written
                .iter()
                .filter(|(step, _)| step == "processed")
                .count(),
            40
        );
    }
}

/// Notes who is being prepared; preparing ends when it is let.
#[derive(Default)]
struct Watched {
    begun: Mutex<Vec<String>>,
    at_once: AtomicUsize,
    most: AtomicUsize,
    fail: Mutex<Vec<&'static str>>,
    let_go: Option<Semaphore>,
}

struct Watching(Arc<Watched>);

#[async_trait]
impl PreparingWorker<MemoryConnection> for Watching {
    type Prepared = String;

    async fn prepare(&self, event: &Event) -> Result<String, WorkerError> {
        self.0
            .begun
            .lock()
            .unwrap()
            .push(event.content().to_owned());
        let now = self.0.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most.fetch_max(now, Ordering::SeqCst);
        match &self.0.let_go {
            Some(let_go) => drop(let_go.acquire().await),
            None => tokio::task::yield_now().await,
        }
        self.0.at_once.fetch_sub(1, Ordering::SeqCst);
        match self.0.fail.lock().unwrap().contains(&event.content()) {
            true => Err(WorkerError::new("the EMR does not have it")),
            false => Ok(format!("resource {}", event.content())),
        }
    }

    async fn process(
        &self,
        event: &Event,
        prepared: &String,
        conn: &mut MemoryConnection,
    ) -> Result<Handled, WorkerError> {
        conn.put("resources", event.content(), prepared.as_str());
        Ok(Handled::Applied)
    }
}

#[tokio::test]
async fn preparing_runs_ahead_within_its_bound() {
    let emr = Emr::with_events(5).await;
    let watched = Arc::new(Watched {
        let_go: Some(Semaphore::new(0)),
        ..Watched::default()
    });
    let store = MemoryStore::new();
    let client = emr
        .client()
        .prepare_ahead(3)
        .build(store.clone(), Watching(Arc::clone(&watched)));
    let running = tokio::spawn(async move { client.process_events().await });
    // The first event cannot be processed, and so no more than three plus it are begun.
    while watched.at_once.load(Ordering::SeqCst) < 3 {
        tokio::task::yield_now().await;
    }
    assert!(watched.most.load(Ordering::SeqCst) <= 4);
    assert_eq!(watched.begun.lock().unwrap()[..3], ["1", "2", "3"]);
    // No transaction is open meanwhile: one opens at once.
    drop(store.transaction().await);

    watched.let_go.as_ref().unwrap().add_permits(100);
    assert_eq!(running.await.unwrap().unwrap().applied, 5);
    assert!(watched.most.load(Ordering::SeqCst) <= 4);
    assert_eq!(store.rows("resources").len(), 5);
}

#[tokio::test]
async fn a_failed_preparation_parks_and_runs_again_on_retry() {
    let emr = Emr::with_events(6).await;
    let watched = Arc::new(Watched::default());
    watched.fail.lock().unwrap().extend(["2", "5"]);
    let store = MemoryStore::new();
    let client = emr
        .client()
        .build(store.clone(), Watching(Arc::clone(&watched)));
    let processed = client.process_events().await.unwrap();
    assert_eq!((processed.applied, processed.failed), (4, 2));

    watched
        .fail
        .lock()
        .unwrap()
        .retain(|content| *content == "5");
    let processed = client.process_failed_events().await.unwrap();
    assert_eq!((processed.applied, processed.failed), (1, 1));
    let times = |content: &str| {
        watched
            .begun
            .lock()
            .unwrap()
            .iter()
            .filter(|begun| *begun == content)
            .count()
    };
    assert_eq!((times("1"), times("2"), times("5")), (1, 2, 2));
    assert_eq!(store.rows("resources").len(), 5);
}
