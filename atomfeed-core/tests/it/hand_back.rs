//! What stands in the way of handing tables back is found, all of it, and nothing else.

use std::time::Duration;

use atomfeed_core::store::conformance::{Harness, MySqlHarness, PostgresHarness, SqliteHarness};
use atomfeed_core::store::sql::{Dialect, SqlStore};
use atomfeed_core::store::{
    Adoption, ConsumerStore, FailedEventQuery, FeedStore, MySqlStore, Obstacle, OutboxStore,
    PostgresStore, RecordRange, SequencedStore, UpkeepStore,
};
use atomfeed_core::{Clock, EntryId, Event, Failure, FeedScope, FeedUri, NewEvent, SystemClock};
use sqlx::{AssertSqlSafe, Executor};

fn feed() -> FeedUri {
    FeedUri::new("http://emr.example.org/feed/recent").unwrap()
}

fn entry(number: u32) -> EntryId {
    EntryId::new(format!("tag:atomfeed.ict4h.org:{number}")).unwrap()
}

/// Parks an event whose content, and the error of whose retry, no column of three bytes a letter and
/// 4,000 letters can hold; and one that fits.
async fn park<D: Dialect>(store: &SqlStore<D>) {
    let mut work = store.begin().await.unwrap();
    let failure = Failure::new("no such patient", SystemClock.now());
    for (number, content) in [(1, "/patient/1".to_owned()), (2, "x".repeat(5_000))] {
        let event = Event::new(entry(number), feed()).with_text("Patient", content);
        work.park(&event, &failure).await.unwrap();
    }
    let query = FailedEventQuery::of(feed());
    for failed in work.failed_events(&query).await.unwrap() {
        for _ in 0..2 {
            work.record_failed_retry(&failed, &failure).await.unwrap();
        }
    }
    work.commit().await.unwrap();
}

fn parked() -> Vec<Obstacle> {
    let (feed_uri, event_id) = (feed().to_string(), entry(2).to_string());
    vec![
        Obstacle::Parked {
            feed_uri: feed_uri.clone(),
            event_id: event_id.clone(),
        },
        Obstacle::Retries {
            feed_uri,
            event_id,
            count: 2,
        },
    ]
}

