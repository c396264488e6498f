use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pin_project_lite::pin_project;
use subtle::{Choice, ConstantTimeEq};
use tower_layer::Layer;
use tower_service::Service;

/// Admits requests with one of several credentials to any [`axum::Router`], as a [`Layer`]: HTTP Basic
/// (RFC 7617) and bearer tokens (RFC 6750).
///
/// It is for those who have nothing of the kind. Where the application knows its users already, by a
/// session or behind a proxy that does, its own middleware takes this one's place: the feed is a router
/// like any other.
///
/// All others are answered 401, with a challenge for each scheme in use, and counted as
/// `atomfeed_http_refused_total`, `reason` `credentials`. What was sent is compared in constant time
/// with every credential of its scheme, whichever of them matches; only its length shows. The header
/// stays on the request, so that answers are not cached for others. Credentials need TLS on the way,
/// from a proxy in front for instance.
///
/// ```
/// use atomfeed_core::store::MemoryStore;
/// use atomfeed_server::{EventFeedService, FeedConfig, FeedRouter, RequireCredentials};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (password, token) = ("a password", "a-token".to_owned());
/// let config = FeedConfig::new("https://emr.example.org/feed".parse()?);
/// let service = EventFeedService::open(MemoryStore::new(), config).await?;
/// let guard = RequireCredentials::basic("lab", password)?.or_bearer(token)?.with_realm("EMR");
/// let app = axum::Router::new().nest("/feed", FeedRouter::new(service).into_router().layer(guard));
/// # let _: axum::Router = app;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RequireCredentials {
    required: Arc<Required>,
}

#[derive(Clone, Default)]
struct Required {
    /// As they stand behind the scheme's name.
    basic: Vec<Box<[u8]>>,
    bearer: Vec<Box<[u8]>>,
    realm: Option<String>,
}

impl RequireCredentials {
    /// Admits who names this user and password.
    ///
    /// # Errors
    ///
    /// When there is no password, when there is a colon in the user's name, which Basic cannot carry,
    /// or a control character in either.
    pub fn basic(
        user: impl AsRef<str>,
        password: impl AsRef<str>,
    ) -> Result<Self, InvalidCredentials> {
        Self::nobody().or_basic(user, password)
    }

    /// Admits who has this token.
    ///
    /// # Errors
    ///
    /// When it is no token as RFC 6750 §2.1 has it: one or more letters, digits or `-._~+/`, and `=` at
    /// the end.
    pub fn bearer(token: impl AsRef<str>) -> Result<Self, InvalidCredentials> {
        Self::nobody().or_bearer(token)
    }

    fn nobody() -> Self {
        Self {
            required: Arc::default(),
        }
    }

    /// Admits another user, too.
    ///
    /// # Errors
    ///
    /// As [`basic`](Self::basic).
    pub fn or_basic(
        mut self,
        user: impl AsRef<str>,
        password: impl AsRef<str>,
    ) -> Result<Self, InvalidCredentials> {
        let (user, password) = (user.as_ref(), password.as_ref());
        if password.is_empty() {
            return Err(InvalidCredentials::NoPassword);
        }
        if user.contains(':')
            || [user, password]
                .iter()
                .any(|it| it.contains(char::is_control))
        {
            return Err(InvalidCredentials::User);
        }
        let sent = STANDARD.encode(format!("{user}:{password}"));
        Arc::make_mut(&mut self.required)
            .basic
            .push(sent.into_bytes().into());
        Ok(self)
    }

    /// Admits another token, too.
    ///
    /// # Errors
    ///
    /// As [`bearer`](Self::bearer).
    pub fn or_bearer(mut self, token: impl AsRef<str>) -> Result<Self, InvalidCredentials> {
        let token = token.as_ref();
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        let letters = token.trim_end_matches('=');
        if letters.is_empty() || !letters.bytes().all(is_letter) {
            return Err(InvalidCredentials::Token);
        }
        Arc::make_mut(&mut self.required)
            .bearer
            .push(token.as_bytes().into());
        Ok(self)
    }

