//! The lab's orders, from the EMR's feed `encounter`.

use std::sync::Arc;

use async_trait::async_trait;
use atomfeed_client::{Event, FetchContent, Handled, PreparingWorker, Resources, WorkerError};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::hospital::documents::{Encounter, Order, OrderAction, OrderKind};
use crate::hospital::{Field, Sql};

/// An order as its row has it, the uuid first and the state last.
type Row = [Field; 7];

const STORED: &str =
    "SELECT uuid, encounter_uuid, patient_uuid, position, order_number, test_uuid, state
    FROM orders WHERE encounter_uuid = $1";

// What has a result meanwhile is left as it is.
const WRITE: &str = "INSERT INTO orders
        (uuid, encounter_uuid, patient_uuid, position, order_number, test_uuid, state)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (uuid) DO UPDATE SET encounter_uuid = excluded.encounter_uuid,
        patient_uuid = excluded.patient_uuid, position = excluded.position,
        order_number = excluded.order_number, test_uuid = excluded.test_uuid, state = excluded.state
    WHERE orders.state <> 'resulted'";

const FIND_PATIENT: &str = "SELECT uuid FROM patients WHERE uuid = $1";

const FIND_TEST: &str = "SELECT uuid FROM tests WHERE uuid = $1";

/// Writes the lab orders of each encounter: new, changed and cancelled, as long as they have no result.
///
/// An encounter in which nothing is new to the lab is ignored. So it is when the EMR publishes it once more
/// because of the lab's own results, and there the circle ends.
#[derive(Debug)]
pub struct Orders {
    emr: Resources,
    ordered: Arc<Notify>,
}

impl Orders {
    /// Fetches encounters from there, and tells when something was ordered.
    pub fn new(emr: Resources, ordered: Arc<Notify>) -> Self {
        Self { emr, ordered }
    }
}

#[async_trait]
impl<C: Sql + 'static> PreparingWorker<C> for Orders {
    type Prepared = Encounter;

    async fn prepare(&self, event: &Event) -> Result<Encounter, WorkerError> {
        Ok(event.fetch(&self.emr).await?.json()?)
    }

    async fn process(
        &self,
        _event: &Event,
        encounter: &Encounter,
        conn: &mut C,
    ) -> Result<Handled, WorkerError> {
        let stored = conn.rows(STORED, &[encounter.uuid.into()]).await?;
        let mut news = lab_orders(encounter);
        news.retain(|(_, row)| !stands(row, &stored));
        if news.is_empty() {
            return Ok(Handled::Ignored);
        }
        if !is_known(conn, FIND_PATIENT, encounter.patient_uuid).await? {
            return Err(WorkerError::new(format!(
                "the lab does not know patient {} of encounter {}: the encounter is applied once that \
                 patient has come",
                encounter.patient_uuid, encounter.uuid
            )));
        }
        for (order, row) in news {
            let is_cancelled = order.action == OrderAction::Discontinue;
            if !is_cancelled && !is_known(conn, FIND_TEST, order.concept.uuid).await? {
                return Err(WorkerError::new(format!(
                    "the lab does not know test {} ({}) of order {}: encounter {} is applied once that test \
                     has come",
                    order.concept.uuid, order.concept.name, order.order_number, encounter.uuid
                )));
            }
            conn.run(WRITE, &row).await?;
        }
        Ok(Handled::Applied)
    }

    async fn committed(&self, _event: &Event) {
        self.ordered.notify_one();
    }
}

/// The orders for the lab, each with the row that it should have.
fn lab_orders(encounter: &Encounter) -> Vec<(&Order, Row)> {
    let orders = (0_i64..).zip(&encounter.orders);
    let for_lab = orders.filter(|(_, order)| order.kind == OrderKind::Lab);
    for_lab
        .map(|(position, order)| {
            let state = match order.action {
                OrderAction::New | OrderAction::Revise => "ordered",
                OrderAction::Discontinue => "cancelled",
            };
            let row: Row = [
                order.uuid.into(),
                encounter.uuid.into(),
                encounter.patient_uuid.into(),
                position.into(),
                order.order_number.as_str().into(),
                order.concept.uuid.into(),
                state.into(),
            ];
            (order, row)
        })
        .collect()
}

/// Whether an order is there already as it should be, or has its result.
fn stands(row: &Row, stored: &[Vec<Field>]) -> bool {
    let there = stored.iter().find(|there| there.first() == row.first());
    let is_resulted =
        |there: &[Field]| there.last().is_some_and(|state| state.text() == "resulted");
    there.is_some_and(|there| there.as_slice() == row.as_slice() || is_resulted(there))
}

