//! Nothing is lost and nothing is doubled, whatever the order in which transactions commit.
//!
//! Many writers publish in transactions of different length, some of them rolled back, some held
//! open for long; a consumer follows the feed meanwhile. Beside it, as the control, a reader asks for
//! "all ids above the last", as one does without a sequencer: it must lose some, or the test proves
//! nothing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, Event, EventWorker, Handled, InProcessFeedSource, WorkerError,
};
use atomfeed_core::NewEvent;
use atomfeed_core::store::conformance::{Harness, MySqlHarness, PostgresHarness};
use atomfeed_core::store::sql::{Dialect, SqlStore};
use atomfeed_core::store::{MemoryConnection, MemoryStore};
use atomfeed_server::{Publisher, Sequencer};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::feeds::{config, feed_uri, full, router};

const WRITERS: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_postgres() {
    if let Some(harness) = PostgresHarness::from_env() {
        nothing_is_lost(&harness).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_mysql() {
    if let Some(harness) = MySqlHarness::from_env() {
        nothing_is_lost(&harness).await;
    }
}

/// An event whose transaction committed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Committed {
    pub(crate) begun: Instant,
    pub(crate) done: Instant,
}

#[derive(Default)]
struct Log {
    committed: Mutex<HashMap<Uuid, Committed>>,
    rolled_back: Mutex<HashSet<Uuid>>,
    stop: AtomicBool,
}

impl Log {
    fn is_enough(&self) -> bool {
        self.committed.lock().unwrap().len() >= 200 && !self.rolled_back.lock().unwrap().is_empty()
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

async fn nothing_is_lost<D, H>(harness: &H)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>, Conn = D::Connection>,
{
    let length = Duration::from_secs(if full() { 10 } else { 1 });
    // The control reads a table with ids of the same kind; `applied` has none.
    let store = harness.store().await;
    control::make(&store).await;
    let sequencer = Sequencer::new(store.clone());
    let publisher = Publisher::new(store.clone()).waking(&sequencer);
    let stop = CancellationToken::new();
    // Two of them: one works at a time.
    let sequencers = [
        tokio::spawn(sequencer.run(stop.clone())),
        tokio::spawn(Sequencer::new(store.clone()).run(stop.clone())),
    ];

    let log = Arc::new(Log::default());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, publisher) = (store.clone(), publisher.clone());
            tokio::spawn(write(writer, store, publisher, Arc::clone(&log)))
        })
        .collect();

    // While they write.
    let service = router(store.clone(), config().with_page_size(100)).await;
    let seen = MemoryStore::new();
    let order = Arc::new(Mutex::new(Vec::new()));
    let client = AtomFeedClient::builder(feed_uri(), InProcessFeedSource::new(service))
        .build(seen.clone(), Remember(Arc::clone(&order)));
    let mut naive = control::Naive::default();
    let (begun, mut reads) = (Instant::now(), 0);
    // On a slow machine it takes longer until there is enough to prove anything.
    while begun.elapsed() < length || reads < 10 || !log.is_enough() {
        let (processed, ()) = tokio::join!(client.process_events(), naive.read(&store));
        processed.unwrap();
        reads += 1;
        assert!(begun.elapsed() < 10 * length + PATIENCE, "it never ends");
    }
    log.stop.store(true, Ordering::Release);
    for writer in writers {
        writer.await.unwrap();
    }
    // Everything has committed: what is queued now is all there will be.
    Sequencer::new(store.clone()).drain().await.unwrap();
    client.process_events().await.unwrap();
    naive.read(&store).await;
    stop.cancel();
    for sequencer in sequencers {
        sequencer.await.unwrap();
    }

    let committed = std::mem::take(&mut *log.committed.lock().unwrap());
    let order = std::mem::take(&mut *order.lock().unwrap());
    let applied: BTreeSet<_> = order.iter().copied().collect();
    assert_eq!(applied.len(), order.len(), "an event was applied twice");
    let expected: BTreeSet<_> = committed.keys().copied().collect();
    assert_eq!(applied, expected, "events were lost, or came from nowhere");
    assert_causal(&order, &committed);
    let lost = committed.len() - naive.seen;
    assert!(
        lost > 0,
        "the control lost none of {}: this test proves nothing",
        committed.len()
    );
    eprintln!(
        "{} committed, none lost; the control lost {lost}",
        committed.len()
    );
}

