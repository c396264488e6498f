use std::fmt;

use crate::atom::find_illegal;

/// What an event is about (`patient`, `encounter`), and the name of the feed that carries it.
///
/// Column `event_records.category`; the path segment in `…/{category}/recent`. Never empty, no longer than
/// [`Category::MAX_LENGTH`], and free of characters that XML 1.0 cannot carry.
///
/// Deployed feeds match categories without regard to case: the feed `/encounter/` carries events
/// stored as `Encounter`. Equality here is exact; [`Category::folded`] is what feeds are matched by.
///
/// ```
/// use atomfeed_core::Category;
///
/// let stored = Category::new("Encounter")?;
/// let asked = Category::new("encounter")?;
/// assert_ne!(stored, asked);
/// assert_eq!(stored.folded(), asked.folded());
/// # Ok::<(), atomfeed_core::InvalidCategory>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Category(String);

impl Category {
    /// So many characters a name has at most, as it is spelled and in lower case: what the indexes of
    /// every database hold.
    pub const MAX_LENGTH: usize = 500;

    /// Checks and takes a category name as it is spelled.
    ///
    /// # Errors
    ///
    /// When the name is empty, too long, or holds a character that XML 1.0 cannot carry.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidCategory> {
        let name = name.into();
        if name.is_empty() {
            return Err(InvalidCategory::Empty);
        }
        if let Some(length) = excessive_length(&name) {
            return Err(InvalidCategory::Long { length });
        }
        if let Some((offset, character)) = find_illegal(&name) {
            return Err(InvalidCategory::Character { offset, character });
        }
        Ok(Self(name))
    }

    /// The name as it is spelled.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in Unicode lower case, letter by letter: two categories with the same folded name
    /// are on the same feed.
    pub fn folded(&self) -> String {
        fold(&self.0)
    }
}

impl Category {
    /// The same name, [folded](Self::folded).
    #[must_use]
    pub fn in_lower_case(&self) -> Self {
        // Folded once more it stays, and it is as long as was checked.
        Self(self.folded())
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no [`Category`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCategory {
    /// The name is empty.
    #[error("a category name is empty: give a name, or leave the category out")]
    Empty,
    /// The name is longer than [`Category::MAX_LENGTH`].
    #[error(
        "a category name has {length} characters, as it is spelled or in lower case, where {} fit: \
         shorten it",
        Category::MAX_LENGTH
    )]
    Long {
        /// How many characters it has.
        length: usize,
    },
    /// The name holds a character that no XML 1.0 document can carry.
    #[error(
        "a category name holds {character:?} at byte {offset}, which XML 1.0 cannot carry: remove it"
    )]
    Character {
        /// Where the character begins, in bytes.
        offset: usize,
        /// The character.
        character: char,
    },
}

/// Lower case letter by letter, so that the result does not depend on a letter's neighbours.
pub(crate) fn fold(name: &str) -> String {
    name.chars().flat_map(char::to_lowercase).collect()
}

/// How many characters a name has, where that is more than fit.
pub(crate) fn excessive_length(name: &str) -> Option<usize> {
    if name.len() <= Category::MAX_LENGTH / 2 {
        return None;
    }
    let folded = name.chars().flat_map(char::to_lowercase).count();
    let length = folded.max(name.chars().count());
    (length > Category::MAX_LENGTH).then_some(length)
}

/// Which events a feed carries: all of them, or those of one category.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FeedScope {
    /// Every event: `…/recent`, `…/{n}`.
    All,
    /// The events of one category, in any case: `…/{category}/recent`, `…/{category}/{n}`.
    Category(Category),
}

impl FeedScope {
    /// The category, spelled as asked.
    pub fn category(&self) -> Option<&Category> {
        match self {
            Self::All => None,
            Self::Category(category) => Some(category),
        }
    }

    /// What a feed's positions are kept under: the folded category, or nothing for all events.
    pub fn key(&self) -> String {
        self.category().map(Category::folded).unwrap_or_default()
    }
}

impl fmt::Display for FeedScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all events"),
            Self::Category(category) => write!(f, "category {:?}", category.as_str()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn folds_beyond_ascii() {
        assert_eq!(fold("É"), fold("é"));
        assert_eq!(fold("PATIENT"), "patient");
        assert_eq!(fold("ΟΔΟΣ"), fold("οδοσ"), "no final sigma rule");
    }

    /// `İ` is two characters in lower case.
    #[test]
    fn counts_characters_in_lower_case_too() {
        for (name, times, length) in [("é", 501, 501), ("x", 501, 501), ("İ", 251, 502)] {
            let long = InvalidCategory::Long { length };
            assert_eq!(Category::new(name.repeat(times)), Err(long));
            assert!(Category::new(name.repeat(times - 1)).is_ok());
        }
    }

    #[test]
    fn refuses_what_cannot_name_a_feed() {
        assert_eq!(Category::new(""), Err(InvalidCategory::Empty));
        assert_eq!(
            Category::new("a\u{1}"),
            Err(InvalidCategory::Character {
                offset: 1,
                character: '\u{1}'
            })
        );
    }
}
