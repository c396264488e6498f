//! What somebody asks for who looks after the feed, carried out.

use std::sync::Arc;
use std::time::Duration;

use atomfeed_core::store::{
    Claim, FailedEventQuery, FailedEventSelection, FailureFilter, StoreError, StoreErrorKind,
    StoreResult,
};
use atomfeed_core::{Action, ActionKind, ActionProgress, ActionState, FailedEvent, Marker};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::afresh::Afresh;
use super::ahead::Ahead;
use super::start::First;
use super::{AtomFeedClient, StartPosition};
use crate::outcome::Processed;
use crate::worker::Handled;
use crate::{ProcessError, ProcessErrorKind, metric};

/// How long a step takes, more or less, before others have their turn.
const STEP: Duration = Duration::from_secs(1);

/// After this many failures in a row, many are tried again no longer.
const IN_A_ROW: u32 = 5;

/// How long it is looked for a place in the feed, and for where the marker stands, to tell what lies between:
/// the feed does not go on meanwhile.
const SEARCH: Duration = Duration::from_secs(30);

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

    /// Tries the event of an action again, with another content where that is asked for.
    async fn act_on_one(
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
            action.progress = progress;
            let Some(edited) = self.parked_event(action).await? else {
                return Ok(Some(gone()));
            };
            parked = edited;
        }
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
    async fn set_right(&self, action: &mut Action) -> Result<Option<Ended>, ProcessErrorKind> {
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
        action.progress = progress;
        let event = parked.event.id();
        let why = &action.asked.why;
        tracing::warn!(feed = %self.feed, %event, why, said, "a parked event was set right by hand");
        Ok(None)
    }

    /// The next batch of those that are to be tried again.
    async fn retry_many(
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

    /// Where the marker would stand, and what that would skip or replay.
    async fn preview(&self, action: &mut Action) -> Result<Ended, ProcessErrorKind> {
        let Ok(position) = action.asked.detail.parse::<StartPosition>() else {
            return Ok(no_position(&action.asked.detail));
        };
        let from = self.store.marker(&self.feed).await?;
        // Where another search was broken off is no place to begin this one.
        self.begin_search_anew();
        let Ok(to) = tokio::time::timeout(SEARCH, self.find(&position)).await else {
            return Ok(failed(
                "it was not found within half a minute, and the feed has to go on: give the URL of the page on \
                 which it is, or see whether it is written as the feed has it",
            ));
        };
        let Some(to) = to? else {
            return Ok(done("the feed has nothing there yet"));
        };
        let (stands, position) = (self.marker_at(&to), reached(&to));
        // What is asked for next is to be this, whatever is published meanwhile.
        action.progress.was = match (stands.last_read_entry_id(), stands.page_uri()) {
            (Some(entry), _) => Some(format!("after:{entry}")),
            (None, page) => page.map(str::to_owned),
        };
        let stood = match &from {
            // Far back in a long feed that takes long, and the feed does not go on meanwhile.
            Some(marker) => match tokio::time::timeout(SEARCH, self.stood(marker)).await {
                Ok(stood) => stood?,
                Err(_) => None,
            },
            None => Some(0),
        };
        let effect = match stood.zip(position) {
            Some((from, to)) if from < to => format!("{} events would be skipped", to - from),
            Some((from, to)) if from > to => format!("{} events would be replayed", from - to),
            Some(_) => "nothing would be skipped or replayed".to_owned(),
            None => "how many events lie between, the server does not say, or not soon".to_owned(),
        };
        Ok(done(&format!(
            "{effect}; the marker would stand {}",
            told(&stands)
        )))
    }

    /// How many events of the feed there are up to where a marker stands.
    async fn stood(&self, marker: &Marker) -> Result<Option<u64>, ProcessErrorKind> {
        let first = match marker.last_read_entry_id() {
            Some(entry) => self.find(&StartPosition::After(entry.clone())).await,
            None => return Ok(None),
        };
        self.begin_search_anew();
        match first {
            Ok(first) => Ok(first.as_ref().and_then(reached)),
            Err(error) if is_of_feed(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// In one transaction with what is said of it, so that it is done once.
    async fn move_as_asked(
        &self,
        action: &mut Action,
        stop: &CancellationToken,
    ) -> Result<Option<Ended>, ProcessErrorKind> {
        let Ok(position) = action.asked.detail.parse::<StartPosition>() else {
            return Ok(Some(no_position(&action.asked.detail)));
        };
        self.begin_search_anew();
        let to = tokio::select! {
            to = self.position_of(&position) => to?,
            () = stop.cancelled() => return Ok(None),
            () = self.called_off(action.id) => return Ok(None),
        };
        let mut work = self.store.begin().await?;
        self.keep_claim(work.as_mut()).await?;
        // What others have in hand is of where it stood.
        let claim = work.claim(&self.feed).await?;
        let claim = Claim::after(claim.as_ref(), &self.claiming.consumer);
        work.put_claim(&self.feed, &claim).await?;
        let from = work.marker(&self.feed).await?;
        let completed = work.completed(&self.feed).await?;
        let completed: Vec<_> = completed.iter().collect();
        work.forget_completed(&self.feed, &completed).await?;
        work.move_marker(from.as_ref(), &to).await?;
        let said = format!("the marker stands {}", told(&to));
        let mut progress = self.then(&action.progress, ActionState::Done, &said);
        progress.was = from.as_ref().map(told);
        work.advance(action.id, ActionState::Running, &progress)
            .await?;
        work.commit().await?;
        self.claiming.hold(Some(claim));
        action.progress = progress;
        tracing::info!(feed = %self.feed, ?from, ?to, "the marker was moved as it was asked for");
        Ok(None)
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

fn no_position(given: &str) -> Ended {
    failed(&format!(
        "{given:?} is no position: give latest, beginning, page:URL, after:ENTRY or at:TIME"
    ))
}

/// How many events of the feed there are up to where one would begin, where the server says.
fn reached(first: &First) -> Option<u64> {
    let position = first.page.position?;
    Some(position.saturating_sub(first.unread.len() as u64))
}

fn told(marker: &Marker) -> String {
    let page = marker.page_uri().unwrap_or("no page");
    match marker.last_read_entry_id() {
        Some(entry) => format!("behind {entry} on {page}"),
        None => format!("at the beginning of {page}"),
    }
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