/// When one committed before the other began, it comes first.
pub(crate) fn assert_causal(order: &[Uuid], committed: &HashMap<Uuid, Committed>) {
    let mut earliest_done_later: Option<Instant> = None;
    for uuid in order.iter().rev() {
        let event = committed[uuid];
        if let Some(done) = earliest_done_later {
            assert!(
                done >= event.begun,
                "an event comes before one that had committed before it"
            );
        }
        earliest_done_later =
            Some(earliest_done_later.map_or(event.done, |done| done.min(event.done)));
    }
}

/// Publishes until told to stop: transactions of 0 to 8 ms, one in ten rolled back, one in 200 held
/// for 300 ms.
async fn write<D: Dialect>(
    writer: usize,
    store: SqlStore<D>,
    publisher: Publisher<SqlStore<D>>,
    log: Arc<Log>,
) {
    let mut random = writer as u64 + 1;
    let mut next = move || {
        // A linear congruential generator (Knuth): the same run of lengths each time.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    while !log.stop.load(Ordering::Acquire) {
        let event = NewEvent::new("loss", "").with_uuid(Uuid::new_v4());
        let begun = Instant::now();
        let mut transaction = store.pool().begin().await.unwrap();
        publisher.publish(&mut transaction, &event).await.unwrap();
        control::write::<D>(&mut transaction).await;
        let held = if next() % 200 == 0 { 300 } else { next() % 9 };
        // The length of the transaction is what is tested; nothing waits for it.
        tokio::time::sleep(Duration::from_millis(held)).await;
        if next() % 10 == 0 {
            transaction.rollback().await.unwrap();
            log.rolled_back.lock().unwrap().insert(event.uuid());
            continue;
        }
        // Half of them tell the sequencer, half leave it to the hint.
        match next() % 2 {
            0 => publisher.commit(transaction).await.unwrap(),
            _ => transaction.commit().await.unwrap(),
        }
        let done = Instant::now();
        log.committed
            .lock()
            .unwrap()
            .insert(event.uuid(), Committed { begun, done });
    }
}

pub(crate) struct Remember(pub(crate) Arc<Mutex<Vec<Uuid>>>);

#[async_trait]
impl EventWorker<MemoryConnection> for Remember {
    async fn process(
        &self,
        event: &Event,
        _: &mut MemoryConnection,
    ) -> Result<Handled, WorkerError> {
        self.0
            .lock()
            .unwrap()
            .push(event.id().uuid().unwrap_or_default().parse()?);
        Ok(Handled::Applied)
    }
}

/// The reader without a sequencer.
mod control {
    use super::*;

    fn sql(text: &'static str) -> sqlx::SqlStr {
        sqlx::SqlSafeStr::into_sql_str(text)
    }

    pub(super) async fn make<D: Dialect>(store: &SqlStore<D>) {
        let mut conn = store.pool().acquire().await.unwrap();
        let make = match D::NUMBERED_PLACEHOLDERS {
            true => {
                "CREATE TABLE control (id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, n INT)"
            }
            false => "CREATE TABLE control (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, n INT)",
        };
        D::execute(&mut conn, sql(make), vec![]).await.unwrap();
    }

    pub(super) async fn write<D: Dialect>(conn: &mut D::Connection) {
        D::execute(conn, sql("INSERT INTO control (n) VALUES (1)"), vec![])
            .await
            .unwrap();
    }

    #[derive(Default)]
    pub(super) struct Naive {
        last: i64,
        pub(super) seen: usize,
    }

    impl Naive {
        pub(super) async fn read<D: Dialect>(&mut self, store: &SqlStore<D>) {
            let mut conn = store.pool().acquire().await.unwrap();
            let select = match D::NUMBERED_PLACEHOLDERS {
                true => "SELECT id FROM control WHERE id > $1 ORDER BY id",
                false => "SELECT id FROM control WHERE id > ? ORDER BY id",
            };
            let rows = D::fetch(&mut conn, sql(select), vec![self.last.into()])
                .await
                .unwrap();
            for mut row in rows {
                self.last = row.required_int().unwrap();
                self.seen += 1;
            }
        }
    }
}
