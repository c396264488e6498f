use std::str::FromStr;

use chrono::{DateTime, Utc};
use sqlx::error::DatabaseError;
use sqlx::mysql::{
    MySqlArguments, MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlRow,
};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection, MySql, Row as _, TypeInfo, ValueRef};

use super::dialect::{Dialect, Found, primitives};
use super::error::Doing;
use super::layout::{Alphabet, Column};
use super::migrations::{self, File};
use super::value::{Row, Value};
use super::{SchemaName, SqlStore, pool_options};
use crate::store::{StoreError, StoreErrorKind, StoreResult};

/// Events, markers and failures in MariaDB.
///
/// As in PostgreSQL, publishing inserts into `event_records_queue`, and a sequencer moves what has
/// committed into `event_records`.
pub type MySqlStore = SqlStore<MySql>;

/// Those beside the tables of the feed, and these.
const BESIDE: &[File] = &[
    (
        1,
        "beside",
        include_str!("../../../migrations/mysql/0001_beside.sql"),
    ),
    (
        3,
        "consumers",
        include_str!("../../../migrations/mysql/0003_consumers.sql"),
    ),
    (
        4,
        "fingerprints",
        include_str!("../../../migrations/mysql/0004_fingerprints.sql"),
    ),
    (
        5,
        "console",
        include_str!("../../../migrations/mysql/0005_console.sql"),
    ),
    (
        6,
        "last failure",
        include_str!("../../../migrations/mysql/0006_last_failure.sql"),
    ),
];
const TABLES: &[File] = &[(
    2,
    "tables",
    include_str!("../../../migrations/mysql/0002_tables.sql"),
)];

impl MySqlStore {
    /// Connects, and makes the tables where they are missing, in a database of this name, which must
    /// be there, or in the one that the URL names.
    ///
    /// `url` is `mysql://USER:PASSWORD@HOST/DATABASE`, with the parameters that sqlx knows. An
    /// application that has a pool gives that: [`SqlStore::over`], then [`SqlStore::migrate`].
    ///
    /// # Errors
    ///
    /// When the URL is none, the server cannot be reached, or the tables cannot be made.
    pub async fn connect(url: &str, schema: Option<&SchemaName>) -> StoreResult<Self> {
        let store = Self::reach(url, schema).await?;
        store.migrate().await?;
        Ok(store)
    }

    /// Connects as [`connect`](Self::connect) does, and makes nothing: what follows is
    /// [`SqlStore::adopt`] or [`SqlStore::migrate`].
    ///
    /// # Errors
    ///
    /// When the URL is none, or the server cannot be reached.
    pub async fn reach(url: &str, schema: Option<&SchemaName>) -> StoreResult<Self> {
        // Without the password.
        let connecting = || {
            "connecting to MariaDB: see whether the server is up, and user, \
                             password and database are right"
        };
        let options = MySqlConnectOptions::from_str(url).map_err(|error| {
            StoreError::new(
                StoreErrorKind::Refused,
                "reading the URL of a MariaDB database",
            )
            .caused_by(error)
        })?;
        // First without the pool, which would try again and again, and then not say why it failed.
        let conn = MySqlConnection::connect_with(&options)
            .await
            .doing(connecting)?;
        conn.close().await.doing(connecting)?;
        let pool = pool_options()
            .max_connections(20)
            .connect_lazy_with(options);
        Ok(Self::over(pool, schema))
    }
}

impl Dialect for MySql {
    const INSERT_UNLESS_THERE: (&'static str, &'static str) = ("IGNORE", "");

    // Else what one statement reads would be as old as the first one's, and a range that is written
    // would be locked with the gaps in it, where others insert.
    // A transaction that was being opened when its future was dropped may still be there, empty; no
    // level can be set in it.
    const BEGIN: &'static str = "ROLLBACK; SET TRANSACTION ISOLATION LEVEL READ COMMITTED; BEGIN";
    const BEGIN_READING: &'static str =
        "ROLLBACK; SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION READ ONLY";

    const COLLATES: bool = true;

    const SPELLING: &'static str = "CONVERT(category USING utf8mb4) COLLATE utf8mb4_bin";

    const BY_ID: &'static str = "FORCE INDEX (PRIMARY)";

    const LIMITS_DELETES: bool = true;

