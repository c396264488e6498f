use atomfeed_core::chunking::{ChunkingHistory, ChunkingStrategy};
use atomfeed_core::store::{OffsetMarker, RecordRange, StoreError, StoreErrorKind, StoreResult};
use atomfeed_core::{Category, FeedScope};

use super::EventFeedService;

impl EventFeedService {
    /// Writes the original library's offset markers (`event_records_offset_marker`): for all
    /// events, and for each category, the end of the page that holds the event `offset_by` events
    /// before the newest. For who hands the tables back to the original; this library keeps
    /// positions of its own and does not read them.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Refused`] on time chunks, which need none; else as the store has it.
    pub async fn mark_events(&self, offset_by: u64) -> StoreResult<()> {
        let history = self.history().await?;
        if history.strategy() != ChunkingStrategy::Number {
            let context = "writing offset markers: time chunks need none; do not schedule it";
            return Err(StoreError::new(StoreErrorKind::Refused, context));
        }
        self.mark(&FeedScope::All, "", offset_by, &history).await?;
        for spelling in self.store.categories().await? {
            // What cannot be a category has no feed.
            if let Ok(category) = Category::new(spelling.as_str()) {
                let scope = FeedScope::Category(category);
                self.mark(&scope, &spelling, offset_by, &history).await?;
            }
        }
        Ok(())
    }

    async fn mark(
        &self,
        scope: &FeedScope,
        key: &str,
        offset_by: u64,
        history: &ChunkingHistory,
    ) -> StoreResult<()> {
        let before = self.store.offset_marker(key).await?.unwrap_or_default();
        let since = self.store.count(scope, before.event_id, None).await?;
        let end = page_end(history, before.event_count + since, offset_by);
        let Some(skip) = end.checked_sub(before.event_count + 1) else {
            return Ok(());
        };
        let range = RecordRange {
            after: before.event_id,
            through: None,
            skip,
            limit: 1,
        };
        match self.store.records(scope, range).await?.first() {
            Some(record) => {
                let marker = OffsetMarker {
                    event_id: record.id,
                    event_count: end,
                };
                self.store.write_offset_marker(key, marker).await
            }
            None => Ok(()),
        }
    }
}

/// The last position of the page that holds position `count - offset_by`, or of the one before it,
/// where that page is not full yet; 0 when there is none.
fn page_end(history: &ChunkingHistory, count: u64, offset_by: u64) -> u64 {
    let position = i64::try_from(count.saturating_sub(offset_by)).unwrap_or(i64::MAX);
    let chunk = history
        .number_of(position)
        .and_then(|number| history.chunk(number));
    match chunk.map(|chunk| (chunk.start.unsigned_abs() - 1, chunk.end.unsigned_abs() - 1)) {
        Some((_, end)) if end <= count => end,
        Some((before, _)) => before,
        None => 0,
    }
}
