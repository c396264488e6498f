//! Pages by time lose nothing at a boundary, whatever commits late and whatever the clock does.

use std::collections::BTreeMap;

use atomfeed_core::atom::{ReadLimits, read_feed};
use atomfeed_core::store::conformance::{Harness, sequence_all};
use atomfeed_core::store::{ConsumerStore, OutboxStore, StoreErrorKind};
use atomfeed_core::{Clock, FeedScope, NewEvent};
use atomfeed_server::{EventFeedService, FeedError, Page};
use chrono::TimeDelta;

use crate::feeds::{HandClock, config, on_every_store, publish_at};

on_every_store!(
    a_commit_just_before_the_hour_is_on_a_page,
    a_clock_that_jumps_back_changes_no_page_that_was_read,
    an_import_into_an_ended_chunk_is_refused,
    a_consumer_that_walks_on_misses_nothing,
    the_future_has_no_pages,
    events_of_the_future_get_no_time_chunks,
);

/// They would end every chunk up to theirs, and take every later event along.
async fn events_of_the_future_get_no_time_chunks<H: Harness>(harness: &H) {
    let clock = HandClock::at("2024-03-01T09:30:00Z");
    let store = harness.store().await;
    publish_at::<H>(&store, &HandClock::at("2034-01-01T00:00:00Z"), "ahead").await;
    let config = config().with_time_chunks();
    let opened = EventFeedService::open_with_clock(store.clone(), config, clock).await;
    let error = opened.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    assert!(error.to_string().contains("2034"), "{error}");
}

async fn open<H: Harness>(store: &H::Store, clock: &HandClock) -> EventFeedService {
    let config = config().with_time_chunks();
    EventFeedService::open_with_clock(store.clone(), config, clock.clone())
        .await
        .unwrap()
}

fn titles(page: &Page) -> Vec<String> {
    let feed = read_feed(&page.body, &ReadLimits::default()).unwrap();
    feed.entries.into_iter().map(|entry| entry.title).collect()
}

/// Published at 09:59:59.999999 in a transaction that is still open when the clock strikes ten and
/// a reader comes: it is on the page of nine, which waited for it, or it is on that of ten.
async fn a_commit_just_before_the_hour_is_on_a_page<H: Harness>(harness: &H) {
    let clock = HandClock::at("2024-03-01T09:30:00Z");
    let store = harness.store().await;
    let service = open::<H>(&store, &clock).await;
    publish_at::<H>(&store, &clock, "early").await;
    assert_eq!(
        titles(&service.recent(&FeedScope::All).await.unwrap()),
        ["early"]
    );

    clock.move_by(TimeDelta::minutes(30) - TimeDelta::microseconds(1));
    let mut work = store.begin().await.unwrap();
    store
        .publish(work.conn(), &NewEvent::new("late", ""), clock.now())
        .await
        .unwrap();
    clock.move_by(TimeDelta::seconds(1));
    // The reader comes first, and would leave page 1 behind without the late event.
    let (read, ()) = tokio::join!(
        async {
            let recent = service.recent(&FeedScope::All).await.unwrap();
            (recent, service.page(&FeedScope::All, 1).await.unwrap())
        },
        async { work.commit().await.unwrap() }
    );
    let (recent, first) = read;
    assert_eq!((recent.number, titles(&recent)), (2, vec![]));
    assert!(first.sealed);
    sequence_all(&store).await;
    assert_eq!(
        service.page(&FeedScope::All, 1).await.unwrap().body,
        first.body
    );
    let recent = service.recent(&FeedScope::All).await.unwrap();
    assert_eq!(
        [titles(&first), titles(&recent)].concat(),
        ["early", "late"]
    );
}

