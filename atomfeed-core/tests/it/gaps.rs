//! Beside another program that gives events their ids: one that is missing is waited for, and what comes too
//! late is left out.

use std::time::Duration;

use atomfeed_core::store::conformance::{MySqlHarness, PostgresHarness};
use atomfeed_core::store::{FeedStore, OutboxStore, RecordRange};
use atomfeed_core::{Category, Clock, EventRecord, FeedScope, NewEvent, SystemClock};
use sqlx::{AssertSqlSafe, Executor};

use crate::foreign::{Counted, adopt, adopt_waiting, insert, titles, until};

/// Longer than any of this takes.
const LONG: Duration = Duration::from_secs(600);

/// A missing id is waited for, since its transaction may be about to commit; the events above it are
/// not shown before.
macro_rules! foreign_ids {
    ($harness:expr) => {
        #[tokio::test]
        async fn a_held_id_is_seen_once_it_commits() {
            let Some(harness) = $harness else { return };
            let (pool, schema) = harness.foreign().await;
            for title in ["1", "2"] {
                pool.execute(insert(title)).await.unwrap();
            }
            let store = adopt_waiting(&pool, &schema, LONG).await;
            // Another process, which looks for itself.
            let other = adopt_waiting(&pool, &schema, LONG).await;
            assert_eq!(titles(&store).await, ["1", "2"]);
            let mut held = pool.begin().await.unwrap();
            held.execute(insert("3")).await.unwrap();
            for title in ["4", "5"] {
                pool.execute(insert(title)).await.unwrap();
            }
            for store in [&store, &other] {
                assert_eq!(titles(store).await, ["1", "2"]);
                assert_eq!(store.newest_id().await.unwrap(), 2);
                assert_eq!(store.count(&FeedScope::All, 0, None).await.unwrap(), 2);
                let lab = FeedScope::Category(Category::new("lab").unwrap());
                assert_eq!(store.count(&lab, 0, None).await.unwrap(), 2);
                assert_eq!(store.every_nth_id(&lab, 0, 1).await.unwrap(), [1, 2]);
            }
            held.commit().await.unwrap();
            for store in [&store, &other] {
                assert_eq!(titles(store).await, ["1", "2", "3", "4", "5"]);
            }
        }

        /// Not even where it is unknown how long it will stay open: what was shown before is shown.
        #[tokio::test]
        async fn an_open_transaction_keeps_nobody_from_adopting_again() {
            let Some(harness) = $harness else { return };
            for there_at_first in [&[][..], &["1", "2"]] {
                let (pool, schema) = harness.foreign().await;
                for title in there_at_first {
                    pool.execute(insert(title)).await.unwrap();
                }
                let first = adopt_waiting(&pool, &schema, LONG).await;
                assert_eq!(titles(&first).await, there_at_first);
                let mut held = pool.begin().await.unwrap();
                held.execute(insert("held")).await.unwrap();
                pool.execute(insert("above")).await.unwrap();
                let again = adopt_waiting(&pool, &schema, LONG);
                let again = tokio::time::timeout(Duration::from_secs(300), again).await;
                let again = again.expect("nobody is waited for");
                assert_eq!(titles(&again).await, there_at_first);
                held.commit().await.unwrap();
                let expected = [there_at_first, &["held", "above"]].concat();
                assert_eq!(titles(&again).await, expected);
            }
        }

        #[tokio::test]
        async fn an_id_that_was_rolled_back_is_passed_over() {
            let Some(harness) = $harness else { return };
            let (pool, schema) = harness.foreign().await;
            let store = adopt(&pool, &schema).await;
            let mut expected = Vec::new();
            for (undone, title) in [("1", "2"), ("3", "4"), ("5", "6")] {
                let mut held = pool.begin().await.unwrap();
                held.execute(insert(undone)).await.unwrap();
                pool.execute(insert(title)).await.unwrap();
                assert_eq!(titles(&store).await, expected);
                held.rollback().await.unwrap();
                expected.push(title);
                until(&store, &expected).await;
            }
            // Whoever opens them next knows it.
            let again = adopt(&pool, &schema).await;
            assert_eq!(titles(&again).await, expected);
        }

        /// What was there before is shown at once, whatever is missing between.
        #[tokio::test]
        async fn old_gaps_hold_nothing_up() {
            let Some(harness) = $harness else { return };
            let (pool, schema) = harness.foreign().await;
            for title in ["1", "2", "3", "4", "5", "6"] {
                pool.execute(insert(title)).await.unwrap();
            }
            pool.execute("DELETE FROM event_records WHERE id IN (1, 3, 4)").await.unwrap();
            let store = adopt(&pool, &schema).await;
            assert_eq!(titles(&store).await, ["2", "5", "6"]);
        }

        /// A page that has a successor never changes: what comes below it is on none.
        #[tokio::test]
        async fn an_event_that_comes_too_late_is_on_no_page() {
            let Some(harness) = $harness else { return };
            let (pool, schema) = harness.foreign().await;
            let store = adopt(&pool, &schema).await;
            for title in ["1", "2", "3"] {
                pool.execute(insert(title)).await.unwrap();
            }
            pool.execute("DELETE FROM event_records WHERE id = 2").await.unwrap();
            until(&store, &["1", "3"]).await;
            pool.execute(
                "INSERT INTO event_records (id, uuid, title, category) VALUES (2, 'l', 'late', 'Lab')",
            )
            .await
            .unwrap();
            pool.execute(insert("4")).await.unwrap();
            until(&store, &["1", "3", "4"]).await;
            assert_eq!(store.count(&FeedScope::All, 0, None).await.unwrap(), 3);
        }

        /// The original empties the queue without a lock: it reads all of it, inserts each row, deletes
        /// each row. Another of its processes inserts of its own, and commits late. Whoever follows the
        /// feed meanwhile sees every event once, and nothing before what was seen.
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn the_originals_drain_loop_loses_and_doubles_nothing() {
            const EACH: usize = 30;
            let Some(harness) = $harness else { return };
            let (pool, schema) = harness.foreign().await;
            let store = adopt_waiting(&pool, &schema, LONG).await;
            let publishing = (0..3).map(|publisher| {
                let (store, pool) = (store.clone(), pool.clone());
                tokio::spawn(async move {
                    for number in 0..EACH {
                        let mut tx = pool.begin().await.unwrap();
                        let event = NewEvent::new(format!("{publisher}.{number}"), "/1");
                        store.publish(&mut tx, &event, SystemClock.now()).await.unwrap();
                        tokio::task::yield_now().await;
                        tx.commit().await.unwrap();
                    }
                })
            });
            let publishing: Vec<_> = publishing.collect();
            let direct = tokio::spawn({
                let pool = pool.clone();
                async move {
                    for number in 0..EACH {
                        let mut held = pool.begin().await.unwrap();
                        held.execute(insert(&format!("direct.{number}"))).await.unwrap();
                        pool.execute("SELECT COUNT(*) FROM event_records").await.unwrap();
                        held.commit().await.unwrap();
                    }
                }
            });
            let draining = tokio::spawn({
                let pool = pool.clone();
                async move {
                    let mut moved = 0;
                    while moved < 3 * EACH {
                        let mut tx = pool.begin().await.unwrap();
                        let select = "SELECT id, uuid, title FROM event_records_queue ORDER BY id";
                        let rows = sqlx::query(select).fetch_all(&mut *tx).await.unwrap();
                        for row in rows {
                            use sqlx::Row;
                            let id: i32 = row.get(0);
                            let (uuid, title): (String, String) = (row.get(1), row.get(2));
                            let insert = format!(
                                "INSERT INTO event_records (uuid, title) VALUES ('{uuid}', '{title}')"
                            );
                            tx.execute(AssertSqlSafe(insert)).await.unwrap();
                            let delete = format!("DELETE FROM event_records_queue WHERE id = {id}");
                            tx.execute(AssertSqlSafe(delete)).await.unwrap();
                            moved += 1;
                        }
                        tx.commit().await.unwrap();
                    }
                }
            });
            let following = async {
                let mut seen: Vec<EventRecord> = Vec::new();
                while seen.len() < 4 * EACH {
                    let range = RecordRange {
                        after: seen.last().map_or(0, |record| record.id),
                        through: None,
                        skip: 0,
                        limit: 7,
                    };
                    seen.extend(store.records(&FeedScope::All, range).await.unwrap());
                    tokio::task::yield_now().await;
                }
                seen
            };
            let seen = tokio::time::timeout(Duration::from_secs(300), following).await.unwrap();
            for task in publishing.into_iter().chain([direct, draining]) {
                task.await.unwrap();
            }
            let uuids: std::collections::HashSet<_> =
                seen.iter().map(|record| record.uuid.as_str()).collect();
            assert_eq!(uuids.len(), 4 * EACH, "each once");
            let everything = RecordRange {
                after: 0,
                through: None,
                skip: 0,
                limit: 1_000,
            };
            assert_eq!(store.records(&FeedScope::All, everything).await.unwrap(), seen);
        }
    };
}

