//! Tables that another program writes, to be adopted, and what is counted of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use atomfeed_core::store::sql::{Dialect, SqlStore};
use atomfeed_core::store::{Adoption, FeedStore, RecordRange, SchemaName};
use atomfeed_core::{EventRecord, FeedScope};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use sqlx::{AssertSqlSafe, Pool};

/// Soon enough for a test, and long enough to be looked at more than once.
const GAP_WAIT: Duration = Duration::from_millis(400);

pub(crate) async fn adopt<D: Dialect>(pool: &Pool<D>, schema: &SchemaName) -> SqlStore<D> {
    adopt_waiting(pool, schema, GAP_WAIT).await
}

pub(crate) async fn adopt_waiting<D: Dialect>(
    pool: &Pool<D>,
    schema: &SchemaName,
    wait: Duration,
) -> SqlStore<D> {
    let adoption = Adoption::of_publisher().waiting_for_gaps(wait);
    let store = SqlStore::over(pool.clone(), Some(schema));
    store.adopt(&adoption).await.unwrap()
}

pub(crate) async fn records<D: Dialect>(
    store: &SqlStore<D>,
    scope: &FeedScope,
) -> Vec<EventRecord> {
    let range = RecordRange {
        after: 0,
        through: None,
        skip: 0,
        limit: 100,
    };
    store.records(scope, range).await.unwrap()
}

pub(crate) async fn titles<D: Dialect>(store: &SqlStore<D>) -> Vec<String> {
    let records = records(store, &FeedScope::All).await;
    records
        .into_iter()
        .filter_map(|record| record.title)
        .collect()
}

pub(crate) fn insert(title: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "INSERT INTO event_records (uuid, title, category) VALUES ('{title}', '{title}', 'Lab')"
    ))
}

/// Waits for what must come, and never for what must not.
pub(crate) async fn until<D: Dialect>(store: &SqlStore<D>, expected: &[&str]) {
    let waited = tokio::time::timeout(Duration::from_secs(300), async {
        while titles(store).await != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    if waited.await.is_err() {
        panic!("{:?} is shown, not {expected:?}", titles(store).await);
    }
}

/// Counts what is counted under any name.
#[derive(Default)]
pub(crate) struct Counted(std::sync::Mutex<std::collections::HashMap<String, Arc<AtomicU64>>>);

impl Counted {
    pub(crate) fn of(&self, name: &str) -> u64 {
        let counted = self.0.lock().unwrap();
        counted
            .get(name)
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

impl metrics::Recorder for Counted {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut counted = self.0.lock().unwrap();
        Counter::from_arc(Arc::clone(
            counted.entry(key.name().to_owned()).or_default(),
        ))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
