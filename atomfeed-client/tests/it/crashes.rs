//! The worker's write and the marker last together or not at all: the consumer is stopped at every
//! call of its store, before and after it took effect, by an error and by being killed there, and
//! killed wherever it waits for a page or for its worker; then it starts again, and in the end every
//! event is applied exactly once.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, Event, EventWorker, FeedSource, FetchError, Handled, PageRequest, PageResponse,
    PreparingWorker, ProcessError, ProcessErrorKind, WorkerError,
};
use atomfeed_core::store::conformance::Harness;
use atomfeed_core::store::{
    ConsumerStore, FailedEventQuery, FailedEventStore, MarkerStore, StoreError, StoreErrorKind,
    StoreResult, UnitOfWork,
};
use atomfeed_core::{EntryId, FailedEvent, FailedEventRetryLog, Failure, FeedUri, Marker, Place};
use tokio::sync::Notify;

use crate::feeds::{Apply, Emr, applied, feed_uri, full, on_every_store};

on_every_store!(
    every_event_is_applied_once_wherever_it_stops,
    keys_keep_their_order_wherever_it_stops,
    a_parked_event_is_applied_once_wherever_a_retry_stops,
);

/// What happens at the n-th call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It fails, and has done nothing.
    FailBefore,
    /// It does its work, and then fails: the answer was lost.
    FailAfter,
    /// The process is killed before it.
    KillBefore,
    /// The process is killed after it took effect.
    KillAfter,
}

const FAULTS: [Fault; 4] = [
    Fault::FailBefore,
    Fault::FailAfter,
    Fault::KillBefore,
    Fault::KillAfter,
];

/// Strikes once, at the n-th call.
#[derive(Debug)]
struct Plan {
    fault: Fault,
    at: usize,
    calls: AtomicUsize,
    killed: Notify,
}

impl Plan {
    fn new(fault: Fault, at: usize) -> Arc<Self> {
        Arc::new(Self {
            fault,
            at,
            calls: AtomicUsize::new(0),
            killed: Notify::new(),
        })
    }

    fn struck(&self) -> bool {
        self.calls.load(Ordering::SeqCst) > self.at
    }

    async fn call<T>(&self, call: impl Future<Output = StoreResult<T>> + Send) -> StoreResult<T> {
        let lost = || Err(StoreError::new(StoreErrorKind::Unavailable, "injected"));
        if self.calls.fetch_add(1, Ordering::SeqCst) != self.at {
            return call.await;
        }
        match self.fault {
            Fault::FailBefore => lost(),
            Fault::FailAfter => call.await.and_then(|_| lost()),
            Fault::KillBefore => self.kill().await,
            Fault::KillAfter => {
                call.await?;
                self.kill().await
            }
        }
    }

    /// A place where the consumer waits for something else than its store.
    async fn wait_here(&self) {
        let kills = matches!(self.fault, Fault::KillBefore | Fault::KillAfter);
        if self.calls.fetch_add(1, Ordering::SeqCst) == self.at && kills {
            self.kill().await
        }
    }

    /// Never comes back: whoever runs the consumer drops it here.
    async fn kill<T>(&self) -> T {
        self.killed.notify_one();
        std::future::pending().await
    }
}

#[derive(Clone)]
struct FaultyStore<S> {
    store: S,
    plan: Arc<Plan>,
}

#[async_trait]
impl<S: ConsumerStore> ConsumerStore for FaultyStore<S> {
    type Conn = S::Conn;

    async fn begin(&self) -> StoreResult<Box<dyn UnitOfWork<Conn = S::Conn>>> {
        let work = self.plan.call(self.store.begin()).await?;
        Ok(Box::new(FaultyWork {
            work,
            plan: Arc::clone(&self.plan),
        }))
    }

    async fn marker(&self, feed_uri: &FeedUri) -> StoreResult<Option<Marker>> {
        self.plan.call(self.store.marker(feed_uri)).await
    }
}

struct FaultyWork<C: ?Sized> {
    work: Box<dyn UnitOfWork<Conn = C>>,
    plan: Arc<Plan>,
}

#[async_trait]
impl<C: ?Sized + Send + 'static> UnitOfWork for FaultyWork<C> {
    type Conn = C;

    fn conn(&mut self) -> &mut C {
        self.work.conn()
    }

    async fn take_back(&mut self) -> StoreResult<()> {
        self.plan.call(self.work.take_back()).await
    }

    async fn commit(self: Box<Self>) -> StoreResult<()> {
        self.plan.call(self.work.commit()).await
    }

    async fn rollback(self: Box<Self>) -> StoreResult<()> {
        self.plan.call(self.work.rollback()).await
    }
}

