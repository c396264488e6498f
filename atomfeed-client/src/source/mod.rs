//! Where pages come from.

mod error;
#[cfg(feature = "http")]
mod http;
mod in_process;

use async_trait::async_trait;
use bytes::Bytes;
use url::Url;

#[cfg(feature = "http")]
pub use self::http::{HttpFeedSource, HttpFeedSourceBuilder};
pub use error::FetchError;
pub use in_process::InProcessFeedSource;

/// Fetches pages: over HTTP, from the same process, or from wherever they are kept.
#[async_trait]
pub trait FeedSource: Send + Sync + 'static {
    /// Fetches a page.
    ///
    /// # Errors
    ///
    /// When the page cannot be had, or must not be asked for.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    async fn fetch(&self, page: &PageRequest) -> Result<PageResponse, FetchError>;
}

/// A page to fetch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PageRequest {
    /// Its address.
    pub url: Url,
}

impl PageRequest {
    /// A request for a page.
    pub fn new(url: Url) -> Self {
        Self { url }
    }
}

/// A page as it came.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PageResponse {
    /// What it says it is (RFC 9110 §8.3), if it does.
    pub content_type: Option<String>,
    /// The document, with content codings taken off.
    pub body: Bytes,
    /// How many events the feed has up to the last one of the page, where the server says
    /// ([`POSITION_HEADER`]).
    pub position: Option<u64>,
}

impl PageResponse {
    /// A page of this content.
    pub fn new(content_type: Option<String>, body: impl Into<Bytes>) -> Self {
        Self {
            content_type,
            body: body.into(),
            position: None,
        }
    }

    /// Takes what the server says besides, in its headers.
    #[must_use]
    pub fn with_headers(mut self, headers: &::http::HeaderMap) -> Self {
        let position = headers
            .get(POSITION_HEADER)
            .and_then(|value| value.to_str().ok());
        self.position = position.and_then(|position| position.parse().ok());
        self
    }
}

/// The header in which a server of this family says how many events its feed has up to the last one of
/// the page. On the newest page, it is all there are.
pub const POSITION_HEADER: &str = "atomfeed-position";

/// How large a page may be, in bytes, after decompression: large enough for a hundred documents of
/// half a megabyte.
const MAX_PAGE: usize = 64 << 20;
