use std::error::Error;

use atomfeed_core::EntryId;
use url::Url;

use crate::FetchError;

/// How much of content that is no reference is shown.
const LONGEST_SHOWN: usize = 60;

/// Why what an event names cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResourceError {
    /// The content of the event names nothing.
    #[error(
        "the content of event {event} is no address but {content:?}: use the content itself, or route such \
         events elsewhere"
    )]
    NoReference {
        /// The event.
        event: EntryId,
        /// How the content begins.
        content: String,
    },
    /// What the event names could not be fetched.
    #[error("fetching {url}, which event {event} names")]
    Fetch {
        /// The event.
        event: EntryId,
        /// What it names.
        url: String,
        /// Why.
        source: FetchError,
    },
    /// The resource is no JSON, or has other fields.
    #[error("reading {url} as JSON (it says it is {})", .content_type.as_deref().unwrap_or("nothing"))]
    Json {
        /// Where it came from.
        url: String,
        /// What it says it is.
        content_type: Option<String>,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The resource is no text.
    #[error("reading {url} as text, which is not UTF-8")]
    Text {
        /// Where it came from.
        url: String,
        /// Why.
        source: std::str::Utf8Error,
    },
}

impl ResourceError {
    pub(super) fn no_reference(event: &EntryId, content: &str) -> Self {
        Self::NoReference {
            event: event.clone(),
            content: content.chars().take(LONGEST_SHOWN).collect(),
        }
    }

    pub(super) fn fetch(event: &EntryId, url: &Url, source: FetchError) -> Self {
        Self::Fetch {
            event: event.clone(),
            url: url.to_string(),
            source,
        }
    }
}