#[async_trait]
impl<C: ?Sized + Send + 'static> MarkerStore for FaultyWork<C> {
    async fn marker(&mut self, feed_uri: &FeedUri) -> StoreResult<Option<Marker>> {
        self.plan.call(self.work.marker(feed_uri)).await
    }

    async fn markers(&mut self) -> StoreResult<Vec<Marker>> {
        self.plan.call(self.work.markers()).await
    }

    async fn move_marker(&mut self, from: Option<&Marker>, to: &Marker) -> StoreResult<()> {
        self.plan.call(self.work.move_marker(from, to)).await
    }
}

#[async_trait]
impl<C: ?Sized + Send + 'static> FailedEventStore for FaultyWork<C> {
    async fn park(&mut self, event: &Event, failure: &Failure) -> StoreResult<i64> {
        self.plan.call(self.work.park(event, failure)).await
    }

    async fn place(&mut self, feed_uri: &FeedUri, id: i64, place: &Place) -> StoreResult<()> {
        self.plan.call(self.work.place(feed_uri, id, place)).await
    }

    async fn held_keys(
        &mut self,
        feed_uri: &FeedUri,
        keys: &[&str],
    ) -> StoreResult<HashSet<String>> {
        self.plan.call(self.work.held_keys(feed_uri, keys)).await
    }

    async fn failed_events(&mut self, query: &FailedEventQuery) -> StoreResult<Vec<FailedEvent>> {
        self.plan.call(self.work.failed_events(query)).await
    }

    async fn failed_event_count(&mut self, feed_uri: &FeedUri) -> StoreResult<u64> {
        self.plan.call(self.work.failed_event_count(feed_uri)).await
    }

    async fn record_failed_retry(
        &mut self,
        failed: &FailedEvent,
        failure: &Failure,
    ) -> StoreResult<()> {
        self.plan
            .call(self.work.record_failed_retry(failed, failure))
            .await
    }

    async fn remove_failed_event(&mut self, failed: &FailedEvent) -> StoreResult<()> {
        self.plan.call(self.work.remove_failed_event(failed)).await
    }

    async fn retry_log(
        &mut self,
        feed_uri: &FeedUri,
        event_id: &EntryId,
    ) -> StoreResult<Vec<FailedEventRetryLog>> {
        self.plan
            .call(self.work.retry_log(feed_uri, event_id))
            .await
    }
}

/// May be killed before it works and before it returns.
struct FaultyWorker<H> {
    worker: Apply<H>,
    plan: Arc<Plan>,
}

#[async_trait]
impl<H: Harness + 'static> PreparingWorker<H::Conn> for FaultyWorker<H> {
    type Prepared = ();

    async fn prepare(&self, _event: &Event) -> Result<(), WorkerError> {
        self.plan.wait_here().await;
        Ok(())
    }

    async fn process(
        &self,
        event: &Event,
        _prepared: &(),
        conn: &mut H::Conn,
    ) -> Result<Handled, WorkerError> {
        self.plan.wait_here().await;
        let processed = EventWorker::process(&self.worker, event, conn).await;
        self.plan.wait_here().await;
        processed
    }

    fn key(&self, event: &Event, _prepared: Option<&()>) -> Option<String> {
        EventWorker::key(&self.worker, event)
    }

    async fn committed(&self, _event: &Event) {
        self.plan.wait_here().await;
    }
}

struct FaultySource<S> {
    source: S,
    plan: Arc<Plan>,
}

#[async_trait]
impl<S: FeedSource> FeedSource for FaultySource<S> {
    async fn fetch(&self, page: &PageRequest) -> Result<PageResponse, FetchError> {
        self.plan.wait_here().await;
        self.source.fetch(page).await
    }
}

/// A client all of whose waits are in the plan.
fn faulty<H: Harness + 'static>(
    emr: &Emr,
    store: H::Store,
    worker: Apply<H>,
    plan: &Arc<Plan>,
) -> AtomFeedClient<H::Conn> {
    let source = FaultySource {
        source: emr.source(),
        plan: Arc::clone(plan),
    };
    let worker = FaultyWorker {
        worker,
        plan: Arc::clone(plan),
    };
    AtomFeedClient::builder(feed_uri(), source)
        .prepare_ahead(2)
        .build(
            FaultyStore {
                store,
                plan: Arc::clone(plan),
            },
            worker,
        )
}

/// Runs until it ends or is killed.
async fn until_killed<T>(plan: &Plan, run: impl Future<Output = Result<T, ProcessError>>) {
    tokio::select! {
        biased;
        () = plan.killed.notified() => {}
        _ended = run => {}
    }
}

/// Runs, and once more after a conflict: SQLite commits on a thread of its own, so a commit that was cut off
/// may still take effect while the next consumer is already at work. That one has to be told, and to lose
/// nothing and double nothing by it.
async fn unless_overtaken<T, F>(run: impl Fn() -> F)
where
    F: Future<Output = Result<T, ProcessError>>,
{
    let Err(error) = run().await else { return };
    let ProcessErrorKind::Store(store_error) = error.kind() else {
        panic!("{error}");
    };
    assert_eq!(store_error.kind(), StoreErrorKind::Conflict, "{error:?}");
    run().await.map(drop).unwrap();
}

