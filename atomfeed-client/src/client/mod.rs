//! The consumer: from the marker along the pages, event by event.

mod afresh;
mod ahead;
mod apply;
mod builder;
mod pages;
mod retry;
mod run;
mod start;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use atomfeed_core::atom::ReadLimits;
use atomfeed_core::store::ConsumerStore;
use atomfeed_core::{Clock, Event, FeedUri, Marker};
use tokio_util::sync::CancellationToken;

pub use builder::AtomFeedClientBuilder;
pub use start::StartPosition;

use self::ahead::Ahead;
use self::pages::Visited;
use crate::outcome::{Outcome, Processed};
use crate::source::FeedSource;
use crate::worker::{AnyWorker, Handler, into_handler};
use crate::{ProcessError, ProcessErrorKind};

/// Follows one feed and hands its events to a worker, in order, each in the transaction that moves
/// the marker.
///
/// ```
/// use atomfeed_client::{AtomFeedClient, InProcessFeedSource, worker_fn};
/// use atomfeed_core::store::{MemoryConnection, MemoryStore};
/// use atomfeed_core::NewEvent;
/// use atomfeed_server::{EventFeedService, FeedConfig, FeedRouter, Publisher};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let emr = MemoryStore::new();
/// # let mut transaction = emr.transaction().await;
/// # let publisher = Publisher::new(emr.clone());
/// # publisher.publish(&mut transaction, &NewEvent::new("Patient", "/patient/1")).await?;
/// # transaction.commit();
/// # let service = EventFeedService::open(emr, FeedConfig::new("http://emr/feed".parse()?)).await?;
/// # let router = axum::Router::new().nest("/feed", FeedRouter::new(service).into_router());
/// let lab = MemoryStore::new();
/// let worker = worker_fn(|event, conn: &mut MemoryConnection| {
///     Box::pin(async move {
///         conn.put("seen", event.id().as_str(), event.content());
///         Ok(())
///     })
/// });
/// let source = InProcessFeedSource::new(router); // or HttpFeedSource::new(&feed)?
/// let client = AtomFeedClient::builder("http://emr/feed/recent".parse()?, source)
///     .build(lab.clone(), worker);
///
/// let processed = client.process_events().await?;
/// assert_eq!((processed.applied, processed.failed), (1, 0));
/// assert_eq!(lab.rows("seen").len(), 1);
/// # Ok(())
/// # }
/// ```
pub struct AtomFeedClient<C: ?Sized> {
    feed: FeedUri,
    source: Arc<dyn FeedSource>,
    store: Arc<dyn ConsumerStore<Conn = C>>,
    worker: Arc<dyn Handler<C>>,
    settings: Settings,
}

/// What [`AtomFeedClientBuilder`] sets.
#[derive(Clone)]
struct Settings {
    start: StartPosition,
    max_retries: u32,
    prepare_ahead: usize,
    interval: Duration,
    limits: ReadLimits,
    any_content_type: bool,
    clock: Arc<dyn Clock>,
    #[allow(clippy::type_complexity)]
    on_outcome: Arc<dyn Fn(&Outcome<'_>) + Send + Sync>,
}

// Of one type of connection, so that `AtomFeedClient::builder` names one function; which connection
// the client has is for `build` to say.
impl AtomFeedClient<()> {
    /// A client for the feed at `feed` (the URL of its `recent` page), whose pages `source`
    /// fetches.
    pub fn builder(feed: FeedUri, source: impl FeedSource) -> AtomFeedClientBuilder {
        AtomFeedClientBuilder::new(feed, Arc::new(source))
    }
}

impl<C: ?Sized + Send + 'static> AtomFeedClient<C> {
    fn new<S, W, Kind>(
        feed: FeedUri,
        source: Arc<dyn FeedSource>,
        settings: Settings,
        store: S,
        worker: W,
    ) -> Self
    where
        S: ConsumerStore<Conn = C>,
        W: AnyWorker<C, Kind>,
    {
        let worker = into_handler(worker);
        Self {
            feed,
            source,
            store: Arc::new(store),
            worker,
            settings,
        }
    }

    /// The feed that is followed.
    pub fn feed(&self) -> &FeedUri {
        &self.feed
    }

    /// Applies every event from the marker up to the newest, in order. An event that the worker
    /// cannot apply is parked with its error, and the next ones go on.
    ///
    /// # Errors
    ///
    /// When a page cannot be fetched or read, the marker does not fit the feed, or the store fails.
    /// What was applied or parked before stays so, and the error says how much it was; called
    /// again, it goes on from there.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the event in hand is rolled back, and the marker stands behind
    /// the last one before it.
    pub async fn process_events(&self) -> Result<Processed, ProcessError> {
        self.process_until(&CancellationToken::new()).await
    }

    /// As [`process_events`](Self::process_events), until `stop` says so; the event in hand is
    /// finished.
    async fn process_until(&self, stop: &CancellationToken) -> Result<Processed, ProcessError> {
        let mut processed = Processed::default();
        match self.walk(stop, &mut processed).await {
            Ok(()) => Ok(processed),
            Err(kind) => Err(ProcessError::new(&self.feed, processed, kind)),
        }
    }

    async fn walk(
        &self,
        stop: &CancellationToken,
        processed: &mut Processed,
    ) -> Result<(), ProcessErrorKind> {
        let mut marker = self.store.marker(&self.feed).await?;
        let Some(first) = stop
            .run_until_cancelled(self.first_page(marker.as_ref()))
            .await
        else {
            return Ok(());
        };
        let Some(mut page) = first? else {
            return Ok(());
        };
        let mut visited = Visited::default();
        visited.check(&page)?;
        let mut unread = page.events_behind(marker.as_ref())?;
        loop {
            if !self
                .apply_all(unread, &page.uri, &mut marker, stop, processed)
                .await?
            {
                return Ok(());
            }
            let Some(next) = page.next()? else {
                return Ok(());
            };
            let Some(fetched) = stop.run_until_cancelled(self.fetch(next)).await else {
                return Ok(());
            };
            let next = fetched?;
            visited.check(&next)?;
            next.must_follow(&page)?;
            unread = next.events_beyond(&page);
            page = next;
        }
    }

    /// Applies the events of a page; false when it was told to stop.
    async fn apply_all(
        &self,
        events: Vec<Arc<Event>>,
        page_uri: &str,
        marker: &mut Option<Marker>,
        stop: &CancellationToken,
        processed: &mut Processed,
    ) -> Result<bool, ProcessErrorKind> {
        let events = events.into_iter().map(|event| (Arc::clone(&event), event));
        let mut ahead = Ahead::new(&self.worker, self.settings.prepare_ahead, events);
        loop {
            // A stop that came meanwhile goes first: biased, as run_until_cancelled is.
            match stop.run_until_cancelled(ahead.next()).await {
                None => return Ok(false),
                Some(None) => return Ok(!stop.is_cancelled()),
                Some(Some((event, prepared))) => {
                    let to = Marker::new(self.feed.clone())
                        .after(event.id().clone())
                        .on_page(page_uri);
                    if self.apply(&event, prepared, marker.as_ref(), &to).await? {
                        processed.applied += 1;
                    } else {
                        processed.failed += 1;
                    }
                    *marker = Some(to);
                }
            }
        }
    }
}

impl<C: ?Sized> fmt::Debug for AtomFeedClient<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtomFeedClient")
            .field("feed", &self.feed)
            .finish_non_exhaustive()
    }
}
