use std::collections::HashMap;

use atomfeed_core::chunking::{ChunkingHistory, ChunkingStrategy};
use atomfeed_core::store::{Cut, OldEvent, StoreError, StoreErrorKind, StoreResult};
use atomfeed_core::{Category, FeedScope};
use chrono::{DateTime, Utc};

use super::EventFeedService;
use super::by_time::time;
use super::feed::Feed;
use crate::FeedError;
use crate::page::PageContent;

/// How many events are looked at, and then deleted, at a time.
const BATCH: u32 = 1_000;

/// What [`EventFeedService::prune`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Pruned {
    /// So many events were deleted.
    pub events: u64,
    /// The oldest page of the feed of all events that is kept.
    pub first_page: u64,
}

impl EventFeedService {
    /// Deletes old events. Of each feed, that of all events and that of every category, the first page
    /// that has an event published at or after `before` is kept, whole, and every page after it; of a
    /// feed that has none, the newest page. An event goes only if it is on no kept page of any feed.
    ///
    /// Kept pages stay as they are, byte for byte, and so do the numbers of pages. A page that was
    /// pruned is [`FeedError::Pruned`], 410 over HTTP; see also
    /// [`FeedConfig::with_empty_page_before_the_oldest`](crate::FeedConfig::with_empty_page_before_the_oldest).
    /// Feeds may be read and events published meanwhile. Cut off, the next call goes on.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Refused`] on adopted tables, unless the adoption allows it
    /// (`Adoption::pruning`); else as the store has it.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, some of the events may have been deleted, and those of no kept page.
    pub async fn prune(&self, before: DateTime<Utc>) -> StoreResult<Pruned> {
        let all = loop {
            match self.raise_cuts(before).await {
                Ok(()) => break self.feed(&FeedScope::All).await?,
                // Somebody else has raised them meanwhile.
                Err(error) if error.kind() == StoreErrorKind::Conflict => continue,
                Err(error) => return Err(error),
            }
        };
        let events = match all.history.strategy() {
            ChunkingStrategy::Number => self.delete_below_cuts(&all).await?,
            ChunkingStrategy::Time => self.delete_older_than(&all).await?,
        };
        Ok(Pruned {
            events,
            first_page: all.cut.page.max(1),
        })
    }

    /// Has ids and page numbers go on above `id`, the greatest that any consumer may have seen: after a
    /// restore from a backup that was older than what consumers have read. No page that they may have
    /// read gets an event that it did not have: a page on which no event is left that it may have held is
    /// [`FeedError::Lost`], 410 over HTTP, and new events begin on a page after all of these. Call it
    /// before anything is published. Done already, it does nothing.
    ///
    /// Of each feed one page at most was lost in part. It is served under its number with what is left of
    /// it, the beginning, and once there are new events, with a link to the page on which they begin. If
    /// it had a successor before, its bytes are others now: empty the caches in front of the feed.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Refused`] when there are events with ids as great, another program gives events
    /// their ids, or the feed has time chunks; else as the store has it.
    pub async fn continue_after(&self, id: i64) -> StoreResult<()> {
        let history = self.history().await?;
        if history.strategy() == ChunkingStrategy::Time {
            let context = format!(
                "continuing after event id {id}: the feed has time chunks, whose pages are numbered by \
                 the clock, and ids do not matter to them; have consumers begin anew at the page of \
                 the time of the backup"
            );
            return Err(StoreError::new(StoreErrorKind::Refused, context));
        }
        self.store.continue_after(id).await?;
        // Reckons it for all events; those of categories are when they are asked for.
        self.feed(&FeedScope::All).await.map(drop)
    }

    /// What stands for a page that was pruned.
    pub(super) async fn pruned(&self, feed: &Feed, number: u64) -> Result<PageContent, FeedError> {
        let first = feed.history.chunk(feed.cut.page);
        let is_next = match feed.history.strategy() {
            ChunkingStrategy::Time => number + 1 == feed.cut.page,
            ChunkingStrategy::Number => {
                let start = first.map(|chunk| chunk.start.unsigned_abs());
                start.and_then(|start| feed.page_before(start)) == Some(number)
            }
        };
        let Some(first) = first.filter(|_| is_next && self.config.empty_page_before_the_oldest)
        else {
            return Err(FeedError::Pruned {
                scope: feed.scope.clone(),
                asked: number.to_string(),
                first: feed.cut.page,
            });
        };
        let updated_if_empty = match feed.history.strategy() {
            ChunkingStrategy::Time => time(first.start),
            ChunkingStrategy::Number => {
                let position = first.start.unsigned_abs();
                let oldest = self.events_from(feed, position, 1).await?;
                oldest
                    .first()
                    .map_or(DateTime::UNIX_EPOCH, |record| record.timestamp)
            }
        };
        Ok(PageContent {
            number,
            previous: None,
            next: Some(feed.cut.page),
            sealed: false,
            records: Vec::new(),
            position: None,
            updated_if_empty,
        })
    }

