//! Random schedules of what may happen to a feed and its consumer, against what must come of them: after
//! each step, and in the end, nothing is lost, nothing doubled, and every key is in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, Event, EventWorker, FailureExt, Handled, ProcessErrorKind, WorkerError,
};
use atomfeed_core::history::History;
use atomfeed_core::store::conformance::{
    Harness, MemoryHarness, MySqlHarness, PostgresHarness, SqliteHarness,
};
use atomfeed_core::store::{ConsumerStore, FailedEventQuery, OutboxStore, StoreErrorKind};
use atomfeed_core::{EntryId, NewEvent};
use atomfeed_server::EventFeedService;
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use uuid::Uuid;

use crate::faulty::{FAULTS, Fault, FaultyStore, Plan};
use crate::feeds::{Emr, config, feed_uri, full};

/// One step.
#[derive(Debug, Clone)]
enum Deed {
    /// So many events are published.
    Publish(u32),
    /// From now on these fail, and those have to wait: numbers with this remainder by 7, and by 11.
    Mood(u32, u32),
    /// The feed is read, so many events in a transaction.
    Read(usize),
    /// What is parked and due is tried again; or all of it.
    Retry(bool),
    /// The same, and at a call of its store the consumer is struck.
    Struck(Fault, usize, bool),
    /// What the consumer is past is pruned.
    Prune,
}

/// That nothing fails, and nothing waits.
const FINE: u32 = 100;

fn deed() -> impl Strategy<Value = Deed> {
    let mood = prop_oneof![Just(FINE), 0..7_u32];
    let down = prop_oneof![3 => Just(FINE), 1 => 0..11_u32];
    let fault = prop::sample::select(&FAULTS[..]);
    prop_oneof![
        4 => (1..9_u32).prop_map(Deed::Publish),
        2 => (mood, down).prop_map(|(fails, waits)| Deed::Mood(fails, waits)),
        4 => (1..7_usize).prop_map(Deed::Read),
        2 => any::<bool>().prop_map(Deed::Retry),
        4 => (fault, 0..60_usize, any::<bool>())
            .prop_map(|(fault, at, reads)| Deed::Struck(fault, at, reads)),
        1 => Just(Deed::Prune),
    ]
}

fn minute(number: u32) -> DateTime<Utc> {
    let start: DateTime<Utc> = "2024-03-01T00:00:00Z".parse().unwrap();
    start + TimeDelta::minutes(number.into())
}

fn number(entry: &EntryId) -> u32 {
    let uuid: Uuid = entry.uuid().unwrap().parse().unwrap();
    uuid.as_u128() as u32
}

fn key(number: u32) -> Option<String> {
    (!number.is_multiple_of(6)).then(|| (number % 5).to_string())
}

struct Worker<H> {
    harness: Arc<H>,
    mood: Arc<[AtomicU32; 2]>,
    handed: Arc<AtomicU64>,
}

#[async_trait]
impl<H: Harness + 'static> EventWorker<H::Conn> for Worker<H> {
    async fn process(&self, event: &Event, conn: &mut H::Conn) -> Result<Handled, WorkerError> {
        // Rows come back in the order in which they were written.
        let place = self.handed.fetch_add(1, Ordering::SeqCst);
        let number = number(event.id());
        self.harness
            .write(conn, &format!("{place:010}"), &number.to_string())
            .await;
        let [fails, waits] = [&self.mood[0], &self.mood[1]].map(|mood| mood.load(Ordering::SeqCst));
        if number % 7 == fails {
            return Err(WorkerError::new("it fails"));
        }
        if number % 11 == waits {
            return Err(WorkerError::new("it has to wait")).transient();
        }
        Ok(Handled::Applied)
    }

    fn key(&self, event: &Event) -> Option<String> {
        key(number(event.id()))
    }
}

struct Run<H: Harness> {
    harness: Arc<H>,
    emr: Emr,
    store: H::Store,
    workers: usize,
    mood: Arc<[AtomicU32; 2]>,
    handed: Arc<AtomicU64>,
    published: u32,
    markers: Vec<String>,
}

