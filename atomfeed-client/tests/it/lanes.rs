//! Several transactions at once, over different keys.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_client::{
    CancellationToken, Event, EventWorker, FailureExt, Handled, ProcessErrorKind, WorkerError,
};
use atomfeed_core::store::conformance::Harness;
use atomfeed_core::store::{ConsumerStore, FailedEventQuery, StoreErrorKind};
use tokio::sync::{Barrier, Notify};

use crate::faulty::{FAULTS, FaultyStore, Plan};
use crate::feeds::{Apply, Emr, applied, feed_uri, full, on_every_store};

on_every_store!(
    nothing_is_lost_or_doubled_wherever_lanes_stop,
    keys_keep_their_order,
    as_many_are_at_work_as_were_asked_for,
    a_stop_leaves_nothing_beyond_the_marker,
    what_was_done_beyond_the_marker_is_not_done_again,
    who_has_lost_the_feed_commits_nothing_more,
);

/// Number by number, three keys.
fn third_of(event: &Event) -> Option<String> {
    let number: u32 = event.content().parse().ok()?;
    Some((number % 3).to_string())
}

async fn parked<S: ConsumerStore>(store: &S) -> Vec<String> {
    let mut work = store.begin().await.unwrap();
    let failed = work.failed_events(&FailedEventQuery::of(feed_uri())).await;
    let failed = failed.unwrap().into_iter();
    failed
        .map(|failed| failed.event.content().to_owned())
        .collect()
}

async fn beyond_the_marker<S: ConsumerStore>(store: &S) -> usize {
    let mut work = store.begin().await.unwrap();
    work.completed(&feed_uri()).await.unwrap().len()
}

async fn nothing_is_lost_or_doubled_wherever_lanes_stop<H: Harness + 'static>(harness: &Arc<H>) {
    let emr = Emr::with_events(12).await;
    let step = if full() { 1 } else { 5 };
    for fault in FAULTS {
        for at in (0..).step_by(step) {
            let store = harness.store().await;
            let plan = Plan::new(fault, at);
            let worker = || Apply::but(harness, |event| event.content() == "4").with_key(third_of);
            let faulty = FaultyStore {
                store: store.clone(),
                plan: Arc::clone(&plan),
            };
            let client = emr.client().workers(3).batch(2).build(faulty, worker());
            tokio::select! {
                biased;
                () = plan.killed.notified() => {}
                _ended = client.process_events() => {}
            }
            drop(client);
            // Whoever goes on, with as many at work or one alone.
            let workers = if at % 2 == 0 { 1 } else { 3 };
            let again = emr.client().workers(workers).batch(2);
            let again = again.build(store.clone(), worker());
            if let Err(error) = again.process_events().await {
                // A commit that was cut off may take effect only now.
                assert!(
                    matches!(error.kind(), ProcessErrorKind::Store(error)
                        if matches!(error.kind(), StoreErrorKind::Conflict | StoreErrorKind::Duplicate)),
                    "{error:?}"
                );
                again.process_events().await.unwrap();
            }
            let at_call = format!("{fault:?} at call {at}");
            let written = applied(harness.as_ref(), &store).await;
            assert_eq!(written, [1, 2, 3, 5, 6, 8, 9, 11, 12], "{at_call}");
            assert_eq!(parked(&store).await, ["4", "7", "10"], "{at_call}");
            assert_eq!(beyond_the_marker(&store).await, 0, "{at_call}");
            if !plan.struck() {
                assert!(at > 12, "the loop has more calls than {at}");
                break;
            }
        }
    }
}

/// Writes down in which order it was handed events.
struct Listens<H> {
    apply: Apply<H>,
    heard: Arc<Mutex<Vec<u32>>>,
}

#[async_trait]
impl<H: Harness + 'static> EventWorker<H::Conn> for Listens<H> {
    async fn process(&self, event: &Event, conn: &mut H::Conn) -> Result<Handled, WorkerError> {
        let handled = self.apply.process(event, conn).await?;
        self.heard
            .lock()
            .unwrap()
            .push(event.content().parse().unwrap());
        Ok(handled)
    }

    fn key(&self, event: &Event) -> Option<String> {
        self.apply.key(event)
    }
}

