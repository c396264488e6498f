use atomfeed_core::FeedScope;
use atomfeed_core::chunking::{Chunk, ChunkingHistory};
use atomfeed_core::store::StoreResult;
use chrono::{DateTime, Utc};

use super::EventFeedService;
use crate::page::PageContent;

impl EventFeedService {
    pub(super) async fn recent_by_number(
        &self,
        scope: &FeedScope,
        history: &ChunkingHistory,
    ) -> StoreResult<PageContent> {
        let mut newest = self.count(scope).await?;
        loop {
            let number = i64::try_from(newest)
                .ok()
                .and_then(|newest| history.number_of(newest));
            let chunk = number.and_then(|number| history.chunk(number));
            let Some(chunk) = chunk.filter(|_| newest > 0) else {
                return Ok(empty(self.clock.now()));
            };
            match self.read_chunk(scope, chunk).await? {
                // Events came meanwhile, and this page is not the newest any more.
                Some(content) if content.sealed => newest = chunk.end.unsigned_abs(),
                Some(content) => return Ok(content),
                None => return Ok(empty(self.clock.now())),
            }
        }
    }

    pub(super) async fn page_by_number(
        &self,
        scope: &FeedScope,
        history: &ChunkingHistory,
        number: u64,
    ) -> StoreResult<Option<PageContent>> {
        match history.chunk(number) {
            Some(chunk) => self.read_chunk(scope, chunk).await,
            None => Ok(None),
        }
    }

    /// The page of a chunk; `None` when no event is on it yet.
    async fn read_chunk(
        &self,
        scope: &FeedScope,
        chunk: Chunk,
    ) -> StoreResult<Option<PageContent>> {
        let (first, length) = (chunk.start.unsigned_abs(), chunk.end.abs_diff(chunk.start));
        // One more than the page holds: whether there is one says, in the same reading, whether the
        // page has a successor.
        let mut records = self
            .events_from(scope, first, length.saturating_add(1))
            .await?;
        let Some(newest) = records.last() else {
            return Ok(None);
        };
        let updated_if_empty = newest.timestamp;
        let sealed = records.len() as u64 > length;
        records.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(Some(PageContent {
            number: chunk.number,
            has_previous: chunk.number > 1,
            sealed,
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
        has_previous: false,
        sealed: false,
        records: Vec::new(),
        updated_if_empty: midnight,
    }
}
