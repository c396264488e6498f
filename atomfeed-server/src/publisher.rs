use std::sync::Arc;

use atomfeed_core::store::{OpenTransaction, OutboxStore, StoreResult};
use atomfeed_core::{Clock, NewEvent, SystemClock};

use crate::Sequencer;
use crate::sequencer::Wake;

/// Publishes events inside the application's own database transaction.
///
/// ```
/// use atomfeed_core::NewEvent;
/// use atomfeed_core::store::MemoryStore;
/// use atomfeed_server::Publisher;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let publisher = Publisher::new(store.clone());
///
/// let mut transaction = store.transaction().await;
/// transaction.put("patients", "1", "Asha");
/// publisher.publish(&mut transaction, &NewEvent::new("Patient", "/patient/1")).await?;
/// transaction.commit(); // the patient and the event, or neither
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Publisher<S> {
    store: S,
    clock: Arc<dyn Clock>,
    wake: Option<Wake>,
}

impl<S: OutboxStore> Publisher<S> {
    /// A publisher into the tables of a store.
    pub fn new(store: S) -> Self {
        Self {
            store,
            clock: Arc::new(SystemClock),
            wake: None,
        }
    }

    /// Takes the time of publishing from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Wakes a sequencer of this process: it looks for what was published, again and again until the
    /// transaction has committed, and at once when [`commit`](Self::commit) commits it.
    #[must_use]
    pub fn waking(mut self, sequencer: &Sequencer) -> Self {
        self.wake = Some(sequencer.wake());
        self
    }

    /// Writes an event on `conn`, the application's own connection or transaction: it is published
    /// when, and only when, that commits.
    ///
    /// # Errors
    ///
    /// As [`OutboxStore::publish`]: an event that no page could carry, or whose uuid is there
    /// already, is refused, and nothing is written.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the event may or may not have been written on `conn`: roll
    /// back what is open there.
    pub async fn publish(&self, conn: &mut S::Conn, event: &NewEvent) -> StoreResult<()> {
        self.store.publish(conn, event, self.clock.now()).await?;
        if let Some(wake) = &self.wake {
            wake.hint();
        }
        Ok(())
    }

    /// Commits a transaction in which events were published, and wakes the sequencer at once.
    ///
    /// # Errors
    ///
    /// As the database has it; it is then unknown whether the transaction lasts.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, it is unknown whether the transaction lasts.
    pub async fn commit(&self, transaction: impl OpenTransaction) -> StoreResult<()> {
        transaction.commit().await?;
        if let Some(wake) = &self.wake {
            wake.committed();
        }
        Ok(())
    }
}
