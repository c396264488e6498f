//! EMR → PACS: every radiology order is told to the PACS as HL7, when it is new, changed or cancelled.

use std::sync::Arc;

use async_trait::async_trait;
use atomfeed_client::{
    Event, FetchContent, Handled, PreparingWorker, ResourceError, Resources, WorkerError,
};

use super::messages::OrderControl;
use super::mllp::Sender;
use super::patients::known;
use super::sent::{Said, Sent};
use crate::hospital::Sql;
use crate::hospital::documents::{Encounter, Order, OrderAction, OrderKind, Patient};

/// The worker of the feed `encounter`.
#[derive(Debug)]
pub struct RadiologyOrders {
    emr: Resources,
    pacs: Arc<Sender>,
}

impl RadiologyOrders {
    /// Fetches encounters and their patients from the EMR, and tells the PACS.
    pub fn new(emr: Resources, pacs: Arc<Sender>) -> Self {
        Self { emr, pacs }
    }
}

/// An encounter with orders for the PACS.
#[derive(Debug)]
pub struct Ordered {
    encounter: Encounter,
    patient: Patient,
}

#[async_trait]
impl<C: Sql + 'static> PreparingWorker<C> for RadiologyOrders {
    type Prepared = Option<Ordered>;

    async fn prepare(&self, event: &Event) -> Result<Option<Ordered>, WorkerError> {
        let resource = event.fetch(&self.emr).await?;
        let encounter: Encounter = resource.json()?;
        if !encounter.orders.iter().any(is_radiology) {
            return Ok(None);
        }
        let patient = format!(
            "/openmrs/ws/rest/v1/patient/{}?v=full",
            encounter.patient_uuid
        );
        let url = resource.url().join(&patient)?;
        let fetched = self.emr.get(&url).await;
        let patient = fetched.map_err(|source| ResourceError::Fetch {
            event: event.id().clone(),
            url: url.to_string(),
            source,
        })?;
        Ok(Some(Ordered {
            encounter,
            patient: patient.json()?,
        }))
    }

    /// The transaction stays open while the PACS has its say, which takes 10 s a message at most: with many
    /// orders and a slow PACS longer than the 30 s after which others give up who want to write to the same
    /// SQLite, such as the console (on PostgreSQL they do not meet). The other feed waits for its turn.
    async fn process(
        &self,
        _event: &Event,
        ordered: &Option<Ordered>,
        conn: &mut C,
    ) -> Result<Handled, WorkerError> {
        let Some(Ordered { encounter, patient }) = ordered else {
            return Ok(Handled::Ignored);
        };
        let patient = known(patient, conn).await?;
        let mut handled = Handled::Ignored;
        for order in encounter.orders.iter().filter(|order| is_radiology(order)) {
            let said = Said {
                order,
                ordered_at: encounter.encounter_datetime,
                patient: &patient,
            };
            let last = Sent::of(order.uuid, conn).await?;
            let Some(control) = what_to_tell(last.as_ref(), &said) else {
                continue;
            };
            said.say(control, last.as_ref(), &self.pacs, conn).await?;
            handled = Handled::Applied;
        }
        Ok(handled)
    }

    /// A message sent does not come back with the transaction.
    fn has_other_effects(&self) -> bool {
        true
    }
}

fn is_radiology(order: &Order) -> bool {
    order.kind == OrderKind::Radiology
}

/// What the PACS is to be told of an order, if anything.
///
/// An order that is cancelled before the PACS was told of it, as far as is known, is cancelled there all the
/// same: a process that ended before its commit may have told of it.
fn what_to_tell(last: Option<&Sent>, said: &Said<'_>) -> Option<OrderControl> {
    let is_cancelled = said.order.action == OrderAction::Discontinue;
    match (last, is_cancelled) {
        (Some(last), true) => (!last.is_cancelled()).then_some(OrderControl::Cancel),
        (None, true) => Some(OrderControl::Cancel),
        (Some(last), false) if !last.is_cancelled() => {
            (!last.is(said)).then_some(OrderControl::Change)
        }
        (_, false) => Some(OrderControl::New),
    }
}
