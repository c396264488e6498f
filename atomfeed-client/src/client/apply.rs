use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use atomfeed_core::store::{StoreError, StoreErrorKind, UnitOfWork};
use atomfeed_core::{Event, Failure};

use futures_util::FutureExt;

use super::AtomFeedClient;
use super::held::message;
use super::ledger::Ledger;
use crate::outcome::{Outcome, Processed};
use crate::worker::{Handled, Prepared};
use crate::{ProcessErrorKind, WorkerError, metric};

/// The transaction in which a worker has dealt with events, still open, and how; or why it could not.
type Worked<C> = Result<(Box<dyn UnitOfWork<Conn = C>>, Handled), WorkerError>;

/// An event, with what the worker brought for it.
pub(super) type Ready = (Arc<Event>, Prepared);

/// Events that are to be applied next, in their order.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) ready: Vec<Ready>,
    /// Of their contents, together.
    bytes: usize,
    /// One more, for which the worker could not bring what it needs.
    pub(super) broken: Option<(Arc<Event>, WorkerError)>,
}

/// A transaction gets no more events once their contents are so large together.
const MANY_BYTES: usize = 16 << 20;

impl Batch {
    pub(super) fn push(&mut self, ready: Ready) {
        self.bytes += ready.0.content().len();
        self.ready.push(ready);
    }

    pub(super) fn has_room(&self, most: usize) -> bool {
        self.ready.len() < most && self.bytes < MANY_BYTES
    }

    pub(super) fn first(&self) -> Option<&Arc<Event>> {
        let ready = self.ready.first().map(|(event, _)| event);
        ready.or(self.broken.as_ref().map(|(event, _)| event))
    }

    pub(super) fn len(&self) -> usize {
        self.ready.len() + usize::from(self.broken.is_some())
    }
}

