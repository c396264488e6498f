use std::future::Future;

use sqlx::{Connection, Database};

use super::value::{Row, Value};

/// How a database runs the statements of the store.
pub trait Dialect: Database<Connection: Connection<Database = Self>> {
    /// Opens a transaction that will write.
    const BEGIN: &'static str;

    /// Reads strategy, sealed_until and last_timestamp of `atomfeed_feed_state`, and holds a lock
    /// on the row until the end of the transaction.
    const LOCK_FEED_STATE: &'static str;

    /// Runs a statement, and says how many rows it changed.
    fn execute(
        conn: &mut Self::Connection,
        sql: &'static str,
        values: Vec<Value>,
    ) -> impl Future<Output = sqlx::Result<u64>> + Send;

    /// Runs a query, and takes all of its rows.
    fn fetch(
        conn: &mut Self::Connection,
        sql: &'static str,
        values: Vec<Value>,
    ) -> impl Future<Output = sqlx::Result<Vec<Row>>> + Send;
}

/// The two primitives of a [`Dialect`], for a database type of sqlx. They cannot be written
/// generically: what they need of `sqlx::Database` cannot be said in a bound.
///
/// `$bind` turns a [`Value`] into what the query is given; `$cell` turns a column into a [`Value`].
macro_rules! primitives {
    ($connection:ty, $bind:path, $cell:path) => {
        async fn execute(
            conn: &mut $connection,
            sql: &'static str,
            values: Vec<Value>,
        ) -> sqlx::Result<u64> {
            let mut query = sqlx::query(sql);
            for value in values {
                query = $bind(query, value);
            }
            Ok(query.execute(conn).await?.rows_affected())
        }

        async fn fetch(
            conn: &mut $connection,
            sql: &'static str,
            values: Vec<Value>,
        ) -> sqlx::Result<Vec<Row>> {
            let mut query = sqlx::query(sql);
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
