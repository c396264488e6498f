use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, Utc};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection, Postgres, Row as _, TypeInfo, ValueRef};

use super::dialect::{Dialect, primitives};
use super::error::Doing;
use super::migrations::{self, File};
use super::value::{Row, Value};
use super::{SchemaName, SqlStore};
use crate::store::{StoreError, StoreErrorKind, StoreResult};

/// Events, markers and failures in PostgreSQL.
///
/// Publishing inserts into `event_records_queue`, in the caller's transaction and without a lock; a
/// sequencer moves what has committed into `event_records`, in an order that no reader can overtake.
pub type PostgresStore = SqlStore<Postgres>;

const MIGRATIONS: &[File] = &[(
    1,
    "tables",
    include_str!("../../../migrations/postgres/0001_tables.sql"),
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
        let pool = PgPoolOptions::new()
            .max_connections(8)
            .connect_lazy_with(options);
        let store = Self::over(pool, schema);
        store.migrate().await?;
        Ok(store)
    }
}

impl Dialect for Postgres {
    const NUMBERED_PLACEHOLDERS: bool = true;

    const ERRORS_END_TRANSACTIONS: bool = true;

    // A statement must see what was committed before it, whatever the pool's own level is.
    const BEGIN: &'static str = "BEGIN ISOLATION LEVEL READ COMMITTED";

    primitives!(PgConnection, bind, cell);

    async fn migrate(store: &PostgresStore) -> StoreResult<()> {
        let doing = || "making the tables of the feed in PostgreSQL";
        // One transaction, which holds the lock and ends with it.
        let mut transaction = store.begin_writing(doing).await?;
        let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(MIGRATION_LOCK);
        lock.execute(&mut *transaction).await.doing(doing)?;
        if let Some(schema) = &store.schema {
            for sql in [
                format!("CREATE SCHEMA IF NOT EXISTS {schema}"),
                format!("SET LOCAL search_path TO {schema}"),
            ] {
                let query = sqlx::query(AssertSqlSafe(sql));
                query.execute(&mut *transaction).await.doing(doing)?;
            }
        }
        migrations::run(&mut *transaction, MIGRATIONS).await?;
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
        Value::Time(value) => query.bind(value),
    }
}

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
        "TIMESTAMP" => Value::from(row.try_get::<NaiveDateTime, _>(index)?.and_utc()),
        "TIMESTAMPTZ" => Value::from(row.try_get::<DateTime<Utc>, _>(index)?),
        _ => Value::Text(Some(row.try_get(index)?)),
    })
}