    /// Writes down which pages are kept, before anything is deleted.
    async fn raise_cuts(&self, before: DateTime<Utc>) -> StoreResult<()> {
        let all = self.feed(&FeedScope::All).await?;
        let mut cuts = Vec::new();
        match all.history.strategy() {
            ChunkingStrategy::Time => {
                let page = self.page_of_time(&all.history, before).await?;
                let cut = Cut {
                    page,
                    ..Cut::default()
                };
                cuts.extend((page > all.cut.page.max(1)).then_some((FeedScope::All, cut)));
            }
            ChunkingStrategy::Number => {
                let mut scopes = vec![FeedScope::All];
                for spelling in self.store.categories().await? {
                    // What cannot be a category has no feed.
                    scopes.extend(Category::new(spelling).ok().map(FeedScope::Category));
                }
                for scope in scopes {
                    let feed = self.feed(&scope).await?;
                    let cut = self.cut_before(&feed, before).await?;
                    cuts.extend(cut.map(|cut| (scope, cut)));
                }
            }
        }
        self.store.keep_cuts(&cuts, all.revision).await
    }

    /// The page of time chunks that holds a time of the past.
    async fn page_of_time(
        &self,
        history: &ChunkingHistory,
        time: DateTime<Utc>,
    ) -> StoreResult<u64> {
        let present = self.end_past_chunks(history).await?;
        let page = history.number_of(time.timestamp_millis()).unwrap_or(1);
        Ok(page.min(present.number))
    }

    /// The cut that keeps the first page with an event at or after `before`, if it is a new one.
    async fn cut_before(&self, feed: &Feed, before: DateTime<Utc>) -> StoreResult<Option<Cut>> {
        // Before it is asked for old events: what comes in between is newer than they, and stays.
        let newest = feed.last_position(self.count(feed).await?);
        let position = match self.store.first_id_since(&feed.scope, before).await? {
            Some(id) => {
                let floor = feed.floor_of_id(id);
                let through = self.store.count(&feed.scope, floor.event_id, Some(id));
                floor.event_count + through.await?
            }
            None => newest,
        };
        let page = feed.page_of(position);
        let chunk = page.and_then(|page| feed.history.chunk(page));
        let Some(chunk) = chunk.filter(|chunk| chunk.number > feed.cut.page.max(1)) else {
            return Ok(None);
        };
        Ok(Some(Cut {
            page: chunk.number,
            before: self
                .last_up_to(feed, chunk.start.unsigned_abs() - 1)
                .await?,
        }))
    }

    /// Deletes events that are below the cut of all events, and below that of their category.
    async fn delete_below_cuts(&self, all: &Feed) -> StoreResult<u64> {
        let through = all.cut.before.event_id;
        let mut cuts: HashMap<Option<String>, i64> = HashMap::from([(None, through)]);
        let (mut after, mut deleted) = (i64::MIN, 0);
        loop {
            let old = self.store.old_events(after, through, BATCH).await?;
            let Some(last) = old.last() else {
                return Ok(deleted);
            };
            after = last.id;
            let mut gone = Vec::new();
            for OldEvent { id, category, .. } in old {
                let cut = match cuts.get(&category) {
                    Some(cut) => *cut,
                    None => {
                        let cut = self.cut_of(category.as_deref(), through).await?;
                        cuts.insert(category, cut);
                        cut
                    }
                };
                gone.extend((id <= cut).then_some(id));
            }
            self.store.delete_events(&gone).await?;
            deleted += gone.len() as u64;
        }
    }

    /// The id up to which no event of a category is on a page that is kept.
    async fn cut_of(&self, category: Option<&str>, of_all: i64) -> StoreResult<i64> {
        // What cannot be a category has no feed of its own.
        let Some(Ok(category)) = category.map(Category::new) else {
            return Ok(of_all);
        };
        let breaks = self.store.breaks(&FeedScope::Category(category)).await?;
        let cut = breaks.cut.unwrap_or_default();
        Ok(cut.before.event_id)
    }

    /// Deletes events of time chunks that are below the cut.
    async fn delete_older_than(&self, all: &Feed) -> StoreResult<u64> {
        let Some(first) = all.history.chunk(all.cut.page) else {
            return Ok(0);
        };
        let (mut after, mut deleted) = (i64::MIN, 0);
        loop {
            let old = self.store.old_events(after, i64::MAX, BATCH).await?;
            let Some(last) = old.last() else {
                return Ok(deleted);
            };
            after = last.id;
            let gone = old.iter().filter(|old| old.timestamp < time(first.start));
            let gone: Vec<_> = gone.map(|old| old.id).collect();
            self.store.delete_events(&gone).await?;
            deleted += gone.len() as u64;
        }
    }
}
