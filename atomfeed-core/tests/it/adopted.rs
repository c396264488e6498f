//! Tables of other programs: taken as they are, or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use atomfeed_core::chunking::{ChunkingHistoryEntry, ChunkingStrategy};
use atomfeed_core::store::conformance::{Harness, MySqlHarness, PostgresHarness, sequence_all};
use atomfeed_core::store::sql::{Dialect, SqlStore};
use atomfeed_core::store::{
    Adoption, ConsumerStore, FeedStore, MySqlStore, OutboxStore, PostgresStore, RecordRange,
    SchemaName, StoreErrorKind, TableZone,
};
use atomfeed_core::{
    Category, Clock, EntryId, EventRecord, FeedScope, FeedUri, Marker, NewEvent, SystemClock,
};
use chrono::{DateTime, Utc};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use sqlx::{AssertSqlSafe, Executor, MySqlPool, Pool};

/// Soon enough for a test, and long enough to be looked at more than once.
const GAP_WAIT: Duration = Duration::from_millis(400);

/// Longer than any of this takes.
const LONG: Duration = Duration::from_secs(600);

async fn adopt<D: Dialect>(pool: &Pool<D>, schema: &SchemaName) -> SqlStore<D> {
    adopt_waiting(pool, schema, GAP_WAIT).await
}

async fn adopt_waiting<D: Dialect>(
    pool: &Pool<D>,
    schema: &SchemaName,
    wait: Duration,
) -> SqlStore<D> {
    let adoption = Adoption::of_publisher().waiting_for_gaps(wait);
    let store = SqlStore::over(pool.clone(), Some(schema));
    store.adopt(&adoption).await.unwrap()
}

async fn records<D: Dialect>(store: &SqlStore<D>, scope: &FeedScope) -> Vec<EventRecord> {
    let range = RecordRange {
        after: 0,
        through: None,
        skip: 0,
        limit: 100,
    };
    store.records(scope, range).await.unwrap()
}

pub(crate) async fn titles<D: Dialect>(store: &SqlStore<D>) -> Vec<String> {
    let records = records(store, &FeedScope::All).await;
    records
        .into_iter()
        .filter_map(|record| record.title)
        .collect()
}

pub(crate) fn insert(title: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "INSERT INTO event_records (uuid, title, category) VALUES ('{title}', '{title}', 'Lab')"
    ))
}

/// Waits for what must come, and never for what must not.
pub(crate) async fn until<D: Dialect>(store: &SqlStore<D>, expected: &[&str]) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while titles(store).await != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    if waited.await.is_err() {
        panic!("{:?} is shown, not {expected:?}", titles(store).await);
    }
}

