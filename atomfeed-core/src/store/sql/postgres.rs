use std::str::FromStr;

use chrono::{DateTime, Utc};
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection, Postgres, Row as _, TypeInfo, ValueRef};

use super::consumer::update_marker;
use super::dialect::{Dialect, Found, Transactions, primitives};
use super::error::Doing;
use super::layout::{Alphabet, Column};
use super::listener::PostgresListener;
use super::migrations::{self, File};
use super::value::{Row, Value};
use super::{SchemaName, SqlStore, pool_options};
use crate::store::{NewsListener, StoreError, StoreErrorKind, StoreResult};

/// Events, markers and failures in PostgreSQL.
///
/// Publishing inserts into `event_records_queue`, in the caller's transaction and without a lock; a
/// sequencer moves what has committed into `event_records`, in an order that no reader can overtake.
pub type PostgresStore = SqlStore<Postgres>;

/// Those beside the tables of the feed, and these.
const BESIDE: &[File] = &[
    (
        1,
        "beside",
        include_str!("../../../migrations/postgres/0001_beside.sql"),
    ),
    (
        3,
        "consumers",
        include_str!("../../../migrations/postgres/0003_consumers.sql"),
    ),
    (
        4,
        "fingerprints",
        include_str!("../../../migrations/postgres/0004_fingerprints.sql"),
    ),
    (
        5,
        "console",
        include_str!("../../../migrations/postgres/0005_console.sql"),
    ),
    (
        6,
        "last failure",
        include_str!("../../../migrations/postgres/0006_last_failure.sql"),
    ),
];
const TABLES: &[File] = &[(
    2,
    "tables",
    include_str!("../../../migrations/postgres/0002_tables.sql"),
)];

/// Held while tables are made; any number that nobody else uses.
const MIGRATION_LOCK: i64 = i64::from_be_bytes(*b"atomfeed");

impl PostgresStore {
    /// Connects, and makes the tables where they are missing, in a schema, which is made too, or
    /// where the connection looks.
    ///
    /// `url` is `postgres://USER:PASSWORD@HOST/DATABASE`, with the parameters that sqlx knows. An
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
            "connecting to PostgreSQL: see whether the server is up, and user, \
                             password and database are right"
        };
        let options = PgConnectOptions::from_str(url).map_err(|error| {
            StoreError::new(
                StoreErrorKind::Refused,
                "reading the URL of a PostgreSQL database",
            )
            .caused_by(error)
        })?;
        // First without the pool, which would try again and again, and then not say why it failed.
        let conn = PgConnection::connect_with(&options)
            .await
            .doing(connecting)?;
        conn.close().await.doing(connecting)?;
        let pool = pool_options()
            .max_connections(20)
            .connect_lazy_with(options);
        Ok(Self::over(pool, schema))
    }
}

/// Finds an index that begins with a column, under a further condition.
macro_rules! index_on {
    ($condition:literal) => {
        concat!(
            "SELECT indexrelid::bigint FROM pg_index
        JOIN pg_class ON pg_class.oid = indrelid
        JOIN pg_namespace ON pg_namespace.oid = relnamespace
        JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
        WHERE nspname = COALESCE(?, current_schema()) AND relname = 'event_records'
        AND attname = ? AND indpred IS NULL",
            $condition
        )
    };
}

impl Dialect for Postgres {
    const NUMBERED_PLACEHOLDERS: bool = true;

