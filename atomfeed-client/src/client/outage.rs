use std::collections::HashMap;
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

/// The longest that anybody is left alone.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * 60 * 60);

/// A time that a server asked for, and up to a fifth more: it says the same to many.
pub(super) fn spread(wait: Duration) -> Duration {
    let wait = wait.min(LONGEST_ASKED);
    let more = ExponentialBuilder::default()
        .with_min_delay(wait / 10)
        .with_max_delay(wait)
        .with_jitter()
        .build()
        .next();
    wait + more.unwrap_or_default()
}

/// What was heard of an outage so long ago, beyond the longest delay, says nothing of this one.
const SLACK: Duration = Duration::from_secs(60);

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

impl Outage {
    /// Whether it is still the same that is met now.
    fn is_recent(&self, backoff: &Backoff) -> bool {
        Instant::now() < self.until + backoff.longest * 2 + SLACK
    }
}

/// Since when what parked events need is away, as retries have met it: by id. A process that begins anew waits
/// anew.
#[derive(Debug, Default)]
pub(super) struct Absences(Mutex<HashMap<i64, Instant>>);

/// So many are kept: what somebody else has dealt with meanwhile nobody takes out.
const MOST_ABSENCES: usize = 10_000;

impl Absences {
    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an event needs is away, still or again. Whether it is waited for on.
    pub(super) fn is_waited_for(&self, backoff: &Backoff, id: i64) -> bool {
        let mut known = self.lock();
        if known.len() >= MOST_ABSENCES {
            known.clear();
        }
        let since = *known.entry(id).or_insert_with(Instant::now);
        since.elapsed() < backoff.patience
    }

    /// It is not away, or the event is parked no more.
    pub(super) fn over(&self, id: i64) {
        self.lock().remove(&id);
    }
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

    /// Whether something was down when it was tried last.
    pub(super) fn is_known(&self, backoff: &Backoff) -> bool {
        let outage = self.lock();
        outage
            .as_ref()
            .is_some_and(|known| known.is_recent(backoff))
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

    /// Events were dealt with: that which was waited for may be one of them, and is, where they come one
    /// after the other.
    pub(super) fn over(&self, events: &[&Event], in_order: bool) {
        let mut outage = self.lock();
        let is_over =
            |known: &mut Outage| in_order || events.iter().any(|event| *event.id() == known.event);
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
        // Several transactions at once may each meet it with another event, and in the same round.
        // Also after a long time, where it is the same event: who calls may do so seldom.
        let known = outage
            .take()
            .filter(|known| known.event == *event || known.is_recent(backoff));
        let is_new_round = known.as_ref().is_none_or(|known| known.until <= now);
        let mut known = known.unwrap_or_else(|| Outage {
            event: event.clone(),
            error: String::new(),
            since: now,
            until: now,
            delays: backoff.delays(),
        });
        known.event = event.clone();
        if now - known.since >= backoff.patience {
            return None;
        }
        known.error = error.to_string();
        if is_new_round {
            known.until = now + known.delays.next().unwrap_or(backoff.longest);
        }
        // Nobody is asked earlier than asked for.
        let asked = error.retry_after().map(spread).unwrap_or_default();
        known.until = known.until.max(now + asked);
        let left = known.until.saturating_duration_since(now);
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn event(number: u32) -> Event {
        let feed = "http://localhost/feed/recent".parse().unwrap();
        Event::new(EntryId::of_event(number), feed)
    }

    fn meets(outages: &Outages, backoff: &Backoff, number: u32) -> Option<Duration> {
        let error = WorkerError::new("down");
        let waiting = outages.begin_waiting(backoff, event(number).id(), &error);
        waiting.map(|waiting| waiting.left)
    }

    /// Several transactions at once meet it with one event each, in every round.
    #[tokio::test(start_paused = true)]
    async fn rounds_are_counted_and_not_events() {
        let (outages, backoff) = (Outages::default(), Backoff::default());
        let begun = Instant::now();
        let mut rounds = 0;
        while let Some(left) = meets(&outages, &backoff, 1) {
            // In the same round, it is waited for no longer.
            let other = meets(&outages, &backoff, 2).unwrap();
            assert!(other <= left, "{other:?} > {left:?}");
            assert!(outages.is_known(&backoff));
            tokio::time::sleep(left).await;
            assert!(outages.now().is_none());
            rounds += 1;
        }
        let waited = begun.elapsed();
        assert!(
            waited >= backoff.patience && waited < backoff.patience * 2,
            "{waited:?}"
        );
        // Once a minute or two, by and large.
        let minutes = waited.as_secs() / 60;
        assert!(
            rounds > minutes / 3 && rounds < minutes + 10,
            "{rounds} in {minutes} minutes"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_over_begins_anew() {
        let (outages, backoff) = (Outages::default(), Backoff::default());
        for _ in 0..8 {
            let left = meets(&outages, &backoff, 1).unwrap();
            tokio::time::sleep(left).await;
        }
        outages.over(&[&event(2)], false);
        assert!(outages.is_known(&backoff), "another one is waited for");
        outages.over(&[&event(1)], false);
        assert!(!outages.is_known(&backoff));
        // The first delay, with what chance adds.
        assert!(meets(&outages, &backoff, 1).unwrap() <= backoff.first * 2);
        // As it is where nobody has met it for long: the marker was moved by hand, say.
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert!(!outages.is_known(&backoff));
        assert!(meets(&outages, &backoff, 3).unwrap() <= backoff.first * 2);
    }

    /// Nobody asks earlier than was asked for, be it said by one of several and late in a round.
    #[tokio::test(start_paused = true)]
    async fn who_asks_to_be_left_alone_is() {
        let (outages, backoff) = (Outages::default(), Backoff::default());
        assert!(meets(&outages, &backoff, 1).unwrap() <= backoff.first * 2);
        let asked = Duration::from_secs(600);
        let error = WorkerError::transient("busy").with_retry_after(asked);
        let waiting = outages.begin_waiting(&backoff, event(2).id(), &error);
        let left = waiting.unwrap().left;
        assert!(left > asked && left <= asked.mul_f64(1.2), "{left:?}");
        assert!(meets(&outages, &backoff, 3).unwrap() == left);
        tokio::time::sleep(left).await;
        assert!(outages.now().is_none());
        // It is still the same outage.
        assert!(outages.is_known(&backoff));
    }

    /// Who is called once an hour, by a scheduler outside, loses patience too.
    #[tokio::test(start_paused = true)]
    async fn patience_ends_however_seldom_it_is_met() {
        let (outages, backoff) = (Outages::default(), Backoff::default());
        let mut hours = 0;
        while meets(&outages, &backoff, 1).is_some() {
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            hours += 1;
            assert!(hours < 30, "it never ends");
        }
        assert_eq!(hours, 24);
    }
}