async fn a_clock_that_jumps_back_changes_no_page_that_was_read<H: Harness>(harness: &H) {
    let clock = HandClock::at("2024-03-01T09:30:00Z");
    let store = harness.store().await;
    let service = open::<H>(&store, &clock).await;
    publish_at::<H>(&store, &clock, "nine").await;
    clock.move_by(TimeDelta::hours(1));
    publish_at::<H>(&store, &clock, "ten").await;
    let nine = service.page(&FeedScope::All, 1).await.unwrap();
    assert!(nine.sealed);

    clock.move_by(TimeDelta::hours(-5));
    publish_at::<H>(&store, &clock, "jumped").await;
    let recent = service.recent(&FeedScope::All).await.unwrap();
    assert_eq!(
        (recent.number, titles(&recent)),
        (2, vec!["ten".to_owned(), "jumped".to_owned()])
    );
    assert_eq!(
        service.page(&FeedScope::All, 1).await.unwrap().body,
        nine.body
    );
}

async fn an_import_into_an_ended_chunk_is_refused<H: Harness>(harness: &H) {
    let clock = HandClock::at("2024-03-01T09:30:00Z");
    let store = harness.store().await;
    let service = open::<H>(&store, &clock).await;
    let import = |time: &str| NewEvent::new(time, "").published_at(time.parse().unwrap());
    let publish = async |event: NewEvent| {
        let mut work = store.begin().await.unwrap();
        let published = store.publish(work.conn(), &event, clock.now()).await;
        work.commit().await.unwrap();
        sequence_all(&store).await;
        published
    };
    // Nobody has read anything yet: a past may be imported.
    publish(import("2024-03-01T07:00:00Z")).await.unwrap();
    publish(import("2024-03-01T09:00:00Z")).await.unwrap();
    clock.move_by(TimeDelta::hours(1));
    let first = service.page(&FeedScope::All, 1).await.unwrap();
    assert_eq!(titles(&first).len(), 2);

    let refused = publish(import("2024-03-01T09:59:59Z")).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Refused);
    assert!(
        refused.to_string().contains("2024-03-01 10:00:00"),
        "says from when on: {refused}"
    );
    publish(import("2024-03-01T10:00:00Z")).await.unwrap();
    assert_eq!(
        service.page(&FeedScope::All, 1).await.unwrap().body,
        first.body
    );
    let recent = service.recent(&FeedScope::All).await.unwrap();
    assert_eq!(titles(&recent), ["2024-03-01T10:00:00Z"]);
}

/// Hours pass, clocks jump, readers come at odd moments: what a reader has left behind never
/// changes, and in the end it has seen everything, once, in order.
async fn a_consumer_that_walks_on_misses_nothing<H: Harness>(harness: &H) {
    let clock = HandClock::at("2024-03-01T00:59:00Z");
    let store = harness.store().await;
    let service = open::<H>(&store, &clock).await;
    let mut left_behind = BTreeMap::new();
    let moves = [
        30,
        29,
        2,
        3_599,
        1,
        -7_000,
        50,
        3_600 * 3,
        -3_600,
        10,
        3_601,
    ];
    for (n, seconds) in moves.into_iter().cycle().take(60).enumerate() {
        publish_at::<H>(&store, &clock, &n.to_string()).await;
        if n % 3 == 0 {
            let newest = service.recent(&FeedScope::All).await.unwrap().number;
            for number in 1..newest {
                let page = service.page(&FeedScope::All, number).await.unwrap();
                let before = left_behind.entry(number).or_insert(page.body.clone());
                assert_eq!(*before, page.body, "page {number} after event {n}");
            }
        }
        clock.move_by(TimeDelta::seconds(seconds));
    }
    let mut seen = Vec::new();
    for number in 1..=service.recent(&FeedScope::All).await.unwrap().number {
        seen.extend(titles(
            &service.page(&FeedScope::All, number).await.unwrap(),
        ));
    }
    assert_eq!(seen, (0..60).map(|n| n.to_string()).collect::<Vec<_>>());
}

async fn the_future_has_no_pages<H: Harness>(harness: &H) {
    let clock = HandClock::at("2024-03-01T09:30:00Z");
    let store = harness.store().await;
    let service = open::<H>(&store, &clock).await;
    for number in [2, 1_000_000_000_000, u64::MAX] {
        let error = service.page(&FeedScope::All, number).await.unwrap_err();
        assert!(matches!(error, FeedError::NoSuchPage { .. }), "{error:?}");
    }
    let refused = service.mark_events(7).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Refused);
}
