//! Old events are pruned, and feeds go on after a restore, and no page gets another number or content.

use std::collections::{BTreeMap, BTreeSet};

use atomfeed_core::atom::{Feed, ReadLimits, read_feed};
use atomfeed_core::chunking::ChunkingChange;
use atomfeed_core::store::conformance::{Harness, MemoryHarness};
use atomfeed_core::store::{FeedStore, MemoryStore, OffsetMarker, StoreErrorKind, UpkeepStore};
use atomfeed_core::{Category, FeedScope, NewEvent};
use atomfeed_server::{EventFeedService, FeedError, Page};
use axum::http::StatusCode;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::feeds::{HandClock, config, get, mounted, on_every_store, publish, publish_at};

on_every_store!(
    kept_pages_stay_as_they_are,
    pruning_goes_on_where_it_was_cut_off,
    what_was_pruned_is_said_to_be,
    time_chunks_are_pruned_by_the_hour,
    no_page_gets_a_second_meaning_after_a_restore,
    a_feed_goes_on_after_several_restores_and_prunings,
    offset_markers_count_by_spelling_where_the_original_does,
);

const CATEGORIES: [&str; 4] = ["patient", "Encounter", "Étude", "rare"];

fn category(name: &str) -> FeedScope {
    FeedScope::Category(Category::new(name).unwrap())
}

fn scopes() -> Vec<FeedScope> {
    let categories = CATEGORIES.map(category);
    [FeedScope::All].into_iter().chain(categories).collect()
}

fn minute(n: u64) -> DateTime<Utc> {
    let start: DateTime<Utc> = "2024-03-01T08:00:00Z".parse().unwrap();
    start + TimeDelta::minutes(n as i64)
}

/// Event n is published in minute n, but every tenth an hour too early, as imports are.
fn events(from: u64, count: u64) -> impl Iterator<Item = NewEvent> {
    (from..from + count).map(|n| {
        let published = match n % 10 {
            7 => minute(n) - TimeDelta::hours(1),
            _ => minute(n),
        };
        let event = NewEvent::new(format!("Event {n}"), format!("/resource/{n}"))
            .with_uuid(Uuid::from_u128(u128::from(n) + 1))
            .published_at(published);
        match n {
            // Some are of no category, and one only at the beginning.
            _ if n < 30 && n % 9 == 4 => event.in_category("RARE"),
            _ if n % 5 == 0 => event,
            _ => event.in_category(CATEGORIES[(n % 3) as usize]),
        }
    })
}

async fn open<H: Harness>(store: &H::Store, size: u32) -> EventFeedService {
    EventFeedService::open(store.clone(), config().with_page_size(size))
        .await
        .unwrap()
}

fn read(body: &[u8]) -> Feed {
    read_feed(body, &ReadLimits::default()).unwrap()
}

fn number(page: Option<&str>) -> Option<u64> {
    page?.rsplit('/').next()?.parse().ok()
}

type Pages = BTreeMap<(String, u64), Bytes>;

/// Every page of every feed that is there, without the last ones, which grow.
async fn sealed_pages(service: &EventFeedService) -> Pages {
    let mut pages = Pages::new();
    for scope in scopes() {
        let newest = service.recent(&scope).await.unwrap().number;
        for number in 1..newest {
            match service.page(&scope, number).await {
                Ok(page) => {
                    pages.extend(page.sealed.then_some(((scope.key(), number), page.body)));
                }
                Err(FeedError::Pruned { .. } | FeedError::Lost { .. }) => {}
                Err(error) => panic!("{scope} {number}: {error:?}"),
            }
        }
    }
    pages
}

/// Walks a feed from the oldest page that can be reached to the newest.
async fn walk(service: &EventFeedService, scope: &FeedScope) -> Vec<(Page, Feed)> {
    let newest = service.recent(scope).await.unwrap();
    let mut page = newest.clone();
    if page.number == 0 {
        return Vec::new();
    }
    loop {
        let feed = read(&page.body);
        let Some(previous) = number(feed.link("prev-archive")) else {
            break;
        };
        match service.page(scope, previous).await {
            Ok(previous) => page = previous,
            Err(FeedError::Pruned { .. }) => break,
            Err(error) => panic!("{scope} {previous}: {error:?}"),
        }
    }
    let mut walked = Vec::new();
    loop {
        let feed = read(&page.body);
        let next = number(feed.link("next-archive"));
        walked.push((page, feed));
        let Some(next) = next else {
            break;
        };
        page = service.page(scope, next).await.unwrap();
    }
    assert_eq!(walked.last().unwrap().0.number, newest.number);
    walked
}

