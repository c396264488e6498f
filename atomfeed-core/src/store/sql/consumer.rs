use async_trait::async_trait;
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, SqlSafeStr};
use sqlx_core::transaction::TransactionManager;

use super::actions::{SELECT_OPEN, known};
use super::claims::feed_key;
use super::error::Doing;
use super::{Dialect, Row, SqlStore, Value};
use crate::store::{
    Claim, ClaimStore, ConsumerStore, MarkerStore, StoreError, StoreErrorKind, StoreResult,
    UnitOfWork,
};
use crate::{Action, EntryId, FeedUri, Marker, Rebase, Rebased};

// In the statement that begins the transaction: no round trip of its own.
const SAVEPOINT: &str = "SAVEPOINT atomfeed_begun";
const RELEASE: &str = "RELEASE SAVEPOINT atomfeed_begun";
const BACK_TO_SAVEPOINT: &str = "ROLLBACK TO SAVEPOINT atomfeed_begun";

const SELECT_MARKER: &str = "SELECT feed_uri, last_read_entry_id, feed_uri_for_last_read_entry
    FROM {s}markers WHERE feed_uri = ?";
const SELECT_MARKERS: &str = "SELECT feed_uri, last_read_entry_id, feed_uri_for_last_read_entry
    FROM {s}markers ORDER BY feed_uri";
macro_rules! update_marker {
    () => {
        "UPDATE {s}markers SET last_read_entry_id = ?, feed_uri_for_last_read_entry = ?
    WHERE feed_uri = ? AND COALESCE(last_read_entry_id, '') = ?
    AND COALESCE(feed_uri_for_last_read_entry, '') = ?"
    };
}
#[cfg(feature = "postgres")]
pub(super) use update_marker;
const UPDATE_MARKER: &str = update_marker!();
const INSERT_MARKER: &str =
    "INSERT INTO {s}markers (last_read_entry_id, feed_uri_for_last_read_entry, feed_uri)
    SELECT ?, ?, ? FROM (SELECT 1 AS one) AS one
    WHERE NOT EXISTS (SELECT 1 FROM {s}markers WHERE feed_uri = ?)";

#[async_trait]
impl<D: Dialect> ConsumerStore for SqlStore<D> {
    type Conn = D::Connection;

    async fn begin(&self) -> StoreResult<Box<dyn UnitOfWork<Conn = D::Connection>>> {
        Ok(self.open_work().await?)
    }

    fn writes_one_at_a_time(&self) -> bool {
        D::WRITES_ONE_AT_A_TIME
    }

    async fn open_actions(&self, feed_uri: &FeedUri) -> StoreResult<Vec<Action>> {
        let values = vec![feed_key(feed_uri).into()];
        let what = "looking whether something is asked of a consumer";
        let rows = self.read(what, SELECT_OPEN, values).await?;
        known(rows)
    }

    async fn marker(&self, feed_uri: &FeedUri) -> StoreResult<Option<Marker>> {
        let values = vec![feed_uri.as_str().into()];
        one_marker(
            self.read("reading the marker", SELECT_MARKER, values)
                .await?,
        )
    }
}

impl<D: Dialect> SqlStore<D> {
    pub(super) async fn open_work(&self) -> StoreResult<Box<SqlUnitOfWork<D>>> {
        let mut work = Box::new(SqlUnitOfWork::new(self.clone(), self.connection().await?));
        let begin = AssertSqlSafe(format!("{}; {SAVEPOINT}", D::BEGIN));
        D::TransactionManager::begin(&mut work.conn, Some(begin.into_sql_str()))
            .await
            .doing(|| "opening a worker's transaction")?;
        Ok(work)
    }
}

/// An open transaction. Not sqlx's own type, which does not part with its connection: one that a worker
/// may have left in any state is closed.
pub(super) struct SqlUnitOfWork<D: Dialect> {
    pub(super) store: SqlStore<D>,
    pub(super) conn: PoolConnection<D>,
    is_open: bool,
    /// Whether a worker has it, or it is otherwise unknown in which state it is.
    is_lent: bool,
}

impl<D: Dialect> Drop for SqlUnitOfWork<D> {
    fn drop(&mut self) {
        if self.is_lent {
            self.conn.close_on_drop();
        } else if self.is_open {
            // Sent before the next one's first statement.
            D::TransactionManager::start_rollback(&mut self.conn);
        }
    }
}

impl<D: Dialect> SqlUnitOfWork<D> {
    /// A transaction that is about to be opened.
    pub(super) fn new(store: SqlStore<D>, conn: PoolConnection<D>) -> Self {
        Self {
            store,
            conn,
            is_open: true,
            is_lent: false,
        }
    }

    pub(super) async fn execute(
        &mut self,
        what: &'static str,
        statement: &'static str,
        values: Vec<Value>,
    ) -> StoreResult<u64> {
        self.store
            .execute(&mut self.conn, || what, statement, values)
            .await
    }

    pub(super) async fn fetch(
        &mut self,
        what: &'static str,
        statement: &'static str,
        values: Vec<Value>,
    ) -> StoreResult<Vec<Row>> {
        self.store
            .fetch(&mut self.conn, || what, statement, values)
            .await
    }
}

#[async_trait]
impl<D: Dialect> UnitOfWork for SqlUnitOfWork<D> {
    type Conn = D::Connection;

    fn conn(&mut self) -> &mut D::Connection {
        self.is_lent = true;
        &mut self.conn
    }

