//! How fast a consumer catches up over HTTP, and how much memory that takes.
//!
//! `ATOMFEED_POSTGRES_URL` names a server (`bash .ci/databases start FOLDER` starts a throwaway one);
//! without it there is SQLite only. `ATOMFEED_BENCH_EVENTS` sets how many events are caught up with, else
//! 20,000, and a tenth of that where each has a transaction of its own; `ATOMFEED_BENCH_MEMORY_EVENTS`
//! those of the memory figures, else a million. Feeds are on loopback, in pages of 100. Printed are:
//!
//! - `catch-up`: events a second of a consumer whose worker writes a row for each, with so many events a
//!   transaction, one row a statement (`process`) or all (`process_batch`); those of a bare loop that
//!   writes the same rows with the same statements and the same commits, and nothing else; the share of
//!   the one in the other; and how many events its transactions had, which end where a page is still
//!   being fetched. Both take turns; of each the median;
//! - `no-op`: events a second of a worker that does nothing, with its marker in memory, and of a loop that
//!   does nothing but read the documents;
//! - `memory`: what the process of a consumer takes after so many events.
//!
//! All but the last begin with page 1, as one does that has a marker: from the beginning, every page is
//! read first on the way there.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, Event, EventWorker, FeedSource, FeedUri, FetchError, Handled, HttpFeedSource,
    InProcessFeedSource, PageRequest, PageResponse, StartPosition, WorkerError,
};
use atomfeed_core::atom::{ReadLimits, read_feed};
use atomfeed_core::store::conformance::{Harness, PostgresHarness, SqliteHarness};
use atomfeed_core::store::{
    ConsumerStore, FeedStore, MemoryStore, OutboxStore, PostgresStore, SqliteStore,
};
use atomfeed_core::{Clock, EntryId, NewEvent, SystemClock};
use atomfeed_server::{EventFeedService, FeedConfig, FeedRouter};
use axum::Router;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};
use tokio::net::TcpListener;
use url::Url;
use uuid::Uuid;

/// By turns, so often.
const ROUNDS: usize = 5;

/// The feed that this process, started again, is to follow.
const FOLLOW: &str = "ATOMFEED_BENCH_FOLLOW";
const MEMORY_EVENTS: &str = "ATOMFEED_BENCH_MEMORY_EVENTS";

#[tokio::main]
async fn main() {
    // Without `--bench`, as under `cargo test`, there is nothing to see.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    if let Ok(feed) = std::env::var(FOLLOW) {
        return watch_memory(feed.parse().expect("a feed")).await;
    }
    let events = number("ATOMFEED_BENCH_EVENTS", 20_000);
    let emr = Emr::in_memory(events).await;
    let small = Emr::in_memory((events / 10).max(1)).await;
    catch_up("sqlite", &SqliteHarness::default(), &emr, &small).await;
    if let Some(harness) = PostgresHarness::from_env() {
        catch_up("postgres", &harness, &emr, &small).await;
    }
    do_nothing(&emr).await;
    memory(number(MEMORY_EVENTS, 1_000_000)).await;
}

