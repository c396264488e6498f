//! The harnesses of the SQL stores: what they do to tables, written once.

use async_trait::async_trait;
use sqlx::Acquire;

use super::{Harness, Rows};
use crate::category::fold;
use crate::store::sql::{Dialect, SqlStore, Value};

/// Makes the table of the application's.
async fn make_applied<D: Dialect>(store: &SqlStore<D>) {
    let mut conn = store.pool().acquire().await.expect("a connection");
    run::<D>(
        &mut conn,
        "CREATE TABLE applied (event_id VARCHAR(200), content TEXT)",
        vec![],
    )
    .await;
}

async fn run<D: Dialect>(conn: &mut D::Connection, statement: &'static str, values: Vec<Value>) {
    let sql = SqlStore::<D>::render(statement);
    D::execute(conn, sql, values).await.expect(statement);
}

async fn load<D: Dialect>(store: &SqlStore<D>, rows: &Rows) {
    let mut conn = store.pool().acquire().await.expect("a connection");
    let mut tx = conn.begin().await.expect("a transaction opens");
    for record in &rows.event_records {
        let values = vec![
            record.id.into(),
            record.uuid.as_str().into(),
            record.title.as_deref().into(),
            record.timestamp.into(),
            record.uri.as_deref().into(),
            record.content.as_deref().into(),
            record.category.as_deref().into(),
            record.date_created.into(),
            record.tags.as_deref().into(),
        ];
        let insert = "INSERT INTO event_records
            (id, uuid, title, timestamp, uri, object, category, date_created, tags)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
        run::<D>(&mut tx, insert, values).await;
        if let Some(category) = &record.category {
            let insert = "INSERT {unless} INTO atomfeed_categories (category, folded)
                VALUES (?, ?) {there}";
            run::<D>(
                &mut tx,
                insert,
                vec![category.as_str().into(), fold(category).into()],
            )
            .await;
        }
    }
    for entry in &rows.chunking_history {
        let insert = "INSERT INTO chunking_history (chunk_length, start) VALUES (?, ?)";
        run::<D>(
            &mut tx,
            insert,
            vec![entry.chunk_length.into(), entry.start.into()],
        )
        .await;
    }
    for (category, marker) in &rows.offset_markers {
        let insert = "INSERT INTO event_records_offset_marker (event_id, event_count, category)
            VALUES (?, ?, ?)";
        let values = vec![
            marker.event_id.into(),
            marker.event_count.into(),
            category.as_str().into(),
        ];
        run::<D>(&mut tx, insert, values).await;
    }
    let update = "UPDATE atomfeed_feed_state SET strategy = ?";
    run::<D>(&mut tx, update, vec![rows.strategy.as_str().into()]).await;
    tx.commit().await.expect("a transaction commits");
}

async fn written<D: Dialect>(store: &SqlStore<D>) -> Vec<(String, String)> {
    let mut conn = store.pool().acquire().await.expect("a connection");
    let select = "SELECT event_id, content FROM applied ORDER BY event_id, content";
    let rows = D::fetch(&mut conn, SqlStore::<D>::render(select), vec![])
        .await
        .expect(select);
    let text = |row: &mut crate::store::sql::Row| row.text_or_empty().expect("a text");
    rows.into_iter()
        .map(|mut row| (text(&mut row), text(&mut row)))
        .collect()
}

/// A [`Harness`] over the functions above; `$fresh` opens a store of its own.
macro_rules! sql_harness {
    ($harness:ty, $database:ty, $connection:ty) => {
        #[async_trait]
        impl Harness for $harness {
            type Conn = $connection;
            type Store = SqlStore<$database>;

            async fn store(&self) -> Self::Store {
                let store = self.open().await;
                make_applied(&store).await;
                store
            }

            async fn write(&self, conn: &mut $connection, key: &str, value: &str) {
                let insert = "INSERT INTO applied (event_id, content) VALUES (?, ?)";
                run::<$database>(conn, insert, vec![key.into(), value.into()]).await;
            }

            async fn written(&self, store: &Self::Store) -> Vec<(String, String)> {
                written(store).await
            }

            async fn load(&self, store: &Self::Store, rows: &Rows) {
                load(store, rows).await;
            }
        }
    };
}

