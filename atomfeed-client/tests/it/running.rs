//! Following a feed as it grows: polling, stopping, several starts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, CancellationToken, Event, EventWorker, Handled, HttpFeedSource, Outcome,
    ProcessErrorKind, StartPosition, WorkerError,
};
use atomfeed_core::Marker;
use atomfeed_core::store::conformance::{Harness, MemoryHarness};
use atomfeed_core::store::{
    ConsumerStore, FailedEventQuery, MemoryConnection, MemoryStore, StoreErrorKind,
};
use tokio::sync::Notify;

use crate::feeds::{Apply, Emr, applied, feed_uri, on_every_store};

on_every_store!(
    several_follow_one_feed,
    a_feed_is_followed_as_it_grows,
    a_start_at_the_latest_of_an_empty_feed,
    panics_beside_the_work_end_nothing,
    a_parked_event_is_given_up,
    two_calls_at_once_double_nothing,
    a_feed_that_has_moved_is_not_read_from_the_beginning,
);

async fn a_feed_is_followed_as_it_grows<H: Harness + 'static>(harness: &Arc<H>) {
    let emr = Emr::new().await;
    let store = harness.store().await;
    let client = || emr.client().build(store.clone(), Apply::all(harness));
    assert_eq!(
        client().process_events().await.unwrap().applied,
        0,
        "an empty feed"
    );
    let mut published = 0;
    for more in [1, 0, 3, 1, 5, 11, 0, 4] {
        emr.publish(published + 1..=published + more).await;
        published += more;
        assert_eq!(
            client().process_events().await.unwrap().applied,
            u64::from(more)
        );
        assert_eq!(
            applied(harness.as_ref(), &store).await,
            (1..=published).collect::<Vec<_>>()
        );
    }
}

async fn a_start_at_the_latest_of_an_empty_feed<H: Harness + 'static>(harness: &Arc<H>) {
    let emr = Emr::new().await;
    let store = harness.store().await;
    let client = || {
        emr.client()
            .start(StartPosition::Latest)
            .build(store.clone(), Apply::all(harness))
    };
    assert_eq!(client().process_events().await.unwrap().applied, 0);
    let marker = store.marker(&feed_uri()).await.unwrap().unwrap();
    assert_eq!(marker.page_uri(), Some("http://127.0.0.1:8080/feed/0"));
    emr.publish(1..=12).await;
    assert_eq!(
        client().process_events().await.unwrap().applied,
        12,
        "all of them are new"
    );
}

/// A worker that panics has failed: what it wrote is undone, the event is parked, and the others go
/// on; a retry that panics is a retry that fails.
#[tokio::test]
async fn a_panic_parks_the_event() {
    struct Panics;

    #[async_trait]
    impl EventWorker<MemoryConnection> for Panics {
        async fn process(
            &self,
            event: &Event,
            conn: &mut MemoryConnection,
        ) -> Result<Handled, WorkerError> {
            conn.put("applied", event.content(), "");
            assert_ne!(event.content(), "2", "no two");
            Ok(Handled::Applied)
        }
    }

    let emr = Emr::with_events(3).await;
    let store = MemoryStore::new();
    let client = emr.client().build(store.clone(), Panics);
    let processed = client.process_events().await.unwrap();
    assert_eq!((processed.applied, processed.failed), (2, 1));
    let rows = store.rows("applied").into_iter();
    assert_eq!(rows.map(|(key, _)| key).collect::<Vec<_>>(), ["1", "3"]);
    let retried = client.process_failed_events().await.unwrap();
    assert_eq!((retried.applied, retried.failed), (0, 1));
    let mut work = store.begin().await.unwrap();
    let failed = work
        .failed_events(&FailedEventQuery::of(feed_uri()))
        .await
        .unwrap();
    let message = failed[0].failure.message();
    assert!(
        message.contains("the worker panicked") && message.contains("no two"),
        "{message}"
    );
    assert_eq!(failed[0].retries, 1);
}

