//! Beside a program that runs its own feed over its own tables.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_core::store::conformance::Harness;
use atomfeed_core::store::sql::{Dialect, SqlStore};
use atomfeed_core::store::{
    ConsoleStore, FailureFilter, FailureQuery, Publishing, Records, StoreResult,
};
use atomfeed_core::{ActionProgress, ActionState, Clock, SystemClock};
use chrono::TimeDelta;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, SqlSafeStr};
use tokio::sync::{Barrier, mpsc};

use super::{ASHA, Browser, FEED, console, json_request, retry_of_many};

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(60);

macro_rules! on_tables_with_retries {
    ($($case:ident),+ $(,)?) => {
        on_tables_with_retries!(@ on_odoo, PostgresHarness::odoo(); $($case),+);
        on_tables_with_retries!(@ on_openelis, PostgresHarness::openelis(); $($case),+);
        on_tables_with_retries!(@ on_openmrs, MySqlHarness::openmrs(); $($case),+);
    };
    (@ $tables:ident, $harness:expr; $($case:ident),+) => {
        mod $tables {
            #[allow(unused_imports)]
            use atomfeed_core::store::conformance::{MySqlHarness, PostgresHarness};

            $(#[tokio::test]
            async fn $case() {
                if let Some(harness) = $harness {
                    super::$case(&harness).await;
                }
            })+
        }
    };
}

on_tables_with_retries!(
    two_consoles_go_on_with_one_retry_of_many,
    scripts_find_what_was_parked_since_it_was_counted,
);

async fn run<D: Dialect>(store: &SqlStore<D>, sql: String) {
    let mut conn = store.pool().acquire().await.unwrap();
    let sql = AssertSqlSafe(sql).into_sql_str();
    D::execute(&mut conn, sql, Vec::new()).await.unwrap();
}

/// As the original parks them, and has tried each of them three times.
fn insert(numbers: RangeInclusive<u32>) -> String {
    let rows: Vec<_> = numbers
        .map(|number| {
            format!(
                "('{FEED}', '2024-03-01 08:01:00', 'java.lang.Exception: no {number}', 'tag:{number}',
                  '/patient/{number}', 0, 'Patient', 3)"
            )
        })
        .collect();
    format!(
        "INSERT INTO failed_events (feed_uri, failed_at, error_message, event_id, event_content,
          error_hash_code, title, retries) VALUES {}",
        rows.join(", ")
    )
}

/// The store of one console, which waits for the other one as soon as both of them change something.
struct Meets<S> {
    store: S,
    is_to_meet: Arc<AtomicBool>,
    both: Arc<Barrier>,
    _held: mpsc::Sender<()>,
}

#[async_trait]
impl<S: ConsoleStore> ConsoleStore for Meets<S> {
    async fn look(&self) -> StoreResult<Box<dyn Records>> {
        self.store.look().await
    }

    async fn change(&self) -> StoreResult<Box<dyn Records>> {
        let work = self.store.change().await?;
        if self.is_to_meet.swap(false, Ordering::SeqCst) {
            self.both.wait().await;
        }
        Ok(work)
    }

    async fn publishing(&self) -> StoreResult<Publishing> {
        self.store.publishing().await
    }

    fn is_adopted(&self) -> bool {
        self.store.is_adopted()
    }
}

