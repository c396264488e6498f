use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::AtomFeedClient;

/// Several feeds in one process: each is followed for itself, in a task of its own, so that one whose
/// server hangs delays no other; so many of them apply events at once, at most. A worker that hangs keeps
/// its turn: give it a [limit](crate::AtomFeedClientBuilder::worker_timeout).
///
/// ```
/// use atomfeed_client::{AtomFeedClient, AtomFeedClients, CancellationToken, FeedSource, WorkerFn};
/// use atomfeed_client::worker_fn;
/// use atomfeed_core::store::{MemoryConnection, MemoryStore};
///
/// # async fn with(source: impl FeedSource + Clone) -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let mut clients = AtomFeedClients::new(4); // connections that the feeds may take at once
/// for category in ["patient", "encounter", "lab"] {
///     let feed = format!("http://emr:8050/feed/{category}/recent").parse()?;
///     let worker = worker_fn(|event, conn: &mut MemoryConnection| {
///         conn.put("seen", event.id().as_str(), event.content());
///         Box::pin(async { Ok(()) })
///     });
///     clients.add(AtomFeedClient::builder(feed, source.clone()).build(store.clone(), worker));
/// }
/// let stop = CancellationToken::new();
/// clients.run(stop).await; // until stopped
/// # Ok(())
/// # }
/// ```
pub struct AtomFeedClients {
    at_once: Arc<Semaphore>,
    runs: Vec<Box<dyn FnOnce(CancellationToken) -> BoxFuture<'static, ()> + Send>>,
}

impl AtomFeedClients {
    /// No feeds yet, of which `at_once` (at least 1) are to apply events at a time. Pages are fetched, and
    /// what events name is prepared, besides. A store should have as many connections, or more.
    pub fn new(at_once: usize) -> Self {
        Self {
            at_once: Arc::new(Semaphore::new(at_once.clamp(1, Semaphore::MAX_PERMITS))),
            runs: Vec::new(),
        }
    }

    /// Adds a feed.
    pub fn add<C: ?Sized + Send + 'static>(&mut self, mut client: AtomFeedClient<C>) {
        client.turns = Some(Arc::clone(&self.at_once));
        let run = |stop| Box::pin(run(client, stop)) as BoxFuture<'static, ()>;
        self.runs.push(Box::new(run));
    }

    /// Follows all of them, as [`AtomFeedClient::run`] does, until `stop` is cancelled; then ends once
    /// each has ended. What ends one of them (a worker that has broken its transaction, a panic of its
    /// source) is logged, and ends no other.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, all of them are, as [`AtomFeedClient::run`] is.
    pub async fn run(self, stop: CancellationToken) {
        let mut running = JoinSet::new();
        for run in self.runs {
            running.spawn(run(stop.clone()));
        }
        // Who waits for its turn then finishes what it has in hand without one.
        let at_once = Arc::clone(&self.at_once);
        running.spawn(async move {
            stop.cancelled().await;
            at_once.close();
        });
        while let Some(ended) = running.join_next().await {
            if let Err(error) = ended {
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    error,
                    "a feed is followed no longer: what ran it has panicked"
                );
            }
        }
    }
}

impl<C: ?Sized + Send + 'static> AtomFeedClient<C> {
    /// A turn to apply events, where several feeds take turns. Once all are to stop, nobody waits for one.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        match &self.turns {
            Some(turns) => turns.acquire().await.ok(),
            None => None,
        }
    }
}

async fn run<C: ?Sized + Send + 'static>(client: AtomFeedClient<C>, stop: CancellationToken) {
    if let Err(error) = client.run(stop).await {
        let error = &error as &(dyn std::error::Error + Send + Sync);
        tracing::error!(feed = %client.feed(), %error, "the feed is followed no longer");
    }
}

impl fmt::Debug for AtomFeedClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtomFeedClients")
            .field("feeds", &self.runs.len())
            .finish_non_exhaustive()
    }
}