/// Each consumer that has a name has its own marker and its own parked events.
async fn several_follow_one_feed<H: Harness + 'static>(harness: &Arc<H>) {
    let emr = Emr::with_events(12).await;
    let store = harness.store().await;
    let client = |name: Option<&str>, fails: fn(&Event) -> bool| {
        let mut client = emr.client();
        if let Some(name) = name {
            client = client.name(name);
        }
        client.build(store.clone(), Ignores(fails))
    };
    let counts = [(None, 0), (Some("billing"), 2), (Some("X-ray"), 0)];
    for (name, failed) in counts {
        let fails: fn(&Event) -> bool = match failed {
            0 => |_| false,
            _ => |event| event.content() == "5" || event.content() == "7",
        };
        let processed = client(name, fails).process_events().await.unwrap();
        assert_eq!(
            (processed.ignored, processed.failed),
            (12 - failed, failed),
            "{name:?}"
        );
    }
    let mut work = store.begin().await.unwrap();
    let markers = work.markers().await.unwrap();
    work.rollback().await.unwrap();
    let feeds: Vec<_> = markers
        .iter()
        .map(|marker| marker.feed_uri().to_string())
        .collect();
    let feed = feed_uri();
    let mut expected = [
        feed.to_string(),
        format!("{feed}#X-ray"),
        format!("{feed}#billing"),
    ];
    expected.sort();
    let mut sorted = feeds.clone();
    sorted.sort();
    assert_eq!(sorted, expected);
    assert!(
        markers
            .iter()
            .all(|marker| marker.page_uri().unwrap().ends_with("/feed/3"))
    );

    // Each goes on for itself.
    emr.publish(13..=13).await;
    for (name, failed) in counts {
        let client = client(name, |_| false);
        assert_eq!(
            client.process_events().await.unwrap().ignored,
            1,
            "{name:?}"
        );
        assert_eq!(
            client.process_failed_events().await.unwrap().ignored,
            failed,
            "{name:?}"
        );
    }
}

/// Has nothing to do with any event, and fails some all the same.
struct Ignores(fn(&Event) -> bool);

#[async_trait]
impl<C: ?Sized + Send + 'static> EventWorker<C> for Ignores {
    async fn process(&self, event: &Event, _: &mut C) -> Result<Handled, WorkerError> {
        match (self.0)(event) {
            true => Err(WorkerError::new("it fails all the same")),
            false => Ok(Handled::Ignored),
        }
    }
}

/// Two consumers of one feed: the one that comes second is told, and its work is undone.
#[tokio::test]
async fn a_second_consumer_is_told() {
    /// Moves the marker under the consumer's feet, as another consumer would.
    struct Intruder;

    #[async_trait]
    impl EventWorker<MemoryConnection> for Intruder {
        async fn process(
            &self,
            _: &Event,
            conn: &mut MemoryConnection,
        ) -> Result<Handled, WorkerError> {
            use atomfeed_core::store::MarkerStore;

            conn.put("applied", "mine", "");
            let found = conn.marker(&feed_uri()).await?;
            let elsewhere = Marker::new(feed_uri()).on_page("http://127.0.0.1:8080/feed/9");
            conn.move_marker(found.as_ref(), &elsewhere).await?;
            Ok(Handled::Applied)
        }
    }

    let emr = Emr::with_events(3).await;
    let store = MemoryStore::new();
    let error = emr
        .client()
        .build(store.clone(), Intruder)
        .process_events()
        .await
        .unwrap_err();
    match error.kind() {
        ProcessErrorKind::Store(store) => assert_eq!(store.kind(), StoreErrorKind::Conflict),
        other => panic!("{other:?}"),
    }
    assert!(store.rows("applied").is_empty());
}

/// Blocks in the event that it is told, until it is let.
struct Slow {
    reached: Arc<Notify>,
    let_go: Arc<Notify>,
}

#[async_trait]
impl EventWorker<MemoryConnection> for Slow {
    async fn process(
        &self,
        event: &Event,
        conn: &mut MemoryConnection,
    ) -> Result<Handled, WorkerError> {
        if event.content() == "3" {
            self.reached.notify_one();
            self.let_go.notified().await;
        }
        conn.put("applied", event.content(), "");
        Ok(Handled::Applied)
    }
}

