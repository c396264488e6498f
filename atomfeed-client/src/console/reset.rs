//! Many events of a feed that another program runs, for that program to try again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atomfeed_core::store::{
    ConsoleStore, FailureFilter, Records, StoreError, StoreErrorKind, StoreResult,
};
use atomfeed_core::{Action, ActionKind, ActionProgress, ActionState, Clock};
use chrono::TimeDelta;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::act::{Unasked, Wish};
use super::desk::Desk;
use super::system::System;
use super::users::ConsoleUser;

/// How many are set right at once: the program whose rows are is not kept waiting for all of them.
const BATCH: u32 = 200;

/// How long all of it is waited for by who asks.
const MOMENT: Duration = Duration::from_secs(1);

/// How often in a row the database may not take a part of it, and how long it is left alone then.
const TRIES: u32 = 60;
const PAUSE: Duration = Duration::from_secs(1);

/// How long a part of it may take: of a connection that has silently gone no answer comes.
const LONGEST_STEP: Duration = Duration::from_secs(120);

/// How long nothing was written of it, until it counts as left by a console that was ended.
const LEFT: TimeDelta = TimeDelta::minutes(2);

/// What this console is at: by system and action.
pub(super) type InHand = Arc<Mutex<HashSet<(String, i64)>>>;

impl Desk {
    /// Writes down that many are to be tried again, and sets their retries to 0, in a task of its own: who asks
    /// may go away.
    pub(super) async fn reset_many(
        &self,
        system: &System,
        user: &ConsoleUser,
        mut work: Box<dyn Records>,
        wish: Wish,
    ) -> Result<i64, Unasked> {
        let store = system.store().await?;
        let now = self.clock.now();
        let asked = wish.action(user, None, now);
        let progress = ActionProgress::waiting(now).then(ActionState::Running, now, "");
        let id = work.ask(&asked, &progress).await?;
        work.commit().await?;
        if let Some(task) = self.begin_resetting(system, store, id) {
            let _ = timeout(MOMENT, task).await;
        }
        Ok(id)
    }

    /// Goes on with it, where the console was ended that was at it.
    pub(super) async fn go_on_resetting(
        &self,
        system: &System,
        action: &Action,
    ) -> StoreResult<()> {
        let progress = &action.progress;
        let is_left = action.asked.kind == ActionKind::RetryMany
            && progress.state == ActionState::Running
            && self.clock.now() - progress.changed_at > LEFT;
        if !is_left {
            return Ok(());
        }
        let store = system.store().await?;
        let mut work = system.look().await?;
        let feed = &action.asked.feed_uri;
        if self
            .is_foreign(store.is_adopted(), work.as_mut(), feed)
            .await?
        {
            drop(work);
            self.begin_resetting(system, store, action.id);
        }
        Ok(())
    }

    /// Sets to it, unless that is done already: of a database that takes no writes, it may take long.
    pub(super) fn begin_resetting(
        &self,
        system: &System,
        store: Arc<dyn ConsoleStore>,
        id: i64,
    ) -> Option<JoinHandle<()>> {
        let key = (system.name().to_owned(), id);
        let all = Arc::clone(&self.resetting);
        let is_new = all
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.clone());
        is_new.then(|| {
            let clock = Arc::clone(&self.clock);
            let in_hand = Held { all, key };
            tokio::spawn(async move {
                Resetting { store, clock, id }.run().await;
                drop(in_hand);
            })
        })
    }
}

/// Takes it out of what is in hand, however it ends.
struct Held {
    all: InHand,
    key: (String, i64),
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.key);
    }
}

struct Resetting {
    store: Arc<dyn ConsoleStore>,
    clock: Arc<dyn Clock>,
    id: i64,
}

impl Resetting {
    async fn run(self) {
        let mut in_vain = 0;
        loop {
            let step = timeout(LONGEST_STEP, self.step());
            let step = step.await.unwrap_or_else(|_| Err(hung()));
            match step {
                Ok(true) => return,
                Ok(false) => in_vain = 0,
                Err(error) if is_passing(&error) && in_vain < TRIES => {
                    in_vain += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    let said = format!("stopped: {error}");
                    let given_up = self.end(ActionState::Failed, &said).await;
                    let error = &error as &dyn std::error::Error;
                    let is_written = given_up.is_ok();
                    tracing::warn!(action = self.id, is_written, error, "retries are not reset");
                    return;
                }
            }
        }
    }

    /// The next part of it, in a transaction of its own, which says how far it has come. True when there is
    /// nothing more to do.
    ///
    /// Of two consoles that are at it at once, each writes down the place and the count that it has read, and
    /// what it has done since: what one of them takes back is done once more, and counted once.
    async fn step(&self) -> StoreResult<bool> {
        let mut work = self.store.change().await?;
        let action = work.action(self.id).await?;
        let Some(action) = action.filter(|action| action.progress.state.is_open()) else {
            return Ok(true);
        };
        let Ok(filter) = action.asked.detail.parse::<FailureFilter>() else {
            drop(work);
            self.end(ActionState::Failed, "what it asks for cannot be read")
                .await?;
            return Ok(true);
        };
        let (asked, mut progress) = (&action.asked, action.progress.clone());
        let ids = work.failures_in_order(&asked.feed_uri, &filter, progress.place, BATCH);
        let ids = ids.await?;
        let Some(last) = ids.last() else {
            let said = format!(
                "the program that runs this feed tries {} again by itself: their retries are 0",
                progress.succeeded
            );
            let done = progress.then(ActionState::Done, self.clock.now(), said);
            work.advance(self.id, action.progress.state, &done).await?;
            work.commit().await?;
            return Ok(true);
        };
        progress.place = *last;
        for id in ids {
            match work.parked_event(id).await {
                Ok(Some(parked)) => {
                    progress.succeeded += u64::from(work.reset_retries(&parked).await?);
                }
                Ok(None) => {}
                // What nobody can read is passed over.
                Err(error) if error.kind() == StoreErrorKind::InvalidData => {}
                Err(error) => return Err(error),
            }
        }
        let progress = progress.then(ActionState::Running, self.clock.now(), "");
        work.advance(self.id, action.progress.state, &progress)
            .await?;
        work.commit().await?;
        Ok(false)
    }

    async fn end(&self, state: ActionState, said: &str) -> StoreResult<()> {
        let mut work = self.store.change().await?;
        let Some(action) = work.action(self.id).await? else {
            return Ok(());
        };
        if !action.progress.state.is_open() {
            return Ok(());
        }
        let ended = action.progress.clone().then(state, self.clock.now(), said);
        work.advance(self.id, action.progress.state, &ended).await?;
        work.commit().await
    }
}

/// Whether it may be otherwise in a moment: so may a lock be that the program whose rows are holds for longer
/// than the database waits.
fn is_passing(error: &StoreError) -> bool {
    matches!(
        error.kind(),
        StoreErrorKind::Conflict | StoreErrorKind::Unavailable | StoreErrorKind::Database
    )
}

fn hung() -> StoreError {
    let context = format!(
        "resetting retries: the database has not answered within {LONGEST_STEP:?}; see what it is at"
    );
    StoreError::new(StoreErrorKind::Unavailable, context)
}
