use std::collections::BTreeMap;

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
    /// Where the original's database tells spellings apart that are one feed here (`Encounter` and
    /// `encounter`), each of them gets its own, by its own events, as the original counts them.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Refused`] on time chunks, which need none. Also, once all others are written,
    /// for a category that is spelled in several ways and was pruned, or went on after a restore: how
    /// many events of each spelling are gone is not known. Else as the store has it.
    pub async fn mark_events(&self, offset_by: u64) -> StoreResult<()> {
        let feed = self.feed(&FeedScope::All).await?;
        if feed.history.strategy() != ChunkingStrategy::Number {
            let context = "writing offset markers: time chunks need none; do not schedule it";
            return Err(StoreError::new(StoreErrorKind::Refused, context));
        }
        self.mark(&FeedScope::All, "", offset_by).await?;
        let mut feeds = BTreeMap::<_, Vec<_>>::new();
        for spelling in self.store.categories().await? {
            // What cannot be a category has no feed.
            if let Ok(category) = Category::new(spelling) {
                let key = match self.store.tells_spellings_apart() {
                    true => category.folded(),
                    false => category.as_str().to_owned(),
                };
                feeds.entry(key).or_default().push(category);
            }
        }
        let mut unknown = Vec::new();
        for categories in feeds.into_values() {
            let is_one = categories.len() == 1;
            for category in categories {
                let spelling = category.to_string();
                let scope = FeedScope::Category(category);
                match is_one {
                    true => self.mark(&scope, &spelling, offset_by).await?,
                    false if self.feed(&scope).await?.has_breaks() => unknown.push(spelling),
                    false => {
                        self.mark_spelling(&feed.history, &spelling, offset_by)
                            .await?
                    }
                }
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let context = format!(
            "writing offset markers of {unknown:?}: these are spellings of one feed here and several \
             feeds to the original, and how many events of each are gone is not known; the original \
             will number their pages anew, so have their readers begin again"
        );
        Err(StoreError::new(StoreErrorKind::Refused, context))
    }

    /// By the events that are spelled just so: all of them are there.
    async fn mark_spelling(
        &self,
        history: &ChunkingHistory,
        spelling: &str,
        offset_by: u64,
    ) -> StoreResult<()> {
        let count = self.store.count_spelled(spelling).await?;
        let event_count = page_end(history, count, offset_by);
        let event_id = match event_count {
            0 => None,
            nth => self.store.nth_spelled(spelling, nth).await?,
        };
        let marker = event_id.map(|event_id| OffsetMarker {
            event_id,
            event_count,
        });
        self.write(spelling, marker.unwrap_or_default()).await
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
        self.write(key, marker).await
    }

    async fn write(&self, key: &str, marker: OffsetMarker) -> StoreResult<()> {
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
