use chrono::{DateTime, Utc};

/// A feed document as it was read: one page (RFC 4287 §4.1.1, RFC 5005 §4).
///
/// Text is as the document says it, with references resolved and line ends made LF (XML 1.0
/// §2.11); of ids and dates the white space around them is removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Feed {
    /// `atom:id`; empty where the feed has none.
    pub id: String,
    /// `atom:title`; empty where the feed has none. Of a title with markup, the text.
    pub title: String,
    /// `atom:updated`.
    pub updated: Option<DateTime<Utc>>,
    /// The name of the first `atom:author` that has one.
    pub author: Option<String>,
    /// The text of `atom:generator`.
    pub generator: Option<String>,
    /// `atom:generator/@uri`.
    pub generator_uri: Option<String>,
    /// The links of the feed itself, in document order. One without `href` leads nowhere and is not
    /// here.
    pub links: Vec<Link>,
    /// The entries, in document order: oldest first in feeds of this family.
    pub entries: Vec<Entry>,
}

impl Feed {
    /// Where the first link of this relation leads, as written: not resolved, and `rel` compared
    /// exactly.
    pub fn link(&self, rel: &str) -> Option<&str> {
        self.links
            .iter()
            .find(|link| link.rel == rel)
            .map(|link| link.href.as_str())
    }
}

/// A link of a feed (RFC 4287 §4.2.7). Pages are chained by the relations `self`, `via`,
/// `prev-archive` and `next-archive` (RFC 5005 §4).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Link {
    /// The relation; `alternate` where a document gives none.
    pub rel: String,
    /// Where it leads: a URL, or a reference relative to that of the document.
    pub href: String,
    /// The media type that is to be expected there (attribute `type`).
    pub media_type: Option<String>,
}

/// An entry as it was read: one event (RFC 4287 §4.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Entry {
    /// `atom:id`, never empty.
    pub id: String,
    /// `atom:title`, untrimmed; empty where the entry has none. Of a title with markup, the text.
    pub title: String,
    /// `atom:updated`.
    pub updated: Option<DateTime<Utc>>,
    /// `atom:published`; old publishers leave it out.
    pub published: Option<DateTime<Utc>>,
    /// `atom:category/@term`, each once, in document order.
    pub terms: Vec<String>,
    /// `atom:content`, untouched; empty where the entry has none. Where it holds elements, their
    /// markup as it stands, without white space around it and without namespace declarations from
    /// further out.
    pub content: String,
}
