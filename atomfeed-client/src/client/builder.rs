use std::sync::Arc;
use std::time::Duration;

use atomfeed_core::atom::ReadLimits;
use atomfeed_core::store::ConsumerStore;
use atomfeed_core::{Clock, FeedUri, SystemClock};

use super::outage::Backoff;
use super::{AtomFeedClient, Settings, StartPosition};
use crate::outcome::Outcome;
use crate::schedule::Schedule;
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
            when_lost: None,
            max_retries: 10,
            retry_delays: Backoff {
                first: Duration::from_secs(15),
                longest: Duration::from_secs(60 * 60),
                ..Backoff::default()
            },
            max_failed_events: None,
            prepare_ahead: 4,
            batch: 100,
            batch_time: Duration::from_secs(1),
            workers: 1,
            lease: None,
            worker_timeout: None,
            worker_moves_marker: false,
            backoff: Backoff::default(),
            schedule: Schedule::adaptive(Duration::from_secs(1), Duration::from_secs(15)),
            wait: Some(Duration::from_secs(30)),
            look_for_actions: Some(Duration::from_millis(500)),
            stop_within: None,
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

    /// Sets where to go on when the entry of the marker is gone from its page and those around it, or the
    /// page was pruned; else the feed stops and says so. Events may be passed over by it, or applied
    /// again.
    pub fn when_lost(mut self, position: StartPosition) -> Self {
        self.settings.when_lost = Some(position);
        self
    }

    /// Gives the consumer a name: of several that follow one feed for one database, each has a marker and
    /// failed events of its own. It joins the feed's address [as its fragment](FeedUri::named), here and
    /// in the rows.
    pub fn name(mut self, name: &str) -> Self {
        self.feed = self.feed.named(name);
        self
    }

    /// Sets how often a parked event is tried again before it is left to a person; else 10 times. It
    /// goes on holding back later events of its [key](crate::EventWorker::key), and no others.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.settings.max_retries = retries;
        self
    }

    /// Sets how long a parked event waits after a retry that failed: `first`, then each time twice as
    /// long, up to `longest`, give or take; else 15 s and an hour.
    pub fn retry_delays(mut self, first: Duration, longest: Duration) -> Self {
        self.settings.retry_delays.first = first;
        self.settings.retry_delays.longest = longest;
        self
    }

    /// Stops the feed while so many of its events are parked, as the original library does (at 5 there);
    /// else it never stops for that.
    pub fn max_failed_events(mut self, events: u64) -> Self {
        self.settings.max_failed_events = Some(events);
        self
    }

    /// Sets how many events are prepared at a time, ahead of their turn; else 4, at least 1.
    pub fn prepare_ahead(mut self, events: usize) -> Self {
        self.settings.prepare_ahead = events;
        self
    }

    /// Sets how many events are applied in one transaction, at most; else 100. When one of them fails,
    /// the transaction is undone, and each gets one of its own. A worker that
    /// [has other effects](crate::EventWorker::has_other_effects) gets one event a transaction.
    pub fn batch(mut self, events: usize) -> Self {
        self.settings.batch = events.max(1);
        self
    }

    /// Sets how long a transaction should take at most; else 1 s. It gets as many events as the worker
    /// has applied of late in that time, and one at least.
    pub fn batch_time(mut self, time: Duration) -> Self {
        self.settings.batch_time = time;
        self
    }

    /// Sets how many transactions are worked at once, over different [keys](crate::EventWorker::key);
    /// else 1, at least 1. Events of one key keep their order, others do not; each is still applied
    /// exactly once, also when the process is killed. Each transaction takes a connection of the
    /// store's, and up to three more move the marker, tell how far it is, and give signs of life. All run in the task that runs the client, so that what
    /// needs a processor for long belongs into a thread of its own.
    ///
    /// Where [one transaction writes at a time](atomfeed_core::store::ConsumerStore::writes_one_at_a_time)
    /// (SQLite), only as many events are [prepared](Self::prepare_ahead) at once.
    pub fn workers(mut self, workers: usize) -> Self {
        self.settings.workers = workers.max(1);
        self.settings.prepare_ahead = self.settings.prepare_ahead.max(workers);
        self
    }

    /// Stands by while another consumer follows the feed in the same database, and takes over once that
    /// has given no sign of life for `lease` (a few seconds; 100 ms at least), or has stopped. Also the
    /// first one that starts sees for so long that no other is at work.
    ///
    /// Without it, any number of consumers may start at once, and those that come too late are told of
    /// the conflict; nor does one that does not stand by wait for those that do. A worker that keeps its
    /// thread busy for longer than that, instead of awaiting, loses the feed, and commits nothing more.
    pub fn standby(mut self, lease: Duration) -> Self {
        self.settings.lease = Some(lease.max(Duration::from_millis(100)));
        self
    }

    /// Sets how long a worker may take for an event, or for a batch in a single call; else there is no
    /// limit. What takes longer is a permanent failure of the event. What is fetched beforehand
    /// ([`PreparingWorker::prepare`](crate::PreparingWorker::prepare)) has the limits of its client.
    pub fn worker_timeout(mut self, limit: Duration) -> Self {
        self.settings.worker_timeout = Some(limit);
        self
    }

    /// Says that the worker, or what it calls, moves the marker itself, in a transaction of its own: a
    /// marker that stands where it was to be moved is then no conflict. Each event gets a transaction of
    /// its own, one after the other, whatever the number of [workers](Self::workers). Of two consumers,
    /// both may then apply an event.
    pub fn worker_moves_marker(mut self) -> Self {
        self.settings.worker_moves_marker = true;
        self
    }

    /// Sets how long the feed waits after a [transient](crate::WorkerError::is_transient) error: `first`,
    /// then each time twice as long, up to `longest`, give or take; else 1 s and 1 minute. What is
    /// transient for longer than `patience` (else a day), as this client has seen it, counts as
    /// permanent.
    pub fn wait_out(mut self, first: Duration, longest: Duration, patience: Duration) -> Self {
        self.settings.backoff = Backoff {
            first,
            longest,
            patience,
        };
        self
    }

    /// Sets how long [`run`](AtomFeedClient::run) waits between two rounds, unless the server
    /// [tells of news](Self::wait_for_news) before.
    pub fn interval(self, interval: Duration) -> Self {
        self.schedule(Schedule::every(interval))
    }

    /// Sets when [`run`](AtomFeedClient::run) begins its rounds; else 1 s after one that had events,
    /// and up to 15 s after others ([`Schedule::adaptive`]). Whichever of this and [`interval`](Self::interval) is set last counts.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.settings.schedule = schedule;
        self
    }

    /// Sets how long the server is asked to wait for something new between two rounds (`Prefer: wait`,
    /// RFC 7240 §4.3), in whole seconds; else 30 s, or as long as the source has the patience for. Where it
    /// does wait, an event is here as soon as it is on the feed; where it does not, nothing is lost by
    /// asking, and it is not asked again for a while. With zero, and with a schedule of
    /// [set times](Schedule::cron), it is not asked at all.
    pub fn wait_for_news(mut self, limit: Duration) -> Self {
        self.settings.wait = Some(limit).filter(|limit| limit.as_secs() > 0);
        self
    }

    /// Sets how often [`run`](AtomFeedClient::run) looks whether somebody asks for something, in the console or
    /// elsewhere (an [`Action`](atomfeed_core::Action)); else every 500 ms. With zero, it does not.
    ///
    /// It also sets how long a round goes on before an action that was begun, such as a retry of many, breaks into
    /// it: 60 times as long while new events are read, and 10 times while parked ones are retried (30 s and 5 s at
    /// 500 ms). A new action does so at the next look. What was being fetched then is fetched again: 60 looks are
    /// to take longer than a page does.
    pub fn look_for_actions(mut self, interval: Duration) -> Self {
        self.settings.look_for_actions = Some(interval).filter(|interval| !interval.is_zero());
        self
    }

    /// Sets how long [`run`](AtomFeedClient::run) may still take once it is to stop; else it takes as long
    /// as the events in hand do. What has not ended by then is undone.
    pub fn stop_within(mut self, limit: Duration) -> Self {
        self.settings.stop_within = Some(limit);
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

    /// Takes the time of failures, and the time for a [schedule](Self::schedule), from `clock`.
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
