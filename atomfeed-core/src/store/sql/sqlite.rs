use std::str::FromStr;
use std::time::{Duration, Instant};

use sqlx::error::DatabaseError;
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{Row as _, Sqlite, TypeInfo, ValueRef};

use super::SqlStore;
use super::dialect::{Dialect, Found, primitives};
use super::error::{Doing, is_busy};
use super::layout::{Alphabet, Column};
use super::migrations::{self, File};
use super::value::{Row, Value, format_local, format_time};
use crate::store::{StoreError, StoreErrorKind, StoreResult};

/// Events, markers and failures in an SQLite file.
///
/// SQLite lets one write at a time, so that events become visible in the order of their ids
/// without a sequencer: publishing inserts directly. A transaction that reads before it publishes is
/// best opened with `pool.begin_with("BEGIN IMMEDIATE")`: one that has begun as a reader is refused as
/// locked when somebody else has written meanwhile.
pub type SqliteStore = SqlStore<Sqlite>;

/// How long a transaction waits for another's to end before it fails as locked.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// How soon a file is opened again that was being made.
const LOOKS_AGAIN: Duration = Duration::from_millis(10);

/// Those beside the tables of the feed, and these.
const BESIDE: &[File] = &[
    (
        1,
        "beside",
        include_str!("../../../migrations/sqlite/0001_beside.sql"),
    ),
    (
        3,
        "consumers",
        include_str!("../../../migrations/sqlite/0003_consumers.sql"),
    ),
    (
        4,
        "fingerprints",
        include_str!("../../../migrations/sqlite/0004_fingerprints.sql"),
    ),
    (
        5,
        "console",
        include_str!("../../../migrations/sqlite/0005_console.sql"),
    ),
    (
        6,
        "last failure",
        include_str!("../../../migrations/sqlite/0006_last_failure.sql"),
    ),
];
const TABLES: &[File] = &[(
    2,
    "tables",
    include_str!("../../../migrations/sqlite/0002_tables.sql"),
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
            // A file does not go away as a server does.
            .test_before_acquire(false);
        let until = Instant::now() + BUSY_TIMEOUT;
        let pool = loop {
            match pool.clone().connect_with(options.clone()).await {
                // Somebody else gives a new file its write-ahead log: for that SQLite waits for nobody.
                Err(sqlx::Error::Database(busy))
                    if is_busy(busy.as_ref()) && Instant::now() < until =>
                {
                    tokio::time::sleep(LOOKS_AGAIN).await;
                }
                opened => break opened.doing(opening)?,
            }
        };
        let store = Self::over(pool, None);
        store.migrate().await?;
        Ok(store)
    }
}

impl Dialect for Sqlite {
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const BEGIN_READING: &'static str = "BEGIN";
    const LOWERS_ASCII_ALONE: bool = true;

    // A write that changes nothing takes the lock, before anything is read.
    const LOCK_FEED_STATE: &'static str = "UPDATE {s}atomfeed_feed_state SET id = id WHERE id = 1
        RETURNING strategy, sealed_until, last_timestamp";

    // The whole file is locked already.
    const LOCK_MARKERS: &'static str = "SELECT name FROM {s}atomfeed_locks";

    const LOCK_CLAIM: &'static str =
        "SELECT epoch, consumer, beats FROM {s}atomfeed_claims WHERE feed = ?";

    const KEEP_CLAIM: &'static str = "SELECT epoch FROM {s}atomfeed_claims WHERE feed = ?";

    const WRITES_ONE_AT_A_TIME: bool = true;

    const COLUMNS: &'static str =
        "SELECT tables.name, columns.name, lower(columns.type), NULL, NULL,
         NULL, NULL
        FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns
        WHERE tables.type = 'table' AND COALESCE(?, '') = ''";

    const INDEX_ON: &'static str = "SELECT indexes.name
        FROM pragma_index_list('event_records') AS indexes, pragma_index_info(indexes.name) AS columns
        WHERE COALESCE(?, '') = '' AND columns.seqno = 0 AND columns.name = ?";

    primitives!(SqliteConnection, bind, cell);

    fn lost(error: &dyn DatabaseError) -> Option<StoreErrorKind> {
        let is_gone = error.message().starts_with("no such savepoint");
        is_gone.then_some(StoreErrorKind::Broken)
    }

    fn concerns_a_row(error: &dyn DatabaseError) -> bool {
        let code = error.code().and_then(|code| code.parse::<i32>().ok());
        // SQLITE_TOOBIG, SQLITE_CONSTRAINT and SQLITE_MISMATCH, in the low byte of the extended code.
        code.is_some_and(|code| matches!(code & 0xff, 18..=20))
    }

    fn column(found: &Found) -> Column {
        // Lengths are not enforced, and times are texts.
        match found.kind.as_str() {
            "timestamp" | "datetime" => Column::Time {
                zoned: false,
                fractions: true,
                unix: false,
            },
            kind if kind.contains("int") => Column::Other,
            _ => Column::Text {
                characters: None,
                bytes: None,
                alphabet: Alphabet::Unicode,
            },
        }
    }

    async fn migrate(store: &SqliteStore, adopts: bool) -> StoreResult<()> {
        let doing = || "making the tables of the feed in the SQLite database";
        // Held to the end: sqlx's own lock does nothing on SQLite.
        let mut transaction = store.begin_writing(doing).await?;
        migrations::run(&mut *transaction, BESIDE).await?;
        migrations::claim(store, &mut transaction, adopts).await?;
        if !adopts {
            migrations::run(&mut *transaction, TABLES).await?;
        }
        transaction.commit().await.doing(doing)
    }
}

fn bind<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    value: Value,
) -> Query<'q, Sqlite, SqliteArguments> {
    match value {
        Value::Int(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
        Value::Garbled(value) => query.bind(value),
        Value::Time(value) => query.bind(value.map(format_time)),
        Value::LocalTime(value) => query.bind(value.map(format_local)),
    }
}

fn cell(row: &SqliteRow, index: usize) -> sqlx::Result<Value> {
    let raw = row.try_get_raw(index)?;
    if raw.is_null() {
        return Ok(Value::Text(None));
    }
    match raw.type_info().name() {
        "INTEGER" | "BOOLEAN" => Ok(Value::Int(Some(row.try_get_unchecked(index)?))),
        // SQLite keeps whatever it is given, also in a column for texts.
        _ => match row.try_get_unchecked(index) {
            Ok(text) => Ok(Value::Text(Some(text))),
            Err(_) => {
                let bytes: Vec<u8> = row.try_get_unchecked(index)?;
                Ok(Value::Garbled(String::from_utf8_lossy(&bytes).into_owned()))
            }
        },
    }
}
