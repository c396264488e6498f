use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use atomfeed_core::store::{
    FailedEventQuery, FailedEventSelection, StoreError, StoreErrorKind, StoreResult,
};
use atomfeed_core::{FailedEvent, Failure};
use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::AtomFeedClient;
use super::afresh::Afresh;
use super::ahead::Ahead;
use super::apply::may_go_on_after_commit;
use super::outage::spread;
use crate::outcome::{Outcome, Processed};
use crate::worker::{Handled, Prepared};
use crate::{ProcessError, ProcessErrorKind, WorkerError, metric};

/// How many failed events are read at once.
const BATCH: u32 = 100;

/// Later than anything is due, and a time that every database knows.
const FAR: DateTime<Utc> = match DateTime::from_timestamp(253_370_764_800, 0) {
    Some(time) => time,
    None => DateTime::<Utc>::MAX_UTC,
};

/// One pass over what is parked.
#[derive(Default)]
struct Pass {
    afresh: Afresh,
    /// Those that have failed in it, which are not tried twice.
    failed: HashSet<i64>,
    succeeded: u64,
}

impl<C: ?Sized + Send + 'static> AtomFeedClient<C> {
    /// Tries every parked event of the feed again that is due, in the order in which they were parked,
    /// except those that were tried as often as is allowed. What succeeds is parked no longer, and those
    /// that waited behind it for its key are tried next, in their order.
    ///
    /// # Errors
    ///
    /// When the store fails; what was done before stays so.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the event in hand is rolled back.
    pub async fn process_failed_events(&self) -> Result<Processed, ProcessError> {
        let limit = Some(self.settings.max_retries);
        self.retry_until(&CancellationToken::new(), limit).await
    }

    /// Tries every parked event of the feed again, also those that are not due yet, or were tried as
    /// often as is allowed; not those that wait behind one that fails.
    ///
    /// # Errors
    ///
    /// As [`process_failed_events`](Self::process_failed_events).
    ///
    /// # Cancel safety
    ///
    /// As [`process_failed_events`](Self::process_failed_events).
    pub async fn retry_all_failed_events(&self) -> Result<Processed, ProcessError> {
        self.retry_until(&CancellationToken::new(), None).await
    }

    pub(super) async fn retry_until(
        &self,
        stop: &CancellationToken,
        retries_below: Option<u32>,
    ) -> Result<Processed, ProcessError> {
        let _turn = self.at_work.lock().await;
        let mut processed = Processed::default();
        let span = tracing::info_span!("process_failed_events", feed = %self.feed);
        let retrying = self.retry_in_order(stop, retries_below, &mut processed);
        let retrying = retrying.instrument(span);
        let retried = self.at_work(retrying).await;
        // Who stands by knows less than who is at work.
        if !matches!(&retried, Err(ProcessErrorKind::StandingBy { .. })) {
            self.watch.count(processed);
            self.wait_at_work(self.write_status(false), ()).await;
        }
        match retried {
            Ok(()) => Ok(processed),
            Err(kind) => Err(ProcessError::new(&self.feed, processed, kind)),
        }
    }

    async fn retry_in_order(
        &self,
        stop: &CancellationToken,
        retries_below: Option<u32>,
        processed: &mut Processed,
    ) -> Result<(), ProcessErrorKind> {
        if let Some(waiting) = self.outages.now() {
            return Err(waiting.into());
        }
        if self.look_at_parked().await? == 0 {
            return Ok(());
        }
        self.begin_reading(None).await?;
        // Who asks for all of them does not wait until they are due.
        let by = match retries_below {
            Some(_) => self.settings.clock.now(),
            None => FAR,
        };
        let due = FailedEventQuery::of(self.feed.clone())
            .retries_below(retries_below)
            .select(FailedEventSelection::DueBy(by))
            .limit(BATCH);
        let mut pass = Pass::default();
        // Where the last pass was ended, so that what always has to wait keeps nobody from having a turn.
        let mut from = self.retry_after.swap(0, Ordering::Relaxed);
        // What succeeds lets others become due: until nothing does any more.
        loop {
            let (before, is_whole) = (pass.succeeded, from == 0);
            let mut query = due.clone().after(std::mem::take(&mut from));
            loop {
                let failed = self.failed_events(&query).await?;
                let Some(last) = failed.last() else { break };
                query = query.after(last.id);
                let is_over = self.retry_these(failed, stop, &mut pass, processed).await?;
                if is_over {
                    return Ok(());
                }
            }
            if is_whole && pass.succeeded == before {
                return Ok(());
            }
        }
    }

    /// Tries rows again, and, after each that succeeds, those that wait behind it. True when it was told
    /// to stop.
    async fn retry_these(
        &self,
        failed: Vec<FailedEvent>,
        stop: &CancellationToken,
        pass: &mut Pass,
        processed: &mut Processed,
    ) -> Result<bool, ProcessErrorKind> {
        let failed = failed.into_iter();
        let failed = failed.filter(|failed| !pass.failed.contains(&failed.id));
        let failed = failed.collect();
        let items = self.as_the_feed_has_them(&mut pass.afresh, failed);
        let Some(items) = stop.run_until_cancelled(items).await else {
            return Ok(true);
        };
        let items = items
            .into_iter()
            .map(|failed| (Arc::new(failed.event.clone()), failed));
        let items: Vec<_> = items.collect();
        let mut ahead = Ahead::new(&self.worker, self.settings.prepare_ahead, items);
        loop {
            let Some(next) = stop.run_until_cancelled(ahead.next()).await else {
                return Ok(true);
            };
            let Some((failed, prepared)) = next else {
                return Ok(false);
            };
            let has_succeeded = self.retry_one(&failed, prepared, pass, processed).await?;
            let key = failed.place.as_ref().and_then(|place| place.key.as_deref());
            let Some(key) = key.filter(|_| has_succeeded) else {
                continue;
            };
            let mut behind = FailedEventQuery::of(self.feed.clone())
                .select(FailedEventSelection::OfKey(key.to_owned()))
                .after(failed.id)
                .limit(BATCH);
            'key: loop {
                let waiting = self.failed_events(&behind).await?;
                let Some(last) = waiting.last() else { break };
                behind = behind.after(last.id);
                for failed in waiting {
                    if stop.is_cancelled() {
                        return Ok(true);
                    }
                    let mut known = self
                        .as_the_feed_has_them(&mut pass.afresh, vec![failed])
                        .await;
                    // Not to be had now: those behind it wait on.
                    let Some(failed) = known.pop() else {
                        break 'key;
                    };
                    let event = Arc::new(failed.event.clone());
                    let mut one = Ahead::new(&self.worker, 1, vec![(event, ())]);
                    let Some(prepared) = stop.run_until_cancelled(one.next()).await else {
                        return Ok(true);
                    };
                    let Some(((), prepared)) = prepared else {
                        break 'key;
                    };
                    if !self.retry_one(&failed, prepared, pass, processed).await? {
                        break 'key;
                    }
                }
            }
        }
    }

    /// True when the event is parked no longer.
    async fn retry_one(
        &self,
        failed: &FailedEvent,
        prepared: Result<Prepared, WorkerError>,
        pass: &mut Pass,
        processed: &mut Processed,
    ) -> Result<bool, ProcessErrorKind> {
        let turn = self.turn().await;
        let retried = self.retry(failed, prepared).await;
        drop(turn);
        match retried {
            Ok(Some(Handled::Applied)) => processed.applied += 1,
            Ok(Some(Handled::Ignored)) => processed.ignored += 1,
            Ok(None) => {
                processed.failed += 1;
                pass.failed.insert(failed.id);
                return Ok(false);
            }
            Err(ProcessErrorKind::Store(error)) if error.kind() == StoreErrorKind::NotParked => {
                tracing::info!(
                    feed = %self.feed,
                    event = %failed.event.id(),
                    "somebody else has dealt with a failed event"
                );
            }
            Err(error) => return Err(error),
        }
        pass.succeeded += 1;
        Ok(true)
    }

    /// Without those whose content cannot be looked up now: they stay parked, and untried.
    async fn as_the_feed_has_them(
        &self,
        afresh: &mut Afresh,
        rows: Vec<FailedEvent>,
    ) -> Vec<FailedEvent> {
        let mut events = Vec::with_capacity(rows.len());
        for mut failed in rows {
            if afresh.is_cut_off && Afresh::needs_page(&failed) {
                continue;
            }
            match afresh.event(self, &failed).await {
                Ok(Some(event)) => failed.event = event,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(
                        feed = %self.feed,
                        event = %failed.event.id(),
                        error = &error as &dyn std::error::Error,
                        "an event that another library has parked is not tried now: its page, from \
                         which its content is taken, cannot be read"
                    );
                    continue;
                }
            }
            events.push(failed);
        }
        events
    }

    async fn failed_events(&self, query: &FailedEventQuery) -> StoreResult<Vec<FailedEvent>> {
        let mut work = self.store.begin().await?;
        let failed = work.failed_events(query).await?;
        work.rollback().await?;
        Ok(failed)
    }

    /// How the event was handled; `None` when it stays parked.
    pub(super) async fn retry(
        &self,
        failed: &FailedEvent,
        prepared: Result<Prepared, WorkerError>,
    ) -> Result<Option<Handled>, ProcessErrorKind> {
        let event = &failed.event;
        let error = match self.work(event, prepared).await? {
            Ok((mut work, handled)) => {
                self.keep_claim(work.as_mut()).await?;
                work.remove_failed_event(failed).await?;
                match work.commit().await {
                    Err(error) if may_go_on_after_commit(&error) => {
                        WorkerError::from(error).with_transaction_lost()
                    }
                    committed => {
                        committed?;
                        self.absences.over(failed.id);
                        self.tell_worker(event).await;
                        metric::retries(&self.feed, "succeeded");
                        tracing::info!(feed = %self.feed, event = %event.id(), "parked event applied");
                        (self.settings.on_outcome)(&Outcome::Retried { event });
                        return Ok(Some(handled));
                    }
                }
            }
            Err(error) => error,
        };
        let now = self.settings.clock.now();
        let mut place = failed.place.clone().unwrap_or_default();
        let due_in = |delay| TimeDelta::from_std(delay).ok().map(|delay| now + delay);
        let mut work = self.store.begin().await?;
        self.keep_claim(work.as_mut()).await?;
        if !error.is_transient() {
            self.absences.over(failed.id);
        } else if self
            .absences
            .is_waited_for(&self.settings.backoff, failed.id)
        {
            self.retry_after.store(failed.id, Ordering::Relaxed);
            // That counts for no retry; but others are to have their turn before it.
            let asked = error.retry_after().map(spread).unwrap_or_default();
            let retry_in = self.settings.backoff.longest.max(asked);
            place.due_at = due_in(retry_in);
            work.place(&self.feed, failed.id, &place).await?;
            work.commit().await?;
            if error.is_transaction_lost() {
                // Whatever the worker needs may be there: who has asked for this retry has it tried again.
                return Err(StoreError::new(
                    StoreErrorKind::Unavailable,
                    format!(
                        "trying event {} again: the database has not kept the transaction; it is tried again \
                         by itself: {}",
                        event.id(),
                        error.report()
                    ),
                )
                .into());
            }
            return Err(ProcessErrorKind::Waiting {
                event: event.id().to_string(),
                error: error.to_string(),
                retry_in,
            });
        }
        // Or what it needs has been away for longer than anybody waits: then it is the event's.
        let failure = Failure::new(error.report(), now);
        work.record_failed_retry(failed, &failure).await?;
        place.due_at = due_in(self.settings.retry_delays.delay(failed.retries));
        work.place(&self.feed, failed.id, &place).await?;
        work.commit().await?;
        let retries = failed.retries.saturating_add(1);
        let is_last = retries >= self.settings.max_retries;
        metric::retries(&self.feed, if is_last { "dead" } else { "failed" });
        tracing::warn!(feed = %self.feed, event = %event.id(), retries, %error, is_last, "retry failed");
        (self.settings.on_outcome)(&Outcome::RetryFailed {
            event,
            failure: &failure,
            retries,
            is_last,
        });
        Ok(None)
    }
}
