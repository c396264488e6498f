//! What others do between two steps of reading a page.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use atomfeed_core::chunking::ChunkingChange;
use atomfeed_core::store::conformance::MemoryHarness;
use atomfeed_core::store::{FeedStore, MemoryStore};
use atomfeed_core::{Category, FeedScope, NewEvent};
use atomfeed_server::{EventFeedService, FeedError};
use chrono::{DateTime, Utc};

use crate::feeds::{config, publish};
use crate::stepped::{Stepped, Steps};

/// What somebody does meanwhile.
#[derive(Debug, Clone, Copy)]
enum Deed {
    /// Changes the chunk length, and publishes.
    Rechunk,
    /// Prunes.
    Prune,
    /// Publishes.
    Publish,
}

/// Before the n-th step of the service, somebody does something.
struct Meanwhile {
    store: MemoryStore,
    deed: Deed,
    reading: Arc<AtomicUsize>,
    at: usize,
}

impl Meanwhile {
    /// The store on which it happens.
    fn on_its_store(self) -> Stepped<Self> {
        Stepped {
            store: self.store.clone(),
            steps: self,
        }
    }
}

/// What is done once, when a service is opened, or is nobody's business meanwhile.
const NO_STEPS: [&str; 13] = [
    "continue_after",
    "settle_chunking",
    "change_chunking",
    "records_between",
    "newest_id",
    "newest_timestamp",
    "sealed_until",
    "seal_until",
    "categories",
    "count_spelled",
    "nth_spelled",
    "offset_marker",
    "write_offset_marker",
];

#[async_trait]
impl Steps for Meanwhile {
    async fn before(&self, step: &'static str) {
        if NO_STEPS.contains(&step) {
            return;
        }
        if self.reading.fetch_add(1, Ordering::SeqCst) != self.at {
            return;
        }
        match self.deed {
            Deed::Rechunk => {
                let now = DateTime::UNIX_EPOCH;
                let change = ChunkingChange::to(2);
                self.store.change_chunking(change, now).await.unwrap();
                let events = (11..=16).map(|n| NewEvent::new(n.to_string(), ""));
                publish::<MemoryHarness>(&self.store, events).await;
            }
            Deed::Prune => {
                let service = EventFeedService::open(self.store.clone(), config());
                let service = service.await.unwrap();
                service.prune(old(700)).await.unwrap();
            }
            Deed::Publish => publish::<MemoryHarness>(&self.store, new_events()).await,
        }
    }
}

fn old(n: u64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + chrono::TimeDelta::minutes(n as i64)
}

/// So many that positions of them are kept.
async fn old_events() -> MemoryStore {
    let store = MemoryStore::new();
    let events = (0..1_000).map(|n| {
        NewEvent::new(n.to_string(), "")
            .in_category(["a", "b"][n as usize % 2])
            .with_uuid(uuid::Uuid::from_u128(u128::from(n) + 1))
            .published_at(old(n))
    });
    publish::<MemoryHarness>(&store, events).await;
    store
}

