//! What is written is read again.

use proptest::prelude::*;

use super::super::{LineEnds, ReadLimits, read_feed, replace_illegal};
use super::{page, time};

const ODD: [&str; 20] = [
    "",
    " ",
    "]]>",
    "]]]]>>",
    "a]]>b]]>c",
    "]]",
    "]>",
    "<![CDATA[x]]>",
    "<![CDATA[",
    "&amp;&#65;&unknown;",
    "<a b='c'>&d;</a><!-- e --><?f?>",
    "\t\n x \n\t",
    "😀患者é\u{7f}\u{85}\u{a0}\u{2028}\u{feff}\u{fffd}",
    "{\"a\":[1,\"<&>\"]}",
    "<!DOCTYPE a [<!ENTITY b \"c\">]>",
    "\r",
    "a\r\nb\rc\n\r\n\r",
    "]]>\r\n",
    "\u{1}\u{fffe}\u{ffff}\u{0}",
    "]]>\u{b}",
];

fn lf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

#[test]
fn everything_comes_back() {
    for line_ends in [LineEnds::AsXml, LineEnds::Exact] {
        let document = page(&ODD, line_ends);
        let feed = read_feed(&document, &ReadLimits::default()).unwrap();
        assert_eq!(
            (feed.id.as_str(), feed.title.as_str()),
            ("prefix+1", "A & B")
        );
        assert_eq!(feed.author.as_deref(), Some("<author>"));
        assert_eq!(feed.generator.as_deref(), Some("G"));
        assert_eq!(feed.generator_uri.as_deref(), Some("http://g?a&b"));
        assert_eq!(feed.link("via"), Some("http://host/feed?a=1&b=\"<\t\n>'"));
        assert_eq!(feed.updated, Some(time("2024-03-01T08:01:00Z")));
        for (n, (entry, content)) in feed.entries.iter().zip(ODD).enumerate() {
            assert_eq!(entry.id, format!("tag:{n}"));
            assert_eq!(entry.title, "  t\r\n ");
            assert_eq!(entry.terms, ["a\tb\n", "<&>\"'"]);
            assert_eq!(entry.updated, Some(time("2024-03-01T08:01:00Z")));
            assert_eq!(entry.published, Some(time("1969-12-31T23:59:59Z")));
            let legible = replace_illegal(content);
            let expected = match line_ends {
                LineEnds::AsXml => lf(&legible),
                LineEnds::Exact => legible.into_owned(),
            };
            assert_eq!(entry.content, expected, "{line_ends:?} {content:?}");
        }
    }
}

/// A mebibyte, in one CDATA section, and in one text node where it holds what ends one.
#[test]
fn large_content_comes_back() {
    for end in ["", "]]>"] {
        let content = "é<&>😀 ".repeat(1 << 17) + end;
        let document = page(&[&content], LineEnds::AsXml);
        let feed = read_feed(&document, &ReadLimits::default()).unwrap();
        assert!(feed.entries[0].content == content);
        let sections = String::from_utf8(document)
            .unwrap()
            .matches("><![CDATA[")
            .count();
        assert_eq!(sections, usize::from(end.is_empty()));
    }
}

/// Two adjacent sections jam the original's consumers for ever.
#[test]
fn there_are_never_two_sections_in_an_element() {
    for content in ODD {
        let document = String::from_utf8(page(&[content], LineEnds::AsXml)).unwrap();
        assert!(!document.contains("]]><![CDATA["), "{document}");
    }
}

proptest! {
    #[test]
    fn any_text_comes_back(texts in prop::collection::vec(".*", 0..4), raw in "[\\]>&<\r\n!\\[a]{0,12}") {
        let mut contents: Vec<&str> = texts.iter().map(String::as_str).collect();
        contents.push(&raw);
        let document = page(&contents, LineEnds::Exact);
        let feed = read_feed(&document, &ReadLimits::default()).unwrap();
        let found: Vec<_> = feed.entries.iter().map(|entry| entry.content.clone()).collect();
        let expected: Vec<_> = contents.iter().map(|text| replace_illegal(text).into_owned()).collect();
        prop_assert_eq!(found, expected);
        let document = page(&contents, LineEnds::AsXml);
        let feed = read_feed(&document, &ReadLimits::default()).unwrap();
        let found: Vec<_> = feed.entries.into_iter().map(|entry| entry.content).collect();
        let expected: Vec<_> = contents.iter().map(|text| lf(&replace_illegal(text))).collect();
        prop_assert_eq!(found, expected);
    }
}
