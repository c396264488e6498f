//! A consumer has an event as soon as it is on the feed, where the server waits for that; it asks more and
//! more seldom where it does not; and asking for what it has costs no page.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, AtomFeedClientBuilder, CancellationToken, FeedSource, FetchError,
    HttpFeedSource, InProcessFeedSource, PageRequest, PageResponse, Schedule, StartPosition,
    worker_fn,
};
use atomfeed_core::store::{MemoryConnection, MemoryStore, StatusStore};
use atomfeed_core::{Clock, NewEvent};
use atomfeed_server::{EventFeedService, FeedRouter, Publisher};
use axum::Router;
use chrono::{DateTime, Utc};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use crate::feeds::{Emr, config, feed_uri};

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(30);

const NEVER: Duration = Duration::from_secs(100_000);

/// What was asked for, and how it was answered.
#[derive(Debug, Clone, PartialEq)]
struct Asked {
    path: String,
    has_etag: bool,
    waits: bool,
    unchanged: bool,
    at: Instant,
}

/// What a server may be like.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Server {
    Waits,
    /// It knows no `Prefer`.
    HasEtags,
    /// It knows no ETag, as the original.
    IsPlain,
    /// It says at once that there is something new, whether there is or not.
    CriesWolf,
    /// It says at once that it has waited.
    HasNoPatience,
    /// Each answer takes longer than one who does not wait needs, and has another ETag.
    IsSlow,
    /// Whoever is to wait is told to come back in ten minutes.
    IsBusy,
    /// A cache in front of it keeps each page for a second, but for requests that wait.
    IsCached,
}

/// Fetches from an EMR as if its server was such, and remembers what was asked.
#[derive(Clone)]
struct Watched<S> {
    source: S,
    server: Server,
    asked: Arc<Mutex<Vec<Asked>>>,
    cached: Arc<Mutex<HashMap<String, (Instant, PageResponse)>>>,
    honours_no_cache: bool,
}

impl<S> Watched<S> {
    fn new(source: S, server: Server) -> Self {
        Self {
            source,
            server,
            asked: Arc::default(),
            cached: Arc::default(),
            honours_no_cache: false,
        }
    }

    fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

#[async_trait]
impl<S: FeedSource> FeedSource for Watched<S> {
    async fn fetch(&self, page: &PageRequest) -> Result<PageResponse, FetchError> {
        let mut request = page.clone();
        match self.server {
            Server::Waits | Server::IsBusy => {}
            Server::IsCached if request.wait.is_none() => request.etag = None,
            Server::IsCached => {}
            Server::IsSlow => {
                (request.etag, request.wait) = (None, None);
                tokio::time::sleep(Duration::from_millis(1_200)).await;
            }
            Server::HasEtags | Server::HasNoPatience => request.wait = None,
            Server::IsPlain | Server::CriesWolf => (request.etag, request.wait) = (None, None),
        }
        let at = Instant::now();
        let path = page.url.path().to_owned();
        if self.server == Server::IsBusy && page.wait.is_some() {
            self.note(page, false, at);
            return Err(FetchError::Status {
                status: 503,
                hint: "it is busy",
                body: String::new(),
                retry_after: Some(Duration::from_secs(600)),
            });
        }
        let is_cached = self.server == Server::IsCached && page.wait.is_none();
        let is_cached = is_cached && !(page.fresh && self.honours_no_cache);
        let kept = self.cached.lock().unwrap().get(&path).cloned();
        let kept = kept.filter(|(since, _)| is_cached && since.elapsed() < Duration::from_secs(1));
        let mut response = match kept {
            Some((_, kept)) => kept,
            None => self.source.fetch(&request).await?,
        };
        if is_cached {
            let kept = (Instant::now(), response.clone());
            self.cached
                .lock()
                .unwrap()
                .entry(path)
                .or_insert(kept.clone());
            let mut cached = self.cached.lock().unwrap();
            let last = cached.get_mut(page.url.path()).unwrap();
            if last.0.elapsed() >= Duration::from_secs(1) {
                *last = kept;
            }
            if page.etag.is_some() && page.etag == response.etag {
                response = PageResponse::not_modified();
            }
        }
        match self.server {
            Server::IsPlain => response.etag = None,
            Server::CriesWolf | Server::IsSlow => {
                response.etag = Some(format!("\"{}\"", self.count()))
            }
            Server::HasNoPatience => response.waits = true,
            Server::Waits | Server::HasEtags | Server::IsBusy | Server::IsCached => {}
        }
        self.note(page, response.not_modified, at);
        Ok(response)
    }
}

impl<S> Watched<S> {
    fn note(&self, page: &PageRequest, unchanged: bool, at: Instant) {
        self.asked.lock().unwrap().push(Asked {
            path: page.url.path().to_owned(),
            has_etag: page.etag.is_some(),
            waits: page.wait.is_some(),
            unchanged,
            at,
        });
    }
}

type Seen = Arc<Mutex<Vec<(u32, Instant)>>>;

type Followed = (Seen, CancellationToken, tokio::task::JoinHandle<()>);

/// Goes with the time of the runtime.
#[derive(Debug)]
struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + self.0.elapsed()
    }
}

