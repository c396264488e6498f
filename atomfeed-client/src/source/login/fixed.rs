use std::fmt;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Authenticator, LoginDoor, LoginError};

/// The same headers with each request: a key, say.
///
/// ```
/// use atomfeed_client::{FeedUri, FixedHeaders, HttpFeedSource};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let feed: FeedUri = "https://emr.example.org/feed/recent".parse()?;
/// let login = FixedHeaders::new([("x-api-key", "secret")])?;
/// let source = HttpFeedSource::builder(&feed).with_login(login);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FixedHeaders {
    headers: HeaderMap,
}

impl FixedHeaders {
    /// Headers by their names.
    ///
    /// # Errors
    ///
    /// [`LoginError::Unusable`] where one of them cannot be a header.
    pub fn new<N, V>(headers: impl IntoIterator<Item = (N, V)>) -> Result<Self, LoginError>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let unusable = LoginError::Unusable { what: "a header" };
        let headers = headers.into_iter().map(|(name, value)| {
            let name: HeaderName = name.as_ref().parse().ok()?;
            let mut value: HeaderValue = value.as_ref().parse().ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        let headers = headers.collect::<Option<_>>().ok_or(unusable)?;
        Ok(Self { headers })
    }
}

#[async_trait]
impl Authenticator for FixedHeaders {
    async fn log_in(&self, _door: &LoginDoor<'_>) -> Result<HeaderMap, LoginError> {
        Ok(self.headers.clone())
    }

    fn can_log_in_again(&self) -> bool {
        false
    }
}

impl fmt::Debug for FixedHeaders {
    // Without the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.keys().collect();
        f.debug_struct("FixedHeaders")
            .field("names", &names)
            .finish_non_exhaustive()
    }
}
