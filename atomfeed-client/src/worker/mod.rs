//! What a user implements: the work that an event means.

mod closure;
mod error;
mod handled;
mod handler;
mod key;
mod kind;
mod routes;

use async_trait::async_trait;
use atomfeed_core::Event;

pub use closure::{WorkerFn, worker_fn};
pub use error::{FailureExt, WorkerError};
pub use handled::Handled;
pub(crate) use handler::{Handler, Prepared};
pub use key::resource_key;
pub(crate) use kind::into_handler;
pub use kind::{AnyWorker, Plain, Preparing, Routed};
pub use routes::{Route, Routes};

/// Applies events.
///
/// `C` is what the worker is lent: the connection on which the transaction is open that also moves
/// the marker. What is written there and the marker last together or not at all, so that the event
/// is applied exactly once. A worker for another database than the consumer's does not compile; a
/// worker that needs no database fits every store:
///
/// ```
/// use async_trait::async_trait;
/// use atomfeed_client::{Event, EventWorker, Handled, WorkerError};
///
/// struct Forward;
///
/// #[async_trait]
/// impl<C: ?Sized + Send + 'static> EventWorker<C> for Forward {
///     async fn process(&self, event: &Event, _conn: &mut C) -> Result<Handled, WorkerError> {
///         if event.content().is_empty() {
///             return Ok(Handled::Ignored);
///         }
///         println!("{} {}", event.id(), event.content());
///         Ok(Handled::Applied)
///     }
/// }
/// ```
///
/// A worker that writes to another database than the consumer's:
///
/// ```compile_fail,E0277
/// # use async_trait::async_trait;
/// # use atomfeed_client::{AtomFeedClient, Event, EventWorker, FeedSource, Handled, WorkerError};
/// # use atomfeed_core::store::MemoryStore;
/// struct OtherDatabase;
/// struct Worker;
///
/// #[async_trait]
/// impl EventWorker<OtherDatabase> for Worker {
///     async fn process(&self, _: &Event, _: &mut OtherDatabase) -> Result<Handled, WorkerError> {
///         Ok(Handled::Applied)
///     }
/// }
///
/// # fn with(source: impl FeedSource) {
/// # let feed = "http://localhost/feed/recent".parse().unwrap();
/// AtomFeedClient::builder(feed, source).build(MemoryStore::new(), Worker); // lends another
/// # }
/// ```
///
/// Effects elsewhere (a message sent, another database) happen at least once: tell a repeated
/// delivery by [`Event::id`].
#[async_trait]
pub trait EventWorker<C: ?Sized + Send>: Send + Sync + 'static {
    /// Applies an event, or ignores it. Do not commit or roll back on `conn`, return every error that
    /// the database gives, and do not wait here for what can be fetched before: see
    /// [`PreparingWorker`].
    ///
    /// An event may be handed over again in a new transaction when another one of its batch has failed.
    ///
    /// # Errors
    ///
    /// What the worker writes on `conn` is then undone, and the event is parked with the error; or
    /// waited for, if that [is transient](WorkerError::is_transient).
    ///
    /// # Cancel safety
    ///
    /// When a consumer is dropped, so is this future: what it wrote on `conn` is rolled back.
    async fn process(&self, event: &Event, conn: &mut C) -> Result<Handled, WorkerError>;

    /// Applies several events in one transaction, in their order: one statement of a hundred rows is
    /// faster than a hundred statements. Unless it is written otherwise,
    /// [`process`](Self::process) is called for each.
    ///
    /// # Errors
    ///
    /// What was written is then undone, and each of the events goes to [`process`](Self::process) in a
    /// transaction of its own.
    ///
    /// # Cancel safety
    ///
    /// As [`process`](Self::process).
    async fn process_batch(
        &self,
        events: &[&Event],
        conn: &mut C,
    ) -> Result<Vec<Handled>, WorkerError> {
        let mut handled = Vec::with_capacity(events.len());
        for event in events {
            handled.push(self.process(event, conn).await?);
        }
        Ok(handled)
    }

    /// By what events are kept in order when one of them fails: while it is parked, later events with
    /// the same key wait behind it, and everything else flows. `None` waits for nothing. Unless it is
    /// written otherwise, the [resource that the event names](resource_key).
    ///
    /// Order per patient is for the worker to say: it knows how its resources name one.
    fn key(&self, event: &Event) -> Option<String> {
        resource_key(event)
    }

    /// Whether the worker does something that does not end with the transaction (sends a message,
    /// writes to another database). Then each event has a transaction of its own, so that what is done
    /// is not done again because another event fails.
    fn has_other_effects(&self) -> bool {
        false
    }

    /// Told after the transaction of an event has committed; not told when the process dies in
    /// between.
    async fn committed(&self, _event: &Event) {}
}