/// The console that was at it has ended in the middle, and somebody looks in each of two others.
async fn two_consoles_go_on_with_one_retry_of_many<D, H>(harness: &H)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>>,
{
    let store = harness.store().await;
    run(&store, insert(1..=450)).await;
    let unreadable = insert(451..=451).replace("'tag:451'", "''");
    run(&store, unreadable).await;
    let long_ago = SystemClock.now() - TimeDelta::minutes(3);
    let many = retry_of_many(long_ago);
    let begun = ActionProgress::waiting(long_ago).then(ActionState::Running, long_ago, "");
    let mut work = store.change().await.unwrap();
    assert_eq!(work.count_failures(1_000).await.unwrap(), 451);
    let many = work.ask(&many, &begun).await.unwrap();
    work.commit().await.unwrap();

    let both = Arc::new(Barrier::new(2));
    let (held, mut all_have_ended) = mpsc::channel(1);
    let mut browsers = Vec::new();
    for _console in 0..2 {
        let is_to_meet = Arc::new(AtomicBool::new(false));
        let store = Meets {
            store: store.clone(),
            is_to_meet: Arc::clone(&is_to_meet),
            both: Arc::clone(&both),
            _held: held.clone(),
        };
        let mut asha = Browser::signed_in(console(store), "asha").await;
        // By then it has counted what is parked, and who changes something next goes on with the retry.
        let page = asha.page("/failed").await;
        assert!(page.contains("cannot be read"), "{page}");
        is_to_meet.store(true, Ordering::SeqCst);
        browsers.push(asha);
    }
    drop(held);
    let [one, two] = &mut browsers[..] else {
        unreachable!()
    };
    let path = format!("/systems/Lab/actions/{many}");
    tokio::join!(one.page(&path), two.page(&path));
    // What is at it has the store until it ends.
    drop(browsers);
    let ended = tokio::time::timeout(PATIENCE, all_have_ended.recv()).await;
    assert_eq!(ended.expect("both come to an end"), None);

    let mut work = store.look().await.unwrap();
    let progress = work.action(many).await.unwrap().unwrap().progress;
    assert_eq!(progress.state, ActionState::Done, "{progress:?}");
    let outcome = progress.outcome.unwrap();
    assert!(outcome.contains("tries 450 again"), "{outcome}");
    assert_eq!((progress.succeeded, progress.failed), (450, 0), "{outcome}");
    let all = FailureQuery::of(FailureFilter::default()).limit(1_000);
    let parked = work.failures(&all).await.unwrap();
    assert_eq!((parked.events.len(), parked.unreadable.len()), (450, 1));
    for parked in parked.events {
        let row = work.parked_event(parked.id).await.unwrap().unwrap();
        assert_eq!((parked.retries, row.retries), (0, 0), "{}", parked.id);
    }
    // What nobody can read is as it was.
    let tried = "state=from-3".parse().unwrap();
    assert_eq!(work.failure_count(&tried).await.unwrap(), 1);
}

/// It is counted seldom; the console of the original read the tables themselves.
async fn scripts_find_what_was_parked_since_it_was_counted<D, H>(harness: &H)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>>,
{
    let store = harness.store().await;
    run(&store, insert(1..=1)).await;
    let mut script = Browser::new(console(store.clone()));
    let mut ask = async |method: &str, path: &str| {
        let page = script
            .send(json_request(method, path, ASHA, &Value::Null))
            .await;
        (page.status.as_u16(), page.body)
    };
    let failed = format!("/apps/Lab/failedEvent?feedUri={FEED}");
    let tries = |(status, body): (u16, String)| -> Vec<(String, i64)> {
        assert_eq!(status, 200, "{body}");
        let failed: Value = serde_json::from_str(&body).unwrap();
        let failed = failed.as_array().unwrap().iter();
        let tries = failed.map(|failed| {
            let event = failed["eventId"].as_str().unwrap();
            (event.to_owned(), failed["retries"].as_i64().unwrap())
        });
        tries.collect()
    };
    let of = |number: u32, retries: i64| (format!("tag:{number}"), retries);
    assert_eq!(tries(ask("GET", &failed).await), [of(1, 3)]);

    run(&store, insert(7..=7)).await;
    let log = format!(
        "INSERT INTO failed_event_retry_log (feed_uri, failed_at, error_message, event_id,
          event_content, error_hash_code)
         VALUES ('{FEED}', '2024-03-01 09:00:00', 'the disk is full', 'tag:7', '/patient/7', 0)"
    );
    run(&store, log).await;
    assert_eq!(tries(ask("GET", &failed).await), [of(1, 3), of(7, 3)]);
    let (status, body) = ask("GET", "/apps/Lab/failedEvent/tag:7/retryLog").await;
    assert_eq!(status, 200, "{body}");
    let log: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(log.as_array().unwrap().len(), 1, "{log}");
    assert_eq!(log[0]["errorMessage"], json!("the disk is full"));

    // It is found by this, too, when that is what it is asked for first.
    run(&store, insert(8..=8)).await;
    let reset = "/apps/Lab/failedEvent/tag:8/resetRetryCount";
    assert_eq!(ask("POST", reset).await, (200, String::new()));
    let nobody = reset.replace(":8", ":9");
    assert_eq!(ask("POST", &nobody).await.0, 404);
    let expected = [of(1, 3), of(7, 3), of(8, 0)];
    assert_eq!(tries(ask("GET", &failed).await), expected);
}
