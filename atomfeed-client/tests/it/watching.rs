//! What a consumer tells those who watch: how far behind it is, what became of events, and metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use atomfeed_client::{Event, EventWorker, FailureExt, Handled, WorkerError};
use atomfeed_core::store::conformance::{Harness, MemoryHarness};
use atomfeed_core::store::{ConsumerStore, FeedStatus, MinuteCounts};
use chrono::{TimeDelta, Utc};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

use crate::feeds::{Emr, feed_uri, on_every_store};

on_every_store!(a_consumer_tells_how_far_behind_it_is);

/// Event 4 fails, 6 is ignored, and 8 has to wait while something is down.
#[derive(Clone, Default)]
struct Mixed {
    is_up: Arc<AtomicBool>,
}

#[async_trait]
impl<C: ?Sized + Send + 'static> EventWorker<C> for Mixed {
    async fn process(&self, event: &Event, _: &mut C) -> Result<Handled, WorkerError> {
        match event.content() {
            "4" => Err(WorkerError::new("no such patient")),
            "6" => Ok(Handled::Ignored),
            "8" if !self.is_up.load(Ordering::SeqCst) => {
                Err(WorkerError::new("the ERP is down")).transient()
            }
            _ => Ok(Handled::Applied),
        }
    }
}

pub(crate) async fn status<S: ConsumerStore>(store: &S) -> FeedStatus {
    let mut work = store.begin().await.unwrap();
    let statuses = work.statuses().await.unwrap();
    work.rollback().await.unwrap();
    let [status] = &statuses[..] else {
        panic!("{statuses:?}");
    };
    status.clone()
}

async fn counts<S: ConsumerStore>(store: &S) -> MinuteCounts {
    let since = Utc::now() - TimeDelta::hours(1);
    let mut work = store.begin().await.unwrap();
    let minutes = work.counts(&feed_uri(), since).await.unwrap();
    work.rollback().await.unwrap();
    let mut sum = MinuteCounts::at(since);
    for counts in minutes {
        sum.applied += counts.applied;
        sum.ignored += counts.ignored;
        sum.failed += counts.failed;
        sum.held += counts.held;
    }
    sum
}

async fn a_consumer_tells_how_far_behind_it_is<H: Harness + 'static>(harness: &Arc<H>) {
    let emr = Emr::with_events(23).await;
    let store = harness.store().await;
    let worker = Mixed::default();
    let client = emr.client().wait_out(
        std::time::Duration::ZERO,
        std::time::Duration::ZERO,
        std::time::Duration::from_secs(3_600),
    );
    let client = client.build(store.clone(), worker.clone());
    client.process_events().await.unwrap_err();
    let behind = status(&store).await;
    assert_eq!(behind.feed_uri, feed_uri());
    assert_eq!(behind.events_behind, Some(16), "8 to 23: {behind:?}");
    assert_eq!(behind.pages_behind, Some(3), "of 5, on 2");
    assert_eq!(
        behind.head_page.as_deref(),
        Some("http://127.0.0.1:8080/feed/5")
    );
    assert!(behind.head_entry_id.is_some() && behind.seen_at.is_some());
    assert!(behind.behind_since.is_some() && behind.succeeded_at.is_none());
    assert!(behind.failed_at.is_some());
    let error = behind.error_message.unwrap();
    assert!(error.contains("the ERP is down"), "{error}");
    let done = counts(&store).await;
    assert_eq!((done.applied, done.ignored, done.failed), (5, 1, 1));

    worker.is_up.store(true, Ordering::SeqCst);
    client.process_events().await.unwrap();
    let at_head = status(&store).await;
    assert_eq!(at_head.events_behind, Some(0), "{at_head:?}");
    assert_eq!(at_head.pages_behind, Some(0));
    assert_eq!(at_head.behind_since, None);
    assert_eq!(at_head.error_message, None);
    assert!(at_head.succeeded_at.is_some());
    let done = counts(&store).await;
    assert_eq!((done.applied, done.ignored, done.failed), (21, 1, 1));

    // Another one that goes on knows the same, of a feed that has grown.
    emr.publish(24..=31).await;
    let down = emr.client().build(store.clone(), Down);
    down.process_events().await.unwrap_err();
    let behind = status(&store).await;
    assert_eq!(behind.events_behind, Some(8), "{behind:?}");
    assert_eq!(behind.pages_behind, Some(2));
}

