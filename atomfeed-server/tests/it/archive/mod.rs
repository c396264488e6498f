//! Sealed pages in an object store: all of them, no others, as they are served, and each written once.

mod refused;
mod resumed;

use std::collections::BTreeMap;
use std::sync::Arc;

use atomfeed_core::atom::{ReadLimits, read_feed};
use atomfeed_core::store::MemoryStore;
use atomfeed_core::store::conformance::{Harness, MemoryHarness};
use atomfeed_core::{Category, FeedScope, NewEvent};
use atomfeed_server::{Archive, Audience, EventFeedService, FeedConfig, FeedRouter};
use axum::Router;
use bytes::Bytes;
use chrono::TimeDelta;
use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Attribute, ObjectStore, ObjectStoreExt};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

use crate::feeds::{HandClock, ask, config, mounted, on_every_store, publish, publish_at};

on_every_store!(
    the_archive_holds_every_sealed_page_as_it_is_served,
    a_category_is_exported_in_one_spelling,
);

type Pages = BTreeMap<String, Bytes>;

fn events(from: usize, count: usize) -> impl Iterator<Item = NewEvent> {
    const CATEGORIES: [&str; 3] = ["patient", "Lab Result", "Étude"];
    (from..from + count).map(|n| {
        NewEvent::new(format!("Event {n}"), format!("/resource/{n}?<&]]>"))
            .in_category(CATEGORIES[n % 3])
    })
}

/// A feed in memory with pages of five events.
async fn filled(count: usize) -> (MemoryStore, EventFeedService) {
    let store = MemoryStore::new();
    publish::<MemoryHarness>(&store, events(0, count)).await;
    let service = reopened(&store, config()).await;
    (store, service)
}

async fn reopened(store: &MemoryStore, config: FeedConfig) -> EventFeedService {
    let service = EventFeedService::open(store.clone(), config.with_page_size(5));
    service.await.unwrap()
}

fn archive(service: &EventFeedService, store: &Arc<impl ObjectStore>) -> Archive {
    Archive::new(service.clone(), store.clone()).unwrap()
}

/// All pages in a store, by their paths; what the archive keeps for itself is left out.
async fn pages_in(store: &dyn ObjectStore) -> Pages {
    let objects: Vec<_> = store.list(None).try_collect().await.unwrap();
    let mut pages = Pages::new();
    for object in objects {
        let path = object.location.to_string();
        let name = path.rsplit('/').next().unwrap();
        if name.parse::<u64>().is_err() {
            assert!(path.starts_with("feed/.atomfeed/"), "{path}");
            continue;
        }
        let got = store.get(&object.location).await.unwrap();
        pages.insert(path, got.bytes().await.unwrap());
    }
    pages
}

/// All sealed pages as the service has them, by the decoded paths of their addresses.
async fn sealed_pages(service: &EventFeedService, categories: &[&str]) -> Pages {
    let mut pages = Pages::new();
    let scopes = categories
        .iter()
        .map(|name| FeedScope::Category(Category::new(*name).unwrap()));
    for scope in [FeedScope::All].into_iter().chain(scopes) {
        let Some(oldest) = service.oldest_page(&scope).await.unwrap() else {
            continue;
        };
        let folder = match scope.category() {
            None => "feed".to_owned(),
            Some(category) => format!("feed/{category}"),
        };
        for number in oldest.. {
            match service.page(&scope, number).await {
                Ok(page) if page.sealed => pages.insert(format!("{folder}/{number}"), page.body),
                _ => break,
            };
        }
    }
    pages
}

const LOWER_CASE: [&str; 3] = ["patient", "lab result", "étude"];

/// The address of a path, which is decoded.
fn encoded(path: &str) -> String {
    let segments = path.split('/');
    let segments = segments.map(|segment| utf8_percent_encode(segment, NON_ALPHANUMERIC));
    let segments: Vec<_> = segments.map(|segment| segment.to_string()).collect();
    format!("/{}", segments.join("/"))
}

