use std::fmt;
use std::str::FromStr;

use crate::store::{StoreError, StoreErrorKind};

/// The name of the schema (on MariaDB: the database) that the tables are in.
///
/// A plain identifier: a letter or `_`, then letters, digits and `_`, 63 at most, all ASCII. So it
/// can stand in a statement as it is, and no quote or dot can get in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SchemaName(String);

impl SchemaName {
    /// Checks and takes a name.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Refused`] when it is no plain identifier.
    pub fn new(name: impl Into<String>) -> Result<Self, StoreError> {
        let name = name.into();
        let begins = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        let is_plain = |other: char| other.is_ascii_alphanumeric() || other == '_';
        if begins && name.len() <= 63 && name.chars().all(is_plain) {
            return Ok(Self(name));
        }
        let context = format!(
            "using the schema {name:?}: its name must be a letter or _, then letters, digits and \
             _, 63 at most"
        );
        Err(StoreError::new(StoreErrorKind::Refused, context))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the name of a table.
    pub(super) fn prefix(&self) -> String {
        format!("{}.", self.0)
    }
}

impl FromStr for SchemaName {
    type Err = StoreError;

    fn from_str(name: &str) -> Result<Self, StoreError> {
        Self::new(name)
    }
}

impl fmt::Display for SchemaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_plain_identifiers_only() {
        for name in ["clinlims", "_a1", "Public", &"a".repeat(63)] {
            assert!(SchemaName::new(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "1a",
            "a\"b",
            "a.b",
            "a b",
            "a;--",
            "é",
            "a'b",
            "a`b",
            &"a".repeat(64),
        ] {
            assert!(SchemaName::new(name).is_err(), "{name}");
        }
    }
}
