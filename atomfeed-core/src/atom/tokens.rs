//! From the events of the XML parser to what a reader of Atom needs to see, with the checks that
//! hold for every document: well-formedness, limits, no document type, no entities.

use std::borrow::Cow;
use std::error::Error as StdError;

use quick_xml::errors::{IllFormedError, SyntaxError};
use quick_xml::escape::{EscapeError, ParseCharRefError, resolve_xml_entity};
use quick_xml::events::attributes::Attribute;
use quick_xml::events::{BytesRef, BytesStart, BytesText, Event};
use quick_xml::name::QName;
use quick_xml::{Error as XmlError, Reader, XmlVersion};

use super::chars::any_byte;
use super::error::excerpt;
use super::names::{Element, Namespaces, is_name};
use super::{ReadError, ReadLimits, find_illegal, is_xml_char};

/// A piece of a document. Comments and processing instructions are none, and an empty element is
/// opened and closed like any other.
#[derive(Debug)]
pub(super) enum Token<'a> {
    /// An element begins; see also [`Tokens::attribute`].
    Open(Element),
    /// The innermost open element ends.
    Close,
    /// The document ends, after its root element or without one.
    End,
    /// Text, or the inside of a CDATA section, as it stands: see [`Tokens::line_ends_normalised`].
    Text(&'a str),
    /// What a character reference or an entity stands for.
    Char(char),
}

/// The tokens of a document.
pub(super) struct Tokens<'a> {
    /// Without the byte order mark.
    document: &'a str,
    /// The length of the byte order mark, to be added to offsets in errors.
    mark: usize,
    /// Whether there is a CR anywhere, without which line ends are as they should be.
    has_cr: bool,
    reader: Reader<&'a [u8]>,
    limits: ReadLimits,
    /// How many elements are open.
    depth: usize,
    /// Whether the last element was an empty one, and is yet to be closed.
    is_closing: bool,
    /// Where in `document` the last token begins.
    start: usize,
    /// Those of the element that was opened last, with normalised values.
    attributes: Vec<(&'a str, Cow<'a, str>)>,
    namespaces: Namespaces<'a>,
}

impl<'a> Tokens<'a> {
    /// Begins at the start of a document that has only characters of XML.
    pub(super) fn new(text: &'a str, limits: &ReadLimits) -> Self {
        let document = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        let mut reader = Reader::from_str(document);
        reader.config_mut().check_comments = true;
        Self {
            document,
            mark: text.len() - document.len(),
            has_cr: any_byte(document.as_bytes(), |byte| byte == b'\r'),
            reader,
            limits: *limits,
            depth: 0,
            is_closing: false,
            start: 0,
            attributes: Vec::new(),
            namespaces: Namespaces::default(),
        }
    }

    /// Opens the root element.
    pub(super) fn root(&mut self) -> Result<Element, ReadError> {
        // The parser passes over a second byte order mark as over a first, without counting it.
        if self.document.starts_with('\u{FEFF}') {
            return Err(self.malformed("text before the root element"));
        }
        match self.next_markup()? {
            Token::Open(element) => Ok(element),
            Token::End => Err(self.truncated()),
            _ => Err(self.malformed("text before the root element")),
        }
    }

    /// Makes sure that nothing follows the root element, when that has been closed.
    pub(super) fn end(&mut self) -> Result<(), ReadError> {
        match self.next_markup()? {
            Token::End => Ok(()),
            _ => Err(self.malformed("more after the end of the root element")),
        }
    }