    // Looked up first, so that the index on the category is used for those few.
    const OF_FOLDED: &'static str = "category = ANY (ARRAY
        (SELECT category FROM {s}atomfeed_categories WHERE folded = ?))";

    const PLANS_FOR_VALUES: bool = true;

    const ERRORS_END_TRANSACTIONS: bool = true;

    // A statement must see what was committed before it, whatever the pool's own level is.
    const BEGIN: &'static str = "BEGIN ISOLATION LEVEL READ COMMITTED";
    const BEGIN_READING: &'static str = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY";

    const MOVES_IN_ONE_STATEMENT: bool = true;

    const PASS_OVER_IDS: Option<&'static str> =
        Some("SELECT setval(pg_get_serial_sequence('{s}event_records', 'id'), ?)");

    const NOTIFY: Option<&'static str> =
        Some("SELECT pg_notify('atomfeed', COALESCE(?, current_schema()))");

    // Of a join it would expect so many rows that it compiled the query each time.
    const FILLED_GAPS: &'static str = "SELECT first_id, last_id FROM {s}atomfeed_gaps AS gap
        WHERE first_id >= ? AND first_id <= ? AND
         (SELECT MIN(id) FROM {s}event_records WHERE id >= gap.first_id AND id <= gap.last_id)
          IS NOT NULL";

    const COLUMNS: &'static str = "SELECT table_name::text, column_name::text, data_type::text,
         character_maximum_length::bigint, NULL::bigint, NULL::text, datetime_precision::bigint
        FROM information_schema.columns WHERE table_schema = COALESCE(?, current_schema())
        AND table_name IN ('event_records', 'event_records_queue', 'chunking_history',
         'event_records_offset_marker', 'markers', 'failed_events', 'failed_event_retry_log')";

    const INDEX_ON: &'static str = index_on!("");

    // An index on the category alone would be gone through whole for each page.
    const INDEX_IN_ORDER: &'static str = index_on!(
        " AND EXISTS (SELECT 1 FROM pg_attribute AS second WHERE second.attrelid = indrelid
         AND second.attnum = indkey[1] AND second.attname = 'id')"
    );

    const COUNT_LISTED: Option<&'static str> = Some("ANALYZE {s}atomfeed_event_categories");

    // A snapshot's own upper bound will not do for a number: it follows the last transaction that has
    // ended, and younger ones that are open are at or above it, and in no list.
    const TRANSACTIONS: Option<Transactions> = Some(Transactions {
        oldest: "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint",
        number: "SELECT pg_current_xact_id()::text::bigint",
    });

    const MOVE_CLAIMED_MARKER: Option<&'static str> = Some(concat!(
        update_marker!(),
        " AND EXISTS (SELECT 1 FROM {s}atomfeed_claims WHERE feed = ? AND epoch = ? FOR SHARE)"
    ));

    const KEEP_CLAIM: &'static str =
        "SELECT epoch FROM {s}atomfeed_claims WHERE feed = ? FOR SHARE";

    primitives!(PgConnection, bind, cell);

    fn lost(error: &dyn DatabaseError) -> Option<StoreErrorKind> {
        match error.code().as_deref() {
            // in_failed_sql_transaction
            Some("25P02") => Some(StoreErrorKind::Aborted),
            // no_active_sql_transaction, invalid_savepoint_specification
            Some("25P01" | "3B001") => Some(StoreErrorKind::Broken),
            _ => None,
        }
    }

    fn concerns_a_row(error: &dyn DatabaseError) -> bool {
        match error.code().as_deref() {
            // sequence_generator_limit_exceeded, numeric_value_out_of_range: of the columns of an event
            // its id alone is a number, and there is no id left.
            Some("2200H" | "22003") => false,
            // data_exception, integrity_constraint_violation; program_limit_exceeded: too long for an
            // index.
            Some(code) => code.starts_with("22") || code.starts_with("23") || code == "54000",
            None => false,
        }
    }

    async fn listen(store: &PostgresStore) -> StoreResult<Box<dyn NewsListener>> {
        Ok(Box::new(PostgresListener::of(store).await?))
    }

    fn column(found: &Found) -> Column {
        match found.kind.as_str() {
            "timestamp without time zone" | "timestamp with time zone" => Column::Time {
                zoned: found.kind.ends_with("with time zone"),
                fractions: found.digits.is_none_or(|digits| digits == 6),
                unix: false,
            },
            kind if kind.contains("char") || kind == "text" => Column::Text {
                characters: found.characters,
                bytes: None,
                alphabet: Alphabet::Unicode,
            },
            _ => Column::Other,
        }
    }

    async fn migrate(store: &PostgresStore, adopts: bool) -> StoreResult<()> {
        let doing = || "making the tables of the feed in PostgreSQL";
        // One transaction, which holds the lock and ends with it.
        let mut transaction = store.begin_writing(doing).await?;
        let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(MIGRATION_LOCK);
        lock.execute(&mut *transaction).await.doing(doing)?;
        if let Some(schema) = &store.schema {
            // Looked for first: making one is refused to who may not, also where it is there.
            let look = sqlx::query("SELECT 1 WHERE to_regnamespace($1) IS NOT NULL");
            let look = look.bind(schema.as_str()).fetch_optional(&mut *transaction);
            let is_missing = look.await.doing(doing)?.is_none();
            let make =
                (is_missing && !adopts).then(|| format!("CREATE SCHEMA IF NOT EXISTS {schema}"));
            let search = format!("SET LOCAL search_path TO {schema}");
            for sql in make.into_iter().chain([search]) {
                let query = sqlx::query(AssertSqlSafe(sql));
                query.execute(&mut *transaction).await.doing(doing)?;
            }
        }
        migrations::run(&mut *transaction, BESIDE).await?;
        migrations::claim(store, &mut transaction, adopts).await?;
        if !adopts {
            migrations::run(&mut *transaction, TABLES).await?;
        }
        transaction.commit().await.doing(doing)
    }
}

fn bind<'q>(
    query: Query<'q, Postgres, PgArguments>,
    value: Value,
) -> Query<'q, Postgres, PgArguments> {
    match value {
        Value::Int(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
        Value::Garbled(value) => query.bind(value),
        Value::Time(value) => query.bind(value),
        Value::LocalTime(value) => query.bind(value),
    }
}

/// In microseconds since 2000.
const YEARS_1_TO_9999: std::ops::Range<i64> = -63_082_281_600_000_000..252_455_616_000_000_000;

fn cell(row: &PgRow, index: usize) -> sqlx::Result<Value> {
    let raw = row.try_get_raw(index)?;
    if raw.is_null() {
        return Ok(Value::Text(None));
    }
    let kind = raw.type_info().name().to_owned();
    Ok(match kind.as_str() {
        "INT2" => Value::from(i64::from(row.try_get::<i16, _>(index)?)),
        "INT4" => Value::from(i64::from(row.try_get::<i32, _>(index)?)),
        "INT8" => Value::from(row.try_get::<i64, _>(index)?),
        "TIMESTAMP" | "TIMESTAMPTZ" => {
            // As it is sent: microseconds since 2000, and the ends of their range for infinity.
            let micros: i64 = row.try_get_unchecked(index)?;
            match kind.as_str() {
                // As a text it is refused where the time matters, and only there.
                _ if !YEARS_1_TO_9999.contains(&micros) => {
                    Value::from("a time that is not in the years 1 to 9999")
                }
                "TIMESTAMP" => Value::LocalTime(Some(row.try_get(index)?)),
                _ => Value::from(row.try_get::<DateTime<Utc>, _>(index)?),
            }
        }
        _ => Value::Text(Some(row.try_get(index)?)),
    })
}
