//! The marker is moved where somebody has seen it would stand.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, CancellationToken, FeedSource, FetchError, PageRequest, PageResponse, Schedule,
    StartPosition,
};
use atomfeed_core::store::conformance::{Harness, SqliteHarness};
use atomfeed_core::store::{ConsoleStore, ConsumerStore};
use atomfeed_core::{ActionKind, ActionState, Clock, SystemClock};
use tokio::time::Instant;

use super::{Lab, PATIENCE, Running, Target};
use crate::feeds::{Apply, feed_uri, on_every_store};

on_every_store!(
    the_marker_is_moved_once_it_was_seen_where_to,
    with_a_lease_it_is_moved_once_too,
);

async fn the_marker_is_moved_once_it_was_seen_where_to<H: Harness + 'static>(harness: &Arc<H>) {
    let lab = Lab::new(harness).await;
    lab.emr.publish(1..=12).await;
    let running = lab.run();
    let begun = Instant::now();
    while lab.applied().await.len() < 12 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let page = "http://127.0.0.1:8080/feed/2";
    for (position, effect) in [
        ("latest", "nothing would be skipped or replayed"),
        ("beginning", "12 events would be replayed"),
        (page, "7 events would be replayed"),
    ] {
        let outcome = lab.done(ActionKind::PreviewMarker, None, position).await;
        assert!(outcome.starts_with(effect), "{position}: {outcome}");
        assert_eq!(
            position.parse::<StartPosition>().unwrap().to_string(),
            position
        );
    }
    for position in ["nowhere", "after:", "at:5"] {
        let outcome = lab.failed(ActionKind::PreviewMarker, None, position).await;
        assert!(outcome.contains("is no position"), "{outcome}");
    }
    let nowhere = "http://127.0.0.1:8080/feed/99";
    let outcome = lab.failed(ActionKind::MoveMarker, None, nowhere).await;
    assert!(outcome.contains("feed/99"), "{outcome}");
    let before = lab.store.marker(&feed_uri()).await.unwrap().unwrap();
    assert_eq!(lab.tried.load(Ordering::Relaxed), 12);

    let id = lab.ask(ActionKind::MoveMarker, None, page).await;
    assert_eq!(lab.ended(id).await.0, ActionState::Done);
    let was = lab.action(id).await.progress.was.unwrap();
    let entry = before.last_read_entry_id().unwrap();
    assert!(was.contains(entry.as_str()), "{was}");
    // The consumer goes on from there: seven once more.
    let begun = Instant::now();
    while lab.tried.load(Ordering::Relaxed) < 19 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.end().await;
    assert_eq!(lab.store.marker(&feed_uri()).await.unwrap(), Some(before));
}

async fn with_a_lease_it_is_moved_once_too<H: Harness + 'static>(harness: &Arc<H>) {
    let mut lab = Lab::new(harness).await;
    lab.has_lease = true;
    lab.emr.publish(1..=12).await;
    let running = lab.run();
    let begun = Instant::now();
    while lab.tried.load(Ordering::Relaxed) < 12 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let outcome = lab.done(ActionKind::MoveMarker, None, "beginning").await;
    assert!(outcome.contains("at the beginning of"), "{outcome}");
    while lab.tried.load(Ordering::Relaxed) < 24 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // What is asked for afterwards is done, too, and nothing was read a third time.
    lab.done(ActionKind::PreviewMarker, None, "latest").await;
    running.end().await;
    assert_eq!(lab.tried.load(Ordering::Relaxed), 24);
}

/// As a server of the original answers, which says no positions.
struct WithoutPositions<S>(S);

#[async_trait]
impl<S: FeedSource> FeedSource for WithoutPositions<S> {
    async fn fetch(&self, page: &PageRequest) -> Result<PageResponse, FetchError> {
        let mut answer = self.0.fetch(page).await?;
        answer.position = None;
        Ok(answer)
    }
}

#[tokio::test]
async fn where_the_server_says_no_positions_it_is_counted_what_lies_between() {
    let harness = Arc::new(SqliteHarness::default());
    let lab = Lab::new(&harness).await;
    lab.emr.publish(1..=12).await;
    let run = |schedule: Schedule| {
        let source = WithoutPositions(lab.emr.source());
        let client = AtomFeedClient::builder(feed_uri(), source)
            .schedule(schedule)
            .look_for_actions(Duration::from_millis(5))
            .build(lab.store.clone(), Apply::all(&harness));
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move { client.run(stopped).await.unwrap() });
        Running { stop, task }
    };
    let previews = async |expected: &[(&str, &str)]| {
        for (position, effect) in expected {
            let outcome = lab.done(ActionKind::PreviewMarker, None, position).await;
            assert!(outcome.starts_with(effect), "{position}: {outcome}");
        }
    };
    let page = "http://127.0.0.1:8080/feed/2";

    // It is never time to read, and so there is no marker.
    let running = run("0 0 0 1 1 ? 2099".parse().unwrap());
    previews(&[
        ("latest", "12 events would be skipped"),
        (page, "5 events would be skipped"),
        ("beginning", "nothing would be skipped or replayed"),
    ])
    .await;
    running.end().await;

    lab.client().process_events().await.unwrap();
    lab.emr.publish(13..=18).await;
    let running = run("0 0 0 1 1 ? 2099".parse().unwrap());
    previews(&[
        ("latest", "6 events would be skipped"),
        ("beginning", "12 events would be replayed"),
        (page, "7 events would be replayed"),
    ])
    .await;
    running.end().await;
}

/// Nothing else is kept waiting by a place that nobody finds.
#[tokio::test]
async fn who_looks_for_a_place_can_be_called_off() {
    struct Silent;

    #[async_trait]
    impl FeedSource for Silent {
        async fn fetch(&self, _: &PageRequest) -> Result<PageResponse, FetchError> {
            std::future::pending().await
        }
    }

    let harness = Arc::new(SqliteHarness::default());
    let lab = Lab::new(&harness).await;
    lab.emr.publish([101]).await;
    lab.client().process_events().await.unwrap();
    let parked = lab.parked().await;
    let worker = Target {
        harness: Arc::clone(&harness),
        refuses: Arc::clone(&lab.refuses),
        is_away: Arc::default(),
        tried: Arc::default(),
        is_one_patient: false,
    };
    let client = AtomFeedClient::builder(feed_uri(), Silent)
        .look_for_actions(Duration::from_millis(5))
        .build(lab.store.clone(), worker);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let running = tokio::spawn(async move { client.run(stopped).await.unwrap() });
    for kind in [ActionKind::PreviewMarker, ActionKind::MoveMarker] {
        let id = lab.ask(kind, None, "after:tag:nowhere").await;
        let begun = Instant::now();
        while lab.action(id).await.progress.state == ActionState::Waiting {
            assert!(begun.elapsed() < PATIENCE, "it is not begun");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut work = lab.store.change().await.unwrap();
        let off = work.call_off(id, "not now", SystemClock.now()).await;
        assert!(off.unwrap());
        work.commit().await.unwrap();
        lab.done(ActionKind::ResetRetries, Some(&parked[0]), "")
            .await;
        let ended = lab.action(id).await.progress;
        assert_eq!(ended.state, ActionState::CalledOff, "{ended:?}");
    }
    stop.cancel();
    running.await.unwrap();
}
