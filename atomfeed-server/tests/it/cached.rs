//! What is kept of rendered pages, for whom, and what the store is asked all the same.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_core::NewEvent;
use atomfeed_core::store::conformance::{Harness, MemoryHarness, SqliteHarness};
use atomfeed_core::store::{MemoryStore, SqliteStore};
use atomfeed_server::{Audience, EventFeedService, FeedConfig, FeedRouter};
use axum::Router;
use tokio::sync::Semaphore;

use crate::feeds::{Answer, ask, config, publish};
use crate::stepped::{Stepped, Steps};

/// Counts what the store is asked, and holds up the reading of pages.
#[derive(Clone)]
struct Counted {
    asked: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    may_read: Arc<Semaphore>,
    is_away: Arc<AtomicBool>,
}

#[async_trait]
impl Steps for Counted {
    async fn before(&self, step: &'static str) {
        *self.asked.lock().unwrap().entry(step).or_default() += 1;
        if step == "records" {
            let _turn = self.may_read.acquire().await.unwrap();
        }
        if self.is_away() {
            // As a pool does that has no connection.
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
    }

    fn is_away(&self) -> bool {
        self.is_away.load(Ordering::SeqCst)
    }
}

impl Counted {
    fn new() -> Self {
        Self {
            asked: Arc::default(),
            may_read: Arc::new(Semaphore::new(1_000)),
            is_away: Arc::default(),
        }
    }

