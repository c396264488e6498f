//! While an event is parked, later ones of its key wait behind it, in order; everything else flows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

use async_trait::async_trait;
use atomfeed_client::{
    Event, EventWorker, FailureExt, Handled, Outcome, ProcessErrorKind, WorkerError,
};
use atomfeed_core::store::conformance::{Harness, MemoryHarness, SqliteHarness};
use atomfeed_core::store::sql::{Dialect, SqlStore, Value};
use atomfeed_core::store::{ConsumerStore, FailedEventQuery, MemoryConnection, MemoryStore};
use atomfeed_core::{Clock, EntryId, FailedEvent, Failure, NewEvent};
use atomfeed_server::Publisher;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::SqlSafeStr;

use crate::feeds::{Emr, feed_uri, full, on_every_store};

on_every_store!(
    a_patient_who_fails_holds_back_nobody_else,
    what_another_program_has_parked_holds_back_its_own,
);

/// Event n is of patient n modulo so many.
async fn publish(emr: &Emr, numbers: impl IntoIterator<Item = u32>, patients: u32) {
    let publisher = Publisher::new(emr.store.clone());
    let mut transaction = emr.store.transaction().await;
    for number in numbers {
        let content = format!("/patient/{}?v={number}", number % patients);
        let event = NewEvent::new("Patient", content);
        publisher.publish(&mut transaction, &event).await.unwrap();
    }
    transaction.commit();
}

fn number(event: &Event) -> u32 {
    event
        .content()
        .split_once("?v=")
        .unwrap()
        .1
        .parse()
        .unwrap()
}

/// Fails for patient 3, until that is mended; writes each event under the number of its turn.
struct Patients<H> {
    harness: Arc<H>,
    mended: Arc<AtomicBool>,
    turns: Arc<AtomicU32>,
    calls: Arc<AtomicU32>,
}

impl<H> Patients<H> {
    fn new(harness: &Arc<H>) -> Self {
        Self {
            harness: Arc::clone(harness),
            mended: Arc::default(),
            turns: Arc::default(),
            calls: Arc::default(),
        }
    }
}

#[async_trait]
impl<H: Harness + 'static> EventWorker<H::Conn> for Patients<H> {
    async fn process(&self, event: &Event, conn: &mut H::Conn) -> Result<Handled, WorkerError> {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        let content = event.content();
        self.harness
            .write(conn, &format!("{turn:06}"), content)
            .await;
        if content.starts_with("/patient/3?") {
            self.calls.fetch_add(1, Ordering::Relaxed);
            if !self.mended.load(Ordering::Relaxed) {
                return Err(WorkerError::new("patient 3 is unknown"));
            }
        }
        Ok(Handled::Applied)
    }
}

/// Of each patient the events that were applied, in the order in which they were.
async fn histories<H: Harness>(harness: &H, store: &H::Store) -> BTreeMap<u32, Vec<u32>> {
    let mut rows = harness.written(store).await;
    rows.sort();
    let mut histories = BTreeMap::<u32, Vec<u32>>::new();
    for (_, content) in rows {
        let path = content.strip_prefix("/patient/").unwrap();
        let (patient, number) = path.split_once("?v=").unwrap();
        let history = histories.entry(patient.parse().unwrap()).or_default();
        history.push(number.parse().unwrap());
    }
    histories
}

fn expected(published: u32, patients: u32) -> BTreeMap<u32, Vec<u32>> {
    let mut histories = BTreeMap::<u32, Vec<u32>>::new();
    for number in 1..=published {
        histories.entry(number % patients).or_default().push(number);
    }
    histories
}

async fn parked<S: ConsumerStore>(store: &S) -> Vec<FailedEvent> {
    let mut work = store.begin().await.unwrap();
    let query = FailedEventQuery::of(feed_uri()).limit(1_000);
    let failed = work.failed_events(&query).await.unwrap();
    work.rollback().await.unwrap();
    failed
}

