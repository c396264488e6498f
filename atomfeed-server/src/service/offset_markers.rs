use atomfeed_core::chunking::{ChunkingHistory, ChunkingStrategy};
use atomfeed_core::store::{OffsetMarker, StoreError, StoreErrorKind, StoreResult};
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
        // From positions of our own: what stands in the table is not believed.
        let count = self.count(scope).await?;
        let end = page_end(history, count, offset_by);
        if end == 0 {
            return Ok(());
        }
        let last = self.events_from(scope, end, 1).await?;
        let Some(record) = last.first() else {
            return Ok(());
        };
        let marker = OffsetMarker {
            event_id: record.id,
            event_count: end,
        };
        match self.store.offset_marker(key).await? {
            Some(found) if found == marker => Ok(()),
            _ => self.store.write_offset_marker(key, marker).await,
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
