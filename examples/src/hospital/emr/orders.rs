//! The orders of an encounter, as rows of their own, and what may become of them.

use std::collections::{HashMap, HashSet};

use axum::http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use super::answer::Refusal;
use super::checks::{filled, number};
use super::resources::{Kept, parsed};
use crate::hospital::documents::{Concept, Encounter, LabTest, Order, OrderAction, OrderKind};
use crate::hospital::{Field, Sql};

/// The most that an order is of: nobody orders more, and an ERP takes it.
const MOST: i64 = 1_000_000;

/// The orders of an encounter, oldest first.
pub(super) async fn load<C: Sql + ?Sized>(
    encounter: Uuid,
    conn: &mut C,
) -> sqlx::Result<Vec<Order>> {
    let select = "SELECT uuid, order_number, kind, action, concept_uuid, concept_name, quantity
        FROM orders WHERE encounter_uuid = $1 ORDER BY position";
    let rows = conn.rows(select, &[encounter.into()]).await?;
    rows.iter().map(|row| order(row)).collect()
}

/// Says what is wrong with the orders of an encounter, whatever there was before.
pub(super) fn check(orders: &[Order]) -> Result<(), String> {
    let mut seen = HashSet::new();
    for order in orders {
        let uuid = order.uuid;
        let of_it = |why: String| format!("order {uuid}: {why}");
        number("order number", &order.order_number).map_err(of_it)?;
        filled("name of what is ordered", &order.concept.name).map_err(of_it)?;
        if !(1..=MOST).contains(&order.quantity) {
            return Err(format!(
                "order {uuid} is of {}: give 1 to {MOST}",
                order.quantity
            ));
        }
        if !seen.insert(uuid) {
            return Err(format!("order {uuid} is there twice"));
        }
    }
    Ok(())
}

/// Refuses what those who follow the feed could not: an order that is gone, that has become something else, or
/// that is changed though the lab is done with it.
pub(super) async fn check_change<C: Sql + ?Sized>(
    before: &Encounter,
    after: &Encounter,
    conn: &mut C,
) -> Result<(), Refusal> {
    let mut tested: HashMap<Uuid, HashSet<Uuid>> = HashMap::new();
    for result in &before.results {
        let tests = tested.entry(result.order_uuid).or_default();
        tests.insert(result.test_uuid);
    }
    let orders = after.orders.iter().map(|order| (order.uuid, order));
    let orders: HashMap<Uuid, &Order> = orders.collect();
    for was in &before.orders {
        let why = match orders.get(&was.uuid) {
            None => {
                "is missing: send all orders of the encounter, also those that have not changed, and \
                 cancel one by its action, DISCONTINUE"
                    .to_owned()
            }
            Some(is) if is.kind != was.kind => format!(
                "is of the kind {} and cannot be made one of {}: cancel it, and add another",
                word(was.kind),
                word(is.kind)
            ),
            Some(is) if is.order_number != was.order_number => format!(
                "keeps its number: it cannot become {}",
                is.order_number
            ),
            Some(is) if *is == was => continue,
            Some(is) => match tested.get(&was.uuid) {
                None => continue,
                Some(tests) if restores(was, is, tests, conn).await? => continue,
                Some(_) => format!(
                    "has results, and can be neither changed nor cancelled any more: send it as it was for \
                     them, with the quantity {}, and add another",
                    was.quantity
                ),
            },
        };
        let why = format!("order {} ({}) {why}", was.uuid, was.order_number);
        return Err(Refusal::new(StatusCode::CONFLICT, why));
    }
    Ok(())
}

/// Notes the services that no order is of any more under the name that it had: the ERP may keep that name.
pub(super) async fn note_renamed<C: Sql + ?Sized>(
    before: &Encounter,
    after: &Encounter,
    conn: &mut C,
) -> sqlx::Result<()> {
    let note = "INSERT INTO renamed_services (uuid) VALUES ($1) ON CONFLICT (uuid) DO NOTHING";
    let were = before.orders.iter();
    for was in were.filter(|order| order.kind == OrderKind::Service) {
        if !after.orders.iter().any(|is| is.concept == was.concept) {
            conn.run(note, &[was.concept.uuid.into()]).await?;
        }
    }
    Ok(())
}