async fn a_patient_who_fails_holds_back_nobody_else<H: Harness + 'static>(harness: &Arc<H>) {
    for batch in [1, 4, 100] {
        let emr = Emr::new().await;
        publish(&emr, 1..=60, 10).await;
        let store = harness.store().await;
        let worker = Patients::new(harness);
        let (mended, calls) = (Arc::clone(&worker.mended), Arc::clone(&worker.calls));
        let client = emr.client().batch(batch).build(store.clone(), worker);
        let processed = client.process_events().await.unwrap();
        assert_eq!(
            (processed.applied, processed.failed, processed.held),
            (54, 1, 5)
        );
        let mut others = expected(60, 10);
        others.remove(&3);
        assert_eq!(histories(harness.as_ref(), &store).await, others, "{batch}");
        let failed = parked(&store).await;
        assert_eq!(failed.len(), 6);
        for (failed, number) in failed.iter().zip([3, 13, 23, 33, 43, 53]) {
            assert_eq!(self::number(&failed.event), number);
            assert_eq!(
                failed.place.as_ref().unwrap().key.as_deref(),
                Some("/patient/3")
            );
            let message = failed.failure.message();
            let waits = message.contains("an earlier event of /patient/3");
            assert_eq!(waits, number > 3, "{message}");
        }
        // Only the first one is tried, and in vain.
        let before = calls.load(Ordering::Relaxed);
        let retried = client.process_failed_events().await.unwrap();
        assert_eq!((retried.applied, retried.failed), (0, 1));
        assert_eq!(calls.load(Ordering::Relaxed), before + 1);

        // Later ones wait, too, whoever reads them.
        publish(&emr, 61..=70, 10).await;
        let worker = Patients::new(harness);
        worker.turns.store(1_000, Ordering::Relaxed);
        let again = emr.client().batch(batch).build(store.clone(), worker);
        let processed = again.process_events().await.unwrap();
        assert_eq!((processed.applied, processed.held), (9, 1));

        mended.store(true, Ordering::Relaxed);
        let worker = Patients::new(harness);
        worker.turns.store(2_000, Ordering::Relaxed);
        worker.mended.store(true, Ordering::Relaxed);
        let mended = emr.client().batch(batch).build(store.clone(), worker);
        let retried = mended.retry_all_failed_events().await.unwrap();
        assert_eq!((retried.applied, retried.failed), (7, 0));
        assert_eq!(histories(harness.as_ref(), &store).await, expected(70, 10));
        assert!(parked(&store).await.is_empty());
        // Nothing is held any more.
        publish(&emr, 71..=80, 10).await;
        let processed = mended.process_events().await.unwrap();
        assert_eq!((processed.applied, processed.held), (10, 0));
        assert_eq!(histories(harness.as_ref(), &store).await, expected(80, 10));
    }
}

/// It knows nothing of keys.
async fn what_another_program_has_parked_holds_back_its_own<H: Harness + 'static>(
    harness: &Arc<H>,
) {
    let emr = Emr::new().await;
    publish(&emr, 1..=5, 10).await;
    let store = harness.store().await;
    let mut work = store.begin().await.unwrap();
    let event =
        Event::new(EntryId::of_event("0"), feed_uri()).with_text("Patient", "/patient/3?v=0");
    let failure = Failure::new("no such patient", Utc::now());
    work.park(&event, &failure).await.unwrap();
    work.commit().await.unwrap();

    let worker = Patients::new(harness);
    worker.mended.store(true, Ordering::Relaxed);
    let client = emr.client().build(store.clone(), worker);
    let processed = client.process_events().await.unwrap();
    assert_eq!((processed.applied, processed.held), (4, 1));
    let retried = client.process_failed_events().await.unwrap();
    assert_eq!(retried.applied, 2);
    let history = histories(harness.as_ref(), &store).await;
    assert_eq!(history[&3], [0, 3]);
}

