//! A store in memory: the reference for every other, and a real one where nothing must outlive the
//! process.

mod actions;
mod claims;
mod console;
mod consumer;
mod failures;
mod feed;
mod rebase;
mod status;
mod tables;
mod transaction;
mod upkeep;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use self::tables::Tables;
pub use self::transaction::MemoryConnection;
use super::{
    ConsumerStore, OffsetMarker, OpenTransaction, OutboxStore, Sequenced, SequencedStore,
    StoreResult, UnitOfWork,
};
use crate::chunking::{ChunkingHistoryEntry, ChunkingStrategy};
use crate::{EventRecord, FeedScope, NewEvent};

/// Events, markers and failures in memory. Clones share what they hold.
///
/// Transactions are real: one is open at a time, others wait for it; what is dropped without a
/// commit never happened; readers see what was committed, and only that.
///
/// ```
/// use atomfeed_core::store::{FeedStore, MemoryStore, OutboxStore};
/// use atomfeed_core::{Clock, NewEvent, SystemClock};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let mut transaction = store.transaction().await;
/// let event = NewEvent::new("Patient", "/patient/1");
/// store.publish(&mut transaction, &event, SystemClock.now()).await?;
/// assert_eq!(store.newest_id().await?, 0, "not committed yet");
/// transaction.commit();
/// assert_eq!(store.newest_id().await?, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    /// Whether categories are matched only as they are spelled.
    exact: bool,
}

#[derive(Debug, Default)]
struct Shared {
    tables: RwLock<Tables>,
    /// Held by the one transaction that is open.
    writer: Arc<Mutex<()>>,
    /// Told when a transaction has published events.
    news: watch::Sender<()>,
}

impl Shared {
    // A panic while the lock was held left the tables as they were: every change to them is one
    // commit, which does not panic half-way.
    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Matches categories only as they are spelled; else the feed `/encounter/` carries events stored
    /// as `Encounter`, too. A feed whose readers have begun stays as it is: its pages differ.
    #[must_use]
    pub fn with_exact_categories(mut self) -> Self {
        self.exact = true;
        self
    }

    /// Opens a transaction, once no other is open.
    ///
    /// # Cancel safety
    ///
    /// Nothing stays open when the future is dropped.
    pub async fn transaction(&self) -> MemoryConnection {
        let lock = self.lock().await;
        MemoryConnection::new(Arc::clone(&self.shared), lock)
    }

    /// The committed rows of an application's own table (see [`MemoryConnection::put`]), by key.
    pub fn rows(&self, table: &str) -> Vec<(String, String)> {
        self.shared.read().rows(table)
    }

    /// Fills an empty store with rows as a deployed system holds them, ids and all.
    pub fn load(
        &self,
        strategy: ChunkingStrategy,
        history: &[ChunkingHistoryEntry],
        records: &[EventRecord],
        offset_markers: &[(String, OffsetMarker)],
    ) {
        let mut tables = self.shared.write();
        tables.state.strategy = Some(strategy);
        tables.history = history.to_vec();
        for record in records {
            tables.insert_record(record.clone());
        }
        tables.offset_markers.extend(offset_markers.iter().cloned());
    }

    /// Under which name the positions of a feed are kept. Feeds that may differ have different ones:
    /// what no category can begin with stands before a spelling.
    fn key(&self, scope: &FeedScope) -> String {
        match scope.category() {
            Some(category) if self.exact => format!("\u{1}{category}"),
            _ => scope.key(),
        }
    }

    /// The records of a feed with an id above `after`, in the order of their ids.
    fn after<'a>(
        &self,
        tables: &'a Tables,
        scope: &'a FeedScope,
        after: i64,
    ) -> impl Iterator<Item = &'a EventRecord> {
        let exactly = scope.category().filter(|_| self.exact);
        tables.after(scope, after).filter(move |record| {
            exactly.is_none_or(|exactly| record.category.as_deref() == Some(exactly.as_str()))
        })
    }

    async fn lock(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.shared.writer).lock_owned().await
    }
}

#[async_trait]
impl OutboxStore for MemoryStore {
    type Conn = MemoryConnection;

    async fn publish(
        &self,
        conn: &mut MemoryConnection,
        event: &NewEvent,
        now: DateTime<Utc>,
    ) -> StoreResult<()> {
        conn.publish(event, now)
    }
}

/// One transaction writes at a time: there is no queue.
#[async_trait]
impl SequencedStore for MemoryStore {
    async fn sequence(&self, _limit: u32, _now: DateTime<Utc>) -> StoreResult<Sequenced> {
        Ok(Sequenced::default())
    }

    async fn queued(&self) -> StoreResult<u64> {
        Ok(0)
    }
}

#[async_trait]
impl OpenTransaction for MemoryConnection {
    async fn commit(self) -> StoreResult<()> {
        MemoryConnection::commit(self);
        Ok(())
    }
}

#[async_trait]
impl ConsumerStore for MemoryStore {
    type Conn = MemoryConnection;

    async fn begin(&self) -> StoreResult<Box<dyn UnitOfWork<Conn = MemoryConnection>>> {
        Ok(Box::new(self.transaction().await))
    }

    fn writes_one_at_a_time(&self) -> bool {
        true
    }
}