impl<H: Harness + 'static> Run<H> {
    async fn new(harness: &Arc<H>, workers: usize) -> Self {
        Self {
            harness: Arc::clone(harness),
            emr: Emr::new().await,
            store: harness.store().await,
            workers,
            mood: Arc::new([FINE.into(), FINE.into()]),
            handed: Arc::default(),
            published: 0,
            markers: Vec::new(),
        }
    }

    fn client(
        &self,
        store: impl ConsumerStore<Conn = H::Conn>,
        batch: usize,
    ) -> AtomFeedClient<H::Conn> {
        let worker = Worker {
            harness: Arc::clone(&self.harness),
            mood: Arc::clone(&self.mood),
            handed: Arc::clone(&self.handed),
        };
        let client = self.emr.client().batch(batch).workers(self.workers);
        // Who waits does not wait here.
        let client = client.wait_out(Duration::ZERO, Duration::ZERO, Duration::from_secs(3_600));
        client.max_retries(3).build(store, worker)
    }

    async fn does(&mut self, deed: &Deed) {
        match deed {
            Deed::Publish(events) => {
                let mut transaction = self.emr.store.transaction().await;
                for number in self.published + 1..=self.published + events {
                    let event = NewEvent::new("Event", number.to_string())
                        .with_uuid(Uuid::from_u128(number.into()))
                        .published_at(minute(number));
                    let published = self.emr.store.publish(&mut transaction, &event, Utc::now());
                    published.await.unwrap();
                }
                transaction.commit();
                self.published += events;
            }
            Deed::Mood(fails, waits) => self.is_in_mood(*fails, *waits),
            Deed::Read(batch) => {
                let ended = self
                    .client(self.store.clone(), *batch)
                    .process_events()
                    .await;
                self.must_have_a_reason(ended.err().as_ref().map(|error| error.kind()));
            }
            Deed::Retry(all) => {
                let client = self.client(self.store.clone(), 5);
                let ended = match all {
                    true => client.retry_all_failed_events().await,
                    false => client.process_failed_events().await,
                };
                self.must_have_a_reason(ended.err().as_ref().map(|error| error.kind()));
            }
            Deed::Struck(fault, at, reads) => {
                let plan = Plan::new(*fault, *at);
                let store = FaultyStore {
                    store: self.store.clone(),
                    plan: Arc::clone(&plan),
                };
                let client = self.client(store, 3);
                let run = async {
                    match reads {
                        true => client.process_events().await,
                        false => client.retry_all_failed_events().await,
                    }
                };
                tokio::select! {
                    biased;
                    () = plan.killed.notified() => {}
                    _ended = run => {}
                }
            }
            Deed::Prune => {
                let marker = self.store.marker(&feed_uri()).await.unwrap();
                let entry = marker
                    .as_ref()
                    .and_then(|marker| marker.last_read_entry_id());
                if let Some(entry) = entry {
                    let service = EventFeedService::open(self.emr.store.clone(), config()).await;
                    let before = minute(number(entry));
                    service.unwrap().prune(before).await.unwrap();
                }
            }
        }
    }

    fn is_in_mood(&self, fails: u32, waits: u32) {
        self.mood[0].store(fails, Ordering::SeqCst);
        self.mood[1].store(waits, Ordering::SeqCst);
    }

    /// A round ends early only where something is waited for, or a commit that was cut off took effect late.
    fn must_have_a_reason(&self, error: Option<&ProcessErrorKind>) {
        match error {
            None | Some(ProcessErrorKind::Waiting { .. }) => {}
            Some(ProcessErrorKind::Store(error))
                if matches!(
                    error.kind(),
                    StoreErrorKind::Conflict | StoreErrorKind::Duplicate
                ) => {}
            Some(other) => panic!("{other:?}"),
        }
    }

    /// As far as the consumer has come.
    async fn history(&mut self) -> History {
        let mut work = self.store.begin().await.unwrap();
        let marker = work.marker(&feed_uri()).await.unwrap();
        let query = FailedEventQuery::of(feed_uri()).limit(10_000);
        let parked = work.failed_events(&query).await.unwrap();
        work.rollback().await.unwrap();
        let entry = marker.and_then(|marker| marker.last_read_entry_id().cloned());
        self.markers
            .extend(entry.map(|entry| number(&entry).to_string()));
        let applied = self.harness.written(&self.store).await.into_iter();
        let published = (1..=self.published).map(|number| (number.to_string(), key(number)));
        History::new()
            .published(published)
            .applied(applied.map(|(_, number)| number))
            .parked(
                parked
                    .iter()
                    .map(|failed| number(failed.event.id()).to_string()),
            )
            .markers(self.markers.clone())
    }

    async fn ends_well(&mut self) {
        self.is_in_mood(FINE, FINE);
        // Again where a commit that was cut off takes effect late.
        for _ in 0..3 {
            let client = self.client(self.store.clone(), 4);
            if client.process_events().await.is_ok() {
                break;
            }
        }
        self.history().await.assert_holds();
        let client = self.client(self.store.clone(), 4);
        client.retry_all_failed_events().await.unwrap();
        let history = self.history().await;
        history.assert_holds();
        let mut work = self.store.begin().await.unwrap();
        assert_eq!(work.failed_event_count(&feed_uri()).await.unwrap(), 0);
        assert!(work.completed(&feed_uri()).await.unwrap().is_empty());
        work.rollback().await.unwrap();
    }
}

fn holds<H: Harness + 'static>(harness: H, cases: u32, workers: usize) {
    let harness = Arc::new(harness);
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config {
        cases: if full() { cases } else { cases.div_ceil(10) },
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    });
    let deeds = prop::collection::vec(deed(), 1..30);
    let checked = runner.run(&deeds, |deeds| {
        runtime.block_on(async {
            let mut run = Run::new(&harness, workers).await;
            for deed in &deeds {
                run.does(deed).await;
                run.history().await.under_way().assert_holds();
            }
            run.ends_well().await;
        });
        Ok(())
    });
    checked.unwrap();
}

#[test]
fn any_schedule_ends_well_on_memory() {
    holds(MemoryHarness, 2_000, 1);
}

#[test]
fn any_schedule_ends_well_on_sqlite() {
    holds(SqliteHarness::default(), 200, 1);
}

#[test]
fn any_schedule_ends_well_on_postgres() {
    if let Some(harness) = PostgresHarness::from_env() {
        holds(harness, 200, 3);
    }
}

#[test]
fn any_schedule_ends_well_on_mysql() {
    if let Some(harness) = MySqlHarness::from_env() {
        holds(harness, 200, 3);
    }
}
