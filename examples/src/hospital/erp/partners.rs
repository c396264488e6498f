//! Feed `patient` → customers (`res.partner`).

use async_trait::async_trait;
use atomfeed_client::{Event, FetchContent, Handled, PreparingWorker, Resources, WorkerError};
use serde_json::json;

use super::{Odoo, OdooError, Put};
use crate::hospital::documents::Patient;

/// Makes a customer of each patient, and keeps it as the EMR has it.
#[derive(Debug)]
pub struct Partners {
    odoo: Odoo,
    emr: Resources,
}

impl Partners {
    /// Customers of an Odoo, from an EMR.
    pub fn new(odoo: Odoo, emr: Resources) -> Self {
        Self { odoo, emr }
    }

    /// Sees to it that a patient is a customer, in the [time](Odoo::for_an_event) that there is for an event.
    ///
    /// # Errors
    ///
    /// As Odoo has it.
    pub async fn apply(&self, patient: &Patient) -> Result<Put, OdooError> {
        let reference = patient.uuid.to_string();
        let values = json!({
            "name": patient.name,
            "barcode": patient.identifier, // of the card
            "city": patient.village,
        });
        // Whether the customer is one of the best is for Odoo to count.
        let at_first = json!({ "customer_rank": 1 });
        let key = ("ref", reference.as_str());
        let odoo = self.odoo.for_an_event();
        odoo.put("res.partner", key, values, at_first).await
    }
}

// The key by which events keep their order is the one that the trait gives: the path of the resource. It ends in
// the uuid of the patient, by which the customer is searched, so that no two events search for the same one at a
// time.
#[async_trait]
impl<C: ?Sized + Send + 'static> PreparingWorker<C> for Partners {
    type Prepared = Patient;

    async fn prepare(&self, event: &Event) -> Result<Patient, WorkerError> {
        Ok(event.fetch(&self.emr).await?.json()?)
    }

    // What is written to Odoo is written here, and not in `prepare`: that runs ahead of the event's turn,
    // where an older state of the patient could come after a newer one, and also for an event that is then
    // parked behind another. The transaction of the marker is open meanwhile. It is on a database of our own
    // that Odoo does not wait for, and the client of Odoo gives up in time.
    async fn process(
        &self,
        _event: &Event,
        patient: &Patient,
        _conn: &mut C,
    ) -> Result<Handled, WorkerError> {
        self.apply(patient).await?;
        Ok(Handled::Applied)
    }

    fn has_other_effects(&self) -> bool {
        true
    }
}