fn number(variable: &str, otherwise: u64) -> u64 {
    let set = std::env::var(variable).ok();
    set.and_then(|number| number.parse().ok())
        .unwrap_or(otherwise)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A feed that is served on loopback.
struct Emr {
    feed: FeedUri,
    router: Router,
    events: u64,
}

impl Emr {
    async fn in_memory(events: u64) -> Self {
        let store = MemoryStore::new();
        let mut transaction = store.transaction().await;
        for n in 1..=events {
            let event = NewEvent::new(format!("Event {n}"), content(n)).with_uuid(uuid(n));
            let published = store.publish(&mut transaction, &event, SystemClock.now());
            published.await.expect("published");
        }
        transaction.commit();
        Self::serve(store, events).await
    }

    async fn serve(store: impl FeedStore, events: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let url = format!("http://{address}/feed");
        let config = FeedConfig::new(url.parse().expect("a URL")).with_page_size(100);
        let service = EventFeedService::open(store, config).await.expect("opened");
        let router = Router::new().nest("/feed", FeedRouter::new(service).into_router());
        let app = router.clone();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let feed = format!("{url}/recent").parse().expect("a feed");
        Self {
            feed,
            router,
            events,
        }
    }

    fn http(&self) -> HttpFeedSource {
        HttpFeedSource::new(&self.feed).expect("a source")
    }
}

fn uuid(n: u64) -> Uuid {
    Uuid::from_u128(n.into())
}

fn content(n: u64) -> String {
    format!("/openmrs/ws/rest/v1/patient/{n}?v=full")
}

/// How one transaction is filled.
#[derive(Debug, Clone, Copy)]
struct Filling {
    events: usize,
    /// With one statement.
    together: bool,
}

async fn catch_up<H>(name: &str, harness: &H, emr: &Emr, small: &Emr)
where
    H: Harness,
    H::Store: Target,
{
    for (events, together) in [
        (1, false),
        (100, false),
        (100, true),
        (1_000, false),
        (1_000, true),
    ] {
        let filling = Filling { events, together };
        let emr = if events == 1 { small } else { emr };
        let rows: Vec<_> = (1..=emr.events)
            .map(|n| (EntryId::of_event(uuid(n)).to_string(), content(n)))
            .collect();
        let rows: Vec<_> = rows
            .iter()
            .map(|(id, content)| (id.as_str(), content.as_str()))
            .collect();
        let (mut ours, mut bare, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        let transactions = Arc::<AtomicU64>::default();
        for _round in 0..ROUNDS {
            let store = harness.store().await;
            let worker = Writer::<H::Store>::new(filling, &transactions);
            let begun = Instant::now();
            consume(emr, emr.http(), store, worker, events).await;
            ours.push(emr.events as f64 / begun.elapsed().as_secs_f64());

            let store = harness.store().await;
            let begun = Instant::now();
            store.write(&rows, filling).await.expect("written");
            bare.push(emr.events as f64 / begun.elapsed().as_secs_f64());
            shares.extend(ours.last().zip(bare.last()).map(|(ours, bare)| ours / bare));
        }
        let how = if together { "process_batch" } else { "process" };
        let written = emr.events * ROUNDS as u64;
        println!(
            "catch-up/{name}/{how}, {events} a transaction: {:.0} events/s of {:.0}, share {:.2}; \
             in fact {} a transaction",
            median(ours),
            median(bare),
            median(shares),
            written / transactions.load(Ordering::Relaxed).max(1)
        );
    }
}

/// Reads a feed from its beginning to its end.
async fn consume<S, W>(emr: &Emr, source: impl FeedSource, store: S, worker: W, batch: usize)
where
    S: ConsumerStore,
    W: EventWorker<S::Conn>,
{
    let first = emr.feed.as_str().replace("recent", "1");
    let client = AtomFeedClient::builder(emr.feed.clone(), source)
        .start(StartPosition::Page(first.parse().expect("a URL")))
        .batch(batch)
        .build(store, worker);
    let processed = client.process_events().await.expect("processed");
    assert_eq!((processed.applied, processed.failed), (emr.events, 0));
}

/// What a worker writes to, and a bare loop, too.
#[async_trait]
trait Target: ConsumerStore {
    /// Id and content of each event, in one statement.
    async fn insert(conn: &mut Self::Conn, rows: &[(&str, &str)]) -> sqlx::Result<()>;

    /// All rows, and nothing else.
    async fn write(&self, rows: &[(&str, &str)], filling: Filling) -> sqlx::Result<()>;
}

macro_rules! target {
    ($store:ty, $connection:ty, $values:expr) => {
        #[async_trait]
        impl Target for $store {
            async fn insert(conn: &mut $connection, rows: &[(&str, &str)]) -> sqlx::Result<()> {
                let values: Vec<String> = (0..rows.len()).map($values).collect();
                let insert = format!(
                    "INSERT INTO applied (event_id, content) VALUES {}",
                    values.join(", ")
                );
                let mut insert = sqlx::query(AssertSqlSafe(insert));
                for (id, content) in rows {
                    insert = insert.bind(*id).bind(*content);
                }
                insert.execute(conn).await?;
                Ok(())
            }

            async fn write(&self, rows: &[(&str, &str)], filling: Filling) -> sqlx::Result<()> {
                let mut conn = self.pool().acquire().await?;
                let statement = if filling.together { filling.events } else { 1 };
                for rows in rows.chunks(filling.events) {
                    let mut transaction = conn.begin().await?;
                    for rows in rows.chunks(statement) {
                        Self::insert(&mut transaction, rows).await?;
                    }
                    transaction.commit().await?;
                }
                Ok(())
            }
        }
    };
}

target!(SqliteStore, SqliteConnection, |_| "(?, ?)".to_owned());
target!(PostgresStore, PgConnection, |n| format!(
    "(${}, ${})",
    2 * n + 1,
    2 * n + 2
));

/// Writes a row for each event.
struct Writer<S> {
    filling: Filling,
    /// How many it has written in.
    transactions: Arc<AtomicU64>,
    store: PhantomData<fn(S)>,
}

impl<S> Writer<S> {
    fn new(filling: Filling, transactions: &Arc<AtomicU64>) -> Self {
        Self {
            filling,
            transactions: Arc::clone(transactions),
            store: PhantomData,
        }
    }
}

#[async_trait]
impl<S: Target> EventWorker<S::Conn> for Writer<S> {
    async fn process(&self, event: &Event, conn: &mut S::Conn) -> Result<Handled, WorkerError> {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        S::insert(conn, &[(event.id().as_str(), event.content())]).await?;
        Ok(Handled::Applied)
    }

    async fn process_batch(
        &self,
        events: &[&Event],
        conn: &mut S::Conn,
    ) -> Result<Vec<Handled>, WorkerError> {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        let rows = events.iter().map(|e| (e.id().as_str(), e.content()));
        let rows: Vec<_> = rows.collect();
        let statement = if self.filling.together { rows.len() } else { 1 };
        for rows in rows.chunks(statement) {
            S::insert(conn, rows).await?;
        }
        Ok(vec![Handled::Applied; events.len()])
    }
}

struct Nothing;

#[async_trait]
impl<C: ?Sized + Send + 'static> EventWorker<C> for Nothing {
    async fn process(&self, _event: &Event, _conn: &mut C) -> Result<Handled, WorkerError> {
        Ok(Handled::Applied)
    }
}

/// Pages that were fetched before: what is left is the consumer.
#[derive(Default)]
struct AtHand(Mutex<HashMap<Url, PageResponse>>);

struct Remembered {
    source: InProcessFeedSource<Router>,
    pages: &'static AtHand,
}

#[async_trait]
impl FeedSource for Remembered {
    async fn fetch(&self, page: &PageRequest) -> Result<PageResponse, FetchError> {
        let known = || {
            self.pages
                .0
                .lock()
                .expect("no panic")
                .get(&page.url)
                .cloned()
        };
        if let Some(known) = known() {
            return Ok(known);
        }
        let fetched = self.source.fetch(page).await?;
        let mut pages = self.pages.0.lock().expect("no panic");
        pages.insert(page.url.clone(), fetched.clone());
        Ok(fetched)
    }
}

impl AtHand {
    /// How many entries a second are read, with nothing done to them.
    fn read(&self) -> f64 {
        let pages = self.0.lock().expect("no panic");
        let begun = Instant::now();
        let read = pages.values().map(|page| {
            let feed = read_feed(&page.body, &ReadLimits::default()).expect("a feed");
            feed.entries.len()
        });
        read.sum::<usize>() as f64 / begun.elapsed().as_secs_f64()
    }
}

async fn do_nothing(emr: &Emr) {
    let at_hand: &'static AtHand = Box::leak(Box::default());
    let mut documents = Vec::new();
    for batch in [100, 1_000] {
        let mut rates = [const { Vec::new() }; 3];
        for _round in 0..ROUNDS {
            let in_process = || InProcessFeedSource::new(emr.router.clone());
            let remembered = || Remembered {
                source: in_process(),
                pages: at_hand,
            };
            // Fetches what is not there yet.
            consume(emr, remembered(), MemoryStore::new(), Nothing, batch).await;
            documents.push(at_hand.read());
            for (n, rates) in rates.iter_mut().enumerate() {
                let store = MemoryStore::new();
                let begun = Instant::now();
                match n {
                    0 => consume(emr, remembered(), store, Nothing, batch).await,
                    1 => consume(emr, in_process(), store, Nothing, batch).await,
                    _ => consume(emr, emr.http(), store, Nothing, batch).await,
                }
                rates.push(emr.events as f64 / begun.elapsed().as_secs_f64());
            }
        }
        let [at_hand, in_process, http] = rates.map(median);
        println!(
            "no-op/memory, {batch} a transaction: {at_hand:.0} events/s with the pages at hand, \
             {in_process:.0} with a server in the same process, {http:.0} over HTTP"
        );
    }
    println!(
        "no-op/documents: {:.0} events/s are read of documents",
        median(documents)
    );
}

/// The consumer is a process of its own, so that its memory is only its own.
async fn memory(events: u64) {
    let harness = SqliteHarness::default();
    let store = harness.store().await;
    let fill = format!(
        "INSERT INTO event_records (uuid, title, timestamp, object)
         WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {events})
         SELECT printf('%032d', n), 'Event ' || n, '2024-03-01 08:00:00.000000',
          '/openmrs/ws/rest/v1/patient/' || n || '?v=full' FROM numbers"
    );
    let filled = store.pool().execute(AssertSqlSafe(fill)).await;
    filled.expect("filled");
    let emr = Emr::serve(store, events).await;
    let mut consumer = Command::new(std::env::current_exe().expect("this program"));
    consumer
        .arg("--bench")
        .env(FOLLOW, emr.feed.as_str())
        .env(MEMORY_EVENTS, events.to_string());
    let ended = tokio::task::spawn_blocking(move || consumer.status());
    let ended = ended.await.expect("waited for").expect("started");
    assert!(ended.success(), "the consumer ended with {ended}");
}