#[tokio::test]
async fn a_stop_finishes_the_event_in_hand() {
    let emr = Emr::with_events(9).await;
    let store = MemoryStore::new();
    let (reached, let_go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let worker = Slow {
        reached: Arc::clone(&reached),
        let_go: Arc::clone(&let_go),
    };
    let client = emr.client().batch(1).build(store.clone(), worker);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let running = tokio::spawn(async move { client.run(stopped).await });
    reached.notified().await;
    stop.cancel();
    let_go.notify_one();
    running.await.unwrap().unwrap();
    let rows = store.rows("applied");
    assert_eq!(
        rows.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(),
        ["1", "2", "3"]
    );
    let marker = store.marker(&feed_uri()).await.unwrap().unwrap();
    let page = emr.source();
    let again = AtomFeedClient::builder(feed_uri(), page)
        .build(store.clone(), Apply::all(&Arc::new(MemoryHarness)));
    assert_eq!(
        again.process_events().await.unwrap().applied,
        6,
        "goes on behind {marker:?}"
    );
}

/// Over a socket: `run` applies what is there and what comes, retries what failed, and outlives a
/// server that is down at first.
#[tokio::test]
async fn run_goes_on_until_it_is_stopped() {
    let emr = Emr::with_events(7).await;
    // Nobody else gets the port, and nobody is listened to.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();

    let (told, outcomes) = tokio::sync::mpsc::unbounded_channel();
    let mut outcomes = outcomes;
    let harness = Arc::new(MemoryHarness);
    let store = harness.store().await;
    let failed_once = Arc::new(Mutex::new(false));
    let feed = format!("http://{address}/feed/recent").parse().unwrap();
    let source = HttpFeedSource::builder(&feed)
        .allow_origin(feed_uri().url())
        .build()
        .unwrap();
    let worker = atomfeed_client::worker_fn(move |event, conn: &mut MemoryConnection| {
        let mut failed_once = failed_once.lock().unwrap();
        if event.content() == "5" && !std::mem::replace(&mut *failed_once, true) {
            return Box::pin(async { Err(WorkerError::new("not yet")) });
        }
        conn.put("applied", event.content(), "");
        Box::pin(async { Ok(()) })
    });
    let client = AtomFeedClient::builder(feed, source)
        .interval(Duration::from_millis(5))
        .batch(1)
        .on_outcome(move |outcome| {
            let what = match outcome {
                Outcome::Applied { event } => format!("applied {}", event.content()),
                Outcome::Parked { event, .. } => format!("parked {}", event.content()),
                Outcome::Retried { event } => format!("retried {}", event.content()),
                other => format!("{other:?}"),
            };
            told.send(what).unwrap();
        })
        .build(store.clone(), worker);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let running = tokio::spawn(async move { client.run(stopped).await });

    // The server comes up only now, on the address that the consumer has been asking.
    let listener = socket.listen(1024).unwrap();
    let config =
        atomfeed_server::FeedConfig::new(format!("http://{address}/feed").parse().unwrap());
    let router = crate::feeds::router(emr.store.clone(), config.with_page_size(5)).await;
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });

    let mut seen = Vec::new();
    while seen.len() < 8 {
        seen.push(outcomes.recv().await.unwrap());
    }
    emr.publish(8..=9).await;
    while seen.len() < 10 {
        seen.push(outcomes.recv().await.unwrap());
    }
    stop.cancel();
    running.await.unwrap().unwrap();
    serving.abort();
    let applied = |range: std::ops::RangeInclusive<u32>| range.map(|n| format!("applied {n}"));
    let expected: Vec<_> = applied(1..=4)
        .chain(["parked 5".to_owned()])
        .chain(applied(6..=7))
        .chain(["retried 5".to_owned()])
        .chain(applied(8..=9))
        .collect();
    assert_eq!(seen, expected);
    assert_eq!(store.rows("applied").len(), 9);
}

/// A worker that panics over the key of an event has failed in that event; what it says to a commit changes
/// nothing any more.
async fn panics_beside_the_work_end_nothing<H: Harness + 'static>(harness: &Arc<H>) {
    struct Panics<H>(Apply<H>);

    #[async_trait]
    impl<H: Harness + 'static> EventWorker<H::Conn> for Panics<H> {
        async fn process(&self, event: &Event, conn: &mut H::Conn) -> Result<Handled, WorkerError> {
            self.0.process(event, conn).await
        }

        fn key(&self, event: &Event) -> Option<String> {
            assert!(event.content() != "2" || event.is_retry(), "no key for two");
            None
        }

        async fn committed(&self, event: &Event) {
            assert_ne!(event.content(), "4", "nothing to say to four");
        }
    }

    for (batch, workers) in [(1, 1), (100, 1), (2, 3)] {
        let emr = Emr::with_events(6).await;
        let store = harness.store().await;
        let client = emr.client().batch(batch).workers(workers);
        let client = client.build(store.clone(), Panics(Apply::all(harness)));
        let processed = client.process_events().await.unwrap();
        // Of several in one transaction, nobody asks for keys while nothing is parked.
        let in_lanes = workers > 1 && !store.writes_one_at_a_time();
        let expected = if batch == 1 || in_lanes {
            (5, 1)
        } else {
            (6, 0)
        };
        assert_eq!(
            (processed.applied, processed.failed),
            expected,
            "{batch}, {workers}"
        );
        let retried = client.retry_all_failed_events().await.unwrap();
        assert_eq!(retried.applied, expected.1);
        assert_eq!(applied(harness.as_ref(), &store).await, [1, 2, 3, 4, 5, 6]);
    }
}

