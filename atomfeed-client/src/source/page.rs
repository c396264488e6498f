use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CACHE_CONTROL, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH};
use url::Url;

use super::{POSITION_HEADER, headers};

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// A page to fetch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PageRequest {
    /// Its address.
    pub url: Url,
    /// The [`etag`](PageResponse::etag) of the page that is at hand: where it is still the same, the answer
    /// is [that it is](PageResponse::not_modified), and has no body (`If-None-Match`, RFC 9110 §13.1.2).
    pub etag: Option<String>,
    /// For how long the server may wait for something new before it answers that there is nothing
    /// (`Prefer: wait`, RFC 7240 §4.3), in whole seconds. It needs an [`etag`](Self::etag), and a server may
    /// ignore it. A source asks for less where it would not have the patience.
    pub wait: Option<Duration>,
    /// Whether a redirect is followed for this page, once and within the origins that are allowed, also
    /// where the source follows none otherwise: the address of the first page of a feed is such.
    pub follow_redirect: bool,
    /// Whether it is to be the page as it is now, and not one that a cache has kept for a moment
    /// (`Cache-Control: no-cache`, RFC 9111 §5.2.1.4). Caches may ignore that.
    pub fresh: bool,
}

impl PageRequest {
    /// A request for a page.
    pub fn new(url: Url) -> Self {
        Self {
            url,
            etag: None,
            wait: None,
            follow_redirect: false,
            fresh: false,
        }
    }

    /// Asks for the page only if it is another one than that.
    #[must_use]
    pub fn with_etag(mut self, etag: impl Into<String>) -> Self {
        self.etag = Some(etag.into());
        self
    }

    /// Has the server wait this long for something new.
    #[must_use]
    pub fn waiting(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Follows a redirect, once.
    #[must_use]
    pub fn following_redirect(mut self) -> Self {
        self.follow_redirect = true;
        self
    }

    /// Asks for the page as it is now.
    #[must_use]
    pub fn fresh(mut self) -> Self {
        self.fresh = true;
        self
    }

    /// The headers that ask for what it says, with no longer wait than that.
    pub(super) fn headers(&self, longest_wait: Duration) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let etag = self.etag.as_deref();
        if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
            headers.insert(IF_NONE_MATCH, etag);
        }
        if self.fresh {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        let wait = self.wait.unwrap_or_default().min(longest_wait).as_secs();
        let wait = HeaderValue::from_str(&format!("wait={wait}"))
            .ok()
            .filter(|_| wait > 0);
        if let Some(wait) = wait {
            headers.insert(PREFER, wait);
        }
        headers
    }
}

/// A page as it came.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PageResponse {
    /// What it says it is (RFC 9110 §8.3), if it does.
    pub content_type: Option<String>,
    /// The document, with content codings taken off. Empty where the page is
    /// [not modified](Self::not_modified).
    pub body: Bytes,
    /// How many events the feed has up to the last one of the page, where the server says
    /// ([`POSITION_HEADER`]).
    pub position: Option<u64>,
    /// By what the page is told from what it was or will be (RFC 9110 §8.8.3), where the server says: as it
    /// stands in the header, with its quotes.
    pub etag: Option<String>,
    /// Whether the page is the one of the [`etag`](PageRequest::etag) that was asked with (304, RFC 9110
    /// §15.4.5).
    pub not_modified: bool,
    /// Whether the server has waited, or would have, had there been nothing new (`Preference-Applied: wait`,
    /// RFC 7240 §3).
    pub waits: bool,
    /// Where the page came from, when that is not where it was asked for.
    pub url: Option<Url>,
}

impl PageResponse {
    /// A page of this content.
    pub fn new(content_type: Option<String>, body: impl Into<Bytes>) -> Self {
        Self {
            content_type,
            body: body.into(),
            position: None,
            etag: None,
            not_modified: false,
            waits: false,
            url: None,
        }
    }

    /// The answer that the page is still the one that was asked with.
    pub fn not_modified() -> Self {
        Self {
            not_modified: true,
            ..Self::new(None, Bytes::new())
        }
    }

    /// Takes what the server says besides, in its headers: the position, the ETag, and whether it waits.
    #[must_use]
    pub fn with_headers(mut self, headers: &HeaderMap) -> Self {
        let position = headers
            .get(POSITION_HEADER)
            .and_then(|value| value.to_str().ok());
        self.position = position.and_then(|position| position.parse().ok());
        let etag = headers.get(ETAG).and_then(|value| value.to_str().ok());
        self.etag = etag.and_then(headers::entity_tag).map(str::to_owned);
        self.waits = headers
            .get_all(headers::PREFERENCE_APPLIED)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(headers::applies_wait);
        self
    }

    /// Says where it came from, when that is not where it was asked for.
    #[must_use]
    pub fn redirected_to(mut self, url: Url) -> Self {
        self.url = Some(url);
        self
    }
}
