use std::error::Error as StdError;
use std::fmt;

use crate::{FailedEvent, FeedUri, InvalidEvent, Marker};

/// What a store answers.
pub type StoreResult<T> = Result<T, StoreError>;

/// What went wrong in a store: its meaning, what was being done, and the cause.
///
/// One concrete type for all stores, so that no database library is part of this crate's interface.
pub struct StoreError {
    kind: StoreErrorKind,
    context: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What a [`StoreError`] means to who gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The database cannot be reached, did not answer in time, has ended the connection, takes no writes, or has
    /// no room or no connection left; trying again later may help.
    Unavailable,
    /// Somebody else moved the marker, took the feed, or went first with another transaction. Read again,
    /// then decide.
    Conflict,
    /// The failed event is not parked any more: somebody else has dealt with it.
    NotParked,
    /// An event with this uuid is there already.
    Duplicate,
    /// What was asked for is not allowed; the message says what is. Nothing was written.
    Refused,
    /// The tables hold something that this library cannot make sense of.
    InvalidData,
    /// The database refused a statement.
    Database,
    /// The transaction is one in which a statement has failed, and nothing of it will last: whoever
    /// was lent its connection has passed over the error. PostgreSQL alone.
    Aborted,
    /// The transaction is not the one that was opened any more: whoever was lent its connection has
    /// ended it, by a COMMIT or ROLLBACK, by a statement that commits on its own (DDL on MariaDB), or
    /// by passing over a deadlock. What was written on it may last, or some of it.
    Broken,
}

impl StoreError {
    /// An action is in another state than it was read in.
    pub(crate) fn action_conflict(id: i64) -> Self {
        let context = format!(
            "writing down how far action {id} has come: somebody else was first; see what it says now"
        );
        Self::new(StoreErrorKind::Conflict, context)
    }

    /// An error without a cause. `context` says what was being done, to what, and what can be done.
    pub fn new(kind: StoreErrorKind, context: impl Into<String>) -> Self {
        Self {
            kind,
            context: context.into(),
            source: None,
        }
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the error means.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Somebody else pruned the feeds, or had them go on after a restore, meanwhile.
    pub(crate) fn revised(doing: &str) -> Self {
        let context = format!("{doing}: another process has changed their breaks; try again");
        Self::new(StoreErrorKind::Conflict, context)
    }

    /// There are ids as great as the one to continue after.
    pub(crate) fn has_come_to(id: i64, last: i64) -> Self {
        let context = format!(
            "continuing after event id {id}: the events here have come to id {last} already; give the \
             greatest id that any consumer may have seen"
        );
        Self::new(StoreErrorKind::Refused, context)
    }

    /// Somebody else moved the marker first.
    pub(crate) fn marker_conflict(to: &Marker) -> Self {
        Self::new(
            StoreErrorKind::Conflict,
            format!(
                "moving the marker of {}: another consumer has moved it meanwhile; read it again, \
                 and see that one consumer at a time follows this feed",
                to.feed_uri()
            ),
        )
    }

    /// Somebody else has taken a feed.
    pub(crate) fn claim_lost(feed_uri: &FeedUri) -> Self {
        Self::new(
            StoreErrorKind::Conflict,
            format!(
                "following {feed_uri}: another consumer has taken over this feed meanwhile; nothing more \
                 is applied here; see that one consumer at a time follows it, or have one stand by"
            ),
        )
    }

    /// The transaction was ended by who was lent its connection.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
    pub(crate) fn broken() -> Self {
        let context = "taking the transaction back from the worker: it was ended there, by a COMMIT or \
                       ROLLBACK, a statement that commits on its own (DDL on MariaDB), or a deadlock \
                       whose error was passed over; have the worker leave it open and return its errors";
        Self::new(StoreErrorKind::Broken, context)
    }

    /// Somebody else took the failed event first.
    pub(crate) fn not_parked(failed: &FailedEvent) -> Self {
        Self::new(
            StoreErrorKind::NotParked,
            format!(
                "retrying event {} of {}: it is not parked any more; another consumer or a person \
                 has dealt with it meanwhile",
                failed.event.id(),
                failed.event.feed_uri()
            ),
        )
    }
}

/// Whether an error, or what caused it, is one of a database that may be gone when it is tried again: the
/// database does not answer, shuts down, starts or takes no writes, has no room or no connection left; or
/// another transaction was in the way and went first (a deadlock). A lock on a row that was not had in time is
/// none: it is in the way of one event, and not of the next.
pub fn is_transient(error: &(dyn StdError + 'static)) -> bool {
    matches!(
        kind_of(error),
        Some(StoreErrorKind::Unavailable | StoreErrorKind::Conflict)
    )
}

/// Whether an error, or what caused it, is one with which MariaDB or SQLite may roll all of a transaction back:
/// whoever returns it has not ended the transaction.
pub fn may_end_transaction(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
        if let Some(error) = error.downcast_ref() {
            return super::sql::may_end_transaction(error);
        }
        cause = error.source();
    }
    false
}

fn kind_of(error: &(dyn StdError + 'static)) -> Option<StoreErrorKind> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<StoreError>().map(StoreError::kind);
        #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
        let kind = kind.or_else(|| error.downcast_ref().map(super::sql::kind_of));
        if kind.is_some() {
            return kind;
        }
        cause = error.source();
    }
    None
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreError")
            .field("kind", &self.kind)
            .field("context", &self.context)
            .field("source", &self.source)
            .finish()
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<InvalidEvent> for StoreError {
    fn from(invalid: InvalidEvent) -> Self {
        Self::new(
            StoreErrorKind::Refused,
            "publishing an event that no page could carry",
        )
        .caused_by(invalid)
    }
}
