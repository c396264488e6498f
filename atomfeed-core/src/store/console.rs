use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{
    ActionStore, ClaimStore, FailedEventStore, FailureStore, MarkerStore, StatusStore, StoreResult,
};

/// A database as those see it who look after it: whatever its connections are.
#[async_trait]
pub trait ConsoleStore: Send + Sync + 'static {
    /// Opens a transaction that reads, and keeps nobody from writing.
    ///
    /// # Errors
    ///
    /// When the database cannot be reached.
    ///
    /// # Cancel safety
    ///
    /// This and every other: nothing stays open when the future is dropped.
    async fn look(&self) -> StoreResult<Box<dyn Records>>;

    /// Opens a transaction that writes.
    ///
    /// # Errors
    ///
    /// Also when the database stays locked for longer than it waits.
    async fn change(&self) -> StoreResult<Box<dyn Records>>;

    /// What the database publishes.
    ///
    /// # Errors
    ///
    /// As the database has it.
    async fn publishing(&self) -> StoreResult<Publishing>;

    /// Whether these are tables of another program.
    fn is_adopted(&self) -> bool;

    /// Whether the tables count the retries of what is parked (column `failed_events.retries`), for whoever tries
    /// it again to heed. The earliest of the original's do not.
    fn counts_retries(&self) -> bool {
        true
    }

    /// Whether they keep the retries that failed (table `failed_event_retry_log`).
    fn keeps_retry_log(&self) -> bool {
        true
    }
}

/// An open transaction, without its connection: what a [`UnitOfWork`](super::UnitOfWork) is to those who
/// lend it to no worker. What is dropped without [`commit`](Self::commit) is rolled back.
#[async_trait]
pub trait Records:
    MarkerStore + FailedEventStore + FailureStore + ActionStore + ClaimStore + StatusStore + Send
{
    /// Makes all of it last, or none of it.
    ///
    /// # Errors
    ///
    /// As the database has it. After an error it is unknown whether it lasts.
    async fn commit(self: Box<Self>) -> StoreResult<()>;
}

/// What a database publishes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Publishing {
    /// Whether it has the tables for that.
    pub is_there: bool,
    /// The greatest id of an event; 0 when there is none.
    pub newest_id: i64,
    /// When that was published.
    pub newest_at: Option<DateTime<Utc>>,
    /// How many were published and are on no page yet.
    pub queued: u64,
    /// How many cannot be moved onto a page.
    pub set_aside: u64,
    /// Those that were set aside last, the newest first.
    pub last_set_aside: Vec<SetAside>,
}

/// What was published and cannot be moved onto a page: a row of `atomfeed_set_aside`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAside {
    /// Its id in the queue (column `queue_id`).
    pub queue_id: i64,
    /// When (column `set_aside_at`).
    pub at: DateTime<Utc>,
    /// Why (column `error`).
    pub error: String,
    /// Column `uuid`.
    pub uuid: String,
    /// Column `title`.
    pub title: String,
}

impl SetAside {
    /// A row with these values.
    pub fn new(
        queue_id: i64,
        at: DateTime<Utc>,
        error: String,
        uuid: String,
        title: String,
    ) -> Self {
        Self {
            queue_id,
            at,
            error,
            uuid,
            title,
        }
    }
}
