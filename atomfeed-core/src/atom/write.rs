use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use quick_xml::escape::partial_escape;
use quick_xml::events::BytesText;
use quick_xml::events::attributes::Attribute;

use super::chars::{any_byte, replace_illegal};
use super::time::write_time;
use super::{ATOM_NAMESPACE, HISTORY_NAMESPACE, Link};

/// Writes one page: the head, then the entries, oldest first.
///
/// All values go out as they are; none is trimmed or cut. What XML 1.0 does not have becomes U+FFFD
/// (see [`find_illegal`](super::find_illegal)).
///
/// Content is one CDATA section, since Java consumers cut off that wrapper with a regular
/// expression and take the rest literally. A CDATA section cannot contain `]]>`, and two adjacent
/// ones make the original's parser fail, so content with `]]>` in it is one escaped text node.
pub struct FeedWriter {
    out: Vec<u8>,
    line_ends: LineEnds,
}

/// What stands on a page before its entries (RFC 4287 §4.1.1).
#[derive(Debug, Clone, Copy)]
pub struct FeedHead<'a> {
    /// `atom:id`.
    pub id: &'a str,
    /// `atom:title`.
    pub title: &'a str,
    /// `atom:author/atom:name`.
    pub author: &'a str,
    /// The text of `atom:generator`.
    pub generator: &'a str,
    /// `atom:generator/@uri`; left out when empty.
    pub generator_uri: &'a str,
    /// `atom:updated`, cut to whole seconds.
    pub updated: DateTime<Utc>,
    /// The links, in the order in which they are to stand.
    pub links: &'a [Link],
    /// Whether the page is an archive document (`fh:archive`, RFC 5005 §4): what is on it, and that
    /// nothing will be added to it, is settled.
    pub archive: bool,
}

/// An entry to write: one event (RFC 4287 §4.1.2).
#[derive(Debug, Clone, Copy)]
pub struct EntryRef<'a> {
    /// `atom:id`; must not be empty, or nobody can read the page.
    pub id: &'a str,
    /// `atom:title`.
    pub title: Option<&'a str>,
    /// One `atom:category/@term` each, in this order. The caller sees to it that they are distinct.
    pub terms: &'a [&'a str],
    /// `atom:updated`, cut to whole seconds.
    pub updated: DateTime<Utc>,
    /// `atom:published`, cut to whole seconds.
    pub published: DateTime<Utc>,
    /// `atom:content`.
    pub content: Option<&'a str>,
}

/// What becomes of CR and CRLF in content. Titles, terms and ids keep them always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LineEnds {
    /// They arrive as LF, as XML has it (XML 1.0 §2.11) and consumers know it.
    #[default]
    AsXml,
    /// They arrive as they are: such content is written as escaped text with `&#13;`, and not as
    /// CDATA.
    Exact,
}

/// The start tag of an entry's content, without its end: [`ENTRY_CONTENT_TYPE`](super::ENTRY_CONTENT_TYPE)
/// needs no escaping.
const CONTENT: &str = "    <content type=\"application/vnd.atomfeed+xml\"";

impl FeedWriter {
    /// Begins a page. `capacity` is the expected size of the document in bytes: a guess, not a bound.
    pub fn new(head: &FeedHead<'_>, line_ends: LineEnds, capacity: usize) -> Self {
        let mut writer = Self {
            out: Vec::with_capacity(capacity),
            line_ends,
        };
        writer.head(head);
        writer
    }

    /// How many bytes were written so far: after [`new`](Self::new), where the entries begin.
    pub fn written(&self) -> usize {
        self.out.len()
    }

    /// Adds an entry.
    pub fn entry(&mut self, entry: &EntryRef<'_>) {
        self.element(
            "  <entry>\n    <title",
            entry.title.unwrap_or_default(),
            "</title>\n",
        );
        for term in entry.terms {
            self.attribute("    <category term=\"", term);
            self.raw(" />\n");
        }
        self.element("    <id", entry.id, "</id>\n");
        self.raw("    <updated>");
        let begun = self.out.len();
        write_time(&mut self.out, entry.updated);
        let ended = self.out.len();
        self.raw("</updated>\n    <published>");
        if entry.published == entry.updated {
            self.out.extend_from_within(begun..ended);
        } else {
            write_time(&mut self.out, entry.published);
        }
        self.raw("</published>\n");
        self.content(entry.content.unwrap_or_default());
        self.raw("  </entry>\n");
    }

    /// Ends the page behind entries that were [written](Self::written) before, for another head: what
    /// stands from the first of them to the end of that document.
    pub fn finish_with(mut self, rest: &[u8]) -> Vec<u8> {
        self.out.extend_from_slice(rest);
        self.out
    }

    /// Ends the page, and gives the document.
    pub fn finish(mut self) -> Vec<u8> {
        self.raw("</feed>\n");
        self.out
    }

