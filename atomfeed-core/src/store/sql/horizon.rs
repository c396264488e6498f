//! Up to where events are shown while another program writes them.
//!
//! Ids are handed out before a transaction commits. So the rows of `event_records` are shown up to the
//! first id that is missing, until the event comes, or none can come any more.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;

use super::error::Doing;
use super::{Dialect, Row, SqlStore, Value};
use crate::store::StoreResult;

/// How many ids are looked at in one statement.
const BATCH: i64 = 1_000;

/// After how many ids it is written down that none was missing.
const KEPT_EVERY: i64 = 50_000;

/// How often missing ids that were passed over are looked for.
const LOOK_BACK: Duration = Duration::from_secs(1);

/// So many gaps are looked at each time: the newest, and in turn as many of all.
const GAPS_AT_ONCE: i64 = 1_000;

// In one statement, and so as of one moment: whoever passes over missing ids says so first, and then
// looks for them once more, so that what is seen here is seen there.
const IDS_ABOVE: &str = "SELECT id, NULL, NULL FROM
     (SELECT id FROM {s}event_records WHERE id > ? ORDER BY id LIMIT ?) AS above
    UNION ALL SELECT NULL, settled_id, passing_id FROM {s}atomfeed_feed_state WHERE id = 1";
const NEWEST: &str = "SELECT MAX(id) FROM {s}event_records";
const SELECT_STATE: &str = "SELECT settled_id, passing_id FROM {s}atomfeed_feed_state WHERE id = 1";
const SET_PASSING: &str = "UPDATE {s}atomfeed_feed_state SET passing_id = ?
    WHERE id = 1 AND passing_id IS NULL AND COALESCE(settled_id, 0) < ?";
const SET_SETTLED: &str =
    "UPDATE {s}atomfeed_feed_state SET settled_id = ?, passing_id = NULL WHERE id = 1";
const SELECT_GAPS: &str = "SELECT below, id FROM
     (SELECT id, COALESCE(LAG(id) OVER (ORDER BY id), ?) AS below FROM {s}event_records
      WHERE id > ? AND id <= ?) AS pairs
    WHERE id > below + 1 ORDER BY id";
const INSERT_GAP: &str = "INSERT {unless} INTO {s}atomfeed_gaps (first_id, last_id, passed_at)
    VALUES (?, ?, ?) {there}";
// The first and the last of the newest gaps, and of those that follow one.
const SELECT_TURN: &str = "SELECT 0, MIN(first_id), MAX(first_id) FROM
     (SELECT first_id FROM {s}atomfeed_gaps ORDER BY first_id DESC LIMIT ?) AS newest_gaps
    UNION ALL SELECT 1, MIN(first_id), MAX(first_id) FROM
     (SELECT first_id FROM {s}atomfeed_gaps WHERE first_id > ? ORDER BY first_id LIMIT ?) AS next_gaps";
const SELECT_LATE: &str = "SELECT id, uuid FROM {s}event_records WHERE id >= ? AND id <= ?";

/// What this process knows of it.
#[derive(Debug)]
pub(super) struct Horizon {
    gap_wait: Duration,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Up to here, every event that is there is shown, and no other will be.
    settled: i64,
    /// What of it was written down.
    kept: i64,
    /// When ids were seen to be missing, oldest first.
    watches: Vec<Watch>,
    looked_back: Option<Instant>,
    /// The first id of the gap up to which it is the turn of older ones.
    looked_through: Option<i64>,
    /// Ids of events that came too late, of which was told.
    late: HashSet<i64>,
}

/// Ids up to this one were missing.
#[derive(Debug, Clone, Copy)]
struct Watch {
    through: i64,
    since: Instant,
    /// The transactions that were there, where the database tells, have all ended when the oldest is
    /// this one, or a later one.
    until_oldest: Option<i64>,
}

impl Watch {
    /// Whether it is to be asked now which transactions are there.
    fn is_due(&self, now: Instant, gap_wait: Duration) -> bool {
        // A transaction takes its id a little before it gets the number by which it is seen to be open.
        let seen_since = Duration::from_millis(100).min(gap_wait);
        let seen = now.checked_duration_since(self.since);
        self.until_oldest.is_none() && seen.is_some_and(|seen| seen >= seen_since)
    }
}