async fn the_archive_holds_every_sealed_page_as_it_is_served<H: Harness>(harness: &H) {
    let store = harness.store().await;
    publish::<H>(&store, events(0, 123)).await;
    let service = EventFeedService::open(store, config().with_page_size(5));
    let service = service.await.unwrap();
    for (audience, whose) in [
        (Audience::Everyone, "public"),
        (Audience::WhoIsLetIn, "private"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let files = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
        let memory = Arc::new(InMemory::new());
        for store in [files as Arc<dyn ObjectStore>, memory.clone()] {
            let archive = Archive::new(service.clone(), store).unwrap();
            let exported = archive.with_audience(audience).export().await.unwrap();
            // 24 pages of all, and 8 of each category.
            assert_eq!((exported.pages, exported.found), (48, 0), "{exported:?}");
            assert!(exported.left_out.is_empty(), "{exported:?}");
        }
        let pages = pages_in(memory.as_ref()).await;
        assert_eq!(pages.len(), 48);
        let router = FeedRouter::new(service.clone()).with_audience(audience);
        let router = Router::new().nest("/feed", router.into_router());
        for (path, body) in &pages {
            let served = ask(&router, &encoded(path), &[]).await;
            assert_eq!((served.status, &served.body), (200, body), "{path}");
            assert_eq!(
                std::fs::read(folder.path().join(path)).unwrap(),
                *body,
                "{path}"
            );
            let object = memory.get(&Path::parse(path).unwrap()).await.unwrap();
            for (header, attribute) in [
                ("content-type", Attribute::ContentType),
                ("cache-control", Attribute::CacheControl),
            ] {
                let kept = object.attributes.get(&attribute).unwrap();
                assert_eq!(served.header(header), &**kept, "{path}");
            }
            assert!(served.header("cache-control").starts_with(whose));
        }
    }
}

async fn a_category_is_exported_in_one_spelling<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let spellings = ["Lab", "LAB", "lab"].iter().cycle().take(30);
    let spelled = spellings.map(|spelling| NewEvent::new("", "").in_category(*spelling));
    publish::<H>(&store, spelled).await;
    let service = EventFeedService::open(store, config().with_page_size(5));
    let service = service.await.unwrap();
    let memory = Arc::new(InMemory::new());
    archive(&service, &memory).export().await.unwrap();
    let pages = pages_in(memory.as_ref()).await;
    let of_lab: Vec<_> = (1..=5).map(|page| format!("feed/lab/{page}")).collect();
    let of_categories: Vec<_> = pages
        .keys()
        .filter(|path| path.matches('/').count() > 1)
        .collect();
    assert_eq!(of_categories, of_lab.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn nothing_but_sealed_pages_is_ever_exported_and_all_of_them_are() {
    let store = MemoryStore::new();
    let service = reopened(&store, config()).await;
    let memory = Arc::new(InMemory::new());
    let exporting = archive(&service, &memory);
    let mut written = 0;
    for n in 0..40 {
        written += exporting.export().await.unwrap().pages;
        let sealed = sealed_pages(&service, &LOWER_CASE).await;
        assert_eq!(pages_in(memory.as_ref()).await, sealed, "after {n} events");
        publish::<MemoryHarness>(&store, events(n, 1)).await;
    }
    // 7 of all, and 2 of each category.
    assert_eq!(written, 13);
}

#[tokio::test]
async fn what_was_pruned_stays_in_the_archive_and_is_not_missed() {
    let store = MemoryStore::new();
    let old = "2020-01-01T00:00:00Z".parse().unwrap();
    let aged = events(0, 100).map(|event| event.published_at(old));
    publish::<MemoryHarness>(&store, aged).await;
    publish::<MemoryHarness>(&store, events(100, 100)).await;
    let service = reopened(&store, config().with_empty_page_before_the_oldest()).await;
    let early = Arc::new(InMemory::new());
    let exporting = archive(&service, &early);
    exporting.export().await.unwrap();
    let whole = pages_in(early.as_ref()).await;

    let cut = "2021-01-01T00:00:00Z".parse().unwrap();
    assert!(service.prune(cut).await.unwrap().first_page > 10);
    publish::<MemoryHarness>(&store, events(0, 10)).await;
    assert!(exporting.export().await.unwrap().pages > 0);
    let after = pages_in(early.as_ref()).await;
    assert!(
        whole
            .iter()
            .all(|(path, body)| after.get(path) == Some(body))
    );

    // Into an empty archive goes what is left.
    let late = Arc::new(InMemory::new());
    archive(&service, &late).export().await.unwrap();
    let left = pages_in(late.as_ref()).await;
    assert_eq!(left, sealed_pages(&service, &LOWER_CASE).await);
    assert!(!left.is_empty() && !left.contains_key("feed/1"));
    assert!(
        left.iter()
            .all(|(path, body)| after.get(path) == Some(body))
    );
}

#[tokio::test]
async fn lost_pages_are_passed_over() {
    let (store, service) = filled(23).await;
    service.continue_after(100).await.unwrap();
    publish::<MemoryHarness>(&store, events(0, 30)).await;
    let memory = Arc::new(InMemory::new());
    archive(&service, &memory).export().await.unwrap();
    let exported = pages_in(memory.as_ref()).await;
    let of_all = exported
        .keys()
        .filter(|path| path.matches('/').count() == 1);
    let mut numbers: Vec<u64> = of_all.map(|path| path[5..].parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers[..5], [1, 2, 3, 4, 5]);
    assert!(numbers[5] > 20, "{numbers:?}");
    assert_eq!(numbers.len(), 10);
}

#[tokio::test]
async fn pages_of_time_are_exported_once_their_time_is_over() {
    let clock = HandClock::at("2024-03-01T08:30:00Z");
    let store = MemoryStore::new();
    publish_at::<MemoryHarness>(&store, &clock, "first").await;
    let timed = config().with_time_chunks();
    let service = EventFeedService::open_with_clock(store.clone(), timed, clock.clone());
    let service = service.await.unwrap();
    let memory = Arc::new(InMemory::new());
    let exporting = archive(&service, &memory);
    assert_eq!(exporting.export().await.unwrap().pages, 0);
    for hours in 1..=3 {
        clock.move_by(TimeDelta::hours(1));
        assert_eq!(exporting.export().await.unwrap().pages, 1);
        assert_eq!(exporting.export().await.unwrap().pages, 0);
        let exported = pages_in(memory.as_ref()).await;
        assert_eq!(exported, sealed_pages(&service, &[]).await);
        assert_eq!(exported.len(), hours);
    }
}

/// Where a server of files looks that was asked for the address of a page, decoded: there it is, or it is
/// nowhere, and the export says so.
#[tokio::test]
async fn a_page_lies_where_its_address_leads_or_is_left_out() {
    let long = "é".repeat(200);
    let names = [
        "Lab Result",
        "r&d",
        "é%",
        "a%20b",
        "a+b",
        "a?b#1",
        "~.x",
        ".atomfeed",
        "recent",
        "a/b",
        "a\\b",
        "..",
        ".",
        "17",
        "a\tb",
        "x\u{2028}y",
        "👩‍⚕️",
        &long,
        "*",
        "<>|:\"",
    ];
    let store = MemoryStore::new();
    for name in names {
        let of_it = (0..6).map(|n| NewEvent::new("", format!("/{n}")).in_category(name));
        publish::<MemoryHarness>(&store, of_it).await;
    }
    let service = reopened(&store, config()).await;
    let router = mounted(service.clone());
    let folder = tempfile::tempdir().unwrap();
    let files = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
    let exported = archive(&service, &files).export().await.unwrap();
    let left_out: Vec<_> = exported.left_out.iter().map(Category::as_str).collect();
    assert_eq!(left_out, [".", "..", "17", "a\tb", "a/b", "a\\b", &long]);

    let mut exported = pages_in(files.as_ref()).await;
    exported.retain(|path, _| path.matches('/').count() > 1);
    for name in names {
        let category = Category::new(name).unwrap().in_lower_case();
        if left_out.contains(&category.as_str()) {
            continue;
        }
        let scope = FeedScope::Category(category);
        let page = service.page(&scope, 1).await.unwrap();
        assert!(page.sealed);
        // The address that its page says it has.
        let feed = read_feed(&page.body, &ReadLimits::default()).unwrap();
        let address: Url = feed.link("self").unwrap().parse().unwrap();
        let decoded = percent_decode_str(address.path()).decode_utf8().unwrap();
        let path = decoded.trim_start_matches('/');
        let file = std::fs::read(folder.path().join(path)).unwrap();
        assert_eq!(file, page.body, "{path}");
        assert_eq!(exported.remove(path).as_ref(), Some(&page.body), "{path}");
        let served = ask(&router, address.path(), &[]).await;
        assert_eq!((served.status, served.body), (200, page.body), "{path}");
    }
    assert_eq!(exported.keys().collect::<Vec<_>>(), [""; 0]);
}
