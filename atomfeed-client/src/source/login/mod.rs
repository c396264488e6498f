//! Getting in: who a source says it is, and what to do when the server wants to know again.

mod answer;
mod basic;
mod bearer;
mod door;
mod error;
mod fixed;
mod form;
mod openmrs;

use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;

pub use answer::AnswerHead;
pub use basic::BasicAuth;
pub use bearer::BearerToken;
pub use door::LoginDoor;
pub use error::LoginError;
pub use fixed::FixedHeaders;
pub use form::FormLogin;
pub use openmrs::OpenMrsSession;

/// Gets in at a server: [`BasicAuth`], [`BearerToken`], [`FixedHeaders`], [`OpenMrsSession`], [`FormLogin`],
/// or one of one's own.
///
/// A source asks it before the first request to an origin, and again when an answer
/// [says](Self::is_refused) that the session is over: once, however many requests that meets, each of
/// which is then sent again. A login that fails fails all that wait for it, and is not tried again at
/// once: after one second at first and 60 at last where the server [could not be asked](LoginError::Fetch), is
/// busy (408, 429, 5xx), or an authenticator of one's own [failed](LoginError::Other). After everything else
/// the password may have been refused, and too many refusals lock the account: then it is 30 seconds, and 15
/// minutes. It is by chance up to twice as long, and no earlier than the server asks.
///
/// ```
/// use async_trait::async_trait;
/// use atomfeed_client::{Authenticator, LoginDoor, LoginError};
/// use bytes::Bytes;
/// use http::{HeaderMap, HeaderValue, Request, header::AUTHORIZATION};
///
/// /// A server that gives a token for a key.
/// struct Tokens {
///     key: String,
/// }
///
/// #[async_trait]
/// impl Authenticator for Tokens {
///     async fn log_in(&self, door: &LoginDoor<'_>) -> Result<HeaderMap, LoginError> {
///         let request = Request::post("/api/token").body(Bytes::from(self.key.clone()));
///         let answer = door.send(request.map_err(LoginError::other)?).await?;
///         if answer.status() != 200 {
///             return Err(LoginError::answered(answer.status().as_u16()));
///         }
///         let token = String::from_utf8_lossy(answer.body());
///         let header = HeaderValue::try_from(format!("Bearer {token}"));
///         let header = header.map_err(LoginError::other)?;
///         Ok(HeaderMap::from_iter([(AUTHORIZATION, header)]))
///     }
/// }
/// ```
#[async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// Logs in. What it returns is sent with each request from then on, as are the cookies that came by
    /// the [door](LoginDoor). Neither is shown anywhere, whatever it is.
    ///
    /// # Errors
    ///
    /// When it does not get in.
    ///
    /// # Cancel safety
    ///
    /// The future runs in a task of its own, also when what it was for is not waited for any more: what the
    /// server says is to be known to whoever comes next. It is dropped when the program ends, and when it
    /// takes longer than [a page may](crate::HttpFeedSourceBuilder::with_total_timeout) and than connecting
    /// and one answer may.
    async fn log_in(&self, door: &LoginDoor<'_>) -> Result<HeaderMap, LoginError>;

    /// Whether an answer says that the request was not let in: 401 and 403, unless it is written
    /// otherwise. A server may as well send its login page, or there.
    fn is_refused(&self, answer: &AnswerHead<'_>) -> bool {
        answer.is_denied()
    }

    /// Whether another login may get another answer; not where it would give the same again.
    fn can_log_in_again(&self) -> bool {
        true
    }
}

/// One that is chosen when the program runs, or shared.
#[async_trait]
impl<A: Authenticator + ?Sized> Authenticator for Arc<A> {
    async fn log_in(&self, door: &LoginDoor<'_>) -> Result<HeaderMap, LoginError> {
        (**self).log_in(door).await
    }

    fn is_refused(&self, answer: &AnswerHead<'_>) -> bool {
        (**self).is_refused(answer)
    }

    fn can_log_in_again(&self) -> bool {
        (**self).can_log_in_again()
    }
}
