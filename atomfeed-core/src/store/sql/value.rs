use chrono::{DateTime, NaiveDateTime, Utc};

use super::TableZone;
use crate::store::{StoreError, StoreErrorKind, StoreResult};

/// What is bound to a placeholder: typed also where it is NULL, since PostgreSQL refuses NULLs of
/// unknown type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A whole number.
    Int(Option<i64>),
    /// A text.
    Text(Option<String>),
    /// A time, in UTC.
    Time(Option<DateTime<Utc>>),
    /// A time in a column that does not say of which zone it is.
    LocalTime(Option<NaiveDateTime>),
    /// What should be a text and is not in UTF-8, with U+FFFD in the place of what is none.
    Garbled(String),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<u64> for Value {
    /// Numbers beyond what databases count to stand for "no limit".
    fn from(value: u64) -> Self {
        Self::Int(Some(i64::try_from(value).unwrap_or(i64::MAX)))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<Option<&str>> for Value {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(Into::into))
    }
}

impl From<Option<String>> for Value {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

impl From<DateTime<Utc>> for Value {
    fn from(value: DateTime<Utc>) -> Self {
        Self::Time(Some(value))
    }
}

impl From<Option<DateTime<Utc>>> for Value {
    fn from(value: Option<DateTime<Utc>>) -> Self {
        Self::Time(value)
    }
}

impl Value {
    fn is_null(&self) -> bool {
        matches!(
            self,
            Self::Int(None) | Self::Text(None) | Self::Time(None) | Self::LocalTime(None)
        )
    }
}

/// A row as a database answered it, column by column, in the order of the statement.
#[derive(Debug, Clone)]
pub struct Row {
    cells: std::vec::IntoIter<Value>,
}

impl Row {
    /// A row of these cells.
    pub fn new(cells: Vec<Value>) -> Self {
        Self {
            cells: cells.into_iter(),
        }
    }

    /// The next column, a whole number.
    ///
    /// # Errors
    ///
    /// This and every other: when the column holds something else.
    pub fn int(&mut self) -> StoreResult<Option<i64>> {
        match self.cells.next() {
            Some(Value::Int(value)) => Ok(value),
            Some(value) if value.is_null() => Ok(None),
            other => Err(unexpected("a whole number", other.as_ref())),
        }
    }

    /// The next column, a whole number that must be there.
    ///
    /// # Errors
    ///
    /// Also when it is NULL.
    pub fn required_int(&mut self) -> StoreResult<i64> {
        self.int()?
            .ok_or_else(|| unexpected("a whole number", None))
    }

    /// The next column, a number that is not negative and counts something.
    ///
    /// # Errors
    ///
    /// Also when it is NULL or negative.
    pub fn required_count(&mut self) -> StoreResult<u64> {
        let count = self.required_int()?;
        u64::try_from(count).map_err(|_| unexpected("a count", Some(&Value::from(count))))
    }

    /// The next column, a text.
    ///
    /// # Errors
    ///
    /// When the column holds something else.
    pub fn text(&mut self) -> StoreResult<Option<String>> {
        match self.cells.next() {
            Some(Value::Text(value)) => Ok(value),
            Some(value) if value.is_null() => Ok(None),
            Some(Value::Int(Some(number))) => Ok(Some(number.to_string())),
            other => Err(unexpected("a text", other.as_ref())),
        }
    }

    /// The next column, a text, or what can be read of it, and whether that is less than all.
    ///
    /// # Errors
    ///
    /// When the column holds something else.
    pub fn text_as_far_as_it_is(&mut self) -> StoreResult<(Option<String>, bool)> {
        match self.cells.as_slice().first() {
            Some(Value::Garbled(text)) => {
                let text = text.clone();
                self.cells.next();
                Ok((Some(text), true))
            }
            _ => Ok((self.text()?, false)),
        }
    }

    /// The next column, a text; NULL is an empty one.
    ///
    /// # Errors
    ///
    /// When the column holds something else.
    pub fn text_or_empty(&mut self) -> StoreResult<String> {
        Ok(self.text()?.unwrap_or_default())
    }

    /// The next column, a time; in UTC, where the column does not say of which zone it is.
    ///
    /// # Errors
    ///
    /// When the column holds something else.
    pub fn time(&mut self) -> StoreResult<Option<DateTime<Utc>>> {
        self.time_in(TableZone::default())
    }

    /// The next column, a time; in a zone, where the column does not say of which it is.
    ///
    /// # Errors
    ///
    /// When the column holds something else.
    pub fn time_in(&mut self, zone: TableZone) -> StoreResult<Option<DateTime<Utc>>> {
        match self.cells.next() {
            Some(Value::Time(value)) => Ok(value),
            Some(Value::LocalTime(Some(local))) => Ok(Some(zone.read_local(local))),
            Some(value) if value.is_null() => Ok(None),
            Some(Value::Text(Some(text))) => match parse_time(&text, zone) {
                Some(time) => Ok(Some(time)),
                None => Err(unexpected("a time", Some(&Value::Text(Some(text))))),
            },
            other => Err(unexpected("a time", other.as_ref())),
        }
    }
}

fn unexpected(wanted: &str, found: Option<&Value>) -> StoreError {
    let found = match found {
        None => "NULL".to_owned(),
        Some(value) if value.is_null() => "NULL".to_owned(),
        Some(Value::Int(Some(number))) => number.to_string(),
        Some(Value::Text(Some(text))) => format!("{text:?}"),
        Some(Value::Garbled(text)) => format!("{text:?}, which is not in UTF-8"),
        Some(Value::Time(time)) => format!("{time:?}"),
        Some(Value::LocalTime(time)) => format!("{time:?}"),
        Some(other) => format!("{other:?}"),
    };
    let context = format!("reading a column that should hold {wanted}: it holds {found}");
    StoreError::new(StoreErrorKind::InvalidData, context)
}

/// How times stand where a database has no type for them: they sort as texts as they do as times.
#[cfg(feature = "sqlite")]
pub(super) fn format_time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

/// The same of a time that says no zone.
#[cfg(feature = "sqlite")]
pub(super) fn format_local(time: NaiveDateTime) -> String {
    time.format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

fn parse_time(text: &str, zone: TableZone) -> Option<DateTime<Utc>> {
    // As programs write them that use SQLite's own functions, or RFC 3339.
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    let formats = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"];
    let naive = formats
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    naive.map(|naive| zone.read_local(naive))
}

#[cfg(all(test, feature = "sqlite"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_sort_as_texts_and_come_back_equal() {
        let times = [
            "0001-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999999Z",
            "1970-01-01T00:00:00Z",
            "2024-03-01T08:01:00.000001Z",
            "2024-03-01T08:01:00.1Z",
            "9999-12-31T23:59:59Z",
        ]
        .map(|text| text.parse::<DateTime<Utc>>().unwrap());
        let texts = times.map(format_time);
        assert!(texts.is_sorted());
        assert_eq!(
            texts.map(|text| parse_time(&text, TableZone::default()).unwrap()),
            times
        );
    }
}
