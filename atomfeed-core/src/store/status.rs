use async_trait::async_trait;
use chrono::{DateTime, DurationRound, TimeDelta, Utc};

use super::StoreResult;
use crate::{EntryId, FeedUri};

/// How far a feed was followed when it was looked at last (table `atomfeed_feed_status`): for those who
/// watch. Nothing is decided by it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedStatus {
    /// The feed.
    pub feed_uri: FeedUri,
    /// When it was looked at.
    pub seen_at: Option<DateTime<Utc>>,
    /// The newest page there was, by its own URL.
    pub head_page: Option<String>,
    /// The newest event there was.
    pub head_entry_id: Option<EntryId>,
    /// How many events were ahead of the marker, where the server says.
    pub events_behind: Option<u64>,
    /// How many pages were ahead of that on which the marker stood.
    pub pages_behind: Option<u64>,
    /// When the first event ahead of the marker was published; `None` when there is none.
    pub behind_since: Option<DateTime<Utc>>,
    /// When the feed was read to its head last.
    pub succeeded_at: Option<DateTime<Utc>>,
    /// When reading it was ended by an error last.
    pub failed_at: Option<DateTime<Utc>>,
    /// What that error was.
    pub error_message: Option<String>,
}

impl FeedStatus {
    /// A status that says nothing yet.
    pub fn new(feed_uri: FeedUri) -> Self {
        Self {
            feed_uri,
            seen_at: None,
            head_page: None,
            head_entry_id: None,
            events_behind: None,
            pages_behind: None,
            behind_since: None,
            succeeded_at: None,
            failed_at: None,
            error_message: None,
        }
    }
}

/// What became of a feed's events in one minute (table `atomfeed_feed_minutes`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MinuteCounts {
    /// Where the minute begins.
    pub minute: DateTime<Utc>,
    /// How many were applied, at once or when they were tried again.
    pub applied: u64,
    /// How many the worker ignored.
    pub ignored: u64,
    /// How many failed, for the first time or again.
    pub failed: u64,
    /// How many were parked behind one of the same key that has failed.
    pub held: u64,
}

impl MinuteCounts {
    /// For how long counts are kept: 24 hours.
    pub const KEPT: TimeDelta = TimeDelta::hours(24);

    /// No events yet, in the minute of this time.
    pub fn at(time: DateTime<Utc>) -> Self {
        Self {
            minute: time.duration_trunc(TimeDelta::minutes(1)).unwrap_or(time),
            applied: 0,
            ignored: 0,
            failed: 0,
            held: 0,
        }
    }
}

/// What is kept for those who watch consumers (tables `atomfeed_feed_status` and
/// `atomfeed_feed_minutes`, of our own).
#[async_trait]
pub trait StatusStore: Send {
    /// Writes down the status of a feed, instead of what it was.
    ///
    /// # Errors
    ///
    /// This and every other call: as the database has it.
    async fn put_status(&mut self, status: &FeedStatus) -> StoreResult<()>;

    /// The status of every feed, in the order of their addresses.
    async fn statuses(&mut self) -> StoreResult<Vec<FeedStatus>>;

    /// Adds to the counts of a minute, and forgets those that are older than
    /// [is kept](MinuteCounts::KEPT).
    async fn add_counts(&mut self, feed_uri: &FeedUri, counts: &MinuteCounts) -> StoreResult<()>;

    /// The counts of a feed from a minute on, in the order of time; minutes without events are left out.
    async fn counts(
        &mut self,
        feed_uri: &FeedUri,
        since: DateTime<Utc>,
    ) -> StoreResult<Vec<MinuteCounts>>;
}
