//! The orders of an encounter, as rows of their own.

use axum::http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use super::answer::Refusal;
use super::resources::parsed;
use crate::hospital::documents::{Concept, Order};
use crate::hospital::{Field, Sql};

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
        if order.quantity < 1 {
            let why = format!(
                "order {} is of {}: give 1 or more",
                order.uuid, order.quantity
            );
            return Err(Refusal::new(StatusCode::BAD_REQUEST, why));
        }
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
            let why = format!(
                "order {} is there twice, or of another encounter",
                order.uuid
            );
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
    use crate::hospital::documents::{OrderAction, OrderKind};

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
