//! Making the tables: killed at any moment, and by two processes at once.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use atomfeed_core::store::conformance::{Harness, MySqlHarness, PostgresHarness};
use sqlx::{AssertSqlSafe, Executor};

use crate::emr::{Emr, entry_id, sqlite};
use crate::programs::Program;

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
                (url, format!("{schema}_{n}"))
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
        // From before the first statement to after the last: that takes some 150 ms.
        for n in 0..kills {
            let options = empty.options(n).await;
            let making = Program::start("feed-server", &arguments(&options));
            let moment = Duration::from_micros(200_000 * n as u64 / kills as u64);
            // The moment is what is tested; nothing waits for it.
            tokio::time::sleep(moment).await;
            making.kill();
            assert_works(&options).await;
        }
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
