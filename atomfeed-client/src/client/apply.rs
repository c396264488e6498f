use std::any::Any;
use std::panic::AssertUnwindSafe;

use atomfeed_core::store::{StoreResult, UnitOfWork};
use atomfeed_core::{Event, Failure, Marker};

use futures_util::FutureExt;

use super::AtomFeedClient;
use crate::outcome::Outcome;
use crate::worker::Prepared;
use crate::{ProcessErrorKind, WorkerError};

/// The transaction in which a worker has applied an event, still open; or why it could not.
pub(super) type Worked<C> = Result<Box<dyn UnitOfWork<Conn = C>>, WorkerError>;

impl<C: ?Sized + Send + 'static> AtomFeedClient<C> {
    /// Applies an event and moves the marker, or parks it and moves the marker. True when it was
    /// applied.
    pub(super) async fn apply(
        &self,
        event: &Event,
        prepared: Result<Prepared, WorkerError>,
        from: Option<&Marker>,
        to: &Marker,
    ) -> Result<bool, ProcessErrorKind> {
        let error = match self.work(event, prepared).await? {
            Ok(mut work) => {
                work.move_marker(from, to).await?;
                work.commit().await?;
                self.worker.committed(event).await;
                tracing::debug!(feed = %self.feed, event = %event.id(), "event applied");
                (self.settings.on_outcome)(&Outcome::Applied { event });
                return Ok(true);
            }
            Err(error) => error,
        };
        let page = event.page_uri().unwrap_or_default();
        let message = format!(
            "Failed processing event in feed [{page}] \n{}",
            error.report()
        );
        let failure = Failure::new(message, self.settings.clock.now());
        // In a transaction of its own: in the failed one, a database may refuse every statement.
        let mut work = self.store.begin().await?;
        work.park(event, &failure).await?;
        work.move_marker(from, to).await?;
        work.commit().await?;
        tracing::warn!(feed = %self.feed, event = %event.id(), %error, "event parked");
        (self.settings.on_outcome)(&Outcome::Parked {
            event,
            failure: &failure,
        });
        Ok(false)
    }

    /// Opens a transaction and lets the worker apply an event in it. When the worker fails, or
    /// panics, what it wrote is undone.
    pub(super) async fn work(
        &self,
        event: &Event,
        prepared: Result<Prepared, WorkerError>,
    ) -> StoreResult<Worked<C>> {
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Ok(Err(error)),
        };
        let mut work = self.store.begin().await?;
        let processing = self.worker.process(event, &prepared, work.conn());
        // The connection is not used again after a panic but to roll back.
        let processed = AssertUnwindSafe(processing).catch_unwind().await;
        match processed.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))) {
            Ok(()) => Ok(Ok(work)),
            Err(error) => {
                work.rollback().await?;
                Ok(Err(error))
            }
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> WorkerError {
    let said = panic.downcast_ref::<&str>().copied();
    let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    WorkerError::new(format!(
        "the worker panicked: {}",
        said.unwrap_or("it says no more")
    ))
}
