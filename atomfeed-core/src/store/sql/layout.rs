use std::collections::HashMap;

use chrono::{DateTime, SubsecRound, Utc};

use super::TableZone;
use super::value::Value;
use crate::store::{StoreError, StoreErrorKind, StoreResult};

/// What the tables of the feed are like: our own, or somebody else's as they were found.
#[derive(Debug, Clone, Default)]
pub(super) struct Layout {
    /// By table and column; `None` for our own, in which everything is there and everything fits.
    columns: Option<HashMap<String, HashMap<String, Column>>>,
    /// The zone of times in columns that name none.
    zone: TableZone,
    /// How the column category of `event_records` compares, where it has a collation: character set and
    /// collation.
    collation: Option<(String, String)>,
    /// Whether the events of a category are to be looked up in a table of ours, since theirs has no
    /// index on the category by which they are found in their order.
    lists_categories: bool,
}

/// What a column of somebody else's can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Texts of so many characters, or bytes, over an alphabet.
    Text {
        /// So many characters at most.
        characters: Option<u64>,
        /// So many bytes at most.
        bytes: Option<u64>,
        /// Which characters it can hold.
        alphabet: Alphabet,
    },
    /// Times.
    Time {
        /// Whether the column knows of which zone its times are; else they are in the zone of the
        /// program that writes them.
        zoned: bool,
        /// Whether fractions of a second are kept.
        fractions: bool,
        /// Whether only times from 1970 to 2038 are kept.
        unix: bool,
    },
    /// Anything else: numbers.
    Other,
}

/// Which characters a column can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alphabet {
    /// All.
    Unicode,
    /// Those of the basic plane: MariaDB's three-byte `utf8`.
    BasicPlane,
    /// Those of ISO 8859-1.
    Latin1,
    /// Those of ASCII.
    Ascii,
}

impl Layout {
    /// Tables of somebody else's.
    pub(super) fn adopted(zone: TableZone, columns: Vec<(String, String, Column)>) -> Self {
        let mut tables: HashMap<String, HashMap<String, Column>> = HashMap::new();
        for (table, column, holds) in columns {
            tables.entry(table).or_default().insert(column, holds);
        }
        Self {
            columns: Some(tables),
            zone,
            collation: None,
            lists_categories: false,
        }
    }

    pub(super) fn set_category_index(&mut self, is_there: bool) {
        self.lists_categories = !is_there && self.has_table("event_records");
    }

    pub(super) fn lists_categories(&self) -> bool {
        self.lists_categories
    }

    /// Sets how the column category of `event_records` compares.
    ///
    /// # Errors
    ///
    /// When a name is none that could stand in a statement.
    pub(super) fn set_collation(&mut self, charset: &str, collation: &str) -> StoreResult<()> {
        let is_name = |name: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            !name.is_empty() && name.bytes().all(plain)
        };
        if !is_name(charset) || !is_name(collation) {
            let context = format!(
                "reading how event_records compares categories: {charset:?} and {collation:?} name no \
                 character set and collation"
            );
            return Err(StoreError::new(StoreErrorKind::InvalidData, context));
        }
        self.collation = Some((charset.to_owned(), collation.to_owned()));
        Ok(())
    }

    pub(super) fn collation(&self) -> Option<&(String, String)> {
        self.collation.as_ref()
    }

    pub(super) fn is_adopted(&self) -> bool {
        self.columns.is_some()
    }

    pub(super) fn has_table(&self, table: &str) -> bool {
        self.columns
            .as_ref()
            .is_none_or(|tables| tables.contains_key(table))
    }

    pub(super) fn has(&self, table: &str, column: &str) -> bool {
        let is_ours = self.columns.is_none() || table.starts_with("atomfeed_");
        is_ours || self.column(table, column).is_some()
    }

    fn column(&self, table: &str, column: &str) -> Option<Column> {
        let tables = self.columns.as_ref()?;
        tables.get(table)?.get(column).copied()
    }

    pub(super) fn zone(&self) -> TableZone {
        self.zone
    }

    /// A value as the column takes it.
    pub(super) fn value(&self, table: &str, column: &str, value: Value) -> Value {
        match (value, self.column(table, column)) {
            (
                Value::Time(time),
                Some(Column::Time {
                    zoned, fractions, ..
                }),
            ) => {
                let digits = if fractions { 6 } else { 0 };
                let time = time.map(|time| time.trunc_subsecs(digits));
                match zoned {
                    true => Value::Time(time),
                    false => Value::LocalTime(time.map(|time| self.zone.to_local(time))),
                }
            }
            (value, _) => value,
        }
    }

    /// Why a value does not fit a column; `None` when it does, or when the table has no such column
    /// and the value is none.
    pub(super) fn misfit(&self, table: &str, column: &str, value: &Value) -> Option<String> {
        let tables = self.columns.as_ref()?;
        let Some(holds) = tables.get(table).and_then(|columns| columns.get(column)) else {
            return match value {
                Value::Text(Some(text)) if !text.is_empty() => {
                    Some(format!("the table {table} has no column {column}"))
                }
                _ => None,
            };
        };
        let why = match value {
            Value::Text(Some(text)) => holds.text_misfit(text),
            Value::Time(Some(time)) => holds.time_misfit(*time),
            _ => None,
        };
        why.map(|why| format!("{why}, in column {table}.{column}"))
    }

    /// A text made to fit a column: what its alphabet does not have becomes U+FFFD or, where that
    /// does not have it either, a question mark; what is too long is cut.
    pub(super) fn fitted(&self, table: &str, column: &str, text: &str) -> String {
        // What PostgreSQL cannot keep in any text.
        let text = text.replace('\0', "\u{fffd}");
        let Some(Column::Text {
            characters,
            bytes,
            alphabet,
        }) = self.column(table, column)
        else {
            return text;
        };
        let (mut left, mut left_bytes) = (characters, bytes);
        let fitting = text.chars().map(|character| match alphabet.has(character) {
            true => character,
            false if alphabet.has('\u{fffd}') => '\u{fffd}',
            false => '?',
        });
        let kept = fitting.take_while(|character| {
            take(&mut left, 1) && take(&mut left_bytes, character.len_utf8() as u64)
        });
        kept.collect()
    }
}

