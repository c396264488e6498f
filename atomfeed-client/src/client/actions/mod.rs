//! What somebody asks for who looks after the feed, carried out.

mod marker;
mod parked;

use std::time::Duration;

use atomfeed_core::store::{StoreError, StoreErrorKind, StoreResult};
use atomfeed_core::{Action, ActionKind, ActionProgress, ActionState};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::AtomFeedClient;
use crate::outcome::Processed;
use crate::{ProcessError, ProcessErrorKind};

/// How long a step takes, more or less, before others have their turn.
const STEP: Duration = Duration::from_secs(1);

/// How often who pauses for long says that the feed is followed still.
const STILL_THERE: Duration = Duration::from_secs(60);

/// What there is to do between rounds, or in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Somebody has asked for something.
    ToAct,
    /// It is time to write down that the feed is followed.
    WhetherStillThere,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Acted {
    /// The marker stands elsewhere.
    pub(super) has_moved: bool,
    /// What was parked behind something may go on.
    pub(super) has_freed: bool,
}

impl Acted {
    fn note(&mut self, kind: ActionKind) {
        self.has_moved |= kind == ActionKind::MoveMarker;
        self.has_freed |= matches!(
            kind,
            ActionKind::Retry | ActionKind::Edit | ActionKind::Skip | ActionKind::ResetRetries
        );
    }
}

