use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use atomfeed_core::FeedScope;
use atomfeed_core::chunking::{Chunk, ChunkingHistory, ChunkingStrategy, InvalidChunkingHistory};
use atomfeed_core::store::{Cut, FeedState, Hole, OffsetMarker, StoreError, StoreResult};

use super::EventFeedService;
use super::positions::KnownPositions;

/// A feed as its pages are reckoned at one moment.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    pub(super) scope: FeedScope,
    pub(super) history: ChunkingHistory,
    pub(super) revision: u64,
    /// Where the pages begin that are kept.
    pub(super) cut: Cut,
    /// Ascending, with an event between one and the next; none ends below the cut.
    holes: Vec<Hole>,
    pub(super) positions: KnownPositions,
}

impl Feed {
    /// The hole in which a position lies.
    pub(super) fn hole_at(&self, position: u64) -> Option<&Hole> {
        let mut holes = self.holes.iter();
        holes.find(|hole| position > hole.after && position <= hole.end.event_count)
    }

    /// The hole that begins behind a position of a chunk.
    pub(super) fn hole_behind(&self, chunk: Chunk) -> Option<&Hole> {
        let within = chunk.start.unsigned_abs()..chunk.end.unsigned_abs();
        self.holes.iter().find(|hole| within.contains(&hole.after))
    }

    /// The break that is nearest below a position, or at it, of which is known how many events are
    /// below; else the beginning.
    pub(super) fn floor(&self, position: u64) -> OffsetMarker {
        self.last_break(|end| end.event_count <= position)
    }

    /// The same by the id of an event.
    pub(super) fn floor_of_id(&self, id: i64) -> OffsetMarker {
        self.last_break(|end| end.event_id <= id)
    }

    fn last_break(&self, is_below: impl Fn(&OffsetMarker) -> bool) -> OffsetMarker {
        let ends = self.holes.iter().map(|hole| hole.end);
        let below = ends.chain([self.cut.before]).filter(is_below);
        below.max_by_key(|end| end.event_count).unwrap_or_default()
    }

    /// The last position that has an event, when the feed has come to `count`.
    pub(super) fn last_position(&self, count: u64) -> u64 {
        let hole = self.holes.iter().find(|hole| hole.end.event_count == count);
        hole.map_or(count, |hole| hole.after)
    }

    /// The number of the page that holds a position.
    pub(super) fn page_of(&self, position: u64) -> Option<u64> {
        let position = i64::try_from(position).ok().filter(|point| *point > 0)?;
        self.history.number_of(position)
    }

    /// The page before the one that begins with a position.
    pub(super) fn page_before(&self, start: u64) -> Option<u64> {
        let last = start.saturating_sub(1);
        match self.hole_at(last) {
            Some(hole) => self.page_of(hole.after),
            None => self.page_of(last),
        }
    }

    /// Whether positions are passed over, or the events of some are gone.
    pub(super) fn has_breaks(&self) -> bool {
        !self.holes.is_empty() || self.cut.page > 0
    }

    /// Whether page `number` was pruned.
    pub(super) fn is_pruned(&self, number: u64) -> bool {
        number < self.cut.page
    }
}

/// Feeds as they were when they were last reckoned. Most stay so, and that they do is asked once what was
/// read of one is there.
#[derive(Debug, Default)]
pub(super) struct KnownFeeds(Mutex<HashMap<FeedScope, Feed>>);

/// Who asks for feeds that nobody has ever published to must not fill the memory.
const MAX_KNOWN: usize = 1_000;

impl KnownFeeds {
    fn get(&self, scope: &FeedScope) -> Option<Feed> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(scope).cloned()
    }

    fn put(&self, feed: &Feed) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(feed.scope.clone(), feed.clone());
    }
}

impl EventFeedService {
    /// A feed as it was last; what is read of it counts once it [has not changed](Self::has_changed).
    pub(super) async fn known_feed(&self, scope: &FeedScope) -> StoreResult<Feed> {
        match self.known.get(scope) {
            Some(feed) => Ok(feed),
            None => self.feed(scope).await,
        }
    }

    /// A feed as it is now.
    pub(super) async fn feed(&self, scope: &FeedScope) -> StoreResult<Feed> {
        let FeedState { history, revision } = self.store.feed_state().await?;
        self.saw_revision(revision);
        // Opening settled it; somebody may have removed the rows since.
        let history = history.ok_or_else(|| StoreError::from(InvalidChunkingHistory::Empty))?;
        let mut feed = Feed {
            scope: scope.clone(),
            history,
            revision,
            cut: Cut::default(),
            holes: Vec::new(),
            positions: KnownPositions::default(),
        };
        if revision > 0 {
            self.read_breaks(&mut feed).await?;
        }
        self.known.put(&feed);
        Ok(feed)
    }

    /// Whether what `feed` is reckoned from is no longer so. What was read since may have been deleted
    /// meanwhile, or have come after a change of the chunk length and been cut as before it.
    pub(super) async fn has_changed(&self, feed: &Feed) -> StoreResult<bool> {
        let now = self.store.feed_state().await?;
        self.saw_revision(now.revision);
        Ok(now.revision != feed.revision || now.history.as_ref() != Some(&feed.history))
    }

    async fn read_breaks(&self, feed: &mut Feed) -> StoreResult<()> {
        if feed.history.strategy() == ChunkingStrategy::Time {
            // Pages of time are the same for all feeds.
            let breaks = self.store.breaks(&FeedScope::All).await?;
            feed.cut = breaks.cut.unwrap_or_default();
            return Ok(());
        }
        let breaks = self.store.breaks(&feed.scope).await?;
        feed.cut = breaks.cut.unwrap_or_default();
        let cut = feed.cut.before;
        for jump in breaks.jumps {
            let mut kept = breaks.holes.iter().copied();
            let hole = match kept.find(|hole| hole.end.event_id == jump.event_id) {
                Some(hole) => hole,
                // Nothing is left to reckon it from, nor a page that names one before it.
                None if jump.event_id <= cut.event_id => continue,
                None => self.find_hole(feed, jump.event_id, jump.lost).await?,
            };
            match feed.holes.last_mut() {
                // Nothing came between.
                Some(last) if last.end.event_count == hole.after => last.end = hole.end,
                _ => feed.holes.push(hole),
            }
        }
        let holes = feed.holes.iter().copied();
        let holes = holes.filter(|hole| hole.end.event_count >= cut.event_count);
        feed.holes = holes.collect();
        Ok(())
    }

    /// Reckons which positions the lost events may have had in a feed: no more than all that were lost,
    /// and none on the page behind them.
    async fn find_hole(&self, feed: &Feed, event_id: i64, lost: u64) -> StoreResult<Hole> {
        let floor = feed.floor_of_id(event_id);
        let since = self
            .store
            .count(&feed.scope, floor.event_id, Some(event_id))
            .await?;
        let after = floor.event_count + since;
        let chunk = feed
            .page_of(after + lost)
            .and_then(|number| feed.history.chunk(number));
        let last = chunk.map_or(after + lost, |chunk| chunk.end.unsigned_abs() - 1);
        let hole = Hole {
            after,
            end: OffsetMarker {
                event_id,
                event_count: last,
            },
        };
        if self.has_changed(feed).await? {
            // Reckoned anew by who reads the feed again; what is kept must be right.
            return Ok(hole);
        }
        self.store.keep_hole(&feed.scope, hole).await?;
        Ok(hole)
    }
}