macro_rules! on_adopted {
    ($name:ident, $store:ident, $harness:expr, $parked:expr, $spellings:expr) => {
        #[tokio::test]
        async fn $name() {
            let Some(harness) = $harness else { return };
            let (pool, schema) = harness.foreign().await;
            let over = || $store::over(pool.clone(), Some(&schema));
            let consumer = over().adopt(&Adoption::of_consumer()).await.unwrap();
            assert_eq!(consumer.obstacles().await.unwrap(), []);
            park(&consumer).await;
            let parked: Vec<Obstacle> = $parked;
            assert_eq!(consumer.obstacles().await.unwrap(), parked);

            // An id is passed over, and an event comes for it all the same.
            let adoption = Adoption::of_publisher().waiting_for_gaps(Duration::from_millis(400));
            let publisher = over().adopt(&adoption).await.unwrap();
            for (id, category) in [(1, "Lab"), (3, "Lab"), (4, "LAB"), (5, "Patient")] {
                let insert = format!(
                    "INSERT INTO event_records (id, uuid, category) VALUES ({id}, '{id}', '{category}')"
                );
                pool.execute(AssertSqlSafe(insert)).await.unwrap();
            }
            let passed = tokio::time::timeout(Duration::from_secs(300), async {
                while publisher.newest_id().await.unwrap() < 5 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
            passed.await.expect("the missing id is passed over");
            let late = "INSERT INTO event_records (id, uuid, category) VALUES (2, 'late', 'Lab')";
            pool.execute(late).await.unwrap();

            // The feed is pruned; queued rows that cannot be moved are set aside; ids are passed over.
            let adoption = Adoption::of_publisher().sequencing().pruning();
            let publisher = over().adopt(&adoption).await.unwrap();
            let mut expected = parked.clone();
            expected.push(Obstacle::NeverShown { id: 2, uuid: "late".into() });
            let spellings: &[&str] = $spellings;
            let spellings: Vec<_> = spellings.iter().map(|text| (*text).to_owned()).collect();
            expected.extend((!spellings.is_empty()).then_some(Obstacle::Spellings(spellings)));
            assert_eq!(publisher.obstacles().await.unwrap(), expected);

            let aside = "INSERT INTO atomfeed_set_aside (queue_id, set_aside_at, error, uuid)
                VALUES (7, '2024-03-01 08:00:00', 'too long', 'aside')";
            pool.execute(aside).await.unwrap();
            expected.insert(parked.len(), Obstacle::SetAside {
                queue_id: 7,
                uuid: "aside".into(),
                error: "too long".into(),
            });
            let first = atomfeed_core::chunking::ChunkingHistoryEntry { chunk_length: 2, start: 1 };
            let strategy = atomfeed_core::chunking::ChunkingStrategy::Number;
            publisher.settle_chunking(strategy, first).await.unwrap();
            let before = atomfeed_core::store::OffsetMarker { event_id: 3, event_count: 2 };
            let cut = atomfeed_core::store::Cut { page: 2, before };
            publisher.keep_cuts(&[(FeedScope::All, cut)], 0).await.unwrap();
            expected.insert(parked.len() + 2, Obstacle::Pruned);
            assert_eq!(publisher.obstacles().await.unwrap(), expected);
            publisher.continue_after(100).await.unwrap();
            expected.insert(parked.len() + 3, Obstacle::Continued);
            let found = publisher.obstacles().await.unwrap();
            assert_eq!(found, expected);
            for obstacle in found {
                let said = obstacle.to_string();
                assert!(said.len() > 60 && !said.contains("  "), "{said}");
            }
        }
    };
}

on_adopted!(
    openelis,
    PostgresStore,
    PostgresHarness::openelis(),
    parked(),
    &["LAB", "Lab"]
);
on_adopted!(
    odoo,
    PostgresStore,
    PostgresHarness::odoo(),
    parked(),
    &["LAB", "Lab"]
);
// The columns of these compare without regard to case, and so does the program whose they are.
on_adopted!(openmrs, MySqlStore, MySqlHarness::openmrs(), parked(), &[]);
// These hold any length, and there is no retry log.
on_adopted!(
    openmrs_sync2,
    MySqlStore,
    MySqlHarness::openmrs_sync2(),
    Vec::new(),
    &[]
);

/// Our own tables hold everything; and what is done every day stands in nobody's way.
#[tokio::test]
async fn our_own_tables_hold_what_is_parked() {
    let harness = SqliteHarness::default();
    let store = harness.store().await;
    park(&store).await;
    let mut conn = store.pool().acquire().await.unwrap();
    let now = SystemClock.now();
    for category in ["Lab", "Patient"] {
        let event = NewEvent::new("Event", "").in_category(category);
        store.publish(&mut conn, &event, now).await.unwrap();
    }
    drop(conn);
    store.sequence(10, now).await.unwrap();
    let first = RecordRange {
        after: 0,
        through: None,
        skip: 0,
        limit: 10,
    };
    assert_eq!(
        store.records(&FeedScope::All, first).await.unwrap().len(),
        2
    );
    assert_eq!(store.obstacles().await.unwrap(), []);
}

/// What was dealt with beyond the marker would be applied again by another program.
#[tokio::test]
async fn what_was_completed_beyond_the_marker_is_named() {
    let harness = SqliteHarness::default();
    let store = harness.store().await;
    let mut work = store.begin().await.unwrap();
    work.complete(&feed(), &[&entry(9), &entry(8)])
        .await
        .unwrap();
    work.commit().await.unwrap();
    let completed = |number| Obstacle::Completed {
        feed_uri: feed().to_string(),
        event_id: entry(number).to_string(),
    };
    let found = store.obstacles().await.unwrap();
    assert_eq!(found, [completed(8), completed(9)]);
    let said = found[0].to_string();
    assert!(
        said.contains(entry(8).as_str()) && said.contains("marker"),
        "{said}"
    );
    let mut work = store.begin().await.unwrap();
    work.forget_completed(&feed(), &[&entry(9), &entry(8)])
        .await
        .unwrap();
    work.commit().await.unwrap();
    assert_eq!(store.obstacles().await.unwrap(), []);
}
