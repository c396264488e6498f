use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use atomfeed_core::store::{ConsoleStore, Records, StoreError, StoreErrorKind, StoreResult};
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::again::Again;

/// How long a database is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long one that answers is waited for to take a write: SQLite takes one at a time.
const PATIENCE_TO_WRITE: Duration = Duration::from_secs(30);

/// How long all that is read for a page may take: a table may be locked for long.
const PATIENCE_TO_READ: Duration = Duration::from_secs(20);

/// How long one that has taken longer is left alone: what it was asked for may hold a connection until it is there.
const LEFT_ALONE: Duration = Duration::from_secs(60);

/// How soon it is looked again what other programs have parked.
const COUNTS_AGAIN: Duration = Duration::from_secs(10);

/// So many of them are taken note of in one transaction.
const COUNTED_AT_ONCE: u32 = 500;

/// How long that is waited for by who looks.
const MOMENT: Duration = Duration::from_secs(1);

pub(super) type Open =
    dyn Fn() -> BoxFuture<'static, Result<Arc<dyn ConsoleStore>, StoreError>> + Send + Sync;

/// A system whose database is looked at.
pub(super) struct System {
    name: String,
    open: Option<Box<Open>>,
    store: Mutex<Option<Arc<dyn ConsoleStore>>>,
    counted: Mutex<Option<Instant>>,
    left_alone: Mutex<Option<Instant>>,
    counting: Arc<AtomicBool>,
}

impl System {
    pub(super) fn of(name: String, store: Arc<dyn ConsoleStore>) -> Self {
        Self {
            name,
            open: None,
            store: Mutex::new(Some(store)),
            counted: Mutex::default(),
            left_alone: Mutex::default(),
            counting: Arc::default(),
        }
    }

    pub(super) fn to_open(name: String, open: Box<Open>) -> Self {
        Self {
            name,
            open: Some(open),
            store: Mutex::default(),
            counted: Mutex::default(),
            left_alone: Mutex::default(),
            counting: Arc::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn store(&self) -> StoreResult<Arc<dyn ConsoleStore>> {
        let opening = async {
            let mut store = self.store.lock().await;
            if let Some(store) = store.as_ref() {
                return Ok(Arc::clone(store));
            }
            let Some(open) = &self.open else {
                return Err(self.away(PATIENCE));
            };
            let opened = open().await?;
            *store = Some(Arc::clone(&opened));
            Ok(opened)
        };
        timeout(PATIENCE, opening)
            .await
            .unwrap_or_else(|_| Err(self.away(PATIENCE)))
    }

    /// Opens a transaction that reads.
    pub(super) async fn look(&self) -> StoreResult<Box<dyn Records>> {
        let store = self.store().await?;
        self.count(Arc::clone(&store)).await;
        let looking = timeout(PATIENCE, store.look()).await;
        looking.unwrap_or_else(|_| Err(self.away(PATIENCE)))
    }

    /// Reads for a page that shows other systems, too: none holds up the others.
    pub(super) async fn read<T>(
        &self,
        reading: impl Future<Output = StoreResult<T>>,
    ) -> StoreResult<T> {
        let left_alone = *self.left_alone.lock().await;
        if left_alone.is_some_and(|until| Instant::now() < until) {
            return Err(self.away(PATIENCE_TO_READ));
        }
        match timeout(PATIENCE_TO_READ, reading).await {
            Ok(read) => read,
            Err(_) => {
                *self.left_alone.lock().await = Some(Instant::now() + LEFT_ALONE);
                Err(self.away(PATIENCE_TO_READ))
            }
        }
    }

    /// Opens a transaction that writes.
    pub(super) async fn change(&self) -> StoreResult<Box<dyn Records>> {
        let store = self.store().await?;
        let changing = timeout(PATIENCE_TO_WRITE, store.change()).await;
        changing.unwrap_or_else(|_| Err(self.away(PATIENCE_TO_WRITE)))
    }

    /// Whether what other programs have parked is still being counted.
    pub(super) fn is_counting(&self) -> bool {
        self.counting.load(Ordering::Acquire)
    }

    /// Takes note of what other programs have parked, now and then, in a task of its own; that is waited for
    /// for a moment. What cannot be noted now is later.
    async fn count(&self, store: Arc<dyn ConsoleStore>) {
        let is_due = {
            let mut counted = self.counted.lock().await;
            let is_due = counted.is_none_or(|at| at.elapsed() >= COUNTS_AGAIN);
            if is_due {
                *counted = Some(Instant::now());
            }
            is_due
        };
        if !is_due || self.counting.swap(true, Ordering::AcqRel) {
            return;
        }
        let (counting, name) = (Arc::clone(&self.counting), self.name.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = count_all(store.as_ref()).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    system = name,
                    error,
                    "what others have parked is not counted now"
                );
            }
            counting.store(false, Ordering::Release);
        });
        let _ = timeout(MOMENT, task).await;
    }

    /// Takes note of all that other programs have parked by now, as far as that takes no longer than a moment.
    pub(super) async fn count_now(&self) -> StoreResult<()> {
        let store = self.store().await?;
        let counted = timeout(PATIENCE, count_all(store.as_ref())).await;
        counted.unwrap_or(Ok(()))
    }

    fn away(&self, patience: Duration) -> StoreError {
        let context = format!(
            "looking at the database of {}: it does not answer within {patience:?}; see whether it runs, \
             whether its address is right, and whether somebody holds a lock on its tables",
            self.name
        );
        StoreError::new(StoreErrorKind::Unavailable, context)
    }
}

async fn count_all(store: &dyn ConsoleStore) -> StoreResult<()> {
    let mut again = Again::new();
    loop {
        match count_some(store).await {
            Ok(0) => return Ok(()),
            Ok(_) => again = Again::new(),
            Err(error) if again.after(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

async fn count_some(store: &dyn ConsoleStore) -> StoreResult<u64> {
    let mut work = store.change().await?;
    let changed = work.count_failures(COUNTED_AT_ONCE).await?;
    work.commit().await?;
    Ok(changed)
}
