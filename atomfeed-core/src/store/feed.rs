use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{HearsNothing, NewsListener, StoreResult, UpkeepStore};
use crate::chunking::{ChunkingChange, ChunkingHistory, ChunkingHistoryEntry, ChunkingStrategy};
use crate::{Category, EventRecord, FeedScope};

/// "Up to and including `event_id` there are `event_count` events": what makes positions cheap.
///
/// The shape of a row of `event_records_offset_marker`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OffsetMarker {
    /// The id of an event of the feed; 0 stands before the first.
    pub event_id: i64,
    /// How many events of the feed have an id up to and including it.
    pub event_count: u64,
}

/// Which rows of a feed to read, in the order of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRange {
    /// Only ids above this.
    pub after: i64,
    /// Only ids up to and including this.
    pub through: Option<i64>,
    /// So many of them are passed over.
    pub skip: u64,
    /// At most so many are read.
    pub limit: u64,
}

/// Which times of a feed to read: from `start` on, before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeBounds {
    /// The first time; `None` for all that is before `end`.
    pub start: Option<DateTime<Utc>>,
    /// The first time that is not meant any more.
    pub end: DateTime<Utc>,
}

/// The newest of all events: as long as it stays, so do the feeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewestEvent {
    /// Column `id`.
    pub id: i64,
    /// Column `uuid`: after a restore from a backup, another event may have the same id.
    pub uuid: String,
}

/// Reads published events by position, and keeps what makes that cheap.
///
/// Only committed events are seen, and an event, once seen, is seen by every later call: ids become
/// visible in order. What is done with these primitives is written once, in `atomfeed-server`.
#[async_trait]
pub trait FeedStore: UpkeepStore {
    /// Settles how the feed is chunked, unless it is settled, and says how that is.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Refused`](super::StoreErrorKind::Refused) when the feed is chunked by the
    /// other strategy.
    async fn settle_chunking(
        &self,
        strategy: ChunkingStrategy,
        first: ChunkingHistoryEntry,
    ) -> StoreResult<ChunkingHistory>;

    /// Adds a row to the chunking history, under the lock that keeps events from being published
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// As [`ChunkingChange::plan`]: nothing is written then.
    async fn change_chunking(
        &self,
        change: ChunkingChange,
        now: DateTime<Utc>,
    ) -> StoreResult<ChunkingHistoryEntry>;

    /// The rows of a feed in a range of ids.
    async fn records(&self, scope: &FeedScope, range: RecordRange)
    -> StoreResult<Vec<EventRecord>>;

    /// The rows of a feed in a range of times, in the order of their ids.
    async fn records_between(
        &self,
        scope: &FeedScope,
        bounds: TimeBounds,
    ) -> StoreResult<Vec<EventRecord>>;

    /// How many rows of a feed have an id above `after`, and up to and including `through`.
    async fn count(&self, scope: &FeedScope, after: i64, through: Option<i64>) -> StoreResult<u64>;

    /// The ids of every `n`-th row of a feed above `after`: the n-th, the 2n-th, …
    async fn every_nth_id(&self, scope: &FeedScope, after: i64, n: u64) -> StoreResult<Vec<i64>>;

    /// The newest id of all events; 0 when there is none.
    async fn newest_id(&self) -> StoreResult<i64>;

    /// The newest of all events. Stores override this where they can read it at once.
    async fn newest_event(&self) -> StoreResult<Option<NewestEvent>> {
        let id = self.newest_id().await?;
        let range = RecordRange {
            after: id.saturating_sub(1),
            through: Some(id),
            skip: 0,
            limit: 1,
        };
        let mut found = self.records(&FeedScope::All, range).await?;
        Ok(found
            .pop()
            .map(|EventRecord { id, uuid, .. }| NewestEvent { id, uuid }))
    }

    /// Listens for new events of other processes, and of other stores in this one. It is not all that
    /// may come: see [`NewsListener::heard`]. Unless it is written otherwise, nothing is heard.
    ///
    /// # Errors
    ///
    /// As the database has it.
    async fn listen(&self) -> StoreResult<Box<dyn NewsListener>> {
        Ok(Box::new(HearsNothing))
    }

    /// Of the spellings of a category that are one feed, one that is the same for all of them. Unless
    /// it is written otherwise, that in lower case.
    fn one_spelling(&self, category: &Category) -> Category {
        category.in_lower_case()
    }

    /// The newest time of all events.
    async fn newest_timestamp(&self) -> StoreResult<Option<DateTime<Utc>>>;

    /// The kept position with the greatest count at or below `count`; the default (0, 0) when none
    /// is kept.
    async fn position_below(&self, scope: &FeedScope, count: u64) -> StoreResult<OffsetMarker>;

    /// The kept position with the smallest count at or above `count`.
    async fn position_above(
        &self,
        scope: &FeedScope,
        count: u64,
    ) -> StoreResult<Option<OffsetMarker>>;

    /// Both: the kept position with the greatest count at or below `below`, and that with the smallest
    /// at or above `above`; stores override this where they can read them at once.
    async fn positions_around(
        &self,
        scope: &FeedScope,
        below: u64,
        above: u64,
    ) -> StoreResult<(OffsetMarker, Option<OffsetMarker>)> {
        Ok((
            self.position_below(scope, below).await?,
            self.position_above(scope, above).await?,
        ))
    }

    /// Keeps positions; those that are kept already stay. Nothing is kept when the revision
    /// ([`FeedState::revision`](super::FeedState::revision)) is not the one that was read before they
    /// were reckoned: events may have been deleted meanwhile.
    async fn keep_positions(
        &self,
        scope: &FeedScope,
        positions: &[OffsetMarker],
        revision: u64,
    ) -> StoreResult<()>;

    /// The time before which time chunks have ended.
    async fn sealed_until(&self) -> StoreResult<Option<DateTime<Utc>>>;

    /// Ends all time chunks before `time`, under the lock under which events get their times: when
    /// this returns, no event can be published before `time` any more, and every one that was is
    /// seen.
    async fn seal_until(&self, time: DateTime<Utc>) -> StoreResult<()>;

    /// The categories that occur, as they are spelled, in any order.
    async fn categories(&self) -> StoreResult<Vec<String>>;

    /// Whether spellings of a category that are one feed here are told apart by whoever compares them
    /// as the database does: the original library.
    fn tells_spellings_apart(&self) -> bool;

    /// How many rows have a category that the database holds for equal to this one; all of them are
    /// gone through.
    async fn count_spelled(&self, category: &str) -> StoreResult<u64>;

    /// The id of the `n`-th of these rows; the first is 1.
    async fn nth_spelled(&self, category: &str, n: u64) -> StoreResult<Option<i64>>;

    /// The row of `event_records_offset_marker` for a category as it is spelled, or for all events
    /// (`""`).
    async fn offset_marker(&self, category: &str) -> StoreResult<Option<OffsetMarker>>;

    /// Writes that row; there is one per category.
    async fn write_offset_marker(&self, category: &str, marker: OffsetMarker) -> StoreResult<()>;
}
