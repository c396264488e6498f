//! An empty database for one consumer, on each kind of server that there is.

#![allow(clippy::unwrap_used)]

use atomfeed_core::store::SchemaName;
use atomfeed_examples::Database;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection};
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;

use crate::emr::sqlite;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
    MySql,
}

/// What is gone with it: an SQLite file. Schemas stay on their server, which is a throwaway one.
pub(crate) struct Empty {
    url: String,
    schema: Option<SchemaName>,
    kind: Kind,
    _folder: Option<TempDir>,
}

impl Empty {
    /// `None` where no server is named by `ATOMFEED_POSTGRES_URL` or `ATOMFEED_MYSQL_URL`.
    pub(crate) async fn of(kind: Kind) -> Option<Self> {
        if let Kind::Sqlite = kind {
            let folder = tempfile::tempdir().unwrap();
            return Some(Self {
                url: sqlite(folder.path(), "lab.db"),
                schema: None,
                kind,
                _folder: Some(folder),
            });
        }
        let variable = match kind {
            Kind::MySql => "ATOMFEED_MYSQL_URL",
            _ => "ATOMFEED_POSTGRES_URL",
        };
        let server = std::env::var(variable).ok()?;
        let schema = SchemaName::new(format!("e{}", Uuid::new_v4().simple())).unwrap();
        // Named in the URL, too: it is there that the worker's own table is looked for.
        let mut url = Url::parse(&server).unwrap();
        if let Kind::MySql = kind {
            let mut conn = MySqlConnection::connect(&server).await.unwrap();
            let make = AssertSqlSafe(format!("CREATE DATABASE {schema}"));
            conn.execute(make).await.unwrap();
            url.set_path(schema.as_str());
        } else {
            let mut conn = PgConnection::connect(&server).await.unwrap();
            let make = AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
            conn.execute(make).await.unwrap();
            let mut options = url.query_pairs_mut();
            options.append_pair("options[search_path]", schema.as_str());
        }
        Some(Self {
            url: url.into(),
            schema: Some(schema),
            kind,
            _folder: None,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The options that name its schema, if it is in one.
    pub(crate) fn schema_options(&self) -> Vec<&str> {
        let schema = self.schema.iter();
        schema
            .flat_map(|schema| ["--schema", schema.as_str()])
            .collect()
    }

    /// Id and content of what was applied, in the order in which the rows were written.
    pub(crate) async fn applied(&self) -> Vec<(String, String)> {
        self.pairs(match self.kind {
            Kind::Sqlite => "SELECT event_id, content FROM applied ORDER BY rowid",
            _ => "SELECT event_id, content FROM applied ORDER BY seq",
        })
        .await
    }

    /// Ids of what is parked, in the order in which it is to be tried again.
    pub(crate) async fn parked(&self) -> Vec<String> {
        let rows = self.pairs("SELECT event_id, title FROM failed_events ORDER BY id");
        rows.await.into_iter().map(|(event, _)| event).collect()
    }

    /// The event behind which the marker of its only feed stands, if there is one.
    pub(crate) async fn marker(&self) -> Option<String> {
        let rows = self.pairs("SELECT feed_uri, last_read_entry_id FROM markers");
        rows.await.pop().map(|(_, event)| event)
    }

    async fn pairs(&self, select: &'static str) -> Vec<(String, String)> {
        let database = Database::open(&self.url, self.schema.as_ref(), None).await;
        let rows = match database.unwrap() {
            Database::Memory(_) => unreachable!("it outlives no process"),
            Database::Sqlite(store) => sqlx::query_as(select).fetch_all(store.pool()).await,
            Database::Postgres(store) => sqlx::query_as(select).fetch_all(store.pool()).await,
            Database::MySql(store) => sqlx::query_as(select).fetch_all(store.pool()).await,
        };
        rows.unwrap()
    }
}