/// Follows the feed until it is stopped.
fn follow(source: impl FeedSource, schedule: Schedule) -> Followed {
    run(AtomFeedClient::builder(feed_uri(), source).schedule(schedule))
}

/// Runs a consumer that remembers what it was handed, and when.
fn run(client: AtomFeedClientBuilder) -> Followed {
    let seen = Seen::default();
    let applied = Arc::clone(&seen);
    let worker = worker_fn(move |event, _: &mut MemoryConnection| {
        let number = event.content().parse().unwrap();
        applied.lock().unwrap().push((number, Instant::now()));
        Box::pin(async { Ok(()) })
    });
    let client = client.build(MemoryStore::new(), worker);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let running = tokio::spawn(async move { client.run(stopped).await.unwrap() });
    (seen, stop, running)
}

async fn until(what: impl Fn() -> bool + Send + Sync) {
    let waiting = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("in time");
}

fn numbers(seen: &Seen) -> Vec<u32> {
    seen.lock()
        .unwrap()
        .iter()
        .map(|(number, _)| *number)
        .collect()
}

/// The next round would come in a day: what is here is here since the server said so. Pages fill up and get
/// successors meanwhile.
#[tokio::test]
async fn an_event_is_here_as_soon_as_it_is_on_the_feed() {
    let emr = Emr::with_events(3).await;
    let source = Watched::new(emr.source(), Server::Waits);
    let (seen, stop, running) = follow(source.clone(), Schedule::every(NEVER));
    until(|| numbers(&seen) == [1, 2, 3]).await;
    for number in 4..=17 {
        emr.publish([number]).await;
        until(|| numbers(&seen).last() == Some(&number)).await;
    }
    emr.publish(18..=60).await;
    until(|| numbers(&seen).len() == 60).await;
    assert_eq!(numbers(&seen), (1..=60).collect::<Vec<_>>());
    stop.cancel();
    timeout(PATIENCE, running).await.unwrap().unwrap();
}