    /// What was asked since.
    fn take(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn events(count: u32) -> impl Iterator<Item = NewEvent> {
    (0..count).map(|n| NewEvent::new(n.to_string(), format!("/patient/{n}")).in_category("Lab"))
}

async fn counted(count: u32) -> (MemoryStore, Counted, EventFeedService) {
    let store = MemoryStore::new();
    publish::<MemoryHarness>(&store, events(count)).await;
    let counted = Counted::new();
    let stepped = Stepped {
        store: store.clone(),
        steps: counted.clone(),
    };
    let service = EventFeedService::open(stepped, config().with_page_size(5));
    let service = service.await.unwrap();
    (store, counted, service)
}

fn mounted(router: FeedRouter) -> Router {
    Router::new().nest("/feed", router.into_router())
}

/// A sealed page is answered without a question to the store, in whatever spelling and coding, with
/// whatever query; and nobody can fill the memory with spellings.
#[tokio::test]
async fn a_sealed_page_is_rendered_once_for_all() {
    let (_, asked, service) = counted(12).await;
    let feed = mounted(FeedRouter::new(service));
    asked.take();
    let first = ask(&feed, "/feed/lab/1", &[]).await;
    assert_eq!(first.status, 200);
    assert_eq!(asked.take().get("records"), Some(&1));
    let spellings = ["lab", "LAB", "Lab", "lAB", "%4Cab"];
    for spelling in spellings {
        for coding in ["identity", "gzip", "zstd"] {
            for end in ["", "/", "?a=1", "/?b"] {
                let path = format!("/feed/{spelling}/1{end}");
                let page = ask(&feed, &path, &[("accept-encoding", coding)]).await;
                assert_eq!(page.status, 200, "{path}");
                // Made anew for another spelling, it is not compressed as well.
                let coded = if spelling == "lab" {
                    coding
                } else {
                    "identity"
                };
                assert_eq!(
                    page.header("content-encoding"),
                    coded.replace("identity", "")
                );
                let body = match coded {
                    "zstd" => zstd::decode_all(page.body.as_ref()).unwrap(),
                    "gzip" => continue,
                    _ => page.body.to_vec(),
                };
                // Spelled as asked, and else the same.
                let body = String::from_utf8(body).unwrap();
                let spelling = spelling.replace("%4C", "L");
                assert_eq!(
                    body.matches(&format!("/feed/{spelling}/")).count(),
                    5,
                    "{body}"
                );
                assert_eq!(
                    body.replace(&format!("/feed/{spelling}/"), "/feed/lab/"),
                    first.text()
                );
            }
        }
        let same = [("if-none-match", first.header("etag"))];
        assert_eq!(
            ask(&feed, &format!("/feed/{spelling}/1"), &same)
                .await
                .status,
            304
        );
    }
    assert_eq!(asked.take(), BTreeMap::new(), "nothing was asked");
}

/// As asked anew, so compressed anew: whatever a page was asked for before, it comes as it always does.
#[tokio::test]
async fn kept_or_not_a_page_is_the_same() {
    let (store, _, service) = counted(12).await;
    let feed = mounted(FeedRouter::new(service.clone()));
    let none_is_kept = mounted(FeedRouter::new(service).with_cache(0));
    let elsewhere = EventFeedService::open(store, config()).await.unwrap();
    let elsewhere = mounted(FeedRouter::new(elsewhere));
    for path in [
        "1",
        "2",
        "3",
        "recent",
        "lab/1",
        "LAB/2",
        "Lab/recent",
        "none/recent",
    ] {
        for coding in ["identity", "gzip", "zstd"] {
            let path = format!("/feed/{path}");
            let headers = [("accept-encoding", coding)];
            let fresh = ask(&feed, &path, &headers).await;
            assert_eq!(fresh.status, 200);
            for feed in [&feed, &none_is_kept, &elsewhere] {
                let again = ask(feed, &path, &headers).await;
                assert_eq!(again.headers, fresh.headers, "{path} {coding}");
                assert_eq!(again.body, fresh.body, "{path} {coding}");
            }
        }
    }
}

/// However many ask for a page at once, it is read once.
#[tokio::test]
async fn a_page_is_rendered_once_however_many_ask() {
    for page in ["/feed/1", "/feed/recent", "/feed/3"] {
        let (_, asked, service) = counted(12).await;
        let feed = mounted(FeedRouter::new(service));
        asked.take();
        // Nobody reads until all have asked.
        let held = asked.may_read.acquire_many(1_000).await.unwrap();
        let asking: Vec<_> = (0..50)
            .map(|n| {
                let coding = ["identity", "gzip", "zstd"][n % 3];
                let feed = feed.clone();
                tokio::spawn(async move { ask(&feed, page, &[("accept-encoding", coding)]).await })
            })
            .collect();
        while asked.asked.lock().unwrap().get("records").is_none() {
            tokio::task::yield_now().await;
        }
        drop(held);
        for asking in asking {
            assert_eq!(asking.await.unwrap().status, 200);
        }
        // One in the making that is asked for by its number is read twice, by the first who asks.
        let expected = if page == "/feed/3" { 2 } else { 1 };
        assert_eq!(asked.take()["records"], expected, "{page}");
    }
}

/// Also one that got its successor since it was asked for first.
#[tokio::test]
async fn a_page_that_is_sealed_meanwhile_is_rendered_once() {
    let (store, asked, service) = counted(12).await;
    let feed = mounted(FeedRouter::new(service));
    let before = ask(&feed, "/feed/3", &[]).await;
    publish::<MemoryHarness>(&store, events(5)).await;
    asked.take();
    let held = asked.may_read.acquire_many(1_000).await.unwrap();
    let asking: Vec<_> = (0..50)
        .map(|n| {
            let feed = feed.clone();
            let coding = ["identity", "gzip"][n % 2];
            tokio::spawn(async move { ask(&feed, "/feed/3", &[("accept-encoding", coding)]).await })
        })
        .collect();
    while !asked.asked.lock().unwrap().contains_key("records") {
        tokio::task::yield_now().await;
    }
    drop(held);
    for asking in asking {
        let page = asking.await.unwrap();
        assert_eq!(page.status, 200);
        assert_ne!(page.header("etag"), before.header("etag"));
    }
    assert_eq!(asked.take()["records"], 1);
    ask(&feed, "/feed/3", &[("accept-encoding", "zstd")]).await;
    assert_eq!(asked.take(), BTreeMap::new());
}

/// Where the database is away, those who ask for the same do not wait for each other's failure.
#[tokio::test(start_paused = true)]
async fn an_outage_is_not_waited_for_in_a_row() {
    for page in ["/feed/recent", "/feed/2", "/feed/none/recent"] {
        let (_, asked, service) = counted(12).await;
        let feed = mounted(FeedRouter::new(service));
        let sealed = ask(&feed, "/feed/1", &[]).await;
        asked.is_away.store(true, Ordering::SeqCst);
        let begun = tokio::time::Instant::now();
        let asking: Vec<_> = (0..20)
            .map(|_| {
                let feed = feed.clone();
                tokio::spawn(async move { ask(&feed, page, &[]).await })
            })
            .collect();
        // What is kept is there all the same.
        let kept = ask(&feed, "/feed/1", &[]).await;
        assert_eq!((kept.status, &kept.body), (200, &sealed.body));
        for asking in asking {
            assert_eq!(asking.await.unwrap().status, 500, "{page}");
        }
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(400), "{page}: {took:?}");
        asked.is_away.store(false, Ordering::SeqCst);
        assert_eq!(ask(&feed, page, &[]).await.status, 200, "{page}");
    }
}

/// A large page is kept as a small one is.
#[tokio::test]
async fn a_large_page_is_kept() {
    let (store, asked, service) = counted(0).await;
    let large = (0..6).map(|n| NewEvent::new(n.to_string(), "x".repeat(180 << 10)));
    publish::<MemoryHarness>(&store, large).await;
    let feed = mounted(FeedRouter::new(service).with_cache(4 << 20));
    for (asked_before, questions) in [(false, true), (true, false)] {
        asked.take();
        let page = ask(&feed, "/feed/1", &[]).await;
        assert!(page.body.len() > 900 << 10);
        assert_eq!(
            !asked.take().is_empty(),
            questions,
            "asked before: {asked_before}"
        );
    }
}

/// That there is nothing new is known without a page being read; however many ask at once.
#[tokio::test]
async fn nothing_new_costs_no_page() {
    let (store, asked, service) = counted(12).await;
    let feed = mounted(FeedRouter::new(service));
    for page in ["/feed/recent", "/feed/lab/recent", "/feed/3"] {
        let known = ask(&feed, page, &[]).await;
        asked.take();
        for _ in 0..3 {
            let again = ask(&feed, page, &[("if-none-match", known.header("etag"))]).await;
            assert_eq!(again.status, 304);
        }
        let asked = asked.take();
        assert!(!asked.contains_key("records"), "{page}: {asked:?}");
        assert!(asked.values().sum::<u64>() <= 6, "{page}: {asked:?}");
    }
    // An event of another category is none of this one's.
    let known = ask(&feed, "/feed/lab/recent", &[]).await;
    publish::<MemoryHarness>(&store, [NewEvent::new("x", "").in_category("other")]).await;
    asked.take();
    let again = ask(
        &feed,
        "/feed/lab/recent",
        &[("if-none-match", known.header("etag"))],
    )
    .await;
    assert_eq!(again.status, 304);
    let asked = asked.take();
    assert!(!asked.contains_key("records"), "{asked:?}");
    assert_eq!(asked["count"], 1, "{asked:?}");
}

/// What was committed before a request is in the answer to it, whoever asks at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_page_is_never_older_than_the_request() {
    let harness = SqliteHarness::default();
    let store: SqliteStore = harness.store().await;
    let service = EventFeedService::open(store.clone(), config().with_page_size(7));
    let feed = mounted(FeedRouter::new(service.await.unwrap()));
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let feed = feed.clone();
            tokio::spawn(async move {
                loop {
                    assert_eq!(ask(&feed, "/feed/lab/recent", &[]).await.status, 200);
                }
            })
        })
        .collect();
    for n in 0..200 {
        let event = NewEvent::new(format!("<{n}>"), "").in_category("lab");
        publish::<SqliteHarness>(&store, [event]).await;
        let newest = ask(&feed, "/feed/lab/recent", &[]).await;
        assert!(
            newest.text().contains(&format!("&lt;{n}&gt;")),
            "{n}: {}",
            newest.text()
        );
    }
    for asking in asking {
        asking.abort();
        assert!(asking.await.unwrap_err().is_cancelled());
    }
}

