//! A day, as it happens: what was planned is put into the EMR, by several clerks at once.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::plan::{Document, LANES, Plan, Step};
use crate::hospital::emr::EmrClient;

/// Puts all of a plan into the EMR: as fast as that takes it, or so many events a second. Progress shows how
/// many events are put. Says when it has begun.
///
/// # Errors
///
/// When the EMR refuses something.
pub(super) async fn live(
    plan: Plan,
    client: &EmrClient,
    rate: Option<f64>,
    progress: watch::Sender<usize>,
) -> anyhow::Result<DateTime<Utc>> {
    let begun = (Utc::now(), Instant::now());
    let progress = Arc::new(progress);
    let mut events = 0;
    for steps in [plan.stock, plan.steps] {
        let mut lanes: [Vec<(Duration, Step)>; LANES] = Default::default();
        for step in steps {
            let due = rate.map_or(0.0, |rate| events as f64 / rate);
            events += step.events;
            lanes[step.lane].push((Duration::from_secs_f64(due), step));
        }
        let mut clerks = JoinSet::new();
        for lane in lanes {
            let clerk = Clerk {
                client: client.clone(),
                progress: Arc::clone(&progress),
                begun: begun.1,
            };
            clerks.spawn(clerk.put(lane));
        }
        // The first that fails ends the others.
        while let Some(ended) = clerks.join_next().await {
            ended.context("putting a day into the EMR")??;
        }
    }
    Ok(begun.0)
}

/// Puts one thing after the other.
struct Clerk {
    client: EmrClient,
    progress: Arc<watch::Sender<usize>>,
    begun: Instant,
}

impl Clerk {
    async fn put(self, lane: Vec<(Duration, Step)>) -> anyhow::Result<()> {
        for (due, step) in lane {
            sleep_until(self.begun + due).await;
            self.step(&step.document).await?;
            self.progress.send_modify(|done| *done += step.events);
        }
        Ok(())
    }

    /// What has changed nothing was put before, and its answer has not come: it is put all the same.
    async fn step(&self, document: &Document) -> anyhow::Result<bool> {
        match document {
            Document::Drug(drug) => {
                let put = self.client.put_drug(drug).await;
                put.with_context(|| format!("putting the drug {}", drug.uuid))
            }
            Document::LabTest(test) => {
                let put = self.client.put_lab_test(test).await;
                put.with_context(|| format!("putting the test {}", test.uuid))
            }
            Document::Patient(patient) => {
                let put = self.client.put_patient(patient).await;
                put.with_context(|| format!("putting the patient {}", patient.uuid))
            }
            Document::Encounter(encounter) => {
                let put = self.client.put_encounter(encounter).await;
                put.with_context(|| format!("putting the encounter {}", encounter.uuid))
            }
        }
    }
}