    fn head(&mut self, head: &FeedHead<'_>) {
        self.raw("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        self.attribute("<feed xmlns=\"", ATOM_NAMESPACE);
        if head.archive {
            self.attribute(" xmlns:fh=\"", HISTORY_NAMESPACE);
        }
        self.raw(">\n");
        self.element("  <title", head.title, "</title>\n");
        for link in head.links {
            self.attribute("  <link rel=\"", &link.rel);
            if let Some(media_type) = &link.media_type {
                self.attribute(" type=\"", media_type);
            }
            self.attribute(" href=\"", &link.href);
            self.raw(" />\n");
        }
        if head.archive {
            self.raw("  <fh:archive />\n");
        }
        self.raw("  <author>\n");
        self.element("    <name", head.author, "</name>\n");
        self.raw("  </author>\n");
        self.element("  <id", head.id, "</id>\n");
        self.raw("  <generator");
        if !head.generator_uri.is_empty() {
            self.attribute(" uri=\"", head.generator_uri);
        }
        self.element("", head.generator, "</generator>\n");
        self.time("  <updated>", head.updated, "</updated>\n");
    }

    fn content(&mut self, content: &str) {
        self.raw(CONTENT);
        if !content.is_empty() && !any_byte(content.as_bytes(), is_special_in_content) {
            self.raw("><![CDATA[");
            self.raw(content);
            return self.raw("]]></content>\n");
        }
        let as_text = content.contains("]]>");
        match self.line_ends {
            _ if content.is_empty() => return self.raw(" />\n"),
            LineEnds::Exact if as_text || content.contains('\r') => self.text(content),
            // Escaping would preserve CR, and make the line ends depend on a `]]>` elsewhere.
            LineEnds::AsXml if as_text => {
                let content = BytesText::from_escaped(content).xml10_content();
                self.text(&content);
            }
            LineEnds::AsXml | LineEnds::Exact => {
                self.raw("><![CDATA[");
                self.raw(&replace_illegal(content));
                self.raw("]]>");
            }
        }
        self.raw("</content>\n");
    }

    /// A whole element, of which `open` has everything before the `>`.
    fn element(&mut self, open: &str, text: &str, close: &str) {
        self.raw(open);
        if text.is_empty() {
            self.raw(" />\n");
        } else {
            self.text(text);
            self.raw(close);
        }
    }

    /// The `>` of an open tag, and escaped text. With `>` escaped, there is never a `]]>` in it.
    fn text(&mut self, text: &str) {
        self.raw(">");
        if any_byte(text.as_bytes(), is_special_in_text) {
            self.raw(&partial_escape(replace_illegal(text)));
        } else {
            self.raw(text);
        }
    }

    /// An attribute, of which `open` has everything before the value.
    fn attribute(&mut self, open: &str, value: &str) {
        self.raw(open);
        if any_byte(value.as_bytes(), is_special_in_attribute) {
            self.raw(&escaped_for_attribute(value));
        } else {
            self.raw(value);
        }
        self.raw("\"");
    }

    fn time(&mut self, open: &str, time: DateTime<Utc>, close: &str) {
        self.raw(open);
        write_time(&mut self.out, time);
        self.raw(close);
    }

    fn raw(&mut self, markup: &str) {
        self.out.extend_from_slice(markup.as_bytes());
    }
}

impl fmt::Debug for FeedWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedWriter")
            .field("bytes", &self.out.len())
            .field("line_ends", &self.line_ends)
            .finish()
    }
}

/// Also TAB, LF and CR as references: an XML reader makes spaces of them otherwise (XML 1.0
/// §3.3.3).
fn escaped_for_attribute(value: &str) -> Cow<'_, str> {
    match replace_illegal(value) {
        Cow::Borrowed(value) => Attribute::from(("", value)).value,
        Cow::Owned(value) => Cow::Owned(Attribute::from(("", value.as_str())).value.into_owned()),
    }
}

/// The same for content: what may end a CDATA section or need a text node, and what XML may lack.
fn is_special_in_content(byte: u8) -> bool {
    let plain_control = (byte == b'\n') | (byte == b'\t');
    ((byte < b' ') & !plain_control) | (byte == b']') | (byte == 0xEF)
}

/// Whether a byte needs a closer look: what is to be escaped, control characters, and the first
/// byte of U+FFFE and U+FFFF.
fn is_special_in_text(byte: u8) -> bool {
    let plain_control = (byte == b'\n') | (byte == b'\t');
    ((byte < b' ') & !plain_control)
        | (byte == b'<')
        | (byte == b'>')
        | (byte == b'&')
        | (byte == 0xEF)
}

/// The same for attributes, where quotes and all white space are to be escaped too.
fn is_special_in_attribute(byte: u8) -> bool {
    is_special_in_text(byte) | (byte < b' ') | (byte == b'"') | (byte == b'\'')
}
