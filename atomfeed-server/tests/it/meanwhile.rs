//! What others do between two steps of reading a page.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use atomfeed_core::chunking::{
    ChunkingChange, ChunkingHistory, ChunkingHistoryEntry, ChunkingStrategy,
};
use atomfeed_core::store::conformance::MemoryHarness;
use atomfeed_core::store::{
    FeedStore, MemoryStore, OffsetMarker, RecordRange, StoreResult, TimeBounds,
};
use atomfeed_core::{EventRecord, FeedScope, NewEvent};
use atomfeed_server::EventFeedService;
use chrono::{DateTime, Utc};

use crate::feeds::{config, publish};

/// A store in which, before the n-th reading of the service, somebody changes the chunk length and
/// publishes.
struct Meanwhile {
    store: MemoryStore,
    reading: Arc<AtomicUsize>,
    at: usize,
}

impl Meanwhile {
    async fn happen(&self) {
        if self.reading.fetch_add(1, Ordering::SeqCst) == self.at {
            let now = DateTime::UNIX_EPOCH;
            let change = ChunkingChange::to(2);
            self.store.change_chunking(change, now).await.unwrap();
            let events = (11..=16).map(|n| NewEvent::new(n.to_string(), ""));
            publish::<MemoryHarness>(&self.store, events).await;
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
                reading: Arc::clone(&reading),
                at,
            };
            let service = EventFeedService::open(meanwhile, config()).await.unwrap();
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

#[async_trait]
impl FeedStore for Meanwhile {
    async fn chunking(&self) -> StoreResult<Option<ChunkingHistory>> {
        self.happen().await;
        self.store.chunking().await
    }

    async fn settle_chunking(
        &self,
        strategy: ChunkingStrategy,
        first: ChunkingHistoryEntry,
    ) -> StoreResult<ChunkingHistory> {
        self.store.settle_chunking(strategy, first).await
    }

    async fn change_chunking(
        &self,
        change: ChunkingChange,
        now: DateTime<Utc>,
    ) -> StoreResult<ChunkingHistoryEntry> {
        self.store.change_chunking(change, now).await
    }

    async fn records(
        &self,
        scope: &FeedScope,
        range: RecordRange,
    ) -> StoreResult<Vec<EventRecord>> {
        self.happen().await;
        self.store.records(scope, range).await
    }

    async fn records_between(
        &self,
        scope: &FeedScope,
        bounds: TimeBounds,
    ) -> StoreResult<Vec<EventRecord>> {
        self.store.records_between(scope, bounds).await
    }

    async fn count(&self, scope: &FeedScope, after: i64, through: Option<i64>) -> StoreResult<u64> {
        self.happen().await;
        self.store.count(scope, after, through).await
    }

    async fn every_nth_id(&self, scope: &FeedScope, after: i64, n: u64) -> StoreResult<Vec<i64>> {
        self.store.every_nth_id(scope, after, n).await
    }

    async fn newest_id(&self) -> StoreResult<i64> {
        self.store.newest_id().await
    }

    async fn newest_timestamp(&self) -> StoreResult<Option<DateTime<Utc>>> {
        self.store.newest_timestamp().await
    }

    async fn position_below(&self, scope: &FeedScope, count: u64) -> StoreResult<OffsetMarker> {
        self.happen().await;
        self.store.position_below(scope, count).await
    }

    async fn position_above(
        &self,
        scope: &FeedScope,
        count: u64,
    ) -> StoreResult<Option<OffsetMarker>> {
        self.happen().await;
        self.store.position_above(scope, count).await
    }

    async fn keep_positions(&self, scope: &FeedScope, kept: &[OffsetMarker]) -> StoreResult<()> {
        self.store.keep_positions(scope, kept).await
    }

    async fn sealed_until(&self) -> StoreResult<Option<DateTime<Utc>>> {
        self.store.sealed_until().await
    }

    async fn seal_until(&self, time: DateTime<Utc>) -> StoreResult<()> {
        self.store.seal_until(time).await
    }

    async fn categories(&self) -> StoreResult<Vec<String>> {
        self.store.categories().await
    }

    async fn offset_marker(&self, category: &str) -> StoreResult<Option<OffsetMarker>> {
        self.store.offset_marker(category).await
    }

    async fn write_offset_marker(&self, category: &str, marker: OffsetMarker) -> StoreResult<()> {
        self.store.write_offset_marker(category, marker).await
    }
}
