//! A store of which each step can be counted, held up, or preceded by something that others do.

use async_trait::async_trait;
use atomfeed_core::chunking::{
    ChunkingChange, ChunkingHistory, ChunkingHistoryEntry, ChunkingStrategy,
};
use atomfeed_core::store::{
    Breaks, Cut, FeedState, FeedStore, Hole, MemoryStore, NewestEvent, NewsListener, OffsetMarker,
    OldEvent, RecordRange, RenderedBefore, StoreError, StoreErrorKind, StoreResult, TimeBounds,
    UpkeepStore,
};
use atomfeed_core::{Category, EventRecord, FeedScope};
use chrono::{DateTime, Utc};

/// What comes before each step that a service asks of its store, by the name of the function.
#[async_trait]
pub(crate) trait Steps: Send + Sync + 'static {
    async fn before(&self, step: &'static str);

    /// Whether the database is away.
    fn is_away(&self) -> bool {
        false
    }
}

pub(crate) struct Stepped<S> {
    pub(crate) store: MemoryStore,
    pub(crate) steps: S,
}

#[async_trait]
impl<S: Steps> UpkeepStore for Stepped<S> {
    async fn feed_state(&self) -> StoreResult<FeedState> {
        self.steps.before("feed_state").await;
        self.store.feed_state().await
    }

    async fn breaks(&self, scope: &FeedScope) -> StoreResult<Breaks> {
        self.steps.before("breaks").await;
        self.store.breaks(scope).await
    }

    async fn keep_hole(&self, scope: &FeedScope, hole: Hole) -> StoreResult<()> {
        self.steps.before("keep_hole").await;
        self.store.keep_hole(scope, hole).await
    }

    async fn keep_cuts(&self, cuts: &[(FeedScope, Cut)], revision: u64) -> StoreResult<()> {
        self.steps.before("keep_cuts").await;
        self.store.keep_cuts(cuts, revision).await
    }

    async fn first_id_since(
        &self,
        scope: &FeedScope,
        time: DateTime<Utc>,
    ) -> StoreResult<Option<i64>> {
        self.steps.before("first_id_since").await;
        self.store.first_id_since(scope, time).await
    }

    async fn old_events(&self, after: i64, through: i64, limit: u32) -> StoreResult<Vec<OldEvent>> {
        self.steps.before("old_events").await;
        self.store.old_events(after, through, limit).await
    }

    async fn keep_fingerprint(
        &self,
        public_url: &str,
        fingerprint: &str,
    ) -> StoreResult<Option<RenderedBefore>> {
        self.store.keep_fingerprint(public_url, fingerprint).await
    }

    async fn delete_events(&self, ids: &[i64]) -> StoreResult<()> {
        self.steps.before("delete_events").await;
        self.store.delete_events(ids).await
    }

    async fn continue_after(&self, id: i64) -> StoreResult<()> {
        self.steps.before("continue_after").await;
        self.store.continue_after(id).await
    }
}

#[async_trait]
impl<S: Steps> FeedStore for Stepped<S> {
    async fn settle_chunking(
        &self,
        strategy: ChunkingStrategy,
        first: ChunkingHistoryEntry,
    ) -> StoreResult<ChunkingHistory> {
        self.steps.before("settle_chunking").await;
        self.store.settle_chunking(strategy, first).await
    }

    async fn change_chunking(
        &self,
        change: ChunkingChange,
        now: DateTime<Utc>,
    ) -> StoreResult<ChunkingHistoryEntry> {
        self.steps.before("change_chunking").await;
        self.store.change_chunking(change, now).await
    }

    async fn records(
        &self,
        scope: &FeedScope,
        range: RecordRange,
    ) -> StoreResult<Vec<EventRecord>> {
        self.steps.before("records").await;
        if self.steps.is_away() {
            return Err(StoreError::new(StoreErrorKind::Unavailable, "it is away"));
        }
        self.store.records(scope, range).await
    }

    async fn records_between(
        &self,
        scope: &FeedScope,
        bounds: TimeBounds,
    ) -> StoreResult<Vec<EventRecord>> {
        self.steps.before("records_between").await;
        self.store.records_between(scope, bounds).await
    }

    async fn count(&self, scope: &FeedScope, after: i64, through: Option<i64>) -> StoreResult<u64> {
        self.steps.before("count").await;
        self.store.count(scope, after, through).await
    }

    async fn every_nth_id(&self, scope: &FeedScope, after: i64, n: u64) -> StoreResult<Vec<i64>> {
        self.steps.before("every_nth_id").await;
        self.store.every_nth_id(scope, after, n).await
    }

    async fn newest_id(&self) -> StoreResult<i64> {
        self.steps.before("newest_id").await;
        self.store.newest_id().await
    }

    async fn newest_timestamp(&self) -> StoreResult<Option<DateTime<Utc>>> {
        self.steps.before("newest_timestamp").await;
        self.store.newest_timestamp().await
    }

    async fn position_below(&self, scope: &FeedScope, count: u64) -> StoreResult<OffsetMarker> {
        self.steps.before("position_below").await;
        self.store.position_below(scope, count).await
    }

    async fn position_above(
        &self,
        scope: &FeedScope,
        count: u64,
    ) -> StoreResult<Option<OffsetMarker>> {
        self.steps.before("position_above").await;
        self.store.position_above(scope, count).await
    }

    async fn keep_positions(
        &self,
        scope: &FeedScope,
        kept: &[OffsetMarker],
        revision: u64,
    ) -> StoreResult<()> {
        self.steps.before("keep_positions").await;
        self.store.keep_positions(scope, kept, revision).await
    }

    async fn sealed_until(&self) -> StoreResult<Option<DateTime<Utc>>> {
        self.steps.before("sealed_until").await;
        self.store.sealed_until().await
    }

    async fn seal_until(&self, time: DateTime<Utc>) -> StoreResult<()> {
        self.steps.before("seal_until").await;
        self.store.seal_until(time).await
    }

    async fn categories(&self) -> StoreResult<Vec<String>> {
        self.steps.before("categories").await;
        self.store.categories().await
    }

    async fn newest_event(&self) -> StoreResult<Option<NewestEvent>> {
        self.steps.before("newest_event").await;
        if self.steps.is_away() {
            return Err(StoreError::new(StoreErrorKind::Unavailable, "it is away"));
        }
        self.store.newest_event().await
    }

    async fn listen(&self) -> StoreResult<Box<dyn NewsListener>> {
        self.steps.before("listen").await;
        self.store.listen().await
    }

    fn one_spelling(&self, category: &Category) -> Category {
        self.store.one_spelling(category)
    }

    fn tells_spellings_apart(&self) -> bool {
        self.store.tells_spellings_apart()
    }

    async fn count_spelled(&self, category: &str) -> StoreResult<u64> {
        self.steps.before("count_spelled").await;
        self.store.count_spelled(category).await
    }

    async fn nth_spelled(&self, category: &str, n: u64) -> StoreResult<Option<i64>> {
        self.steps.before("nth_spelled").await;
        self.store.nth_spelled(category, n).await
    }

    async fn offset_marker(&self, category: &str) -> StoreResult<Option<OffsetMarker>> {
        self.steps.before("offset_marker").await;
        self.store.offset_marker(category).await
    }

    async fn write_offset_marker(&self, category: &str, marker: OffsetMarker) -> StoreResult<()> {
        self.steps.before("write_offset_marker").await;
        self.store.write_offset_marker(category, marker).await
    }
}