    /// Calls what is guarded by this name, for people whom a browser asks for a password: `atomfeed`
    /// unless set. What is no printable ASCII becomes `?`.
    #[must_use]
    pub fn with_realm(mut self, realm: &str) -> Self {
        Arc::make_mut(&mut self.required).realm = Some(realm.to_owned());
        self
    }
}

impl Required {
    fn admit(&self, headers: &HeaderMap) -> bool {
        let mut lines = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return false;
        };
        let line = line.as_bytes();
        let Some(space) = line.iter().position(|byte| *byte == b' ') else {
            return false;
        };
        let (scheme, sent) = (&line[..space], line[space..].trim_ascii());
        let known = match scheme {
            scheme if scheme.eq_ignore_ascii_case(b"basic") => &self.basic,
            scheme if scheme.eq_ignore_ascii_case(b"bearer") => &self.bearer,
            _ => return false,
        };
        let mut is_known = Choice::from(0);
        for one in known {
            is_known |= one.ct_eq(sent);
        }
        is_known.into()
    }

    fn refusal(&self) -> Response {
        let text = match (self.basic.is_empty(), self.bearer.is_empty()) {
            (false, true) => "a user and a password",
            (true, _) => "a bearer token",
            (false, false) => "a user and a password, or a bearer token,",
        };
        let text = format!(
            "send {text} in the header Authorization; who runs this server can tell you yours\n"
        );
        let mut response = (StatusCode::UNAUTHORIZED, text).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let realm = quoted(self.realm.as_deref().unwrap_or("atomfeed"));
        let challenges = [
            (
                &self.basic,
                format!("Basic realm={realm}, charset=\"UTF-8\""),
            ),
            (&self.bearer, format!("Bearer realm={realm}")),
        ];
        for (known, challenge) in challenges {
            if !known.is_empty()
                && let Ok(challenge) = challenge.try_into()
            {
                headers.append(header::WWW_AUTHENTICATE, challenge);
            }
        }
        response
    }
}

/// A text as a quoted string (RFC 9110 §5.6.4).
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            ' '..='~' => quoted.push(letter),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    quoted
}

impl fmt::Debug for RequireCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireCredentials")
            .field("basic", &self.required.basic.len())
            .field("bearer", &self.required.bearer.len())
            .field("realm", &self.required.realm)
            .finish()
    }
}

/// Credentials that no request could carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCredentials {
    /// A password that is empty, as that of a setting that is missing.
    #[error("admitting a user without a password: give one that is not empty")]
    NoPassword,
    /// A user's name with a colon, or a control character there or in the password.
    #[error(
        "admitting a user: HTTP Basic carries no colon in the name, and no control characters; \
         leave them out"
    )]
    User,
    /// A token that is empty, or has other characters.
    #[error(
        "admitting a bearer token: give one or more letters, digits or -._~+/ (= at the end), \
         such as base64 of 32 random bytes"
    )]
    Token,
}

impl<S> Layer<S> for RequireCredentials {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            inner,
            required: Arc::clone(&self.required),
        }
    }
}

/// A service behind [`RequireCredentials`].
#[derive(Clone)]
pub struct Guarded<S> {
    inner: S,
    required: Arc<Required>,
}

impl<S> fmt::Debug for Guarded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").finish_non_exhaustive()
    }
}

impl<S, B> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = GuardedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if self.required.admit(request.headers()) {
            return GuardedFuture {
                admitted: Some(self.inner.call(request)),
                refusal: None,
            };
        }
        metrics::counter!("atomfeed_http_refused_total", "reason" => "credentials").increment(1);
        GuardedFuture {
            admitted: None,
            refusal: Some(self.required.refusal()),
        }
    }
}

pin_project! {
    /// The answer of a [`Guarded`] service.
    pub struct GuardedFuture<F> {
        #[pin]
        admitted: Option<F>,
        refusal: Option<Response>,
    }
}

impl<F> fmt::Debug for GuardedFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedFuture").finish_non_exhaustive()
    }
}

impl<F, E> Future for GuardedFuture<F>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.admitted.as_pin_mut() {
            Some(admitted) => admitted.poll(cx),
            // Polled again after its end, as nobody does, it stays there.
            None => this
                .refusal
                .take()
                .map_or(Poll::Pending, |refusal| Poll::Ready(Ok(refusal))),
        }
    }
}
