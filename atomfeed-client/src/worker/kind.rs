use std::sync::Arc;

use super::handler::{self, Handler};
use super::routes::{self, Routes};
use super::{EventWorker, PreparingWorker};

/// Any kind of worker: an [`EventWorker`], a [`PreparingWorker`], or [`Routes`] to several. What a client
/// is built with.
///
/// Implement one of the first two; which it is (`Kind`) is inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no worker for a store that lends `{C}`",
    note = "implement `EventWorker<{C}>` or `PreparingWorker<{C}>` for it"
)]
pub trait AnyWorker<C: ?Sized, Kind>: sealed::IntoHandler<C, Kind> {}

impl<C: ?Sized, Kind, W: sealed::IntoHandler<C, Kind>> AnyWorker<C, Kind> for W {}

/// The kind of an [`EventWorker`].
#[derive(Debug)]
pub enum Plain {}

/// The kind of a [`PreparingWorker`].
#[derive(Debug)]
pub enum Preparing {}

/// The kind of [`Routes`].
#[derive(Debug)]
pub enum Routed {}

pub(crate) fn into_handler<C, Kind, W>(worker: W) -> Arc<dyn Handler<C>>
where
    C: ?Sized,
    W: AnyWorker<C, Kind>,
{
    worker.into_handler().0
}

impl<C, W> sealed::IntoHandler<C, Plain> for W
where
    C: ?Sized + Send + 'static,
    W: EventWorker<C>,
{
    fn into_handler(self) -> sealed::Erased<C> {
        sealed::Erased(Arc::new(handler::Plain(self)))
    }
}

impl<C, W> sealed::IntoHandler<C, Preparing> for W
where
    C: ?Sized + Send + 'static,
    W: PreparingWorker<C>,
{
    fn into_handler(self) -> sealed::Erased<C> {
        sealed::Erased(Arc::new(handler::Preparing(Arc::new(self))))
    }
}

impl<C> sealed::IntoHandler<C, Routed> for Routes<C>
where
    C: ?Sized + Send + 'static,
{
    fn into_handler(self) -> sealed::Erased<C> {
        sealed::Erased(Arc::new(routes::Routed(Arc::new(self))))
    }
}

mod sealed {
    use std::sync::Arc;

    use super::Handler;

    pub trait IntoHandler<C: ?Sized, Kind> {
        fn into_handler(self) -> Erased<C>;
    }

    /// A worker with its type taken off.
    #[allow(missing_debug_implementations)]
    pub struct Erased<C: ?Sized>(pub(super) Arc<dyn Handler<C>>);
}
