//! From the bytes of a document to text that XML 1.0 can contain.

use quick_xml::Reader;
use quick_xml::events::Event;

use super::error::excerpt;
use super::{ReadError, find_illegal};

/// The text of a document, with its byte order mark if it has one.
pub(super) fn decode(document: &[u8]) -> Result<&str, ReadError> {
    if looks_like_utf16(document) {
        return Err(ReadError::UnsupportedEncoding {
            encoding: "UTF-16 or UTF-32".to_owned(),
        });
    }
    let text = match str::from_utf8(document) {
        Ok(text) => text,
        Err(source) => {
            // A document that says what it is gets the better error.
            let readable = document
                .utf8_chunks()
                .next()
                .map_or("", |chunk| chunk.valid());
            check_declaration(readable)?;
            return Err(match source.error_len() {
                Some(_) => ReadError::NotUtf8 {
                    offset: source.valid_up_to(),
                    source,
                },
                None => ReadError::Truncated {
                    size: document.len(),
                },
            });
        }
    };
    check_declaration(text)?;
    match find_illegal(text) {
        Some((offset, c)) => Err(ReadError::IllegalCharacter {
            code: c.into(),
            offset,
        }),
        None => Ok(text),
    }
}

/// By a byte order mark, or by the `<` with which every document begins (XML 1.0, appendix F.1).
fn looks_like_utf16(document: &[u8]) -> bool {
    matches!(
        document,
        [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] | [0, 0, ..] | [0, b'<', ..] | [b'<', 0, ..]
    )
}

/// The XML declaration (XML 1.0 §2.8), where there is one at the start.
fn check_declaration(text: &str) -> Result<(), ReadError> {
    let Ok(Event::Decl(declaration)) = Reader::from_str(text).read_event() else {
        return Ok(());
    };
    let malformed = |source| ReadError::Malformed { offset: 0, source };
    declaration
        .version()
        .map_err(|error| malformed(error.into()))?;
    match declaration.encoding() {
        Some(Ok(encoding)) if !is_utf8(&encoding) => Err(ReadError::UnsupportedEncoding {
            encoding: excerpt(&encoding),
        }),
        Some(Err(error)) => Err(malformed(error.into())),
        _ => Ok(()),
    }
}

fn is_utf8(encoding: &str) -> bool {
    encoding.eq_ignore_ascii_case("utf-8") || encoding.eq_ignore_ascii_case("us-ascii")
}