    // The first of January and of July 2024.
    const SECONDS_FROM_UTC: Option<&'static str> = Some(
        "SELECT TIMESTAMPDIFF(SECOND, '1970-01-01', FROM_UNIXTIME(instant)) - instant
        FROM (SELECT 1704067200 AS instant UNION ALL SELECT 1719792000) AS instants",
    );

    const COLUMNS: &'static str = "SELECT table_name, column_name, data_type,
         character_maximum_length, character_octet_length, character_set_name, datetime_precision
        FROM information_schema.columns WHERE table_schema = COALESCE(?, DATABASE())
        AND table_name IN ('event_records', 'event_records_queue', 'chunking_history',
         'event_records_offset_marker', 'markers', 'failed_events', 'failed_event_retry_log')";

    const CATEGORY_COLLATION: Option<&'static str> = Some(
        "SELECT character_set_name, collation_name FROM information_schema.columns
        WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = 'event_records'
        AND column_name = 'category' AND collation_name IS NOT NULL",
    );

    const INDEX_ON: &'static str = "SELECT index_name FROM information_schema.statistics
        WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = 'event_records'
        AND column_name = ? AND seq_in_index = 1";

    const KEEP_CLAIM: &'static str =
        "SELECT epoch FROM {s}atomfeed_claims WHERE feed = ? LOCK IN SHARE MODE";

    primitives!(MySqlConnection, bind, cell);

    fn lost(error: &dyn DatabaseError) -> Option<StoreErrorKind> {
        let error = error.try_downcast_ref::<MySqlDatabaseError>()?;
        // ER_SP_DOES_NOT_EXIST, which a savepoint is, too.
        (error.number() == 1305).then_some(StoreErrorKind::Broken)
    }

    fn concerns_a_row(error: &dyn DatabaseError) -> bool {
        let error = error.try_downcast_ref::<MySqlDatabaseError>();
        // A key that is there; NULL, or nothing, for a column that needs a value; too long, no such
        // character, no such time; what a foreign key or a check refuses; a row too big for its page.
        error.is_some_and(|error| {
            matches!(
                error.number(),
                1062 | 1586 | 1048 | 1364 | 1406 | 1265 | 1366 | 1292 | 1452 | 3819 | 4025 | 1118
            )
        })
    }

    fn column(found: &Found) -> Column {
        match found.kind.as_str() {
            kind @ ("timestamp" | "datetime") => Column::Time {
                zoned: kind == "timestamp",
                fractions: found.digits == Some(6),
                unix: kind == "timestamp",
            },
            kind if kind.ends_with("char") || kind.ends_with("text") => Column::Text {
                // Of a text type, the bytes are the limit.
                characters: found.characters.filter(|_| kind.ends_with("char")),
                bytes: found.bytes.filter(|_| kind.ends_with("text")),
                alphabet: match found.charset.as_deref() {
                    Some("utf8" | "utf8mb3" | "ucs2") => Alphabet::BasicPlane,
                    Some("latin1") => Alphabet::Latin1,
                    Some("ascii") => Alphabet::Ascii,
                    _ => Alphabet::Unicode,
                },
            },
            _ => Column::Other,
        }
    }

    async fn migrate(store: &MySqlStore, adopts: bool) -> StoreResult<()> {
        let doing = || "making the tables of the feed in MariaDB";
        // Of its own, since it is closed in the end: with it go its lock and its default database.
        let mut conn = store.connection().await?.detach();
        let migrated = async {
            let lock = "SELECT GET_LOCK(CONCAT('atomfeed_migrations ', DATABASE()), 600)";
            if let Some(schema) = &store.schema {
                let query = sqlx::raw_sql(AssertSqlSafe(format!("USE {schema}")));
                query.execute(&mut conn).await.doing(doing)?;
            }
            sqlx::query(lock).execute(&mut conn).await.doing(doing)?;
            // DDL is not undone on MariaDB. A migration that was cut off is run again: each of its
            // statements can be.
            let cut_off = "SELECT COUNT(*) FROM information_schema.tables
                WHERE table_schema = DATABASE() AND table_name = ?";
            let known: i64 = sqlx::query_scalar(cut_off)
                .bind(migrations::TABLE)
                .fetch_one(&mut conn)
                .await
                .doing(doing)?;
            if known > 0 {
                let forget = format!("DELETE FROM {} WHERE NOT success", migrations::TABLE);
                sqlx::query(AssertSqlSafe(forget))
                    .execute(&mut conn)
                    .await
                    .doing(doing)?;
            }
            migrations::run(&mut conn, BESIDE).await?;
            migrations::claim(store, &mut conn, adopts).await?;
            match adopts {
                true => Ok(()),
                false => migrations::run(&mut conn, TABLES).await,
            }
        };
        let migrated = migrated.await;
        let closed = conn.close().await.doing(doing);
        migrated.and(closed)
    }
}

fn bind<'q>(
    query: Query<'q, MySql, MySqlArguments>,
    value: Value,
) -> Query<'q, MySql, MySqlArguments> {
    match value {
        Value::Int(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
        Value::Garbled(value) => query.bind(value),
        Value::Time(value) => query.bind(value.map(|time: DateTime<Utc>| time.naive_utc())),
        Value::LocalTime(value) => query.bind(value),
    }
}

fn cell(row: &MySqlRow, index: usize) -> sqlx::Result<Value> {
    let raw = row.try_get_raw(index)?;
    if raw.is_null() {
        return Ok(Value::Text(None));
    }
    let kind = raw.type_info().name().to_owned();
    Ok(match kind.as_str() {
        "TIMESTAMP" | "DATETIME" => {
            // The connection is in UTC, and a TIMESTAMP is converted to that.
            let time = match kind.as_str() {
                "TIMESTAMP" => row.try_get(index).map(|time| Value::Time(Some(time))),
                _ => row.try_get(index).map(|time| Value::LocalTime(Some(time))),
            };
            // A zero date, say. As a text it is refused where the time matters, and only there.
            time.unwrap_or_else(|error| Value::Text(Some(error.to_string())))
        }
        unsigned if unsigned.ends_with("INT UNSIGNED") => {
            let number = row.try_get::<u64, _>(index)?;
            Value::from(i64::try_from(number).map_err(|error| sqlx::Error::Decode(error.into()))?)
        }
        signed if signed.ends_with("INT") => Value::from(row.try_get::<i64, _>(index)?),
        _ => Value::Text(Some(row.try_get(index)?)),
    })
}
