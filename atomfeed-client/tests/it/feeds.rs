//! A feed to follow, and a worker that writes what it was handed.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, AtomFeedClientBuilder, Event, EventWorker, FeedSource, FeedUri, FetchError,
    Handled, InProcessFeedSource, PageRequest, PageResponse, WorkerError, resource_key,
};
use atomfeed_core::NewEvent;
use atomfeed_core::store::conformance::Harness;
use atomfeed_core::store::{FeedStore, MemoryStore};
use atomfeed_server::{EventFeedService, FeedConfig, FeedRouter, Publisher};
use axum::Router;

pub(crate) const FEED: &str = "http://127.0.0.1:8080/feed/recent";

pub(crate) fn feed_uri() -> FeedUri {
    FEED.parse().unwrap()
}

pub(crate) fn config() -> FeedConfig {
    FeedConfig::new("http://127.0.0.1:8080/feed".parse().unwrap()).with_page_size(5)
}

/// The feed of a store, as an application mounts it.
pub(crate) async fn router(store: impl FeedStore, config: FeedConfig) -> Router {
    let service = EventFeedService::open(store, config).await.unwrap();
    Router::new().nest("/feed", FeedRouter::new(service).into_router())
}

/// A publisher in memory, and its feed.
pub(crate) struct Emr {
    pub(crate) store: MemoryStore,
    pub(crate) router: Router,
}

impl Emr {
    pub(crate) async fn new() -> Self {
        let store = MemoryStore::new();
        let router = router(store.clone(), config()).await;
        Self { store, router }
    }

    /// An EMR that has published events with the contents "1" to "n".
    pub(crate) async fn with_events(n: u32) -> Self {
        let emr = Self::new().await;
        emr.publish(1..=n).await;
        emr
    }

    pub(crate) async fn publish(&self, numbers: impl IntoIterator<Item = u32>) {
        let publisher = Publisher::new(self.store.clone());
        let mut transaction = self.store.transaction().await;
        for number in numbers {
            let event = NewEvent::new(format!("Event {number}"), number.to_string());
            publisher.publish(&mut transaction, &event).await.unwrap();
        }
        transaction.commit();
    }

    pub(crate) fn source(&self) -> InProcessFeedSource<Router> {
        InProcessFeedSource::new(self.router.clone())
    }

    pub(crate) fn client(&self) -> AtomFeedClientBuilder {
        AtomFeedClient::builder(feed_uri(), self.source())
    }
}

/// Writes content under content, and fails where it is told to.
pub(crate) struct Apply<H> {
    pub(crate) harness: Arc<H>,
    pub(crate) fails: fn(&Event) -> bool,
    pub(crate) key: fn(&Event) -> Option<String>,
    /// What it was handed, in that order.
    pub(crate) heard: Arc<Mutex<Vec<String>>>,
}

impl<H> Apply<H> {
    pub(crate) fn all(harness: &Arc<H>) -> Self {
        Self {
            harness: Arc::clone(harness),
            fails: |_| false,
            key: resource_key,
            heard: Arc::default(),
        }
    }

    pub(crate) fn but(harness: &Arc<H>, fails: fn(&Event) -> bool) -> Self {
        Self {
            harness: Arc::clone(harness),
            fails,
            key: resource_key,
            heard: Arc::default(),
        }
    }

    /// Writes down there what it is handed.
    pub(crate) fn heard_by(self, heard: &Arc<Mutex<Vec<String>>>) -> Self {
        let heard = Arc::clone(heard);
        Self { heard, ..self }
    }

    pub(crate) fn with_key(self, key: fn(&Event) -> Option<String>) -> Self {
        Self { key, ..self }
    }
}

#[async_trait]
impl<H: Harness + 'static> EventWorker<H::Conn> for Apply<H> {
    async fn process(&self, event: &Event, conn: &mut H::Conn) -> Result<Handled, WorkerError> {
        self.heard.lock().unwrap().push(event.content().to_owned());
        // Written first, so that a failure has something to undo.
        self.harness
            .write(conn, event.content(), event.content())
            .await;
        match (self.fails)(event) {
            true => Err(WorkerError::new(format!("boom {}", event.content()))),
            false => Ok(Handled::Applied),
        }
    }

    fn key(&self, event: &Event) -> Option<String> {
        (self.key)(event)
    }
}

/// What was applied, in the order of contents that are numbers.
pub(crate) async fn applied<H: Harness>(harness: &H, store: &H::Store) -> Vec<u32> {
    let rows = harness.written(store).await;
    let mut numbers: Vec<u32> = rows.iter().map(|(key, _)| key.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

/// Whether the long checks are to run whole.
pub(crate) fn full() -> bool {
    std::env::var_os("ATOMFEED_FULL").is_some()
}

/// Pages by URL.
pub(crate) struct Pages(pub(crate) Vec<(String, Vec<u8>)>);

#[async_trait]
impl FeedSource for Pages {
    async fn fetch(&self, page: &PageRequest) -> Result<PageResponse, FetchError> {
        let found = self.0.iter().find(|(url, _)| *url == page.url.as_str());
        match found {
            Some((_, body)) => Ok(PageResponse::new(None, body.clone())),
            None => Err(FetchError::Source(format!("no page {}", page.url).into())),
        }
    }
}

/// One named test for each store of a case that is a function over a harness; nothing, where there
/// is no server to run on.
macro_rules! on_every_store {
    ($($case:ident),+ $(,)?) => {
        $crate::feeds::on_every_store!(@ on_memory, Some(MemoryHarness); $($case),+);
        $crate::feeds::on_every_store!(@ on_sqlite, Some(SqliteHarness::default()); $($case),+);
        $crate::feeds::on_every_store!(@ on_postgres, PostgresHarness::from_env(); $($case),+);
        $crate::feeds::on_every_store!(@ on_mysql, MySqlHarness::from_env(); $($case),+);
    };
    (@ $store:ident, $harness:expr; $($case:ident),+) => {
        mod $store {
            #[allow(unused_imports)]
            use atomfeed_core::store::conformance::{
                MemoryHarness, MySqlHarness, PostgresHarness, SqliteHarness,
            };

            $(#[tokio::test]
            async fn $case() {
                if let Some(harness) = $harness {
                    super::$case(&std::sync::Arc::new(harness)).await;
                }
            })+
        }
    };
}

pub(crate) use on_every_store;
