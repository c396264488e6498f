use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;
use url::Url;

use crate::FetchError;
use crate::source::login::LoginError;

/// How soon a login is tried again that was refused: seven wrong passwords within minutes, and OpenMRS
/// locks the account.
const AFTER_REFUSAL: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(900));
/// The same where it got no answer.
const AFTER_FAILURE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A login that has failed, and until when nobody tries again.
pub(super) struct Failed {
    error: Arc<LoginError>,
    pub(super) until: Instant,
    was_refused: bool,
    delays: ExponentialBackoff,
}

impl Failed {
    /// The failure after another one, if there was one: delays grow while it stays the same.
    pub(super) fn after(before: Option<Self>, error: LoginError) -> Self {
        let was_refused = error.is_refusal();
        let (first, longest) = if was_refused {
            AFTER_REFUSAL
        } else {
            AFTER_FAILURE
        };
        let before = before.filter(|before| before.was_refused == was_refused);
        let mut delays = before.map_or_else(
            || {
                ExponentialBuilder::default()
                    .with_min_delay(first)
                    .with_max_delay(longest)
                    .without_max_times()
                    .with_jitter()
                    .build()
            },
            |before| before.delays,
        );
        let delay = delays.next().unwrap_or(longest);
        let delay = delay.max(error.retry_after().unwrap_or_default());
        Self {
            error: Arc::new(error),
            until: Instant::now() + delay,
            was_refused,
            delays,
        }
    }

    pub(super) fn error(&self, origin: &Url, now: Instant) -> FetchError {
        FetchError::Login {
            origin: origin.origin().ascii_serialization(),
            retry_in: self.until.saturating_duration_since(now),
            source: Arc::clone(&self.error),
        }
    }
}
