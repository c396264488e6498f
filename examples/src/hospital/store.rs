//! One database for each system: a file of SQLite, or a schema of PostgreSQL. What a system keeps is
//! written once, for both.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, ensure};
use async_trait::async_trait;
use atomfeed_core::store::sql::{Dialect, SqlStore};
use atomfeed_core::store::{PostgresStore, SchemaName, SqliteStore};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Column, Database, Postgres, Row as _, Sqlite, TypeInfo, ValueRef};

/// A value of a statement, and of a row: what both databases have.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// Of a `TEXT` column.
    Text(String),
    /// Of a `BIGINT` column.
    Number(i64),
    /// NULL, read from either.
    Null,
}

impl Field {
    /// The text; empty where there is none.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Number(_) | Self::Null => "",
        }
    }

    /// The number; 0 where there is none.
    pub fn number(&self) -> i64 {
        match self {
            Self::Number(number) => *number,
            Self::Text(_) | Self::Null => 0,
        }
    }
}

impl From<&str> for Field {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Field {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Field {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<uuid::Uuid> for Field {
    fn from(uuid: uuid::Uuid) -> Self {
        Self::Text(uuid.to_string())
    }
}

/// A connection on which the same SQL runs, whichever database it is of. Columns are `TEXT` or `BIGINT`
/// (`BIGINT` on SQLite, too), placeholders `$1`, `$2`, …, and `ON CONFLICT` works on both.
#[async_trait]
pub trait Sql: Send {
    /// Runs a statement, and says how many rows it has changed.
    ///
    /// # Errors
    ///
    /// As the database has it.
    async fn run(&mut self, sql: &'static str, values: &[Field]) -> sqlx::Result<u64>;

    /// The rows of a query.
    ///
    /// # Errors
    ///
    /// As the database has it.
    async fn rows(&mut self, sql: &'static str, values: &[Field]) -> sqlx::Result<Vec<Vec<Field>>>;

    /// The first row of a query, if there is one.
    ///
    /// # Errors
    ///
    /// As the database has it.
    async fn row(
        &mut self,
        sql: &'static str,
        values: &[Field],
    ) -> sqlx::Result<Option<Vec<Field>>> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }
}

/// The same for both databases.
macro_rules! sql {
    ($connection:ty) => {
        #[async_trait]
        impl Sql for $connection {
            async fn run(&mut self, sql: &'static str, values: &[Field]) -> sqlx::Result<u64> {
                let mut query = sqlx::query(sql);
                for value in values {
                    query = match value {
                        Field::Text(text) => query.bind(text),
                        Field::Number(number) => query.bind(number),
                        Field::Null => query.bind(None::<String>),
                    };
                }
                Ok(query.execute(self).await?.rows_affected())
            }

            async fn rows(
                &mut self,
                sql: &'static str,
                values: &[Field],
            ) -> sqlx::Result<Vec<Vec<Field>>> {
                let mut query = sqlx::query(sql);
                for value in values {
                    query = match value {
                        Field::Text(text) => query.bind(text),
                        Field::Number(number) => query.bind(number),
                        Field::Null => query.bind(None::<String>),
                    };
                }
                let rows = query.fetch_all(self).await?;
                let row = |row: &<<$connection as sqlx::Connection>::Database as Database>::Row| {
                    let field = |at: usize| {
                        let value = row.try_get_raw(at)?;
                        if value.is_null() {
                            return Ok(Field::Null);
                        }
                        let is_number =
                            matches!(value.type_info().name(), "INTEGER" | "BIGINT" | "INT8");
                        Ok(match is_number {
                            true => Field::Number(row.try_get(at)?),
                            false => Field::Text(row.try_get(at)?),
                        })
                    };
                    row.columns()
                        .iter()
                        .map(|column| field(column.ordinal()))
                        .collect()
                };
                rows.iter().map(row).collect()
            }
        }
    };
}

sql!(sqlx::SqliteConnection);
sql!(sqlx::PgConnection);

/// A database that the hospital can be kept in.
pub trait Engine: Dialect + Database<Connection: Sql> {
    /// Reads uuid, category and the time (milliseconds since 1970) of every published event, oldest first.
    const PUBLISHED: &'static str;
}

impl Engine for Sqlite {
    const PUBLISHED: &'static str = "SELECT uuid, category,
            CAST(ROUND((julianday(timestamp) - 2440587.5) * 86400000) AS INTEGER)
        FROM event_records ORDER BY id";
}

impl Engine for Postgres {
    const PUBLISHED: &'static str = "SELECT uuid, category,
            CAST(ROUND(EXTRACT(EPOCH FROM timestamp) * 1000) AS BIGINT)
        FROM event_records ORDER BY id";
}

/// Where the databases of all systems are.
#[derive(Debug, Clone)]
pub enum Data {
    /// Files of SQLite in a folder: `emr.db`, `lab.db`, …
    Folder(PathBuf),
    /// Schemas of a database of PostgreSQL: `hospital_emr`, `hospital_lab`, …
    Postgres(String),
}

/// The database of one system.
#[derive(Debug, Clone)]
pub enum HospitalStore {
    /// A file.
    Sqlite(SqliteStore),
    /// A schema.
    Postgres(PostgresStore),
}

/// Calls an `async fn` that is generic over [`Engine`] with the store that there is.
#[macro_export]
macro_rules! with_store {
    ($store:expr, $bound:ident => $call:expr) => {
        match $store {
            $crate::hospital::HospitalStore::Sqlite($bound) => $call,
            $crate::hospital::HospitalStore::Postgres($bound) => $call,
        }
    };
}

impl Data {
    /// Opens the database of a system, with the tables of feeds; makes what is missing. `name` is `emr`,
    /// `lab`, `erp`, `erp_feeds`, `imaging` or `imaging_feeds`.
    ///
    /// # Errors
    ///
    /// When it cannot be opened or made.
    pub async fn open(&self, name: &str) -> anyhow::Result<HospitalStore> {
        match self {
            Self::Folder(folder) => {
                std::fs::create_dir_all(folder)
                    .with_context(|| format!("making the folder {}", folder.display()))?;
                let file = folder.join(format!("{name}.db"));
                let store = SqliteStore::connect(&format!("sqlite:{}", file.display())).await?;
                Ok(HospitalStore::Sqlite(store))
            }
            Self::Postgres(url) => {
                ensure!(
                    name.bytes()
                        .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                    "{name} is no name of a schema here"
                );
                let schema: SchemaName = format!("hospital_{name}").parse()?;
                let options = PgConnectOptions::from_str(url).context("reading --postgres")?;
                let options = options.options([("search_path", schema.as_str())]);
                let pool = PgPoolOptions::new()
                    .max_connections(8)
                    .connect_with(options);
                let pool = pool.await.with_context(|| format!("opening {schema}"))?;
                let store = PostgresStore::over(pool, Some(&schema));
                store.migrate().await?;
                Ok(HospitalStore::Postgres(store))
            }
        }
    }

