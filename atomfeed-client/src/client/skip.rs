use atomfeed_core::EntryId;
use atomfeed_core::store::{FailedEventQuery, StoreErrorKind, StoreResult};

use super::AtomFeedClient;

impl<C: ?Sized + Send + 'static> AtomFeedClient<C> {
    /// Gives a parked event up: it is parked no longer, and never applied. Those that wait behind it for
    /// its key follow in the next retries. False when it is not parked (any more). Why it was given up is
    /// for the log.
    ///
    /// # Errors
    ///
    /// As the store has it.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the event was given up or not.
    pub async fn skip_failed_event(&self, event: &EntryId, why: &str) -> StoreResult<bool> {
        let mut work = self.store.begin().await?;
        let mut query = FailedEventQuery::of(self.feed.clone());
        loop {
            let failed = work.failed_events(&query).await?;
            let Some(last) = failed.last() else {
                work.rollback().await?;
                return Ok(false);
            };
            query = query.after(last.id);
            let Some(found) = failed.iter().find(|failed| failed.event.id() == event) else {
                continue;
            };
            match work.remove_failed_event(found).await {
                Err(error) if error.kind() == StoreErrorKind::NotParked => {
                    work.rollback().await?;
                    return Ok(false);
                }
                removed => removed?,
            }
            work.commit().await?;
            tracing::warn!(feed = %self.feed, %event, why, "a parked event was given up");
            return Ok(true);
        }
    }
}
