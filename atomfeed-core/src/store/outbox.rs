use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{StoreError, StoreErrorKind, StoreResult};
use crate::NewEvent;
use crate::chunking::{
    ChunkingHistory, ChunkingHistoryEntry, ChunkingStrategy, InvalidChunkingHistory,
};

/// Takes events in, inside a transaction of the application's own.
#[async_trait]
pub trait OutboxStore: Send + Sync + 'static {
    /// A connection, or an open transaction, of the application: `sqlx::SqliteConnection`, say.
    type Conn: ?Sized + Send + 'static;

    /// Writes an event on `conn`. It is published when, and only when, what `conn` has open
    /// commits.
    ///
    /// `now` is the time of publishing, unless the event brings one.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Refused`] when [`NewEvent::validate`] refuses the event, or it is to be
    /// published at a time whose page has ended; [`StoreErrorKind::Duplicate`] when its uuid is
    /// there already (one that was drawn at random is not looked for everywhere); nothing is written then. Else as the database has it.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the event may or may not have been written on `conn`: roll
    /// back what is open there.
    async fn publish(
        &self,
        conn: &mut Self::Conn,
        event: &NewEvent,
        now: DateTime<Utc>,
    ) -> StoreResult<()>;
}

/// A transaction of the application's own, to be committed by who must know when that is done.
#[async_trait]
pub trait OpenTransaction: Send {
    /// Makes all of it last, or none of it.
    ///
    /// # Errors
    ///
    /// As the database has it; it is then unknown whether it lasts.
    async fn commit(self) -> StoreResult<()>;
}

/// Moves events that were published into a queue to where feeds read them.
///
/// Ids are handed out before a transaction commits, so that a reader of "all ids above the last"
/// would miss the one that commits late. So where transactions write at the same time, events are
/// published into a queue, and moved on from there by one at a time.
#[async_trait]
pub trait SequencedStore: Send + Sync + 'static {
    /// Moves up to `limit` queued events, in the order of the queue's ids, in one transaction and
    /// under the lock under which events get their ids and times. What cannot be moved is set aside
    /// with the reason: a row that its table refuses. Several may call this at once, from any process:
    /// one works at a time.
    ///
    /// # Errors
    ///
    /// As the database has it, where it is not one row that ails; nothing has moved then, nor been set
    /// aside.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, all of them have moved, or none.
    async fn sequence(&self, limit: u32, now: DateTime<Utc>) -> StoreResult<Sequenced>;

    /// How many published events wait to be moved. It may take long where they are many.
    ///
    /// # Errors
    ///
    /// As the database has it.
    async fn queued(&self) -> StoreResult<u64>;
}

/// What a call of [`SequencedStore::sequence`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Sequenced {
    /// So many events were moved, and are on feeds now.
    pub moved: u64,
    /// So many could not be moved, and were set aside.
    pub set_aside: u64,
    /// Whether there may be more in the queue.
    pub more: bool,
}

/// What a store must know, under the lock under which events get their ids, to give an event its
/// time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SequenceState {
    /// How the feed is chunked, once that was settled.
    pub strategy: Option<ChunkingStrategy>,
    /// Time chunks that end at or before this have ended: nothing can be added to them.
    pub sealed_until: Option<DateTime<Utc>>,
    /// The newest time that was given to an event, kept for time chunks alone.
    pub last_timestamp: Option<DateTime<Utc>>,
}

impl SequenceState {
    /// The time under which an event is published.
    ///
    /// On time chunks, times that are given never go back and never fall into a chunk that has
    /// ended, whatever the clock does, so that pages follow the order of events.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Refused`] when the event brings a time that lies in a chunk that has
    /// ended, or, on time chunks, in the future.
    pub fn timestamp(&self, event: &NewEvent, now: DateTime<Utc>) -> StoreResult<DateTime<Utc>> {
        let in_time_chunks = self.strategy == Some(ChunkingStrategy::Time);
        let Some(published) = event.published() else {
            let floor = self.sealed_until.max(self.last_timestamp);
            return Ok(if in_time_chunks {
                floor.unwrap_or(now).max(now)
            } else {
                now
            });
        };
        let refuse = |why: String| {
            let context = format!("publishing event {} as of {published}: {why}", event.uuid());
            Err(StoreError::new(StoreErrorKind::Refused, context))
        };
        match self.sealed_until {
            Some(sealed) if published < sealed => refuse(format!(
                "the pages before {sealed} have ended; give a later time, or none"
            )),
            _ if in_time_chunks && published > now.max(self.sealed_until.unwrap_or(now)) => refuse(
                format!("it is {now}, and time chunks hold no future; give no time"),
            ),
            _ => Ok(published),
        }
    }

    /// Settles the strategy, unless it is settled.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Refused`] when it is the other one.
    pub fn settle(&mut self, strategy: ChunkingStrategy) -> StoreResult<()> {
        match self.strategy.replace(strategy) {
            Some(settled) if settled != strategy => {
                self.strategy = Some(settled);
                let context = format!(
                    "opening a feed with {strategy} chunks: its pages are cut by {settled}, and \
                     they stay so; open it with {settled} chunks"
                );
                Err(StoreError::new(StoreErrorKind::Refused, context))
            }
            _ => Ok(()),
        }
    }

    /// The chunking history that rows of `chunking_history` make; `None` while nothing is settled.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::InvalidData`] when they make no sense.
    pub fn history(
        &self,
        entries: &[ChunkingHistoryEntry],
    ) -> StoreResult<Option<ChunkingHistory>> {
        match self.strategy {
            Some(strategy) if !entries.is_empty() => {
                Ok(Some(ChunkingHistory::new(strategy, entries.to_vec())?))
            }
            _ => Ok(None),
        }
    }

    /// How far a feed has come, as its chunks count: what a
    /// [`ChunkingChange`](crate::chunking::ChunkingChange) must leave alone.
    pub fn reached(
        &self,
        history: &ChunkingHistory,
        count: u64,
        newest: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> i64 {
        match history.strategy() {
            ChunkingStrategy::Number => i64::try_from(count).unwrap_or(i64::MAX),
            ChunkingStrategy::Time => {
                // The clock may have jumped back; ended chunks have not.
                let reached = newest.max(self.sealed_until).max(self.last_timestamp);
                reached.unwrap_or(now).max(now).timestamp_millis()
            }
        }
    }
}

impl From<InvalidChunkingHistory> for StoreError {
    fn from(invalid: InvalidChunkingHistory) -> Self {
        Self::new(StoreErrorKind::InvalidData, "reading the chunking history").caused_by(invalid)
    }
}