async fn watch_memory(feed: FeedUri) {
    let events = number(MEMORY_EVENTS, 0);
    let harness = SqliteHarness::default();
    let store = harness.store().await;
    let begun = Instant::now();
    println!("memory: {} before the first event", taken());
    let seen = AtomicU64::new(0);
    let marks = [events / 10, events / 2, events];
    let source = HttpFeedSource::new(&feed).expect("a source");
    let filling = Filling {
        events: 100,
        together: true,
    };
    let worker = Writer::<SqliteStore>::new(filling, &Arc::default());
    let client = AtomFeedClient::builder(feed, source)
        .on_outcome(move |_| {
            let seen = seen.fetch_add(1, Ordering::Relaxed) + 1;
            if marks.contains(&seen) {
                let seconds = Duration::from_secs(begun.elapsed().as_secs());
                println!("memory: {} after {seen} events, {seconds:?}", taken());
            }
        })
        .build(store, worker);
    let processed = client.process_events().await.expect("processed");
    assert_eq!((processed.applied, processed.failed), (events, 0));
}

/// What this process takes now, and has taken at most, where the system says it.
fn taken() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        number.map_or_else(|| "?".to_owned(), |kib| format!("{:.1}", kib / 1024.0))
    };
    format!("{} MiB, {} at the most", kib("VmRSS:"), kib("VmHWM:"))
}