fn ids(walked: &[(Page, Feed)]) -> Vec<String> {
    let entries = walked.iter().flat_map(|(_, feed)| &feed.entries);
    entries.map(|entry| entry.id.clone()).collect()
}

/// The same events in a store that is never pruned.
struct Twin {
    store: MemoryStore,
    service: EventFeedService,
}

impl Twin {
    async fn new(size: u32) -> Self {
        let store = MemoryStore::new();
        let service = open::<MemoryHarness>(&store, size).await;
        Self { store, service }
    }

    /// What must be kept of a feed: the first page with an event since `before`, or the newest, and
    /// how many events are on kept pages.
    async fn first_kept(&self, scope: &FeedScope, before: DateTime<Utc>) -> u64 {
        let walked = walk(&self.service, scope).await;
        let is_new = |(_, feed): &&(Page, Feed)| {
            let mut entries = feed.entries.iter();
            entries.any(|entry| entry.published.is_some_and(|published| published >= before))
        };
        let first = walked.iter().find(is_new).or(walked.last());
        first.map_or(1, |(page, _)| page.number)
    }

    async fn kept_ids(&self, before: DateTime<Utc>) -> BTreeSet<String> {
        let mut kept = BTreeSet::new();
        for scope in scopes() {
            let first = self.first_kept(&scope, before).await;
            let walked = walk(&self.service, &scope).await;
            let pages = walked.iter().filter(|(page, _)| page.number >= first);
            kept.extend(pages.flat_map(|(_, feed)| feed.entries.iter().map(|e| e.id.clone())));
        }
        kept
    }
}

/// Held against a twin that is never pruned, through two prunings, growth and a new chunk length.
async fn kept_pages_stay_as_they_are<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let service = open::<H>(&store, 7).await;
    let twin = Twin::new(7).await;
    // Beyond what is counted without kept positions.
    let mut published = 0;
    for (grown, before) in [(310, 150), (20, 100), (130, 333), (600, 900), (0, 5_000)] {
        publish::<H>(&store, events(published, grown)).await;
        publish::<MemoryHarness>(&twin.store, events(published, grown)).await;
        published += grown;
        if grown == 130 {
            for service in [&service, &twin.service] {
                let change = ChunkingChange::to(11);
                service.change_chunking(change).await.unwrap();
            }
        }
        let before = minute(before);
        let pruned = service.prune(before).await.unwrap();

        let mut expected = twin.kept_ids(before).await;
        let whole = ids(&walk(&twin.service, &FeedScope::All).await);
        assert_eq!(whole.len() as u64, published);
        let mut first_page = 0;
        for scope in scopes() {
            let first = twin.first_kept(&scope, before).await;
            let newest = twin.service.recent(&scope).await.unwrap();
            let found = service.recent(&scope).await.unwrap();
            assert!(found.body == newest.body, "{scope}");
            // An earlier pruning may have cut higher.
            let walked = walk(&service, &scope).await;
            let oldest = walked.first().map_or(1, |(page, _)| page.number);
            assert!(oldest >= first, "{scope}: {oldest} and {first}");
            if before > minute(100) {
                assert_eq!(oldest, first, "{scope}");
            }
            for number in 1..=newest.number {
                let page = service.page(&scope, number).await;
                match number < oldest {
                    true => assert!(
                        matches!(&page, Err(FeedError::Pruned { first, .. }) if *first == oldest),
                        "{scope} {number}: {page:?}"
                    ),
                    false => {
                        let as_ever = twin.service.page(&scope, number).await.unwrap();
                        assert!(page.unwrap().body == as_ever.body, "{scope} {number}");
                    }
                }
            }
            if scope == FeedScope::All {
                first_page = oldest;
            }
        }
        assert_eq!(pruned.first_page, first_page);
        let left = left(&store).await;
        if before > minute(100) {
            assert_eq!(
                left, expected,
                "those on no kept page, and no other, are gone"
            );
        } else {
            expected.retain(|id| left.contains(id));
            assert_eq!(pruned.events, 0, "a lower cut deletes nothing");
        }
    }
}

