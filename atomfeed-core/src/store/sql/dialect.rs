use std::future::Future;

use sqlx::{Connection, Database, SqlStr};

use super::SqlStore;
use super::layout::Column;
use super::value::{Row, Value};
use crate::store::{HearsNothing, NewsListener, StoreResult};

/// How a database runs the statements of the store.
pub trait Dialect: Database<Connection: Connection<Database = Self>> {
    /// Whether placeholders are `$1`, `$2`, … instead of `?`.
    const NUMBERED_PLACEHOLDERS: bool = false;

    /// What stands after INSERT, and at the end of the statement, so that a row that is there
    /// already is left alone.
    const INSERT_UNLESS_THERE: (&'static str, &'static str) = ("", "ON CONFLICT DO NOTHING");

    /// Opens a transaction that will write.
    const BEGIN: &'static str;

    /// Opens a transaction that reads what was committed when it began, or when it reads, and keeps nobody
    /// from writing.
    const BEGIN_READING: &'static str;

    /// Reads strategy, sealed_until and last_timestamp of `atomfeed_feed_state`, and holds a lock
    /// on the row until the end of the transaction.
    const LOCK_FEED_STATE: &'static str =
        "SELECT strategy, sealed_until, last_timestamp FROM {s}atomfeed_feed_state WHERE id = 1
        FOR UPDATE";

    /// Holds a lock until the end of the transaction under which markers are made.
    const LOCK_MARKERS: &'static str =
        "SELECT name FROM {s}atomfeed_locks WHERE name = 'markers' FOR UPDATE";

    /// Reads epoch, consumer and beats of a row of `atomfeed_claims`, and holds a lock on it until the
    /// end of the transaction.
    const LOCK_CLAIM: &'static str =
        "SELECT epoch, consumer, beats FROM {s}atomfeed_claims WHERE feed = ? FOR UPDATE";

    /// Reads the epoch of a row of `atomfeed_claims`, and keeps others from writing it until the end of
    /// the transaction.
    const KEEP_CLAIM: &'static str;

    /// Moves a marker while its feed is claimed in an epoch, and keeps others from writing the row of
    /// `atomfeed_claims` until the end of the transaction, where one statement can do both. Behind the values
    /// of the statement that moves it anyway come feed and epoch.
    const MOVE_CLAIMED_MARKER: Option<&'static str> = None;

    /// Whether a statement that fails takes the whole transaction with it. Where it does, a row that
    /// may be there already is guarded against in the statement itself.
    const ERRORS_END_TRANSACTIONS: bool = false;

    /// Whether events become visible in the order of their ids without further ado, since one
    /// transaction writes at a time. Elsewhere they go through `event_records_queue`.
    const WRITES_ONE_AT_A_TIME: bool = false;

    /// Whether LOWER knows the letters of ASCII alone.
    const LOWERS_ASCII_ALONE: bool = false;

    /// Whether a delete takes a LIMIT, and needs it, since it would lock the row after the last one.
    const LIMITS_DELETES: bool = false;

    /// Whether one statement can move rows from a table into another.
    const MOVES_IN_ONE_STATEMENT: bool = false;

    /// What stands behind the table where rows are best found by their ids, and the database would
    /// rather go through an index on something else.
    const BY_ID: &'static str = "";

    /// Has `event_records` give ids above the value, where inserting one does not do that.
    const PASS_OVER_IDS: Option<&'static str> = None;

    /// Asks how the column category of `event_records` compares, in the schema that is the value:
    /// character set and collation.
    const CATEGORY_COLLATION: Option<&'static str> = None;

    /// Tells other processes, once the transaction commits, that events were moved in the schema that is
    /// the value.
    const NOTIFY: Option<&'static str> = None;

    /// Runs a statement, and says how many rows it changed.
    fn execute(
        conn: &mut Self::Connection,
        sql: SqlStr,
        values: Vec<Value>,
    ) -> impl Future<Output = sqlx::Result<u64>> + Send;

    /// Runs a query, and takes all of its rows.
    fn fetch(
        conn: &mut Self::Connection,
        sql: SqlStr,
        values: Vec<Value>,
    ) -> impl Future<Output = sqlx::Result<Vec<Row>>> + Send;

    /// The same, of a statement that is kept prepared, or one that is planned anew for its values.
    fn fetch_with(
        conn: &mut Self::Connection,
        sql: SqlStr,
        values: Vec<Value>,
        persistent: bool,
    ) -> impl Future<Output = sqlx::Result<Vec<Row>>> + Send;

