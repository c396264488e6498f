//! Databases that go away under load: their connections are ended, or the server itself crashes and
//! comes back. Two sequencers are at work, and a consumer that applies events in the same database, with
//! one transaction at a time or several. Nothing is lost, nothing doubled, the order holds, and no
//! page that had a successor has changed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, Event, EventWorker, Handled, InProcessFeedSource, WorkerError,
};
use atomfeed_core::store::conformance::{Harness, MySqlHarness, PostgresHarness};
use atomfeed_core::store::sql::{Dialect, SqlStore};
use atomfeed_core::store::{MySqlStore, PostgresStore};
use atomfeed_core::{FeedScope, NewEvent};
use atomfeed_server::{EventFeedService, FeedRouter, Publisher, Sequencer};
use bytes::Bytes;
use sqlx::SqlSafeStr;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::feeds::{config, feed_uri, full};
use crate::loss::{Committed, assert_causal};

const WRITERS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_postgres_are_ended() {
    let Some(harness) = PostgresHarness::from_env() else {
        return;
    };
    let store = harness.store().await;
    let other = store.clone();
    let end = async move || {
        // Those of this test alone: its schema is on their search path.
        let mut conn = other.pool().acquire().await?;
        let ended: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE pid <> pg_backend_pid() AND application_name = current_schema()) AS ended",
        )
        .fetch_one(&mut *conn)
        .await?;
        Ok(ended)
    };
    let rounds = if full() { 50 } else { 5 };
    hold_out(named(&store).await, 1, rounds, true, end).await;
}

