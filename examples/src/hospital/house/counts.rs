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
    /// Events of the EMR and the lab, also those that are on no page yet.
    published: i64,
    /// Events that were applied, of all feeds.
    applied: i64,
    /// Events that were published, and that those who follow have not applied.
    behind: i64,
    /// Of these, those that the EMR and the lab have not applied, who publish what comes of it.
    behind_publishers: i64,
    /// Of all these, those that are parked.
    parked: Vec<(System, i64)>,
    /// Orders of the lab that it has still to analyse, and to publish what it finds.
    ordered: i64,
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
                if matches!(target, System::Emr | System::Lab) {
                    counts.behind_publishers += behind.max(0);
                }
            }
            let parked = number(store, "SELECT COUNT(*) FROM failed_events").await?;
            if parked > 0 {
                counts.parked.push((target, parked));
            }
        }
        let ordered = "SELECT COUNT(*) FROM orders WHERE state = 'ordered'";
        counts.ordered = number(&databases.lab, ordered).await?;
        Ok(counts)
    }

    /// How many events there are.
    pub(super) fn published(&self) -> i64 {
        self.published
    }

    /// Whether anybody has parked anything.
    pub(super) fn is_any_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// Whether no system has anything to publish, unless somebody gives it something.
    pub(super) fn is_at_rest(&self) -> bool {
        self.behind_publishers == 0 && self.ordered == 0
    }

    /// Whether so many events are there, at least, and everybody has applied all that are.
    fn is_settled(&self, expected: i64) -> bool {
        let is_all_applied = self.behind == 0 && self.parked.is_empty();
        self.published >= expected && is_all_applied && self.is_at_rest()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            published,
            applied,
            behind,
            ordered,
            ..
        } = self;
        write!(
            f,
            "{published} events published, applied {applied} times, {behind} still to be applied"
        )?;
        for (system, parked) in &self.parked {
            write!(f, ", {parked} parked by the {system}")?;
        }
        if *ordered > 0 {
            write!(f, ", {ordered} orders still to be analysed by the lab")?;
        }
        Ok(())
    }
}

async fn by_category(publisher: &HospitalStore) -> anyhow::Result<BTreeMap<String, i64>> {
    // In one statement: an event goes from one table to the other.
    let count = "SELECT category, COUNT(*) FROM (SELECT category FROM event_records
         UNION ALL SELECT category FROM event_records_queue) published
        GROUP BY category";
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

/// How long is waited for the systems.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    /// How long nothing may change before it is given up.
    pub(super) patience: Duration,
}

impl Wait {
    /// Waits until so many events are there and all were applied, or nothing changes any more.
    ///
    /// # Errors
    ///
    /// When it cannot be counted for as long as nothing may change.
    pub(super) async fn until_settled(
        self,
        databases: &Databases,
        expected: i64,
    ) -> anyhow::Result<Counts> {
        let is_settled = |counts: &Counts| counts.is_settled(expected);
        self.until(databases, is_settled).await
    }

    /// Waits until nobody publishes any more, or nothing changes any more: what is parked in the EMR or the lab is
    /// tried again, and more may come of it.
    ///
    /// # Errors
    ///
    /// As [`until_settled`](Self::until_settled).
    pub(super) async fn until_at_rest(self, databases: &Databases) -> anyhow::Result<Counts> {
        self.until(databases, Counts::is_at_rest).await
    }

    /// Says now and then how far it is, and how far it has come when it gives up.
    async fn until(
        self,
        databases: &Databases,
        is_it: impl Fn(&Counts) -> bool + Send,
    ) -> anyhow::Result<Counts> {
        let mut last = Counts::default();
        let mut changed = Instant::now();
        let mut said = Instant::now();
        let mut failed;
        loop {
            failed = None;
            match Counts::read(databases).await {
                // A system that starts has not made its tables yet.
                Err(error) => failed = Some(error),
                // Not all is counted in one moment. What is the same twice was so in between, too, since what was
                // published and applied only ever becomes more.
                Ok(counts) if counts == last && is_it(&counts) => return Ok(counts),
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
                say!("waiting: {last}");
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
                say!("nothing has changed for {:?}: {last}", self.patience);
                Ok(last)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_still_something_to_publish_is_not_at_rest() {
        let settled = Counts {
            published: 10,
            applied: 30,
            ..Counts::default()
        };
        assert!(settled.is_at_rest());
        assert!(settled.is_settled(9) && settled.is_settled(10));
        assert!(!settled.is_settled(11));

        let analysing = Counts {
            ordered: 1,
            ..settled.clone()
        };
        let publisher_behind = Counts {
            behind: 1,
            behind_publishers: 1,
            ..settled.clone()
        };
        for counts in [analysing, publisher_behind] {
            assert!(!counts.is_at_rest(), "{counts}");
            assert!(!counts.is_settled(10), "{counts}");
        }
        // The ERP publishes nothing.
        let parked = Counts {
            behind: 1,
            parked: vec![(System::Erp, 1)],
            ..settled
        };
        assert!(parked.is_at_rest() && !parked.is_settled(10), "{parked}");
    }
}
