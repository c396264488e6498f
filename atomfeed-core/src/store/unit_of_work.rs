use std::collections::HashSet;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{ActionStore, Claim, ClaimStore, FailureStore, StatusStore, StoreResult};
use crate::{
    Action, EntryId, Event, FailedEvent, FailedEventRetryLog, Failure, FeedUri, Marker, Place,
    Rebase, Rebased,
};

/// A consumer's database: opens transactions.
#[async_trait]
pub trait ConsumerStore: Send + Sync + 'static {
    /// What the worker is lent: `sqlx::SqliteConnection`, say. A worker for another database does
    /// not compile.
    type Conn: ?Sized + Send + 'static;

    /// Opens a transaction.
    ///
    /// # Errors
    ///
    /// When the database cannot be reached, or stays locked for longer than it waits.
    ///
    /// # Cancel safety
    ///
    /// Nothing stays open when the future is dropped.
    async fn begin(&self) -> StoreResult<Box<dyn UnitOfWork<Conn = Self::Conn>>>;

    /// Whether one transaction writes at a time, so that several at once only wait for each other.
    fn writes_one_at_a_time(&self) -> bool {
        false
    }

    /// What is asked for of a feed, in a transaction of its own; stores override this where they can read
    /// without one.
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin) and [`ActionStore::open_actions`].
    async fn open_actions(&self, feed_uri: &FeedUri) -> StoreResult<Vec<Action>> {
        let mut work = self.begin().await?;
        let open = work.open_actions(feed_uri).await?;
        work.rollback().await?;
        Ok(open)
    }

    /// How far a feed has been read, in a transaction of its own; stores override this where they
    /// can read without one.
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin) and [`MarkerStore::marker`].
    async fn marker(&self, feed_uri: &FeedUri) -> StoreResult<Option<Marker>> {
        let mut work = self.begin().await?;
        let marker = work.marker(feed_uri).await?;
        work.rollback().await?;
        Ok(marker)
    }
}

/// One open transaction. What is dropped without [`commit`](Self::commit) is rolled back.
#[async_trait]
pub trait UnitOfWork:
    MarkerStore + FailedEventStore + FailureStore + ActionStore + ClaimStore + StatusStore + Send
{
    /// What the worker is lent.
    type Conn: ?Sized + Send + 'static;

    /// The connection on which this transaction is open, to be lent to a worker. Until it is
    /// [taken back](Self::take_back), what the worker does with it is unknown: dropped before, the
    /// connection is closed.
    fn conn(&mut self) -> &mut Self::Conn;

    /// Takes the connection back from a worker that says it is done, and sees whether the transaction
    /// is still the one that was opened: a savepoint of ours, which stands at its beginning, is
    /// released.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Aborted`](super::StoreErrorKind::Aborted) when the worker has passed over the
    /// error of a statement; it is undone, all of it.
    /// [`StoreErrorKind::Broken`](super::StoreErrorKind::Broken) when the worker has ended the
    /// transaction: parts of it may last. Else as the database has it.
    async fn take_back(&mut self) -> StoreResult<()>;

    /// [Moves a marker](MarkerStore::move_marker) while its feed is
    /// [claimed as it was](super::ClaimStore::keep_claim); stores override this where one statement does
    /// both.
    ///
    /// # Errors
    ///
    /// As either.
    async fn move_claimed_marker(
        &mut self,
        claim: &Claim,
        from: Option<&Marker>,
        to: &Marker,
    ) -> StoreResult<()> {
        self.keep_claim(to.feed_uri(), claim).await?;
        self.move_marker(from, to).await
    }

    /// Makes all of it last, or none of it.
    ///
    /// # Errors
    ///
    /// As the database has it. After an error it is unknown whether it lasts: read the marker
    /// before anything is done again.
    ///
    /// # Cancel safety
    ///
    /// As after an error: when the future is dropped, it is unknown.
    async fn commit(self: Box<Self>) -> StoreResult<()>;

    /// Undoes all of it.
    ///
    /// # Errors
    ///
    /// As the database has it; nothing lasts then either.
    async fn rollback(self: Box<Self>) -> StoreResult<()>;
}

/// The markers: how far each feed has been read (table `markers`).
#[async_trait]
pub trait MarkerStore: Send {
    /// The marker of a feed. Columns that hold NULL or an empty text are read as nothing.
    ///
    /// # Errors
    ///
    /// This and every other call: as the database has it.
    async fn marker(&mut self, feed_uri: &FeedUri) -> StoreResult<Option<Marker>>;

    /// All markers, in the order of their feeds.
    async fn markers(&mut self) -> StoreResult<Vec<Marker>>;

