//! Values on the wire, and in the tables.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, Utc};
use serde_json::Value;

use super::exception::Failure;
use super::tables::{Column, Kind, Model, Place, Record, id};
use crate::hospital::store::Field;

const DATETIME: &str = "%Y-%m-%d %H:%M:%S";

/// A million millions of paise, so that no sum is too large for the database.
const MOST_MONEY: f64 = 1e12;
/// Nobody orders more.
const MOST_THINGS: f64 = 1e6;

/// The value of a field on the wire, with a bare id where it names a record. Lists are none.
pub(super) fn shown(model: &Model, place: Place, record: &Record) -> Value {
    match place {
        Place::Id => id(record).into(),
        Place::DisplayName => model.display_name(record).into(),
        Place::Column(at) => match (model.columns.get(at), record.get(at + 1)) {
            (Some(column), Some(field)) => shown_field(column.kind, field),
            _ => Value::Null,
        },
        Place::List(_) => Value::Null,
    }
}

fn shown_field(kind: Kind, field: &Field) -> Value {
    match kind {
        Kind::Char | Kind::Datetime | Kind::Selection(_) => match field {
            Field::Text(text) => text.as_str().into(),
            // So Odoo says that there is none.
            Field::Number(_) | Field::Null => false.into(),
        },
        Kind::Boolean => (field.number() != 0).into(),
        Kind::Integer => field.number().into(),
        Kind::Money => (field.number() as f64 / 100.0).into(),
        Kind::Quantity => (field.number() as f64).into(),
        Kind::Many2one(_) => match field.number() {
            0 => false.into(),
            id => id.into(),
        },
    }
}

/// A value of the wire as it stands in the table.
pub(super) fn stored(model: &Model, column: &Column, value: &Value) -> Result<Field, Failure> {
    let is_none = matches!(value, Value::Null | Value::Bool(false));
    let field = match column.kind {
        kind if is_none => Some(nothing(kind)),
        Kind::Char => match value {
            Value::String(text) if !text.contains('\0') => Some(text.as_str().into()),
            Value::Number(number) => Some(number.to_string().into()),
            _ => None,
        },
        Kind::Datetime => value.as_str().and_then(time).map(Field::from),
        Kind::Selection(options) => {
            let mut options = options.iter();
            let option = options.find(|(option, _)| value == option);
            option.map(|(option, _)| Field::from(*option))
        }
        Kind::Boolean => value.as_bool().map(|is| Field::Number(is.into())),
        Kind::Integer | Kind::Many2one(_) => value.as_i64().map(Field::from),
        Kind::Money => whole(value, 100.0, MOST_MONEY).map(Field::from),
        Kind::Quantity => {
            let quantity = value.as_f64().filter(|quantity| quantity.fract() == 0.0);
            quantity
                .and_then(|_| whole(value, 1.0, MOST_THINGS))
                .map(Field::from)
        }
    };
    field.ok_or_else(|| {
        Failure::value(format!(
            "Wrong value for {}.{}: {value}",
            model.name, column.name
        ))
    })
}

fn nothing(kind: Kind) -> Field {
    match kind.is_text() {
        true => Field::Null,
        false => Field::Number(0),
    }
}

fn time(text: &str) -> Option<String> {
    let day = |text| NaiveDate::parse_from_str(text, "%Y-%m-%d");
    let time = NaiveDateTime::parse_from_str(text, DATETIME);
    let time = time.or_else(|_| day(text).map(|day| day.and_time(NaiveTime::MIN)));
    Some(time.ok()?.format(DATETIME).to_string())
}

/// So many hundredths, say.
fn whole(value: &Value, parts: f64, most: f64) -> Option<i64> {
    let parts = (value.as_f64()? * parts).round();
    (parts.abs() <= most).then_some(parts as i64)
}

/// What a new record has where nothing is said.
pub(super) fn default(column: &Column) -> Field {
    match column.kind {
        Kind::Selection(options) => options
            .first()
            .map_or(Field::Null, |(option, _)| Field::from(*option)),
        Kind::Datetime => Utc::now().format(DATETIME).to_string().into(),
        Kind::Quantity => Field::Number(1),
        kind => nothing(kind),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    /// What is read after a value was written.
    fn kept(kind: Kind, value: Value) -> Option<Value> {
        let model = Model::of("sale.order").unwrap();
        let field = stored(model, &Column::new("field", "Field", kind), &value).ok()?;
        Some(shown_field(kind, &field))
    }

    #[test]
    fn values_are_read_as_they_were_written() {
        for (kind, value) in [
            (Kind::Char, json!("Asha")),
            (Kind::Char, json!(false)),
            (Kind::Datetime, json!("2024-03-01 08:01:00")),
            (Kind::Selection(&[("sale", "Sold")]), json!("sale")),
            (Kind::Boolean, json!(true)),
            (Kind::Integer, json!(7)),
            (Kind::Money, json!(12.5)),
            (Kind::Money, json!(0.29)),
            (Kind::Quantity, json!(3.0)),
            (Kind::Many2one("res.partner"), json!(9)),
            (Kind::Many2one("res.partner"), json!(false)),
        ] {
            assert_eq!(kept(kind, value.clone()), Some(value));
        }
        assert_eq!(kept(Kind::Money, json!(12)), Some(json!(12.0)));
        let day = kept(Kind::Datetime, json!("2024-03-01"));
        assert_eq!(day, Some(json!("2024-03-01 00:00:00")));
    }

    #[test]
    fn what_a_field_cannot_have_is_refused() {
        for (kind, value) in [
            (Kind::Char, json!(["Asha"])),
            (Kind::Char, json!("A\0sha")),
            (Kind::Datetime, json!("yesterday")),
            (Kind::Selection(&[("sale", "Sold")]), json!("lost")),
            (Kind::Integer, json!(1.5)),
            (Kind::Money, json!(1e300)),
            (Kind::Quantity, json!(0.5)),
            (Kind::Many2one("res.partner"), json!("Asha")),
        ] {
            assert_eq!(kept(kind, value.clone()), None, "{value}");
        }
    }
}