mod odoo {
    use super::*;

    /// Once for each event, however often it is looked for.
    #[tokio::test]
    async fn an_event_that_comes_too_late_is_counted() {
        let Some(harness) = PostgresHarness::odoo() else {
            return;
        };
        let counted = Counted::default();
        let _here = metrics::set_default_local_recorder(&counted);
        let (pool, schema) = harness.foreign().await;
        let store = adopt(&pool, &schema).await;
        for title in ["1", "2"] {
            pool.execute(insert(title)).await.unwrap();
        }
        pool.execute("DELETE FROM event_records WHERE id = 1")
            .await
            .unwrap();
        until(&store, &["2"]).await;
        pool.execute("INSERT INTO event_records (id, uuid) VALUES (1, 'late')")
            .await
            .unwrap();
        let told = tokio::time::timeout(Duration::from_secs(300), async {
            while counted.of("atomfeed_late_events_total") == 0 {
                assert_eq!(titles(&store).await, ["2"]);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        told.await.expect("it is counted");
        // Another process tells of it too; this one does not again.
        let again = adopt(&pool, &schema).await;
        assert_eq!(titles(&again).await, ["2"]);
        assert_eq!(counted.of("atomfeed_late_events_total"), 2);
    }

    foreign_ids!(PostgresHarness::odoo());
}

mod openelis {
    use super::*;

    foreign_ids!(PostgresHarness::openelis());
}

mod openmrs {
    use super::*;

    foreign_ids!(MySqlHarness::openmrs());
}

mod openmrs_sync2 {
    use super::*;

    foreign_ids!(MySqlHarness::openmrs_sync2());
}