/// The ids of the entries whose events are still there.
async fn left(store: &impl FeedStore) -> BTreeSet<String> {
    let range = atomfeed_core::store::RecordRange {
        after: i64::MIN,
        through: None,
        skip: 0,
        limit: 100_000,
    };
    let records = store.records(&FeedScope::All, range).await.unwrap();
    let ids = records.iter().map(|record| record.entry_id().to_string());
    ids.collect()
}

/// A cut that was written down, after which nothing was deleted.
async fn pruning_goes_on_where_it_was_cut_off<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let service = open::<H>(&store, 5).await;
    publish::<H>(&store, events(0, 60)).await;
    let pages = sealed_pages(&service).await;
    let cut = atomfeed_core::store::Cut {
        page: 9,
        before: atomfeed_core::store::OffsetMarker {
            event_id: store.every_nth_id(&FeedScope::All, 0, 40).await.unwrap()[0],
            event_count: 40,
        },
    };
    let revision = store.feed_state().await.unwrap().revision;
    store
        .keep_cuts(&[(FeedScope::All, cut)], revision)
        .await
        .unwrap();
    assert_eq!(left(&store).await.len(), 60);
    let before = sealed_pages(&service).await;
    let pruned = service.prune(minute(20)).await.unwrap();
    assert_eq!(pruned.first_page, 9);
    assert!(pruned.events > 10, "{pruned:?}");
    for (page, body) in sealed_pages(&service).await {
        assert_eq!(
            (before.get(&page), pages.get(&page)),
            (Some(&body), Some(&body))
        );
    }
    let again = service.prune(minute(20)).await.unwrap();
    assert_eq!((again.events, again.first_page), (0, 9));
}

async fn what_was_pruned_is_said_to_be<H: Harness>(harness: &H) {
    let store = harness.store().await;
    publish::<H>(&store, events(0, 30)).await;
    let strict = mounted(open::<H>(&store, 5).await);
    let lenient = config()
        .with_page_size(5)
        .with_empty_page_before_the_oldest();
    let lenient = EventFeedService::open(store.clone(), lenient)
        .await
        .unwrap();
    lenient.prune(minute(16)).await.unwrap();
    let lenient = mounted(lenient);

    for router in [&strict, &lenient] {
        let (status, body) = get(router, "/feed/2").await;
        assert_eq!(status, StatusCode::GONE);
        assert!(
            body.contains("pruned") && body.contains("the oldest page is 4"),
            "{body}"
        );
        let (status, oldest) = get(router, "/feed/4").await;
        assert_eq!(status, StatusCode::OK);
        assert!(oldest.contains("rel=\"prev-archive\""), "as it ever was");
        assert_eq!(get(router, "/feed/17").await.0, StatusCode::NOT_FOUND);
    }
    assert_eq!(get(&strict, "/feed/3").await.0, StatusCode::GONE);
    let (status, body) = get(&lenient, "/feed/3").await;
    assert_eq!(status, StatusCode::OK);
    let feed = read(body.as_bytes());
    assert!(feed.entries.is_empty());
    assert_eq!(feed.link("prev-archive"), None);
    assert_eq!(number(feed.link("next-archive")), Some(4));
    assert_eq!(get(&lenient, "/feed/3").await.1, body, "the same again");
    let (status, _) = get(&lenient, "/feed/patient/1").await;
    assert_eq!(status, StatusCode::OK, "the page before its oldest");
}

async fn time_chunks_are_pruned_by_the_hour<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let clock = HandClock::at("2024-03-01T08:10:00Z");
    let config = || config().with_minutes_a_page(60);
    let service = EventFeedService::open_with_clock(store.clone(), config(), clock.clone())
        .await
        .unwrap();
    for title in ["eight", "nine", "ten", "eleven"] {
        publish_at::<H>(&store, &clock, title).await;
        clock.move_by(TimeDelta::hours(1));
    }
    let newest = service.recent(&FeedScope::All).await.unwrap().number;
    let page = async |back: u64| service.page(&FeedScope::All, newest - back).await;
    let before = [page(4).await, page(3).await, page(2).await, page(1).await];
    let pruned = service.prune("2024-03-01T10:59:00Z".parse().unwrap());
    let pruned = pruned.await.unwrap();
    assert_eq!((pruned.events, pruned.first_page), (2, newest - 2));
    assert!(matches!(page(3).await, Err(FeedError::Pruned { first, .. }) if first == newest - 2));
    for (back, before) in [(2, &before[2]), (1, &before[3])] {
        let now = page(back).await.unwrap();
        assert_eq!(now.body, before.as_ref().unwrap().body);
        assert_eq!(read(&now.body).entries.len(), 1);
    }
    // What lies ahead is not pruned.
    service.prune(clock_end()).await.unwrap();
    let recent = service.recent(&FeedScope::All).await.unwrap();
    assert_eq!(recent.number, newest);
    let error = service.continue_after(1_000).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused);
}

