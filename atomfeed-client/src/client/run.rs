use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, join, select};
use tokio_util::sync::CancellationToken;

use super::AtomFeedClient;
use super::actions::{Acted, Asked};
use super::outage::spread;
use super::waiting::News;
use crate::{FetchError, ProcessError, ProcessErrorKind, metric};

/// For how long new events are read, and parked ones retried, before what was begun for somebody who has asked
/// for it goes on: that many times as long as it takes until it is looked for that, half a minute and five
/// seconds as a rule. To fetch a page may take as long as the first, and would begin anew.
const READING: u32 = 60;
const RETRYING: u32 = 10;

/// For how long a feed is tried to be given back to who stands by.
const GIVING_BACK: Duration = Duration::from_secs(5);

impl<C: ?Sized + Send + 'static> AtomFeedClient<C> {
    /// Processes new events, then tries parked ones again, over and over by the configured
    /// [schedule](crate::Schedule), until `stop` is cancelled. The events in hand are finished then, unless
    /// that takes longer than [is allowed](crate::AtomFeedClientBuilder::stop_within). With an interval, the
    /// first round begins at once, with a cron expression at its first time.
    ///
    /// Other errors do not end it: they are logged, and what could not be done is tried again in the next
    /// round. What is waited for after a [transient](crate::WorkerError::is_transient) error is tried
    /// again when that time is over, if no round begins before.
    ///
    /// It tells what it does to [`tracing`](https://docs.rs/tracing) (spans `process_events` and
    /// `process_failed_events`), and measures with [`metrics`](https://docs.rs/metrics), each by its
    /// `feed`:
    ///
    /// | name | kind | what |
    /// |---|---|---|
    /// | `atomfeed_events_total` | counter | events, by `outcome`: `applied`, `ignored`, `parked`, `held` (parked behind another) |
    /// | `atomfeed_retries_total` | counter | retries of parked events, by `outcome`: `succeeded`, `failed`, `dead` (for the last time) |
    /// | `atomfeed_parked_events` | gauge | events that are parked |
    /// | `atomfeed_lag_events` | gauge | events ahead of the marker, where the server says |
    /// | `atomfeed_lag_pages` | gauge | pages ahead of the marker's |
    /// | `atomfeed_lag_seconds` | gauge | how long ago the first event ahead of the marker was published |
    /// | `atomfeed_page_fetches_total` | counter | pages, by `outcome`: `fetched`, `unchanged`, `failed` |
    /// | `atomfeed_page_bytes_total` | counter | their bytes, after decompression |
    /// | `atomfeed_batch_events` | histogram | events that were taken at a time |
    /// | `atomfeed_batch_seconds` | histogram | how long they took |
    /// | `atomfeed_rounds_total` | counter | readings of the feed, by `outcome`: `read`, `waiting`, `standing_by`, `failed` |
    ///
    /// The same, feed by feed and minute by minute, is kept in the store for those who watch
    /// ([`StatusStore`](atomfeed_core::store::StatusStore)).
    ///
    /// # Errors
    ///
    /// [`ProcessErrorKind::BrokenTransaction`] ends it: the worker has ended a transaction that it was
    /// lent, and what it wrote may stand without the marker. Once a person has seen to that, and the worker
    /// is mended, call this again.
    ///
    /// # Cancel safety
    ///
    /// As [`process_events`](Self::process_events).
    pub async fn run(&self, stop: CancellationToken) -> Result<(), ProcessError> {
        let rounds = self.run_rounds(&stop);
        let ended = match self.settings.stop_within {
            None => rounds.await,
            Some(limit) => {
                tokio::select! {
                    biased;
                    ended = rounds => ended,
                    () = async { stop.cancelled().await; tokio::time::sleep(limit).await } => {
                        tracing::warn!(
                            feed = %self.feed, ?limit,
                            "what was in hand has not ended in time, and is undone"
                        );
                        Ok(())
                    }
                }
            }
        };
        match tokio::time::timeout(GIVING_BACK, self.give_back()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(feed = %self.feed, error, "who stands by takes over once it has waited");
            }
            Err(_) => {
                tracing::warn!(feed = %self.feed, "who stands by takes over once it has waited");
            }
        }
        ended
    }

    async fn run_rounds(&self, stop: &CancellationToken) -> Result<(), ProcessError> {
        let (schedule, clock) = (&self.settings.schedule, self.settings.clock.as_ref());
        let mut at_first = pin!(stop.run_until_cancelled(schedule.wait_at_first(clock)));
        while let Either::Right((asked, _)) =
            select(at_first.as_mut(), pin!(self.asked_at_first())).await
        {
            match asked {
                Some(Asked::ToAct) => {
                    self.carry_out_actions(stop).await?;
                }
                Some(Asked::WhetherStillThere) => self.write_status(false).await,
                None => {}
            }
        }
        let (mut idle_rounds, mut false_alarms) = (0_u32, 0_u32);
        let mut was_news = false;
        let mut news = None;
        while !stop.is_cancelled() {
            let acted = self.carry_out_actions(stop).await?;
            self.retry_what_is_freed(acted, stop).await?;
            let end_before = self.pages.head.end();
            let round = stop.child_token();
            let processing = self.process_until(&round);
            let processed = self.unless_asked(&round, READING, processing).await;
            let stands_by = matches!(&processed, Err(error)
                if matches!(error.kind(), ProcessErrorKind::StandingBy { .. }));
            metric::round(&self.feed, outcome(&processed));
            if is_in_doubt(&processed) {
                return processed.map(drop);
            }
            let mut retry_in = self.retry_in(&processed, "the feed was not read to its end");
            let left_alone = left_alone(&processed);
            // What is waited for in one is waited for in the other, and what parked events name is at the
            // same server, as a rule.
            if !stands_by && self.outages.now().is_none() && left_alone.is_zero() {
                let limit = Some(self.settings.max_retries);
                let retrying = self.retry_until(&round, limit);
                let retried = self.unless_asked(&round, RETRYING, retrying).await;
                if is_in_doubt(&retried) {
                    return retried.map(drop);
                }
                let other = self.retry_in(&retried, "failed events were not all retried");
                retry_in = [retry_in, other].into_iter().flatten().min();
            }
            let had_events = processed
                .as_ref()
                .is_ok_and(|processed| processed.events() > 0);
            idle_rounds = match had_events {
                true => 0,
                false => idle_rounds.saturating_add(1),
            };
            // Pages by time end also where nothing has come: a server that tells of it cries no wolf.
            let is_elsewhere = end_before.is_some() && self.pages.head.end() != end_before;
            false_alarms = match was_news && !had_events {
                true if is_elsewhere => false_alarms.max(1),
                true => false_alarms.saturating_add(1),
                false if had_events => 0,
                false => false_alarms,
            };
            match processed.is_ok() && schedule.is_interval() {
                // A request that waits goes on waiting across rounds.
                true => drop(news.get_or_insert_with(|| Box::pin(self.news()))),
                false => news = None,
            }
            if round.is_cancelled() {
                // The rest of it comes after what is asked for.
                continue;
            }
            let pause = Pause {
                idle_rounds,
                false_alarms,
                retry_in,
                left_alone,
            };
            let pause = self.pause(stop, pause, &mut news);
            was_news = self.wait_at_work(pause, Ok(false)).await?;
        }
        Ok(())
    }

    /// Waits for the next round. True when it is to begin since there are news.
    async fn pause(
        &self,
        stop: &CancellationToken,
        pause: Pause,
        news: &mut Option<impl Future<Output = News> + Unpin>,
    ) -> Result<bool, ProcessError> {
        let (schedule, clock) = (&self.settings.schedule, self.settings.clock.as_ref());
        // Who is told of news has nothing to look for.
        let idle_rounds = match self.waits.is_known() {
            true => u32::MAX,
            false => pause.idle_rounds,
        };
        let next = pin!(schedule.wait(clock, idle_rounds));
        let next = tokio::time::timeout(pause.retry_in.unwrap_or(Duration::MAX), next);
        let next = join(tokio::time::sleep(pause.left_alone), next);
        let mut next = pin!(stop.run_until_cancelled(next));
        let mut told = pin!(async {
            let Some(asked) = news.as_mut() else {
                return std::future::pending().await;
            };
            // A server that tells of news where there are none, or has them only in a moment, is asked
            // more and more seldom.
            if pause.false_alarms > 0 {
                tokio::time::sleep(FALSE_ALARM * 2_u32.pow(pause.false_alarms.min(10) - 1)).await;
            }
            let told = asked.await;
            *news = None;
            match told {
                News::Some => None,
                News::LeaveAlone(asked) => Some(asked),
                News::Unknown => std::future::pending().await,
            }
        });
        let alone = loop {
            let over = select(next.as_mut(), told.as_mut());
            match select(over, pin!(self.asked(None))).await {
                Either::Left((Either::Left(_), _)) => return Ok(false),
                Either::Left((Either::Right((None, _)), _)) => return Ok(true),
                Either::Left((Either::Right((Some(alone), _)), _)) => break alone,
                Either::Right((asked, _)) => {
                    if self.act_in_pause(asked, stop, pause.left_alone).await? {
                        return Ok(false);
                    }
                }
            }
        };
        let alone = spread(alone);
        let mut over = pin!(stop.run_until_cancelled(tokio::time::sleep(alone)));
        while let Either::Right((asked, _)) = select(over.as_mut(), pin!(self.asked(None))).await {
            self.act_in_pause(asked, stop, alone).await?;
        }
        Ok(false)
    }

    /// Carries out what is asked for between two rounds, and tries again what may go on since. True when the
    /// next round is to begin.
    async fn act_in_pause(
        &self,
        asked: Asked,
        stop: &CancellationToken,
        left_alone: Duration,
    ) -> Result<bool, ProcessError> {
        if asked == Asked::WhetherStillThere {
            self.write_status(false).await;
            return Ok(false);
        }
        let acted = self.carry_out_actions(stop).await?;
        if left_alone.is_zero() {
            self.retry_what_is_freed(acted, stop).await?;
        }
        Ok(acted.has_moved)
    }

    /// Tries again what has waited behind what somebody has set right.
    async fn retry_what_is_freed(
        &self,
        acted: Acted,
        stop: &CancellationToken,
    ) -> Result<(), ProcessError> {
        if !acted.has_freed || self.outages.now().is_some() {
            return Ok(());
        }
        let pass = stop.child_token();
        let retrying = self.retry_until(&pass, Some(self.settings.max_retries));
        let retried = self.unless_asked(&pass, RETRYING, retrying).await;
        if is_in_doubt(&retried) {
            return retried.map(drop);
        }
        self.retry_in(&retried, "failed events were not all retried");
        Ok(())
    }

    /// What is asked for before the first round, which may be long in coming. Who stands by takes the feed over
    /// meanwhile, if nobody is at work on it, and is asked as soon as it has. None when it is to be seen again
    /// who is.
    async fn asked_at_first(&self) -> Option<Asked> {
        if let Some(lease) = self.settings.lease
            && self.settings.look_for_actions.is_some()
            && self.claiming.held().is_none()
        {
            // Whose it is, and whether the database is there, is seen again.
            if let Err(error) = self.at_work(async { Ok(()) }).await {
                tracing::debug!(feed = %self.feed, %error, "not at work yet");
                tokio::time::sleep(self.looks_again_after().unwrap_or(lease)).await;
                return None;
            }
        }
        let asked = async { Some(self.asked(None).await) };
        self.wait_at_work(asked, None).await
    }

    /// Goes on with a round, or a part of it, and has it end early when somebody asks for something.
    async fn unless_asked<T>(
        &self,
        round: &CancellationToken,
        looks: u32,
        work: impl Future<Output = T>,
    ) -> T {
        let asked = async {
            let interval = self.settings.look_for_actions.unwrap_or_default();
            self.asked(Some(interval * looks)).await;
            round.cancel();
            std::future::pending().await
        };
        tokio::select! {
            biased;
            done = work => done,
            () = asked => unreachable!("it is pending"),
        }
    }

    /// How soon to try again what a round has waited for; `None` when that is for the schedule to say.
    fn retry_in<T>(&self, ended: &Result<T, ProcessError>, what: &str) -> Option<Duration> {
        let error = ended.as_ref().err()?;
        let kind = error.kind();
        let error = error as &dyn std::error::Error;
        match kind {
            ProcessErrorKind::Waiting { retry_in, .. } => {
                tracing::warn!(feed = %self.feed, error, "the feed waits");
                return Some(*retry_in);
            }
            ProcessErrorKind::StandingBy { consumer } => {
                tracing::debug!(feed = %self.feed, consumer, "standing by");
                return self.looks_again_after();
            }
            _ => {}
        }
        tracing::error!(feed = %self.feed, error, "{what}");
        None
    }
}

