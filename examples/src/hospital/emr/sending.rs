//! Requests that are sent again while the EMR is away, by a session that is begun anew when it has ended.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use axum::body::Bytes;
use reqwest::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use reqwest::{Client, Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use url::Url;

use crate::hospital::feeds::{PASSWORD, USER};

/// The first delay before a request is sent again; then it is twice as long, and so on.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// A request at which the EMR fails so often is not sent again: it is the request.
const MOST_FAILURES: u32 = 3;

/// How long the EMR may take to let somebody in.
const A_LOGIN: Duration = Duration::from_secs(30);

/// Sends requests to the EMR. Clones share the session.
#[derive(Clone)]
pub(super) struct Sender {
    http: Client,
    base: Url,
    patience: Duration,
    session: Arc<Mutex<Option<String>>>,
}

/// A request that may be sent again.
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) path: String,
    /// Of the body.
    pub(super) kind: &'static str,
    pub(super) body: Bytes,
    /// How long an answer may take.
    pub(super) limit: Duration,
}

/// What the EMR has answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    body: String,
}

impl Answer {
    pub(super) fn json<T: DeserializeOwned>(&self, ask: &Ask) -> anyhow::Result<T> {
        serde_json::from_str(&self.body).with_context(|| format!("reading the answer to {ask}"))
    }
}

/// Why there is no answer.
enum Failure {
    /// The EMR is away or busy: the same request will be answered when it is back.
    Away(anyhow::Error),
    /// The EMR has failed, and may do so each time.
    Failed(anyhow::Error),
    /// The EMR will have none of it.
    Final(anyhow::Error),
}

impl Failure {
    /// By the status of an answer that is none.
    fn of(status: StatusCode, error: anyhow::Error) -> Self {
        match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Self::Away(error),
            StatusCode::INTERNAL_SERVER_ERROR => Self::Failed(error),
            _ => Self::Final(error),
        }
    }
}

/// There was no answer, or not all of it.
impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        match error.is_builder() || error.is_redirect() {
            true => Self::Final(error.into()),
            false => Self::Away(error.into()),
        }
    }
}

impl Sender {
    pub(super) fn new(base: Url) -> anyhow::Result<Self> {
        // Fails when there is one already, and that is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(5));
        if base.scheme() == "http" {
            // A machine without certificates speaks plain HTTP all the same.
            http = http.tls_certs_only([]);
        }
        Ok(Self {
            http: http.build().context("making an HTTP client")?,
            base,
            patience: Duration::from_secs(60),
            session: Arc::default(),
        })
    }

    pub(super) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Sends a request until it is answered, or patience is at its end.
    pub(super) async fn send(&self, ask: &Ask) -> anyhow::Result<Answer> {
        let begun = Instant::now();
        let (mut delay, mut failures) = (FIRST_DELAY, 0);
        loop {
            let error = match self.attempt(ask).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Final(error)) => {
                    return Err(error.context(format!("{ask} at {}", self.base)));
                }
                Err(Failure::Failed(error)) => {
                    failures += 1;
                    if failures == MOST_FAILURES {
                        return Err(error.context(format!(
                            "{ask} at {}: given up after {failures} failures",
                            self.base
                        )));
                    }
                    error
                }
                Err(Failure::Away(error)) => error,
            };
            if begun.elapsed() + delay > self.patience {
                return Err(error.context(format!(
                    "{ask} at {}: given up after {:?}",
                    self.base, self.patience
                )));
            }
            tracing::debug!(error = format!("{error:#}"), "{ask} is sent again");
            tokio::time::sleep(delay).await;
            delay = LONGEST_DELAY.min(delay * 2);
        }
    }

    /// Sends a request once; a second time when the session has ended.
    async fn attempt(&self, ask: &Ask) -> Result<Answer, Failure> {
        let mut ended = None;
        loop {
            let cookie = self.cookie(ended.as_deref()).await?;
            let request = self.http.request(ask.method.clone(), self.url(&ask.path)?);
            let request = request
                .header(COOKIE, &cookie)
                .header(CONTENT_TYPE, ask.kind)
                .timeout(ask.limit)
                .body(ask.body.clone());
            let response = request.send().await?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED && ended.is_none() {
                ended = Some(cookie);
                continue;
            }
            let body = response.text().await?;
            let refused = || anyhow!("the EMR answered {status}: {body}");
            return match status {
                _ if status.is_success() => Ok(Answer { status, body }),
                StatusCode::NOT_FOUND if ask.method == Method::GET => Ok(Answer { status, body }),
                _ => Err(Failure::of(status, refused())),
            };
        }
    }

    /// The cookie of the session; of a new one where this one `ended`. Who comes while somebody signs in waits
    /// for that.
    async fn cookie(&self, ended: Option<&str>) -> Result<String, Failure> {
        let mut session = self.session.lock().await;
        if let Some(cookie) = session.as_deref().filter(|cookie| Some(*cookie) != ended) {
            return Ok(cookie.to_owned());
        }
        let cookie = self.sign_in().await?;
        *session = Some(cookie.clone());
        Ok(cookie)
    }

    async fn sign_in(&self) -> Result<String, Failure> {
        let request = self.http.get(self.url("/openmrs/ws/rest/v1/session")?);
        let request = request.basic_auth(USER, Some(PASSWORD)).timeout(A_LOGIN);
        let response = request.send().await?;
        let status = response.status();
        match session_of(&response) {
            Some(cookie) => Ok(cookie),
            None if status.is_success() => Err(Failure::Final(anyhow!(
                "signing in as {USER}: the EMR answered {status}, and gave no session; is the \
                 password right?"
            ))),
            None => Err(Failure::of(
                status,
                anyhow!("signing in as {USER}: the EMR answered {status}"),
            )),
        }
    }

    fn url(&self, path: &str) -> Result<Url, Failure> {
        let url = self.base.join(path);
        url.map_err(|error| Failure::Final(error.into()))
    }
}

/// The cookie of a session that has begun.
fn session_of(response: &Response) -> Option<String> {
    let lines = response.headers().get_all(SET_COOKIE).iter();
    let mut cookies = lines.filter_map(|line| line.to_str().ok()?.split(';').next());
    let cookie = cookies.find(|cookie| cookie.starts_with("JSESSIONID="));
    cookie.map(str::to_owned)
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// Without the session.
impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("base", &self.base.as_str())
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
