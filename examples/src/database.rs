use anyhow::{Context, bail};
use atomfeed_core::store::{MemoryStore, MySqlStore, PostgresStore, SchemaName, SqliteStore};

/// A database as `--database` names it.
#[derive(Debug, Clone)]
pub enum Database {
    /// `memory:`, gone when the program ends.
    Memory(MemoryStore),
    /// `sqlite:FILE`, made where it is missing.
    Sqlite(SqliteStore),
    /// `postgres://…`.
    Postgres(PostgresStore),
    /// `mysql://…`, for MariaDB.
    MySql(MySqlStore),
}

impl Database {
    /// Opens the database that a URL names, and makes the tables of the feed where they are missing,
    /// in a schema of that name if one is given.
    ///
    /// # Errors
    ///
    /// When the URL is of no known kind, or the database cannot be opened.
    pub async fn open(url: &str, schema: Option<&SchemaName>) -> anyhow::Result<Self> {
        match (url.split_once(':'), schema) {
            (Some(("memory", "")), None) => Ok(Self::Memory(MemoryStore::new())),
            (Some(("sqlite", _)), None) => Ok(Self::Sqlite(
                SqliteStore::connect(url).await.context("--database")?,
            )),
            (Some(("memory" | "sqlite", _)), Some(_)) => {
                bail!("--schema: only PostgreSQL and MariaDB have schemas")
            }
            (Some(("postgres" | "postgresql", _)), _) => {
                let store = PostgresStore::connect(url, schema).await;
                Ok(Self::Postgres(store.context("--database")?))
            }
            (Some(("mysql" | "mariadb", _)), _) => {
                let store = MySqlStore::connect(url, schema).await;
                Ok(Self::MySql(store.context("--database")?))
            }
            _ => bail!("--database: give sqlite:FILE, postgres://…, mysql://… or memory:"),
        }
    }
}
