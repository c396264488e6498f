use async_trait::async_trait;
use atomfeed_core::store::{ConsumerStore, MemoryConnection, MemoryStore, SqliteStore};
use sqlx::SqliteConnection;

/// The table `applied(event_id, content)`, which a worker writes in its transaction.
#[async_trait]
pub trait AppliedTable: ConsumerStore {
    /// Makes the table where it is missing.
    ///
    /// # Errors
    ///
    /// As the database has it.
    async fn make(&self) -> anyhow::Result<()>;

    /// Adds a row. An event that were applied twice would have two.
    ///
    /// # Errors
    ///
    /// As the database has it.
    async fn insert(conn: &mut Self::Conn, event_id: &str, content: &str) -> sqlx::Result<()>;
}

#[async_trait]
impl AppliedTable for MemoryStore {
    async fn make(&self) -> anyhow::Result<()> {
        Ok(())
    }

    async fn insert(
        conn: &mut MemoryConnection,
        event_id: &str,
        content: &str,
    ) -> sqlx::Result<()> {
        conn.put("applied", event_id, content);
        Ok(())
    }
}

#[async_trait]
impl AppliedTable for SqliteStore {
    async fn make(&self) -> anyhow::Result<()> {
        sqlx::query("CREATE TABLE IF NOT EXISTS applied (event_id TEXT, content TEXT)")
            .execute(self.pool())
            .await?;
        Ok(())
    }

    async fn insert(
        conn: &mut SqliteConnection,
        event_id: &str,
        content: &str,
    ) -> sqlx::Result<()> {
        sqlx::query("INSERT INTO applied (event_id, content) VALUES (?, ?)")
            .bind(event_id)
            .bind(content)
            .execute(conn)
            .await?;
        Ok(())
    }
}