/// While the events of a page are worked, the next one is fetched.
#[tokio::test]
async fn the_next_page_is_fetched_while_this_one_is_worked() {
    use atomfeed_client::{FeedSource, FetchError, PageRequest, PageResponse};

    struct Tells<S>(S, Arc<Notify>);

    #[async_trait]
    impl<S: FeedSource> FeedSource for Tells<S> {
        async fn fetch(&self, page: &PageRequest) -> Result<PageResponse, FetchError> {
            if page.url.path().ends_with("/2") {
                self.1.notify_one();
            }
            self.0.fetch(page).await
        }
    }

    let emr = Emr::with_events(8).await;
    let asked = Arc::new(Notify::new());
    let source = Tells(emr.source(), Arc::clone(&asked));
    let worker = atomfeed_client::worker_fn(move |event, _: &mut MemoryConnection| {
        let asked = Arc::clone(&asked);
        let is_first = event.content() == "1";
        Box::pin(async move {
            if is_first {
                asked.notified().await;
            }
            Ok(())
        })
    });
    let first = "http://127.0.0.1:8080/feed/1".parse().unwrap();
    let client = AtomFeedClient::builder(feed_uri(), source).start(StartPosition::Page(first));
    let client = client.batch(1).build(MemoryStore::new(), worker);
    let processed = tokio::time::timeout(Duration::from_secs(60), client.process_events());
    assert_eq!(
        processed.await.expect("it is asked for").unwrap().applied,
        8
    );
}

/// A parked event may be given up: what waited behind it follows.
async fn a_parked_event_is_given_up<H: Harness + 'static>(harness: &Arc<H>) {
    let emr = Emr::with_events(5).await;
    let store = harness.store().await;
    let one = |_: &Event| Some("one".to_owned());
    let worker = Apply::but(harness, |event| event.content() == "2").with_key(one);
    let client = emr.client().build(store.clone(), worker);
    let processed = client.process_events().await.unwrap();
    assert_eq!(
        (processed.applied, processed.failed, processed.held),
        (1, 1, 3)
    );
    let mut work = store.begin().await.unwrap();
    let failed = work.failed_events(&FailedEventQuery::of(feed_uri())).await;
    let second = failed.unwrap()[0].event.id().clone();
    work.rollback().await.unwrap();
    assert!(
        client
            .skip_failed_event(&second, "no such patient")
            .await
            .unwrap()
    );
    assert!(!client.skip_failed_event(&second, "again").await.unwrap());
    client.process_failed_events().await.unwrap();
    assert_eq!(applied(harness.as_ref(), &store).await, [1, 3, 4, 5]);
}

/// Two calls of one client at once are one after the other.
async fn two_calls_at_once_double_nothing<H: Harness + 'static>(harness: &Arc<H>) {
    let emr = Emr::with_events(40).await;
    let store = harness.store().await;
    let client = emr.client().workers(3).batch(2);
    let client = client.build(store.clone(), Apply::all(harness));
    let (first, second) = tokio::join!(client.process_events(), client.process_events());
    assert_eq!(first.unwrap().applied + second.unwrap().applied, 40);
    let written = applied(harness.as_ref(), &store).await;
    assert_eq!(written, (1..=40).collect::<Vec<_>>());
}

/// Who comes under an address that the feed has no longer does not begin anew.
async fn a_feed_that_has_moved_is_not_read_from_the_beginning<H: Harness + 'static>(
    harness: &Arc<H>,
) {
    let emr = Emr::with_events(5).await;
    let store = harness.store().await;
    let client = emr.client().build(store.clone(), Apply::all(harness));
    assert_eq!(client.process_events().await.unwrap().applied, 5);
    let mut work = store.begin().await.unwrap();
    let rebase = "http://127.0.0.1:8080=http://localhost:8080"
        .parse()
        .unwrap();
    work.rebase(&rebase).await.unwrap();
    work.commit().await.unwrap();
    emr.publish(6..=7).await;
    let again = emr.client().build(store.clone(), Apply::all(harness));
    for client in [&client, &again] {
        let error = client.process_events().await.unwrap_err();
        match error.kind() {
            ProcessErrorKind::FeedMoved { to } => {
                assert_eq!(to, "http://localhost:8080/feed/recent");
            }
            other => panic!("{other:?}"),
        }
    }
    let feed = "http://localhost:8080/feed/recent".parse().unwrap();
    let moved = AtomFeedClient::builder(feed, emr.source());
    let moved = moved.build(store.clone(), Apply::all(harness));
    assert_eq!(moved.process_events().await.unwrap().applied, 2);
    // And back again.
    let mut work = store.begin().await.unwrap();
    let rebase = "http://localhost:8080=http://127.0.0.1:8080"
        .parse()
        .unwrap();
    work.rebase(&rebase).await.unwrap();
    work.commit().await.unwrap();
    assert_eq!(client.process_events().await.unwrap().applied, 0);
    moved.process_events().await.unwrap_err();
    assert_eq!(
        applied(harness.as_ref(), &store).await,
        (1..=7).collect::<Vec<_>>()
    );
}