impl<C: ?Sized + Send + 'static> AtomFeedClient<C> {
    /// Applies events in one transaction, or, when one of them fails, in one for each. The ledger
    /// follows, also where an error ends it.
    pub(super) async fn apply_batch(
        &self,
        batch: Batch,
        ledger: &mut Ledger<'_>,
        processed: &mut Processed,
    ) -> Result<(), ProcessErrorKind> {
        let _turn = self.turn().await;
        let begun = Instant::now();
        let length = batch.len();
        let mut more = Processed::default();
        let applied = self.apply_each_or_all(batch, ledger, &mut more).await;
        processed.add(more);
        self.watch.count(more);
        self.watch.passed(more.events());
        metric::events(&self.feed, more);
        if applied.is_ok() {
            metric::batch(&self.feed, length, begun.elapsed());
            self.pace.measured(length, begun.elapsed());
        }
        applied
    }

    async fn apply_each_or_all(
        &self,
        batch: Batch,
        ledger: &mut Ledger<'_>,
        processed: &mut Processed,
    ) -> Result<(), ProcessErrorKind> {
        let Batch {
            mut ready, broken, ..
        } = batch;
        if ready.len() > 1 && self.apply_together(&ready, ledger, processed).await? {
            ready.clear();
        }
        for (event, prepared) in ready {
            self.apply(&event, Ok(prepared), ledger, processed).await?;
        }
        if let Some((event, error)) = broken {
            self.apply(&event, Err(error), ledger, processed).await?;
        }
        Ok(())
    }

    /// False when an event failed, and all of it was undone.
    async fn apply_together(
        &self,
        batch: &[Ready],
        ledger: &mut Ledger<'_>,
        processed: &mut Processed,
    ) -> Result<bool, ProcessErrorKind> {
        self.must_not_be_too_many()?;
        let all: Vec<_> = batch.iter().map(|(event, _)| event.as_ref()).collect();
        let mut work = self.store.begin().await?;
        let keys = match self.parked.load(Ordering::Relaxed) {
            // Nobody asks.
            0 => vec![None; batch.len()],
            _ => {
                let keys = batch.iter();
                let keys = keys.map(|(event, prepared)| self.key(event, Some(prepared)));
                match keys.collect::<Result<Vec<_>, _>>() {
                    Ok(keys) => keys,
                    // Which it is shows when each has its turn.
                    Err(_) => return Ok(false),
                }
            }
        };
        let held = self.held(work.as_mut(), &keys).await?;
        let keyed = batch.iter().zip(&keys);
        let (waiting, free): (Vec<_>, Vec<_>) = keyed.partition(|(_, key)| {
            let key = key.as_deref();
            key.is_some_and(|key| held.contains(key))
        });
        let free: Vec<_> = free.into_iter().map(|(ready, _)| ready).collect();
        let handled = match self.work_together(work.as_mut(), &free).await? {
            Together::Handled(handled) => handled,
            Together::Failed => {
                self.roll_back(work).await;
                return Ok(false);
            }
            // The connection is closed with it: in which state it is nobody knows.
            Together::Lost => return Ok(false),
        };
        for ((event, _), key) in &waiting {
            let key = key.as_deref().unwrap_or_default();
            self.hold(work.as_mut(), event, key).await?;
        }
        self.enter(work.as_mut(), ledger, &all).await?;
        match work.commit().await {
            // Had it been done after all, the marker would stand elsewhere, and none of them be done again.
            Err(error) if may_go_on_after_commit(&error) => return Ok(false),
            committed => committed?,
        }
        self.settle(ledger, &all);
        self.outages.over(&all, ledger.is_in_order());
        let mut handled = handled.into_iter();
        for ((event, _), key) in batch.iter().zip(&keys) {
            match key.as_deref().filter(|key| held.contains(*key)) {
                Some(key) => self.tell_held(event, key, processed),
                None => {
                    let handled = handled.next().unwrap_or(Handled::Applied);
                    self.tell(event, handled, processed).await;
                }
            }
        }
        Ok(true)
    }

    /// Hands a worker several events in an open transaction.
    async fn work_together(
        &self,
        work: &mut dyn UnitOfWork<Conn = C>,
        batch: &[&Ready],
    ) -> Result<Together, ProcessErrorKind> {
        if batch.is_empty() {
            return Ok(Together::Handled(Vec::new()));
        }
        let events = || batch.iter().map(|(event, _)| event.as_ref());
        let processing = self.worker.process_batch(batch, work.conn());
        let handled = match self.bounded(processing).await {
            Ok(handled) => handled,
            Err(Halted::Error(error)) => {
                self.see_that_it_is_whole(work, &error, events()).await?;
                tracing::debug!(feed = %self.feed, %error, "a batch failed; one by one");
                return Ok(Together::Failed);
            }
            Err(Halted::Lost(_)) => return Ok(Together::Lost),
        };
        match work.take_back().await {
            Ok(()) if handled.len() == batch.len() => Ok(Together::Handled(handled)),
            Ok(()) => {
                // Which of them are meant is not known.
                tracing::error!(
                    feed = %self.feed,
                    said = handled.len(),
                    handed = batch.len(),
                    "process_batch has not said of each event how it was handled; they are handed over \
                     one by one"
                );
                Ok(Together::Failed)
            }
            Err(error) if error.kind() == StoreErrorKind::Broken => {
                Err(self.in_doubt(error, events()))
            }
            Err(error) if error.kind() == StoreErrorKind::Aborted => Ok(Together::Failed),
            Err(error) => {
                tracing::debug!(feed = %self.feed, %error, "a batch lost its connection; one by one");
                Ok(Together::Lost)
            }
        }
    }

    /// Applies an event, or parks it; the ledger follows.
    async fn apply(
        &self,
        event: &Event,
        prepared: Result<Prepared, WorkerError>,
        ledger: &mut Ledger<'_>,
        processed: &mut Processed,
    ) -> Result<(), ProcessErrorKind> {
        self.must_not_be_too_many()?;
        let (key, prepared) = match self.key(event, prepared.as_ref().ok()) {
            Ok(key) => (key, prepared),
            Err(error) => (None, Err(error)),
        };
        if self.parked.load(Ordering::Relaxed) > 0 {
            let mut work = self.store.begin().await?;
            let held = self.held(work.as_mut(), [&key]).await?;
            if let Some(key) = held.into_iter().next() {
                self.hold(work.as_mut(), event, &key).await?;
                self.enter(work.as_mut(), ledger, &[event]).await?;
                work.commit().await?;
                self.settle(ledger, &[event]);
                self.tell_held(event, &key, processed);
                return Ok(());
            }
            work.rollback().await?;
        }
        let error = match self.work(event, prepared).await? {
            Ok((mut work, handled)) => {
                self.enter(work.as_mut(), ledger, &[event]).await?;
                match work.commit().await {
                    // It may be done after all; and of what moves the marker itself, nothing would say so.
                    Err(error)
                        if self.settings.worker_moves_marker
                            && error.kind() == StoreErrorKind::Unavailable =>
                    {
                        return Err(error.into());
                    }
                    Err(error) if may_go_on_after_commit(&error) => error.into(),
                    committed => {
                        committed?;
                        self.settle(ledger, &[event]);
                        self.outages.over(&[event], ledger.is_in_order());
                        self.tell(event, handled, processed).await;
                        return Ok(());
                    }
                }
            }
            Err(error) => error,
        };
        self.wait_if_transient(event, &error)?;
        let message = message(event, &error.report());
        let failure = Failure::new(message, self.settings.clock.now());
        // In a transaction of its own: in the failed one, a database may refuse every statement.
        let mut work = self.store.begin().await?;
        self.park(work.as_mut(), event, &failure, key).await?;
        // It may have failed behind having moved the marker.
        self.enter(work.as_mut(), ledger, &[event]).await?;
        work.commit().await?;
        self.settle(ledger, &[event]);
        self.outages.over(&[event], ledger.is_in_order());
        let parked = self.parked.fetch_add(1, Ordering::Relaxed) + 1;
        metric::parked(&self.feed, parked);
        processed.failed += 1;
        tracing::warn!(feed = %self.feed, event = %event.id(), %error, "event parked");
        (self.settings.on_outcome)(&Outcome::Parked {
            event,
            failure: &failure,
        });
        Ok(())
    }

    /// An error when it is one to wait out.
    pub(super) fn wait_if_transient(
        &self,
        event: &Event,
        error: &WorkerError,
    ) -> Result<(), ProcessErrorKind> {
        if !error.is_transient() {
            return Ok(());
        }
        let backoff = &self.settings.backoff;
        match self.outages.begin_waiting(backoff, event.id(), error) {
            Some(waiting) => Err(waiting.into()),
            None => Ok(()),
        }
    }

    /// Opens a transaction and lets the worker deal with an event in it. When the worker fails, or
    /// panics, what it wrote is undone.
    pub(super) async fn work(
        &self,
        event: &Event,
        prepared: Result<Prepared, WorkerError>,
    ) -> Result<Worked<C>, ProcessErrorKind> {
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Ok(Err(error)),
        };
        let mut work = self.store.begin().await?;
        let processing = self.worker.process(event, &prepared, work.conn());
        let handled = match self.bounded(processing).await {
            Ok(handled) => handled,
            Err(Halted::Error(error)) => {
                self.see_that_it_is_whole(work.as_mut(), &error, [event])
                    .await?;
                return Ok(Err(match self.roll_back(work).await {
                    true => error,
                    false => error.with_transaction_lost(),
                }));
            }
            Err(Halted::Lost(error)) => return Ok(Err(error)),
        };
        match work.take_back().await {
            Ok(()) => Ok(Ok((work, handled))),
            Err(error) if error.kind() == StoreErrorKind::Broken => {
                Err(self.in_doubt(error, [event]))
            }
            Err(error) if error.kind() == StoreErrorKind::Aborted => Ok(Err(error.into())),
            // The connection went while the worker did something else.
            Err(error) => Ok(Err(WorkerError::from(error).with_transaction_lost())),
        }
    }

    /// Undoes a transaction in which a worker has failed. False where the connection went, and the transaction
    /// with it.
    async fn roll_back(&self, work: Box<dyn UnitOfWork<Conn = C>>) -> bool {
        let Err(error) = work.rollback().await else {
            return true;
        };
        let error = &error as &dyn std::error::Error;
        tracing::debug!(feed = %self.feed, error, "a transaction ends with its connection");
        false
    }

    /// Whether a worker that has returned an error has left the transaction as it was.
    async fn see_that_it_is_whole<'a>(
        &self,
        work: &mut dyn UnitOfWork<Conn = C>,
        error: &WorkerError,
        events: impl IntoIterator<Item = &'a Event>,
    ) -> Result<(), ProcessErrorKind> {
        // A deadlock of MariaDB ends the transaction, say.
        if !error.may_have_ended_transaction()
            && let Err(broken) = work.take_back().await
            && broken.kind() == StoreErrorKind::Broken
        {
            return Err(self.in_doubt(broken, events));
        }
        Ok(())
    }

    /// Runs a worker, for as long as it may take.
    async fn bounded<T>(
        &self,
        processing: impl Future<Output = Result<T, WorkerError>>,
    ) -> Result<T, Halted> {
        let processing = AssertUnwindSafe(processing).catch_unwind();
        let ended = match self.settings.worker_timeout {
            None => processing.await,
            Some(limit) => match tokio::time::timeout(limit, processing).await {
                Ok(ended) => ended,
                Err(_) => {
                    let message = format!("the worker has not ended within {limit:?}");
                    return Err(Halted::Lost(WorkerError::new(message)));
                }
            },
        };
        match ended {
            Ok(handled) => handled.map_err(Halted::Error),
            Err(panic) => Err(Halted::Lost(panicked(panic.as_ref()))),
        }
    }

    /// By what an event is kept in order. A worker that panics over that has failed.
    pub(super) fn key(
        &self,
        event: &Event,
        prepared: Option<&Prepared>,
    ) -> Result<Option<String>, WorkerError> {
        let key = AssertUnwindSafe(|| self.worker.key(event, prepared));
        std::panic::catch_unwind(key).map_err(|panic| panicked(panic.as_ref()))
    }

    /// Tells the worker that an event was committed. What it says to that changes nothing any more.
    pub(super) async fn tell_worker(&self, event: &Event) {
        let told = AssertUnwindSafe(self.worker.committed(event)).catch_unwind();
        if let Err(panic) = told.await {
            let error = panicked(panic.as_ref());
            tracing::error!(feed = %self.feed, event = %event.id(), %error, "committed() of the worker");
        }
    }

    /// What it means that a worker has ended its transaction.
    fn in_doubt<'a>(
        &self,
        error: StoreError,
        events: impl IntoIterator<Item = &'a Event>,
    ) -> ProcessErrorKind {
        let events: Vec<_> = events.into_iter().collect();
        let mut workers: Vec<_> = events.iter().map(|event| self.worker.name(event)).collect();
        workers.sort_unstable();
        workers.dedup();
        ProcessErrorKind::BrokenTransaction {
            worker: workers.join(", "),
            events: events.iter().map(|event| event.id().to_string()).collect(),
            source: error,
        }
    }

    /// Tells of an event that was dealt with, once that is committed.
    async fn tell(&self, event: &Event, handled: Handled, processed: &mut Processed) {
        self.tell_worker(event).await;
        match handled {
            Handled::Applied => {
                processed.applied += 1;
                tracing::debug!(feed = %self.feed, event = %event.id(), "event applied");
                (self.settings.on_outcome)(&Outcome::Applied { event });
            }
            Handled::Ignored => {
                processed.ignored += 1;
                tracing::debug!(feed = %self.feed, event = %event.id(), "event ignored");
                (self.settings.on_outcome)(&Outcome::Ignored { event });
            }
        }
    }
}

