use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::AtomFeedClient;
use crate::{ProcessError, ProcessErrorKind};

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
            let processed = self.process_until(&stop).await;
            let mut pause = self.pause_after(&processed, "the feed was not read to its end");
            // What is waited for in one is waited for in the other.
            if processed.is_ok() || self.outages.now().is_none() {
                let limit = Some(self.settings.max_retries);
                let retried = self.retry_until(&stop, limit).await;
                pause = pause.min(self.pause_after(&retried, "failed events were not all retried"));
            }
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    /// How long to wait after a round.
    fn pause_after<T>(&self, ended: &Result<T, ProcessError>, what: &str) -> Duration {
        let Err(error) = ended else {
            return self.settings.interval;
        };
        if let ProcessErrorKind::Waiting { retry_in, .. } = error.kind() {
            let error = error as &dyn std::error::Error;
            tracing::warn!(feed = %self.feed, error, "the feed waits");
            return *retry_in;
        }
        let error = error as &dyn std::error::Error;
        tracing::error!(feed = %self.feed, error, "{what}");
        self.settings.interval
    }
}
