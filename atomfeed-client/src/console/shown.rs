//! How things are shown: text that may be anything, times, and content.

use std::fmt::Write;

use chrono::{DateTime, TimeDelta, Utc};
use quick_xml::Reader;
use quick_xml::events::Event;
use url::Url;

/// How much of a content is shown on a page, in characters; the rest can be loaded.
pub(super) const MOST_SHOWN: usize = 64 << 10;

/// A text with what would not be seen, or would have others be read in another order, made visible.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let is_hidden = character.is_control() && !"\n\t".contains(character)
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{61c}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}');
        match is_hidden {
            // A line end of Windows is one.
            true if character == '\r' => {}
            true => write!(shown, "⟨U+{:04X}⟩", u32::from(character)).unwrap_or_default(),
            false => shown.push(character),
        }
    }
    shown
}

/// A time, and how long ago that was.
#[derive(Debug, Clone)]
pub(super) struct When {
    /// For programs.
    pub(super) exact: String,
    pub(super) shown: String,
    pub(super) ago: String,
}

impl When {
    pub(super) fn of(time: DateTime<Utc>, now: DateTime<Utc>) -> Self {
        Self {
            exact: time.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
            shown: time.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
            ago: ago(now - time),
        }
    }
}

fn ago(passed: TimeDelta) -> String {
    match passed.num_seconds() {
        -5..5 => "now".to_owned(),
        5.. => format!("{} ago", span(passed)),
        _ => format!("in {}", span(-passed)),
    }
}

/// A length of time in its greatest unit.
pub(super) fn span(length: TimeDelta) -> String {
    let seconds = length.num_seconds();
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A count with its thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push('\u{202f}');
        }
        shown.push(digit);
    }
    shown
}

/// The content of an event.
#[derive(Debug, Clone)]
pub(super) struct Content {
    /// JSON, XML or text.
    pub(super) kind: &'static str,
    pub(super) shown: String,
    pub(super) bytes: usize,
    /// Whether not all of it is shown.
    pub(super) is_cut: bool,
    /// Where what it names is.
    pub(super) link: Option<String>,
}

impl Content {
    pub(super) fn of(content: &str, feed: &str) -> Self {
        let is_small = content.len() <= MOST_SHOWN * 4;
        let pretty = match is_small {
            true => pretty_json(content)
                .map(|pretty| ("JSON", pretty))
                .or_else(|| pretty_xml(content).map(|pretty| ("XML", pretty))),
            false => None,
        };
        let (kind, pretty) = pretty.unwrap_or_else(|| ("text", content.to_owned()));
        let mut cut = pretty.chars();
        let shown: String = cut.by_ref().take(MOST_SHOWN).collect();
        Self {
            kind,
            shown: visible(&shown),
            bytes: content.len(),
            is_cut: cut.next().is_some(),
            link: link(content, feed),
        }
    }
}

/// The address that a content is.
fn link(content: &str, feed: &str) -> Option<String> {
    let content = content.trim();
    let is_address = content.starts_with('/')
        || content.starts_with("http://")
        || content.starts_with("https://");
    if !is_address || content.len() > 2_000 || content.contains(char::is_whitespace) {
        return None;
    }
    let url = Url::parse(feed).ok()?.join(content).ok()?;
    matches!(url.scheme(), "http" | "https").then(|| url.into())
}

/// JSON with each member on a line, in its order, as far as it is shown.
fn pretty_json(text: &str) -> Option<String> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let (mut pretty, mut depth, mut in_text, mut is_escaped) =
        (String::new(), 0_usize, false, false);
    let line = |pretty: &mut String, depth: usize| {
        pretty.push('\n');
        pretty.extend(std::iter::repeat_n("  ", depth.min(50)));
    };
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if in_text {
            pretty.push(character);
            in_text = is_escaped || character != '"';
            is_escaped = !is_escaped && character == '\\';
            continue;
        }
        match character {
            '"' => {
                in_text = true;
                pretty.push('"');
            }
            _ if pretty.len() > MOST_SHOWN * 4 => break,
            '{' | '[' => {
                pretty.push(character);
                while characters.next_if(|next| next.is_whitespace()).is_some() {}
                let is_empty = characters.peek().is_some_and(|next| "}]".contains(*next));
                if !is_empty {
                    depth += 1;
                    line(&mut pretty, depth);
                }
            }
            '}' | ']' => {
                let is_empty = pretty.ends_with(['{', '[']);
                if !is_empty {
                    depth = depth.saturating_sub(1);
                    line(&mut pretty, depth);
                }
                pretty.push(character);
            }
            ',' => {
                pretty.push(',');
                line(&mut pretty, depth);
            }
            ':' => pretty.push_str(": "),
            blank if blank.is_whitespace() => {}
            other => pretty.push(other),
        }
    }
    Some(pretty)
}