/// Takes so many from what is left, if that much is.
fn take(left: &mut Option<u64>, so_many: u64) -> bool {
    match left {
        None => true,
        Some(left) if *left < so_many => false,
        Some(left) => {
            *left -= so_many;
            true
        }
    }
}

impl Column {
    fn text_misfit(self, text: &str) -> Option<String> {
        let Self::Text {
            characters,
            bytes,
            alphabet,
        } = self
        else {
            return None;
        };
        let length = text.chars().count() as u64;
        if let Some(characters) = characters.filter(|characters| length > *characters) {
            return Some(format!("{length} characters, where {characters} fit"));
        }
        let length = text.len() as u64;
        if let Some(bytes) = bytes.filter(|bytes| length > *bytes) {
            return Some(format!("{length} bytes, where {bytes} fit"));
        }
        let strange = text.chars().find(|character| !alphabet.has(*character))?;
        Some(format!(
            "the character {strange:?}, which its character set does not have"
        ))
    }

    fn time_misfit(self, time: DateTime<Utc>) -> Option<String> {
        let seconds = time.timestamp();
        let fits = match self {
            Self::Time { unix: true, .. } => (1..=i64::from(i32::MAX)).contains(&seconds),
            _ => true,
        };
        (!fits).then(|| format!("the time {time}, where 1970 to 2038 fit"))
    }
}

impl Alphabet {
    fn has(self, character: char) -> bool {
        let code = u32::from(character);
        match self {
            Self::Unicode => true,
            Self::BasicPlane => code <= 0xffff,
            Self::Latin1 => code <= 0x7f || (0xa0..=0xff).contains(&code),
            Self::Ascii => code <= 0x7f,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NARROW: Column = Column::Text {
        characters: Some(5),
        bytes: None,
        alphabet: Alphabet::BasicPlane,
    };

    fn layout(column: Column) -> Layout {
        let found = vec![("t".to_owned(), "c".to_owned(), column)];
        Layout::adopted(TableZone::default(), found)
    }

    fn misfit(column: Column, text: &str) -> Option<String> {
        layout(column).misfit("t", "c", &text.into())
    }

    #[test]
    fn says_why_a_value_does_not_fit() {
        assert_eq!(misfit(NARROW, "éééé\u{ffff}"), None);
        let long = misfit(NARROW, "123456").unwrap();
        assert_eq!(long, "6 characters, where 5 fit, in column t.c");
        let strange = misfit(NARROW, "😀").unwrap();
        assert!(strange.contains("'😀'"), "{strange}");
        let bytes = Column::Text {
            characters: None,
            bytes: Some(3),
            alphabet: Alphabet::Unicode,
        };
        assert_eq!(misfit(bytes, "éa"), None);
        assert!(misfit(bytes, "éé").is_some());
        assert!(layout(NARROW).misfit("t", "other", &"a".into()).is_some());
        assert!(layout(NARROW).misfit("t", "other", &"".into()).is_none());
        assert!(
            Layout::default()
                .misfit("t", "c", &"123456".into())
                .is_none()
        );
    }

    #[test]
    fn fits_a_text_by_cutting_and_replacing() {
        let fitted = |column, text: &str| layout(column).fitted("t", "c", text);
        assert_eq!(fitted(NARROW, "a😀\0é12"), "a\u{fffd}\u{fffd}é1");
        let latin = Column::Text {
            characters: None,
            bytes: None,
            alphabet: Alphabet::Latin1,
        };
        assert_eq!(fitted(latin, "aé€"), "aé?");
        assert_eq!(Layout::default().fitted("t", "c", "a\0b"), "a\u{fffd}b");
    }

    #[test]
    fn times_are_as_the_column_has_them() {
        let time: DateTime<Utc> = "2024-03-01T08:01:00.987654Z".parse().unwrap();
        let column = |zoned, fractions| Column::Time {
            zoned,
            fractions,
            unix: false,
        };
        let zone = "Asia/Kathmandu".parse().unwrap();
        let as_kept = |column| {
            let found = vec![("t".to_owned(), "c".to_owned(), column)];
            Layout::adopted(zone, found).value("t", "c", time.into())
        };
        assert_eq!(as_kept(column(true, true)), time.into());
        let whole = "2024-03-01T08:01:00Z".parse::<DateTime<Utc>>().unwrap();
        assert_eq!(as_kept(column(true, false)), whole.into());
        let local = "2024-03-01T13:46:00.987654".parse().unwrap();
        assert_eq!(as_kept(column(false, true)), Value::LocalTime(Some(local)));
    }
}
