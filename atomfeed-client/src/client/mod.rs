//! The consumer: from the marker along the pages, event by event.

mod actions;
mod afresh;
mod ahead;
mod apply;
mod builder;
mod claim;
mod errands;
mod head;
mod held;
mod intake;
mod lanes;
mod ledger;
mod many;
mod markers;
mod outage;
mod pace;
mod pages;
mod retry;
mod run;
mod skip;
mod start;
mod waiting;
mod watch;

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atomfeed_core::atom::ReadLimits;
use atomfeed_core::store::ConsumerStore;
use atomfeed_core::{Clock, FeedUri, Marker};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use url::Url;

pub use builder::AtomFeedClientBuilder;
pub use many::AtomFeedClients;
pub use start::{InvalidPosition, StartPosition};

use self::apply::Batch;
use self::claim::{Beginning, Claiming};
use self::errands::Errands;
use self::head::Head;
use self::intake::Intake;
use self::ledger::Ledger;
use self::outage::{Absences, Backoff, Outages};
use self::pace::Pace;
use self::pages::{FetchedPage, Pages};
use self::start::First;
use self::waiting::Waits;
use self::watch::Watch;
use crate::outcome::{Outcome, Processed};
use crate::schedule::Schedule;
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
    pages: Pages,
    store: Arc<dyn ConsumerStore<Conn = C>>,
    worker: Arc<dyn Handler<C>>,
    settings: Settings,
    pace: Pace,
    outages: Outages,
    absences: Absences,
    claiming: Claiming,
    watch: Arc<Watch>,
    /// Held by the one call that is at work on the feed.
    at_work: tokio::sync::Mutex<()>,
    /// Behind which parked event the next pass begins, where the last one was ended early.
    retry_after: AtomicI64,
    /// Up to where pages were followed back when that was ended by an error.
    followed_back: Mutex<Option<Url>>,
    waits: Waits,
    errands: Errands,
    /// Of several feeds in one process, so many apply events at once.
    turns: Option<Arc<Semaphore>>,
    /// How many events of the feed are parked, as it was counted last and has grown since.
    parked: AtomicU64,
}

