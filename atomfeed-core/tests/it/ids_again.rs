//! A table of failed events that somebody has emptied gives its ids once more, while rows of ours stand
//! beside those that are gone.

use atomfeed_core::store::conformance::{Harness, MySqlHarness, PostgresHarness, SqliteHarness};
use atomfeed_core::store::sql::{Dialect, SqlStore};
use atomfeed_core::store::{ConsumerStore, FailedEventQuery};
use atomfeed_core::{Clock, EntryId, Event, Failure, FeedUri, Place, SystemClock};

macro_rules! on_all_tables {
    ($($tables:ident: $harness:expr, $empty:expr;)+) => {
        $(#[tokio::test]
        async fn $tables() {
            if let Some(harness) = $harness {
                ids_given_again_stand_for_what_is_parked_now(&harness, $empty).await;
            }
        })+
    };
}

on_all_tables! {
    on_sqlite: Some(SqliteHarness::default()),
        "DELETE FROM failed_events; DELETE FROM sqlite_sequence WHERE name = 'failed_events'";
    on_postgres: PostgresHarness::from_env(), "TRUNCATE failed_events RESTART IDENTITY";
    on_mysql: MySqlHarness::from_env(), "TRUNCATE failed_events";
    on_odoo: PostgresHarness::odoo(), "TRUNCATE failed_events RESTART IDENTITY";
    on_openelis: PostgresHarness::openelis(), "TRUNCATE failed_events RESTART IDENTITY";
    on_openmrs: MySqlHarness::openmrs(), "TRUNCATE failed_events";
    on_openmrs_sync2: MySqlHarness::openmrs_sync2(), "TRUNCATE failed_events";
}

fn feed() -> FeedUri {
    FeedUri::new("http://emr.example.org/feed/recent").unwrap()
}

fn event(number: u32, content: &str) -> Event {
    Event::new(EntryId::of_event(number), feed())
        .with_text("Patient", content)
        .on_page(Some(format!("http://emr.example.org/feed/{number}")))
}

async fn park<D: Dialect>(store: &SqlStore<D>, event: &Event) -> i64 {
    let mut work = store.begin().await.unwrap();
    let failure = Failure::new("boom", SystemClock.now());
    let id = work.park(event, &failure).await.unwrap();
    work.commit().await.unwrap();
    id
}

async fn ids_given_again_stand_for_what_is_parked_now<D, H>(harness: &H, empty: &'static str)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>>,
{
    let store = harness.store().await;
    // What no narrow table can hold, then what they all can; that holds its key back.
    let content = "😀".repeat(2_000);
    let whole = [event(1, &content), event(2, &content)];
    let mut whole_ids = Vec::new();
    for whole in &whole {
        whole_ids.push(park(&store, whole).await);
    }
    let gone = park(&store, &event(3, "/patient/3")).await;
    let mut work = store.begin().await.unwrap();
    let place = Place {
        key: Some("three".to_owned()),
        due_at: None,
    };
    work.place(&feed(), gone, &place).await.unwrap();
    work.commit().await.unwrap();

    let mut conn = store.pool().acquire().await.unwrap();
    D::run(&mut conn, empty).await.unwrap();
    drop(conn);
    let all = FailedEventQuery::of(feed());
    let left = store.begin().await.unwrap().failed_events(&all).await;
    let left: Vec<_> = left.unwrap().into_iter().map(|failed| failed.id).collect();
    assert!(left.is_empty() || left == whole_ids, "{left:?}");

    let again = [4, 5, 6].map(|number| event(number, "/patient"));
    for again in &again {
        park(&store, again).await;
    }
    let mut work = store.begin().await.unwrap();
    let found = work.failed_events(&all).await.unwrap();
    let kept = if left.is_empty() { &[][..] } else { &whole };
    let expected = kept.iter().chain(&again).cloned();
    let expected: Vec<_> = expected.map(|event| event.as_retry(true)).collect();
    let events: Vec<_> = found.iter().map(|failed| failed.event.clone()).collect();
    assert_eq!(events, expected);
    assert!(found.iter().all(|failed| failed.place.is_none()));
    let held = work.held_keys(&feed(), &["three"]).await.unwrap();
    assert!(held.is_empty(), "{held:?}");
    for failed in &found {
        work.remove_failed_event(failed).await.unwrap();
    }
    assert_eq!(work.failed_event_count(&feed()).await.unwrap(), 0);
    work.commit().await.unwrap();
}
