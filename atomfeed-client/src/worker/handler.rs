use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use atomfeed_core::Event;
use futures_util::future::BoxFuture;

use super::{PreparingWorker, WorkerError};

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

/// Takes the type off a worker.
pub(crate) fn handler<C, W>(worker: W) -> Arc<dyn Handler<C>>
where
    C: ?Sized + Send + 'static,
    W: PreparingWorker<C>,
{
    Arc::new(Shared(Arc::new(worker)))
}

struct Shared<W>(Arc<W>);

#[async_trait]
impl<C: ?Sized + Send + 'static, W: PreparingWorker<C>> Handler<C> for Shared<W> {
    fn prepares(&self) -> bool {
        self.0.prepares()
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
