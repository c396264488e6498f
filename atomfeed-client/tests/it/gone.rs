//! Pages that are gone: pruned, or lost with a database that was restored from a backup.

use std::sync::Arc;

use atomfeed_client::{FetchError, ProcessErrorKind};
use atomfeed_core::NewEvent;
use atomfeed_core::store::conformance::MemoryHarness;
use atomfeed_core::store::{ConsumerStore, FeedStore, MemoryStore, OutboxStore};
use atomfeed_server::EventFeedService;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::feeds::{Apply, Emr, applied, config, feed_uri};

/// An EMR whose event n has uuid n, and was published in minute n of 2024.
async fn emr(numbers: impl IntoIterator<Item = u32>) -> Emr {
    let emr = Emr::new().await;
    publish(&emr, numbers).await;
    emr
}

async fn publish(emr: &Emr, numbers: impl IntoIterator<Item = u32>) {
    let mut transaction = emr.store.transaction().await;
    for number in numbers {
        let event = NewEvent::new("t", number.to_string())
            .with_uuid(Uuid::from_u128(number.into()))
            .published_at(minute(number));
        let published = emr
            .store
            .publish(&mut transaction, &event, Utc::now())
            .await;
        published.unwrap();
    }
    transaction.commit();
}

fn minute(n: u32) -> DateTime<Utc> {
    let start: DateTime<Utc> = "2024-01-01T00:00:00Z".parse().unwrap();
    start + TimeDelta::minutes(n.into())
}

async fn service(emr: &Emr) -> EventFeedService {
    EventFeedService::open(emr.store.clone(), config())
        .await
        .unwrap()
}

async fn applied_in(store: &MemoryStore) -> Vec<u32> {
    applied(&MemoryHarness, store).await
}

fn apply() -> Apply<MemoryHarness> {
    Apply::all(&Arc::new(MemoryHarness))
}

#[tokio::test]
async fn a_new_consumer_begins_where_the_feed_was_pruned() {
    let emr = emr(1..=30).await;
    service(&emr).await.prune(minute(17)).await.unwrap();
    let store = MemoryStore::new();
    let client = emr.client().build(store.clone(), apply());
    assert_eq!(client.process_events().await.unwrap().applied, 15);
    assert_eq!(applied_in(&store).await, (16..=30).collect::<Vec<_>>());
}

/// What it has not read is gone: that is for a person to know.
#[tokio::test]
async fn a_consumer_that_is_behind_the_cut_stops() {
    let emr = emr(1..=8).await;
    let store = MemoryStore::new();
    let client = emr.client().build(store.clone(), apply());
    client.process_events().await.unwrap();
    let marker = store.marker(&feed_uri()).await.unwrap();
    publish(&emr, 9..=30).await;
    service(&emr).await.prune(minute(17)).await.unwrap();
    let error = client.process_events().await.unwrap_err();
    let ProcessErrorKind::Fetch {
        source: FetchError::Status {
            status: 410, body, ..
        },
        ..
    } = error.kind()
    else {
        panic!("{error:?}");
    };
    assert!(body.contains("the oldest page is 4"), "{body}");
    assert_eq!(store.marker(&feed_uri()).await.unwrap(), marker);
    assert_eq!(applied_in(&store).await.len(), 8);
}

/// Of 23 events the last 10 were lost, and nobody has said so.
#[tokio::test]
async fn a_consumer_that_is_ahead_of_the_feed_says_so() {
    for restored in [0, 3, 13] {
        let before = emr(1..=23).await;
        let store = MemoryStore::new();
        let client = before.client().build(store.clone(), apply());
        client.process_events().await.unwrap();
        let after = emr(1..=restored).await;
        let client = after.client().build(store.clone(), apply());
        let error = client.process_events().await.unwrap_err();
        let ProcessErrorKind::MarkerAhead { page, newest } = error.kind() else {
            panic!("{error:?}");
        };
        assert!(page.ends_with("/feed/5"), "{page}");
        let expected = format!("/feed/{}", restored.div_ceil(5));
        assert!(newest.ends_with(&expected), "{newest}");
        // Also once others have come, up to the page that it stood on.
        publish(&after, 101..=101 + 24 - restored).await;
        let error = client.process_events().await.unwrap_err();
        assert!(
            matches!(error.kind(), ProcessErrorKind::MarkedEntryMissing { .. }),
            "{error:?}"
        );
        assert_eq!(applied_in(&store).await.len(), 23);
    }
}

/// The publisher goes on above what it lost: who had read less goes on by itself, who had read more is
/// told, and nothing is taken for something else.
#[tokio::test]
async fn after_a_restore_consumers_go_on_or_are_told() {
    for read in 0..=23 {
        let seen = emr(1..=read).await;
        let store = MemoryStore::new();
        let client = seen.client().build(store.clone(), apply());
        client.process_events().await.unwrap();
        let restored = emr(1..=13).await;
        let service = service(&restored).await;
        service.continue_after(23).await.unwrap();
        publish(&restored, 101..=112).await;
        assert!(restored.store.newest_id().await.unwrap() > 23);
        let client = restored.client().build(store.clone(), apply());
        let processed = client.process_events().await;
        let mut expected: Vec<_> = (1..=13.max(read)).collect();
        match (read, processed) {
            (0..=13, processed) => {
                processed.unwrap();
                expected.extend(101..=112);
            }
            (14..=15, Err(error)) => assert!(
                matches!(error.kind(), ProcessErrorKind::MarkedEntryMissing { .. }),
                "{error:?}"
            ),
            (_, Err(error)) => {
                let text = format!("{:?}", error.kind());
                assert!(text.contains("restored from a backup"), "{text}");
            }
            (read, processed) => panic!("{read}: {processed:?}"),
        }
        assert_eq!(applied_in(&store).await, expected);
    }
}
