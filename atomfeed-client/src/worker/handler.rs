use std::any::Any;
use std::future::ready;
use std::sync::Arc;

use async_trait::async_trait;
use atomfeed_core::Event;
use futures_util::future::BoxFuture;

use super::{EventWorker, PreparingWorker, WorkerError};

/// What a worker prepared for an event: its `Prepared`, with the type taken off.
pub(crate) type Prepared = Box<dyn Any + Send + Sync>;

/// A worker with its type taken off.
#[async_trait]
pub(crate) trait Handler<C: ?Sized + Send>: Send + Sync {
    /// Whether preparing does anything.
    fn prepares(&self) -> bool;

    fn prepare(&self, event: Arc<Event>) -> BoxFuture<'static, Result<Prepared, WorkerError>>;

    /// Applies an event; `prepared` is what [`prepare`](Self::prepare) brought.
    async fn process(
        &self,
        event: &Event,
        prepared: &Prepared,
        conn: &mut C,
    ) -> Result<(), WorkerError>;

    async fn committed(&self, event: &Event);
}

/// An [`EventWorker`], which prepares nothing.
pub(super) struct Plain<W>(pub(super) W);

#[async_trait]
impl<C: ?Sized + Send + 'static, W: EventWorker<C>> Handler<C> for Plain<W> {
    fn prepares(&self) -> bool {
        false
    }

    fn prepare(&self, _event: Arc<Event>) -> BoxFuture<'static, Result<Prepared, WorkerError>> {
        Box::pin(ready(Ok(Box::new(()) as Prepared)))
    }

    async fn process(
        &self,
        event: &Event,
        _prepared: &Prepared,
        conn: &mut C,
    ) -> Result<(), WorkerError> {
        self.0.process(event, conn).await
    }

    async fn committed(&self, event: &Event) {
        self.0.committed(event).await;
    }
}

/// A [`PreparingWorker`], shared with the tasks in which it prepares.
pub(super) struct Preparing<W>(pub(super) Arc<W>);

#[async_trait]
impl<C: ?Sized + Send + 'static, W: PreparingWorker<C>> Handler<C> for Preparing<W> {
    fn prepares(&self) -> bool {
        true
    }

    fn prepare(&self, event: Arc<Event>) -> BoxFuture<'static, Result<Prepared, WorkerError>> {
        let worker = Arc::clone(&self.0);
        Box::pin(async move { Ok(Box::new(worker.prepare(&event).await?) as Prepared) })
    }

    async fn process(
        &self,
        event: &Event,
        prepared: &Prepared,
        conn: &mut C,
    ) -> Result<(), WorkerError> {
        match prepared.downcast_ref::<W::Prepared>() {
            Some(prepared) => self.0.process(event, prepared, conn).await,
            None => Err(WorkerError::new(
                "what was prepared for the event is another worker's",
            )),
        }
    }

    async fn committed(&self, event: &Event) {
        self.0.committed(event).await;
    }
}
