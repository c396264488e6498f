//! The programs on tables that another program made.

#![allow(clippy::unwrap_used)]

use atomfeed_core::store::conformance::{MySqlHarness, PostgresHarness};
use sqlx::Executor;

use crate::emr::Emr;
use crate::lab::Lab;

macro_rules! on_adopted_tables {
    ($($name:ident: $harness:expr, $url:literal;)+) => {
        $(#[tokio::test]
        async fn $name() {
            let Some(harness) = $harness else { return };
            let (pool, schema) = harness.foreign().await;
            let url = std::env::var($url).unwrap();
            let tables = ["--schema", schema.as_str(), "--adopt"];

            // Without being told, they are not taken.
            let refused = Emr::refused(&url, &tables[..2]);
            assert!(!refused.status.success());
            assert!(refused.stderr.join("\n").contains("adopt"), "{refused:#?}");

            let insert = "INSERT INTO event_records (uuid, title, object, category) VALUES
                ('a', 'Patient', '/patient/1', 'Patient'), ('b', 'Lab', '/lab/1', 'lab')";
            pool.execute(insert).await.unwrap();
            pool.execute("INSERT INTO chunking_history (chunk_length, start) VALUES (5, 1)")
                .await
                .unwrap();
            let emr = Emr::start(&url, &tables);
            let page = emr.page("/feed/patient/recent").await;
            assert_eq!(page.entries.len(), 1);
            assert_eq!(page.entries[0].content, "/patient/1");
            assert_eq!(emr.page("/feed/1").await.entries.len(), 2);

            // A consumer on such tables: what it cannot apply is parked there.
            let lab = Lab::on(&url, emr.recent());
            let options = [&tables[..], &["--fail-matching", "lab"]].concat();
            let applied = lab.catch_up(&options, 1, 1);
            assert_eq!(applied[0]["content"], "/patient/1");
            let parked = sqlx::query("SELECT event_id FROM failed_events").fetch_all(&pool);
            assert_eq!(parked.await.unwrap().len(), 1);
            lab.catch_up(&tables, 0, 0);
            let retried = lab.run(&[&tables[..], &["--retry-failed"]].concat());
            assert_eq!(retried.summary(), (1, 0), "{retried:#?}");
            emr.stop().assert_status(0);

            // Handed back: the original finds its markers, and nothing that it would miss.
            let hand_back = [&tables[..], &["--hand-back"]].concat();
            let free = "nothing stands in the way";
            for program in ["feed-server", "feed-consumer"] {
                let options = [&["--database", &url], &hand_back[..]].concat();
                let handed = crate::programs::Program::start(program, &options).finish();
                handed.assert_status(0);
                assert!(handed.stdout.join("\n").contains(free), "{handed:#?}");
            }
            let insert = "INSERT INTO event_records (uuid, title, object, category) VALUES
                ('c', 'Lab', '/lab/2', 'lab'), ('d', 'Lab', '/lab/3', 'lab'),
                ('e', 'Lab', '/lab/4', 'lab')";
            pool.execute(insert).await.unwrap();
            pool.execute(
                "INSERT INTO atomfeed_failed_events (failed_event_id, feed_uri, event_id)
                 VALUES (77, 'http://emr.example.org/feed/recent', 'tag:atomfeed.ict4h.org:77')",
            )
            .await
            .unwrap();
            for program in ["feed-server", "feed-consumer"] {
                let options = [&["--database", &url], &hand_back[..]].concat();
                let handed = crate::programs::Program::start(program, &options).finish();
                handed.assert_status(1);
                let said = handed.stdout.join("\n");
                assert!(said.contains("tag:atomfeed.ict4h.org:77") && !said.contains(free), "{said}");
            }
            let count = "SELECT event_count FROM event_records_offset_marker WHERE category = ''";
            let marked = sqlx::query(count).fetch_all(&pool).await.unwrap();
            assert_eq!(marked.len(), 1);
        })+
    };
}

on_adopted_tables! {
    odoo: PostgresHarness::odoo(), "ATOMFEED_POSTGRES_URL";
    openelis: PostgresHarness::openelis(), "ATOMFEED_POSTGRES_URL";
    openmrs: MySqlHarness::openmrs(), "ATOMFEED_MYSQL_URL";
    openmrs_sync2: MySqlHarness::openmrs_sync2(), "ATOMFEED_MYSQL_URL";
}
