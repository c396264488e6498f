//! How far the systems are behind, by counts alone: cheap enough to look at all the time.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::agreement::{FOLLOWED, category_of};
use super::databases::{Databases, number, rows};
use crate::hospital::HospitalStore;
use crate::hospital::system::System;

/// How often it is counted.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often it is said how far the systems are; less often while nothing changes.
const SAY_EVERY: Duration = Duration::from_secs(5);
const SAY_AT_REST: Duration = Duration::from_secs(30);

/// How far the systems are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Events of the EMR and the lab.
    published: i64,
    /// Those that are on no page yet.
    queued: i64,
    /// Events that were applied, of all feeds.
    applied: i64,
    /// Events that were published, and that those who follow have not applied.
    behind: i64,
    /// Of these, those that are parked.
    parked: Vec<(System, i64)>,
}

impl Counts {
    /// Counts.
    pub(super) async fn read(databases: &Databases) -> anyhow::Result<Self> {
        let emr = by_category(&databases.emr).await?;
        let lab = by_category(&databases.lab).await?;
        let mut counts = Self {
            published: emr.values().sum::<i64>() + lab.values().sum::<i64>(),
            ..Self::default()
        };
        let queued = "SELECT COUNT(*) FROM event_records_queue";
        for publisher in [&databases.emr, &databases.lab] {
            counts.queued += number(publisher, queued).await?;
        }
        for (source, target, categories) in FOLLOWED {
            let store = databases.of_consumer(target);
            let applied = by_feed(store).await?;
            counts.applied += applied.values().sum::<i64>();
            for category in categories {
                let published = match source {
                    System::Lab => lab.get(*category),
                    _ => emr.get(*category),
                };
                let applied = applied.get(*category).copied().unwrap_or_default();
                let behind = published.copied().unwrap_or_default() - applied;
                counts.behind += behind.max(0);
            }
            let parked = number(store, "SELECT COUNT(*) FROM failed_events").await?;
            if parked > 0 {
                counts.parked.push((target, parked));
            }
        }
        Ok(counts)
    }

    /// How many events there are.
    pub(super) fn published(&self) -> i64 {
        self.published
    }

    /// Whether so many events are there, and everybody has applied all of them.
    fn is_settled(&self, expected: i64) -> bool {
        let is_all_there = self.published >= expected && self.queued == 0;
        is_all_there && self.behind == 0 && self.parked.is_empty()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            published,
            applied,
            behind,
            ..
        } = self;
        write!(
            f,
            "{published} events published, applied {applied} times, {behind} still to be applied"
        )?;
        for (system, parked) in &self.parked {
            write!(f, ", {parked} parked by the {system}")?;
        }
        Ok(())
    }
}

async fn by_category(publisher: &HospitalStore) -> anyhow::Result<BTreeMap<String, i64>> {
    let count = "SELECT category, COUNT(*) FROM event_records GROUP BY category";
    summed(publisher, count, str::to_owned).await
}

async fn by_feed(consumer: &HospitalStore) -> anyhow::Result<BTreeMap<String, i64>> {
    let count = "SELECT feed, COUNT(*) FROM applied GROUP BY feed";
    summed(consumer, count, category_of).await
}

async fn summed(
    store: &HospitalStore,
    sql: &'static str,
    name: impl Fn(&str) -> String + Send,
) -> anyhow::Result<BTreeMap<String, i64>> {
    let mut sums = BTreeMap::new();
    for row in rows(store, sql).await? {
        if let [text, count] = &row[..] {
            *sums.entry(name(text.text())).or_default() += count.number();
        }
    }
    Ok(sums)
}

/// How long is waited for all systems to agree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    /// So many events are to be there.
    pub(super) expected: i64,
    /// How long nothing may change before it is given up.
    pub(super) patience: Duration,
}

impl Wait {
    /// Waits until everything was applied, or nothing changes any more. Says how far it has come, and now and
    /// then how far it is.
    ///
    /// # Errors
    ///
    /// When it cannot be counted for as long as nothing may change.
    pub(super) async fn until_settled(&self, databases: &Databases) -> anyhow::Result<Counts> {
        let mut last = Counts::default();
        let mut changed = Instant::now();
        let mut said = Instant::now();
        let mut failed;
        loop {
            failed = None;
            match Counts::read(databases).await {
                // A system that starts has not made its tables yet.
                Err(error) => failed = Some(error),
                Ok(counts) if counts.is_settled(self.expected) => return Ok(counts),
                Ok(counts) if counts != last => {
                    last = counts;
                    changed = Instant::now();
                }
                Ok(_) => {}
            }
            let say_after = match changed.elapsed() < SAY_EVERY {
                true => SAY_EVERY,
                false => SAY_AT_REST,
            };
            if said.elapsed() >= say_after {
                println!("waiting: {last}");
                said = Instant::now();
            }
            if changed.elapsed() >= self.patience {
                break;
            }
            sleep(LOOK_EVERY).await;
        }
        match failed {
            Some(error) => Err(error.context("counting what was applied")),
            None => {
                println!("nothing has changed for {:?}: {last}", self.patience);
                Ok(last)
            }
        }
    }
}