/// XML with each element on a line, as far as it is shown; what stands beside text stays beside it.
fn pretty_xml(text: &str) -> Option<String> {
    if !text.trim_start().starts_with('<') {
        return None;
    }
    let pieces = pieces(text)?;
    let mut pretty = String::new();
    // Of each element that is open, whether it holds text.
    let mut open: Vec<bool> = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        if pretty.len() > MOST_SHOWN * 4 {
            break;
        }
        let holds_text = match piece.kind {
            PieceKind::End => open.pop().unwrap_or_default(),
            _ => open.last().copied().unwrap_or_default(),
        };
        let is_empty = piece.kind == PieceKind::End && pieces[index - 1].kind == PieceKind::Start;
        if !holds_text && !is_empty && !pretty.is_empty() {
            pretty.push('\n');
            pretty.extend(std::iter::repeat_n("  ", open.len().min(50)));
        }
        pretty.push_str(piece.text);
        if piece.kind == PieceKind::Start {
            // So does what stands within text.
            open.push(holds_text || piece.holds_text);
        }
    }
    Some(pretty)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PieceKind {
    Start,
    End,
    Blank,
    Other,
}

/// A tag, a text, or whatever else XML is made of, as it is written.
struct Piece<'a> {
    kind: PieceKind,
    text: &'a str,
    /// Whether it begins an element that holds text, and not elements alone.
    holds_text: bool,
}

/// What well-formed XML is made of, without what is blank between elements.
fn pieces(text: &str) -> Option<Vec<Piece<'_>>> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_end_names = true;
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut has_blanks = false;
    loop {
        let begins = usize::try_from(reader.buffer_position()).ok()?;
        let event = reader.read_event().ok()?;
        let ends = usize::try_from(reader.buffer_position()).ok()?;
        let written = text.get(begins..ends)?;
        let kind = match event {
            Event::Eof if open.is_empty() => break,
            Event::Eof | Event::DocType(_) => return None,
            Event::Start(_) => PieceKind::Start,
            Event::End(_) => PieceKind::End,
            Event::Text(_) if is_blank(written) => {
                has_blanks = true;
                PieceKind::Blank
            }
            Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {
                pieces[*open.last()?].holds_text = true;
                PieceKind::Other
            }
            _ => PieceKind::Other,
        };
        match kind {
            PieceKind::Start => open.push(pieces.len()),
            PieceKind::End => drop(open.pop()?),
            PieceKind::Blank | PieceKind::Other => {}
        }
        pieces.push(Piece {
            kind,
            text: written,
            holds_text: false,
        });
    }
    if has_blanks {
        drop_blanks(&mut pieces);
    }
    Some(pieces)
}

/// What XML 1.0 §2.3 calls white space, and nothing else that cannot be seen.
fn is_blank(text: &str) -> bool {
    text.trim_matches([' ', '\t', '\r', '\n']).is_empty()
}