struct Down;

#[async_trait]
impl<C: ?Sized + Send + 'static> EventWorker<C> for Down {
    async fn process(&self, _: &Event, _: &mut C) -> Result<Handled, WorkerError> {
        Err(WorkerError::new("down")).transient()
    }
}

/// Adds up what is counted, by name and outcome, and keeps what is measured last.
#[derive(Clone, Default)]
struct Measured(Arc<Mutex<BTreeMap<String, f64>>>);

struct One {
    measured: Measured,
    name: String,
}

impl One {
    fn change(&self, change: impl FnOnce(&mut f64)) {
        let mut measured = self.measured.0.lock().unwrap();
        change(measured.entry(self.name.clone()).or_default());
    }
}

impl CounterFn for One {
    fn increment(&self, value: u64) {
        self.change(|sum| *sum += value as f64);
    }

    fn absolute(&self, value: u64) {
        self.change(|sum| *sum = value as f64);
    }
}

impl GaugeFn for One {
    fn increment(&self, value: f64) {
        self.change(|sum| *sum += value);
    }

    fn decrement(&self, value: f64) {
        self.change(|sum| *sum -= value);
    }

    fn set(&self, value: f64) {
        self.change(|sum| *sum = value);
    }
}

impl HistogramFn for One {
    fn record(&self, value: f64) {
        self.change(|sum| *sum += value);
    }
}

impl Measured {
    fn one(&self, key: &Key) -> Arc<One> {
        let labels: BTreeMap<_, _> = key
            .labels()
            .map(|label| (label.key(), label.value()))
            .collect();
        assert_eq!(labels["feed"], feed_uri().as_str());
        let outcome = labels.get("outcome").map(|outcome| format!(" {outcome}"));
        Arc::new(One {
            measured: self.clone(),
            name: format!("{}{}", key.name(), outcome.unwrap_or_default()),
        })
    }
}

impl Recorder for Measured {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.one(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.one(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.one(key))
    }
}

#[tokio::test]
async fn what_is_documented_is_measured() {
    let measured = Measured::default();
    // On this thread, which is the test's only one.
    let _here = metrics::set_default_local_recorder(&measured);
    let emr = Emr::with_events(7).await;
    let store = MemoryHarness.store().await;
    let client = emr.client().max_retries(2).build(store, Mixed::default());
    client.process_events().await.unwrap();
    for _ in 0..2 {
        client.retry_all_failed_events().await.unwrap();
    }
    let measured = measured.0.lock().unwrap().clone();
    let expected = [
        ("atomfeed_events_total applied", 5.0),
        ("atomfeed_events_total ignored", 1.0),
        ("atomfeed_events_total parked", 1.0),
        ("atomfeed_retries_total failed", 1.0),
        ("atomfeed_retries_total dead", 1.0),
        ("atomfeed_parked_events", 1.0),
        ("atomfeed_lag_events", 0.0),
        ("atomfeed_lag_pages", 0.0),
        ("atomfeed_lag_seconds", 0.0),
        ("atomfeed_batch_events", 7.0),
    ];
    for (name, value) in expected {
        assert_eq!(measured.get(name), Some(&value), "{name}: {measured:?}");
    }
    // The newest page, the oldest one, and the newest again behind it.
    assert_eq!(
        measured["atomfeed_page_fetches_total fetched"], 3.0,
        "{measured:?}"
    );
    assert!(measured["atomfeed_page_bytes_total"] > 1_000.0);
    assert!(measured.contains_key("atomfeed_batch_seconds"));
}
