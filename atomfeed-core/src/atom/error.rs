use std::error::Error as StdError;
use std::str::Utf8Error;

use super::ATOM_NAMESPACE;

/// Why a document could not be read as an Atom feed.
///
/// Offsets are in bytes from the start of the document.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The document is larger than [`ReadLimits::max_bytes`](super::ReadLimits::max_bytes).
    #[error(
        "reading a feed document of {size} bytes, where {limit} are allowed: raise the limit if \
         the publisher's pages are meant to be so large"
    )]
    TooLarge {
        /// The size of the document.
        size: usize,
        /// The limit.
        limit: usize,
    },

    /// The document is not UTF-8, though nothing in it says that it is anything else.
    #[error(
        "reading a feed document: what stands at byte {offset} is not UTF-8; the publisher must \
         serve UTF-8"
    )]
    NotUtf8 {
        /// Where the text stops being UTF-8.
        offset: usize,
        /// What is wrong there.
        source: Utf8Error,
    },

    /// The document is, or says that it is, in an encoding other than UTF-8 (or its subset
    /// US-ASCII).
    #[error("reading a feed document in {encoding}: the publisher must serve UTF-8")]
    UnsupportedEncoding {
        /// The encoding, as declared or recognised.
        encoding: String,
    },

    /// The document has a `<!DOCTYPE>`. It could define entities that expand without bound, and no
    /// feed needs one; an HTML page has one.
    #[error(
        "reading a feed document: it has a document type declaration at byte {offset}, which is \
         refused; see whether the URL answers with an HTML page, such as a login form"
    )]
    Doctype {
        /// Where it stands.
        offset: usize,
    },

    /// More elements are open at once than [`ReadLimits::max_depth`](super::ReadLimits::max_depth)
    /// allows.
    #[error(
        "reading a feed document: at byte {offset}, elements are nested more than {limit} deep; the \
         publisher must nest less, or raise the limit if this is meant to be so"
    )]
    TooDeep {
        /// The limit.
        limit: usize,
        /// Where it was passed.
        offset: usize,
    },

    /// The feed has more entries than
    /// [`ReadLimits::max_entries`](super::ReadLimits::max_entries) allows.
    #[error(
        "reading a feed document: it has more than {limit} entries; raise the limit if the \
         publisher's pages are meant to be so long"
    )]
    TooManyEntries {
        /// The limit.
        limit: usize,
    },

    /// An element has more attributes than
    /// [`ReadLimits::max_attributes`](super::ReadLimits::max_attributes) allows.
    #[error(
        "reading a feed document: the element at byte {offset} has more than {limit} attributes"
    )]
    TooManyAttributes {
        /// The limit.
        limit: usize,
        /// Where the element begins.
        offset: usize,
    },

    /// An entity other than the five that XML itself defines (XML 1.0 §4.6).
    #[error(
        "reading a feed document: it uses the entity `{name}` at byte {offset}, which XML does not \
         define; the publisher must write the character itself, or a numeric reference"
    )]
    UnknownEntity {
        /// The name of the entity.
        name: String,
        /// Where the reference stands, or the tag that it is in.
        offset: usize,
    },

    /// A character that XML 1.0 does not have (§2.2), literally or as a character reference.
    #[error(
        "reading a feed document: U+{code:04X} at byte {offset} is no character of XML; the \
         publisher must leave it out"
    )]
    IllegalCharacter {
        /// The code point, or a number that is none.
        code: u32,
        /// Where it stands, or the tag that it is in.
        offset: usize,
    },

    /// The document is not well-formed XML, or has two of what an Atom element can have one of.
    #[error(
        "reading a feed document: it is malformed at byte {offset}; the publisher must mend it"
    )]
    Malformed {
        /// Where.
        offset: usize,
        /// What is wrong there.
        source: Box<dyn StdError + Send + Sync>,
    },

    /// The document ends too early, as when a connection breaks or a publisher fails halfway.
    #[error(
        "reading a feed document: it ends after {size} bytes, before the feed does; it may be whole \
         when it is fetched again"
    )]
    Truncated {
        /// The size of the document.
        size: usize,
    },

    /// The document is XML, but its root is not `feed` in the namespace of Atom.
    #[error(
        "reading a feed document: its root element is `{root}` in {}, and not `feed` in namespace \
         {ATOM_NAMESPACE}; see whether the URL is that of a feed",
        namespace.as_ref().map_or("no namespace".to_owned(), |uri| format!("namespace {uri}"))
    )]
    NotAFeed {
        /// The name of the root element, with its prefix.
        root: String,
        /// Its namespace.
        namespace: Option<String>,
    },

    /// An entry has no `atom:id` (RFC 4287 §4.2.6), or an empty one: it could never be the last one
    /// read.
    #[error(
        "reading a feed document: entry {number} of the page, at byte {offset}, has no id; the \
         publisher must give it one that never changes"
    )]
    MissingId {
        /// Which entry of the document, from 1.
        number: usize,
        /// Where it begins.
        offset: usize,
    },

    /// A date that is not RFC 3339 (RFC 4287 §3.3).
    #[error("reading `{element}` of {of}: {value:?} at byte {offset} is no RFC 3339 time")]
    BadDate {
        /// The element: `updated` or `published`.
        element: &'static str,
        /// The entry's id, or `the feed`.
        of: String,
        /// What stands there, shortened.
        value: String,
        /// Where the element begins.
        offset: usize,
        /// What is wrong with it.
        source: chrono::ParseError,
    },
}

/// The beginning of something from a document, short enough for an error message.
pub(super) fn excerpt(text: &str) -> String {
    const CHARS: usize = 80;
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
