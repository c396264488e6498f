use atomfeed_core::chunking::{ChunkingHistory, ChunkingStrategy};
use atomfeed_core::store::{OffsetMarker, RecordRange, StoreError, StoreErrorKind, StoreResult};
use atomfeed_core::{Category, FeedScope};

use super::EventFeedService;

impl EventFeedService {
    /// Writes the original library's offset markers (`event_records_offset_marker`): for all
    /// events, and for each category, how many there are up to a page's end that lies at least
    /// `offset_by` ids back. For who hands the tables back to the original; this library keeps
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
        let offset_by = i64::try_from(offset_by).unwrap_or(i64::MAX);
        let through = self.store.newest_id().await?.saturating_sub(offset_by);
        self.mark(&FeedScope::All, "", through, &history).await?;
        for spelling in self.store.categories().await? {
            // What cannot be a category has no feed.
            if let Ok(category) = Category::new(spelling.as_str()) {
                let scope = FeedScope::Category(category);
                self.mark(&scope, &spelling, through, &history).await?;
            }
        }
        Ok(())
    }

    async fn mark(
        &self,
        scope: &FeedScope,
        key: &str,
        through: i64,
        history: &ChunkingHistory,
    ) -> StoreResult<()> {
        let before = self.store.offset_marker(key).await?.unwrap_or_default();
        let since = self
            .store
            .count(scope, before.event_id, Some(through))
            .await?;
        let count = last_page_end(history, before.event_count + since);
        if count <= before.event_count {
            return Ok(());
        }
        let range = RecordRange {
            after: before.event_id,
            through: Some(through),
            skip: count - before.event_count - 1,
            limit: 1,
        };
        match self.store.records(scope, range).await?.first() {
            Some(record) => {
                let marker = OffsetMarker {
                    event_id: record.id,
                    event_count: count,
                };
                self.store.write_offset_marker(key, marker).await
            }
            None => Ok(()),
        }
    }
}

/// The greatest position at or below `count` with which a page ends.
fn last_page_end(history: &ChunkingHistory, count: u64) -> u64 {
    let next = i64::try_from(count).unwrap_or(i64::MAX - 1) + 1;
    let chunk = history
        .number_of(next)
        .and_then(|number| history.chunk(number));
    chunk.map_or(0, |chunk| chunk.start.unsigned_abs() - 1)
}
