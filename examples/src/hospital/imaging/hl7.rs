//! HL7 v2 as text. The crate `mllp` splits what came into segments, fields and components; writing, and
//! escape sequences both ways, are here.

use std::fmt;

use ::mllp::{Message, ParseError, Separators};
use chrono::{DateTime, Utc};

/// The version of HL7 that is written, and taken.
pub const VERSION: &str = "2.5";

/// A segment to be written: `PID|||GAN200001^^^EMR||Verma^Asha`.
#[derive(Debug, Clone)]
pub struct Segment {
    /// The name, then the fields as they are written.
    parts: Vec<String>,
    is_header: bool,
}

impl Segment {
    /// One that has no fields yet.
    pub fn new(name: &str) -> Self {
        Self {
            parts: vec![name.to_owned()],
            is_header: false,
        }
    }

    /// The first one of every message, MSH: from whom and to whom it is, of which kind, when it was made,
    /// and under which id it is acknowledged.
    pub fn header(from: &str, to: &str, kind: &[&str], id: &str, at: DateTime<Utc>) -> Self {
        Self {
            parts: vec!["MSH".to_owned(), r"^~\&".to_owned()],
            is_header: true,
        }
        .with(3, &[from])
        .with(5, &[to])
        .with(7, &[&time(at)])
        .with(9, kind)
        .with(10, &[id])
        .with(11, &["P"])
        .with(12, &[VERSION])
        .with(18, &["UNICODE UTF-8"])
    }

    /// Sets a field, counted from 1 as in the standard, to its components. Empty ones at the end are left
    /// out.
    #[must_use]
    pub fn with(mut self, number: usize, components: &[&str]) -> Self {
        // MSH-1 is the separator itself.
        let at = number - usize::from(self.is_header);
        if self.parts.len() <= at {
            self.parts.resize(at + 1, String::new());
        }
        let components: Vec<_> = components.iter().map(|text| escape(text)).collect();
        let field = components.join("^");
        self.parts[at] = field.trim_end_matches('^').to_owned();
        self
    }
}

/// As it is sent, with its end.
impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\r", self.parts.join("|"))
    }
}

/// A message that came.
#[derive(Debug)]
pub struct Incoming<'a>(Message<'a>);

impl<'a> Incoming<'a> {
    /// Splits a message.
    ///
    /// # Errors
    ///
    /// When it does not begin with MSH and the separators there.
    pub fn parse(text: &'a str) -> Result<Self, ParseError> {
        Message::parse(text).map(Self)
    }

    /// How many segments of this name there are.
    pub fn count(&self, segment: &str) -> usize {
        self.0.segments_named(segment).count()
    }

    /// A component of a field of the first segment of this name, both counted from 1; empty where there is
    /// none.
    pub fn component(&self, segment: &str, field: usize, component: usize) -> String {
        let segment = self.0.segment(segment);
        let field = segment.and_then(|segment| segment.field(field));
        let component = field.and_then(|field| field.component(component));
        unescape(component.unwrap_or_default(), self.0.separators())
    }

    /// A whole field of the first segment of this name; empty where there is none.
    pub fn text(&self, segment: &str, field: usize) -> String {
        let segment = self.0.segment(segment);
        let field = segment.and_then(|segment| segment.field(field));
        let text = field.map(|field| field.text());
        unescape(text.unwrap_or_default(), self.0.separators())
    }
}

/// A point in time as HL7 has it (TS), in UTC.
pub fn time(at: DateTime<Utc>) -> String {
    at.format("%Y%m%d%H%M%S+0000").to_string()
}

