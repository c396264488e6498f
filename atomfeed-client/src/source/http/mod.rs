use std::time::{Duration, Instant};

use async_trait::async_trait;
use atomfeed_core::FeedUri;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use url::{Origin, Url};

use super::headers::location;
use super::{FeedSource, FetchError, MAX_PAGE, PageRequest, PageResponse};

/// How much of an answer that is no page is read, to be shown.
const MAX_ERROR_BODY: usize = 4 << 10;

/// Fetches pages over HTTP and HTTPS.
///
/// Pages are fetched from the feed's own origin alone, and credentials go nowhere else. Cookies are
/// kept, gzip and zstd are understood, redirects are not followed unless that is allowed.
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
    client: Client,
    settings: HttpFeedSourceBuilder,
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
        HttpFeedSourceBuilder {
            feed_origin: feed.url().origin(),
            allowed_origins: Vec::new(),
            basic_auth: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(20),
            total_timeout: Duration::from_secs(300),
            max_bytes: MAX_PAGE,
            redirects: false,
        }
    }
}

/// Settings of an [`HttpFeedSource`].
#[derive(Clone)]
pub struct HttpFeedSourceBuilder {
    feed_origin: Origin,
    allowed_origins: Vec<Origin>,
    basic_auth: Option<(String, String)>,
    connect_timeout: Duration,
    read_timeout: Duration,
    total_timeout: Duration,
    max_bytes: usize,
    redirects: bool,
}

impl std::fmt::Debug for HttpFeedSourceBuilder {
    // Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpFeedSourceBuilder")
            .field("feed_origin", &self.feed_origin.ascii_serialization())
            .field("user", &self.basic_auth.as_ref().map(|(user, _)| user))
            .finish_non_exhaustive()
    }
}

impl HttpFeedSourceBuilder {
    /// Sends user and password with each request to the feed's origin (RFC 7617).
    #[must_use]
    pub fn with_basic_auth(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.basic_auth = Some((user.into(), password.into()));
        self
    }

    /// Sets how long a connection may take to come about; else 10 s.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long the server may be silent; else 20 s.
    #[must_use]
    pub fn with_read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = timeout;
        self
    }

    /// Sets how long a page may take in all; else 5 minutes.
    #[must_use]
    pub fn with_total_timeout(mut self, timeout: Duration) -> Self {
        self.total_timeout = timeout;
        self
    }

    /// Sets how large a page may be after decompression, in bytes; else 64 MiB.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Also fetches pages from the origin of this URL. User and password are not sent there.
    #[must_use]
    pub fn allow_origin(mut self, url: &Url) -> Self {
        self.allowed_origins.push(url.origin());
        self
    }

    /// Follows a redirect (301, 302, 303, 307, 308), once, within the allowed origins.
    #[must_use]
    pub fn follow_redirects(mut self) -> Self {
        self.redirects = true;
        self
    }

    /// The source. A process that has no default provider of cryptography for rustls gets ring.
    ///
    /// # Errors
    ///
    /// [`FetchError::Tls`] when a page may be fetched over HTTPS and the system has no certificates to
    /// check servers by.
    pub fn build(self) -> Result<HttpFeedSource, FetchError> {
        // Fails when there is one already, and that is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .cookie_store(true)
            .gzip(true)
            .zstd(true)
            .redirect(Policy::none())
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.read_timeout)
            .timeout(self.total_timeout);
        if !self.may_use_tls() {
            // A machine without CA certificates reads plain HTTP all the same.
            client = client.tls_certs_only([]);
        }
        let client = client
            .build()
            .map_err(|error| FetchError::Tls(error.into()))?;
        Ok(HttpFeedSource {
            client,
            settings: self,
        })
    }

    fn may_use_tls(&self) -> bool {
        let is_https =
            |origin: &Origin| matches!(origin, Origin::Tuple(scheme, ..) if scheme == "https");
        is_https(&self.feed_origin) || self.allowed_origins.iter().any(is_https)
    }

    /// For how long a server may be silent on purpose: with time left to answer.
    fn longest_wait(&self) -> Duration {
        self.read_timeout.min(self.total_timeout) / 4 * 3
    }

    fn allows(&self, origin: &Origin) -> bool {
        *origin == self.feed_origin || self.allowed_origins.contains(origin)
    }
}