    /// The next token where text means nothing, as between the elements of a feed: white space is
    /// passed over, which is a third of a page's events.
    pub(super) fn next_markup(&mut self) -> Result<Token<'a>, ReadError> {
        self.reader.config_mut().trim_text_start = true;
        let token = self.next();
        self.reader.config_mut().trim_text_start = false;
        token
    }

    /// The next token; inside of the root element never [`Token::End`].
    pub(super) fn next(&mut self) -> Result<Token<'a>, ReadError> {
        if self.is_closing {
            self.is_closing = false;
            return Ok(self.close());
        }
        loop {
            self.start = self.position();
            return match self.reader.read_event() {
                Ok(Event::Text(_)) => Ok(Token::Text(self.lent("", ""))),
                Ok(Event::Start(tag)) => self.open(&tag, "<", ">"),
                Ok(Event::End(_)) => Ok(self.close()),
                Ok(Event::CData(_)) if self.depth > 0 => {
                    Ok(Token::Text(self.lent("<![CDATA[", "]]>")))
                }
                Ok(Event::Empty(tag)) => {
                    self.is_closing = true;
                    self.open(&tag, "<", "/>")
                }
                Ok(Event::GeneralRef(reference)) => self.resolved(&reference).map(Token::Char),
                Ok(Event::Comment(_) | Event::PI(_)) => continue,
                Ok(Event::Decl(_)) if self.start == 0 => continue,
                Ok(Event::Eof) if self.depth == 0 => Ok(Token::End),
                Ok(Event::Eof) => Err(self.truncated()),
                Ok(misplaced) => Err(self.misplaced(&misplaced)),
                Err(error) => Err(self.refused(error)),
            };
        }
    }

    /// Passes over what is left of the innermost open element.
    pub(super) fn skip(&mut self) -> Result<(), ReadError> {
        let inside = self.depth;
        while self.depth >= inside {
            self.next()?;
        }
        Ok(())
    }

    /// That the root element, opened last, is none of a feed.
    pub(super) fn not_a_feed(&self) -> ReadError {
        let tag = self
            .document
            .get(self.offset() - self.mark + 1..)
            .unwrap_or_default();
        let name = tag
            .split([' ', '\t', '\n', '\r', '/', '>'])
            .next()
            .unwrap_or_default();
        ReadError::NotAFeed {
            root: excerpt(name),
            namespace: self.namespaces.uri(name).map(excerpt),
        }
    }

    /// The value of an attribute of the element opened last.
    pub(super) fn attribute(&mut self, name: &str) -> Option<String> {
        let (_, value) = self.attributes.iter_mut().find(|(key, _)| *key == name)?;
        Some(std::mem::take(value).into_owned())
    }

    /// Where the last token begins, from the start of the document.
    pub(super) fn offset(&self) -> usize {
        self.mark + self.start
    }

    /// Where the last token ends; for [`markup_since`](Self::markup_since) only.
    pub(super) fn position(&self) -> usize {
        // It counts the bytes of a slice, so it fits.
        self.reader.buffer_position() as usize
    }

    /// The document from a [`position`](Self::position) to the beginning of the last token, as it
    /// stands.
    pub(super) fn markup_since(&self, position: usize) -> &'a str {
        self.document.get(position..self.start).unwrap_or_default()
    }

    /// CRLF and CR as LF (XML 1.0 §2.11).
    pub(super) fn line_ends_normalised(&self, text: &'a str) -> Cow<'a, str> {
        match self.has_cr {
            true => BytesText::from_escaped(text).xml10_content(),
            false => Cow::Borrowed(text),
        }
    }

    pub(super) fn size(&self) -> usize {
        self.document.len()
    }

    /// An error at the last token.
    pub(super) fn malformed(&self, what: impl Into<Box<dyn StdError + Send + Sync>>) -> ReadError {
        ReadError::Malformed {
            offset: self.offset(),
            source: what.into(),
        }
    }

    /// `tag` has what is between `before` and `after`.
    fn open(
        &mut self,
        tag: &BytesStart<'_>,
        before: &str,
        after: &str,
    ) -> Result<Token<'a>, ReadError> {
        // White space that was passed over is before it.
        self.start = self.position() - (before.len() + tag.len() + after.len());
        self.depth += 1;
        if self.depth > self.limits.max_depth() {
            let limit = self.limits.max_depth();
            return Err(ReadError::TooDeep {
                limit,
                offset: self.offset(),
            });
        }
        let name = tag.name().into_inner();
        self.attributes.clear();
        if name.len() < tag.len() {
            let attributes = &self.lent(before, after)[name.len()..];
            self.read_attributes(attributes)?;
        }
        let element = self.namespaces.element(name);
        if element == Element::Other && !is_name(name) {
            return Err(self.malformed("a tag without a name, or with an impossible one"));
        }
        Ok(Token::Open(element))
    }

    /// The last token without what begins and ends it. The event has the same text, but only for as
    /// long as itself.
    fn lent(&self, before: &str, after: &str) -> &'a str {
        let inside = self.start + before.len()..self.position() - after.len();
        self.document.get(inside).unwrap_or_default()
    }

    fn close(&mut self) -> Token<'a> {
        self.depth -= 1;
        self.namespaces.close_to(self.depth);
        Token::Close
    }

    /// The attributes of an element (XML 1.0 §3.1), with the white space before them.
    fn read_attributes(&mut self, mut list: &'a str) -> Result<(), ReadError> {
        while let trimmed = list.trim_ascii_start()
            && !trimmed.is_empty()
        {
            let attribute = split_attribute(trimmed).filter(|_| trimmed.len() < list.len());
            let Some((name, value, rest)) = attribute else {
                return Err(self.malformed("something in a tag that is no attribute"));
            };
            if self.attributes.len().max(self.namespaces.len()) >= self.limits.max_attributes() {
                let limit = self.limits.max_attributes();
                return Err(ReadError::TooManyAttributes {
                    limit,
                    offset: self.offset(),
                });
            }
            if self.attributes.iter().any(|(other, _)| *other == name) {
                return Err(self.malformed(format!("the attribute `{}` twice", excerpt(name))));
            }
            let value = self.normalised(value)?;
            self.namespaces.declare(self.depth, name, &value);
            self.attributes.push((name, value));
            list = rest;
        }
        Ok(())
    }

    /// The value of an attribute (XML 1.0 §3.3.3).
    fn normalised(&self, value: &'a str) -> Result<Cow<'a, str>, ReadError> {
        let is_special = |byte| (byte < b' ') | (byte == b'&') | (byte == b'<');
        if !any_byte(value.as_bytes(), is_special) {
            return Ok(Cow::Borrowed(value));
        }
        if value.contains('<') {
            return Err(self.malformed("a `<` in the value of an attribute"));
        }
        let value = Attribute {
            key: QName(""),
            value: Cow::Borrowed(value),
        }
        .normalized_value(XmlVersion::Implicit1_0)
        .map_err(|error| self.refused_reference(error))?;
        match find_illegal(&value) {
            Some((_, c)) => Err(self.illegal(c.into())),
            None => Ok(value),
        }
    }

    /// What a reference in text stands for (XML 1.0 §4.1).
    fn resolved(&self, reference: &BytesRef<'_>) -> Result<char, ReadError> {
        let resolved = reference
            .resolve_char_ref()
            .map_err(|error| self.refused_reference(error))?;
        let entity = || resolve_xml_entity(reference).and_then(|text| text.chars().next());
        match resolved.or_else(entity) {
            Some(c) if is_xml_char(c) => Ok(c),
            Some(c) => Err(self.illegal(c.into())),
            None => Err(self.unknown_entity(reference)),
        }
    }

    fn refused_reference(&self, error: XmlError) -> ReadError {
        use ParseCharRefError::{IllegalCharacter, InvalidCodepoint};
        match error {
            XmlError::Escape(EscapeError::UnrecognizedEntity(_, name)) => {
                self.unknown_entity(&name)
            }
            XmlError::Escape(EscapeError::InvalidCharRef(
                InvalidCodepoint(code) | IllegalCharacter(code),
            )) => self.illegal(code),
            error => self.malformed(error),
        }
    }

    fn unknown_entity(&self, name: &str) -> ReadError {
        ReadError::UnknownEntity {
            name: excerpt(name),
            offset: self.offset(),
        }
    }

    fn illegal(&self, code: u32) -> ReadError {
        ReadError::IllegalCharacter {
            code,
            offset: self.offset(),
        }
    }

    fn truncated(&self) -> ReadError {
        ReadError::Truncated {
            size: self.mark + self.document.len(),
        }
    }

    /// An event that may not come where it does, or not at all.
    fn misplaced(&mut self, event: &Event<'_>) -> ReadError {
        // The parser may have passed over white space before it.
        self.start += self.lent("", "").len() - self.lent("", "").trim_ascii_start().len();
        match event {
            Event::DocType(_) => ReadError::Doctype {
                offset: self.offset(),
            },
            Event::Decl(_) => self.malformed("an XML declaration that is not at the beginning"),
            _ => self.malformed("a CDATA section outside of the root element"),
        }
    }

    /// What an error of the parser means.
    fn refused(&self, error: XmlError) -> ReadError {
        let at = usize::try_from(self.reader.error_position()).unwrap_or(self.start);
        let rest = self.document.get(at..).unwrap_or_default();
        match error {
            XmlError::Syntax(SyntaxError::UnclosedDoctype)
            | XmlError::IllFormed(IllFormedError::MissingDoctypeName) => ReadError::Doctype {
                offset: self.mark + at,
            },
            XmlError::Syntax(error) if is_cut_off(error, rest) => self.truncated(),
            XmlError::IllFormed(IllFormedError::UnclosedReference)
                if !rest.chars().skip(1).any(|c| matches!(c, '<' | '&')) =>
            {
                self.truncated()
            }
            error => ReadError::Malformed {
                offset: self.mark + at,
                source: error.into(),
            },
        }
    }
}

/// The first of a list of attributes (XML 1.0 §3.1, production `Attribute`): its name, its value as
/// it stands, and the rest of the list.
fn split_attribute(list: &str) -> Option<(&str, &str, &str)> {
    let (name, value) = list.split_once('=')?;
    let name = name.trim_ascii_end();
    let value = value.trim_ascii_start();
    let quote = value
        .chars()
        .next()
        .filter(|&quote| quote == '"' || quote == '\'')?;
    let (value, rest) = value[1..].split_once(quote)?;
    is_name(name).then_some((name, value, rest))
}

/// Whether the parser gave up because the document ended, and not because `rest`, what is left of
/// it, begins with something impossible: it says "not closed" to both.
fn is_cut_off(error: SyntaxError, rest: &str) -> bool {
    let begins_like = |opening: &str| rest.starts_with(opening) || opening.starts_with(rest);
    match error {
        SyntaxError::InvalidBangMarkup => rest == "<!",
        SyntaxError::UnclosedCData => begins_like("<![CDATA["),
        SyntaxError::UnclosedComment => begins_like("<!--"),
        SyntaxError::UnclosedPI => !rest.starts_with("<?>"),
        _ => true,
    }
}
