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

/// As the original notes a retry that failed.
fn retry() -> String {
    format!(
        "INSERT INTO failed_event_retry_log (feed_uri, failed_at, error_message, event_id,
          event_content, error_hash_code)
         VALUES ('{}', '2024-03-01 09:00:00', 'the disk is full', 'tag:2', '/patient/2', 0)",
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
    assert_eq!(work.failure_count(&all).await.unwrap(), listed.len().into());
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
                    // What it said then is known, too.
                    run(retry()).await;
                    run("UPDATE failed_events SET retries = 4, failed_at = failed_at
                         WHERE event_id = 'tag:2'".to_owned()).await;
                    let other = ("the disk is full".to_owned(), 1);
                    let groups = vec![theirs(19), ours.clone(), other];
                    assert_eq!(counts(&store).await, (1, groups, 2));
                    let mut work = store.look().await.unwrap();
                    let full = FailureQuery::of("error=DISK".parse().unwrap());
                    let found = work.failures(&full).await.unwrap().events;
                    assert_eq!((found.len(), found[0].error.as_str()), (1, "the disk is full"));
                    assert_eq!(found[0].failed_at.to_string(), "2024-03-01 09:00:00 UTC");
                    drop(work);
                    run("UPDATE failed_events SET event_id = 'tag:12', failed_at = failed_at
                         WHERE event_id = 'tag:2'".to_owned()).await;
                }
                run("DELETE FROM failed_events WHERE event_id LIKE 'tag:1%'".to_owned()).await;
                // Nobody has counted since: what is left is seen.
                let mut work = store.look().await.unwrap();
                assert_eq!(work.feed_failures(3).await.unwrap()[0].parked, 21);
                let groups = work.failure_groups(&FailureFilter::default(), 10).await.unwrap();
                assert!(groups.iter().any(|group| group.text == theirs(0).0), "{groups:?}");
                drop(work);
                let (gone, left) = match $retries {
                    true => (12, 8),
                    false => (11, 9),
                };
                assert_eq!(counts(&store).await, (gone, vec![theirs(left), ours], 0));
                // What nobody can read keeps nothing from being seen that is behind it.
                run(insert(30).replace("'tag:30'", "''")).await;
                counts(&store).await;
                let mut work = store.look().await.unwrap();
                for filter in ["", "title=patient"] {
                    let mut query = FailureQuery::of(filter.parse().unwrap()).limit(1);
                    let (mut seen, mut unreadable) = (0, 0);
                    loop {
                        let page = work.failures(&query).await.unwrap();
                        seen += page.events.len();
                        unreadable += page.unreadable.len();
                        let Some(next) = page.next else { break };
                        query = query.before(Some(next));
                    }
                    let ours = usize::from(filter.is_empty());
                    assert_eq!((seen, unreadable), (left as usize + ours, 1), "{filter}");
                }
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
