use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use atomfeed_core::store::{Sequenced, SequencedStore, StoreResult};
use atomfeed_core::{Clock, SystemClock};
use metrics::{counter, gauge};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How many events one transaction moves.
const BATCH: u32 = 5_000;

/// How often the queue is counted while it is long.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// How soon a hinted event is looked for; then after twice as long, and so on.
const FIRST_LOOK: Duration = Duration::from_micros(500);

/// Moves published events to where feeds read them, on databases where transactions write at the
/// same time (PostgreSQL, MariaDB): in an order that no reader can overtake.
///
/// Run one in every process that publishes or serves; a lock in the database lets one work at a
/// time, and whoever is killed leaves nothing half done. A [`Publisher`](crate::Publisher) that
/// knows it wakes it. On SQLite it moves what other programs put into `event_records_queue`.
///
/// ```
/// use atomfeed_core::NewEvent;
/// use atomfeed_core::store::MemoryStore;
/// use atomfeed_server::{CancellationToken, Publisher, Sequencer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new(); // or PostgresStore::connect(url, None).await?
/// let sequencer = Sequencer::new(store.clone());
/// let publisher = Publisher::new(store.clone()).waking(&sequencer);
///
/// let stop = CancellationToken::new();
/// let running = tokio::spawn(sequencer.run(stop.clone()));
///
/// let mut transaction = store.transaction().await; // or pool.begin().await?
/// publisher.publish(&mut transaction, &NewEvent::new("Patient", "/patient/1")).await?;
/// publisher.commit(transaction).await?; // wakes the sequencer at once
/// # stop.cancel();
/// # running.await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Sequencer {
    store: Arc<dyn SequencedStore>,
    clock: Arc<dyn Clock>,
    interval: Duration,
    wake: Wake,
    news: News,
}

impl Sequencer {
    /// A sequencer of a store.
    pub fn new(store: impl SequencedStore) -> Self {
        Self {
            store: Arc::new(store),
            clock: Arc::new(SystemClock),
            interval: Duration::from_secs(1),
            wake: Wake::default(),
            news: News::default(),
        }
    }

    /// Sets how long events of other programs, of which nothing is heard, may wait; else 1 s.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Moves everything that has been published and committed, and says how much it was.
    ///
    /// # Errors
    ///
    /// As the store has it; what was moved before stays so.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the batch in hand has moved, or not.
    pub async fn drain(&self) -> StoreResult<Sequenced> {
        let mut all = Sequenced::default();
        let mut counted = None;
        loop {
            let batch = self.store.sequence(BATCH, self.clock.now()).await?;
            all.moved += batch.moved;
            all.set_aside += batch.set_aside;
            counter!("atomfeed_sequenced_events_total").increment(batch.moved);
            counter!("atomfeed_set_aside_events_total").increment(batch.set_aside);
            if !batch.more {
                gauge!("atomfeed_queue_depth").set(0.0);
                return Ok(all);
            }
            // Where there are many, counting them takes its time.
            if counted.is_none_or(|at: Instant| at.elapsed() >= COUNT_EVERY) {
                counted = Some(Instant::now());
                gauge!("atomfeed_queue_depth").set(self.store.queued().await? as f64);
            }
        }
    }

    /// Moves events as they come, until `stop` is cancelled. Errors do not end it: they are logged,
    /// and it is tried again after the interval.
    ///
    /// It measures with [`metrics`](https://docs.rs/metrics):
    ///
    /// | name | kind | what |
    /// |---|---|---|
    /// | `atomfeed_queue_depth` | gauge | published events that wait to be moved, as this process has seen it last; counted once a second while there are many |
    /// | `atomfeed_sequenced_events_total` | counter | events that this process has moved to where feeds read them |
    /// | `atomfeed_set_aside_events_total` | counter | events that could not be moved |
    /// | `atomfeed_late_events_total` | counter | events of another program that came too late to be shown, on adopted tables |
    ///
    /// # Cancel safety
    ///
    /// As [`drain`](Self::drain).
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.run_for_ever()).await;
    }

    async fn run_for_ever(&self) {
        let mut look_again = self.interval;
        loop {
            // Before it looks, so that a hint that comes meanwhile counts.
            let hinted = self.wake.take_hint();
            let drained = self.drain().await;
            // Also where nothing was moved: not every database has a queue.
            self.news.tell();
            let found = match drained {
                Ok(sequenced) => sequenced.moved + sequenced.set_aside > 0,
                Err(error) => {
                    log(&error);
                    tokio::time::sleep(self.interval).await;
                    continue;
                }
            };
            // What was hinted may not have committed yet, and where one has others may follow: soon
            // at first, then more and more seldom.
            look_again = match hinted || found {
                true => FIRST_LOOK,
                false => (look_again * 2).min(self.interval),
            };
            // The time is up, or somebody has committed, or is about to.
            let _ = timeout(look_again, self.wake.notify.notified()).await;
        }
    }

    pub(crate) fn wake(&self) -> Wake {
        self.wake.clone()
    }

    pub(crate) fn news(&self) -> News {
        self.news.clone()
    }
}

fn log(error: &(dyn std::error::Error + 'static)) {
    tracing::error!(error, "published events were not moved on to their feeds");
}

impl fmt::Debug for Sequencer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sequencer")
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

/// How a publisher tells a sequencer that there is something, or will be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wake {
    notify: Arc<Notify>,
    hinted: Arc<AtomicBool>,
}

impl Wake {
    /// Something was written, and will be there once its transaction commits.
    pub(crate) fn hint(&self) {
        self.hinted.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Something was committed.
    pub(crate) fn committed(&self) {
        self.notify.notify_one();
    }

    fn take_hint(&self) -> bool {
        self.hinted.swap(false, Ordering::AcqRel)
    }
}

/// How a sequencer tells those who serve feeds that there may be events.
#[derive(Debug, Clone, Default)]
pub(crate) struct News(Arc<watch::Sender<()>>);

impl News {
    fn tell(&self) {
        self.0.send_replace(());
    }

    pub(crate) fn listen(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}