/// Whether an order that was changed or cancelled while its results were on their way becomes again what these
/// are of: the lab, which has them, takes nothing else.
async fn restores<C: Sql + ?Sized>(
    was: &Order,
    is: &Order,
    tests: &HashSet<Uuid>,
    conn: &mut C,
) -> sqlx::Result<bool> {
    let of_results = tests_of(is.concept.uuid, conn).await? == *tests;
    let was_of_them = tests_of(was.concept.uuid, conn).await? == *tests;
    let was_cancelled = was.action == OrderAction::Discontinue;
    let is_ordered = is.action != OrderAction::Discontinue;
    let same_quantity = is.quantity == was.quantity;
    Ok(of_results && is_ordered && same_quantity && (was_cancelled || !was_of_them))
}

/// The tests of a panel, or the one test.
async fn tests_of<C: Sql + ?Sized>(concept: Uuid, conn: &mut C) -> sqlx::Result<HashSet<Uuid>> {
    let test = LabTest::load(concept, conn).await?;
    let members = test.map(|test| test.members).unwrap_or_default();
    Ok(match members.is_empty() {
        true => HashSet::from([concept]),
        false => members.into_iter().collect(),
    })
}

/// Puts orders in the place of those that an encounter has.
pub(super) async fn replace<C: Sql + ?Sized>(
    encounter: Uuid,
    orders: &[Order],
    conn: &mut C,
) -> Result<(), Refusal> {
    let delete = "DELETE FROM orders WHERE encounter_uuid = $1";
    conn.run(delete, &[encounter.into()]).await?;
    let insert = "INSERT INTO orders (uuid, encounter_uuid, position, order_number, kind, action,
            concept_uuid, concept_name, quantity)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (uuid) DO NOTHING";
    for (position, order) in (0_i64..).zip(orders) {
        let values = [
            Field::from(order.uuid),
            encounter.into(),
            position.into(),
            order.order_number.as_str().into(),
            word(order.kind).into(),
            word(order.action).into(),
            order.concept.uuid.into(),
            order.concept.name.as_str().into(),
            order.quantity.into(),
        ];
        if conn.run(insert, &values).await? == 0 {
            let why = format!("order {} is of another encounter", order.uuid);
            return Err(Refusal::new(StatusCode::CONFLICT, why));
        }
    }
    Ok(())
}

fn order(row: &[Field]) -> sqlx::Result<Order> {
    Ok(Order {
        uuid: parsed(&row[0])?,
        order_number: row[1].text().to_owned(),
        kind: of_word(&row[2])?,
        action: of_word(&row[3])?,
        concept: Concept {
            uuid: parsed(&row[4])?,
            name: row[5].text().to_owned(),
        },
        quantity: row[6].number(),
    })
}

/// Columns have the words of the documents: `radiology`, `DISCONTINUE`.
fn word(of: impl Serialize) -> String {
    match serde_json::to_value(of) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

fn of_word<T: DeserializeOwned>(field: &Field) -> sqlx::Result<T> {
    let value = serde_json::from_value(Value::from(field.text()));
    value.map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn columns_have_the_words_of_the_documents() {
        let kinds = [
            (OrderKind::Drug, "drug"),
            (OrderKind::Lab, "lab"),
            (OrderKind::Radiology, "radiology"),
            (OrderKind::Service, "service"),
        ];
        for (kind, text) in kinds {
            assert_eq!(word(kind), text);
            assert_eq!(of_word::<OrderKind>(&Field::from(text)).unwrap(), kind);
        }
        let actions = [
            (OrderAction::New, "NEW"),
            (OrderAction::Revise, "REVISE"),
            (OrderAction::Discontinue, "DISCONTINUE"),
        ];
        for (action, text) in actions {
            assert_eq!(word(action), text);
            assert_eq!(of_word::<OrderAction>(&Field::from(text)).unwrap(), action);
        }
        assert!(of_word::<OrderKind>(&Field::from("surgery")).is_err());
    }
}
