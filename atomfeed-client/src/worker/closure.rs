use std::fmt;
use std::marker::PhantomData;

use async_trait::async_trait;
use atomfeed_core::Event;
use futures_util::future::BoxFuture;

use super::{EventWorker, WorkerError};

/// An [`EventWorker`] from a closure.
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
pub fn worker_fn<C, F>(process: F) -> WorkerFn<C, F>
where
    C: ?Sized + Send + 'static,
    F: for<'a> Fn(&'a Event, &'a mut C) -> BoxFuture<'a, Result<(), WorkerError>>
        + Send
        + Sync
        + 'static,
{
    WorkerFn {
        process,
        conn: PhantomData,
    }
}

/// What [`worker_fn`] makes.
pub struct WorkerFn<C: ?Sized, F> {
    process: F,
    conn: PhantomData<fn(&mut C)>,
}

impl<C: ?Sized, F> fmt::Debug for WorkerFn<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerFn").finish_non_exhaustive()
    }
}

#[async_trait]
impl<C, F> EventWorker<C> for WorkerFn<C, F>
where
    C: ?Sized + Send + 'static,
    F: for<'a> Fn(&'a Event, &'a mut C) -> BoxFuture<'a, Result<(), WorkerError>>
        + Send
        + Sync
        + 'static,
{
    async fn process(&self, event: &Event, conn: &mut C) -> Result<(), WorkerError> {
        (self.process)(event, conn).await
    }
}
