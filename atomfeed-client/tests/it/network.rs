//! A network that cuts connections, breaks bodies off, stalls, and servers that answer 5xx or something
//! that is no feed: the consumer gets there all the same, and its history is clean.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, CancellationToken, Event, EventWorker, FeedSource, FeedUri, Handled,
    HttpFeedSource, InProcessFeedSource, PageRequest, WorkerError, resource_key,
};
use atomfeed_core::NewEvent;
use atomfeed_core::history::History;
use atomfeed_core::store::conformance::{Harness, MySqlHarness, PostgresHarness, SqliteHarness};
use atomfeed_core::store::{ConsumerStore, FailedEventQuery, MemoryStore};
use atomfeed_server::{FeedConfig, Publisher};
use axum::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_util::task::AbortOnDropHandle;

use crate::feeds::{full, router};

const EVENTS: u32 = 90;

/// Numbers that follow from a seed (xorshift).
struct Dice(AtomicU64);

impl Dice {
    fn below(&self, bound: u64) -> u64 {
        let roll = |mut x: u64| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x
        };
        let next = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |x| Some(roll(x)));
        next.unwrap_or(1) % bound
    }
}

fn content(number: u32) -> String {
    format!("/patient/{}?rev={number}", number % 7)
}

fn id(content: &str) -> String {
    content.to_owned()
}

/// Patient 3 fails with revision 17, until it is mended.
struct Patients<H> {
    harness: Arc<H>,
    is_mended: bool,
    written: AtomicU64,
}

#[async_trait]
impl<H: Harness + 'static> EventWorker<H::Conn> for Patients<H> {
    async fn process(&self, event: &Event, conn: &mut H::Conn) -> Result<Handled, WorkerError> {
        // In the order in which they are written.
        let place = self.written.fetch_add(1, Ordering::SeqCst);
        let place = format!("{}{place:08}", if self.is_mended { 2 } else { 1 });
        self.harness.write(conn, &place, event.content()).await;
        match !self.is_mended && event.content().ends_with("=17") {
            true => Err(WorkerError::new("no such patient")),
            false => Ok(Handled::Applied),
        }
    }
}

/// Serves the pages of a router over a socket, and spoils more than half of them.
async fn spoil(listener: TcpListener, pages: Router, dice: Arc<Dice>) {
    let pages = InProcessFeedSource::new(pages);
    let mut answering: Vec<AbortOnDropHandle<()>> = Vec::new();
    while let Ok((stream, _)) = listener.accept().await {
        answering.retain(|task| !task.is_finished());
        let answer = answer(stream, pages.clone(), Arc::clone(&dice));
        answering.push(AbortOnDropHandle::new(tokio::spawn(answer)));
    }
}

async fn answer(mut stream: TcpStream, pages: InProcessFeedSource<Router>, dice: Arc<Dice>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let url = format!("http://feed{path}").parse().unwrap();
    let page = pages.fetch(&PageRequest::new(url)).await;
    let Ok(page) = page else {
        drop(
            stream
                .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                .await,
        );
        return;
    };
    let ok = |kind: &str, length| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        )
    };
    let whole = [
        ok("application/atom+xml", page.body.len()).as_bytes(),
        &page.body,
    ]
    .concat();
    let cut = dice.below(whole.len() as u64) as usize;
    let (answer, stalls) = match dice.below(16) {
        // Cut off: in the head, in the body, before either.
        0..=2 => (whole[..cut].to_vec(), false),
        // It says that it is as long as it is, and ends before: a proxy that gave up.
        3 => (whole[..whole.len() - 1].to_vec(), false),
        4 => (
            b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n".to_vec(),
            false,
        ),
        5 => (
            b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 3\r\n\r\nbad".to_vec(),
            false,
        ),
        6 => (
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_vec(),
            false,
        ),
        // A page of a login, with 200.
        7 => {
            let page = "<html><body>Log in</body></html>";
            (
                [ok("text/html", page.len()).as_bytes(), page.as_bytes()].concat(),
                false,
            )
        }
        // A document that ends too early, and says so nowhere.
        8 => {
            let body = &page.body[..page.body.len() / 2];
            (
                [ok("application/atom+xml", body.len()).as_bytes(), body].concat(),
                false,
            )
        }
        // So slow that it is given up.
        9 => (whole[..cut].to_vec(), true),
        _ => (whole, false),
    };
    drop(stream.write_all(&answer).await);
    if stalls {
        drop(stream.read_u8().await);
    }
}

