//! Requests that are sent again while the EMR is away, by a session that is begun anew when it has ended.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
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
    pub(super) body: String,
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
    /// The EMR is away, or has failed: the same request may succeed later.
    Passing(anyhow::Error),
    /// The EMR will have none of it.
    Final(anyhow::Error),
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        Self::Passing(error.into())
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
        let mut delay = FIRST_DELAY;
        loop {
            let error = match self.attempt(ask).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Final(error)) => {
                    return Err(error.context(format!("{ask} at {}", self.base)));
                }
                Err(Failure::Passing(error)) => error,
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
                _ if status.is_server_error() => Err(Failure::Passing(refused())),
                _ if status.is_success() => Ok(Answer { status, body }),
                StatusCode::NOT_FOUND if ask.method == Method::GET => Ok(Answer { status, body }),
                _ => Err(Failure::Final(refused())),
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
            None if status.is_server_error() => Err(Failure::Passing(anyhow!(
                "signing in as {USER}: the EMR answered {status}"
            ))),
            None => Err(Failure::Final(anyhow!(
                "signing in as {USER}: the EMR answered {status}, and gave no session; is the \
                 password right?"
            ))),
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
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::Router;
    use axum::response::IntoResponse;
    use tokio::net::TcpListener;

    use super::*;
    use crate::hospital::emr::testing::TestEmr;

    fn ask() -> Ask {
        Ask {
            method: Method::GET,
            path: "/openmrs/ws/atomfeed/patient/recent".to_owned(),
            kind: "text/plain",
            body: String::new(),
            limit: Duration::from_secs(60),
        }
    }

    /// An EMR that answers 503 so many times, and then lets everybody in.
    async fn often_away(times: u32) -> (Sender, Arc<AtomicU32>) {
        let asked = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&asked);
        let app: Router = Router::new().fallback(move || {
            let before = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                if before < times {
                    return StatusCode::SERVICE_UNAVAILABLE.into_response();
                }
                let cookie = [(SET_COOKIE, "JSESSIONID=1; Path=/")];
                (cookie, "here").into_response()
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let client = Sender::new(address.parse().unwrap()).unwrap();
        (client, asked)
    }

    #[tokio::test]
    async fn who_is_away_is_asked_again() {
        let (client, asked) = often_away(3).await;
        assert!(client.send(&ask()).await.is_ok());
        // Away three times, one login, one answer.
        assert_eq!(asked.load(Ordering::Relaxed), 5);
    }

    #[tokio::test]
    async fn patience_comes_to_an_end() {
        let (client, asked) = often_away(u32::MAX).await;
        let client = client.with_patience(Duration::ZERO);
        let error = client.send(&ask()).await.err().unwrap();
        assert!(format!("{error:#}").contains("503"), "{error:#}");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_session_that_has_ended_is_begun_anew() {
        let emr = TestEmr::start().await;
        let client = Sender::new(emr.url("/")).unwrap();
        let cookie = client.cookie(None).await.ok().unwrap();
        assert_eq!(client.cookie(None).await.ok().unwrap(), cookie);
        let session = emr.url("/openmrs/ws/rest/v1/session");
        let end = emr.http.delete(session).header(COOKIE, &cookie).send();
        assert_eq!(end.await.unwrap().status(), 204);

        let answer = client.send(&ask()).await.unwrap();
        assert_eq!(answer.status, 200);
        assert_ne!(client.cookie(None).await.ok().unwrap(), cookie);
    }
}