fn third(event: &Event) -> bool {
    event.content() == "3"
}

async fn every_event_is_applied_once_wherever_it_stops<H: Harness + 'static>(harness: &Arc<H>) {
    let emr = Emr::with_events(7).await;
    for fault in FAULTS {
        for at in 0.. {
            let store = harness.store().await;
            let plan = Plan::new(fault, at);
            let client = faulty(&emr, store.clone(), Apply::but(harness, third), &plan);
            until_killed(&plan, client.process_events()).await;
            drop(client);

            let again = emr
                .client()
                .build(store.clone(), Apply::but(harness, third));
            unless_overtaken(|| again.process_events()).await;
            let at_call = format!("{fault:?} at call {at}");
            assert_eq!(
                applied(harness.as_ref(), &store).await,
                [1, 2, 4, 5, 6, 7],
                "{at_call}"
            );
            assert_eq!(parked(&store).await, ["3"], "{at_call}");
            if !plan.struck() {
                assert!(at > 7 * 3, "the loop has more calls than {at}");
                break;
            }
        }
    }
}

/// 3 and 6 have one key: 6 waits behind 3, and follows it when that succeeds.
async fn keys_keep_their_order_wherever_it_stops<H: Harness + 'static>(harness: &Arc<H>) {
    let key = |event: &Event| {
        let number: u32 = event.content().parse().ok()?;
        Some((number % 3).to_string())
    };
    let emr = Emr::with_events(7).await;
    let step = if full() { 1 } else { 4 };
    for fault in FAULTS {
        for at in (0..).step_by(step) {
            let store = harness.store().await;
            let plan = Plan::new(fault, at);
            let fails = || Apply::but(harness, third).with_key(key);
            let client = faulty(&emr, store.clone(), fails(), &plan);
            until_killed(&plan, client.process_events()).await;
            drop(client);
            let again = emr.client().build(store.clone(), fails());
            unless_overtaken(|| again.process_events()).await;
            let at_call = format!("{fault:?} at call {at}");
            let written = applied(harness.as_ref(), &store).await;
            assert_eq!(written, [1, 2, 4, 5, 7], "{at_call}");
            assert_eq!(parked(&store).await, ["3", "6"], "{at_call}");
            if !plan.struck() {
                break;
            }
        }
        for at in (0..).step_by(step) {
            let store = harness.store().await;
            let parking = Apply::but(harness, third).with_key(key);
            let parking = emr.client().build(store.clone(), parking);
            parking.process_events().await.unwrap();
            let plan = Plan::new(fault, at);
            let mended = || Apply::but(harness, |event| event.content() == "6").with_key(key);
            let client = faulty(&emr, store.clone(), mended(), &plan);
            until_killed(&plan, client.process_failed_events()).await;
            drop(client);
            let again = emr.client().build(store.clone(), mended());
            unless_overtaken(|| again.process_failed_events()).await;
            let at_call = format!("{fault:?} at call {at} of the retries");
            let written = applied(harness.as_ref(), &store).await;
            assert_eq!(written, [1, 2, 3, 4, 5, 7], "{at_call}");
            assert_eq!(parked(&store).await, ["6"], "{at_call}");
            if !plan.struck() {
                break;
            }
        }
    }
}

async fn a_parked_event_is_applied_once_wherever_a_retry_stops<H: Harness + 'static>(
    harness: &Arc<H>,
) {
    let emr = Emr::with_events(5).await;
    for fault in FAULTS {
        for at in 0.. {
            let store = harness.store().await;
            let parking = emr.client().build(
                store.clone(),
                Apply::but(harness, |event| ["2", "3", "4"].contains(&event.content())),
            );
            parking.process_events().await.unwrap();

            let plan = Plan::new(fault, at);
            let client = faulty(&emr, store.clone(), Apply::but(harness, third), &plan);
            until_killed(&plan, client.process_failed_events()).await;
            drop(client);

            let again = emr
                .client()
                .build(store.clone(), Apply::but(harness, third));
            unless_overtaken(|| again.process_failed_events()).await;
            let at_call = format!("{fault:?} at call {at}");
            assert_eq!(
                applied(harness.as_ref(), &store).await,
                [1, 2, 4, 5],
                "{at_call}"
            );
            assert_eq!(parked(&store).await, ["3"], "{at_call}");
            if !plan.struck() {
                assert!(at > 3 * 3, "the loop has more calls than {at}");
                break;
            }
        }
    }
}

async fn parked<S: ConsumerStore>(store: &S) -> Vec<String> {
    let mut work = store.begin().await.unwrap();
    let failed = work
        .failed_events(&FailedEventQuery::of(feed_uri()))
        .await
        .unwrap();
    failed
        .into_iter()
        .map(|failed| failed.event.content().to_owned())
        .collect()
}