    /// Runs a statement that cannot be prepared everywhere.
    fn run(
        conn: &mut Self::Connection,
        sql: &'static str,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// What has become of a transaction, as the error says that releasing its savepoint gave:
    /// [`StoreErrorKind::Aborted`](crate::store::StoreErrorKind::Aborted) or
    /// [`StoreErrorKind::Broken`](crate::store::StoreErrorKind::Broken).
    fn lost(error: &dyn sqlx::error::DatabaseError) -> Option<crate::store::StoreErrorKind>;

    /// Whether an error that a write gave is that of the row, which no try will write: a key that is there
    /// already, or a value that its column cannot hold. Whatever else may be, a lock that was not had in
    /// time, a full disk or a right that is missing, goes for every row, until it is mended.
    fn concerns_a_row(error: &dyn sqlx::error::DatabaseError) -> bool;

    /// Whether a statement that is planned for its values is faster where these are rare.
    const PLANS_FOR_VALUES: bool = false;

    /// The condition that an event is of a category in any of the spellings that are kept.
    const OF_FOLDED: &'static str =
        "category IN (SELECT category FROM {s}atomfeed_categories WHERE folded = ?)";

    /// Says by how many seconds the connection's clock differs from UTC, in winter and in summer, where
    /// times are converted to its zone.
    const SECONDS_FROM_UTC: Option<&'static str> = None;

    /// Whether categories are matched as somebody else's column compares them, where it has a
    /// collation of its own.
    const COLLATES: bool = false;

    /// Finds those gaps in which there are events, of the gaps that begin with an id from the one value to
    /// the other.
    const FILLED_GAPS: &'static str = "SELECT DISTINCT gap.first_id, gap.last_id
        FROM {s}atomfeed_gaps AS gap JOIN {s}event_records AS event_records
         ON event_records.id >= gap.first_id AND event_records.id <= gap.last_id
        WHERE gap.first_id >= ? AND gap.first_id <= ?";

    /// Lists the columns of the tables of the feed, in the schema that is the value: table, column,
    /// type, greatest length in characters, in bytes, character set, digits of a second.
    const COLUMNS: &'static str;

    /// Finds an index of `event_records` that begins with a column: schema and column are the values.
    const INDEX_ON: &'static str;

    /// The same of an index in which the rows that are alike there stand in the order of their ids. By
    /// default every index is one, as where all of them end in the primary key.
    const INDEX_IN_ORDER: &'static str = Self::INDEX_ON;

    /// How it is found out which transactions are open, where the database says so.
    const TRANSACTIONS: Option<Transactions> = None;

    /// Has the database count what is in the list of ours of which category events are, where it would
    /// not know that for a while after many are listed.
    const COUNT_LISTED: Option<&'static str> = None;

    /// The column category of `event_records`, so that texts that differ are told apart, whatever they
    /// are to the column.
    const SPELLING: &'static str = "category";

    /// Listens for what [`NOTIFY`](Self::NOTIFY) tells, where there is that.
    fn listen(
        _store: &SqlStore<Self>,
    ) -> impl Future<Output = StoreResult<Box<dyn NewsListener>>> + Send {
        std::future::ready(Ok(Box::new(HearsNothing) as Box<dyn NewsListener>))
    }

    /// What a column holds.
    fn column(found: &Found) -> Column;

    /// Makes the tables, and adds what is missing to those of an earlier version; of somebody else's,
    /// only those beside.
    fn migrate(
        store: &SqlStore<Self>,
        adopts: bool,
    ) -> impl Future<Output = StoreResult<()>> + Send;
}

/// Statements of a database that numbers its transactions in the order in which they begin to write.
#[derive(Debug, Clone, Copy)]
pub struct Transactions {
    /// Says the number of the oldest that is open: all with lower numbers have ended.
    pub oldest: &'static str,
    /// Takes a number, and says it: all that have one already have lower ones.
    pub number: &'static str,
}

/// A column as the database describes it.
#[derive(Debug)]
pub struct Found {
    /// The name of its type, in lower case.
    pub kind: String,
    /// So many characters at most.
    pub characters: Option<u64>,
    /// So many bytes at most.
    pub bytes: Option<u64>,
    /// The name of its character set, where it has one of its own.
    pub charset: Option<String>,
    /// How many digits of a second are kept.
    pub digits: Option<u64>,
}

/// The primitives of a [`Dialect`], for a database type of sqlx. They cannot be written
/// generically: what they need of `sqlx::Database` cannot be said in a bound.
///
/// `$bind` turns a [`Value`] into what the query is given; `$cell` turns a column into a [`Value`].
macro_rules! primitives {
    ($connection:ty, $bind:path, $cell:path) => {
        async fn execute(
            conn: &mut $connection,
            sql: sqlx::SqlStr,
            values: Vec<Value>,
        ) -> sqlx::Result<u64> {
            let mut query = sqlx::query(sql);
            for value in values {
                query = $bind(query, value);
            }
            Ok(query.execute(conn).await?.rows_affected())
        }

        async fn run(conn: &mut $connection, sql: &'static str) -> sqlx::Result<()> {
            sqlx::raw_sql(sql).execute(conn).await.map(drop)
        }

        async fn fetch(
            conn: &mut $connection,
            sql: sqlx::SqlStr,
            values: Vec<Value>,
        ) -> sqlx::Result<Vec<Row>> {
            Self::fetch_with(conn, sql, values, true).await
        }

        async fn fetch_with(
            conn: &mut $connection,
            sql: sqlx::SqlStr,
            values: Vec<Value>,
            persistent: bool,
        ) -> sqlx::Result<Vec<Row>> {
            let mut query = sqlx::query(sql).persistent(persistent);
            for value in values {
                query = $bind(query, value);
            }
            let rows = query.fetch_all(conn).await?;
            rows.iter()
                .map(|row| {
                    let cells = (0..sqlx::Row::len(row)).map(|index| $cell(row, index));
                    Ok(Row::new(cells.collect::<sqlx::Result<_>>()?))
                })
                .collect()
        }
    };
}

pub(super) use primitives;
