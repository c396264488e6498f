use std::sync::Arc;

use atomfeed_core::store::{FailedEventQuery, StoreErrorKind, StoreResult};
use atomfeed_core::{FailedEvent, Failure};
use tokio_util::sync::CancellationToken;

use super::AtomFeedClient;
use super::afresh::Afresh;
use super::ahead::Ahead;
use crate::outcome::{Outcome, Processed};
use crate::worker::{Handled, Prepared};
use crate::{ProcessError, ProcessErrorKind, WorkerError};

/// How many failed events are read at once.
const BATCH: u32 = 100;

impl<C: ?Sized + Send + 'static> AtomFeedClient<C> {
    /// Tries every parked event of the feed again, once, in the order in which they were parked,
    /// except those that were tried as often as is allowed. What succeeds is parked no longer.
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

    /// Tries every parked event of the feed again, also those that were tried as often as is
    /// allowed.
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
        let mut processed = Processed::default();
        match self
            .retry_in_order(stop, retries_below, &mut processed)
            .await
        {
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
        let mut query = FailedEventQuery::of(self.feed.clone())
            .retries_below(retries_below)
            .limit(BATCH);
        let mut afresh = Afresh::default();
        while !stop.is_cancelled() {
            let failed = self.failed_events(&query).await?;
            let Some(last) = failed.last() else {
                return Ok(());
            };
            query = query.after(last.id);
            let items = self
                .as_the_feed_has_them(&mut afresh, failed)
                .await
                .into_iter()
                .map(|failed| (Arc::new(failed.event.clone()), failed));
            let mut ahead = Ahead::new(&self.worker, self.settings.prepare_ahead, items);
            while let Some(Some((failed, prepared))) = stop.run_until_cancelled(ahead.next()).await
            {
                match self.retry(&failed, prepared).await {
                    Ok(Some(Handled::Applied)) => processed.applied += 1,
                    Ok(Some(Handled::Ignored)) => processed.ignored += 1,
                    Ok(None) => processed.failed += 1,
                    Err(ProcessErrorKind::Store(error))
                        if error.kind() == StoreErrorKind::Conflict =>
                    {
                        tracing::info!(
                            feed = %self.feed,
                            event = %failed.event.id(),
                            "somebody else has dealt with a failed event"
                        );
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Without those whose content cannot be looked up now: they stay parked, and untried.
    async fn as_the_feed_has_them(
        &self,
        afresh: &mut Afresh,
        rows: Vec<FailedEvent>,
    ) -> Vec<FailedEvent> {
        let mut events = Vec::with_capacity(rows.len());
        for mut failed in rows {
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
    async fn retry(
        &self,
        failed: &FailedEvent,
        prepared: Result<Prepared, WorkerError>,
    ) -> Result<Option<Handled>, ProcessErrorKind> {
        let event = &failed.event;
        let error = match self.work(event, prepared).await? {
            Ok((mut work, handled)) => {
                work.remove_failed_event(failed).await?;
                work.commit().await?;
                self.worker.committed(event).await;
                tracing::info!(feed = %self.feed, event = %event.id(), "parked event applied");
                (self.settings.on_outcome)(&Outcome::Retried { event });
                return Ok(Some(handled));
            }
            Err(error) => error,
        };
        self.wait_if_transient(event, &error)?;
        let failure = Failure::new(error.report(), self.settings.clock.now());
        let mut work = self.store.begin().await?;
        work.record_failed_retry(failed, &failure).await?;
        work.commit().await?;
        let retries = failed.retries + 1;
        tracing::warn!(feed = %self.feed, event = %event.id(), retries, %error, "retry failed");
        (self.settings.on_outcome)(&Outcome::RetryFailed {
            event,
            failure: &failure,
            retries,
        });
        Ok(None)
    }
}