fn clock_end() -> DateTime<Utc> {
    "2100-01-01T00:00:00Z".parse().unwrap()
}

/// What consumers have read of a feed: its pages, and on which of them each event was.
async fn seen(service: &EventFeedService) -> BTreeMap<(String, u64), Vec<String>> {
    let mut seen = BTreeMap::new();
    for scope in scopes() {
        for (page, feed) in walk(service, &scope).await {
            let ids = feed.entries.into_iter().map(|entry| entry.id).collect();
            seen.insert((scope.key(), page.number), ids);
        }
    }
    seen
}

/// Of 43 events the last 10 are lost, and others come in their place.
async fn no_page_gets_a_second_meaning_after_a_restore<H: Harness>(harness: &H) {
    for lost in [0, 10, 13, 30] {
        let before = harness.store().await;
        let read_by_consumers = open::<H>(&before, 5).await;
        publish::<H>(&before, events(0, 43)).await;
        let last_id = before.newest_id().await.unwrap();
        let seen_before = seen(&read_by_consumers).await;

        let store = harness.store().await;
        let service = open::<H>(&store, 5).await;
        publish::<H>(&store, events(0, 43 - lost)).await;
        // Where consumers have read nothing that is not there, any greater id will do.
        let id = if lost == 0 { last_id + 1 } else { last_id };
        service.continue_after(id).await.unwrap();
        service.continue_after(id).await.unwrap();
        // Before anything new comes, the newest page is the last one that is there.
        for scope in scopes() {
            let recent = service.recent(&scope).await.unwrap();
            let walked = walk(&service, &scope).await;
            assert_eq!(
                walked.last().map_or(0, |(page, _)| page.number),
                recent.number
            );
        }
        let restored = ids(&walk(&service, &FeedScope::All).await);
        assert_eq!(restored.len() as u64, 43 - lost);
        publish::<H>(&store, events(1_000, 23)).await;

        for scope in scopes() {
            let mut cut_pages = 0;
            let walked = walk(&service, &scope).await;
            let found = ids(&walked);
            let unique: BTreeSet<_> = found.iter().collect();
            assert_eq!(unique.len(), found.len(), "{scope}: none twice");
            for (page, feed) in &walked {
                let key = (scope.key(), page.number);
                let now: Vec<_> = feed.entries.iter().map(|entry| entry.id.clone()).collect();
                let Some(before) = seen_before.get(&key) else {
                    continue;
                };
                // All pages are as they were, but for one that was lost in part, which has what is
                // left of it, and is the last before the lost ones.
                let left = before.iter().filter(|id| restored.contains(id)).cloned();
                assert_eq!(now, left.collect::<Vec<_>>(), "{scope} {}", page.number);
                if now != *before {
                    let later = |(later, _): &&(Page, _)| later.number > page.number;
                    let next = walked.iter().find(later).map(|(next, _)| next.number);
                    assert_eq!(page.sealed, next.is_some(), "{scope} {}", page.number);
                    let is_known = |next| seen_before.contains_key(&(scope.key(), next));
                    assert!(!next.is_some_and(is_known), "{scope} {}", page.number);
                    cut_pages += 1;
                }
            }
            let in_part = seen_before.iter().filter(|((feed, _), ids)| {
                let left = ids.iter().filter(|id| restored.contains(id)).count();
                *feed == scope.key() && left > 0 && left < ids.len()
            });
            assert_eq!(cut_pages, in_part.count(), "{scope}");
            let last = seen_before.keys().filter(|(feed, _)| *feed == scope.key());
            let last = last.map(|(_, number)| *number).max().unwrap_or(0);
            for number in 1..=last {
                let is_walked = walked.iter().any(|(page, _)| page.number == number);
                match service.page(&scope, number).await {
                    Ok(page) => assert!(is_walked, "{scope} {}", page.number),
                    Err(FeedError::Lost { before, next, .. }) => {
                        assert!(!is_walked && before < number && next > number);
                        assert!(next > last, "behind all that was read");
                    }
                    Err(error) => panic!("{scope} {number}: {error:?}"),
                }
            }
        }
        let all = ids(&walk(&service, &FeedScope::All).await);
        assert_eq!(all.len() as u64, 43 - lost + 23);
        assert_eq!(all[..restored.len()], restored);
        let (status, body) = get(&mounted(service), "/feed/9").await;
        if lost == 10 {
            assert_eq!(status, StatusCode::GONE);
            assert!(
                body.contains("restored from a backup") && body.contains("goes on with page 10"),
                "{body}"
            );
        }
    }
}