/// Of those that wait, one fails, too: those behind it wait on.
#[tokio::test]
async fn a_failure_among_those_that_wait_holds_back_the_rest() {
    let emr = Emr::new().await;
    publish(&emr, 1..=40, 10).await;
    let harness = Arc::new(MemoryHarness);
    let store = harness.store().await;
    let client = emr.client().build(store.clone(), Patients::new(&harness));
    client.process_events().await.unwrap();
    assert_eq!(parked(&store).await.len(), 4);

    let second_fails = atomfeed_client::worker_fn(|event: &Event, conn: &mut MemoryConnection| {
        conn.put("again", event.content(), "");
        Box::pin(async move {
            match number(event) {
                13 => Err(WorkerError::new("13 is one of those")),
                _ => Ok(()),
            }
        })
    });
    let client = emr.client().build(store.clone(), second_fails);
    let retried = client.process_failed_events().await.unwrap();
    assert_eq!((retried.applied, retried.failed), (1, 1));
    let left: Vec<_> = parked(&store)
        .await
        .iter()
        .map(|failed| number(&failed.event))
        .collect();
    assert_eq!(left, [13, 23, 33]);
    assert_eq!(
        store.rows("again"),
        [("/patient/3?v=3".to_owned(), String::new())]
    );
}

/// A clock that is set by hand.
#[derive(Debug, Clone)]
struct HandClock(Arc<AtomicI64>);

impl Clock for HandClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.0.load(Ordering::Relaxed), 0).unwrap()
    }
}

/// Retries wait longer and longer, and end; what is exhausted holds back its own key, and no other.
#[tokio::test]
async fn retries_back_off_and_end() {
    let emr = Emr::new().await;
    publish(&emr, 1..=12, 10).await;
    let harness = Arc::new(MemoryHarness);
    let store = harness.store().await;
    let worker = Patients::new(&harness);
    let clock = HandClock(Arc::new(1_700_000_000.into()));
    let last = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&last);
    let minute = std::time::Duration::from_secs(60);
    let client = emr
        .client()
        .max_retries(4)
        .retry_delays(minute, 3 * minute)
        .clock(clock.clone())
        .on_outcome(move |outcome| {
            if let Outcome::RetryFailed { is_last: true, .. } = outcome {
                seen.store(true, Ordering::Relaxed);
            }
        })
        .build(store.clone(), worker);
    client.process_events().await.unwrap();
    for retry in 1..=4_u32 {
        assert!(!last.load(Ordering::Relaxed));
        let retried = client.process_failed_events().await.unwrap();
        assert_eq!(retried.failed, 1, "{retry}");
        assert_eq!(
            client.process_failed_events().await.unwrap().failed,
            0,
            "not due yet"
        );
        let failed = parked(&store).await;
        let due_at = failed[0].place.as_ref().unwrap().due_at.unwrap();
        let delay = due_at - clock.now();
        // Twice as long each time, with jitter up to twice as long again.
        let least = TimeDelta::seconds(60 << (retry - 1).min(1));
        assert!(
            delay >= least && delay <= TimeDelta::seconds(6 * 60),
            "{retry}: {delay}"
        );
        clock.0.store(due_at.timestamp() + 1, Ordering::Relaxed);
    }
    assert!(last.load(Ordering::Relaxed));
    assert_eq!(
        client.process_failed_events().await.unwrap().failed,
        0,
        "left to a person"
    );
    publish(&emr, 13..=24, 10).await;
    let processed = client.process_events().await.unwrap();
    assert_eq!((processed.applied, processed.held), (10, 2));
    assert_eq!(
        client.retry_all_failed_events().await.unwrap().failed,
        1,
        "a person may"
    );
}

/// Who wants the original's brake can have it.
#[tokio::test]
async fn the_feed_stops_where_it_is_told_to() {
    let emr = Emr::with_events(9).await;
    let harness = Arc::new(MemoryHarness);
    let store = harness.store().await;
    let client = emr.client().max_failed_events(3).batch(1);
    let worker = crate::feeds::Apply::but(&harness, |_| true);
    let client = client.build(store.clone(), worker);
    let error = client.process_events().await.unwrap_err();
    assert_eq!(error.processed().failed, 3);
    assert!(matches!(
        error.kind(),
        ProcessErrorKind::TooManyFailed {
            parked: 3,
            limit: 3
        }
    ));
}

