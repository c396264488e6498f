//! One database for each system: a file of SQLite, or a schema of PostgreSQL. What a system keeps is
//! written once, for both.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, ensure};
use async_trait::async_trait;
use atomfeed_core::store::sql::{Dialect, SqlStore};
use atomfeed_core::store::{PostgresStore, SchemaName, SqliteStore};
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgTypeInfo};
use sqlx::sqlite::SqliteTypeInfo;
use sqlx::{Column, Database, Postgres, Row as _, Sqlite, Type, TypeInfo, ValueRef};

/// A value of a statement, and of a row: what both databases have.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// Of a `TEXT` column.
    Text(String),
    /// Of a `BIGINT` column.
    Number(i64),
    /// NULL, in either.
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

/// NULL for a column of either type.
struct Nothing;

impl<D: Database> Encode<'_, D> for Nothing {
    fn encode_by_ref(&self, _buffer: &mut D::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Ok(IsNull::Yes)
    }
}

impl Type<Sqlite> for Nothing {
    fn type_info() -> SqliteTypeInfo {
        <String as Type<Sqlite>>::type_info()
    }
}

impl Type<Postgres> for Nothing {
    // `unknown`: as what it is taken, PostgreSQL sees by the column.
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(705))
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
                        Field::Null => query.bind(Nothing),
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
                        Field::Null => query.bind(Nothing),
                    };
                }
                let rows = query.fetch_all(self).await?;
                let row = |row: &<<$connection as sqlx::Connection>::Database as Database>::Row| {
                    let field = |at: usize| {
                        let value = row.try_get_raw(at)?;
                        if value.is_null() {
                            return Ok(Field::Null);
                        }
                        // On SQLite, and on PostgreSQL.
                        let is_number = matches!(value.type_info().name(), "INTEGER" | "INT8");
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
#[derive(Clone)]
pub enum Data {
    /// Files of SQLite in a folder: `emr.db`, `lab.db`, …
    Folder(PathBuf),
    /// Schemas of a database of PostgreSQL: `hospital_emr`, `hospital_lab`, …
    Postgres(String),
}

impl fmt::Debug for Data {
    // Without the URL, in which a password may be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => f.debug_tuple("Folder").field(folder).finish(),
            Self::Postgres(_) => f.debug_tuple("Postgres").finish_non_exhaustive(),
        }
    }
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
pub(super) mod testing {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A database of PostgreSQL that no other test has; `None` where no server is named by
    /// `ATOMFEED_POSTGRES_URL`. It stays on the server, which is a throwaway one.
    pub(in crate::hospital) async fn own_schema() -> Option<PostgresStore> {
        let url = std::env::var("ATOMFEED_POSTGRES_URL").ok()?;
        let number = uuid::Uuid::new_v4().simple().to_string();
        let letters = number.bytes().map(|digit| match digit {
            b'0'..=b'9' => char::from(digit - b'0' + b'g'),
            letter => char::from(letter),
        });
        let name: String = letters.collect();
        match Data::Postgres(url).open(&name).await.unwrap() {
            HospitalStore::Postgres(store) => Some(store),
            HospitalStore::Sqlite(_) => panic!("no schema"),
        }
    }
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
        let insert = "INSERT INTO things (number, name) VALUES ($2, $1)";
        let written = [
            // First what has no type of its own.
            [Field::Null, Field::Null],
            [Field::from("Asha"), Field::from(7)],
            [Field::from("8"), Field::Null],
            [Field::Null, Field::from(9)],
            [Field::from("Asha"), Field::from(7)],
        ];
        for values in &written {
            assert_eq!(conn.run(insert, values).await.unwrap(), 1);
        }
        let select = "SELECT name, number, NULL, COUNT(*) FROM things
            WHERE number = $1 GROUP BY 1, 2";
        let row = conn.row(select, &[Field::from(7)]).await.unwrap();
        let [name, number] = &written[1];
        let expected = [name.clone(), number.clone(), Field::Null, Field::from(2)];
        assert_eq!(row, Some(expected.to_vec()));

        let select = "SELECT name, number FROM things";
        let mut read = conn.rows(select, &[]).await.unwrap();
        let mut written: Vec<_> = written.iter().map(|values| values.to_vec()).collect();
        read.sort();
        written.sort();
        assert_eq!(read, written);

        let change = "UPDATE things SET number = $1 WHERE number = 7";
        assert_eq!(conn.run(change, &[Field::Null]).await.unwrap(), 2);
        let count = "SELECT COUNT(*) FROM things WHERE number IS NULL";
        let count = conn.row(count, &[]).await.unwrap();
        assert_eq!(count, Some(vec![Field::from(4)]));
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

    #[tokio::test]
    async fn values_come_back_from_a_schema() {
        if let Some(store) = testing::own_schema().await {
            values_come_back_as_they_were(store).await;
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let data = Data::Postgres("postgres://me:secret@db/hospital".to_owned());
        assert!(!format!("{data:?}").contains("secret"), "{data:?}");
    }
}
