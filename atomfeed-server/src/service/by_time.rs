use atomfeed_core::FeedScope;
use atomfeed_core::chunking::{Chunk, ChunkingHistory, InvalidChunkingHistory};
use atomfeed_core::store::{StoreError, StoreResult, TimeBounds};
use chrono::{DateTime, Utc};

use super::EventFeedService;
use super::feed::Feed;
use crate::page::PageContent;

impl EventFeedService {
    pub(super) async fn recent_by_time(&self, feed: &Feed) -> StoreResult<PageContent> {
        let present = self.end_past_chunks(&feed.history).await?;
        self.read_time(&feed.scope, present, present.number).await
    }

    pub(super) async fn page_by_time(
        &self,
        feed: &Feed,
        number: u64,
    ) -> StoreResult<Option<PageContent>> {
        let Feed { scope, history, .. } = feed;
        let Some(chunk) = history.chunk(number) else {
            return Ok(None);
        };
        // A chunk that has ended is read without a lock.
        let sealed_until = self.store.sealed_until().await?;
        if sealed_until.is_some_and(|sealed_until| sealed_until >= time(chunk.end)) {
            return self.read_time(scope, chunk, number + 1).await.map(Some);
        }
        let present = self.end_past_chunks(history).await?;
        if number <= present.number {
            return self.read_time(scope, chunk, present.number).await.map(Some);
        }
        Ok(None)
    }

    /// The chunk of the present, once those before it have ended.
    ///
    /// A page that readers may leave behind must be complete. So before the present chunk, or one
    /// before it, is read, the past ones end under the lock under which events get their times.
    pub(super) async fn end_past_chunks(&self, history: &ChunkingHistory) -> StoreResult<Chunk> {
        let sealed_until = self.store.sealed_until().await?;
        let newest = self.store.newest_timestamp().await?;
        // The clock may have jumped back; events and ended chunks have not.
        let present = sealed_until.max(newest).max(Some(self.clock.now()));
        let millis = present.map_or(0, |present| present.timestamp_millis());
        let chunk = history
            .chunk(history.number_of(millis).unwrap_or(1))
            .ok_or_else(|| StoreError::from(InvalidChunkingHistory::Empty))?;
        if chunk.number > 1 {
            let start = time(chunk.start);
            if sealed_until.is_none_or(|sealed_until| sealed_until < start) {
                self.store.seal_until(start).await?;
            }
        }
        Ok(chunk)
    }

    async fn read_time(
        &self,
        scope: &FeedScope,
        chunk: Chunk,
        present: u64,
    ) -> StoreResult<PageContent> {
        // What was published before the history begins is on the first page.
        let start = (chunk.number > 1).then(|| time(chunk.start));
        let bounds = TimeBounds {
            start,
            end: time(chunk.end),
        };
        let sealed = chunk.number < present;
        Ok(PageContent {
            number: chunk.number,
            previous: Some(chunk.number - 1).filter(|previous| *previous > 0),
            next: Some(chunk.number + 1).filter(|_| sealed),
            sealed,
            records: self.store.records_between(scope, bounds).await?,
            position: None,
            updated_if_empty: time(chunk.start),
        })
    }
}

pub(super) fn time(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