    /// The options of the program that say the same.
    pub fn options(&self) -> [String; 2] {
        match self {
            Self::Folder(folder) => ["--data".to_owned(), folder.display().to_string()],
            Self::Postgres(url) => ["--postgres".to_owned(), url.clone()],
        }
    }
}

/// Makes the tables of a system: statements of [`Sql`], each `CREATE TABLE IF NOT EXISTS` or like it.
///
/// # Errors
///
/// As the database has it.
pub async fn make_tables<D: Engine>(
    store: &SqlStore<D>,
    statements: &[&'static str],
) -> anyhow::Result<()> {
    let mut conn = store.pool().acquire().await?;
    for statement in statements {
        let made = conn.run(statement, &[]).await;
        made.with_context(|| format!("making what is missing: {statement}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    async fn values_come_back_as_they_were<D: Engine>(store: SqlStore<D>) {
        make_tables(
            &store,
            &["CREATE TABLE IF NOT EXISTS things (name TEXT, number BIGINT)"],
        )
        .await
        .unwrap();
        let mut conn = store.pool().acquire().await.unwrap();
        conn.run("DELETE FROM things", &[]).await.unwrap();
        let insert = "INSERT INTO things (number, name) VALUES ($2, $1)";
        let values = [Field::from("Asha"), Field::from(7)];
        assert_eq!(conn.run(insert, &values).await.unwrap(), 1);
        let row = conn
            .row(
                "SELECT name, number, NULL, COUNT(*) FROM things GROUP BY 1, 2",
                &[],
            )
            .await
            .unwrap();
        let expected = vec![
            Field::from("Asha"),
            Field::from(7),
            Field::Null,
            Field::from(1),
        ];
        assert_eq!(row, Some(expected));
    }

    #[tokio::test]
    async fn values_come_back_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let data = Data::Folder(folder.path().to_owned());
        let HospitalStore::Sqlite(store) = data.open("lab").await.unwrap() else {
            panic!("no file");
        };
        values_come_back_as_they_were(store).await;
    }
}
