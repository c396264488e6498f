//! Search, then create or write: what makes a second delivery do nothing.

use serde_json::{Map, Value};

use super::answer::{OdooError, id_of};
use super::odoo::Odoo;

/// What was to be done so that a record is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// There was none.
    Created,
    /// It was different.
    Written,
    /// Nothing.
    Unchanged,
}

impl Odoo {
    /// Sees to it that there is a record with this reference and these values: two calls, or one where it is
    /// so already. `at_first` has the values that are Odoo's own once the record is there. Both are objects.
    ///
    /// Between the search and what follows nobody else may do the same: the reference is in the key of the
    /// event, by which no other one is worked at the same time, and a unique constraint in Odoo settles what
    /// is left.
    ///
    /// # Errors
    ///
    /// As [`execute_kw`](Odoo::execute_kw).
    pub async fn put(
        &self,
        model: &str,
        (field, reference): (&str, &str),
        values: Value,
        at_first: Value,
    ) -> Result<Put, OdooError> {
        let values = object(values);
        let names: Vec<&str> = values.keys().map(String::as_str).collect();
        let domain = serde_json::json!([[field, "=", reference]]);
        let found = self.search_read(model, domain, &names).await?;
        let Some(found) = found.first() else {
            let mut all = values;
            all.extend(object(at_first));
            all.insert(field.to_owned(), reference.into());
            self.create(model, &[Value::Object(all)]).await?;
            return Ok(Put::Created);
        };
        let changed = values
            .into_iter()
            .filter(|(name, value)| !is_same(&found[name], value));
        let changed: Map<_, _> = changed.collect();
        if changed.is_empty() {
            return Ok(Put::Unchanged);
        }
        self.write(model, &[id_of(found)?], Value::Object(changed))
            .await?;
        Ok(Put::Written)
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(values) => values,
        _ => Map::new(),
    }
}

/// Whether Odoo has a value already. It says `false` for a text that is not there, and rounds prices to two
/// decimals unless it is told otherwise.
pub(super) fn is_same(has: &Value, should_have: &Value) -> bool {
    match (has, should_have) {
        (Value::Bool(false), Value::String(text)) => text.is_empty(),
        (Value::Number(has), Value::Number(should)) => {
            let difference = has.as_f64().zip(should.as_f64());
            difference.is_some_and(|(has, should)| (has - should).abs() < 0.005)
        }
        _ => has == should_have,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_the_same_as_odoo_has_them() {
        assert!(is_same(&json!(12.5), &json!(12.5)));
        assert!(is_same(&json!(3.0), &json!(3)));
        assert!(is_same(&json!(false), &json!("")));
        assert!(is_same(&json!("Asha"), &json!("Asha")));
        assert!(!is_same(&json!(12.5), &json!(12.51)));
        assert!(!is_same(&json!(false), &json!("Asha")));
        assert!(!is_same(&json!(null), &json!("Asha")));
    }
}
