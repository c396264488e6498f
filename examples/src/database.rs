use anyhow::{Context, bail};
use atomfeed_core::store::sql::{Dialect, SqlStore};
use atomfeed_core::store::{
    Adoption, MemoryStore, MySqlStore, Obstacle, PostgresStore, SchemaName, SqliteStore,
    StoreResult,
};

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
    /// Opens the database that a URL names, and makes the tables of the feed where they are missing, or
    /// adopts those of another program; in a schema of that name if one is given.
    ///
    /// # Errors
    ///
    /// When the URL is of no known kind, the database cannot be opened, or there is nothing to adopt.
    pub async fn open(
        url: &str,
        schema: Option<&SchemaName>,
        adoption: Option<&Adoption>,
    ) -> anyhow::Result<Self> {
        match (url.split_once(':'), schema) {
            (Some(("memory" | "sqlite", _)), _) if adoption.is_some() => {
                bail!("--adopt: only PostgreSQL and MariaDB hold tables that can be adopted")
            }
            (Some(("memory", "")), None) => Ok(Self::Memory(MemoryStore::new())),
            (Some(("sqlite", _)), None) => Ok(Self::Sqlite(
                SqliteStore::connect(url).await.context("--database")?,
            )),
            (Some(("memory" | "sqlite", _)), Some(_)) => {
                bail!("--schema: only PostgreSQL and MariaDB have schemas")
            }
            (Some(("postgres" | "postgresql", _)), _) => {
                let store = PostgresStore::reach(url, schema).await;
                let store = store.context("--database")?;
                Ok(Self::Postgres(ready(store, adoption).await?))
            }
            (Some(("mysql" | "mariadb", _)), _) => {
                let store = MySqlStore::reach(url, schema).await;
                let store = store.context("--database")?;
                Ok(Self::MySql(ready(store, adoption).await?))
            }
            _ => bail!("--database: give sqlite:FILE, postgres://…, mysql://… or memory:"),
        }
    }

    /// Prints what stands in the way of handing the tables back to the program that they were made
    /// for, a line each, and says whether there is nothing.
    ///
    /// # Errors
    ///
    /// As the database has it.
    pub async fn print_obstacles(&self) -> StoreResult<bool> {
        let obstacles: Vec<Obstacle> = match self {
            Self::Memory(_) => Vec::new(),
            Self::Sqlite(store) => store.obstacles().await?,
            Self::Postgres(store) => store.obstacles().await?,
            Self::MySql(store) => store.obstacles().await?,
        };
        for obstacle in &obstacles {
            println!("{obstacle}");
        }
        if obstacles.is_empty() {
            println!("nothing stands in the way of handing these tables back");
        }
        Ok(obstacles.is_empty())
    }
}

async fn ready<D: Dialect>(
    store: SqlStore<D>,
    adoption: Option<&Adoption>,
) -> anyhow::Result<SqlStore<D>> {
    match adoption {
        Some(adoption) => store.adopt(adoption).await.context("--adopt"),
        None => {
            store.migrate().await.context("--database")?;
            Ok(store)
        }
    }
}