/// How long a server is not asked for news that has told of some where there were none; then twice as long,
/// and so on.
const FALSE_ALARM: Duration = Duration::from_secs(1);

/// How long it is until the next round.
struct Pause {
    /// So many rounds had no events.
    idle_rounds: u32,
    /// So often there were news without an event.
    false_alarms: u32,
    /// What is waited for is tried again then, if no round begins before.
    retry_in: Option<Duration>,
    /// The server is not asked earlier, whatever else is.
    left_alone: Duration,
}

/// For how long the server of the feed asks to be left alone.
fn left_alone<T>(ended: &Result<T, ProcessError>) -> Duration {
    let kind = ended.as_ref().err().map(ProcessError::kind);
    let fetching = kind.and_then(ProcessErrorKind::fetching);
    let asked = fetching.and_then(FetchError::retry_after);
    asked.map(spread).unwrap_or_default()
}

/// What ends it all: nobody but a person knows what to make of it.
fn is_in_doubt<T>(ended: &Result<T, ProcessError>) -> bool {
    let kind = ended.as_ref().err().map(ProcessError::kind);
    matches!(kind, Some(ProcessErrorKind::BrokenTransaction { .. }))
}

fn outcome<T>(round: &Result<T, ProcessError>) -> &'static str {
    match round.as_ref().map_err(ProcessError::kind) {
        Ok(_) => "read",
        Err(ProcessErrorKind::Waiting { .. }) => "waiting",
        Err(ProcessErrorKind::StandingBy { .. }) => "standing_by",
        Err(_) => "failed",
    }
}
