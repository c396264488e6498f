//! The tables in SQL databases, through sqlx.
//!
//! Every statement is written once, with `?` placeholders; a [`Dialect`] says how a database runs
//! it. A further database adds a dialect, and no store.

mod consumer;
mod dialect;
mod error;
mod feed;
mod outbox;
mod sqlite;
mod value;

use std::fmt;

use sqlx::Pool;
use sqlx::pool::PoolConnection;

pub use self::dialect::Dialect;
use self::error::Doing;
pub use self::sqlite::SqliteStore;
pub use self::value::{Row, Value};
use super::StoreResult;

/// Events, markers and failures in the tables of a database. Clones share its pool.
pub struct SqlStore<D: Dialect> {
    pool: Pool<D>,
}

impl<D: Dialect> Clone for SqlStore<D> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
        }
    }
}

impl<D: Dialect> fmt::Debug for SqlStore<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore")
            .field("pool", &self.pool)
            .finish()
    }
}

impl<D: Dialect> SqlStore<D> {
    /// The tables that are reached through the application's own pool.
    ///
    /// The tables must be there; see the constructors of the particular store for making them.
    pub fn over(pool: Pool<D>) -> Self {
        Self { pool }
    }

    /// The pool through which the tables are reached.
    pub fn pool(&self) -> &Pool<D> {
        &self.pool
    }

    async fn connection(&self) -> StoreResult<PoolConnection<D>> {
        self.pool
            .acquire()
            .await
            .doing(|| "getting a connection to the database")
    }

    /// Runs a query on a connection of its own: what is read was committed.
    async fn read(
        &self,
        what: &'static str,
        sql: &'static str,
        values: Vec<Value>,
    ) -> StoreResult<Vec<Row>> {
        let mut conn = self.connection().await?;
        D::fetch(&mut conn, sql, values).await.doing(|| what)
    }
}
