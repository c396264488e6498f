use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, Request, StatusCode};
use serde::Deserialize;

use super::{AnswerHead, Authenticator, BasicAuth, LoginDoor, LoginError};

/// A session of OpenMRS: user and password once, at its session resource, and from then on the cookie
/// (`JSESSIONID`) that comes of it.
///
/// OpenMRS answers a wrong password with 200 and `{"authenticated": false}`; that is an error here. When a
/// session ends, by 401 or 403 or being sent to the login page, it logs in again.
///
/// ```
/// use atomfeed_client::{FeedUri, HttpFeedSource, OpenMrsSession};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let feed: FeedUri = "http://emr:8050/openmrs/ws/atomfeed/patient/recent".parse()?;
/// let login = OpenMrsSession::new("/openmrs/ws/rest/v1/session", "atomfeed", "secret");
/// let source = HttpFeedSource::builder(&feed).with_login(login).build()?;
/// # let _ = source;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct OpenMrsSession {
    auth_uri: String,
    login: BasicAuth,
}

#[derive(Deserialize)]
struct Said {
    authenticated: bool,
}

impl OpenMrsSession {
    /// A session of a user, from the session resource: its path, or a URL at the origin that is logged in
    /// at.
    pub fn new(
        auth_uri: impl Into<String>,
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Self {
        Self {
            auth_uri: auth_uri.into(),
            login: BasicAuth::new(user, password),
        }
    }

    fn refused(&self) -> LoginError {
        LoginError::Refused {
            user: self.login.user().to_owned(),
        }
    }
}

#[async_trait]
impl Authenticator for OpenMrsSession {
    async fn log_in(&self, door: &LoginDoor<'_>) -> Result<HeaderMap, LoginError> {
        let request = Request::get(door.url(&self.auth_uri)?.as_str())
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, self.login.header()?)
            .body(Bytes::new())
            .map_err(LoginError::other)?;
        let answer = door.send(request).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(self.refused()),
            StatusCode::NO_CONTENT => {
                return Err(LoginError::SecondFactor {
                    user: self.login.user().to_owned(),
                });
            }
            status => return Err(LoginError::answered(status.as_u16())),
        }
        match serde_json::from_slice(answer.body()) {
            Ok(Said {
                authenticated: false,
            }) => Err(self.refused()),
            Ok(_) if door.has_cookies() => Ok(HeaderMap::new()),
            Ok(_) => Err(LoginError::NoSession),
            // Some other page, with status 200.
            Err(_) => Err(LoginError::answered(answer.status().as_u16())),
        }
    }

    fn is_refused(&self, answer: &AnswerHead<'_>) -> bool {
        answer.is_denied() || answer.redirects_to_path_with("login")
    }
}