/// Everything is poison: the feed reaches its head all the same.
#[tokio::test]
async fn poison_stops_nothing() {
    let events = if full() { 10_000 } else { 1_000 };
    let emr = Emr::with_events(events).await;
    let harness = Arc::new(SqliteHarness::default());
    let store = harness.store().await;
    let worker = crate::feeds::Apply::but(&harness, |event| event.content() != "1000");
    let client = emr.client().build(store.clone(), worker);
    let processed = client.process_events().await.unwrap();
    assert_eq!(
        (processed.applied, processed.failed),
        (1, u64::from(events) - 1)
    );
    assert_eq!(
        crate::feeds::applied(harness.as_ref(), &store).await,
        [1_000]
    );
}

/// Is down, and says so, when a parked event is tried again.
struct Down(Arc<AtomicU32>);

#[async_trait]
impl EventWorker<MemoryConnection> for Down {
    async fn process(
        &self,
        event: &Event,
        _: &mut MemoryConnection,
    ) -> Result<Handled, WorkerError> {
        let error = Err(WorkerError::new("down"));
        match event.is_retry() {
            false => error,
            true => {
                self.0.fetch_add(1, Ordering::Relaxed);
                error.transient()
            }
        }
    }
}

#[tokio::test]
async fn a_retry_that_finds_it_down_counts_for_none() {
    let emr = Emr::with_events(5).await;
    let store = MemoryStore::new();
    let calls = Arc::new(AtomicU32::new(0));
    let client = emr.client().build(store.clone(), Down(Arc::clone(&calls)));
    client.process_events().await.unwrap();
    for call in 1..=3 {
        let error = client.process_failed_events().await.unwrap_err();
        assert!(
            matches!(error.kind(), ProcessErrorKind::Waiting { .. }),
            "{error:?}"
        );
        assert_eq!(
            calls.load(Ordering::Relaxed),
            call,
            "one call, of another event each time"
        );
    }
    let failed = parked(&store).await;
    assert!(failed.iter().all(|failed| failed.retries == 0));
    let due = failed
        .iter()
        .filter(|failed| failed.place.as_ref().unwrap().due_at.is_none());
    assert_eq!(due.count(), 2);
}

/// People answer failures with a DELETE: what is gone holds nothing back.
async fn what_a_person_deletes_holds_nothing_back<D, H>(harness: H)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>, Conn = D::Connection> + 'static,
{
    let harness = Arc::new(harness);
    let emr = Emr::new().await;
    publish(&emr, 1..=30, 10).await;
    let store = harness.store().await;
    let worker = Patients::new(&harness);
    let client = emr.client().build(store.clone(), worker);
    client.process_events().await.unwrap();
    assert_eq!(parked(&store).await.len(), 3);
    let mut conn = store.pool().acquire().await.unwrap();
    let delete = "DELETE FROM failed_events".into_sql_str();
    D::execute(&mut conn, delete, Vec::<Value>::new())
        .await
        .unwrap();
    drop(conn);
    publish(&emr, 31..=40, 10).await;
    let worker = Patients::new(&harness);
    worker.turns.store(1_000, Ordering::Relaxed);
    worker.mended.store(true, Ordering::Relaxed);
    let client = emr.client().build(store.clone(), worker);
    let processed = client.process_events().await.unwrap();
    assert_eq!((processed.applied, processed.held), (10, 0));
}

#[tokio::test]
async fn deleted_on_sqlite() {
    what_a_person_deletes_holds_nothing_back(SqliteHarness::default()).await;
}

#[tokio::test]
async fn deleted_on_postgres_and_mysql() {
    use atomfeed_core::store::conformance::{MySqlHarness, PostgresHarness};

    if let Some(harness) = PostgresHarness::openelis() {
        what_a_person_deletes_holds_nothing_back(harness).await;
    }
    if let Some(harness) = MySqlHarness::openmrs() {
        what_a_person_deletes_holds_nothing_back(harness).await;
    }
}
