//! Tables of other programs: taken as they are, or not at all.

use atomfeed_core::chunking::{ChunkingHistoryEntry, ChunkingStrategy};
use atomfeed_core::store::conformance::{Harness, MySqlHarness, PostgresHarness, sequence_all};
use atomfeed_core::store::{
    Adoption, ConsumerStore, FeedStore, MySqlStore, OutboxStore, PostgresStore, StoreErrorKind,
    TableZone,
};
use atomfeed_core::{Category, Clock, EntryId, FeedScope, FeedUri, Marker, NewEvent, SystemClock};
use chrono::{DateTime, Utc};
use sqlx::{Executor, MySqlPool};

use crate::foreign::{adopt, records, titles};

macro_rules! foreign_publishers {
    ($store:ident, $harness:expr) => {
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
            assert_eq!(
                store.offset_marker("lab").await.unwrap(),
                Some(marker(9, 90))
            );
            store
                .write_offset_marker("lab", marker(4, 2))
                .await
                .unwrap();
            assert_eq!(
                store.offset_marker("lab").await.unwrap(),
                Some(marker(4, 2))
            );
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
                pool.execute("DELETE FROM event_records_offset_marker")
                    .await
                    .unwrap();
                let written = [1, 2].map(|event_id| {
                    let store = store.clone();
                    tokio::spawn(async move {
                        let event_count = i64::unsigned_abs(event_id);
                        let marker = atomfeed_core::store::OffsetMarker {
                            event_id,
                            event_count,
                        };
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
            let by_the_hour = ChunkingHistoryEntry {
                chunk_length: 3_600_000,
                start: 0,
            };
            let store = adopt(&pool, &schema).await;
            let settled = store
                .settle_chunking(ChunkingStrategy::Time, by_the_hour)
                .await;
            let refused = settled.unwrap_err();
            assert_eq!(refused.kind(), StoreErrorKind::Refused);
            assert!(refused.to_string().contains("sequencing"), "{refused}");

            let adoption = Adoption::of_publisher().sequencing();
            let store = $store::over(pool.clone(), Some(&schema));
            let store = store.adopt(&adoption).await.unwrap();
            store
                .settle_chunking(ChunkingStrategy::Time, by_the_hour)
                .await
                .unwrap();
        }

        /// Their own program moves the queue; both at once would double events.
        #[tokio::test]
        async fn the_queue_is_left_alone_unless_asked_for() {
            let Some(harness) = $harness else { return };
            let (pool, schema) = harness.foreign().await;
            let store = adopt(&pool, &schema).await;
            let mut conn = pool.acquire().await.unwrap();
            let event = NewEvent::new("queued", "/1");
            store
                .publish(&mut conn, &event, SystemClock.now())
                .await
                .unwrap();
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
                        work.move_marker(None, &to.on_page("http://emr/feed/1"))
                            .await?;
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
                let rows = sqlx::query("SELECT feed_uri FROM markers")
                    .fetch_all(&pool)
                    .await;
                assert_eq!((rows.unwrap().len(), told), (1, 1), "round {round}");
            }
        }
    };
}

mod odoo {
    use super::*;

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