async fn a_feed_goes_on_after_several_restores_and_prunings<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let service = open::<H>(&store, 5).await;
    let mut expected = Vec::new();
    let mut pages = Pages::new();
    // Nothing comes between the third restore and the fourth.
    for (round, grown) in [23, 300, 17, 0, 41, 12].into_iter().enumerate() {
        let round = round as u64;
        publish::<H>(&store, events(1_000 * round, grown)).await;
        expected.extend((1_000 * round..1_000 * round + grown).map(|n| {
            format!(
                "tag:atomfeed.ict4h.org:{}",
                Uuid::from_u128(u128::from(n) + 1)
            )
        }));
        let now = sealed_pages(&service).await;
        for (page, body) in &pages {
            assert!(now.get(page) == Some(body), "{page:?} in round {round}");
        }
        pages = now;
        assert_eq!(ids(&walk(&service, &FeedScope::All).await), expected);
        if round == 1 {
            service
                .change_chunking(ChunkingChange::to(9))
                .await
                .unwrap();
        }
        let newest = store.newest_id().await.unwrap();
        let after = newest + 20 * (i64::try_from(round).unwrap() + 1);
        service.continue_after(after).await.unwrap();
    }
    let before = minute(2_007);
    service.prune(before).await.unwrap();
    let kept: BTreeSet<_> = left(&store).await;
    assert!(kept.len() < expected.len());
    let now = sealed_pages(&service).await;
    assert!(now.len() < pages.len());
    for (page, body) in now {
        assert!(pages.get(&page) == Some(&body), "{page:?}");
    }
    publish::<H>(&store, events(9_000, 10)).await;
    let walked = ids(&walk(&service, &FeedScope::All).await);
    assert_eq!(walked.len(), walked.iter().collect::<BTreeSet<_>>().len());
    let tail = &expected[expected.len() - (walked.len() - 10)..];
    assert_eq!(walked[..walked.len() - 10], *tail);
}

/// On these stores the original tells `Lab` and `LAB` apart, which are one feed here.
async fn offset_markers_count_by_spelling_where_the_original_does<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let spelled = |n: u64| match n % 4 {
        0 => "Lab",
        1 => "patient",
        _ => "LAB",
    };
    let events = (1..=23).map(|n| NewEvent::new("Event", "").in_category(spelled(n)));
    publish::<H>(&store, events).await;
    let service = open::<H>(&store, 2).await;
    service.mark_events(0).await.unwrap();
    let marker = |event_id, event_count| {
        Some(OffsetMarker {
            event_id,
            event_count,
        })
    };
    // 4, 8, 12, 16, 20; 2, 3, 6, … 23; 1, 5, … 21: the ends of whole pages.
    for (category, expected) in [
        ("", marker(22, 22)),
        ("Lab", marker(16, 4)),
        ("LAB", marker(23, 12)),
        ("patient", marker(21, 6)),
    ] {
        let found = store.offset_marker(category).await.unwrap();
        assert_eq!(found, expected, "{category:?}");
    }

    // How many of each are gone is not known; what is known is written all the same.
    service.continue_after(30).await.unwrap();
    publish::<H>(
        &store,
        (0..4).map(|_| NewEvent::new("Event", "").in_category("LAB")),
    )
    .await;
    let refused = service.mark_events(0).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Refused);
    let said = refused.to_string();
    assert!(
        said.contains("\"LAB\", \"Lab\"") && !said.contains("patient"),
        "{said}"
    );
    let all = store.offset_marker("").await.unwrap().unwrap();
    assert_eq!(all.event_id, 34);
    assert_eq!(store.offset_marker("LAB").await.unwrap(), marker(23, 12));
}
