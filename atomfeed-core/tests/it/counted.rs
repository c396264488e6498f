//! What another program parks, tries again and removes is seen by those who look.

use atomfeed_core::store::conformance::{Harness, MySqlHarness, PostgresHarness, SqliteHarness};
use atomfeed_core::store::sql::{Dialect, SqlStore};
use atomfeed_core::store::{ConsoleStore, FailureFilter, FailureQuery};
use atomfeed_core::{EntryId, Event, Failure, FeedUri};
use sqlx::{AssertSqlSafe, Executor};

fn feed() -> FeedUri {
    FeedUri::new("http://emr.example.org/feed/recent").unwrap()
}

/// As the original writes them.
fn insert(number: u32) -> String {
    let page = format!("http://emr.example.org/feed/{number}");
    format!(
        "INSERT INTO failed_events (feed_uri, failed_at, error_message, event_id, event_content,
          error_hash_code, title)
         VALUES ('{}', '2024-03-01 08:01:00',
          'Failed processing event in feed [{page}] java.lang.RuntimeException: no {number}',
          'tag:{number}', '/patient/{number}', 0, 'Patient')",
        feed()
    )
}

async fn counts<D: Dialect>(store: &SqlStore<D>) -> (u64, Vec<(String, u64)>, u64) {
    let mut work = store.change().await.unwrap();
    let changed = work.count_failures(1_000).await.unwrap();
    let again = work.count_failures(1_000).await.unwrap();
    assert_eq!(again, 0, "there is nothing left");
    work.commit().await.unwrap();
    let mut work = store.look().await.unwrap();
    let all = FailureFilter::default();
    let groups = work.failure_groups(&all, 10).await.unwrap();
    let groups = groups.into_iter().map(|group| (group.text, group.count));
    let dead = "state=from-3".parse().unwrap();
    let listed = work.failures(&FailureQuery::of(all.clone())).await.unwrap();
    assert_eq!(work.failure_count(&all).await.unwrap(), listed.len() as u64);
    (
        changed,
        groups.collect(),
        work.failure_count(&dead).await.unwrap(),
    )
}

macro_rules! on {
    ($($name:ident: $harness:expr, $retries:expr;)+) => {
        $(
            #[tokio::test]
            async fn $name() {
                let Some(harness) = $harness else { return };
                let store = harness.store().await;
                let run = async |sql: String| {
                    store.pool().execute(AssertSqlSafe(sql)).await.unwrap();
                };
                // One of ours is among them.
                let mut work = store.change().await.unwrap();
                let event = Event::new(EntryId::new("tag:0").unwrap(), feed());
                let failure = Failure::new("ours", "2024-03-01T08:00:00Z".parse().unwrap());
                work.park(&event, &failure).await.unwrap();
                work.commit().await.unwrap();
                for number in 1..=20 {
                    run(insert(number)).await;
                }
                let theirs = |count| ("java.lang.RuntimeException: no <n>".to_owned(), count);
                let ours = ("ours".to_owned(), 1);
                assert_eq!(counts(&store).await, (20, vec![theirs(20), ours.clone()], 0));
                if $retries {
                    run("UPDATE failed_events SET retries = 3, failed_at = failed_at
                         WHERE event_id IN ('tag:1', 'tag:2')".to_owned()).await;
                    assert_eq!(counts(&store).await, (2, vec![theirs(20), ours.clone()], 2));
                }
                run("DELETE FROM failed_events WHERE event_id LIKE 'tag:1%'".to_owned()).await;
                let dead = u64::from($retries);
                assert_eq!(counts(&store).await, (11, vec![theirs(9), ours], dead));
            }
        )+
    };
}

on! {
    on_sqlite: Some(SqliteHarness::default()), true;
    on_postgres: PostgresHarness::from_env(), true;
    on_mysql: MySqlHarness::from_env(), true;
    on_odoo: PostgresHarness::odoo(), true;
    on_openelis: PostgresHarness::openelis(), true;
    on_openmrs: MySqlHarness::openmrs(), true;
    on_openmrs_sync2: MySqlHarness::openmrs_sync2(), false;
}
