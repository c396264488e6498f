//! What is no feed is refused, with a word about why, and never with a panic.

use std::error::Error;

use proptest::prelude::*;

use super::super::{LineEnds, ReadError, ReadLimits, read_feed};
use super::page;

const OPEN: &str = "<feed xmlns=\"http://www.w3.org/2005/Atom\">";

fn refused(document: impl AsRef<[u8]>) -> ReadError {
    read_feed(document.as_ref(), &ReadLimits::default()).unwrap_err()
}

fn with(inside: &str) -> String {
    format!("{OPEN}{inside}</feed>")
}

macro_rules! refuses {
    ($($name:ident: $document:expr => $error:pat,)+) => {
        $(#[test]
        fn $name() {
            let error = refused($document);
            assert!(matches!(error, $error), "{error:?}");
            assert!(error.to_string().starts_with("reading "), "says what was done: {error}");
        })+
    };
}

refuses! {
    nothing: "" => ReadError::Truncated { .. },
    white_space: " \n " => ReadError::Truncated { .. },
    two_byte_order_marks: "\u{FEFF}\u{FEFF}<feed a='b'/>" => ReadError::Malformed { .. },
    no_xml: "hello" => ReadError::Malformed { .. },
    mismatched_tags: with("<id></title>") => ReadError::Malformed { .. },
    junk_after_the_root: with("") + "<x/>" => ReadError::Malformed { .. },
    a_duplicate_attribute: with("<link rel='a' rel='b'/>") => ReadError::Malformed { .. },
    two_ids: with("<entry><id>1</id><id>2</id></entry>") => ReadError::Malformed { .. },
    an_html_page: "<!DOCTYPE html><html></html>" => ReadError::Doctype { .. },
    an_entity_bomb:
        format!("<!DOCTYPE a [<!ENTITY b \"c\"><!ENTITY d \"&b;&b;\">]>{OPEN}&d;</feed>")
        => ReadError::Doctype { .. },
    an_entity_without_a_definition: with("<id>&nbsp;</id>") => ReadError::UnknownEntity { .. },
    a_depth_bomb: with(&"<a>".repeat(100_000)) => ReadError::TooDeep { limit: 32, .. },
    html_without_a_doctype: "<html xmlns=\"http://www.w3.org/1999/xhtml\"/>"
        => ReadError::NotAFeed { .. },
    a_feed_without_a_namespace: "<feed><entry><id>1</id></entry></feed>"
        => ReadError::NotAFeed { .. },
    too_many_entries: with(&"<entry><id>1</id></entry>".repeat(10_001))
        => ReadError::TooManyEntries { limit: 10_000 },
    an_entry_without_an_id: with("<entry><title>t</title></entry>")
        => ReadError::MissingId { number: 1, .. },
    an_entry_with_an_empty_id: with("<entry><id> </id></entry>") => ReadError::MissingId { .. },
    a_date_that_is_none: with("<entry><id>1</id><updated>yesterday</updated></entry>")
        => ReadError::BadDate { element: "updated", .. },
    latin_1: "<?xml version='1.0' encoding='iso-8859-1'?><feed/>"
        => ReadError::UnsupportedEncoding { .. },
    utf_16: [0xFF, 0xFE, b'<', 0] => ReadError::UnsupportedEncoding { .. },
    not_utf_8: [OPEN.as_bytes(), &[0xC3, 0x28]].concat() => ReadError::NotUtf8 { .. },
    an_illegal_character: with("<id>\u{1}</id>") => ReadError::IllegalCharacter { code: 1, .. },
    an_illegal_reference: with("<id>&#0;</id>") => ReadError::IllegalCharacter { .. },
    too_many_attributes: with(&format!("<a {}/>", (0..40).map(|n| format!("a{n}='' ")).collect::<String>()))
        => ReadError::TooManyAttributes { .. },
}

#[test]
fn a_document_that_is_too_large() {
    let limits = ReadLimits::default().with_max_bytes(10);
    let error = read_feed(with("").as_bytes(), &limits).unwrap_err();
    assert!(
        matches!(error, ReadError::TooLarge { limit: 10, .. }),
        "{error:?}"
    );
}

/// What is an entry or an id in another namespace is none of Atom's; prefixes do not matter.
#[test]
fn namespaces_are_heeded() {
    let document = "<a:feed xmlns:a='http://www.w3.org/2005/Atom' xmlns='urn:x'>
        <entry><id>not mine</id></entry>
        <a:entry><id>not mine</id><a:id>1</a:id><a:content>c</a:content>
        <x xmlns='http://www.w3.org/2005/Atom'><id>inside</id></x></a:entry>
        <entry xmlns='http://www.w3.org/2005/Atom'><id>2</id></entry></a:feed>";
    let feed = read_feed(document.as_bytes(), &ReadLimits::default()).unwrap();
    let ids: Vec<_> = feed.entries.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(ids, ["1", "2"]);
    assert_eq!(feed.entries[0].content, "c");
}

/// Comments and instructions cut no text, a byte order mark is no text, markup stays markup.
#[test]
fn what_is_allowed_is_read() {
    let document = format!(
        "\u{feff}<?xml version='1.0' encoding='UTF-8'?><?p?><!-- c -->{OPEN}<title>a<!-- x -->b\
         <?y?>c<![CDATA[<d>]]>&#x65;</title><entry><id> 1 </id><updated>2024-03-01T09:01:00.5+01:00\
         </updated><content type='xhtml'> <div xmlns='urn:h'>x<b/></div> </content></entry></feed>"
    );
    let feed = read_feed(document.as_bytes(), &ReadLimits::default()).unwrap();
    assert_eq!(feed.title, "abc<d>e");
    assert_eq!(feed.entries[0].id, "1");
    assert_eq!(feed.entries[0].content, "<div xmlns='urn:h'>x<b/></div>");
    let updated = feed.entries[0].updated.unwrap().to_rfc3339();
    assert_eq!(updated, "2024-03-01T08:01:00.500+00:00");
}

/// A body that is cut off is never taken for a whole one, wherever that happens.
#[test]
fn a_truncated_document_is_refused_at_every_byte() {
    let document = page(&["/a?b=1&c=2", "]]>é😀"], LineEnds::AsXml);
    let whole = document.trim_ascii_end().len();
    for end in 0..whole {
        let error = read_feed(&document[..end], &ReadLimits::default()).unwrap_err();
        let chain = error.source().map(ToString::to_string);
        assert!(
            matches!(error, ReadError::Truncated { .. }),
            "{end}: {error:?} {chain:?}"
        );
    }
}

proptest! {
    #[test]
    fn mutilated_documents_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut document = page(&["/a?b=1&c=2", "]]>é😀"], LineEnds::AsXml);
        for (at, byte) in changes {
            let at = at.index(document.len());
            document[at] = byte;
        }
        let _ = read_feed(&document, &ReadLimits::default());
    }

    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..200), text in "[<>/!\\[\\]a-c=\"'& -?]{0,80}") {
        let _ = read_feed(&noise, &ReadLimits::default());
        let _ = read_feed(with(&text).as_bytes(), &ReadLimits::default());
    }
}
