//! Something that the worker needs is down: the feed waits, and nothing is parked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_client::{
    CancellationToken, Event, EventWorker, FailureExt, Handled, PreparingWorker, ProcessErrorKind,
    WorkerError,
};
use atomfeed_core::store::{
    ConsumerStore, MemoryConnection, MemoryStore, StoreError, StoreErrorKind,
};

use crate::feeds::{Emr, feed_uri};

/// Is down for so many calls, from event 4 on.
#[derive(Clone, Default)]
struct Erp {
    down_for: Arc<AtomicU32>,
    calls: Arc<AtomicU32>,
    orders: Arc<AtomicU32>,
}

impl Erp {
    fn down_for(calls: u32) -> Self {
        Self {
            down_for: Arc::new(calls.into()),
            ..Self::default()
        }
    }

    /// Writes an event under a key that is greater than those before.
    fn write(&self, event: &Event, conn: &mut MemoryConnection) {
        let next = self.orders.fetch_add(1, Ordering::Relaxed);
        conn.put("order", &format!("{next:05}"), event.content());
    }

    fn call(&self, event: &Event) -> Result<(), WorkerError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let is_met = event.content().parse::<u32>().unwrap() >= 4;
        let left = self.down_for.load(Ordering::Relaxed);
        if is_met && left > 0 {
            self.down_for.store(left - 1, Ordering::Relaxed);
            return Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)).transient();
        }
        Ok(())
    }
}

#[async_trait]
impl EventWorker<MemoryConnection> for Erp {
    async fn process(
        &self,
        event: &Event,
        conn: &mut MemoryConnection,
    ) -> Result<Handled, WorkerError> {
        self.write(event, conn);
        self.call(event)?;
        Ok(Handled::Applied)
    }
}

/// Asks before the transaction.
struct Asks(Erp);

#[async_trait]
impl PreparingWorker<MemoryConnection> for Asks {
    type Prepared = ();

    async fn prepare(&self, event: &Event) -> Result<(), WorkerError> {
        self.0.call(event)
    }

    async fn process(
        &self,
        event: &Event,
        (): &(),
        conn: &mut MemoryConnection,
    ) -> Result<Handled, WorkerError> {
        self.0.write(event, conn);
        Ok(Handled::Applied)
    }
}

fn order(store: &MemoryStore) -> Vec<u32> {
    let rows = store.rows("order").into_iter();
    rows.map(|(_, content)| content.parse().unwrap()).collect()
}

async fn parked(store: &MemoryStore) -> u64 {
    let mut work = store.begin().await.unwrap();
    work.failed_event_count(&feed_uri()).await.unwrap()
}

const MILLISECOND: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn the_feed_waits_and_keeps_its_order() {
    let emr = Emr::with_events(12).await;
    for prepares in [false, true] {
        // With 1 s, 2 s, 4 s, … up to a minute, that is some minutes.
        let erp = Erp::down_for(12);
        let store = MemoryStore::new();
        let client = emr.client().interval(Duration::from_millis(250));
        let client = match prepares {
            true => client.build(store.clone(), Asks(erp.clone())),
            false => client.build(store.clone(), erp.clone()),
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let begun = tokio::time::Instant::now();
        let running = tokio::spawn(async move { client.run(stopped).await });
        while order(&store).len() < 12 {
            assert_eq!(parked(&store).await, 0);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(
            begun.elapsed() > Duration::from_secs(60),
            "{:?}",
            begun.elapsed()
        );
        // Met once in the batch and once alone, or by those that were prepared ahead; then once a round.
        let calls = erp.calls.load(Ordering::Relaxed) - 12;
        assert!(calls <= 12 + 4, "{calls} calls were made in vain");
        stop.cancel();
        running.await.unwrap().unwrap();
        assert_eq!(order(&store), (1..=12).collect::<Vec<_>>());
        assert_eq!(parked(&store).await, 0);
    }
}

/// Called from outside, it says what it waits for, and until then leaves the worker alone.
#[tokio::test]
async fn who_asks_in_between_is_told() {
    let emr = Emr::with_events(12).await;
    let erp = Erp::down_for(u32::MAX);
    let store = MemoryStore::new();
    let long = Duration::from_secs(600);
    let client = emr.client().wait_out(long, long, 2 * long);
    let client = client.build(store.clone(), erp.clone());
    let mut calls = None;
    for _again in 0..5 {
        let error = client.process_events().await.unwrap_err();
        let ProcessErrorKind::Waiting {
            event,
            error,
            retry_in,
        } = error.kind()
        else {
            panic!("{error:?}");
        };
        assert!(
            event.starts_with("tag:") && error.contains("refused"),
            "{event} {error}"
        );
        // With jitter, up to twice as long.
        assert!(
            *retry_in > long / 2 && *retry_in <= 2 * long,
            "{retry_in:?}"
        );
        let now = erp.calls.load(Ordering::Relaxed);
        assert_eq!(*calls.get_or_insert(now), now);
        assert!(matches!(
            client.process_failed_events().await.unwrap_err().kind(),
            ProcessErrorKind::Waiting { .. }
        ));
    }
    assert_eq!((order(&store), parked(&store).await), (vec![1, 2, 3], 0));
}

/// What is down for too long is taken for a fault of the event.
#[tokio::test]
async fn patience_ends() {
    let emr = Emr::with_events(5).await;
    let erp = Erp::down_for(u32::MAX);
    let store = MemoryStore::new();
    let client = emr
        .client()
        .wait_out(MILLISECOND, MILLISECOND, Duration::ZERO);
    let client = client.build(store.clone(), erp);
    let processed = client.process_events().await.unwrap();
    assert_eq!((processed.applied, processed.failed), (3, 2));
    assert_eq!(parked(&store).await, 2);
}

/// What a database says of other transactions, or when it is away, is transient without a word.
#[test]
fn errors_of_a_database_may_be_transient() {
    let of = |kind| WorkerError::from(StoreError::new(kind, "asking"));
    assert!(of(StoreErrorKind::Unavailable).is_transient());
    assert!(of(StoreErrorKind::Conflict).is_transient());
    assert!(!of(StoreErrorKind::Refused).is_transient());
    assert!(WorkerError::from(sqlx::Error::PoolTimedOut).is_transient());
    assert!(!WorkerError::from(sqlx::Error::RowNotFound).is_transient());
    let nested = StoreError::new(StoreErrorKind::Database, "asking")
        .caused_by(StoreError::new(StoreErrorKind::Unavailable, "connecting"));
    assert!(
        !WorkerError::from(nested).is_transient(),
        "the outermost word counts"
    );
    let said: Result<(), _> = Err(sqlx::Error::PoolTimedOut);
    assert!(!said.permanent().unwrap_err().is_transient());
}