#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteHarness;

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::path::PathBuf;

    use uuid::Uuid;

    use super::*;
    use crate::store::SqliteStore;

    /// The suite over [`SqliteStore`], in files of a temporary folder that goes with it.
    #[derive(Debug)]
    pub struct SqliteHarness {
        folder: PathBuf,
    }

    impl Default for SqliteHarness {
        fn default() -> Self {
            let folder = std::env::temp_dir().join(format!("atomfeed-{}", Uuid::new_v4()));
            std::fs::create_dir(&folder).expect("a temporary folder can be made");
            Self { folder }
        }
    }

    impl SqliteHarness {
        /// The URL of a file that is not there yet.
        pub fn url(&self) -> String {
            format!(
                "sqlite:{}",
                self.folder.join(format!("{}.db", Uuid::new_v4())).display()
            )
        }

        async fn open(&self) -> SqliteStore {
            SqliteStore::connect(&self.url())
                .await
                .expect("a new file opens")
        }
    }

    impl Drop for SqliteHarness {
        fn drop(&mut self) {
            // What is left behind lies in the system's own temporary folder.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    sql_harness!(SqliteHarness, sqlx::Sqlite, sqlx::SqliteConnection);
}

/// A schema of its own for each store, on a server that an environment variable names.
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod servers {
    use uuid::Uuid;

    use crate::store::SchemaName;

    pub(super) fn schema() -> SchemaName {
        SchemaName::new(format!("t{}", Uuid::new_v4().simple())).expect("a plain name")
    }

    pub(super) fn url(variable: &str) -> Option<String> {
        let url = std::env::var(variable).ok();
        if url.is_none() {
            eprintln!("{variable} is not set; nothing is checked");
        }
        url
    }
}

#[cfg(feature = "postgres")]
pub use self::postgres::PostgresHarness;

#[cfg(feature = "postgres")]
mod postgres {
    use std::str::FromStr;

    use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

    use super::*;
    use crate::store::PostgresStore;

    /// The suite over [`PostgresStore`], each store in a schema of its own.
    #[derive(Debug)]
    pub struct PostgresHarness {
        options: PgConnectOptions,
    }

    impl PostgresHarness {
        /// On the server that `ATOMFEED_POSTGRES_URL` names; `None` when it names none.
        pub fn from_env() -> Option<Self> {
            let url = servers::url("ATOMFEED_POSTGRES_URL")?;
            let options = PgConnectOptions::from_str(&url).expect("ATOMFEED_POSTGRES_URL is a URL");
            Some(Self { options })
        }

        async fn open(&self) -> PostgresStore {
            let schema = servers::schema();
            let options = self
                .options
                .clone()
                .options([("search_path", schema.as_str())]);
            let pool = PgPoolOptions::new()
                .max_connections(20)
                .connect_lazy_with(options);
            let store = PostgresStore::over(pool, Some(&schema));
            store.migrate().await.expect("tables are made");
            store
        }
    }

    sql_harness!(PostgresHarness, sqlx::Postgres, sqlx::PgConnection);
}

#[cfg(feature = "mysql")]
pub use self::mysql::MySqlHarness;

#[cfg(feature = "mysql")]
mod mysql {
    use std::str::FromStr;

    use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
    use sqlx::{AssertSqlSafe, Connection, MySqlConnection};

    use super::*;
    use crate::store::MySqlStore;

    /// The suite over [`MySqlStore`], each store in a database of its own.
    #[derive(Debug)]
    pub struct MySqlHarness {
        options: MySqlConnectOptions,
    }

    impl MySqlHarness {
        /// On the server that `ATOMFEED_MYSQL_URL` names; `None` when it names none.
        pub fn from_env() -> Option<Self> {
            let url = servers::url("ATOMFEED_MYSQL_URL")?;
            let options = MySqlConnectOptions::from_str(&url).expect("ATOMFEED_MYSQL_URL is a URL");
            Some(Self { options })
        }

        async fn open(&self) -> MySqlStore {
            let schema = servers::schema();
            let mut conn = MySqlConnection::connect_with(&self.options)
                .await
                .expect("connected");
            let make = sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {schema}")));
            make.execute(&mut conn)
                .await
                .expect("a database can be made");
            conn.close().await.expect("closed");
            let options = self.options.clone().database(schema.as_str());
            let pool = MySqlPoolOptions::new()
                .max_connections(20)
                .connect_lazy_with(options);
            let store = MySqlStore::over(pool, Some(&schema));
            store.migrate().await.expect("tables are made");
            store
        }
    }

    sql_harness!(MySqlHarness, sqlx::MySql, sqlx::MySqlConnection);
}
