//! The lab's orders, from the EMR's feed `encounter`.

use std::sync::Arc;

use async_trait::async_trait;
use atomfeed_client::{Event, FetchContent, Handled, PreparingWorker, Resources, WorkerError};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::hospital::documents::{Concept, Encounter, Order, OrderAction, OrderKind};
use crate::hospital::{Field, Sql};

/// The columns of an order, in the order of [`STORED`].
type Row = Vec<Field>;

const UUID: usize = 0;
const POSITION: usize = 3;
const NUMBER: usize = 4;
const STATE: usize = 6;

const STORED: &str =
    "SELECT uuid, encounter_uuid, patient_uuid, position, order_number, test_uuid, state
    FROM orders WHERE encounter_uuid = $1";

// Not what has got its result since it was read.
const WRITE: &str = "INSERT INTO orders
        (uuid, encounter_uuid, patient_uuid, position, order_number, test_uuid, state)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (uuid) DO UPDATE SET encounter_uuid = excluded.encounter_uuid,
        patient_uuid = excluded.patient_uuid, position = excluded.position,
        order_number = excluded.order_number, test_uuid = excluded.test_uuid, state = excluded.state
    WHERE orders.state <> 'resulted'";

const FIND_PATIENT: &str = "SELECT uuid FROM patients WHERE uuid = $1";

const FIND_TEST: &str = "SELECT uuid FROM tests WHERE uuid = $1";

/// Writes the lab orders of each encounter: new, changed and cancelled, as long as they have no result; one
/// that the encounter has no more is cancelled. What comes too late for that is for a person to see to.
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
        let news = news(encounter, &stored)?;
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
        for order in news {
            if let Some(test) = order.test
                && !is_known(conn, FIND_TEST, test.uuid).await?
            {
                return Err(WorkerError::new(format!(
                    "the lab does not know test {} ({}) of order {}: encounter {} is applied once that test \
                     has come",
                    test.uuid,
                    test.name,
                    order.number(),
                    encounter.uuid
                )));
            }
            if conn.run(WRITE, &order.row).await? == 0 {
                return Err(order.too_late(encounter));
            }
        }
        Ok(Handled::Applied)
    }

    async fn committed(&self, _event: &Event) {
        self.ordered.notify_one();
    }
}

/// An order as the encounter has it.
struct Wanted<'a> {
    /// The row that it should have.
    row: Row,
    /// What the lab has to know for it; nothing where it is cancelled.
    test: Option<&'a Concept>,
}

impl<'a> Wanted<'a> {
    fn of(encounter: &Encounter, position: i64, order: &'a Order) -> Self {
        let (state, test) = match order.action {
            OrderAction::New | OrderAction::Revise => ("ordered", Some(&order.concept)),
            OrderAction::Discontinue => ("cancelled", None),
        };
        let row: Row = vec![
            order.uuid.into(),
            encounter.uuid.into(),
            encounter.patient_uuid.into(),
            position.into(),
            order.order_number.as_str().into(),
            order.concept.uuid.into(),
            state.into(),
        ];
        Self { row, test }
    }

    /// An order that the encounter has no more.
    fn no_more(stored: &[Field]) -> Self {
        let mut row = stored.to_vec();
        row[STATE] = "cancelled".into();
        Self { row, test: None }
    }

    fn number(&self) -> &str {
        self.row[NUMBER].text()
    }

    /// Whether it is what the lab has found the result of. Where it stands among others does not matter then.
    fn is_still(&self, resulted: &[Field]) -> bool {
        let same = |column: usize| self.row[column] == resulted[column];
        self.test.is_some() && (UUID..STATE).all(|column| column == POSITION || same(column))
    }