    async fn take_back(&mut self) -> StoreResult<()> {
        let Err(error) = D::run(&mut self.conn, RELEASE).await else {
            self.is_lent = false;
            return Ok(());
        };
        let mut lost = error.as_database_error().and_then(D::lost);
        // An aborted transaction knows its savepoints: it may be another one than ours.
        if lost == Some(StoreErrorKind::Aborted)
            && D::run(&mut self.conn, BACK_TO_SAVEPOINT).await.is_err()
        {
            lost = Some(StoreErrorKind::Broken);
        }
        Err(match lost {
            None => return Err(error).doing(|| "taking a transaction back from a worker"),
            Some(StoreErrorKind::Broken) => StoreError::broken().caused_by(error),
            Some(kind) => {
                let context = "taking a transaction back from the worker: a statement of it has \
                               failed, and its error was passed over; all of it is undone; have the \
                               worker return its errors";
                StoreError::new(kind, context).caused_by(error)
            }
        })
    }

    async fn move_claimed_marker(
        &mut self,
        claim: &Claim,
        from: Option<&Marker>,
        to: &Marker,
    ) -> StoreResult<()> {
        if let (Some(statement), Some(from)) = (D::MOVE_CLAIMED_MARKER, from) {
            let mut values = marker_values(to);
            values.push(to.feed_uri().as_str().into());
            values.extend(marker_values(from));
            values.extend([feed_key(to.feed_uri()).into(), claim.epoch.into()]);
            if self.execute("moving the marker", statement, values).await? > 0 {
                return Ok(());
            }
            // Which of the two it is, is told below.
        }
        self.keep_claim(to.feed_uri(), claim).await?;
        self.move_marker(from, to).await
    }

    async fn commit(mut self: Box<Self>) -> StoreResult<()> {
        // Cut off or failed, it is unknown whether it took effect, and in which state this is.
        self.is_lent = true;
        D::TransactionManager::commit(&mut self.conn)
            .await
            .doing(|| "committing a worker's transaction")?;
        (self.is_open, self.is_lent) = (false, false);
        Ok(())
    }

    async fn rollback(mut self: Box<Self>) -> StoreResult<()> {
        self.is_lent = true;
        D::TransactionManager::rollback(&mut self.conn)
            .await
            .doing(|| "rolling a worker's transaction back")?;
        (self.is_open, self.is_lent) = (false, false);
        Ok(())
    }
}

#[async_trait]
impl<D: Dialect> MarkerStore for SqlUnitOfWork<D> {
    async fn marker(&mut self, feed_uri: &FeedUri) -> StoreResult<Option<Marker>> {
        let values = vec![feed_uri.as_str().into()];
        one_marker(
            self.fetch("reading the marker", SELECT_MARKER, values)
                .await?,
        )
    }

    async fn markers(&mut self) -> StoreResult<Vec<Marker>> {
        let rows = self
            .fetch("reading the markers", SELECT_MARKERS, Vec::new())
            .await?;
        rows.into_iter().map(marker).collect()
    }

    async fn move_marker(&mut self, from: Option<&Marker>, to: &Marker) -> StoreResult<()> {
        let mut values = marker_values(to);
        let feed_uri = to.feed_uri().as_str();
        values.push(feed_uri.into());
        let sql = match from {
            Some(from) => {
                values.extend(marker_values(from));
                UPDATE_MARKER
            }
            None => {
                values.push(feed_uri.into());
                // Somebody else's table may have no key that would keep out a second row.
                let what = "locking the markers";
                self.fetch(what, D::LOCK_MARKERS, Vec::new()).await?;
                INSERT_MARKER
            }
        };
        match self.execute("moving the marker", sql, values).await {
            Ok(0) => Err(StoreError::marker_conflict(to)),
            Ok(_) => Ok(()),
            // Two have made it at the same moment.
            Err(error) if error.kind() == StoreErrorKind::Duplicate => {
                Err(StoreError::marker_conflict(to).caused_by(error))
            }
            Err(error) => Err(error),
        }
    }

    async fn would_rebase(&mut self, rebase: &Rebase) -> StoreResult<Rebased> {
        self.count_rebased(rebase).await
    }

    async fn rebase(&mut self, rebase: &Rebase) -> StoreResult<Rebased> {
        self.rebase_rows(rebase).await
    }
}

/// Entry and page; no NULL is ever written, since some tables refuse it.
fn marker_values(marker: &Marker) -> Vec<Value> {
    let entry = marker.last_read_entry_id().map_or("", EntryId::as_str);
    vec![entry.into(), marker.page_uri().unwrap_or_default().into()]
}

/// A table without a key on the feed may hold several rows for it: alike, they are one.
fn one_marker(rows: Vec<Row>) -> StoreResult<Option<Marker>> {
    let mut markers = rows.into_iter().map(marker);
    let first = markers.next().transpose()?;
    for other in markers {
        if Some(other?) != first {
            let feed = first.as_ref().map_or("", |first| first.feed_uri().as_str());
            let context = format!(
                "reading the marker of {feed}: the table markers has several rows for it, which \
                 differ; delete all but the right one"
            );
            return Err(StoreError::new(StoreErrorKind::InvalidData, context));
        }
    }
    Ok(first)
}

fn marker(mut row: Row) -> StoreResult<Marker> {
    let mut marker = Marker::new(feed_uri(&mut row)?);
    if let Some(entry) = EntryId::new(row.text_or_empty()?) {
        marker = marker.after(entry);
    }
    Ok(marker.on_page(row.text_or_empty()?))
}

pub(super) fn feed_uri(row: &mut Row) -> StoreResult<FeedUri> {
    FeedUri::new(row.text_or_empty()?).map_err(|error| {
        StoreError::new(StoreErrorKind::InvalidData, "reading the column feed_uri").caused_by(error)
    })
}
