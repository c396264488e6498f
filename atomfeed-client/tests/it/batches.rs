//! Many events in one transaction, and still each once, and one failure undoes one event.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_client::{Event, EventWorker, Handled, Outcome, WorkerError};
use atomfeed_core::store::conformance::{Harness, MemoryHarness};
use atomfeed_core::store::{ConsumerStore, FailedEventQuery};

use crate::feeds::{Apply, Emr, applied, feed_uri, on_every_store};

on_every_store!(
    one_failure_undoes_one_event,
    a_batch_is_one_transaction,
    a_worker_that_hangs_fails,
);

/// Every seventh.
fn seventh(event: &Event) -> bool {
    event.content().parse::<u32>().unwrap() % 7 == 0
}

fn each_but_sevenths(n: u32) -> Vec<u32> {
    (1..=n).filter(|number| number % 7 != 0).collect()
}

async fn parked<S: ConsumerStore>(store: &S) -> Vec<String> {
    let mut work = store.begin().await.unwrap();
    let query = FailedEventQuery::of(feed_uri());
    let failed = work.failed_events(&query).await.unwrap();
    work.rollback().await.unwrap();
    let contents = failed.iter().map(|failed| failed.event.content());
    contents.map(str::to_owned).collect()
}

/// Whatever the size of a batch, which goes over pages.
async fn one_failure_undoes_one_event<H: Harness + 'static>(harness: &Arc<H>) {
    let emr = Emr::with_events(53).await;
    for size in [1, 2, 3, 8, 100] {
        let store = harness.store().await;
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let client = emr
            .client()
            .batch(size)
            .on_outcome(move |outcome| {
                let (Outcome::Applied { event } | Outcome::Parked { event, .. }) = outcome else {
                    panic!("{outcome:?}");
                };
                tell.lock().unwrap().push(event.content().parse().unwrap());
            })
            .build(store.clone(), Apply::but(harness, seventh));
        let processed = client.process_events().await.unwrap();
        assert_eq!((processed.applied, processed.failed), (46, 7), "{size}");
        let written = applied(harness.as_ref(), &store).await;
        assert_eq!(written, each_but_sevenths(53), "{size}");
        assert_eq!(parked(&store).await.len(), 7, "{size}");
        let told: Vec<u32> = std::mem::take(&mut told.lock().unwrap());
        assert_eq!(told, (1..=53).collect::<Vec<_>>(), "{size}: in order");
        let marker = store.marker(&feed_uri()).await.unwrap().unwrap();
        assert!(marker.page_uri().unwrap().ends_with("/11"), "{marker:?}");
    }
}

/// Counts the batches that it is handed; of the last event of each it says that it ignores it.
struct Batches<H> {
    apply: Apply<H>,
    lengths: Arc<Mutex<Vec<usize>>>,
    one_by_one: Arc<AtomicUsize>,
    /// What it says of a batch is too short by one.
    forgets: bool,
    has_other_effects: bool,
}

#[async_trait]
impl<H: Harness + 'static> EventWorker<H::Conn> for Batches<H> {
    async fn process(&self, event: &Event, conn: &mut H::Conn) -> Result<Handled, WorkerError> {
        self.one_by_one.fetch_add(1, Ordering::Relaxed);
        self.apply.process(event, conn).await
    }

    async fn process_batch(
        &self,
        events: &[&Event],
        conn: &mut H::Conn,
    ) -> Result<Vec<Handled>, WorkerError> {
        self.lengths.lock().unwrap().push(events.len());
        let mut handled = Vec::new();
        for event in events {
            handled.push(self.apply.process(event, conn).await?);
        }
        if self.forgets {
            handled.pop();
        } else if let Some(last) = handled.last_mut() {
            *last = Handled::Ignored;
        }
        Ok(handled)
    }

    fn has_other_effects(&self) -> bool {
        self.has_other_effects
    }
}

async fn a_batch_is_one_transaction<H: Harness + 'static>(harness: &Arc<H>) {
    let emr = Emr::with_events(20).await;
    for (forgets, has_other_effects) in [(false, false), (true, false), (false, true)] {
        let store = harness.store().await;
        let lengths = Arc::new(Mutex::new(Vec::new()));
        let one_by_one = Arc::new(AtomicUsize::new(0));
        let worker = Batches {
            apply: Apply::all(harness),
            lengths: Arc::clone(&lengths),
            one_by_one: Arc::clone(&one_by_one),
            forgets,
            has_other_effects,
        };
        // However slow the machine: all that it may take.
        let client = emr.client().batch(4).batch_time(Duration::MAX);
        let processed = client.build(store.clone(), worker).process_events().await;
        let processed = processed.unwrap();
        let written = applied(harness.as_ref(), &store).await;
        assert_eq!(written, (1..=20).collect::<Vec<_>>());
        let lengths = std::mem::take(&mut *lengths.lock().unwrap());
        let ignored = match (forgets, has_other_effects) {
            (false, false) => {
                // A page that is being fetched is not waited for: then one is smaller.
                assert!(lengths.iter().all(|length| (2..=4).contains(length)));
                assert_eq!(
                    lengths.iter().sum::<usize>() + one_by_one.load(Ordering::Relaxed),
                    20
                );
                lengths.len() as u64
            }
            (true, _) => {
                assert_eq!(
                    one_by_one.load(Ordering::Relaxed),
                    20,
                    "what it says counts for none"
                );
                0
            }
            (_, true) => {
                assert_eq!((lengths.len(), one_by_one.load(Ordering::Relaxed)), (0, 20));
                0
            }
        };
        assert_eq!(
            (processed.applied, processed.ignored),
            (20 - ignored, ignored)
        );
    }
}

/// Never comes to an end with event 3.
struct Hangs<H>(Apply<H>);

#[async_trait]
impl<H: Harness + 'static> EventWorker<H::Conn> for Hangs<H> {
    async fn process(&self, event: &Event, conn: &mut H::Conn) -> Result<Handled, WorkerError> {
        let handled = self.0.process(event, conn).await;
        if event.content() == "3" {
            std::future::pending::<()>().await;
        }
        handled
    }
}

async fn a_worker_that_hangs_fails<H: Harness + 'static>(harness: &Arc<H>) {
    let emr = Emr::with_events(6).await;
    let store = harness.store().await;
    let client = emr.client().worker_timeout(Duration::from_secs(5));
    let client = client.build(store.clone(), Hangs(Apply::all(harness)));
    let processed = client.process_events().await.unwrap();
    assert_eq!((processed.applied, processed.failed), (5, 1));
    assert_eq!(applied(harness.as_ref(), &store).await, [1, 2, 4, 5, 6]);
    assert_eq!(parked(&store).await, ["3"]);
}

/// A batch is no larger than the worker can take in the time that it may have.
#[tokio::test]
async fn a_slow_worker_gets_small_batches() {
    let emr = Emr::with_events(30).await;
    let harness = Arc::new(MemoryHarness);
    let store = harness.store().await;
    let lengths = Arc::new(Mutex::new(Vec::new()));
    let worker = Batches {
        apply: Apply::all(&harness),
        lengths: Arc::clone(&lengths),
        one_by_one: Arc::default(),
        forgets: false,
        has_other_effects: false,
    };
    let client = emr.client().batch(5).batch_time(Duration::from_nanos(1));
    let client = client.build(store.clone(), worker);
    client.process_events().await.unwrap();
    assert_eq!(*lengths.lock().unwrap(), [5], "then one by one");
    let written = applied(harness.as_ref(), &store).await;
    assert_eq!(written, (1..=30).collect::<Vec<_>>());
}