/// A missing id is waited for, since its transaction may be about to commit; the events above it are
/// not shown before.
macro_rules! foreign_publishers {
    ($store:ident, $harness:expr) => {
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
                let again = tokio::time::timeout(Duration::from_secs(20), again).await;
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
            let seen = tokio::time::timeout(Duration::from_secs(60), following).await.unwrap();
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

        /// Rows that other programs left, more than one for a category, and one without numbers.
        #[tokio::test]
        async fn a_written_offset_marker_replaces_all_others() {
            let Some(harness) = $harness else { return };
            let (pool, schema) = harness.foreign().await;
            pool.execute(
                "INSERT INTO event_records_offset_marker (event_id, event_count, category)
                 VALUES (7, 70, 'lab'), (NULL, NULL, 'lab'), (9, 90, 'lab'), (5, 5, '')",
            )
            .await
            .unwrap();
            let store = adopt(&pool, &schema).await;
            let marker = |event_id, event_count| atomfeed_core::store::OffsetMarker {
                event_id,
                event_count,
            };
            assert_eq!(store.offset_marker("lab").await.unwrap(), Some(marker(9, 90)));
            store.write_offset_marker("lab", marker(4, 2)).await.unwrap();
            assert_eq!(store.offset_marker("lab").await.unwrap(), Some(marker(4, 2)));
            assert_eq!(store.offset_marker("").await.unwrap(), Some(marker(5, 5)));
            let rows = sqlx::query("SELECT id FROM event_records_offset_marker").fetch_all(&pool);
            assert_eq!(rows.await.unwrap().len(), 2);
        }

        /// No key keeps a second row out of these tables.
        #[tokio::test]
        async fn of_two_that_write_an_offset_marker_at_once_one_row_is_left() {
            let Some(harness) = $harness else { return };
            let (pool, schema) = harness.foreign().await;
            let store = adopt(&pool, &schema).await;
            for round in 0..20 {
                pool.execute("DELETE FROM event_records_offset_marker").await.unwrap();
                let written = [1, 2].map(|event_id| {
                    let store = store.clone();
                    tokio::spawn(async move {
                        let event_count = i64::unsigned_abs(event_id);
                        let marker = atomfeed_core::store::OffsetMarker { event_id, event_count };
                        store.write_offset_marker("lab", marker).await
                    })
                });
                for written in written {
                    written.await.unwrap().unwrap();
                }
                let rows = sqlx::query("SELECT id FROM event_records_offset_marker");
                let rows = rows.fetch_all(&pool).await.unwrap();
                assert_eq!(rows.len(), 1, "round {round}");
            }
        }

        /// Nobody gives events their times under the lock under which chunks of time end.
        #[tokio::test]
        async fn time_chunks_need_somebody_who_gives_events_their_times() {
            let Some(harness) = $harness else { return };
            let (pool, schema) = harness.foreign().await;
            let by_the_hour = ChunkingHistoryEntry { chunk_length: 3_600_000, start: 0 };
            let store = adopt(&pool, &schema).await;
            let settled = store.settle_chunking(ChunkingStrategy::Time, by_the_hour).await;
            let refused = settled.unwrap_err();
            assert_eq!(refused.kind(), StoreErrorKind::Refused);
            assert!(refused.to_string().contains("sequencing"), "{refused}");

            let adoption = Adoption::of_publisher().sequencing();
            let store = $store::over(pool.clone(), Some(&schema));
            let store = store.adopt(&adoption).await.unwrap();
            store.settle_chunking(ChunkingStrategy::Time, by_the_hour).await.unwrap();
        }

        /// Their own program moves the queue; both at once would double events.
        #[tokio::test]
        async fn the_queue_is_left_alone_unless_asked_for() {
            let Some(harness) = $harness else { return };
            let (pool, schema) = harness.foreign().await;
            let store = adopt(&pool, &schema).await;
            let mut conn = pool.acquire().await.unwrap();
            let event = NewEvent::new("queued", "/1");
            store.publish(&mut conn, &event, SystemClock.now()).await.unwrap();
            use atomfeed_core::store::SequencedStore;
            let refused = store.sequence(10, SystemClock.now()).await.unwrap_err();
            assert_eq!(refused.kind(), StoreErrorKind::Refused);
            assert!(refused.to_string().contains("double"), "{refused}");

            let adoption = Adoption::of_publisher().sequencing();
            let store = $store::over(pool.clone(), Some(&schema));
            let store = store.adopt(&adoption).await.unwrap();
            sequence_all(&store).await;
            assert_eq!(titles(&store).await, ["queued"]);
        }

        #[tokio::test]
        async fn what_is_missing_is_named() {
            let Some(harness) = $harness else { return };
            let (pool, schema) = harness.foreign().await;
            for sql in [
                "ALTER TABLE event_records DROP COLUMN object",
                "DROP TABLE chunking_history",
                "DROP TABLE markers",
            ] {
                pool.execute(sql).await.unwrap();
            }
            for (adoption, missing) in [
                (
                    Adoption::of_publisher(),
                    "the column event_records.object, the table chunking_history missing",
                ),
                (Adoption::of_consumer(), "the table markers missing"),
            ] {
                let store = $store::over(pool.clone(), Some(&schema));
                let error = store.adopt(&adoption).await.unwrap_err();
                assert_eq!(error.kind(), StoreErrorKind::Refused);
                assert!(error.to_string().contains(missing), "{error}");
                assert!(error.to_string().contains(schema.as_str()), "{error}");
            }
        }

        /// They are not taken for ours, nor ours for theirs.
        #[tokio::test]
        async fn whose_they_are_is_kept() {
            let Some(harness) = $harness else { return };
            let (pool, schema) = harness.foreign().await;
            let over = || $store::over(pool.clone(), Some(&schema));
            for _ in 0..2 {
                let error = over().migrate().await.unwrap_err();
                assert_eq!(error.kind(), StoreErrorKind::Refused);
                assert!(error.to_string().contains("adopt"), "{error}");
                over().adopt(&Adoption::of_consumer()).await.unwrap();
            }
            let ours = harness.with_our_tables().await;
            let error = ours.adopt(&Adoption::of_publisher()).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Refused);
            assert!(error.to_string().contains("without adopting"), "{error}");
        }

        /// Also where no key keeps a second row out.
        #[tokio::test]
        async fn of_two_consumers_that_start_together_one_is_told() {
            let Some(harness) = $harness else { return };
            let (pool, schema) = harness.foreign().await;
            let adoption = Adoption::of_consumer();
            let feed: FeedUri = "http://emr/feed/recent".parse().unwrap();
            let store = $store::over(pool.clone(), Some(&schema));
            let store = store.adopt(&adoption).await.unwrap();
            for round in 0..20 {
                pool.execute("DELETE FROM markers").await.unwrap();
                let moved = [1, 2].map(|number| {
                    let (store, feed) = (store.clone(), feed.clone());
                    tokio::spawn(async move {
                        let mut work = store.begin().await?;
                        let to = Marker::new(feed).after(EntryId::of_event(number));
                        work.move_marker(None, &to.on_page("http://emr/feed/1")).await?;
                        work.commit().await
                    })
                });
                let mut told = 0;
                for moved in moved {
                    if let Err(error) = moved.await.unwrap() {
                        assert_eq!(error.kind(), StoreErrorKind::Conflict, "{error:?}");
                        told += 1;
                    }
                }
                let rows = sqlx::query("SELECT feed_uri FROM markers").fetch_all(&pool).await;
                assert_eq!((rows.unwrap().len(), told), (1, 1), "round {round}");
            }
        }
    };
}

