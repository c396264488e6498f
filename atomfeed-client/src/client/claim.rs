use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atomfeed_core::store::{Claim, StoreError, StoreErrorKind, StoreResult, UnitOfWork};
use atomfeed_core::{EntryId, Marker};
use tokio::time::Instant;

use super::AtomFeedClient;
use crate::ProcessErrorKind;

/// So many signs of life fit into the time after which another consumer takes the feed.
const BEATS: u32 = 4;

/// What this consumer knows of who follows its feed.
#[derive(Debug)]
pub(super) struct Claiming {
    /// Another one for each client, also of the same name.
    pub(super) consumer: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The claim that this consumer has, unless it was lost meanwhile.
    held: Option<Claim>,
    /// That of another one, and since when it has given no sign of life.
    seen: Option<(Claim, Instant)>,
}

impl Default for Claiming {
    fn default() -> Self {
        let id = uuid::Uuid::new_v4();
        Self {
            consumer: format!("process {} ({id})", std::process::id()),
            state: Mutex::default(),
        }
    }
}

impl Claiming {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn held(&self) -> Option<Claim> {
        self.state().held.clone()
    }

    pub(super) fn hold(&self, claim: Option<Claim>) {
        *self.state() = State {
            held: claim,
            seen: None,
        };
    }

    /// What was seen of another consumer's claim counts from now on.
    fn hear_again(&self) {
        if let Some((_, since)) = &mut self.state().seen {
            *since = Instant::now();
        }
    }

    /// For how long another consumer's claim has stood still.
    fn still_for(&self, claim: &Claim) -> Duration {
        let mut state = self.state();
        state.held = None;
        match &state.seen {
            Some((seen, since)) if seen == claim => since.elapsed(),
            _ => {
                state.seen = Some((claim.clone(), Instant::now()));
                Duration::ZERO
            }
        }
    }
}

/// What stands in the database when a consumer begins to read.
pub(super) enum Beginning {
    /// These events, behind the marker, were dealt with already.
    Completed(std::collections::HashSet<EntryId>),
    /// The marker was moved meanwhile.
    Moved,
}