/// Pages by time end where nothing has come, and the newest begins without an event.
#[tokio::test(start_paused = true)]
async fn who_waits_goes_on_waiting_over_the_borders_of_time() {
    let began = Instant::now();
    let clock = move || RuntimeClock(began);
    let store = MemoryStore::new();
    let opened =
        EventFeedService::open_with_clock(store.clone(), config().with_time_chunks(), clock());
    let router = FeedRouter::new(opened.await.unwrap()).into_router();
    let source = InProcessFeedSource::new(Router::new().nest("/feed", router));
    let source = Watched::new(source, Server::Waits);
    let publish = async |number: u32| {
        let publisher = Publisher::new(store.clone()).with_clock(clock());
        let mut transaction = store.transaction().await;
        let event = NewEvent::new("Event", number.to_string());
        publisher.publish(&mut transaction, &event).await.unwrap();
        transaction.commit();
    };
    publish(1).await;
    let (seen, stop, running) = follow(source.clone(), Schedule::every(NEVER));
    until(|| numbers(&seen) == [1]).await;
    // Chunks are of an hour: some have an event, others have none, and several in a row.
    for (number, minutes) in (2..).zip([10, 20, 70, 59, 61, 300, 5, 121, 600, 3]) {
        source.take();
        tokio::time::sleep(Duration::from_secs(minutes * 60)).await;
        let asked = source.take();
        // A wait is 30 s long at the most. At each border, the pages since the last event are gone through.
        let waits = asked.iter().filter(|asked| asked.waits).count() as u64;
        assert!(waits >= minutes * 2 - 5, "{minutes} min: {waits}");
        let (others, hours) = (asked.len() as u64 - waits, minutes / 60 + 1);
        assert!(others <= hours * (hours + 5), "{minutes} min: {others}");
        let published = Instant::now();
        publish(number).await;
        until(|| numbers(&seen).last() == Some(&number)).await;
        let waited = published.elapsed();
        assert!(
            waited <= Duration::from_secs(2),
            "{minutes} min: {waited:?}"
        );
    }
    stop.cancel();
    running.await.unwrap();
}

/// A feed that is looked at once a day is followed all the same, and those who watch are told so.
#[tokio::test(start_paused = true)]
async fn who_pauses_for_long_says_that_it_is_there() {
    let emr = Emr::with_events(3).await;
    let store = MemoryStore::new();
    let begun = Instant::now();
    let worker = worker_fn(|_, _: &mut MemoryConnection| Box::pin(async { Ok(()) }));
    let client = AtomFeedClient::builder(feed_uri(), emr.source())
        .interval(NEVER)
        .wait_for_news(Duration::ZERO)
        .clock(RuntimeClock(begun));
    let client = client.build(store.clone(), worker);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let running = tokio::spawn(async move { client.run(stopped).await.unwrap() });
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(600)).await;
        let mut work = store.transaction().await;
        let seen = work.statuses().await.unwrap()[0].seen_at.unwrap();
        let ago = RuntimeClock(begun).now() - seen;
        assert!(ago.num_seconds() < 120, "{ago}");
    }
    stop.cancel();
    running.await.unwrap();
}

/// On the page that came for its news, nothing is asked for again.
#[tokio::test]
async fn news_bring_the_page_they_are_on() {
    let emr = Emr::with_events(2).await;
    let source = Watched::new(emr.source(), Server::Waits);
    let (seen, stop, running) = follow(source.clone(), Schedule::every(NEVER));
    until(|| numbers(&seen) == [1, 2]).await;
    source.take();
    for number in 3..=5 {
        emr.publish([number]).await;
        until(|| numbers(&seen).last() == Some(&number)).await;
    }
    until(|| source.count() >= 3).await;
    let asked = source.take();
    assert!(
        asked.iter().all(|asked| asked.path == "/feed/recent"),
        "{asked:?}"
    );
    assert!(
        asked.iter().all(|asked| asked.waits && asked.has_etag),
        "{asked:?}"
    );
    stop.cancel();
    running.await.unwrap();
}

/// Over HTTP, a wait is held by the server, and is let go when the consumer stops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_comes_at_once_over_http() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let store = MemoryStore::new();
    let here = atomfeed_server::FeedConfig::new(format!("http://{address}/feed").parse().unwrap());
    let router = crate::feeds::router(store.clone(), here.with_page_size(5)).await;
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let emr = Emr {
        store,
        router: Router::new(),
    };
    emr.publish([1]).await;
    let feed = format!("http://{address}/feed/recent").parse().unwrap();
    let source = Watched::new(HttpFeedSource::new(&feed).unwrap(), Server::Waits);
    let client = AtomFeedClient::builder(feed, source.clone()).interval(NEVER);
    let (seen, stop, running) = run(client);
    for number in 2..=12 {
        until(|| numbers(&seen).len() as u32 == number - 1).await;
        emr.publish([number]).await;
    }
    until(|| numbers(&seen) == (1..=12).collect::<Vec<_>>()).await;
    stop.cancel();
    timeout(PATIENCE, running).await.unwrap().unwrap();
    serving.abort();
}

