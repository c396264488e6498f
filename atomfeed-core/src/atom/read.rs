use std::borrow::Cow;
use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::encoding::decode;
use super::error::excerpt;
use super::names::Element;
use super::time::read_time;
use super::tokens::{Token, Tokens};
use super::{Entry, Feed, Link, ReadError, ReadLimits};

/// Reads a feed document (RFC 4287).
///
/// Atom may be the default namespace or have any prefix. Elements and attributes that this library
/// has no use for, Atom's or others, are passed over, whatever is in them. The order of elements
/// does not matter, save that entries, links and terms are kept in theirs.
///
/// The parser defines no entities and fetches nothing. It checks that a document is well-formed as
/// far as that decides what the document says; it is no validator.
///
/// # Errors
///
/// Every variant of [`ReadError`]. A document is read whole or not at all.
pub fn read_feed(document: &[u8], limits: &ReadLimits) -> Result<Feed, ReadError> {
    if document.len() > limits.max_bytes() {
        return Err(ReadError::TooLarge {
            size: document.len(),
            limit: limits.max_bytes(),
        });
    }
    let mut tokens = Tokens::new(decode(document)?, limits);
    if tokens.root()? != Element::Feed {
        return Err(tokens.not_a_feed());
    }
    let feed = feed(&mut tokens, limits)?;
    tokens.end()?;
    Ok(feed)
}

/// `atom:feed`, which has been opened (RFC 4287 §4.1.1).
fn feed(tokens: &mut Tokens<'_>, limits: &ReadLimits) -> Result<Feed, ReadError> {
    let mut feed = Feed::default();
    feed.entries.reserve(tokens.size() / 512);
    let (mut id, mut title, mut updated) = (None, None, None);
    while let Some(element) = next_child(tokens)? {
        match element {
            Element::Entry if feed.entries.len() == limits.max_entries() => {
                return Err(ReadError::TooManyEntries {
                    limit: limits.max_entries(),
                });
            }
            Element::Entry => {
                let number = feed.entries.len() + 1;
                feed.entries.push(entry(tokens, number)?);
            }
            Element::Title => once(tokens, &mut title, "title", text)?,
            Element::Id => once(tokens, &mut id, "id", id_text)?,
            Element::Updated => once(tokens, &mut updated, "updated", date)?,
            Element::Generator => {
                feed.generator_uri = tokens.attribute("uri");
                once(tokens, &mut feed.generator, "generator", text)?;
            }
            Element::Link => feed.links.extend(link(tokens)?),
            Element::Author if feed.author.is_none() => feed.author = author(tokens)?,
            _ => tokens.skip()?,
        }
    }
    feed.id = id.unwrap_or_default();
    feed.title = title.unwrap_or_default();
    feed.updated = updated
        .transpose()
        .map_err(|bad: BadDate| bad.in_element("updated", "the feed"))?;
    Ok(feed)
}

/// `atom:entry`, which has been opened (RFC 4287 §4.1.2); the `number`th, from 1.
fn entry(tokens: &mut Tokens<'_>, number: usize) -> Result<Entry, ReadError> {
    let offset = tokens.offset();
    let (mut id, mut title, mut content) = (None, None, None);
    let (mut updated, mut published) = (None, None);
    let mut terms = Vec::new();
    while let Some(element) = next_child(tokens)? {
        match element {
            Element::Title => once(tokens, &mut title, "title", text)?,
            Element::Id => once(tokens, &mut id, "id", id_text)?,
            Element::Updated => once(tokens, &mut updated, "updated", date)?,
            Element::Published => once(tokens, &mut published, "published", date)?,
            Element::Content => once(tokens, &mut content, "content", content_text)?,
            Element::Category => {
                terms.extend(tokens.attribute("term"));
                tokens.skip()?;
            }
            _ => tokens.skip()?,
        }
    }
    let Some(id) = id.filter(|id: &String| !id.is_empty()) else {
        return Err(ReadError::MissingId { number, offset });
    };
    Ok(Entry {
        title: title.unwrap_or_default(),
        updated: updated
            .transpose()
            .map_err(|bad: BadDate| bad.in_element("updated", &id))?,
        published: published
            .transpose()
            .map_err(|bad: BadDate| bad.in_element("published", &id))?,
        terms: distinct(terms),
        content: content.unwrap_or_default(),
        id,
    })
}

/// `atom:link`, which has been opened (RFC 4287 §4.2.7).
fn link(tokens: &mut Tokens<'_>) -> Result<Option<Link>, ReadError> {
    let link = tokens.attribute("href").map(|href| Link {
        rel: tokens
            .attribute("rel")
            .unwrap_or_else(|| "alternate".to_owned()),
        href,
        media_type: tokens.attribute("type"),
    });
    tokens.skip()?;
    Ok(link)
}