/// Pruned pages are gone at once, in the process that prunes.
#[tokio::test]
async fn a_kept_page_goes_when_it_is_pruned() {
    let store = MemoryStore::new();
    let day = |n: i64| chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::days(n);
    let events = (0..12).map(|n| NewEvent::new(n.to_string(), "").published_at(day(n)));
    publish::<MemoryHarness>(&store, events).await;
    let service = EventFeedService::open(store, config().with_page_size(5))
        .await
        .unwrap();
    let feed = mounted(FeedRouter::new(service.clone()));
    for page in ["/feed/1", "/feed/2"] {
        assert_eq!(ask(&feed, page, &[]).await.status, 200);
    }
    service.prune(day(7)).await.unwrap();
    let gone = ask(&feed, "/feed/1", &[]).await;
    assert_eq!(
        (gone.status, gone.header("cache-control")),
        (410, "no-store")
    );
    assert_eq!(ask(&feed, "/feed/2", &[]).await.status, 200);
}

fn cache_control(answer: &Answer) -> &str {
    assert_eq!(answer.status, 200);
    answer.header("cache-control")
}

/// Others' caches keep a page only where the owner says that anyone may see it, and never one that somebody
/// was let in for.
#[tokio::test]
async fn only_what_everyone_may_see_is_public() {
    let (_, _, service) = counted(12).await;
    let router = FeedRouter::new(service);
    let private = mounted(router.clone());
    let public = mounted(router.with_audience(Audience::Everyone));
    for (page, lifetime) in [
        ("/feed/1", "max-age=31536000, immutable"),
        ("/feed/lab/2", "max-age=31536000, immutable"),
        ("/feed/3", "max-age=1, must-revalidate"),
        ("/feed/recent", "max-age=1, must-revalidate"),
    ] {
        let expected = format!("public, {lifetime}");
        for asks_before in [
            &[("authorization", "Basic YTpi")],
            &[("cookie", "JSESSIONID=1")],
        ] {
            let expected = format!("private, {lifetime}");
            assert_eq!(
                cache_control(&ask(&public, page, asks_before).await),
                expected
            );
            assert_eq!(
                cache_control(&ask(&private, page, asks_before).await),
                expected
            );
        }
        assert_eq!(cache_control(&ask(&public, page, &[]).await), expected);
        let expected = format!("private, {lifetime}");
        assert_eq!(cache_control(&ask(&private, page, &[]).await), expected);
    }
}