async fn keys_keep_their_order<H: Harness + 'static>(harness: &Arc<H>) {
    let emr = Emr::with_events(90).await;
    let key = |event: &Event| {
        let number: u32 = event.content().parse().ok()?;
        // Some wait for nothing.
        (!number.is_multiple_of(10)).then(|| (number % 7).to_string())
    };
    for batch in [1, 4, 100] {
        let store = harness.store().await;
        let heard = Arc::<Mutex<Vec<u32>>>::default();
        let worker = Listens {
            apply: Apply::all(harness).with_key(key),
            heard: Arc::clone(&heard),
        };
        let client = emr.client().workers(4).batch(batch);
        let client = client.build(store.clone(), worker);
        let processed = client.process_events().await.unwrap();
        assert_eq!(processed.applied, 90);
        let mut by_key = BTreeMap::<_, Vec<u32>>::new();
        for number in heard.lock().unwrap().iter() {
            if !number.is_multiple_of(10) {
                by_key.entry(number % 7).or_default().push(*number);
            }
        }
        assert!(
            by_key.values().all(|numbers| numbers.is_sorted()),
            "{by_key:?}"
        );
        let written = applied(harness.as_ref(), &store).await;
        assert_eq!(written, (1..=90).collect::<Vec<_>>());
        assert_eq!(beyond_the_marker(&store).await, 0);
    }
}

/// Goes on only once so many are at work.
struct Meets<H> {
    apply: Apply<H>,
    barrier: Option<Arc<Barrier>>,
}

#[async_trait]
impl<H: Harness + 'static> EventWorker<H::Conn> for Meets<H> {
    async fn process(&self, event: &Event, conn: &mut H::Conn) -> Result<Handled, WorkerError> {
        if let Some(barrier) = &self.barrier {
            barrier.wait().await;
        }
        self.apply.process(event, conn).await
    }

    fn key(&self, event: &Event) -> Option<String> {
        self.apply.key(event)
    }
}

async fn as_many_are_at_work_as_were_asked_for<H: Harness + 'static>(harness: &Arc<H>) {
    let emr = Emr::with_events(12).await;
    let store = harness.store().await;
    let at_once = match store.writes_one_at_a_time() {
        true => None,
        false => Some(Arc::new(Barrier::new(3))),
    };
    let worker = Meets {
        apply: Apply::all(harness).with_key(third_of),
        barrier: at_once,
    };
    let client = emr
        .client()
        .workers(3)
        .batch(1)
        .build(store.clone(), worker);
    let processed = tokio::time::timeout(Duration::from_secs(60), client.process_events());
    let processed = processed.await.expect("three are at work at once").unwrap();
    assert_eq!(processed.applied, 12);
}

/// Waits in event 1 until it is let.
struct Slow<H> {
    apply: Apply<H>,
    reached: Arc<Notify>,
    let_go: Arc<Notify>,
}

#[async_trait]
impl<H: Harness + 'static> EventWorker<H::Conn> for Slow<H> {
    async fn process(&self, event: &Event, conn: &mut H::Conn) -> Result<Handled, WorkerError> {
        let handled = self.apply.process(event, conn).await;
        if event.content() == "1" {
            self.reached.notify_one();
            self.let_go.notified().await;
        }
        handled
    }

    fn key(&self, event: &Event) -> Option<String> {
        self.apply.key(event)
    }
}

async fn a_stop_leaves_nothing_beyond_the_marker<H: Harness + 'static>(harness: &Arc<H>) {
    let emr = Emr::with_events(40).await;
    let store = harness.store().await;
    let (reached, let_go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let worker = Slow {
        apply: Apply::all(harness).with_key(third_of),
        reached: Arc::clone(&reached),
        let_go: Arc::clone(&let_go),
    };
    let outcomes = Arc::new(Notify::new());
    let (told, is_alone) = (Arc::clone(&outcomes), store.writes_one_at_a_time());
    let client = emr.client().workers(3).batch(2);
    let client = client.on_outcome(move |_| told.notify_one());
    let client = client.build(store.clone(), worker);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let running = tokio::spawn(async move { client.run(stopped).await });
    reached.notified().await;
    if !is_alone {
        // Others go on meanwhile.
        outcomes.notified().await;
        assert!(beyond_the_marker(&store).await > 0);
    }
    stop.cancel();
    let_go.notify_one();
    running.await.unwrap().unwrap();
    assert_eq!(beyond_the_marker(&store).await, 0);
    let done = applied(harness.as_ref(), &store).await;
    assert!(!done.is_empty() && done.len() < 40, "{done:?}");
    assert_eq!(done, (1..=done.len() as u32).collect::<Vec<_>>());
    let rest = emr.client().build(store.clone(), Apply::all(harness));
    let processed = rest.process_events().await.unwrap();
    assert_eq!(processed.applied as usize, 40 - done.len());
}