/// Counts what is counted under any name.
#[derive(Default)]
pub(crate) struct Counted(std::sync::Mutex<std::collections::HashMap<String, Arc<AtomicU64>>>);

impl Counted {
    pub(crate) fn of(&self, name: &str) -> u64 {
        let counted = self.0.lock().unwrap();
        counted
            .get(name)
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

impl metrics::Recorder for Counted {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut counted = self.0.lock().unwrap();
        Counter::from_arc(Arc::clone(
            counted.entry(key.name().to_owned()).or_default(),
        ))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
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
        let told = tokio::time::timeout(Duration::from_secs(30), async {
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

    foreign_publishers!(PostgresStore, PostgresHarness::odoo());

    /// Columns without a zone are in that of the program that writes them.
    #[tokio::test]
    async fn times_without_a_zone_are_in_that_which_is_given() {
        let Some(harness) = PostgresHarness::odoo() else {
            return;
        };
        let (pool, schema) = harness.foreign().await;
        pool.execute(
            "INSERT INTO event_records (uuid, timestamp, date_created)
             VALUES ('a', '2024-03-01 13:46:00', '2024-03-01 13:45:00')",
        )
        .await
        .unwrap();
        let zone: TableZone = "Asia/Kathmandu".parse().unwrap();
        let adoption = Adoption::of_publisher().in_zone(zone).sequencing();
        let store = PostgresStore::over(pool.clone(), Some(&schema));
        let store = store.adopt(&adoption).await.unwrap();
        let time: DateTime<Utc> = "2024-03-01T08:01:00Z".parse().unwrap();
        let found = records(&store, &FeedScope::All).await;
        assert_eq!(found[0].timestamp, time);
        let created: DateTime<Utc> = "2024-03-01T08:00:00Z".parse().unwrap();
        assert_eq!(found[0].date_created, Some(created));

        let mut conn = pool.acquire().await.unwrap();
        let event = NewEvent::new("ours", "").published_at(time);
        store
            .publish(&mut conn, &event, SystemClock.now())
            .await
            .unwrap();
        sequence_all(&store).await;
        let select = "SELECT timestamp::text FROM event_records WHERE title = 'ours'";
        let kept: String = sqlx::query_scalar(select).fetch_one(&pool).await.unwrap();
        assert_eq!(kept, "2024-03-01 13:46:00");
        assert_eq!(records(&store, &FeedScope::All).await[1].timestamp, time);
        let hour = atomfeed_core::store::TimeBounds {
            start: Some(time),
            end: time + chrono::TimeDelta::hours(1),
        };
        assert_eq!(
            store
                .records_between(&FeedScope::All, hour)
                .await
                .unwrap()
                .len(),
            2
        );
    }

    /// Letters beyond ASCII fold as Unicode has it, in rows that another program wrote.
    #[tokio::test]
    async fn spellings_of_others_are_learnt() {
        let Some(harness) = PostgresHarness::odoo() else {
            return;
        };
        let (pool, schema) = harness.foreign().await;
        let store = adopt(&pool, &schema).await;
        let scope = FeedScope::Category(Category::new("éTUDE").unwrap());
        assert_eq!(store.count(&scope, 0, None).await.unwrap(), 0);
        for (uuid, category) in [("a", "Étude"), ("b", "étude"), ("c", "etude")] {
            let insert = sqlx::query("INSERT INTO event_records (uuid, category) VALUES ($1, $2)");
            insert
                .bind(uuid)
                .bind(category)
                .execute(&pool)
                .await
                .unwrap();
        }
        assert_eq!(store.count(&scope, 0, None).await.unwrap(), 2);
        let exact = store.with_exact_categories();
        assert_eq!(exact.count(&scope, 0, None).await.unwrap(), 0);
        let exactly = FeedScope::Category(Category::new("étude").unwrap());
        assert_eq!(exact.count(&exactly, 0, None).await.unwrap(), 1);
    }
}

mod openelis {
    use super::*;

    foreign_publishers!(PostgresStore, PostgresHarness::openelis());
}

mod openmrs {
    use super::*;

    foreign_publishers!(MySqlStore, MySqlHarness::openmrs());

    /// A pool of the application's own may be in any zone.
    #[tokio::test]
    async fn a_connection_that_is_not_in_utc_is_refused() {
        let Some(harness) = MySqlHarness::openmrs() else {
            return;
        };
        let (pool, schema) = harness.foreign().await;
        let options = pool.connect_options().as_ref().clone();
        let options = options.timezone(Some("+05:45".to_owned()));
        let pool = MySqlPool::connect_with(options).await.unwrap();
        let store = MySqlStore::over(pool, Some(&schema));
        let error = store.adopt(&Adoption::of_consumer()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Refused);
        assert!(error.to_string().contains("20700 s"), "{error}");
        assert!(error.to_string().contains("+00:00"), "{error}");
    }

    #[tokio::test]
    async fn an_exact_match_is_exact_whatever_the_collation() {
        let Some(harness) = MySqlHarness::openmrs() else {
            return;
        };
        let store = harness.store().await;
        for category in ["Patient", "patient", "pâtient"] {
            let mut conn = store.pool().acquire().await.unwrap();
            let event = NewEvent::new(category, "").in_category(category);
            store
                .publish(&mut conn, &event, SystemClock.now())
                .await
                .unwrap();
        }
        sequence_all(&store).await;
        let scope = FeedScope::Category(Category::new("patient").unwrap());
        assert_eq!(store.count(&scope, 0, None).await.unwrap(), 3);
        let exact = store.with_exact_categories();
        assert_eq!(exact.count(&scope, 0, None).await.unwrap(), 1);
        assert_eq!(records(&exact, &scope).await.len(), 1);
        assert_eq!(exact.every_nth_id(&scope, 0, 1).await.unwrap(), [2]);
    }
}

mod openmrs_sync2 {
    use super::*;

    foreign_publishers!(MySqlStore, MySqlHarness::openmrs_sync2());
}
