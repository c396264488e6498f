//! A page that has a successor is the same, byte for byte, for ever; and every event is on exactly
//! one page.

use std::collections::BTreeMap;

use atomfeed_core::atom::{ReadLimits, read_feed};
use atomfeed_core::chunking::ChunkingChange;
use atomfeed_core::store::conformance::{Harness, SqliteHarness};
use atomfeed_core::store::{FeedStore, SqliteStore, StoreErrorKind};
use atomfeed_core::{Category, FeedScope, NewEvent};
use atomfeed_server::EventFeedService;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::feeds::{config, on_every_store, publish};

on_every_store!(
    sealed_pages_stay_through_growth_and_new_chunk_lengths,
    a_page_is_found_wherever_it_is,
    odd_events_are_all_served_and_none_twice,
    a_chunk_length_is_noticed_without_a_restart,
);

const CATEGORIES: [&str; 3] = ["patient", "Encounter", "Étude"];

fn scopes() -> Vec<FeedScope> {
    let categories = CATEGORIES.map(|name| FeedScope::Category(Category::new(name).unwrap()));
    [FeedScope::All].into_iter().chain(categories).collect()
}

fn events(from: usize, count: usize) -> impl Iterator<Item = NewEvent> {
    (from..from + count).map(|n| {
        NewEvent::new(
            format!("Event {n}"),
            format!("/resource/{n}?v=full&n=<{n}>"),
        )
        .in_category(CATEGORIES[n % 3])
        .with_tags(["urgent"])
    })
}

/// Every sealed page of every feed, by its feed and number.
async fn sealed_pages(service: &EventFeedService) -> BTreeMap<(String, u64), Bytes> {
    let mut pages = BTreeMap::new();
    for scope in scopes() {
        let newest = service.recent(&scope).await.unwrap().number;
        for number in 1..newest {
            let page = service.page(&scope, number).await.unwrap();
            assert!(page.sealed, "{scope} {number}");
            pages.insert((scope.key(), number), page.body);
        }
        assert!(!service.page(&scope, newest).await.unwrap().sealed);
    }
    pages
}

fn assert_kept(before: &BTreeMap<(String, u64), Bytes>, now: &BTreeMap<(String, u64), Bytes>) {
    for (page, body) in before {
        assert_eq!(now.get(page), Some(body), "page {page:?} has changed");
    }
}

async fn sealed_pages_stay_through_growth_and_new_chunk_lengths<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let service = EventFeedService::open(store.clone(), config().with_page_size(7))
        .await
        .unwrap();
    publish::<H>(&store, events(0, 100)).await;
    let first = sealed_pages(&service).await;
    assert_eq!(first.len(), 14 + 3 * 4, "of 100 and of 33 or 34 events");

    // Also one that cuts the page in the making short.
    service
        .change_chunking(ChunkingChange::to(40).from(101))
        .await
        .unwrap();
    publish::<H>(&store, events(100, 60)).await;
    let second = sealed_pages(&service).await;
    assert_kept(&first, &second);

    let refused = service
        .change_chunking(ChunkingChange::to(3).from(160))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Refused);
    assert!(refused.to_string().contains("161"), "{refused}");
    service
        .change_chunking(ChunkingChange::to(100))
        .await
        .unwrap();

    publish::<H>(&store, events(160, 10_000)).await;
    let third = sealed_pages(&service).await;
    assert_kept(&second, &third);
    // A service that starts anew, and finds no position in its memory.
    let again = EventFeedService::open(store, config().with_page_size(9))
        .await
        .unwrap();
    assert_eq!(sealed_pages(&again).await, third);
}

#[tokio::test]
async fn sealed_pages_stay_through_a_restart() {
    let harness = SqliteHarness::default();
    let url = harness.url();
    let store = SqliteStore::connect(&url).await.unwrap();
    let service = EventFeedService::open(store.clone(), config())
        .await
        .unwrap();
    publish::<SqliteHarness>(&store, events(0, 1_000)).await;
    let before = sealed_pages(&service).await;
    store.pool().close().await;

    let store = SqliteStore::connect(&url).await.unwrap();
    let service = EventFeedService::open(store, config()).await.unwrap();
    assert_eq!(sealed_pages(&service).await, before);
}

