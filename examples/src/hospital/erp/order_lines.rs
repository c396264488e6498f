//! The lines of a sale order: those that it has, and those that it should have.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::answer::id_of;
use super::put::is_same;
use super::{EXTERNAL_REF, OdooError};

/// A line as it should be.
pub(super) struct Line {
    pub(super) reference: String,
    pub(super) product: i64,
    pub(super) quantity: i64,
}

impl Line {
    pub(super) fn values(&self) -> Value {
        json!({
            EXTERNAL_REF: self.reference,
            "product_id": self.product,
            "product_uom_qty": self.quantity,
        })
    }

    /// What is to be written where Odoo has this.
    fn changes(&self, row: &Value) -> Map<String, Value> {
        let mut changed = Map::new();
        if row["product_id"][0] != self.product {
            changed.insert("product_id".to_owned(), self.product.into());
        }
        let quantity = json!(self.quantity);
        if !is_same(&row["product_uom_qty"], &quantity) {
            changed.insert("product_uom_qty".to_owned(), quantity);
        }
        changed
    }
}

/// What makes the lines that Odoo has those that it should have: `(0, 0, values)` is a new one, `(1, id,
/// values)` changes one. Lines that somebody has added in Odoo stay as they are, and one whose order the
/// encounter does not have any more sells nothing.
pub(super) fn commands(lines: &[Line], rows: &[Value]) -> Result<Vec<Value>, OdooError> {
    let mut commands = Vec::new();
    let mut found = HashMap::new();
    for row in rows {
        if let Some(reference) = row[EXTERNAL_REF].as_str().filter(|text| !text.is_empty()) {
            found.insert(reference, row);
        }
    }
    for line in lines {
        let Some(row) = found.remove(line.reference.as_str()) else {
            commands.push(json!([0, 0, line.values()]));
            continue;
        };
        let changes = line.changes(row);
        if !changes.is_empty() {
            commands.push(json!([1, id_of(row)?, changes]));
        }
    }
    for row in found.into_values() {
        if !is_same(&row["product_uom_qty"], &json!(0)) {
            commands.push(json!([1, id_of(row)?, { "product_uom_qty": 0 }]));
        }
    }
    Ok(commands)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn line(reference: &str, product: i64, quantity: i64) -> Line {
        Line {
            reference: reference.to_owned(),
            product,
            quantity,
        }
    }

    fn row(id: i64, reference: Value, product: i64, quantity: f64) -> Value {
        json!({
            "id": id,
            EXTERNAL_REF: reference,
            "product_id": [product, "Paracetamol"],
            "product_uom_qty": quantity,
        })
    }

    #[test]
    fn only_what_differs_is_written() {
        let rows = [
            row(1, json!("same"), 5, 2.0),
            row(2, json!("more"), 5, 2.0),
            row(3, json!("gone"), 5, 2.0),
            row(4, json!("gone long ago"), 5, 0.0),
            row(5, json!(false), 5, 2.0),
        ];
        let lines = [line("same", 5, 2), line("more", 6, 3), line("new", 7, 1)];
        let commands = commands(&lines, &rows).unwrap();
        let new = json!({ EXTERNAL_REF: "new", "product_id": 7, "product_uom_qty": 1 });
        let expected = [
            json!([1, 2, { "product_id": 6, "product_uom_qty": 3 }]),
            json!([0, 0, new]),
            json!([1, 3, { "product_uom_qty": 0 }]),
        ];
        assert_eq!(commands, expected);
    }
}
