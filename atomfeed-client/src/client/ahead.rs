use std::collections::VecDeque;
use std::sync::Arc;

use atomfeed_core::Event;
use futures_util::FutureExt;
use tokio_util::task::AbortOnDropHandle;

use crate::WorkerError;
use crate::worker::{Handler, Prepared};

type Preparation = Result<Prepared, WorkerError>;

/// Prepares events ahead of their turn, up to so many at a time, and yields them in order.
///
/// Preparing runs in tasks of its own, so that it goes on while an event is processed, and never
/// waits for a transaction of ours. What was begun is aborted when this is dropped.
pub(super) struct Ahead<'a, C: ?Sized, I: Iterator> {
    worker: &'a Arc<dyn Handler<C>>,
    limit: usize,
    waiting: I,
    begun: VecDeque<(I::Item, AbortOnDropHandle<Preparation>)>,
}

impl<'a, C, T, I> Ahead<'a, C, I>
where
    C: ?Sized + Send + 'static,
    I: ExactSizeIterator<Item = (Arc<Event>, T)>,
{
    /// `items` are events, each with what the caller wants back with it.
    pub(super) fn new(
        worker: &'a Arc<dyn Handler<C>>,
        limit: usize,
        items: impl IntoIterator<IntoIter = I>,
    ) -> Self {
        let waiting = items.into_iter();
        Self {
            worker,
            limit: limit.max(1),
            waiting,
            begun: VecDeque::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.begun.is_empty() && self.waiting.len() == 0
    }

    /// The next event's item, once the event is prepared.
    ///
    /// Not cancel safe: an event that was taken and not yielded is passed over by who goes on.
    pub(super) async fn next(&mut self) -> Option<(T, Preparation)> {
        if !self.worker.prepares() {
            return self.next_at_hand();
        }
        self.begin(self.limit);
        let ((_, item), preparation) = self.begun.pop_front()?;
        // One more, so that as many run while this one is processed; alone, each comes after the other.
        if self.limit > 1 {
            self.begin(self.limit);
        }
        let prepared = match preparation.await {
            Ok(prepared) => prepared,
            Err(error) => Err(WorkerError::new(format!("preparing the event: {error}"))),
        };
        Some((item, prepared))
    }

    /// The next event's item, where nothing needs to be prepared.
    pub(super) fn next_at_hand(&mut self) -> Option<(T, Preparation)> {
        if self.worker.prepares() {
            return None;
        }
        let (event, item) = self.waiting.next()?;
        // It has nothing to wait for.
        let prepared = self.worker.prepare(event).now_or_never();
        let waits = || {
            Err(WorkerError::new(
                "a worker that prepares nothing has waited",
            ))
        };
        Some((item, prepared.unwrap_or_else(waits)))
    }

    fn begin(&mut self, limit: usize) {
        while self.begun.len() < limit {
            let Some((event, item)) = self.waiting.next() else {
                return;
            };
            let task = tokio::spawn(self.worker.prepare(Arc::clone(&event)));
            self.begun
                .push_back(((event, item), AbortOnDropHandle::new(task)));
        }
    }
}
