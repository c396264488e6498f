//! What is asked for while another transaction is in the way, or while the database takes no writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use atomfeed_core::store::conformance::{Harness, PostgresHarness};
use atomfeed_core::store::{
    ActionQuery, ConsoleStore, MemoryStore, PostgresStore, Publishing, Records, StoreResult,
};
use atomfeed_core::{ActionProgress, ActionState, Clock, Marker, SystemClock};
use chrono::TimeDelta;
use sqlx::{Executor, PgPool, Postgres, Transaction};

use super::{Browser, MOUNT, console, event, feed, hidden, park, retry_of_many};

/// Two that wait for each other: it is the console's transaction that PostgreSQL ends, and that is done again.
#[tokio::test]
async fn what_a_deadlock_has_ended_is_done_again() {
    let Some(harness) = PostgresHarness::from_env() else {
        return;
    };
    let store = harness.store().await;
    park(&store, &event(1, "/patient/1"), "boom").await;
    let mut work = store.change().await.unwrap();
    let marker = Marker::new(feed()).on_page("http://emr:8050/1");
    work.move_marker(None, &marker).await.unwrap();
    work.commit().await.unwrap();
    let mut asha = Browser::signed_in(console(store.clone()), "asha").await;
    let fields = [
        ("from", "http://emr:8050"),
        ("to", "https://emr.example.org"),
    ];
    let preview = asha.fill("/systems/Lab/rebase", &fields).await;
    let preview = preview.location.replace(MOUNT, "");

    let form = asha.page(&preview).await;
    assert!(form.contains("1 markers, 1 parked events"), "{form}");

    let mut fields = hidden(&form);
    fields.push(("why".to_owned(), "a test".to_owned()));
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let deadlock = Deadlock::prepare(&store).await;
    let path = "/systems/Lab/rebase";
    let ((), asked) = tokio::join!(deadlock.happen(), asha.post(path, &fields));
    assert_eq!(asked.status, 303, "{}", asked.body);
    let mut work = store.look().await.unwrap();
    let actions = work.actions(&ActionQuery::newest(10)).await.unwrap();
    assert_eq!(actions.len(), 1);
    assert_eq!(actions[0].progress.state, ActionState::Done);
    let markers = work.markers().await.unwrap();
    let moved = markers[0].feed_uri().as_str();
    assert!(moved.starts_with("https://emr.example.org"), "{moved}");
}

/// Two transactions that a rebase meets: one holds what it takes in the end, and the other one has it wait
/// in between, until the first waits for what the rebase has taken in the beginning.
struct Deadlock {
    pool: PgPool,
    other: Transaction<'static, Postgres>,
    between: Transaction<'static, Postgres>,
}

impl Deadlock {
    async fn prepare(store: &PostgresStore) -> Self {
        let pool = store.pool().clone();
        let mut other = pool.begin().await.unwrap();
        // It is to be found by the rebase.
        let patient = "SET LOCAL deadlock_timeout = '10min'";
        other.execute(patient).await.unwrap();
        let lock = "LOCK TABLE atomfeed_actions IN EXCLUSIVE MODE";
        other.execute(lock).await.unwrap();
        let mut between = pool.begin().await.unwrap();
        let lock = "LOCK TABLE atomfeed_feed_minutes IN EXCLUSIVE MODE";
        between.execute(lock).await.unwrap();
        Self {
            pool,
            other,
            between,
        }
    }

    async fn happen(mut self) {
        let rebase = "SELECT COUNT(*) FROM pg_locks
            WHERE NOT granted AND relation = 'atomfeed_feed_minutes'::regclass";
        waits(&self.pool, rebase).await;
        let pid = "SELECT pg_backend_pid()";
        let pid: i32 = sqlx::query_scalar(pid)
            .fetch_one(&mut *self.other)
            .await
            .unwrap();
        let waiting = tokio::spawn(async move {
            let lock = "SELECT name FROM atomfeed_locks WHERE name = 'markers' FOR UPDATE";
            self.other.execute(lock).await.unwrap();
            self.other.rollback().await.unwrap();
        });
        let other = format!("SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND pid = {pid}");
        waits(&self.pool, &other).await;
        // The rebase goes on, and begins to wait for who waits for it.
        self.between.rollback().await.unwrap();
        waiting.await.unwrap();
    }
}

/// Waits until somebody waits.
async fn waits(pool: &PgPool, for_a_lock: &str) {
    let begun = Instant::now();
    loop {
        let count = sqlx::query_scalar(sqlx::AssertSqlSafe(for_a_lock));
        let count: i64 = count.fetch_one(pool).await.unwrap();
        if count > 0 {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{for_a_lock}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Tables of another program, which can be read and not be written to.
#[derive(Clone, Default)]
struct ReadOnly {
    store: MemoryStore,
    is_read_only: Arc<AtomicBool>,
    in_vain: Arc<AtomicU32>,
}

#[async_trait]
impl ConsoleStore for ReadOnly {
    async fn look(&self) -> StoreResult<Box<dyn Records>> {
        self.store.look().await
    }

    async fn change(&self) -> StoreResult<Box<dyn Records>> {
        if self.is_read_only.load(Ordering::SeqCst) {
            self.in_vain.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        self.store.change().await
    }

    async fn publishing(&self) -> StoreResult<Publishing> {
        self.store.publishing().await
    }

    fn is_adopted(&self) -> bool {
        true
    }
}

/// A page that looks again each second does not set to it each time.
#[tokio::test]
async fn a_retry_of_many_that_was_left_is_gone_on_with_once() {
    let store = ReadOnly::default();
    park(&store, &event(1, "/patient/1"), "boom").await;
    let long_ago = SystemClock.now() - TimeDelta::minutes(3);
    let begun = ActionProgress::waiting(long_ago).then(ActionState::Running, long_ago, "");
    let mut work = store.change().await.unwrap();
    let many = work.ask(&retry_of_many(long_ago), &begun).await.unwrap();
    work.commit().await.unwrap();
    let mut asha = Browser::signed_in(console(store.clone()), "asha").await;
    // It counts what is parked before.
    asha.page("/").await;
    store.is_read_only.store(true, Ordering::SeqCst);
    for _look in 0..5 {
        let page = asha.page(&format!("/systems/Lab/actions/{many}")).await;
        assert!(page.contains("a test"), "{page}");
        for _task in 0..10 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(store.in_vain.load(Ordering::SeqCst), 1);
}
