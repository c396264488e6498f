use std::any::Any;
use std::future::ready;
use std::sync::Arc;

use async_trait::async_trait;
use atomfeed_core::Event;
use futures_util::future::BoxFuture;

use super::{EventWorker, Handled, PreparingWorker, WorkerError};

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
    ) -> Result<Handled, WorkerError>;

    /// Applies several events, each with what was brought for it.
    async fn process_batch(
        &self,
        events: &[&(Arc<Event>, Prepared)],
        conn: &mut C,
    ) -> Result<Vec<Handled>, WorkerError>;

    fn key(&self, event: &Event, prepared: Option<&Prepared>) -> Option<String>;

    /// Whether each event is to have a transaction of its own.
    fn has_other_effects(&self) -> bool;

    async fn committed(&self, event: &Event);

    /// The type of the worker that an event goes to.
    fn name(&self, event: &Event) -> &'static str;
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
    ) -> Result<Handled, WorkerError> {
        self.0.process(event, conn).await
    }

    async fn process_batch(
        &self,
        events: &[&(Arc<Event>, Prepared)],
        conn: &mut C,
    ) -> Result<Vec<Handled>, WorkerError> {
        let events: Vec<_> = events.iter().map(|(event, _)| event.as_ref()).collect();
        self.0.process_batch(&events, conn).await
    }

    fn key(&self, event: &Event, _prepared: Option<&Prepared>) -> Option<String> {
        self.0.key(event)
    }

    fn has_other_effects(&self) -> bool {
        self.0.has_other_effects()
    }

    async fn committed(&self, event: &Event) {
        self.0.committed(event).await;
    }

    fn name(&self, _event: &Event) -> &'static str {
        std::any::type_name::<W>()
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
    ) -> Result<Handled, WorkerError> {
        let prepared = downcast::<W::Prepared>(prepared)?;
        self.0.process(event, prepared, conn).await
    }

    async fn process_batch(
        &self,
        events: &[&(Arc<Event>, Prepared)],
        conn: &mut C,
    ) -> Result<Vec<Handled>, WorkerError> {
        let mut typed = Vec::with_capacity(events.len());
        for (event, prepared) in events {
            typed.push((event.as_ref(), downcast::<W::Prepared>(prepared)?));
        }
        self.0.process_batch(&typed, conn).await
    }

    fn key(&self, event: &Event, prepared: Option<&Prepared>) -> Option<String> {
        self.0
            .key(event, prepared.and_then(|any| any.downcast_ref()))
    }

    fn has_other_effects(&self) -> bool {
        self.0.has_other_effects()
    }

    async fn committed(&self, event: &Event) {
        self.0.committed(event).await;
    }

    fn name(&self, _event: &Event) -> &'static str {
        std::any::type_name::<W>()
    }
}

fn downcast<T: 'static>(prepared: &Prepared) -> Result<&T, WorkerError> {
    let typed = prepared.downcast_ref::<T>();
    typed.ok_or_else(|| WorkerError::new("what was prepared for the event is another worker's"))
}
