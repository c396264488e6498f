//! A consumer that is to stop ends within its deadline, and its marker is right.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, AtomFeedClients, CancellationToken, Event, EventWorker, FeedSource, FetchError,
    Handled, InProcessFeedSource, PageRequest, PageResponse, StartPosition, WorkerError,
};
use atomfeed_core::store::conformance::{Harness, MemoryHarness};
use atomfeed_core::store::{ConsumerStore, MemoryStore};
use tokio::sync::Notify;

use crate::feeds::{Apply, Emr, applied, feed_uri, on_every_store};

on_every_store!(an_event_that_does_not_end_is_undone);

const PATIENCE: Duration = Duration::from_secs(60);

/// Never comes back from event 4.
struct Hangs<H> {
    apply: Apply<H>,
    reached: Arc<Notify>,
}

#[async_trait]
impl<H: Harness + 'static> EventWorker<H::Conn> for Hangs<H> {
    async fn process(&self, event: &Event, conn: &mut H::Conn) -> Result<Handled, WorkerError> {
        let handled = self.apply.process(event, conn).await;
        if event.content() == "4" {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
        handled
    }

    fn key(&self, event: &Event) -> Option<String> {
        self.apply.key(event)
    }
}

async fn an_event_that_does_not_end_is_undone<H: Harness + 'static>(harness: &Arc<H>) {
    // One by one, in a batch, and in lanes.
    for (batch, workers, done) in [(1, 1, 3), (2, 1, 2), (100, 1, 0), (1, 3, 3)] {
        let emr = Emr::with_events(9).await;
        let store = harness.store().await;
        let reached = Arc::new(Notify::new());
        let worker = Hangs {
            apply: Apply::all(harness).with_key(|_| Some("one".to_owned())),
            reached: Arc::clone(&reached),
        };
        let client = emr.client().batch(batch).workers(workers);
        // However slow the machine.
        let client = client.batch_time(Duration::MAX);
        let client = client.stop_within(Duration::from_millis(20));
        let client = client.build(store.clone(), worker);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let running = tokio::spawn(async move { client.run(stopped).await });
        reached.notified().await;
        stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, running).await;
        ended.expect("it ends").unwrap().unwrap();
        let written = applied(harness.as_ref(), &store).await;
        assert_eq!(
            written,
            (1..=done).collect::<Vec<_>>(),
            "{batch}, {workers}"
        );
        let rest = emr.client().build(store.clone(), Apply::all(harness));
        let processed = rest.process_events().await.unwrap();
        assert_eq!(processed.applied, u64::from(9 - done));
        let written = applied(harness.as_ref(), &store).await;
        assert_eq!(written, (1..=9).collect::<Vec<_>>(), "{batch}, {workers}");
    }
}

/// Fetches pages, but for one that never comes.
struct NeverComes<S> {
    source: S,
    page: &'static str,
    asked: Arc<Notify>,
}

#[async_trait]
impl<S: FeedSource> FeedSource for NeverComes<S> {
    async fn fetch(&self, page: &PageRequest) -> Result<PageResponse, FetchError> {
        if page.url.path().ends_with(self.page) {
            self.asked.notify_one();
            std::future::pending::<()>().await;
        }
        self.source.fetch(page).await
    }
}

#[tokio::test]
async fn a_page_that_does_not_come_is_not_waited_for() {
    let harness = Arc::new(MemoryHarness);
    for (page, done) in [("/recent", 0), ("/first", 0), ("/2", 5)] {
        let emr = Emr::with_events(12).await;
        let store = MemoryStore::new();
        let asked = Arc::new(Notify::new());
        let source = NeverComes {
            source: emr.source(),
            page,
            asked: Arc::clone(&asked),
        };
        // No deadline is needed for it.
        let client = AtomFeedClient::builder(feed_uri(), source).batch(5);
        let client = match page {
            "/2" => {
                let first = "http://127.0.0.1:8080/feed/1".parse().unwrap();
                client.start(StartPosition::Page(first))
            }
            _ => client,
        };
        let client = client.build(store.clone(), Apply::all(&harness));
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let running = tokio::spawn(async move { client.run(stopped).await });
        asked.notified().await;
        while applied(harness.as_ref(), &store).await.len() < done {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, running).await;
        ended.expect("it ends").unwrap().unwrap();
        assert_eq!(
            applied(harness.as_ref(), &store).await.len(),
            done,
            "{page}"
        );
        let marker = store.marker(&feed_uri()).await.unwrap();
        assert_eq!(marker.is_some(), done > 0);
    }
}