impl<C: ?Sized + Send + 'static> AtomFeedClient<C> {
    /// Returns when there is something to carry out, or, between rounds, when it is time to say that one is
    /// still there; never, where nobody is to ask. What was begun breaks into a round once that has gone on
    /// for as long as is given.
    ///
    /// Cancel safe: nothing is lost.
    pub(super) async fn asked(&self, in_round: Option<Duration>) -> Asked {
        let begun = Instant::now();
        let Some(interval) = self.settings.look_for_actions else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(interval).await;
            // Who stands by leaves that to who is at work.
            if self.settings.lease.is_some() && self.claiming.held().is_none() {
                continue;
            }
            if in_round.is_none() && begun.elapsed() >= STILL_THERE {
                return Asked::WhetherStillThere;
            }
            let open = match self.store.open_actions(&self.feed).await {
                Ok(open) => open,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(feed = %self.feed, error, "what is asked for cannot be read");
                    continue;
                }
            };
            let now = self.settings.clock.now();
            // A round that is broken off may have to begin anew: what is new may do so at once, and what was
            // begun now and then.
            let has_gone_on = in_round.is_none_or(|round| begun.elapsed() >= round);
            let is_wanted = |action: &Action| {
                let is_new = action.progress.state == ActionState::Waiting;
                (is_new || has_gone_on) && self.errands.is_due(action, now)
            };
            if open.iter().any(is_wanted) {
                return Asked::ToAct;
            }
        }
    }

    /// Carries out what is asked for and due, in that order; of what is with many events, one step.
    ///
    /// # Errors
    ///
    /// When a worker has broken its transaction: nobody but a person knows what to make of it.
    pub(super) async fn carry_out_actions(
        &self,
        stop: &CancellationToken,
    ) -> Result<Acted, ProcessError> {
        if self.settings.look_for_actions.is_none() {
            return Ok(Acted::default());
        }
        let _turn = self.at_work.lock().await;
        let mut acted = Acted::default();
        let acting = async {
            let open = self.store.open_actions(&self.feed).await?;
            self.errands.keep(&open);
            for action in open {
                if stop.is_cancelled() {
                    break;
                }
                if !self.errands.is_due(&action, self.settings.clock.now()) {
                    continue;
                }
                match self.carry_out(action.clone(), stop).await {
                    Ok(()) => acted.note(action.asked.kind),
                    Err(error @ ProcessErrorKind::BrokenTransaction { .. }) => return Err(error),
                    Err(error) => {
                        self.errands.delay(&action);
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(
                            feed = %self.feed, action = action.id, error,
                            "what was asked for is not carried out now; it is tried again"
                        );
                    }
                }
            }
            Ok::<_, ProcessErrorKind>(())
        };
        let ended = self.at_work(acting).await;
        if ended.is_ok() {
            // Who stands by knows less than who is at work.
            self.write_status(false).await;
        }
        match ended {
            Err(kind @ ProcessErrorKind::BrokenTransaction { .. }) => {
                Err(ProcessError::new(&self.feed, Processed::default(), kind))
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(feed = %self.feed, error, "what is asked for is left to others, or for later");
                Ok(acted)
            }
            Ok(()) => Ok(acted),
        }
    }

    async fn carry_out(
        &self,
        mut action: Action,
        stop: &CancellationToken,
    ) -> Result<(), ProcessErrorKind> {
        self.begin_reading(None).await?;
        let was_begun = action.progress.state == ActionState::Running;
        if !was_begun {
            let running = self.then(&action.progress, ActionState::Running, "");
            match self.advance(&mut action, running).await {
                // It was called off, or another consumer was first: that one goes on with it.
                Err(error) if error.kind() == StoreErrorKind::Conflict => return Ok(()),
                advanced => advanced?,
            }
            let asked = &action.asked;
            tracing::info!(
                feed = %self.feed, action = action.id, kind = asked.kind.as_str(), by = asked.by, why = asked.why,
                "carrying out what was asked for"
            );
        }
        self.errands.take(&action);
        let carried_out = match action.asked.kind {
            ActionKind::Retry | ActionKind::Edit => self.act_on_one(&mut action, was_begun).await,
            ActionKind::ResetRetries | ActionKind::Skip => self.set_right(&mut action).await,
            ActionKind::RetryMany => self.retry_many(&mut action, stop).await,
            ActionKind::PreviewMarker => {
                let off = self.called_off(action.id);
                tokio::select! {
                    preview = self.preview(&mut action) => preview.map(Some),
                    () = stop.cancelled() => Ok(None),
                    () = off => Ok(None),
                }
            }
            ActionKind::MoveMarker => self.move_as_asked(&mut action, stop).await,
            _ => Ok(Some(failed("this consumer cannot do that; update it"))),
        };
        let mut in_doubt = None;
        let (state, outcome) = match carried_out {
            Ok(Some(ended)) => ended,
            // There is more to come, or nothing to be said.
            Ok(None) => return Ok(()),
            Err(ProcessErrorKind::Store(error)) if error.kind() == StoreErrorKind::Conflict => {
                return self.unless_called_off(&action, error).await;
            }
            Err(ProcessErrorKind::Store(error)) if is_answer(&error) => failed(&error.to_string()),
            Err(error @ ProcessErrorKind::BrokenTransaction { .. }) => {
                let said = report(&error);
                in_doubt = Some(error);
                failed(&said)
            }
            Err(error) if error.fetching().is_some() || is_of_feed(&error) => {
                failed(&report(&error))
            }
            Err(error) => return Err(error),
        };
        let ended = self.then(&action.progress, state, &outcome);
        let advanced = match self.advance(&mut action, ended.clone()).await {
            Err(error) if error.kind() == StoreErrorKind::Conflict => {
                self.end_called_off(&action, ended, error).await
            }
            advanced => Ok(advanced?),
        };
        match in_doubt {
            Some(error) => Err(error),
            None => advanced,
        }
    }

    /// Returns once an action is not open any more.
    async fn called_off(&self, action: i64) {
        let interval = self.settings.look_for_actions.unwrap_or(STEP);
        loop {
            tokio::time::sleep(interval).await;
            let open = self.store.open_actions(&self.feed).await;
            if open.is_ok_and(|open| open.iter().all(|known| known.id != action)) {
                return;
            }
        }
    }

    /// Nothing has come of it: fine where it was called off, and else an error.
    async fn unless_called_off(
        &self,
        action: &Action,
        error: StoreError,
    ) -> Result<(), ProcessErrorKind> {
        let open = self.store.open_actions(&self.feed).await?;
        match open.iter().any(|known| known.id == action.id) {
            true => Err(error.into()),
            false => Ok(()),
        }
    }

    /// It was called off when it had been done: that is said, too.
    async fn end_called_off(
        &self,
        action: &Action,
        ended: ActionProgress,
        error: StoreError,
    ) -> Result<(), ProcessErrorKind> {
        let mut work = self.store.begin().await?;
        let known = work.action(action.id).await?;
        let called_off = known.filter(|known| known.progress.state == ActionState::CalledOff);
        let Some(known) = called_off else {
            work.rollback().await?;
            return Err(error.into());
        };
        let [off, outcome] = [&known.progress, &ended].map(|progress| progress.outcome.as_deref());
        let said = format!(
            "{}; by then: {}",
            off.unwrap_or_default(),
            outcome.unwrap_or_default()
        );
        let progress = self.then(&ended, ActionState::CalledOff, &said);
        work.advance(action.id, ActionState::CalledOff, &progress)
            .await?;
        Ok(work.commit().await?)
    }

    fn then(&self, progress: &ActionProgress, state: ActionState, said: &str) -> ActionProgress {
        progress
            .clone()
            .then(state, self.settings.clock.now(), said)
    }

    async fn advance(&self, action: &mut Action, to: ActionProgress) -> StoreResult<()> {
        let mut work = self.store.begin().await?;
        self.keep_claim(work.as_mut()).await?;
        work.advance(action.id, action.progress.state, &to).await?;
        work.commit().await?;
        action.progress = to;
        Ok(())
    }
}

/// How an action has ended, and what is to be said of it.
type Ended = (ActionState, String);

fn done(said: &str) -> Ended {
    (ActionState::Done, said.to_owned())
}

fn failed(said: &str) -> Ended {
    (ActionState::Failed, said.to_owned())
}

/// Whether an error of the store answers what was asked, and no trying again will answer otherwise.
fn is_answer(error: &StoreError) -> bool {
    matches!(
        error.kind(),
        StoreErrorKind::NotParked | StoreErrorKind::Refused | StoreErrorKind::InvalidData
    )
}

/// Whether the feed is not as it would have to be.
fn is_of_feed(error: &ProcessErrorKind) -> bool {
    !matches!(
        error,
        ProcessErrorKind::Store(_)
            | ProcessErrorKind::BrokenTransaction { .. }
            | ProcessErrorKind::StandingBy { .. }
    )
}

fn report(error: &ProcessErrorKind) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