    fn too_late(&self, encounter: &Encounter) -> WorkerError {
        let done = match self.test {
            Some(_) => "changed",
            None => "cancelled",
        };
        WorkerError::new(format!(
            "order {} ({}) of encounter {} has its result in the lab, and cannot be {done} any more: put it \
             back in the EMR as it was, with the quantity that it has there now, and have this event tried \
             again, or discard the event, and the result stands; order anew what else is wanted",
            self.number(),
            self.row[UUID].text(),
            encounter.uuid
        ))
    }
}

/// The orders that the lab does not have as the encounter has them.
fn news<'a>(encounter: &'a Encounter, stored: &[Row]) -> Result<Vec<Wanted<'a>>, WorkerError> {
    let orders = (0_i64..).zip(&encounter.orders);
    let for_lab = orders.filter(|(_, order)| order.kind == OrderKind::Lab);
    let mut wanted: Vec<_> = for_lab
        .map(|(position, order)| Wanted::of(encounter, position, order))
        .collect();
    let is_gone = |stored: &&Row| wanted.iter().all(|order| order.row[UUID] != stored[UUID]);
    let gone: Vec<_> = stored.iter().filter(is_gone).collect();
    wanted.extend(gone.into_iter().map(|stored| Wanted::no_more(stored)));

    let mut news = Vec::new();
    for order in wanted {
        match stored.iter().find(|there| there[UUID] == order.row[UUID]) {
            Some(there) if *there == order.row => {}
            Some(there) if there[STATE].text() != "resulted" => news.push(order),
            Some(there) if order.is_still(there) => {}
            Some(_) => return Err(order.too_late(encounter)),
            None => news.push(order),
        }
    }
    Ok(news)
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
    use crate::hospital::Engine;
    use crate::hospital::lab::fixture::{
        HAEMOGLOBIN, Lab, PATIENCE, PLATELETS, asha, encounter, event, on_both, order, resources,
        test, uuid,
    };
    use crate::hospital::lab::{Catalogue, Patients};

    const ORDERS: &str = "SELECT orders.order_number, tests.name, orders.state
        FROM orders JOIN tests ON tests.uuid = orders.test_uuid ORDER BY orders.order_number";

    on_both! {
        an_order_waits_for_its_patient
        an_order_waits_for_its_test_and_nothing_is_left_half_done
        what_is_not_new_to_the_lab_is_ignored
        an_order_is_changed_and_cancelled_until_it_has_its_result
        an_order_that_is_gone_is_cancelled
        what_comes_after_the_result_is_for_a_person_to_see_to
        an_order_may_come_changed_or_cancelled
    }

    fn worker() -> Orders {
        Orders::new(resources(), Arc::default())
    }

    /// Applies an encounter of these orders.
    async fn see<D: Engine>(lab: &Lab<D>, orders: Vec<Order>) -> Handled {
        lab.apply(&worker(), &encounter(1, orders)).await.unwrap()
    }

    /// Has the machines find something for all that is ordered.
    async fn analyse<D: Engine>(lab: &Lab<D>) {
        let mut conn = lab.store.pool().acquire().await.unwrap();
        let update = "UPDATE orders SET state = 'resulted' WHERE state = 'ordered'";
        assert!(conn.run(update, &[]).await.unwrap() > 0);
    }

    async fn an_order_waits_for_its_patient<D: Engine>(lab: Lab<D>) {
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

    async fn an_order_waits_for_its_test_and_nothing_is_left_half_done<D: Engine>(lab: Lab<D>) {
        let lab = lab.with_catalogue().await;
        let orders = vec![order(1, New, HAEMOGLOBIN), order(2, New, 99)];
        let encounter = encounter(1, orders);
        let refused = lab.apply(&worker(), &encounter).await.unwrap_err();
        assert!(!refused.is_transient());
        for named in [uuid(99).to_string(), "ORD-2".to_owned()] {
            assert!(refused.to_string().contains(&named), "{refused}");
        }
        assert!(lab.rows(ORDERS).await.is_empty());
    }

    async fn what_is_not_new_to_the_lab_is_ignored<D: Engine>(lab: Lab<D>) {
        let lab = lab.with_catalogue().await;
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

    async fn an_order_is_changed_and_cancelled_until_it_has_its_result<D: Engine>(lab: Lab<D>) {
        let lab = lab.with_catalogue().await;
        let first = vec![order(1, New, HAEMOGLOBIN), order(2, New, HAEMOGLOBIN)];
        see(&lab, first).await;
        let changed = vec![
            order(1, Revise, PLATELETS),
            order(2, Discontinue, HAEMOGLOBIN),
        ];
        assert_eq!(see(&lab, changed.clone()).await, Handled::Applied);
        let expected = ["ORD-1 Platelets ordered", "ORD-2 Haemoglobin cancelled"];
        assert_eq!(lab.rows(ORDERS).await, expected);
        assert_eq!(see(&lab, changed.clone()).await, Handled::Ignored);

        // What has its result is no news where it is the same, and stays what it is when others come.
        analyse(&lab).await;
        assert_eq!(see(&lab, changed.clone()).await, Handled::Ignored);
        let and_another = [vec![order(3, New, HAEMOGLOBIN)], changed].concat();
        assert_eq!(see(&lab, and_another).await, Handled::Applied);
        let expected = [
            "ORD-1 Platelets resulted",
            "ORD-2 Haemoglobin cancelled",
            "ORD-3 Haemoglobin ordered",
        ];
        assert_eq!(lab.rows(ORDERS).await, expected);
    }

    async fn an_order_that_is_gone_is_cancelled<D: Engine>(lab: Lab<D>) {
        let lab = lab.with_catalogue().await;
        let both = vec![order(1, New, HAEMOGLOBIN), order(2, New, PLATELETS)];
        see(&lab, both).await;
        let left = vec![order(2, New, PLATELETS)];
        assert_eq!(see(&lab, left.clone()).await, Handled::Applied);
        let expected = ["ORD-1 Haemoglobin cancelled", "ORD-2 Platelets ordered"];
        assert_eq!(lab.rows(ORDERS).await, expected);
        assert_eq!(see(&lab, left).await, Handled::Ignored);
    }

    async fn what_comes_after_the_result_is_for_a_person_to_see_to<D: Engine>(lab: Lab<D>) {
        let lab = lab.with_catalogue().await;
        let as_it_was = order(1, New, HAEMOGLOBIN);
        see(&lab, vec![as_it_was.clone()]).await;
        analyse(&lab).await;
        let another = order(2, New, PLATELETS);
        let renumbered = Order {
            order_number: "ORD-9".to_owned(),
            ..as_it_was.clone()
        };
        for (number, orders, done) in [
            (1, vec![order(1, Revise, PLATELETS)], "changed"),
            (1, vec![renumbered], "changed"),
            (1, vec![order(1, Discontinue, HAEMOGLOBIN)], "cancelled"),
            (1, vec![], "cancelled"),
            // Another encounter has no say in it.
            (2, vec![order(1, Revise, PLATELETS)], "changed"),
        ] {
            let orders = [vec![another.clone()], orders].concat();
            let encounter = encounter(number, orders);
            let refused = lab.apply(&worker(), &encounter).await.unwrap_err();
            assert!(!refused.is_transient(), "{refused}");
            let said = refused.to_string();
            let order = uuid(2_001).to_string();
            for named in [order.as_str(), done, "put it back", "order anew"] {
                assert!(said.contains(named), "{named}: {said}");
            }
            // Nor is what came with it done by halves.
            assert_eq!(lab.rows(ORDERS).await, ["ORD-1 Haemoglobin resulted"]);
        }
        let put_back = see(&lab, vec![as_it_was]).await;
        assert_eq!(put_back, Handled::Ignored);
    }

    /// The first that the lab hears of it, since it follows from the middle, say.
    async fn an_order_may_come_changed_or_cancelled<D: Engine>(lab: Lab<D>) {
        let lab = lab.with_catalogue().await;
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