async fn gets_there<H: Harness + 'static>(harness: Arc<H>, seed: u64, workers: usize) {
    let emr = MemoryStore::new();
    let publisher = Publisher::new(emr.clone());
    let mut transaction = emr.transaction().await;
    for number in 1..=EVENTS {
        let event = NewEvent::new("Patient", content(number));
        publisher.publish(&mut transaction, &event).await.unwrap();
    }
    transaction.commit();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = FeedConfig::new(format!("http://{address}/feed").parse().unwrap());
    let router = router(emr, config.with_page_size(5)).await;
    let dice = Arc::new(Dice(AtomicU64::new(seed)));
    let serving = tokio::spawn(spoil(listener, router, dice));
    let _serving = AbortOnDropHandle::new(serving);

    let feed: FeedUri = format!("http://{address}/feed/recent").parse().unwrap();
    let store = harness.store().await;
    let source = || {
        let source = HttpFeedSource::builder(&feed);
        source
            .with_read_timeout(Duration::from_millis(100))
            .build()
            .unwrap()
    };
    let worker = |is_mended| Patients {
        harness: Arc::clone(&harness),
        is_mended,
        written: AtomicU64::new(0),
    };
    let client = AtomFeedClient::builder(feed.clone(), source())
        .interval(Duration::from_millis(1))
        .batch(7)
        .workers(workers);
    // What is dead is left to a person.
    let client = client.max_retries(1).build(store.clone(), worker(false));
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let running = tokio::spawn(async move { client.run(stopped).await });
    let aborts: AbortHandle = running.abort_handle();
    let read = async {
        loop {
            let marker = store.marker(&feed).await.unwrap();
            let page = marker.as_ref().and_then(|marker| marker.page_uri());
            let entry = marker
                .as_ref()
                .and_then(|marker| marker.last_read_entry_id());
            if page.is_some_and(|page| page.ends_with("/18")) && entry.is_some() {
                // The last page has five: let it be read to its end.
                let written = harness.written(&store).await;
                if written.iter().any(|(_, content)| content.ends_with("=90")) {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let read = tokio::time::timeout(Duration::from_secs(120), read).await;
    read.unwrap_or_else(|_| {
        aborts.abort();
        panic!("seed {seed}: it never gets there")
    });
    stop.cancel();
    running.await.unwrap().unwrap();

    let published = || {
        let events = (1..=EVENTS).map(|number| {
            let content = content(number);
            let event = Event::new(atomfeed_core::EntryId::of_event(number), feed.clone());
            let key = resource_key(&event.with_text("", content.as_str()));
            (id(&content), key)
        });
        History::new().published(events)
    };
    let applied = harness.written(&store).await;
    let applied = applied.into_iter().map(|(_, content)| content);
    let mut work = store.begin().await.unwrap();
    let query = FailedEventQuery::of(feed.clone()).limit(1_000);
    let parked = work.failed_events(&query).await.unwrap();
    work.rollback().await.unwrap();
    let parked: Vec<_> = parked
        .iter()
        .map(|failed| failed.event.content().to_owned())
        .collect();
    let expected = (17..=EVENTS).filter(|number| number % 7 == 3).map(content);
    assert_eq!(parked, expected.collect::<Vec<_>>(), "seed {seed}");
    published().applied(applied).parked(parked).assert_holds();

    // It is mended: the others follow it.
    let client = AtomFeedClient::builder(feed.clone(), source());
    let client = client.build(store.clone(), worker(true));
    client.retry_all_failed_events().await.unwrap();
    let applied = harness.written(&store).await;
    published()
        .applied(applied.into_iter().map(|(_, content)| content))
        .assert_holds();
}

fn seeds() -> std::ops::RangeInclusive<u64> {
    1..=if full() { 20 } else { 2 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_network_costs_nothing_on_sqlite() {
    for seed in seeds() {
        gets_there(Arc::new(SqliteHarness::default()), seed, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_network_costs_nothing_on_postgres() {
    for seed in seeds() {
        if let Some(harness) = PostgresHarness::from_env() {
            gets_there(Arc::new(harness), seed + 100, 4).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_network_costs_nothing_on_mysql() {
    for seed in seeds() {
        if let Some(harness) = MySqlHarness::from_env() {
            gets_there(Arc::new(harness), seed + 200, 4).await;
        }
    }
}