#[async_trait]
impl FeedSource for HttpFeedSource {
    async fn fetch(&self, page: &PageRequest) -> Result<PageResponse, FetchError> {
        let mut begun = Instant::now();
        let mut response = self.get(page, &page.url, begun).await?;
        let mut redirected = None;
        if redirects(response.status()) {
            let target = self.redirect_target(page, response.headers())?;
            begun = Instant::now();
            response = self.get(page, &target, begun).await?;
            redirected = Some(target);
            if redirects(response.status()) {
                return Err(FetchError::Redirect {
                    location: location(response.headers()),
                });
            }
        }
        let is_from = |response: PageResponse| match redirected {
            Some(url) => response.redirected_to(url),
            None => response,
        };
        if response.status() == StatusCode::NOT_MODIFIED && page.etag.is_some() {
            let response = PageResponse::not_modified().with_headers(response.headers());
            return Ok(is_from(response));
        }
        if response.status() != StatusCode::OK {
            let status = response.status().as_u16();
            let headers = response.headers().clone();
            let body = beginning(response).await;
            return Err(FetchError::status(status, &headers, &body));
        }
        let content_type = response.headers().get(CONTENT_TYPE);
        let content_type = content_type
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let headers = response.headers().clone();
        let body = self.read(response, begun).await?;
        let response = PageResponse::new(content_type, body).with_headers(&headers);
        Ok(is_from(response))
    }
}

impl HttpFeedSource {
    async fn get(
        &self,
        page: &PageRequest,
        url: &Url,
        begun: Instant,
    ) -> Result<Response, FetchError> {
        let settings = &self.settings;
        let origin = url.origin();
        if !settings.allows(&origin) {
            return Err(FetchError::ForeignOrigin {
                url: url.to_string(),
                feed_origin: settings.feed_origin.ascii_serialization(),
            });
        }
        let accept = atomfeed_core::atom::FEED_MEDIA_TYPE;
        let mut request = self.client.get(url.clone()).header(ACCEPT, accept);
        request = request.headers(page.headers(settings.longest_wait()));
        if let Some((user, password)) = &settings.basic_auth
            && origin == settings.feed_origin
        {
            request = request.basic_auth(user, Some(password));
        }
        request
            .send()
            .await
            .map_err(|error| self.failed(error, begun))
    }

    fn redirect_target(&self, page: &PageRequest, headers: &HeaderMap) -> Result<Url, FetchError> {
        let location = location(headers);
        match page.url.join(&location) {
            Ok(target) if self.settings.redirects || page.follow_redirect => Ok(target),
            _ => Err(FetchError::Redirect { location }),
        }
    }

    async fn read(&self, mut response: Response, begun: Instant) -> Result<Vec<u8>, FetchError> {
        let limit = self.settings.max_bytes;
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > limit => {
                    return Err(FetchError::TooLarge { limit });
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(body),
                Err(error) if error.is_timeout() => return Err(self.failed(error, begun)),
                Err(error) => return Err(FetchError::Body(error.without_url().into())),
            }
        }
    }

    /// What the failure of a request means that was begun then.
    fn failed(&self, error: reqwest::Error, begun: Instant) -> FetchError {
        let settings = &self.settings;
        if !error.is_timeout() {
            return FetchError::Connection(error.without_url().into());
        }
        let limit = match error.is_connect() {
            _ if begun.elapsed() >= settings.total_timeout => settings.total_timeout,
            true => settings.connect_timeout,
            false => settings.read_timeout,
        };
        FetchError::Timeout { limit }
    }
}

fn redirects(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// How an answer that is no page begins: worth showing, and not worth failing for.
async fn beginning(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < MAX_ERROR_BODY
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(MAX_ERROR_BODY);
    body
}
