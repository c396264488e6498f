use std::fmt;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use url::Url;

use super::LoginError;
use crate::FetchError;
use crate::source::http::{Session, Wire};

/// How large an answer to a login may be, in bytes: a login page with all that is in it.
const MAX_ANSWER: usize = 1 << 20;

/// Where an [`Authenticator`](super::Authenticator) knocks: sends requests to the one origin that it logs
/// in at, within the source's limits. Cookies that answers set are kept for what follows. Redirects are
/// not followed.
pub struct LoginDoor<'a> {
    wire: &'a Wire,
    origin: &'a Url,
    session: &'a Session,
}

impl<'a> LoginDoor<'a> {
    pub(crate) fn new(wire: &'a Wire, origin: &'a Url, session: &'a Session) -> Self {
        Self {
            wire,
            origin,
            session,
        }
    }

    /// Sends a request: to a path, or to a URL at the origin that is logged in at.
    ///
    /// # Errors
    ///
    /// [`LoginError::Fetch`] when there is no answer, or it is larger than a mebibyte, and
    /// [`LoginError::Elsewhere`] when the URL is at another origin. Any status is an answer, except 429 and
    /// 503, whose `Retry-After` is obeyed so.
    ///
    /// # Cancel safety
    ///
    /// The server may have seen the request when the future is dropped.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, LoginError> {
        let (head, body) = request.into_parts();
        let url = self.url(&head.uri.to_string())?;
        let sent = self
            .wire
            .send(head.method, &url, head.headers, body, self.session);
        let response = sent.await?;
        let (status, headers) = (response.status(), response.headers().clone());
        if matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            let body = self.wire.beginning(response).await;
            return Err(FetchError::status(status.as_u16(), &headers, &body).into());
        }
        let body = self.wire.read(response, MAX_ANSWER).await?;
        let mut answer = Response::new(body);
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        Ok(answer)
    }

    /// Where a path, or a URL, is asked for.
    ///
    /// # Errors
    ///
    /// When that is at another origin.
    pub fn url(&self, reference: &str) -> Result<Url, LoginError> {
        let origins = &self.wire.settings.origins;
        let url = self.origin.join(reference).ok();
        let reached = url.and_then(|url| origins.reached(&url).ok());
        let own = reached.filter(|url| url.origin() == self.origin.origin());
        own.ok_or_else(|| LoginError::Elsewhere {
            url: reference.to_owned(),
            origin: self.origin.origin().ascii_serialization(),
        })
    }

    /// Whether an answer has set a cookie.
    pub fn has_cookies(&self) -> bool {
        self.session.has_cookies()
    }
}

impl fmt::Debug for LoginDoor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginDoor")
            .field("origin", &self.origin.origin().ascii_serialization())
            .finish_non_exhaustive()
    }
}
