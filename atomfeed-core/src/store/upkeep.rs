use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{OffsetMarker, StoreResult};
use crate::FeedScope;
use crate::chunking::ChunkingHistory;

/// How pages were rendered before.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RenderedBefore {
    /// At the same public URL, with something else.
    Otherwise,
    /// At this public URL, which is not the one that is theirs now.
    At(String),
}

/// Keeps a feed in shape over the years: removes what is old, and goes on after a restore, without any
/// page getting another number or another content.
///
/// Both make that the positions of a feed do not run from 1 on without a break; see [`Breaks`].
#[async_trait]
pub trait UpkeepStore: Send + Sync + 'static {
    /// How the feeds are cut, and how often their breaks have changed.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::InvalidData`](super::StoreErrorKind::InvalidData) when the rows of
    /// `chunking_history` make no sense. This and every other call: as the database has it.
    async fn feed_state(&self) -> StoreResult<FeedState>;

    /// Where the positions of a feed do not run on; nothing, where the revision is 0.
    async fn breaks(&self, scope: &FeedScope) -> StoreResult<Breaks>;

    /// Keeps a hole of a feed; one that is kept for the same jump stays.
    async fn keep_hole(&self, scope: &FeedScope, hole: Hole) -> StoreResult<()>;

    /// Raises cuts that are not as high yet, in one transaction, and the revision with them. Positions below them are forgotten.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Conflict`](super::StoreErrorKind::Conflict) when the revision is not the one
    /// that was read before the cuts were reckoned; nothing is kept then.
    /// [`StoreErrorKind::Refused`](super::StoreErrorKind::Refused) on tables that may not be pruned.
    async fn keep_cuts(&self, cuts: &[(FeedScope, Cut)], revision: u64) -> StoreResult<()>;

    /// The first id of a feed whose event was published at or after a time.
    async fn first_id_since(
        &self,
        scope: &FeedScope,
        time: DateTime<Utc>,
    ) -> StoreResult<Option<i64>>;

    /// Events that may be below a cut, in the order of their ids: at most `limit`, with ids above
    /// `after` and up to `through`.
    async fn old_events(&self, after: i64, through: i64, limit: u32) -> StoreResult<Vec<OldEvent>>;

    /// Deletes events, by their ids, which ascend. All of them, or, on an error, none.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Refused`](super::StoreErrorKind::Refused) on tables that may not be pruned.
    async fn delete_events(&self, ids: &[i64]) -> StoreResult<()>;

    /// Keeps at which public URL pages are rendered, and with what, and says how that was when it was kept
    /// last, if it was otherwise: caches may hold such pages for ever.
    async fn keep_fingerprint(
        &self,
        public_url: &str,
        fingerprint: &str,
    ) -> StoreResult<Option<RenderedBefore>>;

    /// Gives every later event an id above `id`, and writes down the jump, which is a break in every
    /// feed. Done already, it does nothing.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Refused`](super::StoreErrorKind::Refused) when there are events with ids as
    /// great, or another program gives events their ids.
    async fn continue_after(&self, id: i64) -> StoreResult<()>;
}

/// What a page is reckoned from; when it is the same before and after the reading of a page, the page is
/// as it was reckoned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedState {
    /// The chunking history; `None` while the feed has none.
    pub history: Option<ChunkingHistory>,
    /// Greater after each change of any [`Breaks`]; 0 when there are none.
    pub revision: u64,
}

/// Where the positions of a feed do not run on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Breaks {
    /// The end of what was pruned.
    pub cut: Option<Cut>,
    /// Jumps of the ids, ascending: each makes a hole in every feed.
    pub jumps: Vec<Jump>,
    /// The holes of this feed that were kept, ascending.
    pub holes: Vec<Hole>,
}

/// Where the pages of a feed begin that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cut {
    /// The first page that is kept; 0 or 1 when all are.
    pub page: u64,
    /// The last event before it. On time chunks, which know no positions, it stays (0, 0).
    pub before: OffsetMarker,
}

/// Events with ids up to `event_id` were lost, `lost` of them at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// Every later event has a greater id.
    pub event_id: i64,
    /// How many ids were passed over.
    pub lost: u64,
}

/// Positions that may have had events once, which were lost, and will have none again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// The last position before the hole; 0 when there is none.
    pub after: u64,
    /// Its own last position, which is the last of a page, and the id that the jump ended with.
    pub end: OffsetMarker,
}

/// What must be known of an event to say whether it is on a page that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldEvent {
    /// Column `id`.
    pub id: i64,
    /// Column `category`.
    pub category: Option<String>,
    /// Column `timestamp`.
    pub timestamp: DateTime<Utc>,
}
