//! The tables in SQL databases, through sqlx.
//!
//! Every statement is written once, with `?` placeholders; a [`Dialect`] says how a database runs
//! it. A further database adds a dialect, and no store.

mod consumer;
mod dialect;
mod error;
mod feed;
mod migrations;
#[cfg(feature = "mysql")]
mod mysql;
mod outbox;
#[cfg(feature = "postgres")]
mod postgres;
mod schema;
mod sequencer;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statements;
mod value;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use sqlx::pool::PoolConnection;
use sqlx::{Pool, Transaction};

pub use self::dialect::Dialect;
use self::error::Doing;
#[cfg(feature = "mysql")]
pub use self::mysql::MySqlStore;
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresStore;
pub use self::schema::SchemaName;
#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteStore;
use self::statements::Statements;
pub use self::value::{Row, Value};
use super::StoreResult;

/// Events, markers and failures in the tables of a database. Clones share its pool.
pub struct SqlStore<D: Dialect> {
    pool: Pool<D>,
    schema: Option<SchemaName>,
    statements: Arc<Statements>,
}

impl<D: Dialect> SqlStore<D> {
    /// The tables that are reached through the application's own pool, in a schema, or where the
    /// connection looks.
    ///
    /// The tables must be there; see the constructors of the particular store for making them.
    pub fn over(pool: Pool<D>, schema: Option<&SchemaName>) -> Self {
        Self {
            pool,
            schema: schema.cloned(),
            statements: Arc::new(Statements::of::<D>(schema)),
        }
    }

    /// The pool through which the tables are reached.
    pub fn pool(&self) -> &Pool<D> {
        &self.pool
    }

    /// A statement as this database takes it, with `?` for each value.
    #[cfg(feature = "testing")]
    pub(crate) fn render(statement: &'static str) -> sqlx::SqlStr {
        Statements::of::<D>(None).get(statement)
    }

    /// Makes the tables, and adds what is missing to those of an earlier version. Safe to call
    /// again, and from several processes at once; killed half-way, the next call goes on.
    ///
    /// # Errors
    ///
    /// When tables of these names are there that are not ours, or nothing may be written.
    pub async fn migrate(&self) -> StoreResult<()> {
        D::migrate(self).await
    }

    async fn connection(&self) -> StoreResult<PoolConnection<D>> {
        self.pool
            .acquire()
            .await
            .doing(|| "getting a connection to the database")
    }

    /// Opens a transaction that will write, on a connection of its own.
    async fn begin_writing<W: Into<Cow<'static, str>>>(
        &self,
        what: impl FnOnce() -> W,
    ) -> StoreResult<Transaction<'static, D>> {
        self.pool.begin_with(D::BEGIN).await.doing(what)
    }

    /// Runs a query on a connection of its own: what is read was committed.
    async fn read(
        &self,
        what: &'static str,
        statement: &'static str,
        values: Vec<Value>,
    ) -> StoreResult<Vec<Row>> {
        let mut conn = self.connection().await?;
        self.fetch(&mut conn, || what, statement, values).await
    }

    /// Runs a statement, and says how many rows it changed.
    async fn execute<W: Into<Cow<'static, str>>>(
        &self,
        conn: &mut D::Connection,
        what: impl FnOnce() -> W,
        statement: &'static str,
        values: Vec<Value>,
    ) -> StoreResult<u64> {
        D::execute(conn, self.statements.get(statement), values)
            .await
            .doing(what)
    }

    /// Runs a query, and takes all of its rows.
    async fn fetch<W: Into<Cow<'static, str>>>(
        &self,
        conn: &mut D::Connection,
        what: impl FnOnce() -> W,
        statement: &'static str,
        values: Vec<Value>,
    ) -> StoreResult<Vec<Row>> {
        D::fetch(conn, self.statements.get(statement), values)
            .await
            .doing(what)
    }
}

impl<D: Dialect> Clone for SqlStore<D> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            schema: self.schema.clone(),
            statements: Arc::clone(&self.statements),
        }
    }
}

impl<D: Dialect> fmt::Debug for SqlStore<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore")
            .field("pool", &self.pool)
            .field("statements", &self.statements)
            .finish()
    }
}
