//! Domains: which records are meant, in Polish notation with an "and" where nothing stands.

use std::cmp::Ordering;

use serde_json::Value;

use super::exception::Failure;
use super::tables::{Model, Place, Record};
use super::values::shown;
use crate::hospital::store::Field;

/// Which records of a model are meant.
pub(super) struct Domain {
    model: &'static Model,
    tokens: Vec<Token>,
}

enum Token {
    /// Of the two that follow, as the next one is.
    And,
    Or,
    /// Of the one that follows.
    Not,
    /// `[1, "=", 1]` and `[0, "=", 1]`.
    Always(bool),
    Leaf(Leaf),
}

/// `[field, operator, value]`
struct Leaf {
    place: Place,
    operator: Operator,
    value: Value,
    /// `not in`, `!=` and their like.
    is_negated: bool,
}

enum Operator {
    Equal,
    In,
    Like { pattern: String, folds_case: bool },
    Compare(fn(Ordering) -> bool),
}

impl Domain {
    /// What a domain of a model says.
    pub(super) fn of(model: &'static Model, domain: &Value) -> Result<Self, Failure> {
        let wrong = || Failure::value(format!("Domain {domain} syntax is not correct."));
        let tokens = match domain {
            Value::Null | Value::Bool(false) => &[][..],
            Value::Array(tokens) => tokens.as_slice(),
            _ => return Err(wrong()),
        };
        let mut domain = Vec::new();
        let mut awaited = 0usize;
        for token in tokens {
            let token = Token::of(model, token)?;
            awaited = awaited.max(1);
            match token {
                Token::And | Token::Or => awaited += 1,
                Token::Not => {}
                Token::Always(_) | Token::Leaf(_) => awaited -= 1,
            }
            domain.push(token);
        }
        match awaited {
            0 => Ok(Self {
                model,
                tokens: domain,
            }),
            _ => Err(wrong()),
        }
    }

    /// Whether a record is meant.
    pub(super) fn means(&self, record: &Record) -> bool {
        // Read from its end, what an operator is of stands on the stack already.
        let mut stack = Vec::new();
        for token in self.tokens.iter().rev() {
            let is = match token {
                Token::Leaf(leaf) => leaf.means(self.model, record),
                Token::Always(is) => *is,
                Token::Not => !stack.pop().unwrap_or(true),
                Token::And | Token::Or => {
                    let (left, right) = (stack.pop(), stack.pop());
                    let (left, right) = (left.unwrap_or(true), right.unwrap_or(true));
                    match token {
                        Token::And => left && right,
                        _ => left || right,
                    }
                }
            };
            stack.push(is);
        }
        stack.into_iter().all(|is| is)
    }

    /// Columns of which every record that is meant has one of these values.
    pub(super) fn needs(&self) -> Vec<(&'static str, Vec<Field>)> {
        let mut needed = Vec::new();
        // How many more parts of an "or" or a "not" are to come.
        let mut optional = 0usize;
        for token in &self.tokens {
            match (token, optional) {
                (Token::Leaf(leaf), 0) => needed.extend(leaf.needs(self.model)),
                (Token::Always(_) | Token::And, 0) => {}
                (Token::Or, 0) => optional = 2,
                (Token::Not, 0) => optional = 1,
                (Token::Leaf(_) | Token::Always(_), _) => optional -= 1,
                (Token::And | Token::Or, _) => optional += 1,
                (Token::Not, _) => {}
            }
        }
        needed
    }
}

impl Token {
    fn of(model: &'static Model, token: &Value) -> Result<Self, Failure> {
        match token.as_str() {
            Some("&") => return Ok(Self::And),
            Some("|") => return Ok(Self::Or),
            Some("!") => return Ok(Self::Not),
            _ => {}
        }
        let wrong = || Failure::value(format!("Invalid leaf {token}"));
        let Some([field, operator, value]) = token.as_array().map(Vec::as_slice) else {
            return Err(wrong());
        };
        let operator = operator.as_str().ok_or_else(wrong)?;
        match field {
            Value::Number(number) if operator == "=" => {
                Ok(Self::Always(number.as_i64() == value.as_i64()))
            }
            Value::String(field) => Leaf::of(model, field, operator, value).map(Self::Leaf),
            _ => Err(wrong()),
        }
    }
}