/// Time passes by itself where nobody has anything to do.
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_wait_is_asked_more_and_more_seldom() {
    let adaptive = || Schedule::adaptive(Duration::from_secs(1), Duration::from_secs(15));
    for server in [
        Server::HasEtags,
        Server::IsPlain,
        Server::CriesWolf,
        Server::HasNoPatience,
        Server::IsSlow,
    ] {
        let emr = Emr::with_events(3).await;
        let source = Watched::new(emr.source(), server);
        let (seen, stop, running) = follow(source.clone(), adaptive());
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(numbers(&seen), [1, 2, 3]);
        let asked = source.take();
        // 600 s at 15 s are 40 rounds; at first there are a few more.
        assert!(
            (40..70).contains(&asked.len()),
            "{server:?}: {} times",
            asked.len()
        );
        let of_one = asked.iter().filter(|asked| asked.waits).count();
        assert!(of_one < 12, "{server:?} is asked to wait {of_one} times");
        if server == Server::HasEtags {
            let paid = asked.iter().filter(|asked| !asked.unchanged).count();
            assert!(paid <= 3, "{paid} pages came: {asked:?}");
        }
        // An event is here within the interval, and then others sooner.
        let mut published = Vec::new();
        for number in 4..=6 {
            published.push(Instant::now());
            emr.publish([number]).await;
            until(|| numbers(&seen).last() == Some(&number)).await;
        }
        let seen = seen.lock().unwrap().clone();
        let waited = |n: usize| seen[n + 3].1 - published[n];
        assert!(waited(0) <= Duration::from_secs(16), "{server:?}");
        for n in [1, 2] {
            let waited = waited(n);
            assert!(waited <= Duration::from_secs(6), "{server:?}: {waited:?}");
        }
        stop.cancel();
        running.await.unwrap();
    }
}

/// A cache in front of the server may have a page as it was before what was read; that is no news, and
/// nothing is lost by it.
#[tokio::test(start_paused = true)]
async fn a_page_from_a_cache_is_no_news() {
    for (pause, honours_no_cache) in [50, 300, 700, 1_500, 4_000]
        .into_iter()
        .flat_map(|pause| [(pause, true), (pause, false)])
    {
        let emr = Emr::with_events(3).await;
        let mut source = Watched::new(emr.source(), Server::IsCached);
        source.honours_no_cache = honours_no_cache;
        // Whoever loses the place goes on at the end: what is between is missed.
        let client = AtomFeedClient::builder(feed_uri(), source.clone());
        let (seen, stop, running) = run(client.when_lost(StartPosition::Latest));
        let mut published = Vec::new();
        for number in 4..=40 {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            // Somebody else has it cached.
            for path in ["recent", "1", "2", "3", "4", "5", "6", "7", "8"] {
                let url = format!("http://127.0.0.1:8080/feed/{path}")
                    .parse()
                    .unwrap();
                drop(source.fetch(&PageRequest::new(url)).await);
            }
            emr.publish([number]).await;
            published.push(Instant::now());
        }
        until(|| numbers(&seen).len() >= 40).await;
        assert_eq!(
            numbers(&seen),
            (1..=40).collect::<Vec<_>>(),
            "every {pause} ms"
        );
        let late = seen.lock().unwrap()[3..]
            .iter()
            .zip(&published)
            .map(|((_, at), published)| *at - *published)
            .max();
        assert!(
            late < Some(Duration::from_secs(9)),
            "every {pause} ms: {late:?}"
        );
        stop.cancel();
        running.await.unwrap();
    }
}

