use async_trait::async_trait;

use crate::chunking::{ChunkingHistoryEntry, ChunkingStrategy};
use crate::store::{
    ConsoleStore, ConsumerStore, FeedStore, MemoryConnection, MemoryStore, OffsetMarker,
    OutboxStore, SequencedStore,
};
use crate::{Clock, EventRecord, SystemClock};

/// What the suite needs of a store besides its traits.
#[async_trait]
pub trait Harness: Send + Sync {
    /// What the store's transactions lend.
    type Conn: ?Sized + Send + 'static;

    /// The store.
    type Store: OutboxStore<Conn = Self::Conn>
        + SequencedStore
        + FeedStore
        + ConsumerStore<Conn = Self::Conn>
        + ConsoleStore
        + Clone;

    /// An empty store of its own.
    async fn store(&self) -> Self::Store;

    /// What its tables can hold.
    fn shape(&self) -> Shape {
        Shape::default()
    }

    /// Adds a row to a table of the application's, as a worker does; a second row under the same
    /// key stands beside the first.
    async fn write(&self, conn: &mut Self::Conn, key: &str, value: &str);

    /// The committed rows of that table, by key.
    async fn written(&self, store: &Self::Store) -> Vec<(String, String)>;

    /// Fills an empty store with rows as a deployed system holds them, ids and all.
    async fn load(&self, store: &Self::Store, rows: &Rows);
}

/// What the tables of a store can hold. Ours hold everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shape {
    /// Events of any size.
    pub large_events: bool,
    /// Characters beyond the basic plane in events.
    pub all_characters: bool,
    /// Times of any century, to the microsecond; else from 1970 to 2038, to the second.
    pub all_times: bool,
    /// Column `date_created` of events, and of those in the queue.
    pub date_created: bool,
    /// An event with a uuid that is there already is refused.
    pub known_uuids: bool,
    /// Categories are compared as a column's collation has it.
    pub collated: bool,
    /// Who listens hears of what other processes publish.
    pub tells: bool,
    /// One transaction is open at a time, also of those that only read.
    pub one_at_a_time: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            large_events: true,
            all_characters: true,
            all_times: true,
            date_created: true,
            known_uuids: true,
            collated: false,
            tells: false,
            one_at_a_time: false,
        }
    }
}

/// Rows of a publisher's tables as a deployed system holds them.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// Table `event_records`.
    pub event_records: Vec<EventRecord>,
    /// What `chunking_history` counts.
    pub strategy: ChunkingStrategy,
    /// Table `chunking_history`.
    pub chunking_history: Vec<ChunkingHistoryEntry>,
    /// Table `event_records_offset_marker`, by category.
    pub offset_markers: Vec<(String, OffsetMarker)>,
}

/// Moves on what was published into a queue, until there is no more.
pub async fn sequence_all(store: &impl SequencedStore) {
    while store
        .sequence(1_000, SystemClock.now())
        .await
        .expect("events are sequenced")
        .more
    {}
}

/// The application's table.
const TABLE: &str = "applied";

/// The suite over [`MemoryStore`].
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryHarness;

#[async_trait]
impl Harness for MemoryHarness {
    type Conn = MemoryConnection;
    type Store = MemoryStore;

    async fn store(&self) -> MemoryStore {
        MemoryStore::new()
    }

    fn shape(&self) -> Shape {
        Shape {
            tells: true,
            one_at_a_time: true,
            ..Shape::default()
        }
    }

    async fn write(&self, conn: &mut MemoryConnection, key: &str, value: &str) {
        let mut row = key.to_owned();
        while conn.get(TABLE, &row).is_some() {
            row.push(' ');
        }
        conn.put(TABLE, &row, value);
    }

    async fn written(&self, store: &MemoryStore) -> Vec<(String, String)> {
        let rows = store.rows(TABLE).into_iter();
        rows.map(|(key, value)| (key.trim_end().to_owned(), value))
            .collect()
    }

    async fn load(&self, store: &MemoryStore, rows: &Rows) {
        store.load(
            rows.strategy,
            &rows.chunking_history,
            &rows.event_records,
            &rows.offset_markers,
        );
    }
}