impl Leaf {
    fn of(
        model: &'static Model,
        field: &str,
        operator: &str,
        value: &Value,
    ) -> Result<Self, Failure> {
        if field.contains('.') {
            return Err(Failure::not_spoken(format!("the path {field} in a domain")));
        }
        let place = model.place(field)?;
        if let Place::List(_) = place {
            return Err(Failure::not_spoken(format!("the list {field} in a domain")));
        }
        let positive = operator.strip_prefix("not ");
        let is_negated = positive.is_some() || matches!(operator, "!=" | "<>");
        let like = |pattern: String, folds_case: bool| Operator::Like {
            pattern: match folds_case {
                true => pattern.to_lowercase(),
                false => pattern,
            },
            folds_case,
        };
        let text = || value.as_str().unwrap_or_default();
        let operator = match positive.unwrap_or(operator) {
            "=" | "==" | "!=" | "<>" => Operator::Equal,
            "in" if value.is_array() => Operator::In,
            "like" => like(format!("%{}%", text()), false),
            "ilike" => like(format!("%{}%", text()), true),
            "=like" => like(text().to_owned(), false),
            "=ilike" => like(text().to_owned(), true),
            "<" => Operator::Compare(Ordering::is_lt),
            "<=" => Operator::Compare(Ordering::is_le),
            ">" => Operator::Compare(Ordering::is_gt),
            ">=" => Operator::Compare(Ordering::is_ge),
            _ => {
                let leaf = format!("the operator {operator} with {value} in a domain");
                return Err(Failure::not_spoken(leaf));
            }
        };
        Ok(Self {
            place,
            operator,
            value: value.clone(),
            is_negated,
        })
    }

    fn means(&self, model: &Model, record: &Record) -> bool {
        let has = shown(model, self.place, record);
        let is = match &self.operator {
            Operator::Equal => is_same(&has, &self.value),
            Operator::In => {
                let values = self.value.as_array();
                values.is_some_and(|values| values.iter().any(|value| is_same(&has, value)))
            }
            Operator::Like {
                pattern,
                folds_case,
            } => match (has.as_str(), folds_case) {
                (Some(text), true) => is_like(&text.to_lowercase(), pattern),
                (Some(text), false) => is_like(text, pattern),
                (None, _) => false,
            },
            Operator::Compare(holds) => compare(&has, &self.value).is_some_and(holds),
        };
        is != self.is_negated
    }

    fn needs(&self, model: &'static Model) -> Option<(&'static str, Vec<Field>)> {
        let values = match self.operator {
            _ if self.is_negated => return None,
            Operator::Equal => std::slice::from_ref(&self.value),
            Operator::In => self.value.as_array()?.as_slice(),
            _ => return None,
        };
        let (name, is_text) = match self.place {
            Place::Id => ("id", false),
            Place::Column(at) => {
                let column = model.columns.get(at)?;
                (column.name, column.kind.is_text())
            }
            Place::DisplayName | Place::List(_) => return None,
        };
        // What is nothing stands for several values of the table.
        let field = |value: &Value| match is_text {
            true => {
                let text = value.as_str();
                let text = text.filter(|text| !text.is_empty() && !text.contains('\0'));
                text.map(Field::from)
            }
            false => value.as_i64().filter(|id| *id != 0).map(Field::from),
        };
        let fields: Option<Vec<_>> = values.iter().map(field).collect();
        Some((name, fields?))
    }
}

fn is_same(has: &Value, value: &Value) -> bool {
    if is_nothing(has) || is_nothing(value) {
        return is_nothing(has) && is_nothing(value);
    }
    match (has.as_f64(), value.as_f64()) {
        (Some(has), Some(value)) => has == value,
        _ => has == value,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        _ => false,
    }
}

fn compare(has: &Value, value: &Value) -> Option<Ordering> {
    match (has, value) {
        (Value::String(has), Value::String(value)) => Some(has.cmp(value)),
        _ => has.as_f64()?.partial_cmp(&value.as_f64()?),
    }
}