async fn is_known<C: Sql>(conn: &mut C, find: &'static str, uuid: Uuid) -> sqlx::Result<bool> {
    Ok(conn.row(find, &[uuid.into()]).await?.is_some())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sqlx::SqliteConnection;
    use tokio::time::timeout;

    use super::OrderAction::{Discontinue, New, Revise};
    use super::*;
    use crate::hospital::lab::fixture::{
        HAEMOGLOBIN, Lab, PATIENCE, PLATELETS, asha, encounter, event, order, resources, test, uuid,
    };
    use crate::hospital::lab::{Catalogue, Patients};

    const ORDERS: &str = "SELECT orders.order_number, tests.name, orders.state
        FROM orders JOIN tests ON tests.uuid = orders.test_uuid ORDER BY orders.position";

    fn worker() -> Orders {
        Orders::new(resources(), Arc::default())
    }

    /// Applies an encounter of these orders.
    async fn see(lab: &Lab, orders: Vec<Order>) -> Handled {
        lab.apply(&worker(), &encounter(1, orders)).await.unwrap()
    }

    #[tokio::test]
    async fn an_order_waits_for_its_patient() {
        let lab = Lab::new().await;
        let haemoglobin = test(HAEMOGLOBIN, "Haemoglobin");
        let catalogue = Catalogue::new(resources());
        lab.apply(&catalogue, &haemoglobin).await.unwrap();

        let encounter = encounter(1, vec![order(1, New, HAEMOGLOBIN)]);
        let refused = lab.apply(&worker(), &encounter).await.unwrap_err();
        assert!(!refused.is_transient());
        let missing = format!("patient {}", encounter.patient_uuid);
        assert!(refused.to_string().contains(&missing), "{refused}");
        assert!(lab.rows(ORDERS).await.is_empty());

        let patients = Patients::new(resources());
        lab.apply(&patients, &asha()).await.unwrap();
        let handled = lab.apply(&worker(), &encounter).await.unwrap();
        assert_eq!(handled, Handled::Applied);
        assert_eq!(lab.rows(ORDERS).await, ["ORD-1 Haemoglobin ordered"]);
    }

    #[tokio::test]
    async fn an_order_waits_for_its_test_and_nothing_is_left_half_done() {
        let lab = Lab::with_catalogue().await;
        let orders = vec![order(1, New, HAEMOGLOBIN), order(2, New, 99)];
        let encounter = encounter(1, orders);
        let refused = lab.apply(&worker(), &encounter).await.unwrap_err();
        assert!(!refused.is_transient());
        for named in [uuid(99).to_string(), "ORD-2".to_owned()] {
            assert!(refused.to_string().contains(&named), "{refused}");
        }
        assert!(lab.rows(ORDERS).await.is_empty());
    }

    #[tokio::test]
    async fn what_is_not_new_to_the_lab_is_ignored() {
        let lab = Lab::with_catalogue().await;
        let for_pharmacy = Order {
            kind: OrderKind::Drug,
            ..order(1, New, 50)
        };
        let handled = see(&lab, vec![for_pharmacy.clone()]).await;
        assert_eq!(handled, Handled::Ignored);

        let for_lab = order(2, New, HAEMOGLOBIN);
        let both = vec![for_pharmacy, for_lab.clone()];
        assert_eq!(see(&lab, both.clone()).await, Handled::Applied);
        assert_eq!(see(&lab, both.clone()).await, Handled::Ignored);
        let another_drug = Order {
            kind: OrderKind::Drug,
            ..order(1, Revise, 51)
        };
        let handled = see(&lab, vec![another_drug, for_lab]).await;
        assert_eq!(handled, Handled::Ignored);
        assert_eq!(lab.rows(ORDERS).await, ["ORD-2 Haemoglobin ordered"]);
    }

    #[tokio::test]
    async fn an_order_is_changed_and_cancelled_until_it_has_its_result() {
        let lab = Lab::with_catalogue().await;
        see(
            &lab,
            vec![order(1, New, HAEMOGLOBIN), order(2, New, HAEMOGLOBIN)],
        )
        .await;
        let changed = vec![
            order(1, Revise, PLATELETS),
            order(2, Discontinue, HAEMOGLOBIN),
        ];
        assert_eq!(see(&lab, changed.clone()).await, Handled::Applied);
        let expected = ["ORD-1 Platelets ordered", "ORD-2 Haemoglobin cancelled"];
        assert_eq!(lab.rows(ORDERS).await, expected);
        assert_eq!(see(&lab, changed).await, Handled::Ignored);

        lab.rows("UPDATE orders SET state = 'resulted' WHERE state = 'ordered' RETURNING uuid")
            .await;
        let too_late = [
            order(1, Revise, HAEMOGLOBIN),
            order(1, Discontinue, PLATELETS),
        ];
        for too_late in too_late {
            let orders = vec![too_late, order(2, Discontinue, HAEMOGLOBIN)];
            assert_eq!(see(&lab, orders).await, Handled::Ignored);
        }
        let expected = ["ORD-1 Platelets resulted", "ORD-2 Haemoglobin cancelled"];
        assert_eq!(lab.rows(ORDERS).await, expected);
    }

    /// The first that the lab hears of it, since it follows from the middle, say.
    #[tokio::test]
    async fn an_order_may_come_changed_or_cancelled() {
        let lab = Lab::with_catalogue().await;
        let orders = vec![order(1, Revise, HAEMOGLOBIN), order(2, Discontinue, 99)];
        assert_eq!(see(&lab, orders).await, Handled::Applied);
        let states = lab
            .rows("SELECT order_number, state FROM orders ORDER BY position")
            .await;
        assert_eq!(states, ["ORD-1 ordered", "ORD-2 cancelled"]);
    }

    #[tokio::test]
    async fn the_machines_are_told_of_what_was_ordered() {
        let ordered = Arc::new(Notify::new());
        let worker = Orders::new(resources(), Arc::clone(&ordered));
        PreparingWorker::<SqliteConnection>::committed(&worker, &event()).await;
        timeout(PATIENCE, ordered.notified()).await.unwrap();
    }
}