/// The name in `atom:author`, which has been opened (RFC 4287 §3.2.1).
fn author(tokens: &mut Tokens<'_>) -> Result<Option<String>, ReadError> {
    let mut name = None;
    while let Some(element) = next_child(tokens)? {
        match element {
            Element::Name => once(tokens, &mut name, "name", text)?,
            _ => tokens.skip()?,
        }
    }
    Ok(name)
}

/// Opens the next element inside of the innermost open one, passing over text; `None` when that one
/// ends first.
fn next_child(tokens: &mut Tokens<'_>) -> Result<Option<Element>, ReadError> {
    loop {
        match tokens.next_markup()? {
            Token::Open(element) => return Ok(Some(element)),
            Token::Close | Token::End => return Ok(None),
            Token::Text(_) | Token::Char(_) => {}
        }
    }
}

/// Reads an element that may be there once. Two ids, or two contents, would leave it to chance
/// which one counts.
fn once<'a, T>(
    tokens: &mut Tokens<'a>,
    slot: &mut Option<T>,
    element: &str,
    read: impl FnOnce(&mut Tokens<'a>) -> Result<T, ReadError>,
) -> Result<(), ReadError> {
    if slot.is_some() {
        return Err(tokens.malformed(format!("a second `{element}` in the same element")));
    }
    *slot = Some(read(tokens)?);
    Ok(())
}

/// All text in the innermost open element, that of elements in it included.
fn text(tokens: &mut Tokens<'_>) -> Result<String, ReadError> {
    Ok(text_content(tokens)?.into_owned())
}

fn id_text(tokens: &mut Tokens<'_>) -> Result<String, ReadError> {
    Ok(trimmed(&text_content(tokens)?).to_owned())
}

fn date(tokens: &mut Tokens<'_>) -> Result<Date, ReadError> {
    let offset = tokens.offset();
    let value = text_content(tokens)?;
    Ok(read_time(&value).map_err(|source| BadDate {
        value: excerpt(trimmed(&value)),
        offset,
        source,
    }))
}

/// `atom:content` (RFC 4287 §4.1.3): its text, or its markup where it has any.
fn content_text(tokens: &mut Tokens<'_>) -> Result<String, ReadError> {
    let start = tokens.position();
    let mut text = Cow::Borrowed("");
    let mut has_elements = false;
    loop {
        match tokens.next()? {
            Token::Text(piece) => append(&mut text, tokens.line_ends_normalised(piece)),
            Token::Char(c) => text.to_mut().push(c),
            Token::Open(_) => {
                has_elements = true;
                tokens.skip()?;
            }
            Token::Close | Token::End if has_elements => {
                let markup = trimmed(tokens.markup_since(start));
                return Ok(tokens.line_ends_normalised(markup).into_owned());
            }
            Token::Close | Token::End => return Ok(text.into_owned()),
        }
    }
}

fn text_content<'a>(tokens: &mut Tokens<'a>) -> Result<Cow<'a, str>, ReadError> {
    let mut text = Cow::Borrowed("");
    let mut open_inside = 0_usize;
    loop {
        match tokens.next()? {
            Token::Text(piece) => append(&mut text, tokens.line_ends_normalised(piece)),
            Token::Char(c) => text.to_mut().push(c),
            Token::Open(_) => open_inside += 1,
            Token::Close if open_inside > 0 => open_inside -= 1,
            Token::Close | Token::End => return Ok(text),
        }
    }
}

/// Adds a piece of text, which is all there is in most elements, and then only lent.
fn append<'a>(text: &mut Cow<'a, str>, piece: Cow<'a, str>) {
    if text.is_empty() {
        *text = piece;
    } else {
        text.to_mut().push_str(&piece);
    }
}

/// A date, or what is wrong with it: the error is to name the entry, whose id may come later.
type Date = Result<DateTime<Utc>, BadDate>;

struct BadDate {
    value: String,
    offset: usize,
    source: chrono::ParseError,
}

impl BadDate {
    fn in_element(self, element: &'static str, of: &str) -> ReadError {
        let Self {
            value,
            offset,
            source,
        } = self;
        ReadError::BadDate {
            element,
            of: excerpt(of),
            value,
            offset,
            source,
        }
    }
}

/// Each term once, where it comes first.
fn distinct(mut terms: Vec<String>) -> Vec<String> {
    if terms.len() > 1 {
        let mut seen = HashSet::with_capacity(terms.len());
        let is_first: Vec<bool> = terms
            .iter()
            .map(|term| seen.insert(term.as_str()))
            .collect();
        let mut is_first = is_first.into_iter();
        terms.retain(|_| is_first.next().unwrap_or_default());
    }
    terms
}

/// Without white space at both ends. What ASCII counts as such and XML does not is no character of
/// XML, and in no document that comes this far.
fn trimmed(text: &str) -> &str {
    text.trim_ascii()
}