/// Takes out what only sets elements apart: not what stands within text, nor what is all that an element holds.
fn drop_blanks(pieces: &mut Vec<Piece<'_>>) {
    let mut open = Vec::new();
    let mut index = 0;
    let kinds: Vec<_> = pieces.iter().map(|piece| piece.kind).collect();
    pieces.retain_mut(|piece| {
        let here = index;
        index += 1;
        let is_within_text = open.last().copied().unwrap_or_default();
        match piece.kind {
            PieceKind::Start => {
                // A blank alone is a text, too.
                piece.holds_text |=
                    matches!(kinds[here + 1..], [PieceKind::Blank, PieceKind::End, ..]);
                open.push(is_within_text || piece.holds_text);
            }
            PieceKind::End => drop(open.pop()),
            PieceKind::Blank | PieceKind::Other => {}
        }
        is_within_text || piece.kind != PieceKind::Blank
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_shown() {
        assert_eq!(
            visible("a\u{202e}b\0c\r\nd\té"),
            "a⟨U+202E⟩b⟨U+0000⟩c\nd\té"
        );
        assert_eq!(visible("<script>]]>"), "<script>]]>");
    }

    #[test]
    fn contents_are_set_out() {
        let feed = "http://emr:8050/openmrs/ws/atomfeed/patient/recent";
        let of = |content: &str| Content::of(content, feed);
        let json = of(r#"{"b":[1,2,{}],"a":"x: \"{, }\" \\","c":[]}"#);
        assert_eq!(json.kind, "JSON");
        let expected = "{\n  \"b\": [\n    1,\n    2,\n    {}\n  ],\n  \"a\": \"x: \\\"{, }\\\" \\\\\",\n  \"c\": []\n}";
        assert_eq!(json.shown, expected);
        let xml = of("<a><b c='1'>x</b></a>");
        assert_eq!(
            (xml.kind, xml.shown.as_str()),
            ("XML", "<a>\n  <b c='1'>x</b>\n</a>")
        );
        for (xml, shown) in [
            (
                " <a>\n<b/> <c></c><n>BP &lt; 90</n> </a>\n",
                "<a>\n  <b/>\n  <c></c>\n  <n>BP &lt; 90</n>\n</a>",
            ),
            (
                "<a> <v> </v> <w>\u{a0}</w>\u{3000}</a>",
                "<a> <v> </v> <w>\u{a0}</w>\u{3000}</a>",
            ),
            (
                "<a> <v> </v> <w>\u{a0}</w> </a>",
                "<a>\n  <v> </v>\n  <w>\u{a0}</w>\n</a>",
            ),
            (
                "<a><v> &#233;&#233; </v><p>fever <b>and</b> <i> cough</i></p><![CDATA[ x ]]></a>",
                "<a><v> &#233;&#233; </v><p>fever <b>and</b> <i> cough</i></p><![CDATA[ x ]]></a>",
            ),
            (
                "<?xml version=\"1.0\"?><!-- x --><a><p>fever <b>and</b> <i> cough</i></p></a>",
                "<?xml version=\"1.0\"?>\n<!-- x -->\n<a>\n  <p>fever <b>and</b> <i> cough</i></p>\n</a>",
            ),
        ] {
            assert_eq!((of(xml).kind, of(xml).shown.as_str()), ("XML", shown));
        }
        for text in [
            "<a/>x",
            "x<a/>",
            "{\"a\":",
            "<a><b>",
            "<!DOCTYPE a><a/>",
            "plain",
            "",
        ] {
            assert_eq!((of(text).kind, of(text).shown.as_str()), ("text", text));
        }
        // As much is written as is shown, however deep it is.
        let (deep, wide) = (20_000, "[1],".repeat(20_000));
        let deep_xml = format!("{}{}", "<a>".repeat(deep), "</a>".repeat(deep));
        assert!(pretty_xml(&deep_xml).unwrap().len() < MOST_SHOWN * 5);
        let deep_json = format!("{}{wide}0{}", "[".repeat(100), "]".repeat(100));
        assert!(pretty_json(&deep_json).unwrap().len() < MOST_SHOWN * 5);
        for deep in [deep_xml, deep_json] {
            assert!(of(&deep).is_cut);
        }
        assert_eq!(of(&"<a>".repeat(deep)).kind, "text");
        let cut = of(&"x".repeat(5 << 20));
        assert_eq!(
            (cut.is_cut, cut.bytes, cut.shown.len()),
            (true, 5 << 20, MOST_SHOWN)
        );
    }

    #[test]
    fn what_is_an_address_is_linked() {
        let feed = "http://emr:8050/openmrs/ws/atomfeed/patient/recent";
        for (content, link) in [
            (
                "/openmrs/patient/1?v=full",
                Some("http://emr:8050/openmrs/patient/1?v=full"),
            ),
            ("https://lab/x", Some("https://lab/x")),
            ("javascript:alert(1)", None),
            ("//evil/x", Some("http://evil/x")),
            ("a b", None),
            ("{}", None),
        ] {
            assert_eq!(
                Content::of(content, feed).link.as_deref(),
                link,
                "{content}"
            );
        }
    }

    #[test]
    fn times_are_told() {
        let now = Utc::now();
        for (seconds, told) in [
            (0, "now"),
            (90, "90 s ago"),
            (600, "10 min ago"),
            (-60, "in 60 s"),
            (90_000, "25 h ago"),
            (864_000, "10 days ago"),
        ] {
            assert_eq!(When::of(now - TimeDelta::seconds(seconds), now).ago, told);
        }
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!((count(0), count(999)), ("0".to_owned(), "999".to_owned()));
    }
}
