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
    /// When the text is no absolute URL, or one that no page can be fetched from (`mailto:…`).
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidFeedUri> {
        let text = text.into();
        match Url::parse(&text) {
            Ok(url) if url.cannot_be_a_base() => Err(InvalidFeedUri { text, source: None }),
            Ok(url) => Ok(Self { text, url }),
            Err(source) => Err(InvalidFeedUri {
                text,
                source: Some(source),
            }),
        }
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
#[error("{text:?} is no feed address: give an absolute URL such as http://host/feed/recent")]
pub struct InvalidFeedUri {
    text: String,
    source: Option<url::ParseError>,
}
