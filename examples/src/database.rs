use anyhow::{Context, bail};
use atomfeed_core::store::{MemoryStore, SqliteStore};

/// A database as `--database` names it.
#[derive(Debug, Clone)]
pub enum Database {
    /// `memory:`, gone when the program ends.
    Memory(MemoryStore),
    /// `sqlite:FILE`, made where it is missing.
    Sqlite(SqliteStore),
}

impl Database {
    /// Opens the database that a URL names.
    ///
    /// # Errors
    ///
    /// When the URL is of no known kind, or the database cannot be opened.
    pub async fn open(url: &str) -> anyhow::Result<Self> {
        match url.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory(MemoryStore::new())),
            Some(("sqlite", _)) => {
                let store = SqliteStore::connect(url).await.context("--database")?;
                Ok(Self::Sqlite(store))
            }
            _ => bail!("--database {url:?}: give sqlite:FILE or memory:"),
        }
    }
}
