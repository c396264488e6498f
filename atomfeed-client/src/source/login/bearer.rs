use std::error::Error;
use std::fmt;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::{Authenticator, LoginDoor, LoginError};

type Token = Result<String, Box<dyn Error + Send + Sync>>;

/// A token with each request (RFC 6750).
///
/// One that ends is best given by a function, which is called before the first request and when the
/// server does not take the last token any more:
///
/// ```
/// use atomfeed_client::{BearerToken, FeedUri, HttpFeedSource};
///
/// # async fn ask_for_token() -> Result<String, std::io::Error> { Ok("token".to_owned()) }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let feed: FeedUri = "https://emr.example.org/feed/recent".parse()?;
/// let login = BearerToken::from_fn(|| async { Ok(ask_for_token().await?) });
/// let source = HttpFeedSource::builder(&feed).with_login(login);
///
/// let fixed = HttpFeedSource::builder(&feed).with_login(BearerToken::new("token"));
/// # Ok(())
/// # }
/// ```
pub struct BearerToken {
    source: Source,
}

enum Source {
    Fixed(String),
    Asked(Box<dyn Fn() -> BoxFuture<'static, Token> + Send + Sync>),
}

impl BearerToken {
    /// A token that stays.
    pub fn new(token: impl Into<String>) -> Self {
        Self {
            source: Source::Fixed(token.into()),
        }
    }

    /// Tokens that a function gives, each until it ends. Its errors must not show one.
    pub fn from_fn<F, T>(token: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Token> + Send + 'static,
    {
        Self {
            source: Source::Asked(Box::new(move || token().boxed())),
        }
    }
}

#[async_trait]
impl Authenticator for BearerToken {
    async fn log_in(&self, _door: &LoginDoor<'_>) -> Result<HeaderMap, LoginError> {
        let token = match &self.source {
            Source::Fixed(token) => token.clone(),
            Source::Asked(token) => token().await.map_err(LoginError::Other)?,
        };
        let value = HeaderValue::try_from(format!("Bearer {}", token.trim()));
        let value = value.map_err(|_| LoginError::Unusable { what: "the token" })?;
        Ok(HeaderMap::from_iter([(AUTHORIZATION, value)]))
    }

    fn can_log_in_again(&self) -> bool {
        matches!(self.source, Source::Asked(_))
    }
}

impl fmt::Debug for BearerToken {
    // Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerToken").finish_non_exhaustive()
    }
}
