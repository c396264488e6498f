//! What the PACS was told last of each order. It is noted in the transaction that moves the marker.
//!
//! The PACS is no part of that transaction: when the process ends between an acknowledgement and the commit, the
//! same is sent again, under the same id.

use atomfeed_client::WorkerError;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::messages::{OrderControl, Outgoing};
use super::mllp::Sender;
use crate::hospital::documents::{Concept, Order, OrderAction, OrderKind, Patient};
use crate::hospital::{Field, Sql};

/// Makes the table: by which message (MSH-10) the PACS was told last of an order, as what (ORC-1), and what that
/// said.
pub(super) const MAKE: &str = "CREATE TABLE IF NOT EXISTS sent (
    order_uuid TEXT PRIMARY KEY, message_id TEXT NOT NULL, order_control TEXT NOT NULL,
    order_number TEXT NOT NULL, concept_uuid TEXT NOT NULL, concept_name TEXT NOT NULL,
    quantity BIGINT NOT NULL, ordered_at BIGINT NOT NULL, patient_uuid TEXT NOT NULL,
    patient_identifier TEXT NOT NULL, patient_name TEXT NOT NULL, patient_gender TEXT NOT NULL,
    patient_birthdate TEXT NOT NULL)";

/// Makes it quick to find the orders of a patient.
pub(super) const MAKE_INDEX: &str =
    "CREATE INDEX IF NOT EXISTS sent_patient ON sent (patient_uuid)";

/// What a message says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) order: &'a Order,
    pub(super) ordered_at: DateTime<Utc>,
    pub(super) patient: &'a Patient,
}

impl Said<'_> {
    /// The columns from `order_number` on.
    fn details(&self) -> Vec<Field> {
        let Self { order, patient, .. } = self;
        vec![
            order.order_number.as_str().into(),
            order.concept.uuid.into(),
            order.concept.name.as_str().into(),
            order.quantity.into(),
            self.ordered_at.timestamp_millis().into(),
            patient.uuid.into(),
            patient.identifier.as_str().into(),
            patient.name.as_str().into(),
            patient.gender.as_str().into(),
            patient.birthdate.to_string().into(),
        ]
    }

    /// Says it to the PACS, and notes that once it is acknowledged. `last` is what was said before.
    pub(super) async fn say<C: Sql>(
        &self,
        control: OrderControl,
        last: Option<&Sent>,
        pacs: &Sender,
        conn: &mut C,
    ) -> Result<(), WorkerError> {
        let last_id = last.map_or("", |last| last.message_id.as_str());
        let message = Outgoing::order(control, self.order, self.patient, self.ordered_at, last_id);
        pacs.send(&message).await?;
        let upsert = "INSERT INTO sent (order_uuid, message_id, order_control, order_number,
                concept_uuid, concept_name, quantity, ordered_at, patient_uuid,
                patient_identifier, patient_name, patient_gender, patient_birthdate)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
            ON CONFLICT (order_uuid) DO UPDATE SET message_id = excluded.message_id,
                order_control = excluded.order_control, order_number = excluded.order_number,
                concept_uuid = excluded.concept_uuid, concept_name = excluded.concept_name,
                quantity = excluded.quantity, ordered_at = excluded.ordered_at,
                patient_uuid = excluded.patient_uuid,
                patient_identifier = excluded.patient_identifier,
                patient_name = excluded.patient_name, patient_gender = excluded.patient_gender,
                patient_birthdate = excluded.patient_birthdate";
        let mut values: Vec<Field> = vec![
            self.order.uuid.into(),
            message.id().into(),
            control.code().into(),
        ];
        values.extend(self.details());
        conn.run(upsert, &values).await?;
        Ok(())
    }
}

/// A row of `sent`.
pub(super) struct Sent {
    order_uuid: Uuid,
    message_id: String,
    order_control: String,
    details: Vec<Field>,
}

impl Sent {
    /// What was said of an order last, if anything was.
    pub(super) async fn of<C: Sql>(
        order_uuid: Uuid,
        conn: &mut C,
    ) -> Result<Option<Self>, WorkerError> {
        let select = "SELECT message_id, order_control, order_number, concept_uuid, concept_name,
                quantity, ordered_at, patient_uuid, patient_identifier, patient_name,
                patient_gender, patient_birthdate
            FROM sent WHERE order_uuid = $1";
        let row = conn.row(select, &[order_uuid.into()]).await?;
        Ok(row.map(|mut row| Self {
            order_uuid,
            details: row.split_off(2),
            message_id: row[0].text().to_owned(),
            order_control: row[1].text().to_owned(),
        }))
    }

    /// What was said last of each order of a patient that is not cancelled.
    pub(super) async fn open_of<C: Sql>(
        patient: Uuid,
        conn: &mut C,
    ) -> Result<Vec<Self>, WorkerError> {
        let select = "SELECT order_uuid FROM sent
            WHERE patient_uuid = $1 AND order_control <> $2 ORDER BY order_uuid";
        let cancelled = OrderControl::Cancel.code();
        let rows = conn
            .rows(select, &[patient.into(), cancelled.into()])
            .await?;
        let mut open = Vec::with_capacity(rows.len());
        for row in rows {
            open.extend(Self::of(row[0].text().parse()?, conn).await?);
        }
        Ok(open)
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.order_control == OrderControl::Cancel.code()
    }

    /// Whether that is what was said.
    pub(super) fn is(&self, said: &Said<'_>) -> bool {
        self.details == said.details()
    }

    /// The order as the PACS knows it, and when it was ordered.
    pub(super) fn order(&self) -> Result<(Order, DateTime<Utc>), WorkerError> {
        let order = Order {
            uuid: self.order_uuid,
            order_number: self.details[0].text().to_owned(),
            kind: OrderKind::Radiology,
            action: OrderAction::Revise,
            concept: Concept {
                uuid: self.details[1].text().parse()?,
                name: self.details[2].text().to_owned(),
            },
            quantity: self.details[3].number(),
        };
        let ordered_at = DateTime::from_timestamp_millis(self.details[4].number());
        let ordered_at = ordered_at.ok_or_else(|| {
            let number = &order.order_number;
            WorkerError::new(format!(
                "the table sent has no time at which {number} was ordered"
            ))
        })?;
        Ok((order, ordered_at))
    }
}
