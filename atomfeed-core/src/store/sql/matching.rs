use super::Dialect;
use super::value::Value;
use crate::{Category, FeedScope};

/// How the events of a category are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Matching {
    /// Without regard to case: the spellings that occur are in a table of ours, by their lower case.
    #[default]
    Folded,
    /// As the column compares, which has a collation of its own, and an index in its order.
    Collation,
    /// Only in the very spelling, in a column that compares so.
    Exact,
    /// Only in the very spelling, in a column that compares otherwise.
    ExactBytes,
}

impl Matching {
    pub(super) fn condition<D: Dialect>(self) -> &'static str {
        match self {
            Self::Folded => D::OF_FOLDED,
            Self::Collation | Self::Exact => "category = ?",
            // The first is for the index.
            Self::ExactBytes => "category = ? AND BINARY category = BINARY ?",
        }
    }

    /// What the condition is given.
    pub(super) fn values(self, scope: &FeedScope) -> Vec<Value> {
        let Some(category) = scope.category() else {
            return Vec::new();
        };
        match self {
            Self::Folded => vec![category.folded().into()],
            Self::Collation | Self::Exact => vec![category.as_str().into()],
            Self::ExactBytes => vec![category.as_str().into(); 2],
        }
    }

    /// Under which name the positions of a feed are kept. Feeds that may differ have different ones:
    /// what no category can begin with stands before a spelling.
    pub(super) fn key(self, scope: &FeedScope) -> String {
        match (self, scope.category()) {
            (_, None) => String::new(),
            (Self::Folded, Some(category)) => category.folded(),
            // Collations differ in what they hold for alike, but not in the case of these.
            (Self::Collation, Some(category)) if category.as_str().is_ascii() => category.folded(),
            (Self::Collation, Some(category)) => format!("\u{2}{}", category.as_str()),
            (_, Some(category)) => format!("\u{1}{}", category.as_str()),
        }
    }

    /// Of the spellings that are one feed, one that is the same for all of them, as far as that can be
    /// told.
    pub(super) fn one_spelling(self, category: &Category) -> Category {
        match self {
            Self::Folded => category.in_lower_case(),
            Self::Collation if category.as_str().is_ascii() => category.in_lower_case(),
            Self::Collation | Self::Exact | Self::ExactBytes => category.clone(),
        }
    }
}