/// A pool whose connections can be told from those of other tests.
async fn named(store: &PostgresStore) -> PostgresStore {
    let schema: String = sqlx::query_scalar("SELECT current_schema()::text")
        .fetch_one(store.pool())
        .await
        .unwrap();
    let options = store.pool().connect_options().as_ref().clone();
    let options = options.application_name(&schema);
    PostgresStore::over(sqlx::PgPool::connect_lazy_with(options), None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_mariadb_are_ended() {
    let Some(harness) = MySqlHarness::from_env() else {
        return;
    };
    let store = harness.store().await;
    let options = store.pool().connect_options().as_ref().clone();
    let other = sqlx::MySqlPool::connect_lazy_with(options);
    let end = async move || {
        let mut conn = other.acquire().await?;
        let all: Vec<i64> = sqlx::query_scalar(
            "SELECT CAST(id AS SIGNED) FROM information_schema.processlist
            WHERE db = DATABASE() AND id <> CONNECTION_ID()",
        )
        .fetch_all(&mut *conn)
        .await?;
        let mut ended = 0;
        for id in all {
            let kill = sqlx::AssertSqlSafe(format!("KILL CONNECTION {id}"));
            // It may have gone by itself.
            ended += i64::from(sqlx::query(kill).execute(&mut *conn).await.is_ok());
        }
        Ok(ended)
    };
    let rounds = if full() { 50 } else { 5 };
    hold_out(store, 3, rounds, true, end).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_crash_and_come_back() {
    if PostgresHarness::from_env().is_none() || MySqlHarness::from_env().is_none() {
        return;
    }
    let servers = Servers::start();
    let postgres = PostgresStore::connect(&servers.postgres, None)
        .await
        .unwrap();
    let mariadb = MySqlStore::connect(&servers.mariadb, None).await.unwrap();
    let rounds = if full() { 10 } else { 2 };
    // Both servers crash, each time.
    let crash = async || {
        let folder = servers.folder.path().to_owned();
        let crashed = tokio::task::spawn_blocking(move || run("crash", &folder));
        assert_success(&crashed.await.unwrap());
        Ok(1)
    };
    hold_out(postgres, 3, rounds, true, crash).await;
    hold_out(mariadb, 1, rounds, false, crash).await;
}

/// Servers of this test's own.
struct Servers {
    folder: tempfile::TempDir,
    postgres: String,
    mariadb: String,
}

impl Servers {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let started = run("start", folder.path());
        assert_success(&started);
        let variables = String::from_utf8(started.stdout).unwrap();
        let url = |name: &str| {
            let mut lines = variables.lines();
            let found = lines.find_map(|line| line.strip_prefix(&format!("export {name}='")));
            found.unwrap().trim_end_matches('\'').to_owned()
        };
        Self {
            postgres: url("ATOMFEED_POSTGRES_URL"),
            mariadb: url("ATOMFEED_MYSQL_URL"),
            folder,
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        run("stop", self.folder.path());
    }
}

fn run(what: &str, folder: &Path) -> Output {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.ci/databases");
    let mut command = Command::new("bash");
    command.arg(script).arg(what).arg(folder).output().unwrap()
}

#[track_caller]
fn assert_success(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

#[derive(Default)]
struct Log {
    committed: Mutex<HashMap<Uuid, Committed>>,
    /// Their commit was answered with an error: it may have been done.
    in_doubt: Mutex<HashSet<Uuid>>,
    stop: AtomicBool,
}

/// Publishes under load, disturbs so many times, and looks at what came out. The disturbance answers
/// how many connections it ended. `kept` says whether the feed keeps the pages that it has rendered.
async fn hold_out<D: Dialect>(
    store: SqlStore<D>,
    workers: usize,
    rounds: usize,
    kept: bool,
    disturb: impl AsyncFn() -> sqlx::Result<i64>,
) where
    Writes: EventWorker<D::Connection>,
{
    let sequencer = Sequencer::new(store.clone());
    let publisher = Publisher::new(store.clone()).waking(&sequencer);
    let service = EventFeedService::open(store.clone(), config().with_page_size(20))
        .await
        .unwrap();
    // MariaDB shows what was committed before it is on the disk: a server that crashes in between takes it
    // back. Who has kept a page of that keeps what never was, until it is started anew.
    let router = match kept {
        true => FeedRouter::new(service.clone()),
        false => FeedRouter::new(service.clone()).with_cache(0),
    };
    let router = router.into_router();
    let router = axum::Router::new().nest("/feed", router);
    let stop = CancellationToken::new();
    let interval = Duration::from_millis(50);
    let sequencers = [
        tokio::spawn(sequencer.with_interval(interval).run(stop.clone())),
        tokio::spawn(
            Sequencer::new(store.clone())
                .with_interval(interval)
                .run(stop.clone()),
        ),
    ];
    let log = Arc::new(Log::default());
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| tokio::spawn(write(store.clone(), publisher.clone(), Arc::clone(&log))))
        .collect();

    let make = "CREATE TABLE disturbed (id SERIAL, event VARCHAR(64))";
    let made = D::run(&mut *store.pool().acquire().await.unwrap(), make).await;
    made.unwrap();
    let short = Duration::from_millis(10);
    let client = AtomFeedClient::builder(feed_uri(), InProcessFeedSource::new(router))
        .workers(workers)
        // Their order is judged over all.
        .wait_out(short, short, Duration::from_secs(3_600))
        .build(store.clone(), Writes);
    let client = Arc::new(client);
    let following = {
        let (client, log) = (Arc::clone(&client), Arc::clone(&log));
        tokio::spawn(async move {
            let mut errors = 0;
            while !log.stop.load(Ordering::Acquire) {
                errors += usize::from(client.process_events().await.is_err());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            errors
        })
    };

    let mut pages = BTreeMap::new();
    let mut ended = 0;
    for _round in 0..rounds {
        // Some more must have been published since.
        let before = log.committed.lock().unwrap().len();
        while log.committed.lock().unwrap().len() < before + 100 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        ended += loop {
            // This connection may be ended, too.
            match disturb().await {
                Ok(ended) => break ended,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        // The newest of those that are known, and those that are new.
        let from = pages.len().saturating_sub(20) as u64 + 1;
        compare_pages(&service, &mut pages, from).await;
    }
    log.stop.store(true, Ordering::Release);
    for writer in writers {
        writer.await.unwrap();
    }
    let errors = following.await.unwrap();
    stop.cancel();
    for sequencer in sequencers {
        sequencer.await.unwrap();
    }
    patiently(async || Sequencer::new(store.clone()).drain().await.ok()).await;
    patiently(async || client.process_events().await.ok()).await;
    compare_pages(&service, &mut pages, 1).await;

    let committed = std::mem::take(&mut *log.committed.lock().unwrap());
    let in_doubt = std::mem::take(&mut *log.in_doubt.lock().unwrap());
    let order = written(&store).await;
    let applied: BTreeSet<_> = order.iter().copied().collect();
    assert_eq!(applied.len(), order.len(), "an event was applied twice");
    let lost: Vec<_> = committed
        .keys()
        .filter(|uuid| !applied.contains(uuid))
        .collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    let unexpected = |uuid: &&Uuid| !committed.contains_key(*uuid) && !in_doubt.contains(*uuid);
    let others: Vec<_> = applied.iter().filter(unexpected).collect();
    assert!(others.is_empty(), "never committed: {others:?}");
    let known: Vec<_> = order
        .into_iter()
        .filter(|uuid| committed.contains_key(uuid))
        .collect();
    // Several at once keep no order but that of keys, which these have none.
    if workers == 1 {
        assert_causal(&known, &committed);
    }
    assert!(ended > 0, "nothing was disturbed");
    assert!(pages.len() > 4 * rounds, "{} pages", pages.len());
    eprintln!(
        "{} committed, {} in doubt, none lost; {ended} times disturbed, the consumer saw {errors} errors",
        committed.len(),
        in_doubt.len()
    );
}

/// Writes a row for each event, in the transaction that moves the marker. The rows are numbered as they are
/// written: an event whose transaction was committed, though nobody heard so, may be handed over once more in vain.
struct Writes;

macro_rules! writes {
    ($connection:ty, $insert:literal) => {
        #[async_trait]
        impl EventWorker<$connection> for Writes {
            async fn process(
                &self,
                event: &Event,
                conn: &mut $connection,
            ) -> Result<Handled, WorkerError> {
                let uuid = event.id().uuid().unwrap_or_default();
                sqlx::query($insert).bind(uuid).execute(conn).await?;
                Ok(Handled::Applied)
            }
        }
    };
}

writes!(
    sqlx::PgConnection,
    "INSERT INTO disturbed (event) VALUES ($1)"
);
writes!(
    sqlx::MySqlConnection,
    "INSERT INTO disturbed (event) VALUES (?)"
);

/// In the order in which they were written.
async fn written<D: Dialect>(store: &SqlStore<D>) -> Vec<Uuid> {
    let mut conn = store.pool().acquire().await.unwrap();
    let select = "SELECT event FROM disturbed ORDER BY id".into_sql_str();
    let rows = D::fetch(&mut conn, select, Vec::new()).await.unwrap();
    let uuids = rows
        .into_iter()
        .map(|mut row| row.text_or_empty().unwrap().parse().unwrap());
    uuids.collect()
}

/// From a page on, each that had a successor is as it was.
async fn compare_pages(service: &EventFeedService, pages: &mut BTreeMap<u64, Bytes>, from: u64) {
    let scope = FeedScope::All;
    let newest = patiently(async || service.recent(&scope).await.ok())
        .await
        .number;
    for number in from..newest {
        let page = patiently(async || service.page(&scope, number).await.ok()).await;
        assert!(page.sealed);
        let before = pages.entry(number).or_insert_with(|| page.body.clone());
        assert!(*before == page.body, "page {number} has changed");
    }
}

/// Until the database is back.
async fn patiently<T>(action: impl AsyncFn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(done) = action().await {
            return done;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it never came back"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn write<D: Dialect>(store: SqlStore<D>, publisher: Publisher<SqlStore<D>>, log: Arc<Log>) {
    while !log.stop.load(Ordering::Acquire) {
        let event = NewEvent::new("disturbed", "").with_uuid(Uuid::new_v4());
        let begun = Instant::now();
        let Ok(mut transaction) = store.pool().begin().await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        if publisher.publish(&mut transaction, &event).await.is_err() {
            continue;
        }
        match publisher.commit(transaction).await {
            Ok(()) => {
                let done = Instant::now();
                let committed = Committed { begun, done };
                log.committed
                    .lock()
                    .unwrap()
                    .insert(event.uuid(), committed);
            }
            Err(_) => {
                log.in_doubt.lock().unwrap().insert(event.uuid());
            }
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
}
