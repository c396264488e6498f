//! Where a consumer begins, where it goes on when its place is gone, and markers moved by hand.

use std::sync::Arc;

use atomfeed_client::{ProcessErrorKind, StartPosition};
use atomfeed_core::store::conformance::{Harness, MemoryHarness};
use atomfeed_core::store::{ConsumerStore, MemoryStore, OutboxStore};
use atomfeed_core::{EntryId, Marker, NewEvent};
use chrono::{DateTime, TimeDelta, Utc};

use crate::feeds::{Apply, Emr, applied, feed_uri, on_every_store};

on_every_store!(a_start_may_be_anywhere, a_marker_is_moved_by_hand,);

/// Event n is published in minute n.
fn at(minute: i64) -> DateTime<Utc> {
    let start: DateTime<Utc> = "2024-03-01T08:00:00Z".parse().unwrap();
    start + TimeDelta::minutes(minute)
}

fn entry(number: i64) -> EntryId {
    EntryId::of_event(uuid::Uuid::from_u128(number as u128))
}

fn page(number: u32) -> String {
    format!("http://127.0.0.1:8080/feed/{number}")
}

/// 23 events, on five pages.
async fn emr() -> Emr {
    let emr = Emr::new().await;
    let mut transaction = emr.store.transaction().await;
    for number in 1..=23 {
        let uuid = uuid::Uuid::from_u128(number as u128);
        let event = NewEvent::new("Event", number.to_string()).with_uuid(uuid);
        let event = event.published_at(at(number));
        let published = emr.store.publish(&mut transaction, &event, Utc::now());
        published.await.unwrap();
    }
    transaction.commit();
    emr
}

async fn a_start_may_be_anywhere<H: Harness + 'static>(harness: &Arc<H>) {
    let emr = emr().await;
    let cases = [
        (StartPosition::Beginning, 1),
        (StartPosition::Latest, 24),
        (StartPosition::Page(page(3).parse().unwrap()), 11),
        (StartPosition::After(entry(1)), 2),
        (StartPosition::After(entry(10)), 11),
        (StartPosition::After(entry(23)), 24),
        (StartPosition::At(at(-5)), 1),
        (StartPosition::At(at(7)), 7),
        (StartPosition::At(at(7) - TimeDelta::seconds(1)), 7),
        (StartPosition::At(at(11)), 11),
        (StartPosition::At(at(24)), 24),
    ];
    for (start, first) in cases {
        let store = harness.store().await;
        let client = || {
            let client = emr.client().start(start.clone());
            client.build(store.clone(), Apply::all(harness))
        };
        client().process_events().await.unwrap();
        client().process_events().await.unwrap();
        let written = applied(harness.as_ref(), &store).await;
        assert_eq!(written, (first..=23).collect::<Vec<_>>(), "{start:?}");
    }
    let start = StartPosition::After(entry(99));
    let client = emr.client().start(start);
    let client = client.build(harness.store().await, Apply::all(harness));
    let error = client.process_events().await.unwrap_err();
    match error.kind() {
        ProcessErrorKind::EntryNotFound { oldest, .. } => assert_eq!(*oldest, page(1)),
        other => panic!("{other:?}"),
    }
}

async fn a_marker_is_moved_by_hand<H: Harness + 'static>(harness: &Arc<H>) {
    let emr = emr().await;
    let store = harness.store().await;
    let client = emr.client().build(store.clone(), Apply::all(harness));
    assert_eq!(client.marker().await.unwrap(), None);
    let marker = |page_uri: String| Marker::new(feed_uri()).on_page(page_uri);
    let cases = [
        (StartPosition::Latest, marker(page(5)).after(entry(23)), 0),
        (
            StartPosition::After(entry(20)),
            marker(page(4)).after(entry(20)),
            3,
        ),
        (
            StartPosition::At(at(22)),
            marker(page(5)).after(entry(21)),
            2,
        ),
        // The last one before it stands on the page before.
        (
            StartPosition::At(at(21)),
            marker(page(4)).after(entry(20)),
            3,
        ),
        (
            StartPosition::Page(page(5).parse().unwrap()),
            marker(page(5)),
            3,
        ),
        (StartPosition::Beginning, marker(page(1)), 23),
    ];
    for (position, expected, events) in cases {
        let moved = client.set_marker(&position).await.unwrap();
        assert_eq!(moved, expected, "{position:?}");
        assert_eq!(client.marker().await.unwrap(), Some(expected));
        let processed = client.process_events().await.unwrap();
        assert_eq!(processed.applied, events, "{position:?}");
    }
    let nowhere = StartPosition::After(entry(99));
    client.set_marker(&nowhere).await.unwrap_err();
    let left = client.marker().await.unwrap().unwrap();
    assert_eq!(left.last_read_entry_id(), Some(&entry(23)));
}

async fn with_marker(entry: EntryId, on: u32) -> MemoryStore {
    let store = MemoryStore::new();
    let marker = Marker::new(feed_uri()).after(entry).on_page(page(on));
    let mut work = store.begin().await.unwrap();
    work.move_marker(None, &marker).await.unwrap();
    work.commit().await.unwrap();
    store
}

#[tokio::test]
async fn an_entry_is_sought_on_the_pages_around() {
    let emr = emr().await;
    let harness = Arc::new(MemoryHarness);
    // It stands on page 3.
    for (on, is_found) in [(1, true), (2, true), (3, true), (4, true), (5, true)] {
        let store = with_marker(entry(13), on).await;
        let client = emr.client().build(store.clone(), Apply::all(&harness));
        let processed = client.process_events().await;
        assert_eq!(processed.is_ok(), is_found, "from page {on}");
        let written = applied(harness.as_ref(), &store).await;
        assert_eq!(written, (14..=23).collect::<Vec<_>>(), "from page {on}");
    }
    // Too far away.
    let store = with_marker(entry(1), 5).await;
    let client = emr.client().build(store.clone(), Apply::all(&harness));
    let error = client.process_events().await.unwrap_err();
    match error.kind() {
        ProcessErrorKind::MarkedEntryMissing { page: on, .. } => assert_eq!(*on, page(5)),
        other => panic!("{other:?}"),
    }
    assert!(applied(harness.as_ref(), &store).await.is_empty());
}

#[tokio::test]
async fn it_goes_on_where_it_is_told_to_when_the_entry_is_gone() {
    let emr = emr().await;
    let harness = Arc::new(MemoryHarness);
    let cases = [
        (StartPosition::Latest, 24),
        (StartPosition::Beginning, 1),
        (StartPosition::At(at(17)), 17),
        (StartPosition::Page(page(4).parse().unwrap()), 16),
    ];
    for (position, first) in cases {
        let store = with_marker(entry(99), 2).await;
        let client = emr.client().when_lost(position.clone());
        let client = client.build(store.clone(), Apply::all(&harness));
        client.process_events().await.unwrap();
        let written = applied(harness.as_ref(), &store).await;
        assert_eq!(written, (first..=23).collect::<Vec<_>>(), "{position:?}");
        assert_eq!(client.process_events().await.unwrap().applied, 0);
    }
}
