//! Making the tables: killed at any moment, and by two processes at once.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use atomfeed_core::store::conformance::{Harness, MySqlHarness, PostgresHarness};
use sqlx::{AssertSqlSafe, Executor};

use crate::emr::{Emr, entry_id, sqlite};
use crate::programs::{PATIENCE, Program};

/// Databases that have no tables yet.
enum Empty {
    Sqlite(tempfile::TempDir),
    Postgres(String, atomfeed_core::store::PostgresStore),
    MySql(String, atomfeed_core::store::MySqlStore),
}

impl Empty {
    async fn of_each() -> Vec<Self> {
        let mut all = vec![Self::Sqlite(tempfile::tempdir().unwrap())];
        if let Some(harness) = PostgresHarness::from_env() {
            let url = std::env::var("ATOMFEED_POSTGRES_URL").unwrap();
            all.push(Self::Postgres(url, harness.store().await));
        }
        if let Some(harness) = MySqlHarness::from_env() {
            let url = std::env::var("ATOMFEED_MYSQL_URL").unwrap();
            all.push(Self::MySql(url, harness.store().await));
        }
        all
    }

    /// The options that name the n-th of them; it is made, where its server does not make it.
    async fn options(&self, n: usize) -> Vec<String> {
        let (url, schema) = match self {
            Self::Sqlite(folder) => return vec![sqlite(folder.path(), &format!("{n}.db"))],
            Self::Postgres(url, store) => {
                let select = sqlx::query_scalar("SELECT current_schema()::text");
                let schema: String = select.fetch_one(store.pool()).await.unwrap();
                let schema = format!("{schema}_{n}");
                let mut url: url::Url = url.parse().unwrap();
                url.query_pairs_mut()
                    .append_pair("application_name", &schema);
                return vec![url.into(), "--schema".to_owned(), schema];
            }
            Self::MySql(url, store) => {
                let select = sqlx::query_scalar("SELECT DATABASE()");
                let schema: String = select.fetch_one(store.pool()).await.unwrap();
                let schema = format!("{schema}_{n}");
                let make = AssertSqlSafe(format!("CREATE DATABASE {schema}"));
                store.pool().execute(make).await.unwrap();
                (url, schema)
            }
        };
        vec![url.clone(), "--schema".to_owned(), schema]
    }

    /// Whether so many tables are there; or, where they all come at once, whether a transaction is open
    /// that makes them. SQLite shows nobody how far that has come.
    async fn has_come_to(&self, tables: i64, options: &[String]) -> bool {
        match self {
            Self::Sqlite(_) => std::fs::exists(options[0].replace("sqlite:", "")).unwrap(),
            Self::Postgres(_, store) => {
                let select = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity
                    WHERE application_name = $1 AND backend_xid IS NOT NULL)";
                let is_open = sqlx::query_scalar(select).bind(&options[2]);
                is_open.fetch_one(store.pool()).await.unwrap()
            }
            Self::MySql(..) => self.tables(Some(&options[2])).await.unwrap() >= tables,
        }
    }

    /// How many tables there are in a schema, or in that of the store, where another has made them;
    /// `None` where that is not to be seen.
    async fn tables(&self, schema: Option<&str>) -> Option<i64> {
        const COUNT: &str = "SELECT COUNT(*) FROM information_schema.tables
            WHERE table_name <> 'applied' AND table_schema = ";
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(_, store) => {
                let count = AssertSqlSafe(format!("{COUNT} COALESCE($1, current_schema())"));
                let count = sqlx::query_scalar(count).bind(schema);
                Some(count.fetch_one(store.pool()).await.unwrap())
            }
            Self::MySql(_, store) => {
                let count = AssertSqlSafe(format!("{COUNT} COALESCE(?, DATABASE())"));
                let count = sqlx::query_scalar(count).bind(schema);
                Some(count.fetch_one(store.pool()).await.unwrap())
            }
        }
    }
}

fn arguments(options: &[String]) -> Vec<&str> {
    let options: Vec<_> = options.iter().map(String::as_str).collect();
    let listen = ["--listen", "127.0.0.1:0", "--import", "-", "--database"];
    listen.into_iter().chain(options).collect()
}

/// It publishes and serves.
async fn assert_works(options: &[String]) {
    let options: Vec<_> = options.iter().map(String::as_str).collect();
    let mut emr = Emr::start(options[0], &[&options[1..], &["--import", "-"]].concat());
    emr.publish([1]).await;
    let page = emr.page("/feed/1").await;
    assert_eq!(page.entries[0].id, entry_id(1));
    emr.stop().assert_status(0);
}

#[tokio::test]
async fn whoever_is_killed_while_making_them() {
    let kills = if std::env::var_os("ATOMFEED_FULL").is_some() {
        100
    } else {
        10
    };
    for empty in Empty::of_each().await {
        let whole = empty.tables(None).await;
        let mut cut_off = 0;
        for n in 0..kills {
            let options = empty.options(n).await;
            let making = Program::start("feed-server", &arguments(&options));
            // From the first table to the last.
            let tables = 1 + whole.unwrap_or_default() * n as i64 / kills as i64;
            let begun = Instant::now();
            while !empty.has_come_to(tables, &options).await && making.stdout.lines().is_empty() {
                assert!(begun.elapsed() < PATIENCE, "{:?}", making.stderr.lines());
            }
            if whole.is_none() {
                // The moment is what is tested; nothing waits for it.
                tokio::time::sleep(Duration::from_micros(300 * n as u64)).await;
            }
            making.kill();
            if let Some(whole) = whole {
                let made = empty.tables(Some(&options[2])).await.unwrap();
                assert!(made <= whole, "{made} of {whole}");
                if matches!(empty, Empty::Postgres(..)) {
                    assert!(made == 0 || made == whole, "{made} of {whole}");
                }
                cut_off += i32::from(made < whole);
            }
            assert_works(&options).await;
        }
        assert!(
            whole.is_none() || cut_off > 0,
            "none was killed while it made them"
        );
    }
}

#[tokio::test]
async fn two_that_make_them_at_once() {
    for empty in Empty::of_each().await {
        for n in 0..3 {
            let options = empty.options(1_000 + n).await;
            let both = [0, 1].map(|_| Program::start("feed-server", &arguments(&options)));
            for program in &both {
                program
                    .stdout
                    .wait_for("listening on", |lines| lines.first().cloned());
            }
            for program in both {
                program.terminate();
                program.finish().assert_status(0);
            }
            assert_works(&options).await;
        }
    }
}
