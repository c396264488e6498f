use tokio_util::sync::CancellationToken;

use super::AtomFeedClient;

impl<C: ?Sized + Send + 'static> AtomFeedClient<C> {
    /// Processes new events, then tries parked ones again, over and over with the configured
    /// interval in between, until `stop` is cancelled. The event in hand is finished then.
    ///
    /// Errors do not end it: they are logged, and what could not be done is tried again after the
    /// interval.
    ///
    /// # Cancel safety
    ///
    /// As [`process_events`](Self::process_events).
    pub async fn run(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.process_until(&stop).await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(feed = %self.feed, error, "the feed was not read to its end");
            }
            let limit = Some(self.settings.max_retries);
            if let Err(error) = self.retry_until(&stop, limit).await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(feed = %self.feed, error, "failed events were not all retried");
            }
            stop.run_until_cancelled(tokio::time::sleep(self.settings.interval))
                .await;
        }
    }
}
