use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{Connection, Row as _, SqlSafeStr, Sqlite, TypeInfo, ValueRef};

use super::SqlStore;
use super::dialect::{Dialect, primitives};
use super::error::Doing;
use super::value::{Row, Value, format_time};
use crate::store::{StoreError, StoreErrorKind, StoreResult};

/// Events, markers and failures in an SQLite file.
///
/// SQLite lets one write at a time, so that events become visible in the order of their ids
/// without a sequencer: publishing inserts directly.
pub type SqliteStore = SqlStore<Sqlite>;

/// How long a transaction waits for another's to end before it fails as locked.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// The table in which the migrator keeps what it has run, apart from the application's own.
const MIGRATIONS_TABLE: &str = "atomfeed_migrations";

const MIGRATIONS: &[(i64, &str, &str)] = &[(
    1,
    "tables",
    include_str!("../../../migrations/sqlite/0001_tables.sql"),
)];

impl SqliteStore {
    /// Opens a file, and makes it and the tables where they are missing.
    ///
    /// `url` is `sqlite:FILE` or `sqlite://FILE`, with the parameters that sqlx knows. The file is
    /// kept in WAL mode with full synchronisation: what was committed survives a power cut.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Refused`] when the URL is none, or names a database in memory, of which
    /// every connection would see another (use [`MemoryStore`](crate::store::MemoryStore)). Else
    /// when the file cannot be opened or made.
    pub async fn connect(url: &str) -> StoreResult<Self> {
        let opening = || format!("opening the SQLite database {url:?}");
        if url.contains(":memory:") || url.contains("mode=memory") {
            return Err(StoreError::new(
                StoreErrorKind::Refused,
                format!(
                    "{}: name a file; in memory, use the in-memory store",
                    opening()
                ),
            ));
        }
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|error| StoreError::new(StoreErrorKind::Refused, opening()).caused_by(error))?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new()
            .max_connections(8)
            .connect_with(options)
            .await
            .doing(opening)?;
        let store = Self::over(pool);
        store.migrate().await?;
        Ok(store)
    }

    /// Makes the tables, and adds what is missing to those of an earlier version. Safe to call
    /// again, and from several processes at once; killed half-way, it has done nothing.
    ///
    /// # Errors
    ///
    /// When tables of these names are there that are not ours, or the file cannot be written.
    pub async fn migrate(&self) -> StoreResult<()> {
        let doing = || "making the tables of the feed in the SQLite database";
        let mut conn = self.connection().await?;
        // Held to the end: sqlx's own lock does nothing on SQLite.
        let mut transaction = conn.begin_with(Sqlite::BEGIN).await.doing(doing)?;
        let migrations = MIGRATIONS.iter().map(|&(version, description, sql)| {
            let kind = MigrationType::Simple;
            Migration::new(
                version,
                Cow::Borrowed(description),
                kind,
                sql.into_sql_str(),
                false,
            )
        });
        let mut migrator = Migrator::with_migrations(migrations.collect());
        migrator
            .set_locking(false)
            .dangerous_set_table_name(MIGRATIONS_TABLE);
        migrator
            .run_direct(None, &mut *transaction, false)
            .await
            .map_err(|error| StoreError::new(StoreErrorKind::Database, doing()).caused_by(error))?;
        transaction.commit().await.doing(doing)
    }
}

impl Dialect for Sqlite {
    const BEGIN: &'static str = "BEGIN IMMEDIATE";

    // A write that changes nothing takes the lock, before anything is read.
    const LOCK_FEED_STATE: &'static str = "UPDATE atomfeed_feed_state SET id = id WHERE id = 1
        RETURNING strategy, sealed_until, last_timestamp";

    primitives!(SqliteConnection, bind, cell);
}

fn bind<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    value: Value,
) -> Query<'q, Sqlite, SqliteArguments> {
    match value {
        Value::Int(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
        Value::Time(value) => query.bind(value.map(format_time)),
    }
}

fn cell(row: &SqliteRow, index: usize) -> sqlx::Result<Value> {
    let raw = row.try_get_raw(index)?;
    if raw.is_null() {
        return Ok(Value::Text(None));
    }
    match raw.type_info().name() {
        "INTEGER" | "BOOLEAN" => Ok(Value::Int(Some(row.try_get_unchecked(index)?))),
        _ => Ok(Value::Text(Some(row.try_get_unchecked(index)?))),
    }
}
