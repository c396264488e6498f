//! The actions that a consumer is at, step by step.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atomfeed_core::{Action, ActionState};
use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// How many are tried again at once, at most, where many are.
const LARGEST_BATCH: u32 = 125;

/// By how much a batch is larger than the one before.
const GROWTH: u32 = 5;

/// How many events a second are tried again, where many are, on an average.
const PACE: u32 = 20;

/// How long nothing was heard of an action that another consumer was at, until this one goes on with it.
const LEFT: TimeDelta = TimeDelta::seconds(30);

/// The longest time after which an action is tried again that the database did not take.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// The actions that this consumer is at: how large the next step is, and when it is due.
#[derive(Debug, Default)]
pub(super) struct Errands(Mutex<HashMap<i64, Step>>);

#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) size: u32,
    due: Instant,
    /// So many have failed, one after the other.
    pub(super) in_a_row: u32,
    /// So often the database did not take it.
    delays: u32,
}

impl Default for Step {
    fn default() -> Self {
        Self {
            size: 1,
            due: Instant::now(),
            in_a_row: 0,
            delays: 0,
        }
    }
}

impl Errands {
    fn steps(&self) -> MutexGuard<'_, HashMap<i64, Step>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is to be gone on with now. One that another consumer has begun is left to it, while
    /// something is heard of that.
    pub(super) fn is_due(&self, action: &Action, now: DateTime<Utc>) -> bool {
        match self.steps().get(&action.id) {
            Some(step) => step.due <= Instant::now(),
            None if action.progress.state == ActionState::Running => {
                now - action.progress.changed_at > LEFT
            }
            None => true,
        }
    }

    pub(super) fn step(&self, action: &Action) -> Step {
        self.steps().get(&action.id).copied().unwrap_or_default()
    }

    /// This consumer is at it.
    pub(super) fn take(&self, action: &Action) {
        self.steps().entry(action.id).or_default();
    }

    /// The next step of an action, after one with so many events.
    pub(super) fn plan(&self, action: &Action, begun: Instant, tried: u32, in_a_row: u32) {
        let mut step = self.step(action);
        if tried >= step.size {
            step.size = step.size.saturating_mul(GROWTH).min(LARGEST_BATCH);
        }
        step.due = begun + Duration::from_secs(1) * tried / PACE;
        (step.in_a_row, step.delays) = (in_a_row, 0);
        self.steps().insert(action.id, step);
    }

    /// The database did not take it: later, and others come first.
    pub(super) fn delay(&self, action: &Action) {
        let mut step = self.step(action);
        let delay = Duration::from_secs(1) * 2_u32.pow(step.delays.min(10));
        step.due = Instant::now() + delay.min(LONGEST_DELAY);
        step.delays += 1;
        self.steps().insert(action.id, step);
    }

    /// Forgets those that are not among the open ones any more.
    pub(super) fn keep(&self, open: &[Action]) {
        let is_open = |id: &i64| open.iter().any(|action| action.id == *id);
        self.steps().retain(|id, _| is_open(id));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use atomfeed_core::{ActionKind, ActionProgress, NewAction};

    use super::*;

    fn many() -> Action {
        let asked = NewAction {
            feed_uri: "http://emr:8050/feed/recent".parse().unwrap(),
            kind: ActionKind::RetryMany,
            failed_event_id: None,
            event_id: None,
            detail: String::new(),
            by: "asha".to_owned(),
            why: "a test".to_owned(),
            at: Utc::now(),
        };
        Action::new(1, asked, ActionProgress::waiting(Utc::now()))
    }

    /// When it is to be gone on with, looked for as often as a consumer may.
    async fn until_due(errands: &Errands, action: &Action) -> Instant {
        while !errands.is_due(action, Utc::now()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Instant::now()
    }

    /// However little time each event takes.
    #[tokio::test(start_paused = true)]
    async fn batches_grow_and_no_more_than_twenty_a_second_are_tried() {
        let (errands, many) = (Errands::default(), many());
        let begun = Instant::now();
        let (mut sizes, mut tried) = (Vec::new(), 0);
        errands.take(&many);
        for _step in 0..7 {
            let now = until_due(&errands, &many).await;
            let least = Duration::from_secs(1) * tried / 20;
            let passed = now - begun;
            assert!(passed >= least, "{tried} within {passed:?}");
            assert!(passed < least + Duration::from_secs(1), "{passed:?}");
            let size = errands.step(&many).size;
            sizes.push(size);
            tried += size;
            errands.plan(&many, now, size, 0);
        }
        assert_eq!(sizes, [1, 5, 25, 125, 125, 125, 125]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_was_cut_short_is_paid_for_as_far_as_it_went() {
        let (errands, many) = (Errands::default(), many());
        errands.plan(&many, Instant::now(), 1, 0);
        let begun = until_due(&errands, &many).await;
        errands.plan(&many, begun, 4, 2);
        let step = errands.step(&many);
        assert_eq!((step.size, step.in_a_row), (5, 2));
        let waited = until_due(&errands, &many).await - begun;
        assert!((200..250).contains(&waited.as_millis()), "{waited:?}");
        // What takes longer than that is gone on with at once.
        tokio::time::advance(Duration::from_secs(1)).await;
        errands.plan(&many, begun, 5, 0);
        assert!(errands.is_due(&many, Utc::now()));
    }
}