#[tokio::test]
async fn freshness_is_for_the_owner_to_say() {
    let (_, _, service) = counted(12).await;
    for (seconds, expected) in [
        (0, "private, no-cache"),
        (30, "private, max-age=30, must-revalidate"),
    ] {
        let router = FeedRouter::new(service.clone());
        let feed = mounted(router.with_freshness(Duration::from_secs(seconds)));
        assert_eq!(
            cache_control(&ask(&feed, "/feed/recent", &[]).await),
            expected
        );
    }
}

/// Whatever stands in every page makes another entity tag; what does not, makes none; and a later chunk
/// length changes nothing of what is sealed.
#[tokio::test]
async fn entity_tags_stand_for_bytes() {
    let (store, _, service) = counted(12).await;
    let tag = |service: EventFeedService| async move {
        let feed = mounted(FeedRouter::new(service));
        ask(&feed, "/feed/1", &[]).await.header("etag").to_owned()
    };
    let known = tag(service.clone()).await;
    let with = |config: FeedConfig| {
        let store = store.clone();
        async move { tag(EventFeedService::open(store, config).await.unwrap()).await }
    };
    assert_eq!(with(config()).await, known);
    assert_eq!(
        with(config().with_page_size(9)).await,
        known,
        "the feed has its own"
    );
    let elsewhere = FeedConfig::new("http://elsewhere/feed".parse().unwrap());
    for other in [
        elsewhere,
        config().with_title("t"),
        config().with_author("a"),
        config().with_generator("g", "u"),
        config().with_generator("Atomfeed", "u"),
        config().with_id_prefix("p"),
        config().exact_line_ends(),
    ] {
        assert_ne!(with(other.clone()).await, known, "{other:?}");
    }
    let change = atomfeed_core::chunking::ChunkingChange::to(50);
    service.change_chunking(change).await.unwrap();
    publish::<MemoryHarness>(&store, events(60)).await;
    assert_eq!(tag(service).await, known);
}