/// Text as it may stand in a component: what would be read as a separator, or end a segment or the message,
/// becomes an escape sequence.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '|' => escaped.push_str(r"\F\"),
            '^' => escaped.push_str(r"\S\"),
            '~' => escaped.push_str(r"\R\"),
            '\\' => escaped.push_str(r"\E\"),
            '&' => escaped.push_str(r"\T\"),
            control if control.is_ascii_control() => {
                escaped.push_str(&format!(r"\X{:02X}\", u32::from(control)));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

/// The text that a component stands for. A sequence that means nothing here, such as one for bold type,
/// stays as it is.
pub fn unescape(text: &str, separators: Separators) -> String {
    let escape = separators.escape;
    let mut parts = text.split(escape);
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    while let Some(sequence) = parts.next() {
        let behind = parts.next();
        let meant = match sequence {
            "F" => Some(separators.field.to_string().into_bytes()),
            "S" => Some(separators.component.to_string().into_bytes()),
            "R" => Some(separators.repetition.to_string().into_bytes()),
            "T" => Some(separators.subcomponent.to_string().into_bytes()),
            "E" => Some(escape.to_string().into_bytes()),
            ".br" => Some(b"\n".to_vec()),
            other => other.strip_prefix('X').and_then(hexadecimal),
        };
        match (meant, behind) {
            (Some(meant), Some(_)) => bytes.extend(meant),
            (None, Some(_)) => bytes.extend(format!("{escape}{sequence}{escape}").into_bytes()),
            // It has no end.
            (_, None) => bytes.extend(format!("{escape}{sequence}").into_bytes()),
        }
        bytes.extend(behind.unwrap_or_default().as_bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let is_whole = digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        && !digits.is_empty()
        && digits.len().is_multiple_of(2);
    if !is_whole {
        return None;
    }
    let pairs = (0..digits.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(text: &str) -> String {
        unescape(text, Separators::default())
    }

    #[test]
    fn text_comes_back_from_its_escapes() {
        for text in [
            "",
            "Asha Verma",
            r"|^~\&",
            r"\F\ as it is",
            "आशा|वर्मा\\\n",
            "two\r\nlines",
            "\x0bno\x1c\rframe\x1c",
            "ends in \\",
        ] {
            let escaped = escape(text);
            assert!(
                !escaped.contains(|c: char| "|^~&".contains(c) || c.is_ascii_control()),
                "{escaped:?}"
            );
            assert_eq!(read(&escaped), text, "{escaped:?}");
        }
        assert_eq!(escape("a|b\r"), r"a\F\b\X0D\");
    }

    #[test]
    fn sequences_of_others_are_read() {
        assert_eq!(read(r"\XE0A486\\.br\x"), "आ\nx");
        assert_eq!(read(r"\H\bold\N\"), r"\H\bold\N\");
        assert_eq!(read(r"\X0\ \X\ \Xआ\"), r"\X0\ \X\ \Xआ\");
        assert_eq!(read(r"no end \F"), r"no end \F");
    }

    #[test]
    fn fields_stand_where_the_standard_counts_them() {
        let at = "2024-03-01T08:01:02.5Z".parse().unwrap();
        let header = Segment::header("EMR", "PACS", &["ORM", "O01"], "7", at).to_string();
        let pid = Segment::new("PID")
            .with(5, &["Verma", "A^sha", "", ""])
            .with(3, &["GAN1", "", "", "EMR"]);
        let text = format!("{header}{pid}");
        assert_eq!(
            text,
            "MSH|^~\\&|EMR||PACS||20240301080102+0000||ORM^O01|7|P|2.5||||||UNICODE UTF-8\r\
             PID|||GAN1^^^EMR||Verma^A\\S\\sha\r"
        );
        let message = Incoming::parse(&text).unwrap();
        assert_eq!(message.component("MSH", 3, 1), "EMR");
        assert_eq!(message.component("MSH", 9, 2), "O01");
        assert_eq!(message.component("MSH", 18, 1), "UNICODE UTF-8");
        assert_eq!(message.component("PID", 5, 2), "A^sha");
        assert_eq!(message.text("PID", 3), "GAN1^^^EMR");
        assert_eq!((message.count("PID"), message.count("ORC")), (1, 0));
        for (segment, field, component) in [("PID", 5, 3), ("PID", 9, 1), ("ORC", 1, 1)] {
            assert_eq!(message.component(segment, field, component), "");
        }
    }

    #[test]
    fn other_separators_are_those_of_the_header() {
        let message = Incoming::parse("MSH#*@!%#a!F!b*c\r").unwrap();
        assert_eq!(message.component("MSH", 3, 1), "a#b");
        assert!(Incoming::parse("PID|1\r").is_err());
        assert!(Incoming::parse("MSH|^").is_err());
    }
}
