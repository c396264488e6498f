//! The worker's write and the marker last together or not at all: the consumer is stopped at every
//! call of its store, before and after it took effect, by an error and by being killed there, and
//! killed wherever it waits for a page or for its worker; then it starts again, and in the end every
//! event is applied exactly once.

use std::any::TypeId;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, Event, EventWorker, FeedSource, FetchError, Handled, PageRequest, PageResponse,
    PreparingWorker, ProcessError, ProcessErrorKind, WorkerError,
};
use atomfeed_core::store::conformance::{Harness, MemoryHarness};
use atomfeed_core::store::{ConsumerStore, FailedEventQuery, MemoryStore, StoreErrorKind};

use crate::faulty::{FAULTS, Fault, FaultyStore, Plan};
use crate::feeds::{Apply, Emr, applied, feed_uri, full, on_every_store};

on_every_store!(
    every_event_is_applied_once_wherever_it_stops,
    keys_keep_their_order_wherever_it_stops,
    a_parked_event_is_applied_once_wherever_a_retry_stops,
);

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
        // What failed for what is around it is due again at once.
        .wait_out(Duration::ZERO, Duration::ZERO, Duration::from_secs(3_600))
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

/// How many calls lie between two stops: in memory it costs little to see each of them.
fn step<H: Harness + 'static>() -> usize {
    let in_memory = TypeId::of::<H::Store>() == TypeId::of::<MemoryStore>();
    if in_memory || full() { 1 } else { 4 }
}

fn third(event: &Event) -> bool {
    event.content() == "3"
}

async fn every_event_is_applied_once_wherever_it_stops<H: Harness + 'static>(harness: &Arc<H>) {
    let emr = Emr::with_events(7).await;
    for (first, fault) in FAULTS.into_iter().enumerate() {
        for at in (first % step::<H>()..).step_by(step::<H>()) {
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
    for fault in FAULTS {
        for at in (0..).step_by(step::<H>()) {
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
        for at in (0..).step_by(step::<H>()) {
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
        // Both are mended: whatever happens, 6 comes after 3.
        for at in (0..).step_by(step::<H>()) {
            let store = harness.store().await;
            let parking = Apply::but(harness, third).with_key(key);
            let parking = emr.client().build(store.clone(), parking);
            parking.process_events().await.unwrap();
            let plan = Plan::new(fault, at);
            let heard = Arc::default();
            let mended = || Apply::all(harness).with_key(key).heard_by(&heard);
            let client = faulty(&emr, store.clone(), mended(), &plan);
            until_killed(&plan, client.process_failed_events()).await;
            drop(client);
            let at_call = format!("{fault:?} at call {at} of the retries");
            let again = emr.client().build(store.clone(), mended());
            unless_overtaken(|| again.process_failed_events()).await;
            let written = applied(harness.as_ref(), &store).await;
            assert_eq!(written, [1, 2, 3, 4, 5, 6, 7], "{at_call}");
            // What was handed over last was committed, of each.
            let heard = heard.lock().unwrap().clone();
            let last = |number: &str| heard.iter().rposition(|handed| handed == number);
            assert!(last("3") < last("6"), "{at_call}: {heard:?}");
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
    for (first, fault) in FAULTS.into_iter().enumerate() {
        for at in (first % step::<H>()..).step_by(step::<H>()) {
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

/// While all goes well, nothing runs for each event but the worker.
#[tokio::test]
async fn a_batch_asks_little_of_the_store() {
    let emr = Emr::with_events(100).await;
    let harness = Arc::new(MemoryHarness);
    let store = harness.store().await;
    let plan = Plan::new(Fault::FailBefore, usize::MAX);
    let faulty = FaultyStore {
        store: store.clone(),
        plan: Arc::clone(&plan),
    };
    // However slow the machine.
    let client = emr.client().batch_time(Duration::MAX);
    let client = client.build(faulty, Apply::all(&harness));
    assert_eq!(client.process_events().await.unwrap().applied, 100);
    assert!(plan.made() < 40, "{} calls for 100 events", plan.made());
}