/// Applies events with what was fetched beforehand: for events that name a resource.
///
/// `prepare` runs before the transaction is opened, ahead of the event's turn and for several
/// events at a time; no transaction, connection or lock is held meanwhile. It runs again on each
/// retry. [`process`](Self::process) gets what it brought.
///
/// ```
/// use async_trait::async_trait;
/// use atomfeed_client::{Event, Handled, PreparingWorker, WorkerError};
/// use atomfeed_core::store::MemoryConnection;
///
/// struct Patients;
///
/// #[async_trait]
/// impl PreparingWorker<MemoryConnection> for Patients {
///     type Prepared = String;
///
///     async fn prepare(&self, event: &Event) -> Result<String, WorkerError> {
///         Ok(format!("what the EMR says of {}", event.content())) // a GET, in earnest
///     }
///
///     async fn process(
///         &self,
///         event: &Event,
///         patient: &String,
///         conn: &mut MemoryConnection,
///     ) -> Result<Handled, WorkerError> {
///         conn.put("patients", event.content(), patient.as_str());
///         Ok(Handled::Applied)
///     }
/// }
/// ```
#[async_trait]
pub trait PreparingWorker<C: ?Sized + Send>: Send + Sync + 'static {
    /// What is brought for an event.
    type Prepared: Send + Sync + 'static;

    /// Fetches what an event names.
    ///
    /// # Errors
    ///
    /// The event is parked with the error, as when `process` fails.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped when the consumer stops or is dropped.
    async fn prepare(&self, event: &Event) -> Result<Self::Prepared, WorkerError>;

    /// Applies an event, as [`EventWorker::process`].
    ///
    /// # Errors
    ///
    /// As [`EventWorker::process`].
    ///
    /// # Cancel safety
    ///
    /// As [`EventWorker::process`].
    async fn process(
        &self,
        event: &Event,
        prepared: &Self::Prepared,
        conn: &mut C,
    ) -> Result<Handled, WorkerError>;

    /// Applies several events in one transaction, each with what was brought for it, as
    /// [`EventWorker::process_batch`].
    ///
    /// # Errors
    ///
    /// As [`EventWorker::process_batch`].
    ///
    /// # Cancel safety
    ///
    /// As [`EventWorker::process`].
    async fn process_batch(
        &self,
        events: &[(&Event, &Self::Prepared)],
        conn: &mut C,
    ) -> Result<Vec<Handled>, WorkerError> {
        let mut handled = Vec::with_capacity(events.len());
        for (event, prepared) in events {
            handled.push(self.process(event, prepared, conn).await?);
        }
        Ok(handled)
    }

    /// As [`EventWorker::key`], also by what was brought for the event, if that could be brought.
    fn key(&self, event: &Event, _prepared: Option<&Self::Prepared>) -> Option<String> {
        resource_key(event)
    }

    /// As [`EventWorker::has_other_effects`].
    fn has_other_effects(&self) -> bool {
        false
    }

    /// As [`EventWorker::committed`].
    async fn committed(&self, _event: &Event) {}
}
