use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use url::{Origin, Url};

use super::HttpFeedSource;
use super::exchange::Exchange;
use crate::source::MAX_PAGE;
use crate::source::links::Origins;
use crate::source::login::{Authenticator, BasicAuth};
use crate::{FeedUri, FetchError};

/// Settings of an [`HttpFeedSource`].
#[derive(Debug, Clone)]
pub struct HttpFeedSourceBuilder {
    settings: Settings,
}

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) origins: Origins,
    /// The last one given for an origin is the one.
    pub(super) logins: Vec<(Origin, Arc<dyn Authenticator>)>,
    pub(super) connect_timeout: Duration,
    pub(super) read_timeout: Duration,
    pub(super) total_timeout: Duration,
    pub(super) max_bytes: usize,
    pub(super) redirects: bool,
    pub(super) refuse_private: bool,
}

impl Settings {
    pub(super) fn may_use_tls(&self) -> bool {
        let mut origins = self.origins.all().iter();
        origins.any(|origin| matches!(origin, Origin::Tuple(scheme, ..) if scheme == "https"))
    }

    /// For how long a server may be silent on purpose: with time left to answer.
    pub(super) fn longest_wait(&self) -> Duration {
        self.read_timeout.min(self.total_timeout) / 4 * 3
    }

    /// How long a login may take. It goes on when what it was for is given up, and is to be heard of then: so
    /// it gets the time for one answer at least.
    pub(super) fn longest_login(&self) -> Duration {
        let of_one_answer = self.connect_timeout.saturating_add(self.read_timeout);
        self.total_timeout.max(of_one_answer)
    }
}

impl fmt::Debug for Settings {
    // Without what anybody gets in with.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origins = self.origins.all().iter();
        let origins: Vec<_> = origins.map(Origin::ascii_serialization).collect();
        let logins = self.logins.iter();
        let logins: Vec<_> = logins
            .map(|(origin, _)| origin.ascii_serialization())
            .collect();
        f.debug_struct("Settings")
            .field("origins", &origins)
            .field("logins", &logins)
            .field("connect_timeout", &self.connect_timeout)
            .field("read_timeout", &self.read_timeout)
            .field("total_timeout", &self.total_timeout)
            .field("max_bytes", &self.max_bytes)
            .field("redirects", &self.redirects)
            .field("refuse_private", &self.refuse_private)
            .finish()
    }
}

impl HttpFeedSourceBuilder {
    pub(super) fn new(feed: &FeedUri) -> Self {
        Self {
            settings: Settings {
                origins: Origins::of(feed.url()),
                logins: Vec::new(),
                connect_timeout: Duration::from_secs(10),
                read_timeout: Duration::from_secs(20),
                total_timeout: Duration::from_secs(300),
                max_bytes: MAX_PAGE,
                redirects: false,
                refuse_private: false,
            },
        }
    }

    #[cfg(test)]
    pub(super) fn settings(self) -> Settings {
        self.settings
    }

    /// Logs in at the feed's origin: for its pages, and for what its events name.
    ///
    /// ```
    /// use atomfeed_client::{FeedUri, HttpFeedSource, OpenMrsSession};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let feed: FeedUri = "http://emr:8050/openmrs/ws/atomfeed/patient/recent".parse()?;
    /// let source = HttpFeedSource::builder(&feed)
    ///     .with_login(OpenMrsSession::new("/openmrs/ws/rest/v1/session", "atomfeed", "secret"))
    ///     .build()?;
    /// # let _ = source;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_login(self, authenticator: impl Authenticator) -> Self {
        let feed = self.settings.origins.feed().clone();
        self.with_login_at(&feed, authenticator)
    }

    /// Logs in at the origin of this URL, and allows that. What one origin gave or was given goes to no
    /// other.
    #[must_use]
    pub fn with_login_at(mut self, url: &Url, authenticator: impl Authenticator) -> Self {
        self = self.allow_origin(url);
        let login = (url.origin(), Arc::new(authenticator) as Arc<_>);
        self.settings.logins.push(login);
        self
    }

    /// Sends user and password with each request to the feed's origin (RFC 7617): [`BasicAuth`] as the
    /// [login](Self::with_login).
    #[must_use]
    pub fn with_basic_auth(self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.with_login(BasicAuth::new(user, password))
    }

    /// Sets how long a connection may take to come about; else 10 s.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Sets how long the server may be silent; else 20 s.
    #[must_use]
    pub fn with_read_timeout(mut self, timeout: Duration) -> Self {
        self.settings.read_timeout = timeout;
        self
    }

    /// Sets how long a page may take in all, with a login and a redirect on the way; else 5 minutes.
    #[must_use]
    pub fn with_total_timeout(mut self, timeout: Duration) -> Self {
        self.settings.total_timeout = timeout;
        self
    }

    /// Sets how large a page may be after decompression, in bytes; else 64 MiB.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_bytes = bytes;
        self
    }

    /// Also fetches from the origin of this URL. What the feed's origin gets in with is not sent there.
    #[must_use]
    pub fn allow_origin(mut self, url: &Url) -> Self {
        self.settings.origins.allow(url);
        self
    }

    /// Fetches from the origin of `to` what links say is at the origin of `from`: for a server that goes by
    /// another name among its own than here. It is logged in at as `to` is. Markers keep the URLs as the
    /// server gives them.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use atomfeed_client::{FeedUri, HttpFeedSource};
    /// let feed: FeedUri = "https://emr.example.org/openmrs/ws/atomfeed/patient/recent".parse()?;
    /// let source = HttpFeedSource::builder(&feed)
    ///     .map_origin(&"http://emr.internal:8080".parse()?, feed.url());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn map_origin(mut self, from: &Url, to: &Url) -> Self {
        self.settings.origins.map(from, to);
        self
    }

    /// Follows a redirect (301, 302, 303, 307, 308), once, within the allowed origins.
    #[must_use]
    pub fn follow_redirects(mut self) -> Self {
        self.settings.redirects = true;
        self
    }

    /// Asks nothing of addresses that are not of the public Internet: loopback, private and link-local
    /// networks, carriers' NAT, multicast and the like, whether a URL holds one or a name stands for one.
    /// Connections are made by itself then: proxies that the environment names are not used.
    ///
    /// For feeds out there whose links or names are somebody else's; a feed in one's own network has such
    /// an address itself.
    #[must_use]
    pub fn refuse_private_addresses(mut self) -> Self {
        self.settings.refuse_private = true;
        self
    }

    /// The source. A process that has no default provider of cryptography for rustls gets ring.
    ///
    /// # Errors
    ///
    /// [`FetchError::Tls`] when a page may be fetched over HTTPS and the system has no certificates to
    /// check servers by.
    pub fn build(self) -> Result<HttpFeedSource, FetchError> {
        let exchange = Exchange::new(self.settings)?;
        Ok(HttpFeedSource {
            exchange: Arc::new(exchange),
        })
    }
}