/// A page that is read while old events are pruned is as it ever was, or is gone, and so is every page
/// that is read later: what is kept of positions is not reckoned from what is left.
#[tokio::test]
async fn old_events_may_be_pruned_while_a_page_is_read() {
    let config = || config().with_page_size(5);
    let whole = EventFeedService::open(old_events().await, config()).await;
    let whole = whole.unwrap();
    let category = FeedScope::Category(Category::new("a").unwrap());
    for scope in [FeedScope::All, category] {
        for asked in [None, Some(3), Some(120), Some(141)] {
            // One who prunes, too.
            for prunes in [false, true] {
                for at in 0.. {
                    let store = old_events().await;
                    let reading = Arc::new(AtomicUsize::new(usize::MAX));
                    let meanwhile = Meanwhile {
                        store: store.clone(),
                        deed: Deed::Prune,
                        reading: Arc::clone(&reading),
                        at,
                    };
                    let service = EventFeedService::open(meanwhile.on_its_store(), config())
                        .await
                        .unwrap();
                    reading.store(0, Ordering::SeqCst);
                    if prunes {
                        service.prune(old(650)).await.unwrap();
                    }
                    let as_ever = async |asked| match asked {
                        None => whole.recent(&scope).await,
                        Some(number) => whole.page(&scope, number).await,
                    };
                    let page = match asked {
                        None => service.recent(&scope).await,
                        Some(number) => service.page(&scope, number).await,
                    };
                    match (page, as_ever(asked).await) {
                        (Ok(page), Ok(whole)) => assert_eq!(page.body, whole.body),
                        (Err(FeedError::Pruned { first, .. }), _) => {
                            assert!(asked.unwrap() < first, "{asked:?} {first}");
                        }
                        (Err(FeedError::NoSuchPage { .. }), Err(FeedError::NoSuchPage { .. })) => {}
                        (page, whole) => panic!("{scope} {asked:?} at {at}: {page:?} {whole:?}"),
                    }
                    let is_over = reading.load(Ordering::SeqCst) <= at;
                    let after = EventFeedService::open(store, config()).await.unwrap();
                    let newest = after.recent(&scope).await.unwrap().number;
                    for number in (1..=newest).step_by(7) {
                        match after.page(&scope, number).await {
                            Ok(page) => {
                                let whole = whole.page(&scope, number).await.unwrap();
                                assert_eq!(page.body, whole.body, "{scope} {number} at {at}");
                            }
                            Err(FeedError::Pruned { first, .. }) => assert!(number < first),
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                    if is_over {
                        assert!(at > 2, "it has more steps");
                        break;
                    }
                }
            }
        }
    }
}

/// So many that whole pages of them are not the newest.
fn new_events() -> impl Iterator<Item = NewEvent> {
    (0..24_u128).map(|n| {
        NewEvent::new(format!("new {n}"), "")
            .in_category(["a", "b"][n as usize % 2])
            .with_uuid(uuid::Uuid::from_u128(10_000 + n))
            .published_at(old(2_000))
    })
}

/// Whatever is published while old events are pruned is newer than they, and stays.
#[tokio::test]
async fn events_may_be_published_while_old_ones_are_pruned() {
    for at in 0.. {
        let store = MemoryStore::new();
        let events = (0..43_u64).map(|n| {
            NewEvent::new(n.to_string(), "")
                .in_category(["a", "b"][n as usize % 2])
                .published_at(old(n))
        });
        publish::<MemoryHarness>(&store, events).await;
        let config = || config().with_page_size(5);
        let reading = Arc::new(AtomicUsize::new(usize::MAX));
        let meanwhile = Meanwhile {
            store: store.clone(),
            deed: Deed::Publish,
            reading: Arc::clone(&reading),
            at,
        };
        let service = EventFeedService::open(meanwhile.on_its_store(), config())
            .await
            .unwrap();
        reading.store(0, Ordering::SeqCst);
        service.prune(old(1_000)).await.unwrap();
        if reading.load(Ordering::SeqCst) <= at {
            assert!(at > 5, "it has more steps");
            break;
        }
        let after = EventFeedService::open(store, config()).await.unwrap();
        for (scope, expected) in [
            (FeedScope::All, 24),
            (FeedScope::Category(Category::new("a").unwrap()), 12),
            (FeedScope::Category(Category::new("b").unwrap()), 12),
        ] {
            let mut page = after.recent(&scope).await.unwrap();
            let mut found = 0;
            loop {
                let body = String::from_utf8(page.body.to_vec()).unwrap();
                found += body.matches("<title>new ").count();
                match after.page(&scope, page.number - 1).await {
                    Ok(before) => page = before,
                    Err(_) => break,
                }
            }
            assert_eq!(found, expected, "{scope}, before step {at}");
        }
    }
}

/// A page that was read across a change is as it is for ever after it.
#[tokio::test]
async fn a_chunk_length_may_change_while_a_page_is_read() {
    for asked in [None, Some(2), Some(3), Some(4)] {
        for at in 0.. {
            let store = MemoryStore::new();
            let events = (1..=10).map(|n| NewEvent::new(n.to_string(), ""));
            publish::<MemoryHarness>(&store, events).await;
            let config = || config().with_page_size(5);
            EventFeedService::open(store.clone(), config())
                .await
                .unwrap();
            let reading = Arc::new(AtomicUsize::new(usize::MAX));
            let meanwhile = Meanwhile {
                store: store.clone(),
                deed: Deed::Rechunk,
                reading: Arc::clone(&reading),
                at,
            };
            let service = EventFeedService::open(meanwhile.on_its_store(), config())
                .await
                .unwrap();
            reading.store(0, Ordering::SeqCst);
            let page = match asked {
                None => Some(service.recent(&FeedScope::All).await.unwrap()),
                Some(number) => service.page(&FeedScope::All, number).await.ok(),
            };
            if reading.load(Ordering::SeqCst) <= at {
                assert!(at > 2, "it has more steps");
                break;
            }
            let after = EventFeedService::open(store, config()).await.unwrap();
            if let Some(page) = page.filter(|page| page.sealed) {
                let later = after.page(&FeedScope::All, page.number).await.unwrap();
                assert_eq!(page.body, later.body, "{asked:?}, before step {at}");
            }
        }
    }
}