/// What became of several events that a worker was handed.
enum Together {
    /// How each was handled.
    Handled(Vec<Handled>),
    /// One of them failed; nothing of the transaction is to last.
    Failed,
    /// The same, and the connection may be in any state.
    Lost,
}

/// Why a worker came to no end of its own.
enum Halted {
    /// It returned an error.
    Error(WorkerError),
    /// It panicked, or took too long: its connection may be in any state.
    Lost(WorkerError),
}

/// Whether the events of a commit that has failed so may be dealt with further, here and now. What the worker has written was
/// refused (by a constraint that is looked at only then, say), and nothing of it lasts; or the server ends the
/// connection, or lets another transaction go first. Then it may last: whatever is done next, the marker or the
/// parked row is changed along with it from what was read before, or not at all.
pub(super) fn may_go_on_after_commit(error: &StoreError) -> bool {
    matches!(
        error.kind(),
        StoreErrorKind::Database
            | StoreErrorKind::Duplicate
            | StoreErrorKind::Refused
            | StoreErrorKind::Unavailable
            | StoreErrorKind::Conflict
    )
}

pub(super) fn panicked(panic: &(dyn Any + Send)) -> WorkerError {
    let said = panic.downcast_ref::<&str>().copied();
    let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    WorkerError::new(format!(
        "the worker panicked: {}",
        said.unwrap_or("it says no more")
    ))
}