/// What [`AtomFeedClientBuilder`] sets.
#[derive(Clone)]
struct Settings {
    start: StartPosition,
    when_lost: Option<StartPosition>,
    max_retries: u32,
    retry_delays: Backoff,
    max_failed_events: Option<u64>,
    prepare_ahead: usize,
    batch: usize,
    batch_time: Duration,
    workers: usize,
    lease: Option<Duration>,
    worker_timeout: Option<Duration>,
    worker_moves_marker: bool,
    backoff: Backoff,
    schedule: Schedule,
    /// How long the server is asked to wait for news.
    wait: Option<Duration>,
    /// How often it is looked whether somebody asks for something.
    look_for_actions: Option<Duration>,
    stop_within: Option<Duration>,
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
        let pages = Pages {
            feed: feed.clone(),
            source,
            limits: settings.limits,
            any_content_type: settings.any_content_type,
            head: Head::default(),
        };
        let watch = Arc::new(Watch::of(&feed));
        Self {
            feed,
            watch,
            at_work: tokio::sync::Mutex::default(),
            retry_after: AtomicI64::new(0),
            followed_back: Mutex::default(),
            turns: None,
            waits: Waits::default(),
            errands: Errands::default(),
            pages,
            store: Arc::new(store),
            worker,
            settings,
            pace: Pace::default(),
            outages: Outages::default(),
            absences: Absences::default(),
            claiming: Claiming::default(),
            parked: AtomicU64::new(0),
        }
    }

    /// The feed that is followed.
    pub fn feed(&self) -> &FeedUri {
        &self.feed
    }

    /// Applies every event from the marker up to the newest, in order, many in one transaction. An event
    /// that the worker cannot apply is parked with its error, and the next ones go on.
    ///
    /// # Errors
    ///
    /// When a page cannot be fetched or read, the marker does not fit the feed, the store fails, or
    /// something that the worker needs is down ([`ProcessErrorKind::Waiting`]: until it is to be tried
    /// again, calling this does nothing).
    /// What was applied or parked before stays so, and the error says how much it was; called
    /// again, it goes on from there.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the events in hand are rolled back. The marker stands behind the last
    /// one of the transaction before; with several [workers](AtomFeedClientBuilder::workers), events
    /// beyond it may have been dealt with, and are passed over by the next call.
    pub async fn process_events(&self) -> Result<Processed, ProcessError> {
        self.process_until(&CancellationToken::new()).await
    }

    /// As [`process_events`](Self::process_events), until `stop` says so; the event in hand is
    /// finished.
    async fn process_until(&self, stop: &CancellationToken) -> Result<Processed, ProcessError> {
        // Two calls at once would each take what the other has in hand.
        let _turn = self.at_work.lock().await;
        let mut processed = Processed::default();
        let span = tracing::info_span!("process_events", feed = %self.feed);
        let walk = self.walk(stop, &mut processed).instrument(span);
        let walked = self.at_work(walk).await;
        let error = walked.as_ref().err();
        if !matches!(error, Some(ProcessErrorKind::StandingBy { .. })) {
            let now = self.settings.clock.now();
            self.watch.end(error, stop.is_cancelled(), now);
            self.wait_at_work(self.write_status(true), ()).await;
        }
        self.pages.head.forget();
        match walked {
            Ok(()) => Ok(processed),
            Err(kind) => Err(ProcessError::new(&self.feed, processed, kind)),
        }
    }

    async fn walk(
        &self,
        stop: &CancellationToken,
        processed: &mut Processed,
    ) -> Result<(), ProcessErrorKind> {
        if let Some(waiting) = self.outages.now() {
            return Err(waiting.into());
        }
        self.watch.forget_head();
        loop {
            let mut marker = self.store.marker(&self.feed).await?;
            if marker.is_none() {
                self.may_begin().await?;
            }
            let first = self.first(marker.as_ref());
            let Some(first) = stop.run_until_cancelled(first).await else {
                return Ok(());
            };
            let Some(first) = first? else {
                return Ok(());
            };
            self.watch.begin(&first, self.settings.clock.now());
            let First { page, unread } = first;
            match page.next() {
                Ok(None) => {
                    self.watch.head(&page);
                    if unread.is_empty() {
                        self.pages.head.read_to(marker.as_ref());
                        return Ok(());
                    }
                }
                Ok(Some(_)) if !self.watch.knows_head() => {
                    // So that it can be told meanwhile how far there is to go.
                    let newest = stop.run_until_cancelled(self.newest_page()).await;
                    if let Some(Ok(newest)) = newest {
                        self.watch.head(&newest);
                    }
                }
                // What is wrong with it is told once its events were applied.
                Ok(Some(_)) | Err(_) => {}
            }
            let completed = match self.begin_reading(marker.as_ref()).await? {
                Beginning::Completed(completed) => completed,
                Beginning::Moved => continue,
            };
            self.look_at_parked().await?;
            let intake = Intake::new(self, page, unread);
            let worked = match self.lanes() > 1 || !completed.is_empty() {
                true => {
                    self.work_in_lanes(intake, completed, &mut marker, processed, stop)
                        .await
                }
                false => {
                    self.work_in_order(intake, &mut marker, processed, stop)
                        .await
                }
            };
            if worked.is_ok() && !stop.is_cancelled() {
                self.pages.head.read_to(marker.as_ref());
            }
            return worked;
        }
    }

    /// Applies events up to the head of the feed, one transaction after the other.
    async fn work_in_order(
        &self,
        mut intake: Intake<'_, C>,
        marker: &mut Option<Marker>,
        processed: &mut Processed,
        stop: &CancellationToken,
    ) -> Result<(), ProcessErrorKind> {
        let mut ledger = Ledger::Marker(marker);
        loop {
            let mut batch = Batch::default();
            let mut end = None;
            let most = self.batch_size();
            // A page that is being fetched is not waited for while there is something to do.
            while batch.has_room(most) && (batch.ready.is_empty() || intake.is_ready()) {
                // A stop that came meanwhile goes first: biased, as run_until_cancelled is.
                match stop.run_until_cancelled(intake.next()).await {
                    None => return Ok(()),
                    Some(Ok(Some((event, Ok(prepared))))) => {
                        batch.push((event, prepared));
                        while batch.has_room(most)
                            && let Some((event, prepared)) = intake.next_at_hand()
                        {
                            match prepared {
                                Ok(prepared) => batch.push((event, prepared)),
                                Err(error) => {
                                    batch.broken = Some((event, error));
                                    break;
                                }
                            }
                        }
                        if batch.broken.is_some() {
                            break;
                        }
                    }
                    Some(Ok(Some((event, Err(error))))) => {
                        batch.broken = Some((event, error));
                        break;
                    }
                    Some(Ok(None)) => {
                        end = Some(Ok(()));
                        break;
                    }
                    Some(Err(error)) => {
                        end = Some(Err(error));
                        break;
                    }
                }
            }
            if let Some(event) = batch.first() {
                self.watch.before(event);
                self.apply_batch(batch, &mut ledger, processed).await?;
                self.write_status(false).await;
            }
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// How many events the next transaction gets, at the most.
    fn batch_size(&self) -> usize {
        let Settings {
            batch, batch_time, ..
        } = self.settings;
        // Where the worker moves the marker, it says of one event that it was dealt with. And what was
        // down is asked once.
        let is_alone = self.worker.has_other_effects()
            || self.settings.worker_moves_marker
            || self.outages.is_known(&self.settings.backoff);
        match is_alone {
            true => 1,
            false => self.pace.within(batch_time, batch),
        }
    }

    async fn fetch(&self, url: Url) -> Result<FetchedPage, ProcessErrorKind> {
        self.pages.fetch(url).await
    }
}

impl<C: ?Sized> fmt::Debug for AtomFeedClient<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtomFeedClient")
            .field("feed", &self.feed)
            .finish_non_exhaustive()
    }
}
