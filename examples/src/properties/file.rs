use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, anyhow};

use super::secret::Secret;

/// A key, or a row of schedules, that is not used, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unused {
    key: String,
    why: String,
}

impl Unused {
    pub(super) fn new(key: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            why: why.into(),
        }
    }
}

impl fmt::Display for Unused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.why)
    }
}

/// The keys of a property file. Who uses one takes it; what is left in the end is not used.
pub(super) struct Properties {
    left: BTreeMap<String, String>,
    unused: Vec<Unused>,
}

impl Properties {
    /// Reads a file as Java does: in ISO 8859-1, with escapes.
    pub(super) fn read(bytes: &[u8]) -> anyhow::Result<Self> {
        let left = java_properties::read(&prepared(bytes)[..]);
        let left = left.context("it is no property file of Java")?;
        Ok(Self {
            left: left.into_iter().collect(),
            unused: Vec::new(),
        })
    }

    /// The keys that nobody has taken yet.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.left.keys().map(String::as_str)
    }

    /// Takes a value. One that is empty counts as none.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        let value = self.left.remove(key)?;
        let value = value.trim();
        if value.is_empty() {
            self.note(key, "it has no value");
            return None;
        }
        Some(value.to_owned())
    }

    /// Takes a password, to the letter.
    pub(super) fn secret(&mut self, key: &str) -> Option<Secret> {
        self.left.remove(key).map(Secret::new)
    }

    /// Takes what is written as a text.
    pub(super) fn parsed<T>(&mut self, key: &str) -> anyhow::Result<Option<T>>
    where
        T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
    {
        let parsed = self.text(key).map(|text| text.parse()).transpose();
        parsed.with_context(|| format!("the value of {key}"))
    }

    /// Takes a whole number.
    pub(super) fn number<N: FromStr>(&mut self, key: &str) -> anyhow::Result<Option<N>> {
        let Some(text) = self.text(key) else {
            return Ok(None);
        };
        let number = text.parse::<N>().map_err(|_| {
            anyhow!(
                "the value of {key}, {text:?}: write a whole number, 0 or more, or leave it out"
            )
        });
        number.map(Some)
    }

    /// Takes the value of the first of these keys that has one, and says which that is.
    pub(super) fn first<K: AsRef<str>, T>(
        &mut self,
        keys: impl IntoIterator<Item = K>,
        take: impl Fn(&mut Self, &str) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<Option<(K, T)>> {
        let mut first: Option<(K, T)> = None;
        for key in keys {
            if let Some((before, _)) = &first {
                let why = format!("{} goes before it", before.as_ref());
                self.leave(key.as_ref(), &why);
            } else {
                first = take(self, key.as_ref())?.map(|value| (key, value));
            }
        }
        Ok(first)
    }

    /// Leaves a key unused, if it is there.
    pub(super) fn leave(&mut self, key: &str, why: &str) {
        if self.left.remove(key).is_some() {
            self.note(key, why);
        }
    }

    /// Says of a key, or a part of one, that it is not used.
    pub(super) fn note(&mut self, key: &str, why: &str) {
        self.unused.push(Unused::new(key, why));
    }

    /// What is not used, with the reason for what nobody has taken.
    pub(super) fn unused(mut self, why: impl Fn(&str) -> &'static str) -> Vec<Unused> {
        for key in std::mem::take(&mut self.left).into_keys() {
            self.note(&key, why(&key));
        }
        self.unused.sort();
        self.unused
    }
}

/// Where in a line of a property file a byte is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Begin,
    Comment,
    Text,
}

/// The same without comments, in which the library would look for escapes; and with escapes for what is not
/// ASCII: to Java, each byte is the character of that number, while the library takes those from 80 to 9F for
/// what Windows-1252 has there.
fn prepared(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len());
    let (mut place, mut before) = (Place::Begin, b'\n');
    let mut is_after_backslash = false;
    for &byte in bytes {
        match byte {
            b'\n' if before == b'\r' => {}
            // A line that goes on may begin as a comment does, and is none.
            b'\n' | b'\r' if is_after_backslash => place = Place::Text,
            b'\n' | b'\r' => place = Place::Begin,
            b' ' | b'\t' | b'\x0c' => {}
            b'#' | b'!' if place == Place::Begin => place = Place::Comment,
            _ if place == Place::Begin => place = Place::Text,
            _ => {}
        }
        before = byte;
        if place == Place::Comment {
            continue;
        }
        if byte.is_ascii() {
            text.push(byte);
        } else {
            // A backslash that stands there already is part of the escape: to Java, it is of no matter.
            if !is_after_backslash {
                text.push(b'\\');
            }
            text.extend(format!("u{byte:04x}").into_bytes());
        }
        is_after_backslash = byte == b'\\' && !is_after_backslash;
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_a_character() {
        let mut file = b"password=".to_vec();
        file.extend(0x80_u8..=0xff);
        // At the end is one that is white space, but not to Java.
        file.extend(b"\x85\na\xe9=\\\x80 \\\\\x80 \\\n  \x85x\n# \x80\n");
        let mut properties = Properties::read(&file).unwrap();
        let all: String = (0x80_u8..=0xff).chain([0x85]).map(char::from).collect();
        assert_eq!(properties.secret("password").unwrap().reveal(), all);
        let value = properties.secret("a\u{e9}").unwrap();
        assert_eq!(value.reveal(), "\u{80} \\\u{80} \u{85}x");
    }

    #[test]
    fn values_are_those_that_java_reads() {
        let file =
            b"# a comment\n! another\r\na.b = c \\\n   d \nuser:o\\u00e9\npassword=  p\\=1 \n\
            empty=\nlatin=\xe9\n";
        let mut properties = Properties::read(file).unwrap();
        assert_eq!(properties.text("a.b").unwrap(), "c d");
        assert_eq!(properties.text("user").unwrap(), "o\u{e9}");
        assert_eq!(properties.secret("password").unwrap().reveal(), "p=1 ");
        assert_eq!(properties.text("latin").unwrap(), "\u{e9}");
        assert_eq!(properties.text("empty"), None);
        assert_eq!(properties.text("a.b"), None, "it was taken");
        let unused = properties.unused(|_| "nobody knows it");
        let [empty] = &unused[..] else {
            panic!("{unused:?}");
        };
        assert_eq!(empty.to_string(), "empty: it has no value");
    }

    #[test]
    fn in_comments_anything_may_stand() {
        let file = b"# C:\\users\\uni\r\n \t! ends in \\\na=1\\\r\n#2\\\n  !3\n\n#\xe9 \\u12\rb \\# = c # d\n#";
        let mut properties = Properties::read(file).unwrap();
        assert_eq!(properties.text("a").unwrap(), "1#2!3");
        assert_eq!(properties.text("b").unwrap(), "# = c # d");
        assert!(properties.unused(|_| "").is_empty());
    }

    #[test]
    fn the_first_number_is_taken_and_a_wrong_one_is_named() {
        let mut properties = Properties::read(b"b=2\nc=3\nd=-4\n").unwrap();
        let first = properties.first(["a", "b", "c"], Properties::number::<u64>);
        assert_eq!(first.unwrap(), Some(("b", 2)));
        let error = properties.number::<u64>("d").unwrap_err().to_string();
        assert!(error.contains('d') && error.contains("-4"), "{error}");
        let unused = properties.unused(|_| "");
        assert_eq!(unused[0].to_string(), "c: b goes before it");
    }
}
