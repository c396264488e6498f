//! The tables in SQL databases, through sqlx.
//!
//! Every statement is written once, with `?` placeholders; a [`Dialect`] says how a database runs
//! it. A further database adds a dialect, and no store.

mod actions;
mod adopt;
mod claims;
mod console;
mod consumer;
mod dialect;
mod error;
mod failed_events;
mod failures;
mod feed;
mod hand_back;
mod horizon;
mod layout;
#[cfg(feature = "postgres")]
mod listener;
mod matching;
mod migrations;
#[cfg(feature = "mysql")]
mod mysql;
mod outbox;
#[cfg(feature = "postgres")]
mod postgres;
mod rebase;
mod schema;
mod sequencer;
mod spellings;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statements;
mod status;
mod upkeep;
mod value;
mod zone;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};

use sqlx::pool::PoolConnection;
use sqlx::{Pool, Transaction};

pub use self::adopt::Adoption;
pub use self::dialect::{Dialect, Found, Transactions};
use self::error::Doing;
pub(super) use self::error::{kind_of, may_end_transaction};
pub use self::hand_back::Obstacle;
use self::horizon::Horizon;
use self::layout::Layout;
pub use self::layout::{Alphabet, Column};
use self::matching::Matching;
#[cfg(feature = "mysql")]
pub use self::mysql::MySqlStore;
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresStore;
pub use self::schema::SchemaName;
#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteStore;
use self::statements::{Form, Insert, Statements};
pub use self::value::{Row, Value};
pub use self::zone::TableZone;
use super::StoreResult;

/// Events, markers and failures in the tables of a database. Clones share its pool.
pub struct SqlStore<D: Dialect> {
    pool: Pool<D>,
    schema: Option<SchemaName>,
    statements: Arc<Statements>,
    /// Up to where events are shown, where another program may still write one below.
    horizon: Option<Arc<Horizon>>,
    /// Up to which id the spellings of categories are known that another program has written.
    learnt_through: Arc<AtomicI64>,
    /// By lower case, how a category is spelled in events up to an id.
    spellings: Arc<Mutex<HashMap<String, Spelled>>>,
    /// Whether this library gives events their places.
    sequences: bool,
    /// Whether old events may be deleted.
    prunes: bool,
    /// Whether a uuid is looked for, so that an event with a known one can be refused.
    knows_uuids: bool,
}

/// The id up to which it is known how a category is spelled, and how that is.
type Spelled = (i64, Vec<String>);

impl<D: Dialect> SqlStore<D> {
    /// The tables that are reached through the application's own pool, in a schema, or where the
    /// connection looks.
    ///
    /// The tables must be there; see the constructors of the particular store for making them.
    pub fn over(pool: Pool<D>, schema: Option<&SchemaName>) -> Self {
        Self {
            pool,
            schema: schema.cloned(),
            statements: Arc::new(Statements::of::<D>(
                schema,
                Layout::default(),
                Matching::default(),
            )),
            horizon: None,
            learnt_through: Arc::default(),
            spellings: Arc::default(),
            sequences: true,
            prunes: true,
            knows_uuids: true,
        }
    }

    /// Matches categories only as they are spelled; else the feed `/encounter/` carries events stored
    /// as `Encounter`, too. A feed whose readers have begun stays as it is: its pages differ.
    #[must_use]
    pub fn with_exact_categories(mut self) -> Self {
        let matching = match self.statements.matching() {
            Matching::Folded | Matching::Exact => Matching::Exact,
            Matching::Collation | Matching::ExactBytes => Matching::ExactBytes,
        };
        self.set_statements(self.statements.layout().clone(), matching);
        self
    }

    fn set_statements(&mut self, layout: Layout, matching: Matching) {
        let schema = self.schema.as_ref();
        self.statements = Arc::new(Statements::of::<D>(schema, layout, matching));
    }

    fn layout(&self) -> &Layout {
        self.statements.layout()
    }

    /// The pool through which the tables are reached.
    pub fn pool(&self) -> &Pool<D> {
        &self.pool
    }

    /// A statement as this database takes it, with `?` for each value.
    #[cfg(feature = "testing")]
    pub(crate) fn render(statement: &'static str) -> sqlx::SqlStr {
        Statements::of::<D>(None, Layout::default(), Matching::default()).get(statement)
    }

    /// Makes the tables, and adds what is missing to those of an earlier version. Safe to call
    /// again, and from several processes at once; killed half-way, the next call goes on.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Refused`](super::StoreErrorKind::Refused) when tables of these names are there
    /// that are not ours (see [`adopt`](Self::adopt)); else when nothing may be written.
    pub async fn migrate(&self) -> StoreResult<()> {
        D::migrate(self, false).await
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

    /// Inserts rows, of each the values of the columns that the table has, as they take them.
    async fn insert<W: Into<Cow<'static, str>>>(
        &self,
        conn: &mut D::Connection,
        what: impl FnOnce() -> W,
        insert: &Insert,
        rows: impl IntoIterator<Item = Vec<Value>>,
    ) -> StoreResult<u64> {
        let rows: Vec<_> = rows.into_iter().collect();
        let sql = self.statements.insert(insert, Form::Rows(rows.len()));
        let values = rows.into_iter().flat_map(|row| self.cells(insert, row));
        D::execute(conn, sql, values.collect()).await.doing(what)
    }

    /// The values of a row for the columns that the table has, as they take them.
    fn cells(&self, insert: &Insert, row: Vec<Value>) -> Vec<Value> {
        let layout = self.layout();
        let cells = insert.columns.iter().zip(row);
        let cells = cells.filter(|(column, _)| layout.has(insert.table, column));
        cells
            .map(|(column, value)| layout.value(insert.table, column, value))
            .collect()
    }

    /// Why a row does not fit the table.
    fn misfit(&self, insert: &Insert, row: &[Value]) -> Option<String> {
        if !self.layout().is_adopted() {
            return None;
        }
        let mut cells = insert.columns.iter().zip(row);
        cells.find_map(|(column, value)| self.layout().misfit(insert.table, column, value))
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

/// A pool that asks a connection whether it lives only when it has rested: else every reading would take
/// two round trips. What breaks in between is an error, once, and the next connection is a new one.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) fn pool_options<D: Dialect>() -> sqlx::pool::PoolOptions<D> {
    use sqlx::Connection;

    let rested = std::time::Duration::from_millis(500);
    sqlx::pool::PoolOptions::new()
        .test_before_acquire(false)
        .before_acquire(move |conn: &mut D::Connection, known| {
            Box::pin(async move { Ok(known.idle_for < rested || conn.ping().await.is_ok()) })
        })
}

impl<D: Dialect> Clone for SqlStore<D> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            schema: self.schema.clone(),
            statements: Arc::clone(&self.statements),
            horizon: self.horizon.clone(),
            learnt_through: Arc::clone(&self.learnt_through),
            spellings: Arc::clone(&self.spellings),
            sequences: self.sequences,
            prunes: self.prunes,
            knows_uuids: self.knows_uuids,
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
