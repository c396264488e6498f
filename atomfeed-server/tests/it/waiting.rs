//! Requests that wait for something new: `Prefer: wait=N` (RFC 7240 §4.3).

use std::time::Duration;

use atomfeed_core::NewEvent;
use atomfeed_core::store::conformance::{Harness, MemoryHarness};
use atomfeed_core::store::{ConsumerStore, MemoryStore};
use atomfeed_server::{CancellationToken, EventFeedService, FeedRouter, Publisher, Sequencer};
use axum::Router;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::feeds::{Answer, ask, config, on_every_store, publish};
use crate::served::{Client, serve_app};

on_every_store!(
    who_waits_has_an_event_of_this_process_at_once,
    who_waits_has_an_event_of_another_process,
);

/// Long enough for any machine, and shorter than anybody here waits.
const PATIENCE: Duration = Duration::from_secs(25);

fn event(title: &str) -> NewEvent {
    NewEvent::new(title, "").in_category("lab")
}

fn mounted(router: FeedRouter) -> Router {
    Router::new().nest("/feed", router.into_router())
}

/// Asks for something newer than what is known, and waits.
fn wait(feed: &Router, path: &'static str, tag: &str, seconds: u32) -> JoinHandle<Answer> {
    let (feed, tag) = (feed.clone(), tag.to_owned());
    tokio::spawn(async move {
        let prefer = format!("wait={seconds}");
        ask(&feed, path, &[("if-none-match", &tag), ("prefer", &prefer)]).await
    })
}

async fn tag(feed: &Router, path: &str) -> String {
    ask(feed, path, &[]).await.header("etag").to_owned()
}

async fn ended(waiting: JoinHandle<Answer>) -> Answer {
    timeout(PATIENCE, waiting).await.expect("in time").unwrap()
}

async fn who_waits_has_an_event_of_this_process_at_once<H: Harness>(harness: &H) {
    let store = harness.store().await;
    publish::<H>(&store, [event("first")]).await;
    let sequencer = Sequencer::new(store.clone()).with_interval(Duration::from_secs(3_600));
    let publisher = Publisher::new(store.clone()).waking(&sequencer);
    let service = EventFeedService::open(store.clone(), config())
        .await
        .unwrap();
    // It is heard of, or never found.
    let router = FeedRouter::new(service.hearing(&sequencer));
    let feed = mounted(router.look_every(Duration::from_secs(3_600)));
    let stop = CancellationToken::new();
    let sequencing = tokio::spawn(sequencer.run(stop.clone()));
    for title in ["second", "third"] {
        let waiting = wait(
            &feed,
            "/feed/lab/recent",
            &tag(&feed, "/feed/lab/recent").await,
            30,
        );
        let mut work = store.begin().await.unwrap();
        publisher.publish(work.conn(), &event(title)).await.unwrap();
        work.commit().await.unwrap();
        let answer = ended(waiting).await;
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains(title));
        assert_eq!(answer.header("preference-applied"), "wait=30");
    }
    stop.cancel();
    sequencing.await.unwrap();
}

async fn who_waits_has_an_event_of_another_process<H: Harness>(harness: &H) {
    let store = harness.store().await;
    publish::<H>(&store, [event("first")]).await;
    let service = EventFeedService::open(store.clone(), config())
        .await
        .unwrap();
    let looks_every = match harness.shape().tells {
        true => Duration::from_secs(3_600),
        false => Duration::from_millis(50),
    };
    let feed = mounted(FeedRouter::new(service).look_every(looks_every));
    for title in ["second", "third"] {
        let waiting = wait(&feed, "/feed/recent", &tag(&feed, "/feed/recent").await, 30);
        publish::<H>(&store, [event(title)]).await;
        let answer = ended(waiting).await;
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains(title));
    }
}

async fn feed(router: impl FnOnce(FeedRouter) -> FeedRouter) -> (MemoryStore, Router) {
    let store = MemoryStore::new();
    publish::<MemoryHarness>(&store, [event("first")]).await;
    let service = EventFeedService::open(store.clone(), config())
        .await
        .unwrap();
    (store, mounted(router(FeedRouter::new(service))))
}

