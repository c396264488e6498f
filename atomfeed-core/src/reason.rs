use std::fmt;

use uuid::Uuid;

use crate::Failure;

/// How much of a reason is kept, in characters.
const LONGEST: usize = 300;

/// What the original library puts in front of each message, with the address of the page between.
const BEFORE_PAGE: &str = "Failed processing event in feed [";
const AFTER_PAGE: &str = "]";

/// Why something failed, without what differs from one event to the next: the first line of a message, with
/// `<url>`, `<uuid>` and `<n>` in the place of addresses, UUIDs and numbers. What has failed for one reason
/// has the same.
///
/// ```
/// use atomfeed_core::Reason;
///
/// let reason = Reason::of("patient 17 is unknown at http://erp/api?id=17\n  at line 3");
/// assert_eq!(reason.as_str(), "patient <n> is unknown at <url>");
/// assert_eq!(reason, Reason::of("patient 4 is unknown at http://erp/"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason(String);

impl Reason {
    /// The reason that an error message gives.
    pub fn of(message: &str) -> Self {
        Self(masked(Self::line(message)))
    }

    /// The line of an error message that says most: the first one, without the address of the page that
    /// stands in front of it.
    pub fn line(message: &str) -> &str {
        let said = match message.strip_prefix(BEFORE_PAGE) {
            Some(rest) => rest.split_once(AFTER_PAGE).map_or(rest, |(_, said)| said),
            None => message,
        };
        let mut lines = said.lines().map(str::trim);
        lines.find(|line| !line.is_empty()).unwrap_or_default()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name of the same length for each: a UUID (version 5, of the text), as the tables have it.
    pub fn key(&self) -> String {
        Uuid::new_v5(&Uuid::NAMESPACE_OID, self.0.as_bytes()).to_string()
    }
}

impl Failure {
    /// Why it failed, without what differs from one event to the next.
    pub fn reason(&self) -> Reason {
        Reason::of(self.message())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn masked(line: &str) -> String {
    let mut masked = String::with_capacity(line.len().min(LONGEST));
    let mut length = 0;
    let mut rest = line;
    let mut is_within_word = false;
    while let Some(next) = rest.chars().next() {
        if length >= LONGEST {
            masked.push('…');
            break;
        }
        let found = match is_within_word {
            true => None,
            false => url(rest)
                .map(|end| ("<url>", end))
                .or_else(|| uuid(rest).map(|end| ("<uuid>", end))),
        };
        let found = found.or_else(|| number(rest).map(|end| ("<n>", end)));
        let (mask, end) = match found {
            Some((mask, end)) => (mask, end),
            // PostgreSQL keeps no NUL in a text.
            None if next.is_control() => (" ", next.len_utf8()),
            None => (&rest[..next.len_utf8()], next.len_utf8()),
        };
        masked.push_str(mask);
        length += mask.chars().count();
        is_within_word = next.is_alphanumeric();
        rest = &rest[end..];
    }
    masked
}

/// Where an address ends that a text begins with.
fn url(text: &str) -> Option<usize> {
    let (scheme, rest) = text.split_once("://")?;
    let mut letters = scheme.chars();
    let is_scheme = letters.next()?.is_ascii_alphabetic()
        && scheme.len() <= 20
        && letters.all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter));
    let ends = |letter: char| letter.is_whitespace() || "\"'<>()[]{}|,;".contains(letter);
    let end = rest.find(ends).unwrap_or(rest.len());
    // What ends a sentence is no part of it.
    let end = rest[..end].trim_end_matches(['.', ':', '!', '?']).len();
    is_scheme.then_some(scheme.len() + "://".len() + end)
}

/// Where a UUID ends that a text begins with.
fn uuid(text: &str) -> Option<usize> {
    let candidate = text.get(..36)?;
    let goes_on = text[36..].starts_with(|next: char| next.is_alphanumeric());
    (!goes_on && Uuid::try_parse(candidate).is_ok()).then_some(36)
}

/// Where a number ends that a text begins with: digits, with single dots, commas or colons between.
fn number(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let is_digit = |index: usize| bytes.get(index).is_some_and(u8::is_ascii_digit);
    let mut end = 0;
    while is_digit(end) || end > 0 && b".,:".contains(bytes.get(end)?) && is_digit(end + 1) {
        end += 1;
        if end == bytes.len() {
            break;
        }
    }
    (end > 0).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_masked() {
        for (message, reason) in [
            ("", ""),
            ("  \n\n boom \r\n more", "boom"),
            (
                "Failed processing event in feed [http://emr/feed/17] java.lang.Exception: no 5",
                "java.lang.Exception: no <n>",
            ),
            ("Failed processing event in feed [http://emr/17", "<url>"),
            (
                "GET https://emr:8080/patient/1?v=full&a=(b): 404 Not Found",
                "GET <url>(b): <n> Not Found",
            ),
            ("see http://emr/a.", "see <url>."),
            (
                "patient 6ba7b810-9dad-11d1-80b4-00c04fd430c8, GAN203006",
                "patient <uuid>, GAN<n>",
            ),
            (
                "at 2024-03-01T08:01:00.5 or 1,234.5",
                "at <n>-<n>-<n>T<n> or <n>",
            ),
            ("no 5", "no <n>"),
            ("5", "<n>"),
            ("v1.", "v<n>."),
            ("rechazó «é» ://", "rechazó «é» ://"),
            ("a\0b", "a b"),
        ] {
            assert_eq!(Reason::of(message).as_str(), reason, "{message:?}");
        }
    }

    #[test]
    fn it_is_bounded() {
        let long = Reason::of(&"é".repeat(10_000));
        assert_eq!(long.as_str().chars().count(), LONGEST + 1);
        assert_eq!(long.key().len(), 36);
        let numbers = Reason::of(&"1 ".repeat(10_000));
        assert!(numbers.as_str().chars().count() <= LONGEST + 4);
    }
}
