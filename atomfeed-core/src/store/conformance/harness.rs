use async_trait::async_trait;

use crate::EventRecord;
use crate::chunking::{ChunkingHistoryEntry, ChunkingStrategy};
use crate::store::{
    ConsumerStore, FeedStore, MemoryConnection, MemoryStore, OffsetMarker, OutboxStore,
};

/// What the suite needs of a store besides its traits.
#[async_trait]
pub trait Harness: Send + Sync {
    /// What the store's transactions lend.
    type Conn: ?Sized + Send + 'static;

    /// The store.
    type Store: OutboxStore<Conn = Self::Conn>
        + FeedStore
        + ConsumerStore<Conn = Self::Conn>
        + Clone;

    /// An empty store of its own.
    async fn store(&self) -> Self::Store;

    /// Adds a row to a table of the application's, as a worker does; a second row under the same
    /// key stands beside the first.
    async fn write(&self, conn: &mut Self::Conn, key: &str, value: &str);

    /// The committed rows of that table, by key.
    async fn written(&self, store: &Self::Store) -> Vec<(String, String)>;

    /// Fills an empty store with rows as a deployed system holds them, ids and all.
    async fn load(&self, store: &Self::Store, rows: &Rows);
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

#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteHarness;

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::path::PathBuf;

    use async_trait::async_trait;
    use sqlx::Row;
    use sqlx::sqlite::SqliteConnection;
    use uuid::Uuid;

    use super::{Harness, Rows};
    use crate::category::fold;
    use crate::store::SqliteStore;

    /// The suite over [`SqliteStore`], in files of a temporary folder that goes with it.
    #[derive(Debug)]
    pub struct SqliteHarness {
        folder: PathBuf,
    }

    impl Default for SqliteHarness {
        fn default() -> Self {
            let folder = std::env::temp_dir().join(format!("atomfeed-{}", Uuid::new_v4()));
            std::fs::create_dir(&folder).expect("a temporary folder can be made");
            Self { folder }
        }
    }

    impl SqliteHarness {
        /// The URL of a file that is not there yet.
        pub fn url(&self) -> String {
            format!(
                "sqlite:{}",
                self.folder.join(format!("{}.db", Uuid::new_v4())).display()
            )
        }
    }

    impl Drop for SqliteHarness {
        fn drop(&mut self) {
            // What is left behind lies in the system's own temporary folder.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    #[async_trait]
    impl Harness for SqliteHarness {
        type Conn = SqliteConnection;
        type Store = SqliteStore;

        async fn store(&self) -> SqliteStore {
            let store = SqliteStore::connect(&self.url())
                .await
                .expect("a new file opens");
            sqlx::query("CREATE TABLE applied (event_id TEXT, content TEXT)")
                .execute(store.pool())
                .await
                .expect("a table can be made");
            store
        }

        async fn write(&self, conn: &mut SqliteConnection, key: &str, value: &str) {
            sqlx::query("INSERT INTO applied VALUES (?, ?)")
                .bind(key)
                .bind(value)
                .execute(conn)
                .await
                .expect("a row can be written");
        }

        async fn written(&self, store: &SqliteStore) -> Vec<(String, String)> {
            sqlx::query("SELECT event_id, content FROM applied ORDER BY event_id, rowid")
                .fetch_all(store.pool())
                .await
                .expect("rows can be read")
                .iter()
                .map(|row| (row.get(0), row.get(1)))
                .collect()
        }

        async fn load(&self, store: &SqliteStore, rows: &Rows) {
            let mut tx = store.pool().begin().await.expect("a transaction opens");
            for record in &rows.event_records {
                let time = |time: chrono::DateTime<chrono::Utc>| {
                    time.format("%Y-%m-%d %H:%M:%S%.6f").to_string()
                };
                sqlx::query("INSERT INTO event_records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
                    .bind(record.id)
                    .bind(&record.uuid)
                    .bind(&record.title)
                    .bind(time(record.timestamp))
                    .bind(&record.uri)
                    .bind(&record.content)
                    .bind(&record.category)
                    .bind(record.date_created.map(time))
                    .bind(&record.tags)
                    .execute(&mut *tx)
                    .await
                    .expect("an event can be written");
                if let Some(category) = &record.category {
                    sqlx::query("INSERT OR IGNORE INTO atomfeed_categories VALUES (?, ?)")
                        .bind(category)
                        .bind(fold(category))
                        .execute(&mut *tx)
                        .await
                        .expect("a category can be written");
                }
            }
            for entry in &rows.chunking_history {
                sqlx::query("INSERT INTO chunking_history (chunk_length, start) VALUES (?, ?)")
                    .bind(entry.chunk_length)
                    .bind(entry.start)
                    .execute(&mut *tx)
                    .await
                    .expect("a row of the history can be written");
            }
            for (category, marker) in &rows.offset_markers {
                sqlx::query(
                    "INSERT INTO event_records_offset_marker (event_id, event_count, category)
                     VALUES (?, ?, ?)",
                )
                .bind(marker.event_id)
                .bind(i64::try_from(marker.event_count).expect("a count"))
                .bind(category)
                .execute(&mut *tx)
                .await
                .expect("an offset marker can be written");
            }
            sqlx::query("UPDATE atomfeed_feed_state SET strategy = ?")
                .bind(rows.strategy.as_str())
                .execute(&mut *tx)
                .await
                .expect("the strategy can be written");
            tx.commit().await.expect("a transaction commits");
        }
    }
}