/// Time passes by itself where nobody has anything to do.
#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_its_time_is_over() {
    let (_, feed) = feed(|router| router).await;
    let known = tag(&feed, "/feed/recent").await;
    for (asked, given) in [(5, 5), (30, 30), (600, 30)] {
        let begun = tokio::time::Instant::now();
        let answer = wait(&feed, "/feed/recent", &known, asked).await.unwrap();
        assert_eq!(answer.status, 304);
        assert_eq!(answer.header("preference-applied"), format!("wait={given}"));
        assert_eq!(answer.header("etag"), known);
        assert_eq!(begun.elapsed().as_secs(), given);
    }
}

/// Nobody waits who has nothing to compare with, or asks for something that does not change, or has not got
/// the newest.
#[tokio::test(start_paused = true)]
async fn who_cannot_wait_is_answered_at_once() {
    let (_, feed) = feed(|router| router).await;
    let known = tag(&feed, "/feed/recent").await;
    let begun = tokio::time::Instant::now();
    for (path, headers, status, applied) in [
        ("/feed/recent", &[("prefer", "wait=9")][..], 200, ""),
        (
            "/feed/recent",
            &[("prefer", "wait=9"), ("if-none-match", "\"x\"")],
            200,
            "wait=9",
        ),
        (
            "/feed/recent",
            &[("prefer", "wait=0"), ("if-none-match", &known)],
            304,
            "",
        ),
        (
            "/feed/recent",
            &[("prefer", "wait"), ("if-none-match", &known)],
            304,
            "",
        ),
        (
            "/feed/1",
            &[("prefer", "wait=9"), ("if-none-match", "*")],
            304,
            "",
        ),
        (
            "/feed/7",
            &[("prefer", "wait=9"), ("if-none-match", "*")],
            404,
            "",
        ),
    ] {
        let answer = ask(&feed, path, headers).await;
        assert_eq!(answer.status, status, "{path} {headers:?}");
        assert_eq!(
            answer.header("preference-applied"),
            applied,
            "{path} {headers:?}"
        );
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

/// An event of another category wakes nobody up.
#[tokio::test]
async fn only_what_is_waited_for_counts() {
    let (store, feed) = feed(|router| router).await;
    let lab = wait(
        &feed,
        "/feed/lab/recent",
        &tag(&feed, "/feed/lab/recent").await,
        30,
    );
    let all = wait(&feed, "/feed/recent", &tag(&feed, "/feed/recent").await, 30);
    let none = wait(
        &feed,
        "/feed/none/recent",
        &tag(&feed, "/feed/none/recent").await,
        30,
    );
    publish::<MemoryHarness>(&store, [NewEvent::new("x", "").in_category("none")]).await;
    assert_eq!(ended(all).await.status, 200);
    assert_eq!(ended(none).await.status, 200);
    assert!(!lab.is_finished());
    publish::<MemoryHarness>(&store, [event("second")]).await;
    assert!(ended(lab).await.text().contains("second"));
}

/// So many wait, and no more; those who came too late, or are let go, have their answer at once.
#[tokio::test]
async fn waits_are_bounded_and_end_with_the_server() {
    let stop = CancellationToken::new();
    let until = stop.clone();
    let (_, feed) = feed(|router| router.with_most_waiting(2).until(until)).await;
    let known = tag(&feed, "/feed/recent").await;
    let waiting: Vec<_> = (0..5)
        .map(|_| wait(&feed, "/feed/recent", &known, 30))
        .collect();
    let mut held = Vec::new();
    // Three of them have no place, whichever.
    while waiting
        .iter()
        .filter(|waiting| waiting.is_finished())
        .count()
        < 3
    {
        tokio::task::yield_now().await;
    }
    for waiting in waiting {
        match waiting.is_finished() {
            true => {
                let answer = waiting.await.unwrap();
                assert_eq!(
                    (answer.status, answer.header("preference-applied")),
                    (304, "")
                );
            }
            false => held.push(waiting),
        }
    }
    assert_eq!(held.len(), 2);
    stop.cancel();
    for waiting in held {
        assert_eq!(ended(waiting).await.status, 304);
    }
}

/// One client has so many places, and others have theirs all the same.
#[tokio::test]
async fn nobody_takes_all_places() {
    let (store, feed) = feed(|router| router.with_most_waiting_a_client(2)).await;
    let known = tag(&feed, "/feed/recent").await;
    let served = serve_app(feed).await;
    let wait = |mut client: Client| {
        let request = format!(
            "GET /feed/recent HTTP/1.1\r\nHost: emr\r\nIf-None-Match: {known}\r\nPrefer: wait=30\r\n\r\n"
        );
        tokio::spawn(async move {
            client.send(request).await;
            client.answer().await
        })
    };
    let mut of_one = Vec::new();
    for _ in 0..5 {
        of_one.push(wait(served.connect_from("127.0.0.1").await));
    }
    while of_one.iter().filter(|wait| wait.is_finished()).count() < 3 {
        tokio::task::yield_now().await;
    }
    let other = wait(served.connect_from("127.0.0.2").await);
    // Those who have a place have the event; and so has the other client.
    publish::<MemoryHarness>(&store, [event("second")]).await;
    assert_eq!(timeout(PATIENCE, other).await.unwrap().unwrap().status, 200);
    let mut statuses = Vec::new();
    for wait in of_one {
        let answer = timeout(PATIENCE, wait).await.unwrap().unwrap();
        let has_waited = answer.head.contains("preference-applied: wait=30");
        statuses.push((answer.status, has_waited));
    }
    statuses.sort_unstable();
    let expected = [
        (200, true),
        (200, true),
        (304, false),
        (304, false),
        (304, false),
    ];
    assert_eq!(statuses, expected);
}

/// However many wait, the store is asked by one for all of them.
#[tokio::test]
async fn a_thousand_wait_as_cheaply_as_one() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use crate::stepped::{Stepped, Steps};

    #[derive(Clone, Default)]
    struct Asked(Arc<AtomicU64>);

    #[async_trait::async_trait]
    impl Steps for Asked {
        async fn before(&self, _: &'static str) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    let store = MemoryStore::new();
    publish::<MemoryHarness>(&store, [event("first")]).await;
    let steps = Asked::default();
    let asked = Arc::clone(&steps.0);
    let stepped = Stepped {
        store: store.clone(),
        steps,
    };
    let service = EventFeedService::open(stepped, config()).await.unwrap();
    let feed = mounted(FeedRouter::new(service));
    let known = tag(&feed, "/feed/lab/recent").await;
    // Half of them for the first event of a category that has none.
    let none = tag(&feed, "/feed/none/recent").await;
    let waiting: Vec<_> = (0..1_000)
        .map(|n| match n % 2 {
            0 => wait(&feed, "/feed/lab/recent", &known, 30),
            _ => wait(&feed, "/feed/none/recent", &none, 30),
        })
        .collect();
    // Each has looked whether there is something new, and all wait.
    while asked.load(Ordering::SeqCst) < 2_000 {
        tokio::task::yield_now().await;
    }
    asked.store(0, Ordering::SeqCst);
    // One of yet another wakes all of them, and is for nobody.
    publish::<MemoryHarness>(&store, [NewEvent::new("x", "").in_category("other")]).await;
    while asked.load(Ordering::SeqCst) < 4 {
        tokio::task::yield_now().await;
    }
    for _ in 0..5_000 {
        tokio::task::yield_now().await;
    }
    let events = [
        event("second"),
        NewEvent::new("second", "").in_category("none"),
    ];
    publish::<MemoryHarness>(&store, events).await;
    for waiting in waiting {
        assert!(ended(waiting).await.text().contains("second"));
    }
    let asked = asked.load(Ordering::SeqCst);
    assert!(asked < 60, "{asked} questions");
}
