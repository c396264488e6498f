//! What all feeds hang on, asked once for all who want to know it at the same time, and told to those
//! who wait.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atomfeed_core::store::{NewsListener, StoreError, StoreResult};
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::EventFeedService;
use crate::service::Moment;

/// How long the store is looked at after the last who waited for it has gone.
const LINGERS: Duration = Duration::from_secs(60);

/// How soon it is tried again to listen to a database that was away.
const LISTENS_AGAIN: Duration = Duration::from_secs(5);

/// How long it is listened over one connection.
const LISTENS_ANEW: Duration = Duration::from_secs(300);

/// The moments of a service.
#[derive(Debug)]
pub(super) struct Moments {
    service: EventFeedService,
    /// How many readings were begun.
    begun: AtomicU64,
    /// The last reading, and which that was.
    last: AsyncMutex<Option<(u64, Reading)>>,
    lookout: Arc<Lookout>,
}

/// What a reading brought, for all who waited for it.
type Reading = Result<Arc<Moment>, Arc<StoreError>>;

/// Where those stand who wait for news, and the one task that looks out for all of them.
#[derive(Debug)]
struct Lookout {
    /// Told each time it is another one.
    told: watch::Sender<Option<Arc<Moment>>>,
    is_manned: Mutex<bool>,
    ended: CancellationToken,
}

impl Moments {
    pub(super) fn of(service: EventFeedService) -> Self {
        Self {
            service,
            begun: AtomicU64::new(0),
            last: AsyncMutex::default(),
            lookout: Arc::new(Lookout {
                told: watch::Sender::new(None),
                is_manned: Mutex::default(),
                ended: CancellationToken::new(),
            }),
        }
    }

    /// The moment that is now: what was committed before this was called is in it. However many ask at
    /// once, the store is asked twice at the most.
    pub(super) async fn now(&self) -> StoreResult<Arc<Moment>> {
        let begun = self.begun.load(Ordering::Acquire);
        let mut last = self.last.lock().await;
        match last.as_ref() {
            // Begun by somebody else, after this was called. Also where it has failed: of many, each would
            // wait for the failure of the one before.
            Some((number, reading)) if *number > begun => shared(reading),
            _ => {
                let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
                let reading = self.service.moment().await;
                let reading = reading.map(Arc::new).map_err(Arc::new);
                let (_, reading) = last.insert((number, reading));
                shared(reading)
            }
        }
    }

    /// Tells of every new moment from now on, for as long as it is held. While there are such, and a
    /// little longer, one task looks at the store for all of them: when something is heard of, and
    /// every `interval`.
    pub(super) fn follow(&self, interval: Duration) -> watch::Receiver<Option<Arc<Moment>>> {
        let mut is_manned = self.lookout.is_manned();
        let follower = self.lookout.told.subscribe();
        if !*is_manned {
            *is_manned = true;
            let post = Post {
                lookout: Arc::clone(&self.lookout),
                is_left: false,
            };
            let service = self.service.clone();
            tokio::spawn(async move {
                let ended = post.lookout.ended.clone();
                let looking = look(service, post, interval);
                ended.run_until_cancelled(looking).await;
            });
        }
        follower
    }
}

fn shared(reading: &Reading) -> StoreResult<Arc<Moment>> {
    match reading {
        Ok(moment) => Ok(Arc::clone(moment)),
        Err(error) => {
            let context = "finding out whether there are new events";
            Err(StoreError::new(error.kind(), context).caused_by(Arc::clone(error)))
        }
    }
}

impl Drop for Moments {
    fn drop(&mut self) {
        self.lookout.ended.cancel();
    }
}

impl Lookout {
    fn is_manned(&self) -> MutexGuard<'_, bool> {
        self.is_manned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held by the task that looks out; when it ends, however that is, the next one may begin.
struct Post {
    lookout: Arc<Lookout>,
    is_left: bool,
}

impl Post {
    /// Leaves it, if nobody waits any more: who comes after that mans it again.
    fn leave(&mut self) -> bool {
        let mut is_manned = self.lookout.is_manned();
        self.is_left = self.lookout.told.receiver_count() == 0;
        *is_manned = !self.is_left;
        self.is_left
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        if !self.is_left {
            *self.lookout.is_manned() = false;
        }
    }
}

/// Looks at the store, and tells of moments that are others than before, until nobody has wanted to know
/// for a while.
async fn look(service: EventFeedService, mut post: Post, interval: Duration) {
    let mut ear = Ear::of(service.clone());
    let mut last_wanted = Instant::now();
    loop {
        match service.moment().await {
            Ok(moment) => {
                post.lookout.told.send_if_modified(|last| {
                    let is_news = last.as_deref() != Some(&moment);
                    if is_news {
                        *last = Some(Arc::new(moment));
                    }
                    is_news
                });
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    error,
                    "whether there are new events is not known; it is looked for again"
                );
            }
        }
        // The time is up, or something was heard.
        let _ = timeout(interval, ear.hears()).await;
        if post.lookout.told.receiver_count() > 0 {
            last_wanted = Instant::now();
        } else if last_wanted.elapsed() >= LINGERS && post.leave() {
            return;
        }
    }
}

/// Hears of events: from this process, and from others as far as the database tells.
struct Ear {
    service: EventFeedService,
    near: watch::Receiver<()>,
    far: Far,
}

enum Far {
    /// It is about to listen; that takes as long as it takes, whatever is heard meanwhile.
    Begins(BoxFuture<StoreResult<Box<dyn NewsListener>>>),
    /// It listens, until then: of a connection that has silently gone, nothing is heard for ever.
    Listens(Box<dyn NewsListener>, Instant),
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Ear {
    fn of(service: EventFeedService) -> Self {
        Self {
            near: service.news(),
            far: Far::begins(service.clone(), Instant::now()),
            service,
        }
    }

    /// Returns when there may be news.
    async fn hears(&mut self) {
        let Self { service, near, far } = self;
        tokio::select! {
            changed = near.changed() => {
                if changed.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            () = far.hears(service) => {}
        }
    }
}

impl Far {
    fn begins(service: EventFeedService, at: Instant) -> Self {
        Self::Begins(Box::pin(async move {
            sleep_until(at).await;
            service.store().listen().await
        }))
    }

    async fn hears(&mut self, service: &EventFeedService) {
        let heard = match self {
            Self::Listens(listener, until) => match timeout_at(*until, listener.heard()).await {
                Ok(heard) => heard,
                Err(_) => {
                    *self = Self::begins(service.clone(), Instant::now());
                    Ok(())
                }
            },
            Self::Begins(listening) => listening.await.map(|listener| {
                // What came before is looked for now.
                *self = Self::Listens(listener, Instant::now() + LISTENS_ANEW);
            }),
        };
        if let Err(error) = heard {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                again_in = ?LISTENS_AGAIN,
                "nothing is heard of events of other processes for now: they are looked for instead, and \
                 who waits for one has it a moment later; see that the database can be reached and has a \
                 connection to spare"
            );
            *self = Self::begins(service.clone(), Instant::now() + LISTENS_AGAIN);
        }
    }
}
