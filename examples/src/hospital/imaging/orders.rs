//! EMR → PACS: every radiology order is told to the PACS as HL7, when it is new, changed or cancelled.
//!
//! What was told is kept in `sent`, in the transaction that moves the marker. The PACS is no part of that: when
//! the process ends between an acknowledgement and the commit, the same is sent again, under the same id.

use async_trait::async_trait;
use atomfeed_client::{
    Event, FetchContent, Handled, PreparingWorker, ResourceError, Resources, WorkerError,
};

use super::messages::{OrderControl, Outgoing};
use super::mllp::Sender;
use crate::hospital::documents::{Encounter, Order, OrderAction, OrderKind, Patient};
use crate::hospital::{Field, Sql};

/// Makes the table of what the PACS was told last of each order: by which message (MSH-10), as what (ORC-1), and
/// what it said.
pub const MAKE_SENT: &str = "CREATE TABLE IF NOT EXISTS sent (
    order_uuid TEXT PRIMARY KEY, control TEXT NOT NULL, state TEXT NOT NULL,
    order_number TEXT NOT NULL, concept_uuid TEXT NOT NULL, concept_name TEXT NOT NULL,
    quantity BIGINT NOT NULL, patient_identifier TEXT NOT NULL, patient_name TEXT NOT NULL)";

/// The worker of the feed `encounter`.
#[derive(Debug)]
pub struct RadiologyOrders {
    emr: Resources,
    pacs: Sender,
}

impl RadiologyOrders {
    /// Fetches encounters and their patients from the EMR, and tells the PACS.
    pub fn new(emr: Resources, pacs: Sender) -> Self {
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

    /// The transaction stays open while the PACS has its say: nobody else writes to this database.
    async fn process(
        &self,
        _event: &Event,
        ordered: &Option<Ordered>,
        conn: &mut C,
    ) -> Result<Handled, WorkerError> {
        let Some(Ordered { encounter, patient }) = ordered else {
            return Ok(Handled::Ignored);
        };
        let mut handled = Handled::Ignored;
        for order in encounter.orders.iter().filter(|order| is_radiology(order)) {
            let sent = Sent::of(order, conn).await?;
            let details = details(order, patient);
            let Some(control) = what_to_tell(sent.as_ref(), order, &details) else {
                continue;
            };
            let last_id = sent.as_ref().map_or("", |sent| sent.control.as_str());
            let ordered_at = encounter.encounter_datetime;
            let message = Outgoing::order(control, order, patient, ordered_at, last_id);
            self.pacs.send(&message).await?;
            Sent::note(order, &message, control, details, conn).await?;
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
fn what_to_tell(sent: Option<&Sent>, order: &Order, details: &[Field]) -> Option<OrderControl> {
    let is_cancelled = order.action == OrderAction::Discontinue;
    match (sent, is_cancelled) {
        (Some(sent), true) => (!sent.is_cancelled()).then_some(OrderControl::Cancel),
        (None, true) => Some(OrderControl::Cancel),
        (Some(sent), false) if !sent.is_cancelled() => {
            (sent.details != details).then_some(OrderControl::Change)
        }
        (_, false) => Some(OrderControl::New),
    }
}

/// What an order says, in the order of the columns.
fn details(order: &Order, patient: &Patient) -> Vec<Field> {
    vec![
        order.order_number.as_str().into(),
        order.concept.uuid.into(),
        order.concept.name.as_str().into(),
        order.quantity.into(),
        patient.identifier.as_str().into(),
        patient.name.as_str().into(),
    ]
}

/// A row of `sent`.
struct Sent {
    control: String,
    state: String,
    details: Vec<Field>,
}

impl Sent {
    async fn of<C: Sql>(order: &Order, conn: &mut C) -> Result<Option<Self>, WorkerError> {
        let select = "SELECT control, state, order_number, concept_uuid, concept_name, quantity,
                patient_identifier, patient_name
            FROM sent WHERE order_uuid = $1";
        let row = conn.row(select, &[order.uuid.into()]).await?;
        Ok(row.map(|mut row| Self {
            details: row.split_off(2),
            control: row[0].text().to_owned(),
            state: row[1].text().to_owned(),
        }))
    }

    fn is_cancelled(&self) -> bool {
        self.state == OrderControl::Cancel.code()
    }

    async fn note<C: Sql>(
        order: &Order,
        message: &Outgoing,
        control: OrderControl,
        details: Vec<Field>,
        conn: &mut C,
    ) -> Result<(), WorkerError> {
        let upsert = "INSERT INTO sent (order_uuid, control, state, order_number, concept_uuid,
                concept_name, quantity, patient_identifier, patient_name)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            ON CONFLICT (order_uuid) DO UPDATE SET control = excluded.control,
                state = excluded.state, order_number = excluded.order_number,
                concept_uuid = excluded.concept_uuid, concept_name = excluded.concept_name,
                quantity = excluded.quantity,
                patient_identifier = excluded.patient_identifier,
                patient_name = excluded.patient_name";
        let mut values: Vec<Field> = vec![
            order.uuid.into(),
            message.id().into(),
            control.code().into(),
        ];
        values.extend(details);
        conn.run(upsert, &values).await?;
        Ok(())
    }
}
