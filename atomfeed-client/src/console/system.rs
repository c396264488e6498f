use std::sync::Arc;
use std::time::Duration;

use atomfeed_core::store::{ConsoleStore, Records, StoreError, StoreErrorKind, StoreResult};
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// How long a database is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// How soon it is looked again what other programs have parked.
const COUNTS_AGAIN: Duration = Duration::from_secs(10);

/// So many of them are taken note of while somebody waits.
const COUNTED_AT_ONCE: u32 = 500;

pub(super) type Open =
    dyn Fn() -> BoxFuture<'static, Result<Arc<dyn ConsoleStore>, StoreError>> + Send + Sync;

/// A system whose database is looked at.
pub(super) struct System {
    name: String,
    open: Option<Box<Open>>,
    store: Mutex<Option<Arc<dyn ConsoleStore>>>,
    counted: Mutex<Option<Instant>>,
}

impl System {
    pub(super) fn of(name: String, store: Arc<dyn ConsoleStore>) -> Self {
        Self {
            name,
            open: None,
            store: Mutex::new(Some(store)),
            counted: Mutex::default(),
        }
    }

    pub(super) fn to_open(name: String, open: Box<Open>) -> Self {
        Self {
            name,
            open: Some(open),
            store: Mutex::default(),
            counted: Mutex::default(),
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
                return Err(self.away());
            };
            let opened = open().await?;
            *store = Some(Arc::clone(&opened));
            Ok(opened)
        };
        timeout(PATIENCE, opening)
            .await
            .unwrap_or_else(|_| Err(self.away()))
    }

    /// Opens a transaction that reads.
    pub(super) async fn look(&self) -> StoreResult<Box<dyn Records>> {
        let store = self.store().await?;
        self.count(store.as_ref()).await;
        let looking = timeout(PATIENCE, store.look()).await;
        looking.unwrap_or_else(|_| Err(self.away()))
    }

    /// Opens a transaction that writes.
    pub(super) async fn change(&self) -> StoreResult<Box<dyn Records>> {
        let store = self.store().await?;
        let changing = timeout(PATIENCE, store.change()).await;
        changing.unwrap_or_else(|_| Err(self.away()))
    }

    /// Takes note of what other programs have parked, now and then. What cannot be noted now is later.
    async fn count(&self, store: &dyn ConsoleStore) {
        let Ok(mut counted) = self.counted.try_lock() else {
            return;
        };
        if counted.is_some_and(|at| at.elapsed() < COUNTS_AGAIN) {
            return;
        }
        let counting = async {
            let mut work = store.change().await?;
            let changed = work.count_failures(COUNTED_AT_ONCE).await?;
            work.commit().await?;
            Ok::<_, StoreError>(changed)
        };
        match timeout(PATIENCE, counting).await {
            // There may be more.
            Ok(Ok(changed)) if changed >= u64::from(COUNTED_AT_ONCE) => {}
            Ok(Ok(_)) => *counted = Some(Instant::now()),
            Ok(Err(error)) => {
                *counted = Some(Instant::now());
                let error = &error as &dyn std::error::Error;
                tracing::debug!(
                    system = self.name,
                    error,
                    "what others have parked is not counted now"
                );
            }
            Err(_) => *counted = Some(Instant::now()),
        }
    }

    fn away(&self) -> StoreError {
        let context = format!(
            "looking at the database of {}: it does not answer within {PATIENCE:?}; see whether it runs, and \
             whether its address is right",
            self.name
        );
        StoreError::new(StoreErrorKind::Unavailable, context)
    }
}
