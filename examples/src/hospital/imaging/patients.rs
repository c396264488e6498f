//! EMR → PACS: when a patient is called otherwise, their orders there are, too.
//!
//! A message that is about the patient alone (ADT^A08) would say it once for all; this PACS takes orders, and so
//! each order that is not cancelled is changed (XO).

use std::sync::Arc;

use async_trait::async_trait;
use atomfeed_client::{Event, FetchContent, Handled, PreparingWorker, Resources, WorkerError};

use super::messages::OrderControl;
use super::mllp::Sender;
use super::sent::{Said, Sent};
use crate::hospital::Sql;
use crate::hospital::documents::Patient;

/// Makes the table of patients as their feed has told of them last; NULL where it has not yet.
///
/// Between the feeds `patient` and `encounter` there is no order: an encounter that was fetched, with its patient,
/// before that was renamed may have its turn after. So what is here goes before what was fetched with it.
pub(super) const MAKE: &str =
    "CREATE TABLE IF NOT EXISTS patients (uuid TEXT PRIMARY KEY, document TEXT)";

/// The worker of the feed `patient`.
#[derive(Debug)]
pub struct PatientsOfOrders {
    emr: Resources,
    pacs: Arc<Sender>,
}

impl PatientsOfOrders {
    /// Fetches patients from the EMR, and tells the PACS.
    pub fn new(emr: Resources, pacs: Arc<Sender>) -> Self {
        Self { emr, pacs }
    }
}

#[async_trait]
impl<C: Sql + 'static> PreparingWorker<C> for PatientsOfOrders {
    type Prepared = Patient;

    async fn prepare(&self, event: &Event) -> Result<Patient, WorkerError> {
        Ok(event.fetch(&self.emr).await?.json()?)
    }

    /// Only what is different is told: the second time there is nothing.
    async fn process(
        &self,
        _event: &Event,
        patient: &Patient,
        conn: &mut C,
    ) -> Result<Handled, WorkerError> {
        keep(patient, conn).await?;
        for last in Sent::open_of(patient.uuid, conn).await? {
            let (order, ordered_at) = last.order()?;
            let said = Said {
                order: &order,
                ordered_at,
                patient,
            };
            if !last.is(&said) {
                let change = OrderControl::Change;
                said.say(change, Some(&last), &self.pacs, conn).await?;
            }
        }
        Ok(Handled::Applied)
    }

    /// A message sent does not come back with the transaction.
    fn has_other_effects(&self) -> bool {
        true
    }
}

async fn keep<C: Sql>(patient: &Patient, conn: &mut C) -> Result<(), WorkerError> {
    let upsert = "INSERT INTO patients (uuid, document) VALUES ($1, $2)
        ON CONFLICT (uuid) DO UPDATE SET document = excluded.document";
    let document = serde_json::to_string(patient)?;
    conn.run(upsert, &[patient.uuid.into(), document.into()])
        .await?;
    Ok(())
}

/// The patient of an encounter as their own feed has told of them, or as fetched where it has not. Their row is
/// locked until the end of the transaction: a change that is told of meanwhile, elsewhere, finds what this one has
/// sent.
pub(super) async fn known<C: Sql>(fetched: &Patient, conn: &mut C) -> Result<Patient, WorkerError> {
    let lock = "INSERT INTO patients (uuid, document) VALUES ($1, NULL)
        ON CONFLICT (uuid) DO UPDATE SET document = patients.document RETURNING document";
    let row = conn.row(lock, &[fetched.uuid.into()]).await?;
    match row.as_ref().map(|row| row[0].text()) {
        None | Some("") => Ok(fetched.clone()),
        Some(document) => Ok(serde_json::from_str(document)?),
    }
}
