use atomfeed_core::chunking::Chunk;
use atomfeed_core::store::StoreResult;
use chrono::{DateTime, Utc};

use super::EventFeedService;
use super::feed::Feed;
use crate::FeedError;
use crate::page::PageContent;

impl EventFeedService {
    pub(super) async fn recent_by_number(&self, feed: &Feed) -> StoreResult<PageContent> {
        let mut newest = feed.last_position(self.count(feed).await?);
        loop {
            let number = feed.page_of(newest);
            let chunk = number.and_then(|number| feed.history.chunk(number));
            let Some(chunk) = chunk else {
                return Ok(empty(self.clock.now()));
            };
            match self.read_chunk(feed, chunk).await? {
                // Events came meanwhile, and this page is not the newest any more.
                Some(PageContent {
                    next: Some(next), ..
                }) => {
                    let next = feed.history.chunk(next);
                    newest = next.map_or(newest, |next| next.start.unsigned_abs());
                }
                Some(content) => return Ok(content),
                None => return Ok(empty(self.clock.now())),
            }
        }
    }

    /// `None` when there is no such page.
    pub(super) async fn page_by_number(
        &self,
        feed: &Feed,
        number: u64,
    ) -> Result<Option<PageContent>, FeedError> {
        let Some(chunk) = feed.history.chunk(number) else {
            return Ok(None);
        };
        if let Some(hole) = feed.hole_at(chunk.start.unsigned_abs()) {
            return Err(FeedError::Lost {
                scope: feed.scope.clone(),
                asked: number.to_string(),
                before: feed.page_of(hole.after).unwrap_or_default(),
                next: feed.page_of(hole.end.event_count + 1).unwrap_or_default(),
            });
        }
        Ok(self.read_chunk(feed, chunk).await?)
    }

    /// The page of a chunk that does not begin in a hole; `None` when no event is on it yet.
    async fn read_chunk(&self, feed: &Feed, chunk: Chunk) -> StoreResult<Option<PageContent>> {
        let first = chunk.start.unsigned_abs();
        let hole = feed.hole_behind(chunk);
        // One more than the page holds: whether there is one says, in the same reading, whether the
        // page has a successor. Where the rest of the page was lost, that is further on.
        let end = hole.map_or(chunk.end.unsigned_abs(), |hole| hole.after + 1);
        let length = end - first;
        let mut records = self
            .events_from(feed, first, length.saturating_add(1))
            .await?;
        let Some(newest) = records.last() else {
            return Ok(None);
        };
        let updated_if_empty = newest.timestamp;
        let next = match hole {
            None => chunk.number.checked_add(1),
            Some(hole) => feed.page_of(hole.end.event_count + 1),
        };
        let next = next.filter(|_| records.len() as u64 > length);
        records.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(Some(PageContent {
            number: chunk.number,
            previous: feed.page_before(first),
            next,
            sealed: next.is_some(),
            position: Some(first + (records.len() as u64).saturating_sub(1)),
            records,
            updated_if_empty,
        }))
    }
}

/// The page of a feed without events.
fn empty(now: DateTime<Utc>) -> PageContent {
    let midnight = now.date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
    PageContent {
        number: 0,
        previous: None,
        next: None,
        sealed: false,
        records: Vec::new(),
        position: Some(0),
        updated_if_empty: midnight,
    }
}
