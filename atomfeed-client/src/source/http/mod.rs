mod addresses;
mod builder;
mod coding;
mod cookies;
mod exchange;
mod failed;
mod realm;
mod session;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use http::header::{ACCEPT, CONTENT_TYPE, IF_NONE_MATCH};
use http::{HeaderValue, StatusCode};

use super::{FeedSource, FetchError, PageRequest, PageResponse, Resources};
use crate::FeedUri;

#[cfg(feature = "fuzzing")]
pub(crate) use addresses::is_private;
pub use builder::HttpFeedSourceBuilder;
pub(crate) use exchange::{Ask, Exchange};
pub(crate) use session::Session;
pub(crate) use wire::Wire;

/// Fetches pages over HTTP and HTTPS.
///
/// Pages are fetched from the feed's own origin alone, and credentials go nowhere else. Cookies are
/// kept, gzip and zstd are understood, redirects are not followed unless that is allowed. Clones share
/// connections and sessions.
///
/// ```no_run
/// use atomfeed_client::{FeedUri, HttpFeedSource};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let feed: FeedUri = "https://emr.example.org/openmrs/ws/atomfeed/patient/recent".parse()?;
/// let source = HttpFeedSource::builder(&feed).with_basic_auth("atomfeed", "secret").build()?;
/// # let _ = source;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct HttpFeedSource {
    exchange: Arc<Exchange>,
}

impl HttpFeedSource {
    /// The pages of a feed that anyone may read, with the usual limits.
    ///
    /// # Errors
    ///
    /// As [`HttpFeedSourceBuilder::build`].
    pub fn new(feed: &FeedUri) -> Result<Self, FetchError> {
        Self::builder(feed).build()
    }

    /// The pages of a feed.
    pub fn builder(feed: &FeedUri) -> HttpFeedSourceBuilder {
        HttpFeedSourceBuilder::new(feed)
    }

    /// What the feed's events name, by the same session and within the same limits.
    pub fn resources(&self) -> Resources {
        Resources::of(Arc::clone(&self.exchange))
    }
}

#[async_trait]
impl FeedSource for HttpFeedSource {
    async fn fetch(&self, page: &PageRequest) -> Result<PageResponse, FetchError> {
        let mut headers = page.headers(self.exchange.settings().longest_wait());
        let accept = HeaderValue::from_static(atomfeed_core::atom::FEED_MEDIA_TYPE);
        headers.insert(ACCEPT, accept);
        let ask = Ask {
            url: page.url.clone(),
            follow_redirect: page.follow_redirect,
            may_be_unchanged: headers.contains_key(IF_NONE_MATCH),
            headers,
            is_resource: false,
        };
        let got = self.exchange.get(&ask).await?;
        let response = match got.status {
            StatusCode::NOT_MODIFIED => PageResponse::not_modified(),
            _ => {
                let content_type = got.headers.get(CONTENT_TYPE);
                let content_type = content_type.and_then(|value| value.to_str().ok());
                PageResponse::new(content_type.map(str::to_owned), got.body)
            }
        };
        let response = response.with_headers(&got.headers);
        Ok(match got.url {
            Some(url) => response.redirected_to(url),
            None => response,
        })
    }
}

/// Whether a value of `Content-Encoding` is understood.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_coding(value: &str) -> bool {
    coding::named(value).is_some()
}

/// The value of `Cookie` after an answer with these headers.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_cookies(url: &url::Url, headers: &http::HeaderMap) -> Option<Vec<u8>> {
    let jar = cookies::Jar::default();
    jar.keep(url, headers);
    jar.header(url).map(|value| value.as_bytes().to_vec())
}