async fn what_was_done_beyond_the_marker_is_not_done_again<H: Harness + 'static>(harness: &Arc<H>) {
    /// Event 1 has to wait, and says so once another one was applied.
    struct Down<H> {
        apply: Apply<H>,
        another: Option<Arc<Notify>>,
    }

    #[async_trait]
    impl<H: Harness + 'static> EventWorker<H::Conn> for Down<H> {
        async fn process(&self, event: &Event, conn: &mut H::Conn) -> Result<Handled, WorkerError> {
            if event.content() == "1" {
                if let Some(another) = &self.another {
                    another.notified().await;
                }
                return Err(WorkerError::new("it is down")).transient();
            }
            self.apply.process(event, conn).await
        }

        fn key(&self, event: &Event) -> Option<String> {
            self.apply.key(event)
        }
    }

    for workers in [1, 3] {
        let emr = Emr::with_events(8).await;
        let store = harness.store().await;
        let another = Arc::new(Notify::new());
        let told = Arc::clone(&another);
        let worker = Down {
            apply: Apply::all(harness).with_key(third_of),
            another: (!store.writes_one_at_a_time()).then_some(another),
        };
        let client = emr.client().workers(3).batch(1);
        let client = client.on_outcome(move |_| told.notify_one());
        let client = client.build(store.clone(), worker);
        let error = client.process_events().await.unwrap_err();
        assert!(
            matches!(error.kind(), ProcessErrorKind::Waiting { .. }),
            "{error:?}"
        );
        let before = applied(harness.as_ref(), &store).await;
        assert!(!before.contains(&1), "{before:?}");
        assert_eq!(beyond_the_marker(&store).await, before.len());
        assert_eq!(before.is_empty(), store.writes_one_at_a_time());

        let client = emr.client().workers(workers);
        let client = client.build(store.clone(), Apply::all(harness));
        let processed = client.process_events().await.unwrap();
        assert_eq!(processed.applied as usize, 8 - before.len());
        let written = applied(harness.as_ref(), &store).await;
        assert_eq!(written, (1..=8).collect::<Vec<_>>());
        assert_eq!(beyond_the_marker(&store).await, 0);
    }
}

/// Two at once, one of them with several lanes or both: the one that has the feed last goes on, the other
/// is told, and nothing is doubled.
async fn who_has_lost_the_feed_commits_nothing_more<H: Harness + 'static>(harness: &Arc<H>) {
    let emr = Emr::with_events(12).await;
    for (first, second) in [(3, 1), (1, 3), (3, 3)] {
        let store = harness.store().await;
        if store.writes_one_at_a_time() {
            // The second one would wait for the first one's transaction.
            return;
        }
        let (reached, let_go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let worker = Slow {
            apply: Apply::all(harness).with_key(third_of),
            reached: Arc::clone(&reached),
            let_go: Arc::clone(&let_go),
        };
        let client = emr.client().workers(first).batch(1);
        let client = client.build(store.clone(), worker);
        let losing = tokio::spawn(async move { client.process_events().await });
        reached.notified().await;
        let client = emr.client().workers(second).batch(2);
        let client = client.build(store.clone(), Apply::all(harness).with_key(third_of));
        let processed = client.process_events().await.unwrap();
        let_go.notify_one();
        let error = losing.await.unwrap().unwrap_err();
        assert!(
            matches!(error.kind(), ProcessErrorKind::Store(error)
                if error.kind() == StoreErrorKind::Conflict),
            "{error:?}"
        );
        let written = applied(harness.as_ref(), &store).await;
        let distinct: HashSet<_> = written.iter().collect();
        assert_eq!((written.len(), distinct.len()), (12, 12), "{written:?}");
        assert!(processed.applied > 0);
        assert_eq!(beyond_the_marker(&store).await, 0);
    }
}
