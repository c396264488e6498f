use std::fmt;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::{Authenticator, LoginDoor, LoginError};

/// User and password with each request (RFC 7617).
///
/// ```
/// use atomfeed_client::{BasicAuth, FeedUri, HttpFeedSource};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let feed: FeedUri = "http://emr:8050/feed/recent".parse()?;
/// let login = BasicAuth::new("atomfeed", "secret");
/// let source = HttpFeedSource::builder(&feed).with_login(login).build()?;
/// # let _ = source;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct BasicAuth {
    user: String,
    password: String,
}

impl BasicAuth {
    /// A user, in whose name there is no colon, and a password.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            password: password.into(),
        }
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }

    pub(super) fn password(&self) -> &str {
        &self.password
    }

    pub(super) fn header(&self) -> Result<HeaderValue, LoginError> {
        if self.user.contains(':') {
            return Err(LoginError::ColonInUser {
                user: self.user.clone(),
            });
        }
        let pair = STANDARD.encode(format!("{}:{}", self.user, self.password));
        HeaderValue::try_from(format!("Basic {pair}")).map_err(|_| LoginError::Unusable {
            what: "user or password",
        })
    }
}

#[async_trait]
impl Authenticator for BasicAuth {
    async fn log_in(&self, _door: &LoginDoor<'_>) -> Result<HeaderMap, LoginError> {
        Ok(HeaderMap::from_iter([(AUTHORIZATION, self.header()?)]))
    }

    fn can_log_in_again(&self) -> bool {
        false
    }
}

impl fmt::Debug for BasicAuth {
    // Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BasicAuth")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
