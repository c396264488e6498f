use std::fmt;
use std::marker::PhantomData;

use async_trait::async_trait;
use atomfeed_core::Event;
use futures_util::future::BoxFuture;

use super::{EventWorker, Handled, WorkerError};

/// An [`EventWorker`] from a closure, which answers a [`Handled`], or nothing when it has applied the
/// event.
///
/// ```
/// use atomfeed_client::worker_fn;
/// use atomfeed_core::store::MemoryConnection;
///
/// let worker = worker_fn(|event, conn: &mut MemoryConnection| {
///     Box::pin(async move {
///         conn.put("seen", event.id().as_str(), event.content());
///         Ok(())
///     })
/// });
/// # let _: atomfeed_client::WorkerFn<MemoryConnection, _> = worker;
/// ```
pub fn worker_fn<C, F, R>(process: F) -> WorkerFn<C, F, R>
where
    C: ?Sized + Send + 'static,
    R: Into<Handled> + Send + 'static,
    F: for<'a> Fn(&'a Event, &'a mut C) -> BoxFuture<'a, Result<R, WorkerError>>
        + Send
        + Sync
        + 'static,
{
    WorkerFn {
        process,
        types: PhantomData,
    }
}

/// What [`worker_fn`] makes.
pub struct WorkerFn<C: ?Sized, F, R = ()> {
    process: F,
    types: PhantomData<fn(&mut C) -> R>,
}

impl<C: ?Sized, F, R> fmt::Debug for WorkerFn<C, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerFn").finish_non_exhaustive()
    }
}

#[async_trait]
impl<C, F, R> EventWorker<C> for WorkerFn<C, F, R>
where
    C: ?Sized + Send + 'static,
    R: Into<Handled> + Send + 'static,
    F: for<'a> Fn(&'a Event, &'a mut C) -> BoxFuture<'a, Result<R, WorkerError>>
        + Send
        + Sync
        + 'static,
{
    async fn process(&self, event: &Event, conn: &mut C) -> Result<Handled, WorkerError> {
        (self.process)(event, conn).await.map(Into::into)
    }
}