/// Who is to come back later does.
#[tokio::test(start_paused = true)]
async fn a_busy_server_is_left_alone_by_those_who_would_wait() {
    let emr = Emr::with_events(3).await;
    let source = Watched::new(emr.source(), Server::IsBusy);
    let (seen, stop, running) = follow(source.clone(), Schedule::every(Duration::from_secs(1)));
    tokio::time::sleep(Duration::from_secs(590)).await;
    assert_eq!(numbers(&seen), [1, 2, 3]);
    let asked = source.take();
    assert_eq!(asked.iter().filter(|asked| asked.waits).count(), 1);
    assert!(asked.len() <= 3, "{asked:?}");
    stop.cancel();
    running.await.unwrap();
}

/// At set times, and where the owner does not want it, no server is asked to wait.
#[tokio::test(start_paused = true)]
async fn nobody_waits_who_is_told_when_to_look() {
    let emr = Emr::with_events(3).await;
    let source = Watched::new(emr.source(), Server::Waits);
    let cron = Schedule::cron("0 * * * * ?").unwrap();
    let clock = RuntimeClock(Instant::now());
    let client = AtomFeedClient::builder(feed_uri(), source.clone());
    let (seen, stop, running) = run(client.schedule(cron).clock(clock));
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(numbers(&seen), [1, 2, 3]);
    stop.cancel();
    running.await.unwrap();

    let worker = worker_fn(|_, _: &mut MemoryConnection| Box::pin(async { Ok(()) }));
    let client = AtomFeedClient::builder(feed_uri(), source.clone())
        .wait_for_news(Duration::ZERO)
        .build(MemoryStore::new(), worker);
    let stop = CancellationToken::new();
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(client.run(stop.clone()), stopping);
    ended.unwrap();
    let asked = source.take();
    assert!(
        !asked.is_empty() && asked.iter().all(|asked| !asked.waits),
        "{asked:?}"
    );
}

/// Each look at a feed with nothing new is one question, which is answered without a page; and where the
/// marker is not where the page ended, the page comes whole.
#[tokio::test]
async fn nothing_new_costs_no_page() {
    let emr = Emr::with_events(7).await;
    let source = Watched::new(emr.source(), Server::HasEtags);
    let store = MemoryStore::new();
    let client = || {
        let worker = worker_fn(|event, conn: &mut MemoryConnection| {
            Box::pin(async move {
                conn.put("seen", event.id().as_str(), event.content());
                Ok(())
            })
        });
        AtomFeedClient::builder(feed_uri(), source.clone()).build(store.clone(), worker)
    };
    let following = client();
    following.process_events().await.unwrap();
    source.take();
    for _ in 0..3 {
        following.process_events().await.unwrap();
        let asked = source.take();
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!(
            asked[0].unchanged && asked[0].path == "/feed/2",
            "{asked:?}"
        );
    }
    // Another consumer of the same marker goes on; then that is moved back.
    emr.publish([8]).await;
    client().process_events().await.unwrap();
    let processed = following.process_events().await.unwrap();
    assert_eq!(processed.events(), 0);
    let page = "http://127.0.0.1:8080/feed/1".parse().unwrap();
    following
        .set_marker(&StartPosition::Page(page))
        .await
        .unwrap();
    let processed = following.process_events().await.unwrap();
    assert_eq!(processed.events(), 8, "all of them again");
}

/// A new consumer of a long feed is led to the oldest page; it need not walk back through all of them.
#[tokio::test]
async fn a_new_consumer_is_led_to_the_oldest_page() {
    let emr = Emr::with_events(200).await;
    for server in [Server::Waits, Server::IsPlain] {
        let source = Watched::new(emr.source(), server);
        let worker = worker_fn(|_, _: &mut MemoryConnection| Box::pin(async { Ok(()) }));
        let client = AtomFeedClient::builder(feed_uri(), source.clone());
        let client = client.build(MemoryStore::new(), worker);
        let processed = client.process_events().await.unwrap();
        assert_eq!(processed.applied, 200);
        let paths: Vec<_> = source.take().into_iter().map(|asked| asked.path).collect();
        assert_eq!(paths[..2], ["/feed/recent", "/feed/first"]);
        assert!(paths.len() <= 43, "{paths:?}");
    }
}