/// Whether a text is as a pattern says, in which `%` stands for any letters and `_` for one.
fn is_like(text: &str, pattern: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let pattern: Vec<char> = pattern.chars().collect();
    let (mut at, mut in_pattern) = (0, 0);
    // The last `%`, and what it stands for so far.
    let mut star = None;
    while at < text.len() {
        match pattern.get(in_pattern) {
            Some('%') => {
                star = Some((in_pattern, at));
                in_pattern += 1;
            }
            Some(letter) if *letter == '_' || *letter == text[at] => {
                at += 1;
                in_pattern += 1;
            }
            _ => {
                let Some((percent, until)) = star else {
                    return false;
                };
                star = Some((percent, until + 1));
                at = until + 1;
                in_pattern = percent + 1;
            }
        }
    }
    pattern[in_pattern..].iter().all(|letter| *letter == '%')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn partner(id: i64, name: &str, city: Field) -> Record {
        let mut record = vec![Field::Null; 7];
        let model = Model::of("res.partner").unwrap();
        record[0] = Field::Number(id);
        model.set(&mut record, "name", name);
        model.set(&mut record, "city", city);
        model.set(&mut record, "customer_rank", 1);
        record
    }

    fn domain(domain: Value) -> Result<Domain, Failure> {
        Domain::of(Model::of("res.partner").unwrap(), &domain)
    }

    #[track_caller]
    fn finds(asked: Value) -> Vec<i64> {
        let domain = domain(asked).unwrap();
        let records = [
            partner(1, "Asha Verma", "Ganiyari".into()),
            partner(2, "Ravi", "Ganiyari".into()),
            partner(3, "Meena", Field::Null),
        ];
        let found = records.iter().filter(|record| domain.means(record));
        found.map(|record| record[0].number()).collect()
    }

    #[test]
    fn leaves_mean_what_they_mean_in_odoo() {
        assert_eq!(finds(json!([])), [1, 2, 3]);
        assert_eq!(finds(json!(false)), [1, 2, 3]);
        assert_eq!(finds(json!([["name", "=", "Ravi"]])), [2]);
        assert_eq!(finds(json!([["name", "!=", "Ravi"]])), [1, 3]);
        assert_eq!(finds(json!([["city", "=", false]])), [3]);
        assert_eq!(finds(json!([["city", "!=", false]])), [1, 2]);
        assert_eq!(finds(json!([["id", "in", [1, 3, 9]]])), [1, 3]);
        assert_eq!(finds(json!([["id", "not in", [1, 3]]])), [2]);
        assert_eq!(finds(json!([["name", "like", "e"]])), [1, 3]);
        assert_eq!(finds(json!([["name", "like", "ASHA"]])), [0; 0]);
        assert_eq!(finds(json!([["name", "ilike", "ASHA"]])), [1]);
        assert_eq!(finds(json!([["name", "=like", "R_v%"]])), [2]);
        assert_eq!(finds(json!([["name", "not ilike", "a%a"]])), [2, 3]);
        assert_eq!(finds(json!([["id", ">=", 2]])), [2, 3]);
        assert_eq!(finds(json!([["customer_rank", "=", 1.0]])), [1, 2, 3]);
        assert_eq!(finds(json!([["display_name", "=", "Ravi"]])), [2]);
        assert_eq!(finds(json!([[0, "=", 1]])), [0; 0]);
    }

    #[test]
    fn operators_stand_before_what_they_are_of() {
        let ravi = json!(["name", "=", "Ravi"]);
        let meena = json!(["name", "=", "Meena"]);
        let here = json!(["city", "=", "Ganiyari"]);
        assert_eq!(finds(json!([here, ravi])), [2]);
        assert_eq!(finds(json!(["&", here, ravi])), [2]);
        assert_eq!(finds(json!(["|", ravi, meena])), [2, 3]);
        assert_eq!(finds(json!(["!", "|", ravi, meena])), [1]);
        assert_eq!(finds(json!([here, "!", ravi])), [1]);
        assert_eq!(finds(json!(["|", "&", here, ravi, meena])), [2, 3]);
        assert_eq!(finds(json!(["!", "!", ravi])), [2]);
    }

    #[test]
    fn what_is_needed_is_looked_up() {
        let named = |asked: Value| {
            let needs = domain(asked).unwrap().needs();
            needs.iter().map(|(name, _)| *name).collect::<Vec<_>>()
        };
        let reference = json!(["ref", "=", "7"]);
        let name = json!(["name", "in", ["Asha", "Ravi"]]);
        assert_eq!(named(json!([reference, name])), ["ref", "name"]);
        assert_eq!(named(json!(["&", name, reference])), ["name", "ref"]);
        assert_eq!(named(json!(["|", name, name, reference])), ["ref"]);
        assert_eq!(named(json!(["!", "&", name, name, reference])), ["ref"]);
        assert_eq!(named(json!([["ref", "=", false]])), [""; 0]);
        assert_eq!(named(json!([["ref", "!=", "7"]])), [""; 0]);
    }

    #[test]
    fn what_is_no_domain_is_an_exception() {
        for asked in [
            json!("name"),
            json!([7]),
            json!(["&", ["name", "=", "Ravi"]]),
            json!(["!"]),
            json!([["name", "="]]),
            json!([["nothing", "=", 1]]),
            json!([["name", "in", "Ravi"]]),
            json!([["name", "child_of", 1]]),
            json!([["partner_id.name", "=", "Ravi"]]),
            json!([[["name"], "=", 1]]),
        ] {
            assert!(domain(asked.clone()).is_err(), "{asked}");
        }
    }
}
