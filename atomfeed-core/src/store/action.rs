use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::StoreResult;
use crate::{Action, ActionProgress, ActionState, EntryId, Event, FeedUri, NewAction};

/// What was asked of consumers, and what came of it (table `atomfeed_actions`, of our own).
#[async_trait]
pub trait ActionStore: Send {
    /// Writes down what is asked for, with how far it has come, and says under which id.
    ///
    /// # Errors
    ///
    /// This and every other call: as the database has it.
    async fn ask(&mut self, action: &NewAction, progress: &ActionProgress) -> StoreResult<i64>;

    /// One of them.
    async fn action(&mut self, id: i64) -> StoreResult<Option<Action>>;

    /// Those of a feed that are [open](ActionState::is_open), in the order in which they were asked for; the
    /// first hundred.
    async fn open_actions(&mut self, feed_uri: &FeedUri) -> StoreResult<Vec<Action>>;

    /// The newest first.
    async fn actions(&mut self, query: &ActionQuery) -> StoreResult<Vec<Action>>;

    /// Writes down how far one has come that is in the state `from`.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Conflict`](super::StoreErrorKind::Conflict) when it is in another state: somebody
    /// else was first.
    async fn advance(
        &mut self,
        id: i64,
        from: ActionState,
        progress: &ActionProgress,
    ) -> StoreResult<()>;

    /// Calls one off that is open, whatever state it is in, and leaves everything else that is written down of
    /// it as it is. False when it is not open any more.
    async fn call_off(&mut self, id: i64, said: &str, at: DateTime<Utc>) -> StoreResult<bool>;
}

/// Which actions to read. Of long details, and of what was before, the beginning is read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActionQuery {
    /// Only those of this feed.
    pub feed_uri: Option<FeedUri>,
    /// Only those with this parked event; it takes the feed, too, and the id of the event: under the number of one
    /// that is gone may be another.
    pub failed_event_id: Option<i64>,
    /// Only those with an event of this id.
    pub event_id: Option<EntryId>,
    /// Only ids below this: the last one of the page before.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

impl ActionQuery {
    /// The newest, at most so many.
    pub fn newest(limit: u32) -> Self {
        Self {
            feed_uri: None,
            failed_event_id: None,
            event_id: None,
            before: None,
            limit,
        }
    }

    /// Only those of a feed.
    #[must_use]
    pub fn of_feed(mut self, feed_uri: FeedUri) -> Self {
        self.feed_uri = Some(feed_uri);
        self
    }

    /// Only those with a parked event, by its number in `failed_events` and what it is.
    #[must_use]
    pub fn of_event(mut self, failed_event_id: i64, event: &Event) -> Self {
        self.failed_event_id = Some(failed_event_id);
        self.event_id = Some(event.id().clone());
        self.of_feed(event.feed_uri().clone())
    }

    /// Only ids below this: the last one of the page before.
    #[must_use]
    pub fn before(mut self, id: Option<i64>) -> Self {
        self.before = id;
        self
    }
}
