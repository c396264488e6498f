//! What is asked for of parked events: to try one or many of them again, to edit them, or to give them up.

use std::sync::Arc;

use atomfeed_core::store::{
    FailedEventQuery, FailedEventSelection, FailureFilter, StoreErrorKind, StoreResult,
};
use atomfeed_core::{Action, ActionKind, ActionProgress, ActionState, FailedEvent};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Ended, STEP, done, failed, report};
use crate::client::AtomFeedClient;
use crate::client::afresh::Afresh;
use crate::client::ahead::Ahead;
use crate::outcome::Processed;
use crate::worker::Handled;
use crate::{ProcessErrorKind, metric};

/// After this many failures in a row, many are tried again no longer.
const IN_A_ROW: u32 = 5;

/// What came of one event.
enum Tried {
    Succeeded(Handled),
    /// It failed, and is parked with one more retry.
    Failed(String),
    /// What it needs is away.
    Away(String),
    /// Its content is to be read on a page that cannot be had.
    Unread(String),
    /// Somebody else has dealt with it.
    Gone,
    /// One of its key is parked before it.
    WaitsFor(Box<FailedEvent>),
}

impl<C: ?Sized + Send + 'static> AtomFeedClient<C> {
    /// Tries the event of an action again, with another content where that is asked for.
    pub(super) async fn act_on_one(
        &self,
        action: &mut Action,
        was_begun: bool,
    ) -> Result<Option<Ended>, ProcessErrorKind> {
        let Some(mut parked) = self.parked_event(action).await? else {
            // What was never edited was not applied as edited.
            let is_edit = action.asked.kind == ActionKind::Edit;
            let may_be_done = was_begun && (!is_edit || action.progress.was.is_some());
            return Ok(Some(match may_be_done {
                true => done(
                    "it is not parked any more: it succeeded just before the consumer was ended, or somebody \
                     else has dealt with it",
                ),
                false => gone(),
            }));
        };
        if let Some(first) = self.waits_for(&parked).await? {
            return Ok(Some(waits_for(&first)));
        }
        if action.asked.kind == ActionKind::Edit && action.progress.was.is_none() {
            let mut progress = action.progress.clone();
            progress.was = Some(parked.event.content().to_owned());
            let mut work = self.store.begin().await?;
            self.keep_claim(work.as_mut()).await?;
            work.edit_content(&parked, &action.asked.detail).await?;
            work.advance(action.id, ActionState::Running, &progress)
                .await?;
            work.commit().await?;
            self.absences.over(parked.id);
            action.progress = progress;
            let Some(edited) = self.parked_event(action).await? else {
                return Ok(Some(gone()));
            };
            parked = edited;
        }
        let is_dead = parked.retries >= self.settings.max_retries;
        Ok(Some(
            match self.try_again(&mut Afresh::default(), parked).await? {
                Tried::Succeeded(Handled::Applied) => {
                    action.progress.succeeded += 1;
                    done("applied; it is parked no longer")
                }
                Tried::Succeeded(Handled::Ignored) => {
                    action.progress.succeeded += 1;
                    done("the worker has no use for it; it is parked no longer")
                }
                Tried::Failed(error) => {
                    action.progress.failed += 1;
                    failed(&format!("it failed again, and stays parked: {error}"))
                }
                Tried::Away(error) if is_dead => failed(&format!(
                    "what it needs is away; it was tried too often to be tried again by itself: have it tried \
                     again once that is there: {error}"
                )),
                Tried::Away(error) => failed(&format!(
                    "what it needs is away, and it is tried again by itself: {error}"
                )),
                Tried::Unread(error) => failed(&format!(
                    "the page on which its content stands cannot be read now: {error}"
                )),
                Tried::Gone => gone(),
                Tried::WaitsFor(first) => waits_for(&first),
            },
        ))
    }

    /// What takes no worker.
    pub(super) async fn set_right(
        &self,
        action: &mut Action,
    ) -> Result<Option<Ended>, ProcessErrorKind> {
        let Some(parked) = self.parked_event(action).await? else {
            return Ok(Some(gone()));
        };
        let mut work = self.store.begin().await?;
        self.keep_claim(work.as_mut()).await?;
        let said = match action.asked.kind {
            ActionKind::Skip => {
                work.remove_failed_event(&parked).await?;
                "given up; what waited behind it goes on"
            }
            _ if work.reset_retries(&parked).await? => {
                "it is tried again, as if for the first time"
            }
            _ => return Ok(Some(gone())),
        };
        let mut progress = self.then(&action.progress, ActionState::Done, said);
        // What is given up is gone from everywhere else.
        progress.was = Some(parked.event.content().to_owned());
        work.advance(action.id, ActionState::Running, &progress)
            .await?;
        work.commit().await?;
        self.absences.over(parked.id);
        action.progress = progress;
        let event = parked.event.id();
        let why = &action.asked.why;
        tracing::warn!(feed = %self.feed, %event, why, said, "a parked event was set right by hand");
        Ok(None)
    }

    /// The next batch of those that are to be tried again.
    pub(super) async fn retry_many(
        &self,
        action: &mut Action,
        stop: &CancellationToken,
    ) -> Result<Option<Ended>, ProcessErrorKind> {
        let filter: FailureFilter = match action.asked.detail.parse() {
            Ok(filter) => filter,
            Err(error) => return Ok(Some(failed(&error.to_string()))),
        };
        let step = self.errands.step(action);
        let (begun, mut tried, mut in_a_row) = (Instant::now(), 0, step.in_a_row);
        let mut afresh = Afresh::default();
        let mut work = self.store.begin().await?;
        let after = action.progress.place;
        let ids = work.failures_in_order(&self.feed, &filter, after, step.size);
        let ids = ids.await?;
        work.rollback().await?;
        if ids.is_empty() {
            let ActionProgress {
                succeeded, failed, ..
            } = action.progress;
            return Ok(Some(done(&format!(
                "{succeeded} succeeded, {failed} failed again; those that wait behind others follow them"
            ))));
        }
        for id in ids {
            if stop.is_cancelled() || begun.elapsed() > STEP {
                break;
            }
            let mut work = self.store.begin().await?;
            let parked = match work.parked_event(id).await {
                // What nobody can read is passed over.
                Err(error) if error.kind() == StoreErrorKind::InvalidData => None,
                parked => parked?,
            };
            work.rollback().await?;
            let outcome = match parked {
                Some(parked) => self.try_again(&mut afresh, parked).await?,
                None => Tried::Gone,
            };
            tried += 1;
            let progress = &mut action.progress;
            progress.place = id;
            let why = match outcome {
                Tried::Succeeded(_) => {
                    progress.succeeded += 1;
                    in_a_row = 0;
                    None
                }
                Tried::Failed(error) => {
                    progress.failed += 1;
                    in_a_row += 1;
                    let all = progress.succeeded + progress.failed;
                    let is_enough = progress.failed * 5 >= all || in_a_row >= IN_A_ROW;
                    is_enough.then(|| format!("the last one failed again: {error}"))
                }
                Tried::Away(error) => Some(format!("what they need is away: {error}")),
                Tried::Gone | Tried::WaitsFor(_) | Tried::Unread(_) => None,
            };
            if let Some(why) = why {
                return Ok(Some(failed(&format!(
                    "stopped, with {} that succeeded and {} that failed again: {why}",
                    progress.succeeded, progress.failed
                ))));
            }
            // Each is written down: who goes on with it tries none twice, and it may be called off meanwhile.
            let running = self.then(&action.progress, ActionState::Running, "");
            match self.advance(action, running.clone()).await {
                Err(error) if error.kind() == StoreErrorKind::Conflict => {
                    self.end_called_off(action, running, error).await?;
                    return Ok(None);
                }
                advanced => advanced?,
            }
        }
        self.errands.plan(action, begun, tried, in_a_row);
        Ok(None)
    }

    async fn parked_event(&self, action: &Action) -> StoreResult<Option<FailedEvent>> {
        let Some(id) = action.asked.failed_event_id else {
            return Ok(None);
        };
        let mut work = self.store.begin().await?;
        let parked = work.parked_event(id).await?;
        work.rollback().await?;
        // Under the number of one that is gone may be another.
        Ok(parked.filter(|parked| {
            let event = action.asked.event_id.as_ref();
            *parked.event.feed_uri() == self.feed
                && event.is_none_or(|event| parked.event.id() == event)
        }))
    }

    /// The event with the same key that was parked before this one and still is.
    async fn waits_for(&self, parked: &FailedEvent) -> StoreResult<Option<Box<FailedEvent>>> {
        let key = parked.place.as_ref().and_then(|place| place.key.clone());
        let Some(key) = key else {
            return Ok(None);
        };
        let of_key = FailedEventQuery::of(self.feed.clone())
            .select(FailedEventSelection::OfKey(key))
            .limit(1);
        let mut work = self.store.begin().await?;
        let first = work.failed_events(&of_key).await?.into_iter().next();
        work.rollback().await?;
        Ok(first.filter(|first| first.id < parked.id).map(Box::new))
    }

    /// Tries a parked event again, whether it is due or not.
    async fn try_again(
        &self,
        afresh: &mut Afresh,
        mut parked: FailedEvent,
    ) -> Result<Tried, ProcessErrorKind> {
        if let Some(first) = self.waits_for(&parked).await? {
            return Ok(Tried::WaitsFor(first));
        }
        match afresh.event(self, &parked).await {
            Ok(Some(event)) => parked.event = event,
            Ok(None) => {}
            Err(error) if afresh.is_cut_off => return Ok(Tried::Away(report(&error))),
            Err(error) => return Ok(Tried::Unread(report(&error))),
        }
        let event = Arc::new(parked.event.clone());
        let mut one = Ahead::new(&self.worker, 1, vec![(event, ())]);
        let Some(((), prepared)) = one.next().await else {
            return Ok(Tried::Gone);
        };
        let turn = self.turn().await;
        let retried = self.retry(&parked, prepared).await;
        drop(turn);
        let mut processed = Processed::default();
        let tried = match retried {
            Ok(Some(handled)) => {
                match handled {
                    Handled::Applied => processed.applied += 1,
                    Handled::Ignored => processed.ignored += 1,
                }
                Tried::Succeeded(handled)
            }
            Ok(None) => {
                processed.failed += 1;
                Tried::Failed(self.last_error(&parked).await?)
            }
            Err(ProcessErrorKind::Waiting { error, .. }) => Tried::Away(error),
            Err(ProcessErrorKind::Store(error)) if error.kind() == StoreErrorKind::NotParked => {
                Tried::Gone
            }
            Err(error) => return Err(error),
        };
        metric::events(&self.feed, processed);
        self.watch.count(processed);
        Ok(tried)
    }

    async fn last_error(&self, parked: &FailedEvent) -> StoreResult<String> {
        let mut work = self.store.begin().await?;
        let last = work.last_retries(parked, 1).await?;
        work.rollback().await?;
        let last = last.first().unwrap_or(&parked.failure);
        Ok(last.message().to_owned())
    }
}

fn gone() -> Ended {
    failed("it is not parked any more: it has succeeded, or somebody else has dealt with it")
}

fn waits_for(first: &FailedEvent) -> Ended {
    failed(&format!(
        "it waits for the event {} (number {}), which has the same key and was parked before it: deal with that \
         one first",
        first.event.id(),
        first.id
    ))
}