    /// Moves a marker that stands where `from` says, or makes it where there is none.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Conflict`](super::StoreErrorKind::Conflict) when it stands elsewhere: two
    /// consumers can not both move it.
    async fn move_marker(&mut self, from: Option<&Marker>, to: &Marker) -> StoreResult<()>;

    /// Puts another address in the place of one, wherever it is that of a feed or of its page: in
    /// markers, in what is parked and in its retries, and in what is kept besides. What is parked keeps
    /// its id, its key and its time. Who follows such a feed is told, by losing its
    /// [claim](super::ClaimStore).
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Refused`](super::StoreErrorKind::Refused) when a feed of the new address has a
    /// marker already, or a column cannot hold the address; roll back then.
    async fn rebase(&mut self, rebase: &Rebase) -> StoreResult<Rebased>;

    /// What a [`rebase`](Self::rebase) would put another address in the place of: only read, without a lock.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Refused`](super::StoreErrorKind::Refused) when it would be refused.
    async fn would_rebase(&mut self, rebase: &Rebase) -> StoreResult<Rebased>;
}

/// The events that failed and wait (tables `failed_events`, `failed_event_retry_log`).
#[async_trait]
pub trait FailedEventStore: Send {
    /// Parks an event with its first failure, with no retries, and says under which id.
    ///
    /// # Errors
    ///
    /// This and every other call: as the database has it.
    async fn park(&mut self, event: &Event, failure: &Failure) -> StoreResult<i64>;

    /// Gives a parked event its place: what it holds back, and when it is to be tried again. For one that
    /// is not parked any more it does nothing.
    async fn place(&mut self, feed_uri: &FeedUri, id: i64, place: &Place) -> StoreResult<()>;

    /// Which of these keys parked events of a feed have.
    async fn held_keys(
        &mut self,
        feed_uri: &FeedUri,
        keys: &[&str],
    ) -> StoreResult<HashSet<String>>;

    /// Failed events in the order in which they were parked; each [`Event::is_retry`]. Rows of another program
    /// that make no event (an empty `event_id`) are passed over;
    /// [`FailureStore::failures`](super::FailureStore::failures) names them.
    async fn failed_events(&mut self, query: &FailedEventQuery) -> StoreResult<Vec<FailedEvent>>;

    /// How many events of a feed are parked.
    async fn failed_event_count(&mut self, feed_uri: &FeedUri) -> StoreResult<u64>;

    /// Writes down that a retry failed: one more retry, one more row in the retry log.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::NotParked`](super::StoreErrorKind::NotParked) when the event is not parked
    /// any more.
    async fn record_failed_retry(
        &mut self,
        failed: &FailedEvent,
        failure: &Failure,
    ) -> StoreResult<()>;

    /// Removes a failed event that has succeeded, and its rows in the retry log.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::NotParked`](super::StoreErrorKind::NotParked) when it is not parked any
    /// more.
    async fn remove_failed_event(&mut self, failed: &FailedEvent) -> StoreResult<()>;

    /// The retries of an event of a feed that failed, oldest first.
    async fn retry_log(
        &mut self,
        feed_uri: &FeedUri,
        event_id: &EntryId,
    ) -> StoreResult<Vec<FailedEventRetryLog>>;
}

/// Which failed events to read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedEventQuery {
    /// Those of this feed.
    pub feed_uri: FeedUri,
    /// Only ids above this.
    pub after: i64,
    /// Only those that were tried again less often than this.
    pub retries_below: Option<u32>,
    /// At most so many.
    pub limit: u32,
    /// Only these of them.
    pub selection: FailedEventSelection,
}

/// Which of a feed's failed events are meant, by their [`Place`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum FailedEventSelection {
    /// All of them.
    #[default]
    All,
    /// Those that have no place yet.
    Unplaced,
    /// Those that are due by this time, and of whose key none is parked before them.
    DueBy(DateTime<Utc>),
    /// Those with this key.
    OfKey(String),
}

impl FailedEventQuery {
    /// All failed events of a feed, the first hundred of them.
    pub fn of(feed_uri: FeedUri) -> Self {
        Self {
            feed_uri,
            after: 0,
            retries_below: None,
            limit: 100,
            selection: FailedEventSelection::All,
        }
    }

    /// Only these of them.
    #[must_use]
    pub fn select(mut self, selection: FailedEventSelection) -> Self {
        self.selection = selection;
        self
    }

    /// Only ids above this: the last one of the page before.
    #[must_use]
    pub fn after(mut self, id: i64) -> Self {
        self.after = id;
        self
    }

    /// Only those that were tried again less often than this.
    #[must_use]
    pub fn retries_below(mut self, retries: Option<u32>) -> Self {
        self.retries_below = retries;
        self
    }

    /// At most so many.
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }
}
