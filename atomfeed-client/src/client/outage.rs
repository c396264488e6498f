use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atomfeed_core::{EntryId, Event};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use crate::{ProcessErrorKind, WorkerError};

/// How long to wait after transient errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    pub(super) first: Duration,
    pub(super) longest: Duration,
    /// After this they count as permanent.
    pub(super) patience: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            patience: Duration::from_secs(24 * 60 * 60),
        }
    }
}

impl Backoff {
    /// The delays, from the first on.
    pub(super) fn delays(&self) -> ExponentialBackoff {
        ExponentialBuilder::default()
            .with_min_delay(self.first)
            .with_max_delay(self.longest)
            .without_max_times()
            .with_jitter()
            .build()
    }

    /// The delay before trying for the `n`-th time again, from 0 on.
    pub(super) fn delay(&self, n: u32) -> Duration {
        // Long before, it is the longest.
        let nth = self.delays().nth(n.min(64) as usize);
        nth.unwrap_or(self.longest)
    }
}

/// Something around is down, and is waited for: outlives a round of the client.
#[derive(Debug, Default)]
pub(super) struct Outages(Mutex<Option<Outage>>);

#[derive(Debug)]
struct Outage {
    event: EntryId,
    error: String,
    since: Instant,
    until: Instant,
    delays: ExponentialBackoff,
}

/// What is waited for.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) event: EntryId,
    pub(super) error: String,
    pub(super) left: Duration,
}

impl Outages {
    fn lock(&self) -> MutexGuard<'_, Option<Outage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is waited for now.
    pub(super) fn now(&self) -> Option<Waiting> {
        let outage = self.lock();
        let outage = outage.as_ref()?;
        let left = outage.until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then(|| Waiting {
            event: outage.event.clone(),
            error: outage.error.clone(),
            left,
        })
    }

    /// Events were dealt with: that which was waited for may be one of them.
    pub(super) fn over(&self, events: &[&Event]) {
        let mut outage = self.lock();
        let is_over = |known: &mut Outage| events.iter().any(|event| *event.id() == known.event);
        drop(outage.take_if(is_over));
    }

    /// Waits for what a worker needs for an event. `None` when it was waited for long enough.
    pub(super) fn begin_waiting(
        &self,
        backoff: &Backoff,
        event: &EntryId,
        error: &WorkerError,
    ) -> Option<Waiting> {
        let mut outage = self.lock();
        let now = Instant::now();
        let known = outage.take().filter(|known| known.event == *event);
        let mut known = known.unwrap_or_else(|| Outage {
            event: event.clone(),
            error: String::new(),
            since: now,
            until: now,
            delays: backoff.delays(),
        });
        if now - known.since >= backoff.patience {
            return None;
        }
        known.error = error.to_string();
        let left = known.delays.next().unwrap_or(backoff.longest);
        known.until = now + left;
        let waiting = Waiting {
            event: event.clone(),
            error: known.error.clone(),
            left,
        };
        *outage = Some(known);
        Some(waiting)
    }
}

impl From<Waiting> for ProcessErrorKind {
    fn from(waiting: Waiting) -> Self {
        Self::Waiting {
            event: waiting.event.to_string(),
            error: waiting.error,
            retry_in: waiting.left,
        }
    }
}
