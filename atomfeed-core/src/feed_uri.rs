use std::fmt;
use std::str::FromStr;

use url::Url;

/// The address of the feed that a consumer follows: the absolute URL of its `recent` page.
///
/// Column `feed_uri` of `markers`, `failed_events` and `failed_event_retry_log`. The text is kept
/// exactly as it was given, since rows are found by it; its meaning is a checked [`Url`].
///
/// ```
/// use atomfeed_core::FeedUri;
///
/// let feed: FeedUri = "http://localhost:8050/openmrs/ws/atomfeed/patient/recent".parse()?;
/// assert_eq!(feed.url().path(), "/openmrs/ws/atomfeed/patient/recent");
/// # Ok::<(), atomfeed_core::InvalidFeedUri>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FeedUri {
    text: String,
    url: Url,
}

impl FeedUri {
    /// Checks and takes a feed's address.
    ///
    /// # Errors
    ///
    /// When the text is no absolute URL, one that no page can be fetched from (`mailto:…`), or one with
    /// a password in it: it would stand in every row and message.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidFeedUri> {
        let text = text.into();
        match Url::parse(&text) {
            Ok(url) if url.cannot_be_a_base() => Err(InvalidFeedUri::NoBase { text }),
            Ok(mut url) if url.password().is_some() => {
                // Both succeed on a URL that has a host, as one with a password does.
                let _ = url.set_password(None);
                let _ = url.set_username("");
                Err(InvalidFeedUri::Password {
                    without: url.into(),
                })
            }
            Ok(url) => Ok(Self { text, url }),
            Err(source) => Err(InvalidFeedUri::NoUrl { text, source }),
        }
    }

    /// The same feed, as a consumer of this name follows it: several of one database have markers and
    /// failed events of their own. The name is the fragment of the URL, which no server ever sees;
    /// letters that no URL can hold are percent-encoded.
    ///
    /// ```
    /// use atomfeed_core::FeedUri;
    ///
    /// let feed: FeedUri = "http://localhost:8050/feed/recent".parse()?;
    /// assert_eq!(feed.named("billing").as_str(), "http://localhost:8050/feed/recent#billing");
    /// # Ok::<(), atomfeed_core::InvalidFeedUri>(())
    /// ```
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        let mut url = self.url.clone();
        url.set_fragment(Some(name));
        // What the URL standard leaves out at either end of a text would be in the middle of this one.
        let text = self.text.trim_matches(|letter| letter <= ' ');
        let before = text.split('#').next().unwrap_or_default();
        let text = format!("{before}#{}", url.fragment().unwrap_or_default());
        Self { text, url }
    }

    /// The address exactly as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The address as a URL.
    pub fn url(&self) -> &Url {
        &self.url
    }
}

impl FromStr for FeedUri {
    type Err = InvalidFeedUri;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl fmt::Display for FeedUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A text that is no feed's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidFeedUri {
    /// It is no absolute URL.
    #[error("{text:?} is no feed address: give an absolute URL such as http://host/feed/recent")]
    NoUrl {
        /// The text.
        text: String,
        /// What is wrong with it.
        source: url::ParseError,
    },
    /// It is a URL without a path, as `mailto:` has none.
    #[error("{text:?} is no feed address: give an absolute URL such as http://host/feed/recent")]
    NoBase {
        /// The text.
        text: String,
    },
    /// It holds a password.
    #[error(
        "the address of the feed {without} was given with a password in it: give user and \
             password to the source of the pages instead"
    )]
    Password {
        /// The address without it.
        without: String,
    },
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_refused_and_not_shown() {
        let error = FeedUri::new("http://lab:secret@emr:8050/feed/recent").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(
            error.to_string().contains("http://emr:8050/feed/recent"),
            "{error}"
        );
        assert!(FeedUri::new("http://emr/feed/recent?user=lab").is_ok());
        assert!(FeedUri::new("mailto:lab@emr").is_err());
        assert!(FeedUri::new("/feed/recent").is_err());
    }

    #[test]
    fn a_name_stands_in_the_fragment() {
        let feed = FeedUri::new("HTTP://emr:80/feed/../feed/recent?a=1").unwrap();
        let named = feed.named("X-ray 1");
        assert_eq!(
            named.as_str(),
            "HTTP://emr:80/feed/../feed/recent?a=1#X-ray%201"
        );
        assert_eq!(FeedUri::new(named.as_str()).unwrap(), named);
        assert_eq!(
            named.named("b").as_str(),
            "HTTP://emr:80/feed/../feed/recent?a=1#b"
        );
        assert_ne!(feed, named);
    }

    #[test]
    fn a_name_changes_no_address_that_was_given_with_space_around_it() {
        let feed = FeedUri::new(" http://emr/feed/recent\r\n").unwrap();
        let named = feed.named("billing");
        assert_eq!(named.as_str(), "http://emr/feed/recent#billing");
        assert_eq!(FeedUri::new(named.as_str()).unwrap(), named);
    }
}
