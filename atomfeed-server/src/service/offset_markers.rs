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
        let feed = self.feed(&FeedScope::All).await?;
        if feed.history.strategy() != ChunkingStrategy::Number {
            let context = "writing offset markers: time chunks need none; do not schedule it";
            return Err(StoreError::new(StoreErrorKind::Refused, context));
        }
        self.mark(&FeedScope::All, "", offset_by).await?;
        for spelling in self.store.categories().await? {
            // What cannot be a category has no feed.
            if let Ok(category) = Category::new(spelling.as_str()) {
                let scope = FeedScope::Category(category);
                self.mark(&scope, &spelling, offset_by).await?;
            }
        }
        Ok(())
    }

    async fn mark(&self, scope: &FeedScope, key: &str, offset_by: u64) -> StoreResult<()> {
        let marker = loop {
            // From positions of our own: what stands in the table is not believed.
            let feed = self.feed(scope).await?;
            let count = self.count(&feed).await?;
            let end = page_end(&feed.history, count, offset_by);
            let last = match end {
                0 => OffsetMarker::default(),
                end => self.last_up_to(&feed, end).await?,
            };
            if !self.has_changed(&feed).await? {
                break last;
            }
        };
        if marker.event_count == 0 {
            return Ok(());
        }
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
