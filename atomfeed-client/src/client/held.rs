use std::collections::HashSet;
use std::sync::atomic::Ordering;

use atomfeed_core::store::{FailedEventQuery, FailedEventSelection, StoreResult, UnitOfWork};
use atomfeed_core::{Event, Failure, Place};

use super::AtomFeedClient;
use crate::ProcessErrorKind;
use crate::metric;
use crate::outcome::{Outcome, Processed};

/// How many rows of other programs get their place in one transaction.
const PLACED_AT_ONCE: u32 = 100;

/// Order by key: while an event is parked, later ones of its key wait behind it.
impl<C: ?Sized + Send + 'static> AtomFeedClient<C> {
    /// Counts what is parked, and gives what another program has parked its place.
    pub(super) async fn look_at_parked(&self) -> StoreResult<u64> {
        let mut work = self.store.begin().await?;
        let count = work.failed_event_count(&self.feed).await?;
        self.parked.store(count, Ordering::Relaxed);
        metric::parked(&self.feed, count);
        if count == 0 {
            work.rollback().await?;
            return Ok(0);
        }
        let query = FailedEventQuery::of(self.feed.clone())
            .select(FailedEventSelection::Unplaced)
            .limit(PLACED_AT_ONCE);
        loop {
            let rows = work.failed_events(&query).await?;
            if rows.is_empty() {
                work.rollback().await?;
                return Ok(count);
            }
            for failed in rows {
                // One that panics over it waits for nothing, and fails again when it is tried.
                let key = self.key(&failed.event, None).unwrap_or_default();
                let place = Place { key, due_at: None };
                work.place(&self.feed, failed.id, &place).await?;
            }
            work.commit().await?;
            work = self.store.begin().await?;
        }
    }

    /// An error while more are parked than is allowed.
    pub(super) fn must_not_be_too_many(&self) -> Result<(), ProcessErrorKind> {
        let parked = self.parked.load(Ordering::Relaxed);
        match self.settings.max_failed_events {
            Some(limit) if parked >= limit => {
                Err(ProcessErrorKind::TooManyFailed { parked, limit })
            }
            _ => Ok(()),
        }
    }

    /// Which of these keys are held back.
    pub(super) async fn held<'a>(
        &self,
        work: &mut dyn UnitOfWork<Conn = C>,
        keys: impl IntoIterator<Item = &'a Option<String>>,
    ) -> StoreResult<HashSet<String>> {
        if self.parked.load(Ordering::Relaxed) == 0 {
            return Ok(HashSet::new());
        }
        let keys: HashSet<_> = keys.into_iter().flatten().map(String::as_str).collect();
        let keys: Vec<_> = keys.into_iter().collect();
        work.held_keys(&self.feed, &keys).await
    }

    /// Parks an event that has failed.
    pub(super) async fn park(
        &self,
        work: &mut dyn UnitOfWork<Conn = C>,
        event: &Event,
        failure: &Failure,
        key: Option<String>,
    ) -> StoreResult<()> {
        let id = work.park(event, failure).await?;
        let place = Place { key, due_at: None };
        work.place(&self.feed, id, &place).await
    }

    /// Parks an event behind one of the same key.
    pub(super) async fn hold(
        &self,
        work: &mut dyn UnitOfWork<Conn = C>,
        event: &Event,
        key: &str,
    ) -> StoreResult<()> {
        let said =
            format!("Waiting: an earlier event of {key} has failed, and is to succeed first");
        let failure = Failure::new(message(event, &said), self.settings.clock.now());
        self.park(work, event, &failure, Some(key.to_owned())).await
    }

    /// Tells of an event that was held, once that is committed.
    pub(super) fn tell_held(&self, event: &Event, key: &str, processed: &mut Processed) {
        processed.held += 1;
        let parked = self.parked.fetch_add(1, Ordering::Relaxed) + 1;
        metric::parked(&self.feed, parked);
        tracing::info!(feed = %self.feed, event = %event.id(), key, "event waits behind one that failed");
        (self.settings.on_outcome)(&Outcome::Held { event, key });
    }
}

/// What is kept with an event as its error, as the original writes it.
pub(super) fn message(event: &Event, said: &str) -> String {
    let page = event.page_uri().unwrap_or_default();
    format!("Failed processing event in feed [{page}] \n{said}")
}