impl<C: ?Sized + Send + 'static> AtomFeedClient<C> {
    /// Takes the feed, before events behind a marker are dealt with: what another consumer of it has
    /// not committed by now will fail.
    pub(super) async fn begin_reading(
        &self,
        marker: Option<&Marker>,
    ) -> Result<Beginning, ProcessErrorKind> {
        let mut work = self.store.begin().await?;
        let known = work.claim(&self.feed).await?;
        self.must_not_have_moved(known.as_ref())?;
        if self.settings.lease.is_some() {
            // Taken when it was seen that nobody else is at work, and by nobody else since.
            self.keep_claim(work.as_mut()).await?;
        }
        let claim = match known {
            Some(known) if known.consumer == self.claiming.consumer => known,
            known => {
                let claim = Claim::after(known.as_ref(), &self.claiming.consumer);
                work.put_claim(&self.feed, &claim).await?;
                claim
            }
        };
        // As they are now that nobody else can change them.
        let now = work.marker(&self.feed).await?;
        let completed = work.completed(&self.feed).await?;
        work.commit().await?;
        self.claiming.hold(Some(claim));
        Ok(match now.as_ref() == marker {
            true => Beginning::Completed(completed),
            false => Beginning::Moved,
        })
    }

    /// Who would begin under an address that the feed has no longer would begin anew.
    fn must_not_have_moved(&self, claim: Option<&Claim>) -> Result<(), ProcessErrorKind> {
        match claim.and_then(Claim::moved_to) {
            Some(to) => Err(ProcessErrorKind::FeedMoved { to: to.to_owned() }),
            None => Ok(()),
        }
    }

    /// Makes sure that a feed that has no marker has not got one under another address.
    pub(super) async fn may_begin(&self) -> Result<(), ProcessErrorKind> {
        let mut work = self.store.begin().await?;
        let known = work.claim(&self.feed).await?;
        work.rollback().await?;
        self.must_not_have_moved(known.as_ref())
    }

    /// Makes sure, before what was done is committed, that no other consumer has taken the feed.
    pub(super) async fn keep_claim(&self, work: &mut dyn UnitOfWork<Conn = C>) -> StoreResult<()> {
        match self.claiming.held() {
            Some(claim) => work.keep_claim(&self.feed, &claim).await,
            None => Ok(()),
        }
    }

    /// Does something while this is the one consumer that follows the feed, where one is to stand by for
    /// another; else does it anyway. When the feed is lost meanwhile, what is not committed is dropped.
    ///
    /// # Errors
    ///
    /// [`ProcessErrorKind::StandingBy`] while another one is at work; a conflict when the feed was lost.
    pub(super) async fn at_work<T>(
        &self,
        work: impl Future<Output = Result<T, ProcessErrorKind>>,
    ) -> Result<T, ProcessErrorKind> {
        let Some(lease) = self.settings.lease else {
            return work.await;
        };
        self.stand_by(lease).await?;
        tokio::select! {
            biased;
            lost = self.give_signs_of_life(lease) => Err(lost.into()),
            done = work => done,
        }
    }

    /// Takes the feed if nobody is at work on it.
    async fn stand_by(&self, lease: Duration) -> Result<(), ProcessErrorKind> {
        let begun = Instant::now();
        let mut work = self.store.begin().await?;
        let known = work.claim(&self.feed).await?;
        self.must_not_have_moved(known.as_ref())?;
        if begun.elapsed() >= lease / BEATS {
            // Somebody's transaction was waited for, and may have kept the other one from a sign of life.
            self.claiming.hear_again();
        }
        let claim = match &known {
            Some(known) if known.consumer == self.claiming.consumer => {
                let mut claim = known.clone();
                claim.beats += 1;
                claim
            }
            Some(known) if !known.consumer.is_empty() && self.claiming.still_for(known) < lease => {
                let consumer = known.consumer.clone();
                work.rollback().await?;
                return Err(ProcessErrorKind::StandingBy { consumer });
            }
            known => {
                let before = known.as_ref().map(|known| known.consumer.as_str());
                let before = before.unwrap_or_default();
                tracing::info!(feed = %self.feed, before, "this consumer takes over the feed");
                Claim::after(known.as_ref(), &self.claiming.consumer)
            }
        };
        work.put_claim(&self.feed, &claim).await?;
        work.commit().await?;
        self.claiming.hold(Some(claim));
        Ok(())
    }

    /// Waits, and gives signs of life meanwhile where one consumer is to be at work; ends before its time
    /// when the feed was lost. Says whether there are news, as the wait does.
    pub(super) async fn wait_at_work<T>(&self, wait: impl Future<Output = T>, lost_it: T) -> T {
        let Some(lease) = self
            .settings
            .lease
            .filter(|_| self.claiming.held().is_some())
        else {
            return wait.await;
        };
        tokio::select! {
            biased;
            lost = self.give_signs_of_life(lease) => {
                tracing::warn!(feed = %self.feed, %lost, "the feed is followed by another consumer now");
                lost_it
            }
            is_news = wait => is_news,
        }
    }

    /// Ends when the feed is lost.
    async fn give_signs_of_life(&self, lease: Duration) -> StoreError {
        let mut last = Instant::now();
        loop {
            tokio::time::sleep(lease / BEATS).await;
            match self.give_sign_of_life().await {
                Ok(()) => last = Instant::now(),
                Err(error) if error.kind() == StoreErrorKind::Conflict => return error,
                // Others may take the feed by now. Where one transaction writes at a time they cannot
                // while one of ours is open, which is what this waits for as a rule.
                Err(error) if last.elapsed() >= lease && !self.store.writes_one_at_a_time() => {
                    return error;
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(feed = %self.feed, error, "no sign of life could be given");
                }
            }
        }
    }

    async fn give_sign_of_life(&self) -> StoreResult<()> {
        let Some(mut claim) = self.claiming.held() else {
            return Ok(());
        };
        let mut work = self.store.begin().await?;
        let known = work.claim(&self.feed).await?;
        work.keep_claim(&self.feed, &claim).await?;
        claim.beats = known.map_or(claim.beats, |known| known.beats) + 1;
        work.put_claim(&self.feed, &claim).await?;
        work.commit().await
    }

    /// Gives the feed back, so that who stands by takes it at once. Without effect where it was lost.
    pub(super) async fn give_back(&self) -> StoreResult<()> {
        let Some(mut claim) = self
            .claiming
            .held()
            .filter(|_| self.settings.lease.is_some())
        else {
            return Ok(());
        };
        let mut work = self.store.begin().await?;
        let known = work.claim(&self.feed).await?;
        if known.is_none_or(|known| known.epoch != claim.epoch) {
            return work.rollback().await;
        }
        claim.consumer.clear();
        work.put_claim(&self.feed, &claim).await?;
        work.commit().await?;
        self.claiming.hold(None);
        Ok(())
    }

    /// How soon who stands by looks again, if no round begins before.
    pub(super) fn looks_again_after(&self) -> Option<Duration> {
        self.settings.lease.map(|lease| lease / BEATS)
    }
}