impl Horizon {
    pub(super) fn new(gap_wait: Duration) -> Self {
        Self {
            gap_wait,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Dialect> SqlStore<D> {
    /// The id up to which events are shown; those that are there above it are not, as yet.
    pub(super) async fn shown_through(&self) -> StoreResult<i64> {
        let Some(horizon) = &self.horizon else {
            return Ok(i64::MAX);
        };
        self.look_back(horizon).await?;
        loop {
            let settled = horizon.known().settled;
            let values = vec![settled.into(), BATCH.into()];
            let rows = self
                .read("reading the newest ids", IDS_ABOVE, values)
                .await?;
            let mut ids = Vec::with_capacity(rows.len());
            let mut state = Passed::default();
            for mut row in rows {
                match row.int()? {
                    Some(id) => ids.push(id),
                    None => state = passed(&mut row)?,
                }
            }
            ids.sort_unstable();
            let found = ids.len();
            let mut shown = settled;
            for id in ids {
                if id != shown + 1 {
                    break;
                }
                shown = id;
            }
            if let Some(passing) = state.passing {
                self.pass(passing).await?;
            } else if state.settled > settled {
                horizon.known().settled = state.settled;
            } else if shown - settled == BATCH {
                let kept = {
                    let mut known = horizon.known();
                    known.settled = shown;
                    known.kept
                };
                if shown - kept >= KEPT_EVERY {
                    self.keep_settled(shown).await?;
                    horizon.known().kept = shown;
                }
            } else if i64::try_from(found).is_ok_and(|found| shown - settled == found) {
                // None is missing, up to here.
                let mut known = horizon.known();
                known.watches.clear();
                known.settled = known.settled.max(shown);
                return Ok(shown);
            } else if let Some(through) = self.watch(horizon).await? {
                self.begin_passing(through).await?;
            } else {
                return Ok(shown);
            }
        }
    }

    /// The id through which to read, up to which events are shown at the most.
    pub(super) async fn within_shown(&self, through: Option<i64>) -> StoreResult<i64> {
        let settled = match &self.horizon {
            Some(horizon) => horizon.known().settled,
            None => i64::MAX,
        };
        match through {
            Some(through) if through <= settled => Ok(through),
            through => {
                let shown = self.shown_through().await?;
                Ok(through.unwrap_or(shown).min(shown))
            }
        }
    }

    /// Waits until all that is there is shown, where nothing has been as yet. Else it is shown up to the
    /// first id that is missing, as it was before.
    pub(super) async fn settle(&self) -> StoreResult<()> {
        let doing = "reading up to where events are shown";
        let rows = self.read(doing, SELECT_STATE, Vec::new()).await?;
        let known = rows.into_iter().next().map(|mut row| row.int());
        if known.transpose()?.flatten().is_some() {
            return Ok(());
        }
        let rows = self
            .read("reading the newest id", NEWEST, Vec::new())
            .await?;
        let newest = rows.into_iter().next().map(|mut row| row.int());
        let newest = newest.transpose()?.flatten().unwrap_or_default();
        let Some(horizon) = &self.horizon else {
            return Ok(());
        };
        let pause = (horizon.gap_wait / 20).min(Duration::from_millis(100));
        let begun = Instant::now();
        let mut is_told = false;
        while self.shown_through().await? < newest {
            if !is_told && begun.elapsed() >= Duration::from_secs(1) {
                is_told = true;
                tracing::warn!(
                    newest,
                    "ids are missing below the newest event; before the feed is shown for the first \
                     time, it is waited until no open transaction can fill them: end those that stay open"
                );
            }
            tokio::time::sleep(pause).await;
        }
        self.keep_settled(newest).await
    }

    /// Watches the ids that are missing now. Up to which of them none can come any more, if so.
    async fn watch(&self, horizon: &Horizon) -> StoreResult<Option<i64>> {
        let rows = self
            .read("reading the newest id", NEWEST, Vec::new())
            .await?;
        let newest = rows.into_iter().next().map(|mut row| row.int());
        let newest = newest.transpose()?.flatten().unwrap_or_default();
        let now = Instant::now();
        let (mut oldest, mut number) = (None, None);
        if let Some(transactions) = D::TRANSACTIONS {
            let is_due = |watch: &Watch| watch.is_due(now, horizon.gap_wait);
            if horizon.known().watches.iter().any(is_due) {
                number = self.transaction(transactions.number).await?;
            }
            oldest = self.transaction(transactions.oldest).await?;
        }
        let mut known = horizon.known();
        for watch in &mut known.watches {
            // Those that were due before the number was taken.
            if watch.is_due(now, horizon.gap_wait) {
                watch.until_oldest = number;
            }
        }
        let settled = known.settled;
        known.watches.retain(|watch| watch.through > settled);
        let last = known.watches.last();
        let is_new = last.is_none_or(|last| {
            newest > last.through && now - last.since >= Duration::from_millis(500)
        });
        if is_new {
            known.watches.push(Watch {
                through: newest,
                since: now,
                until_oldest: None,
            });
        }
        let is_over = |watch: &&Watch| match D::TRANSACTIONS {
            Some(_) => watch.until_oldest.is_some() && oldest >= watch.until_oldest,
            None => now - watch.since >= horizon.gap_wait,
        };
        let over = known.watches.iter().rev().find(is_over);
        Ok(over.map(|watch| watch.through))
    }

    /// A number of a transaction.
    async fn transaction(&self, statement: &'static str) -> StoreResult<Option<i64>> {
        let doing = "asking which transactions are open";
        let rows = self.read(doing, statement, Vec::new()).await?;
        let number = rows.into_iter().next().map(|mut row| row.int());
        Ok(number.transpose()?.flatten())
    }

    /// Says that the missing ids up to this one will be passed over.
    async fn begin_passing(&self, through: i64) -> StoreResult<()> {
        let doing = || "passing over missing ids";
        let mut transaction = self.begin_writing(doing).await?;
        self.lock_feed_state(&mut transaction).await?;
        let values = vec![through.into(), through.into()];
        self.execute(&mut transaction, doing, SET_PASSING, values)
            .await?;
        transaction.commit().await.doing(doing)
    }

    /// Passes over the ids that are missing still, and shows what is above them.
    async fn pass(&self, through: i64) -> StoreResult<()> {
        let doing = || format!("passing over missing ids up to {through}");
        let mut transaction = self.begin_writing(doing).await?;
        self.lock_feed_state(&mut transaction).await?;
        let rows = self
            .fetch(&mut transaction, doing, SELECT_STATE, Vec::new())
            .await?;
        let mut settled = 0;
        if let Some(mut row) = rows.into_iter().next() {
            settled = row.int()?.unwrap_or_default();
            if row.int()? != Some(through) {
                // Somebody else was faster.
                return Ok(());
            }
        }
        let values = vec![settled.into(), settled.into(), through.into()];
        let rows = self
            .fetch(&mut transaction, doing, SELECT_GAPS, values)
            .await?;
        for mut row in rows {
            let (below, above) = (row.required_int()?, row.required_int()?);
            tracing::debug!(
                first = below + 1,
                last = above - 1,
                "no events came for ids"
            );
            let values = vec![(below + 1).into(), (above - 1).into(), Utc::now().into()];
            self.execute(&mut transaction, doing, INSERT_GAP, values)
                .await?;
        }
        self.execute(&mut transaction, doing, SET_SETTLED, vec![through.into()])
            .await?;
        transaction.commit().await.doing(doing)
    }

    /// So that whoever opens the tables next need not look at all ids again.
    pub(super) async fn keep_settled(&self, settled: i64) -> StoreResult<()> {
        let doing = || "keeping up to where events are shown";
        let mut transaction = self.begin_writing(doing).await?;
        self.lock_feed_state(&mut transaction).await?;
        let keep = "UPDATE {s}atomfeed_feed_state SET settled_id = ?
            WHERE id = 1 AND passing_id IS NULL AND COALESCE(settled_id, -1) < ?";
        let values: Vec<Value> = vec![settled.into(), settled.into()];
        self.execute(&mut transaction, doing, keep, values).await?;
        transaction.commit().await.doing(doing)
    }

    /// Tells of events that came below what was shown: they are on no page, since a page that has a
    /// successor never changes.
    async fn look_back(&self, horizon: &Horizon) -> StoreResult<()> {
        {
            let mut known = horizon.known();
            if known.looked_back.is_some_and(|at| at.elapsed() < LOOK_BACK) {
                return Ok(());
            }
            known.looked_back = Some(Instant::now());
        }
        // However long ago an id was passed over: its transaction may have been open since.
        let doing = "looking for events that came too late";
        let through = horizon.known().looked_through.unwrap_or(i64::MIN);
        let values = vec![GAPS_AT_ONCE.into(), through.into(), GAPS_AT_ONCE.into()];
        let mut turns = Vec::new();
        for mut row in self.read(doing, SELECT_TURN, values).await? {
            let is_next = row.required_int()? == 1;
            let (first, last) = (row.int()?, row.int()?);
            if is_next {
                // After the last, from the beginning.
                horizon.known().looked_through = last;
            }
            turns.extend(first.zip(last));
        }
        turns.sort_unstable();
        turns.dedup();
        let mut filled = Vec::new();
        for (first, last) in turns {
            let values = vec![first.into(), last.into()];
            filled.extend(self.read(doing, D::FILLED_GAPS, values).await?);
        }
        let mut rows = Vec::new();
        for mut gap in filled {
            let values = vec![gap.int()?.into(), gap.int()?.into()];
            rows.extend(self.read(doing, SELECT_LATE, values).await?);
        }
        for mut row in rows {
            let (id, uuid) = (row.required_int()?, row.text_or_empty()?);
            if horizon.known().late.insert(id) {
                metrics::counter!("atomfeed_late_events_total").increment(1);
                tracing::error!(
                    id,
                    uuid,
                    "an event was committed so late that later ones had been shown, and is on no page; \
                     publish it again under another uuid, and allow more time for missing ids"
                );
            }
        }
        Ok(())
    }
}

fn passed(row: &mut Row) -> StoreResult<Passed> {
    Ok(Passed {
        settled: row.int()?.unwrap_or_default(),
        passing: row.int()?,
    })
}

/// What is written down of it.
#[derive(Debug, Default)]
struct Passed {
    settled: i64,
    /// Somebody is passing over the missing ids up to this one.
    passing: Option<i64>,
}
