use std::sync::Arc;
use std::time::Duration;

use atomfeed_core::atom::ReadLimits;
use atomfeed_core::store::ConsumerStore;
use atomfeed_core::{Clock, FeedUri, SystemClock};

use super::{AtomFeedClient, Settings, StartPosition};
use crate::outcome::Outcome;
use crate::source::FeedSource;
use crate::worker::AnyWorker;

/// Settings of an [`AtomFeedClient`].
#[must_use]
pub struct AtomFeedClientBuilder {
    feed: FeedUri,
    source: Arc<dyn FeedSource>,
    settings: Settings,
}

impl AtomFeedClientBuilder {
    pub(super) fn new(feed: FeedUri, source: Arc<dyn FeedSource>) -> Self {
        let settings = Settings {
            start: StartPosition::default(),
            max_retries: 5,
            prepare_ahead: 4,
            interval: Duration::from_secs(15),
            limits: ReadLimits::default(),
            any_content_type: false,
            clock: Arc::new(SystemClock),
            on_outcome: Arc::new(|_| ()),
        };
        Self {
            feed,
            source,
            settings,
        }
    }

    /// Sets where to begin while there is no marker; else at the beginning.
    pub fn start(mut self, start: StartPosition) -> Self {
        self.settings.start = start;
        self
    }

    /// Sets how often a parked event is tried again before it is left to a person; else 5 times.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.settings.max_retries = retries;
        self
    }

    /// Sets how many events are prepared at a time, ahead of their turn; else 4, at least 1.
    pub fn prepare_ahead(mut self, events: usize) -> Self {
        self.settings.prepare_ahead = events;
        self
    }

    /// Sets how long [`run`](AtomFeedClient::run) waits between two rounds; else 15 s.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.settings.interval = interval;
        self
    }

    /// Sets what a page may be at most, to be read.
    pub fn read_limits(mut self, limits: ReadLimits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// Reads pages whatever content type they say they are of.
    pub fn any_content_type(mut self) -> Self {
        self.settings.any_content_type = true;
        self
    }

    /// Takes the time of failures from `clock`.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.settings.clock = Arc::new(clock);
        self
    }

    /// Calls `tell` with what became of each event, after it was committed. It should be quick: the
    /// next event waits for it.
    pub fn on_outcome(mut self, tell: impl Fn(&Outcome<'_>) + Send + Sync + 'static) -> Self {
        self.settings.on_outcome = Arc::new(tell);
        self
    }

    /// The client: markers and failed events are kept in `store`, events go to `worker`, which is
    /// lent the store's connection.
    pub fn build<S, W, Kind>(self, store: S, worker: W) -> AtomFeedClient<S::Conn>
    where
        S: ConsumerStore,
        W: AnyWorker<S::Conn, Kind>,
    {
        AtomFeedClient::new(self.feed, self.source, self.settings, store, worker)
    }
}

impl std::fmt::Debug for AtomFeedClientBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AtomFeedClientBuilder")
            .field("feed", &self.feed)
            .finish_non_exhaustive()
    }
}
