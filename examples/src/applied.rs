use async_trait::async_trait;
use atomfeed_core::store::{
    ConsumerStore, MemoryConnection, MemoryStore, MySqlStore, PostgresStore, SqliteStore,
};

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

/// The same for each SQL database, which differ in types and placeholders.
macro_rules! applied_table {
    ($store:ty, $connection:ty, $make:literal, $insert:literal) => {
        #[async_trait]
        impl AppliedTable for $store {
            async fn make(&self) -> anyhow::Result<()> {
                sqlx::query($make).execute(self.pool()).await?;
                Ok(())
            }

            async fn insert(
                conn: &mut $connection,
                event_id: &str,
                content: &str,
            ) -> sqlx::Result<()> {
                sqlx::query($insert)
                    .bind(event_id)
                    .bind(content)
                    .execute(conn)
                    .await?;
                Ok(())
            }
        }
    };
}

applied_table!(
    SqliteStore,
    sqlx::SqliteConnection,
    "CREATE TABLE IF NOT EXISTS applied (event_id TEXT, content TEXT)",
    "INSERT INTO applied (event_id, content) VALUES (?, ?)"
);

applied_table!(
    PostgresStore,
    sqlx::PgConnection,
    "CREATE TABLE IF NOT EXISTS applied (event_id TEXT, content TEXT)",
    "INSERT INTO applied (event_id, content) VALUES ($1, $2)"
);

applied_table!(
    MySqlStore,
    sqlx::MySqlConnection,
    "CREATE TABLE IF NOT EXISTS applied (event_id VARCHAR(255), content LONGTEXT)
        DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "INSERT INTO applied (event_id, content) VALUES (?, ?)"
);