/// A hundred feeds in one process, of which two hang: one in its source, one in its worker.
#[tokio::test]
async fn of_many_feeds_one_that_hangs_delays_no_other() {
    let harness = Arc::new(MemoryHarness);
    let emr = Emr::with_events(12).await;
    let store = MemoryStore::new();
    let slow = MemoryStore::new();
    let (asked, reached) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut clients = AtomFeedClients::new(3);
    let source = NeverComes {
        source: emr.source(),
        page: "/recent",
        asked: Arc::clone(&asked),
    };
    let hangs = AtomFeedClient::builder(feed_uri(), source);
    clients.add(hangs.build(store.clone(), Apply::all(&harness)));
    let worker = Hangs {
        apply: Apply::all(&harness),
        reached: Arc::clone(&reached),
    };
    let hangs = emr.client().stop_within(Duration::from_millis(20));
    clients.add(hangs.build(slow.clone(), worker));
    for number in 0..98 {
        let named = emr.client().name(&number.to_string());
        let worker = atomfeed_client::worker_fn(move |event, conn: &mut _| {
            let conn: &mut atomfeed_core::store::MemoryConnection = conn;
            conn.put("applied", &format!("{number}/{}", event.content()), "");
            Box::pin(async { Ok(()) })
        });
        clients.add(named.build(store.clone(), worker));
    }
    let stop = CancellationToken::new();
    let running = tokio::spawn(clients.run(stop.clone()));
    asked.notified().await;
    reached.notified().await;
    let all = async {
        while store.rows("applied").len() < 98 * 12 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all)
        .await
        .expect("98 feeds are read");
    stop.cancel();
    let ended = tokio::time::timeout(PATIENCE, running).await;
    ended.expect("all end").unwrap();
    assert!(slow.rows("applied").is_empty());
    let mut work = store.begin().await.unwrap();
    assert_eq!(work.markers().await.unwrap().len(), 98);
}

/// Of several feeds, so many apply events at once, and no more.
#[tokio::test]
async fn so_many_feeds_apply_at_once() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Counts {
        now: AtomicUsize,
        most: AtomicUsize,
    }

    struct Worker(Arc<Counts>);

    #[async_trait]
    impl<C: ?Sized + Send + 'static> EventWorker<C> for Worker {
        async fn process(&self, _: &Event, _: &mut C) -> Result<Handled, WorkerError> {
            let now = self.0.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.0.most.fetch_max(now, Ordering::SeqCst);
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            self.0.now.fetch_sub(1, Ordering::SeqCst);
            Ok(Handled::Applied)
        }
    }

    let counts = Arc::new(Counts {
        now: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
    });
    let emr = Emr::with_events(12).await;
    let mut clients = AtomFeedClients::new(3);
    let stores: Vec<_> = (0..12).map(|_| MemoryStore::new()).collect();
    for store in &stores {
        let source = InProcessFeedSource::new(emr.router.clone());
        let client = AtomFeedClient::builder(feed_uri(), source).batch(2);
        clients.add(client.build(store.clone(), Worker(Arc::clone(&counts))));
    }
    let stop = CancellationToken::new();
    let running = tokio::spawn(clients.run(stop.clone()));
    let all = async {
        for store in &stores {
            loop {
                let marker = store.marker(&feed_uri()).await.unwrap();
                let page = marker.as_ref().and_then(|marker| marker.page_uri());
                if page.is_some_and(|page| page.ends_with("/3")) {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, all)
        .await
        .expect("all are read");
    stop.cancel();
    running.await.unwrap();
    assert_eq!(counts.most.load(Ordering::SeqCst), 3);
}

/// Where every turn is taken by a worker that hangs, those that wait for one stop all the same.
#[tokio::test]
async fn who_waits_for_a_turn_stops() {
    let harness = Arc::new(MemoryHarness);
    let emr = Emr::with_events(9).await;
    let mut clients = AtomFeedClients::new(1);
    let reached = Arc::new(Notify::new());
    let worker = Hangs {
        apply: Apply::all(&harness),
        reached: Arc::clone(&reached),
    };
    let hangs = emr.client().stop_within(Duration::from_millis(20));
    clients.add(hangs.build(MemoryStore::new(), worker));
    let stop = CancellationToken::new();
    let waiting = MemoryStore::new();
    clients.add(emr.client().build(waiting.clone(), Apply::all(&harness)));
    let running = tokio::spawn(clients.run(stop.clone()));
    reached.notified().await;
    stop.cancel();
    let ended = tokio::time::timeout(PATIENCE, running).await;
    ended.expect("all end").unwrap();
}