/// Positions are kept every few hundred events; a page must come out the same on either side of
/// one, for a feed that is dense and one that is sparse.
async fn a_page_is_found_wherever_it_is<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let service = EventFeedService::open(store.clone(), config().with_page_size(5))
        .await
        .unwrap();
    let sparse = (0..3_000).map(|n| {
        let category = if n % 700 == 0 { "rare" } else { "common" };
        NewEvent::new(n.to_string(), "").in_category(category)
    });
    publish::<H>(&store, sparse).await;
    for (scope, expected) in [
        (FeedScope::All, (0..3_000).collect::<Vec<_>>()),
        (
            scope("COMMON"),
            (0..3_000).filter(|n| n % 700 != 0).collect(),
        ),
        (scope("rare"), (0..3_000).step_by(700).collect()),
    ] {
        // Twice: without positions, and with those that the first reading kept.
        for _ in 0..2 {
            let newest = service.recent(&scope).await.unwrap();
            assert_eq!(newest.number, expected.len().div_ceil(5) as u64, "{scope}");
            let mut found = Vec::new();
            for number in 1..=newest.number {
                found.extend(titles(&service, &scope, number).await);
            }
            let expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{scope}");
        }
    }
    let kept = store.position_below(&FeedScope::All, 3_000).await.unwrap();
    assert!(kept.event_count > 2_500, "positions were kept up: {kept:?}");
}

fn scope(category: &str) -> FeedScope {
    FeedScope::Category(Category::new(category).unwrap())
}

async fn titles(service: &EventFeedService, scope: &FeedScope, number: u64) -> Vec<String> {
    let page = service.page(scope, number).await.unwrap();
    let feed = read_feed(&page.body, &ReadLimits::default()).unwrap();
    feed.entries.into_iter().map(|entry| entry.title).collect()
}

/// Before and after 1970, in the same microsecond, without category or title, with twenty tags.
async fn odd_events_are_all_served_and_none_twice<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let service = EventFeedService::open(store.clone(), config().with_page_size(4))
        .await
        .unwrap();
    let at = |micros| DateTime::<Utc>::from_timestamp_micros(micros).unwrap();
    let odd = [
        NewEvent::new("before", "").published_at(at(-1)),
        NewEvent::new("epoch", "").published_at(at(0)),
        NewEvent::new("same", "1").published_at(at(1_709_280_060_000_001)),
        NewEvent::new("same", "2").published_at(at(1_709_280_060_000_001)),
        NewEvent::new("same", "3").published_at(at(1_709_280_060_000_001)),
        NewEvent::blank(),
        NewEvent::new("no category", ""),
        NewEvent::blank().in_category("patient"),
        NewEvent::new("tags", "")
            .in_category("patient")
            .with_tags((0..20).map(|n| n.to_string())),
    ];
    let uuids: Vec<_> = odd
        .iter()
        .map(|event| format!("tag:atomfeed.ict4h.org:{}", event.uuid()))
        .collect();
    publish::<H>(&store, odd).await;

    let mut found = Vec::new();
    for number in 1..=3 {
        let page = service.page(&FeedScope::All, number).await.unwrap();
        found.extend(
            read_feed(&page.body, &ReadLimits::default())
                .unwrap()
                .entries,
        );
    }
    let ids: Vec<_> = found.iter().map(|entry| entry.id.clone()).collect();
    assert_eq!(ids, uuids);
    let updated = found
        .iter()
        .take(3)
        .map(|entry| entry.updated.unwrap().to_rfc3339());
    let expected = [
        "1969-12-31T23:59:59+00:00",
        "1970-01-01T00:00:00+00:00",
        "2024-03-01T08:01:00+00:00",
    ];
    assert_eq!(updated.collect::<Vec<_>>(), expected);
    assert_eq!(found[8].terms.len(), 21);
    let patients = service.recent(&scope("Patient")).await.unwrap();
    let patients = read_feed(&patients.body, &ReadLimits::default()).unwrap();
    assert_eq!(patients.entries.len(), 2);
}

/// A row that another process adds to chunking_history takes effect at once.
async fn a_chunk_length_is_noticed_without_a_restart<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let service = EventFeedService::open(store.clone(), config().with_page_size(5))
        .await
        .unwrap();
    publish::<H>(&store, events(0, 12)).await;
    assert_eq!(service.recent(&FeedScope::All).await.unwrap().number, 3);
    let elsewhere = EventFeedService::open(store.clone(), config())
        .await
        .unwrap();
    elsewhere
        .change_chunking(ChunkingChange::to(2))
        .await
        .unwrap();
    publish::<H>(&store, events(12, 6)).await;
    assert_eq!(service.recent(&FeedScope::All).await.unwrap().number, 5);
    assert_eq!(
        titles(&service, &FeedScope::All, 4).await,
        ["Event 15", "Event 16"]
    );
}
