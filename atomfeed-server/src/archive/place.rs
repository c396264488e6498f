//! Where in an object store the pages of a feed lie: where a server of files finds them that is asked for
//! their addresses.

use atomfeed_core::FeedScope;
use object_store::path::Path;
use percent_encoding::percent_decode_str;
use url::Url;

use super::ArchiveError;

/// What all objects of an archive lie under.
#[derive(Debug, Clone)]
pub(super) struct Place(Path);

/// What file systems take for a name, in bytes.
const LONGEST_NAME: usize = 255;

impl Place {
    /// That which the path of a public URL names.
    pub(super) fn of_url(public_url: &str) -> Result<Self, ArchiveError> {
        let url = Url::parse(public_url).ok();
        let path = url.as_ref().map_or("", Url::path);
        Self::named(&percent_decode_str(path).decode_utf8_lossy())
    }

    pub(super) fn named(prefix: &str) -> Result<Self, ArchiveError> {
        let path = Path::parse(prefix).map_err(|error| ArchiveError::Prefix {
            prefix: prefix.to_owned(),
            source: error.into(),
        })?;
        Ok(Self(path))
    }

    /// What the pages of a feed lie in. A server of files looks for the name that a URL says once it is
    /// decoded, and so the category stands as it is.
    pub(super) fn folder(&self, scope: &FeedScope) -> Result<Path, NotExported> {
        match scope.category() {
            None => Ok(self.0.clone()),
            Some(category) => {
                look_at_name(category.as_str())?;
                self.child(category.as_str())
            }
        }
    }

    pub(super) fn page(folder: &Path, number: u64) -> Path {
        folder.clone().join(number.to_string())
    }

    /// What the archive itself is known by. No page has such a name: not even one of a category that is
    /// called `.atomfeed`.
    pub(super) fn own(&self, name: &'static str) -> Path {
        self.0.clone().join(".atomfeed").join(name)
    }

    fn child(&self, name: &str) -> Result<Path, NotExported> {
        let path = match self.0.as_ref() {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        };
        Path::parse(path).map_err(|_| NotExported("an object store takes no such name"))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/{}", self.0)
    }
}

/// Why the pages of a category are not exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotExported(pub(super) &'static str);

/// Refuses a name under which not every store, and every server before it, finds the same object.
fn look_at_name(name: &str) -> Result<(), NotExported> {
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    Err(NotExported(match name {
        _ if name.contains(['/', '\\']) => "its name holds what separates folders",
        _ if name.contains(char::is_control) => "its name holds a control character",
        _ if name.ends_with('.') => "its name ends with a dot",
        _ if is_number => "its name is that of a page of all events",
        _ if name.len() > LONGEST_NAME => "its name has more than 255 bytes",
        _ => return Ok(()),
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use atomfeed_core::Category;

    use super::*;

    fn folder(prefix: &str, category: &str) -> Result<String, &'static str> {
        let scope = FeedScope::Category(Category::new(category).unwrap());
        let folder = Place::named(prefix).unwrap().folder(&scope);
        folder
            .map(|path| path.as_ref().to_owned())
            .map_err(|not_exported| not_exported.0)
    }

    #[test]
    fn a_page_lies_where_its_decoded_address_says() {
        for (url, place) in [
            ("http://host/feed", "/feed"),
            ("http://host/openmrs/ws/atomfeed/", "/openmrs/ws/atomfeed"),
            ("http://host", "/"),
            ("http://host/a%20b/%C3%A9", "/a b/é"),
        ] {
            assert_eq!(Place::of_url(url).unwrap().to_string(), place);
        }
        for (category, expected) in [
            ("lab", "feed/lab"),
            ("Lab Result", "feed/Lab Result"),
            ("é%", "feed/é%"),
            ("a%20b", "feed/a%20b"),
            ("..a", "feed/..a"),
            (".atomfeed", "feed/.atomfeed"),
            ("a?b#1&c", "feed/a?b#1&c"),
        ] {
            assert_eq!(folder("feed", category).as_deref(), Ok(expected));
        }
        assert_eq!(folder("", "lab").as_deref(), Ok("lab"));
    }

    #[test]
    fn names_that_may_be_taken_for_others_are_refused() {
        let long = "é".repeat(128);
        for category in ["a/b", "a\\b", "..", ".", "a.", "17", "a\nb", "a\tb", &long] {
            assert!(folder("feed", category).is_err(), "{category:?}");
        }
        assert!(folder("feed", &long[2..]).is_ok());
    }

    #[test]
    fn a_prefix_that_is_no_path_is_refused() {
        for prefix in ["a//b", "../feed", "a\nb"] {
            let refused = Place::named(prefix).unwrap_err();
            assert!(refused.to_string().contains("prefix"), "{refused}");
        }
    }
}
