use atomfeed_core::FeedScope;
use atomfeed_core::chunking::ChunkingStrategy;

use super::EventFeedService;
use crate::FeedError;

impl EventFeedService {
    /// The number of the oldest page of a feed that there is: where a reader begins that wants all of it,
    /// and that would otherwise walk back from the newest. `None` for a feed without events, which
    /// with time chunks has pages all the same.
    ///
    /// # Errors
    ///
    /// [`FeedError::Store`] when the store fails.
    pub async fn oldest_page(&self, scope: &FeedScope) -> Result<Option<u64>, FeedError> {
        let mut feed = self.known_feed(scope).await?;
        loop {
            let cut = feed.cut.page.max(1);
            let oldest = match feed.history.strategy() {
                ChunkingStrategy::Time => Some(cut),
                ChunkingStrategy::Number => {
                    let start = feed.history.chunk(cut);
                    let start = start.map_or(1, |chunk| chunk.start.unsigned_abs());
                    // Nothing may be left of the first pages.
                    let start = feed
                        .hole_at(start)
                        .map_or(start, |hole| hole.end.event_count + 1);
                    let events = self.events_from(&feed, start, 1).await?;
                    events.first().and_then(|_| feed.page_of(start))
                }
            };
            if !self.has_changed(&feed).await? {
                return Ok(oldest);
            }
            feed = self.feed(scope).await?;
        }
    }
}
