//! The harnesses of the SQL stores: what they do to tables, written once.

use async_trait::async_trait;
use sqlx::Acquire;

use super::{Harness, Rows, Shape};
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

/// `adopted`: as another program writes them, who knows nothing of ours.
async fn load<D: Dialect>(store: &SqlStore<D>, rows: &Rows, adopted: bool, date_created: bool) {
    let mut conn = store.pool().acquire().await.expect("a connection");
    let mut tx = conn.begin().await.expect("a transaction opens");
    for record in &rows.event_records {
        let mut values: Vec<Value> = vec![
            record.id.into(),
            record.uuid.as_str().into(),
            record.title.as_deref().into(),
            record.timestamp.into(),
            record.uri.as_deref().into(),
            record.content.as_deref().into(),
            record.category.as_deref().into(),
            record.tags.as_deref().into(),
        ];
        let insert = match date_created {
            true => {
                values.push(record.date_created.into());
                "INSERT INTO event_records
                (id, uuid, title, timestamp, uri, object, category, tags, date_created)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
            }
            false => {
                "INSERT INTO event_records
                (id, uuid, title, timestamp, uri, object, category, tags)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            }
        };
        run::<D>(&mut tx, insert, values).await;
        if let Some(category) = record.category.as_ref().filter(|_| !adopted) {
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

/// Tables as another program's migrations make them.
#[derive(Debug, Clone, Copy)]
struct Deployed {
    sql: &'static str,
    shape: Shape,
}

/// The narrow columns of all of them.
#[cfg(any(feature = "postgres", feature = "mysql"))]
const NARROW: Shape = Shape {
    one_at_a_time: false,
    large_events: false,
    all_characters: true,
    all_times: true,
    date_created: false,
    known_uuids: false,
    collated: false,
    tells: false,
};

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

            fn shape(&self) -> Shape {
                let deployed = self.deployed.map(|deployed| deployed.shape);
                Shape {
                    tells: <$database>::NOTIFY.is_some(),
                    ..deployed.unwrap_or_default()
                }
            }

            async fn load(&self, store: &Self::Store, rows: &Rows) {
                let date_created = self
                    .deployed
                    .is_none_or(|deployed| deployed.sql.contains("date_created TIMESTAMP"));
                load(store, rows, self.deployed.is_some(), date_created).await;
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
        deployed: Option<Deployed>,
    }

    impl Default for SqliteHarness {
        fn default() -> Self {
            let folder = std::env::temp_dir().join(format!("atomfeed-{}", Uuid::new_v4()));
            std::fs::create_dir(&folder).expect("a temporary folder can be made");
            Self {
                folder,
                deployed: None,
            }
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

    use crate::store::{Adoption, SchemaName};

    pub(super) fn schema() -> SchemaName {
        SchemaName::new(format!("t{}", Uuid::new_v4().simple())).expect("a plain name")
    }

    /// Whoever adopts in the suite moves the queue, too, which the cases fill.
    pub(super) fn adoption() -> Adoption {
        Adoption::of_publisher().sequencing().pruning()
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

    use sqlx::AssertSqlSafe;
    use sqlx::postgres::{PgConnectOptions, PgPool};

    use super::*;
    use crate::store::sql::pool_options;
    use crate::store::{PostgresStore, SchemaName};

    /// The suite over [`PostgresStore`], each store in a schema of its own.
    #[derive(Debug)]
    pub struct PostgresHarness {
        options: PgConnectOptions,
        pub(super) deployed: Option<Deployed>,
    }

    impl PostgresHarness {
        /// On the server that `ATOMFEED_POSTGRES_URL` names; `None` when it names none.
        pub fn from_env() -> Option<Self> {
            let url = servers::url("ATOMFEED_POSTGRES_URL")?;
            let options = PgConnectOptions::from_str(&url).expect("ATOMFEED_POSTGRES_URL is a URL");
            Some(Self {
                options,
                deployed: None,
            })
        }

        /// The same over tables as the Odoo feed service has them.
        pub fn odoo() -> Option<Self> {
            Self::deployed(include_str!("schema/odoo-postgres.sql"))
        }

        /// The same over tables as OpenELIS has them.
        pub fn openelis() -> Option<Self> {
            Self::deployed(include_str!("schema/openelis-postgres.sql"))
        }

        fn deployed(sql: &'static str) -> Option<Self> {
            let deployed = Some(Deployed { sql, shape: NARROW });
            Some(Self {
                deployed,
                ..Self::from_env()?
            })
        }

        /// The tables as they are before anybody adopts them: a pool, and the schema.
        pub async fn foreign(&self) -> (PgPool, SchemaName) {
            let (pool, schema) = self.schema();
            let sql = self.deployed.map_or("", |deployed| deployed.sql);
            let sql = format!(
                "CREATE SCHEMA IF NOT EXISTS {schema}; SET search_path TO {schema}; {}
                DELETE FROM chunking_history; DELETE FROM markers;",
                sql.replace("clinlims", schema.as_str())
            );
            let make = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pool).await;
            make.expect("the tables of another program are made");
            (pool, schema)
        }

        /// A pool that looks in a schema of its own, which is yet to be made.
        fn schema(&self) -> (PgPool, SchemaName) {
            let schema = servers::schema();
            let options = self.options.clone();
            let options = options.options([("search_path", schema.as_str())]);
            let pool = pool_options()
                .max_connections(20)
                .connect_lazy_with(options);
            (pool, schema)
        }

        /// A store over tables of our own.
        pub async fn with_our_tables(&self) -> PostgresStore {
            let options = self.options.clone();
            let ours = Self {
                options,
                deployed: None,
            };
            ours.open().await
        }

        async fn open(&self) -> PostgresStore {
            if self.deployed.is_some() {
                let (pool, schema) = self.foreign().await;
                let store = PostgresStore::over(pool, Some(&schema));
                let adopted = store.adopt(&servers::adoption()).await;
                return adopted.expect("the tables are adopted");
            }
            let (pool, schema) = self.schema();
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

    use sqlx::mysql::{MySqlConnectOptions, MySqlPool};
    use sqlx::{AssertSqlSafe, Connection, MySqlConnection};

    use super::*;
    use crate::store::sql::pool_options;
    use crate::store::{MySqlStore, SchemaName};

    /// The suite over [`MySqlStore`], each store in a database of its own.
    #[derive(Debug)]
    pub struct MySqlHarness {
        options: MySqlConnectOptions,
        pub(super) deployed: Option<Deployed>,
    }

    impl MySqlHarness {
        /// On the server that `ATOMFEED_MYSQL_URL` names; `None` when it names none.
        pub fn from_env() -> Option<Self> {
            let url = servers::url("ATOMFEED_MYSQL_URL")?;
            let options = MySqlConnectOptions::from_str(&url).expect("ATOMFEED_MYSQL_URL is a URL");
            Some(Self {
                options,
                deployed: None,
            })
        }

        /// The same over tables as Bahmni's OpenMRS has them.
        pub fn openmrs() -> Option<Self> {
            Self::deployed(include_str!("schema/openmrs-mariadb.sql"))
        }

        /// The same over tables as the OpenMRS Sync 2 module has them.
        pub fn openmrs_sync2() -> Option<Self> {
            Self::deployed(include_str!("schema/openmrs-sync2-mariadb.sql"))
        }

        fn deployed(sql: &'static str) -> Option<Self> {
            let shape = Shape {
                all_characters: false,
                all_times: false,
                collated: true,
                ..NARROW
            };
            let deployed = Some(Deployed { sql, shape });
            Some(Self {
                deployed,
                ..Self::from_env()?
            })
        }

        /// The tables as they are before anybody adopts them: a pool, and the database.
        pub async fn foreign(&self) -> (MySqlPool, SchemaName) {
            let (pool, schema) = self.database().await;
            let sql = self.deployed.map_or("", |deployed| deployed.sql);
            let sql = format!("{sql} DELETE FROM chunking_history; DELETE FROM markers;");
            let make = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pool).await;
            make.expect("the tables of another program are made");
            (pool, schema)
        }

        async fn database(&self) -> (MySqlPool, SchemaName) {
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
            let pool = pool_options()
                .max_connections(20)
                .connect_lazy_with(options);
            (pool, schema)
        }

        /// A store over tables of our own.
        pub async fn with_our_tables(&self) -> MySqlStore {
            let options = self.options.clone();
            let ours = Self {
                options,
                deployed: None,
            };
            ours.open().await
        }

        async fn open(&self) -> MySqlStore {
            if self.deployed.is_some() {
                let (pool, schema) = self.foreign().await;
                let store = MySqlStore::over(pool, Some(&schema));
                let adopted = store.adopt(&servers::adoption()).await;
                return adopted.expect("the tables are adopted");
            }
            let (pool, schema) = self.database().await;
            let store = MySqlStore::over(pool, Some(&schema));
            store.migrate().await.expect("tables are made");
            store
        }
    }

    sql_harness!(MySqlHarness, sqlx::MySql, sqlx::MySqlConnection);
}
