//! The lab's login, by a form and a session as OpenELIS has them: whoever has no session is sent to the
//! login page.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::{COOKIE, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use url::form_urlencoded;
use uuid::Uuid;

use crate::hospital::feeds::{PASSWORD, USER};

const VALIDATE: &str = "/openelis/ValidateLogin.do";
const LOGIN_PAGE: &str = "/openelis/LoginPage.do";
const DASHBOARD: &str = "/openelis/Dashboard.do";

/// How many sessions there are at most; then the one that was used longest ago ends.
const MOST: usize = 1_000;

/// How long a session lasts that is not used.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// Sends whoever asks for something without a session to the login.
pub(super) fn behind_login(app: Router) -> Router {
    let sessions = Sessions::new(MOST, IDLE);
    let guard = from_fn_with_state(sessions.clone(), who_is_in);
    let door: Router = Router::new()
        .route(VALIDATE, post(validate))
        .route(LOGIN_PAGE, get(login_page))
        .with_state(sessions);
    app.route(DASHBOARD, get(dashboard))
        .route_layer(guard)
        .merge(door)
}

async fn who_is_in(State(sessions): State<Sessions>, request: Request, next: Next) -> Response {
    match sessions.admits(request.headers()) {
        true => next.run(request).await,
        false => send_to(LOGIN_PAGE),
    }
}

async fn validate(State(sessions): State<Sessions>, form: Bytes) -> Response {
    let field = |name: &str| {
        let mut fields = form_urlencoded::parse(&form);
        let found = fields.find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned())
    };
    let is_user = field("loginName").as_deref() == Some(USER);
    let is_password = field("password").as_deref() == Some(PASSWORD);
    if !is_user || !is_password {
        return send_to(LOGIN_PAGE);
    }
    let session = sessions.open();
    let cookie = format!("JSESSIONID={session}; Path=/openelis; HttpOnly; SameSite=Strict");
    ([(SET_COOKIE, cookie)], send_to(DASHBOARD)).into_response()
}

fn send_to(path: &'static str) -> Response {
    (StatusCode::FOUND, [(LOCATION, path)]).into_response()
}

async fn login_page() -> Html<&'static str> {
    Html(
        "<!doctype html><html lang=\"en\"><title>OpenELIS</title>\
         <form method=\"post\" action=\"/openelis/ValidateLogin.do\">\
         <label>User <input name=\"loginName\"></label> \
         <label>Password <input name=\"password\" type=\"password\"></label> \
         <button>Sign in</button></form></html>\n",
    )
}

async fn dashboard() -> Html<&'static str> {
    Html(
        "<!doctype html><html lang=\"en\"><title>OpenELIS</title>\
         <p>You are signed in to the lab.</p></html>\n",
    )
}

/// Who has signed in, and when each was seen last.
#[derive(Clone)]
struct Sessions {
    open: Arc<Mutex<HashMap<String, Instant>>>,
    most: usize,
    idle: Duration,
}

impl Sessions {
    fn new(most: usize, idle: Duration) -> Self {
        Self {
            open: Arc::default(),
            most,
            idle,
        }
    }

    /// Begins a session, for which others may have to end.
    fn open(&self) -> String {
        let session = Uuid::new_v4().simple().to_string();
        let mut open = self.lock();
        open.retain(|_, seen| seen.elapsed() < self.idle);
        if open.len() >= self.most {
            let oldest = open.iter().min_by_key(|(_, seen)| **seen);
            if let Some(oldest) = oldest.map(|(session, _)| session.clone()) {
                open.remove(&oldest);
            }
        }
        open.insert(session.clone(), Instant::now());
        session
    }

    /// Whether a request has the cookie of a session that has not ended.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let lines = headers.get_all(COOKIE).iter();
        let cookies = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'));
        let mut sessions = cookies.filter_map(|cookie| cookie.trim().strip_prefix("JSESSIONID="));
        sessions.any(|session| self.is_open(session))
    }

    fn is_open(&self, session: &str) -> bool {
        match self.lock().get_mut(session) {
            Some(seen) if seen.elapsed() < self.idle => {
                *seen = Instant::now();
                true
            }
            _ => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use atomfeed_client::{FetchError, FormLogin, HttpFeedSource, Resources};
    use url::Url;

    use super::*;
    use crate::hospital::feeds::Feeds;
    use crate::hospital::lab::fixture::{browser, serve};

    const RESOURCE: &str = "/openelis/ws/rest/thing";

    async fn lab() -> Url {
        let app = Router::new().route(RESOURCE, get(|| async { "a thing" }));
        serve(behind_login(app)).await
    }

    /// Fills in the form, and gives where that leads, and the cookie.
    async fn sign_in(lab: &Url, form: String) -> (String, Option<String>) {
        let url = lab.join(VALIDATE).unwrap();
        let request = browser()
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(form).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 302);
        let header = |name: &str| {
            let value = answer.headers().get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        (header("location").unwrap(), header("set-cookie"))
    }

    #[tokio::test]
    async fn a_session_lets_in_and_nothing_else_does() {
        let lab = lab().await;
        let get = async |path: &str, cookie: &str| {
            let request = browser().get(lab.join(path).unwrap());
            let answer = request.header("cookie", cookie).send().await.unwrap();
            let location = answer.headers().get("location");
            let location = location.map(|value| value.to_str().unwrap().to_owned());
            (answer.status().as_u16(), location)
        };
        let sent_away = (302, Some(LOGIN_PAGE.to_owned()));
        for path in [RESOURCE, DASHBOARD] {
            assert_eq!(get(path, "JSESSIONID=made-up; a=b").await, sent_away);
        }
        assert_eq!(get(LOGIN_PAGE, "a=b").await, (200, None));

        let right = format!("loginName={USER}&password={PASSWORD}");
        let (leads_to, cookie) = sign_in(&lab, right).await;
        assert_eq!(leads_to, DASHBOARD);
        let cookie = cookie.unwrap();
        let session = cookie.split(';').next().unwrap();
        assert!(session.starts_with("JSESSIONID="), "{cookie}");
        for path in [RESOURCE, DASHBOARD] {
            let answer = get(path, &format!("a=b; {session}")).await;
            assert_eq!(answer, (200, None), "{path}");
        }

        for wrong in [
            format!("loginName={USER}&password=wrong"),
            format!("loginName=somebody&password={PASSWORD}"),
            String::new(),
        ] {
            let answer = sign_in(&lab, wrong).await;
            assert_eq!(answer, (LOGIN_PAGE.to_owned(), None));
        }
    }

    #[tokio::test]
    async fn a_consumer_gets_in_by_its_form_login() {
        let lab = lab().await;
        let url = lab.join(RESOURCE).unwrap();
        let resources = Feeds::of_lab(&lab).unwrap().resources();
        let thing = resources.get(&url).await.unwrap();
        assert_eq!(thing.text().unwrap(), "a thing");

        let refused = with_password(&lab, "wrong").get(&url).await.unwrap_err();
        assert!(matches!(refused, FetchError::Login { .. }), "{refused:?}");
    }

    fn with_password(lab: &Url, password: &str) -> Resources {
        let feed = lab.join("/openelis/ws/feed/patient/recent").unwrap();
        let source = HttpFeedSource::builder(&feed.as_str().parse().unwrap());
        let login = FormLogin::new(VALIDATE, USER, password);
        source.with_login(login).build().unwrap().resources()
    }

    fn admits(sessions: &Sessions, session: &str) -> bool {
        let mut headers = HeaderMap::new();
        let cookie = format!("JSESSIONID={session}");
        headers.insert(COOKIE, cookie.parse().unwrap());
        sessions.admits(&headers)
    }

    #[test]
    fn sessions_are_bounded_in_number_and_time() {
        let sessions = Sessions::new(2, IDLE);
        for _ in 0..5 {
            let session = sessions.open();
            assert!(admits(&sessions, &session));
        }
        assert_eq!(sessions.lock().len(), 2);

        let sessions = Sessions::new(2, Duration::ZERO);
        let session = sessions.open();
        assert!(!admits(&sessions, &session));
        sessions.open();
        assert_eq!(sessions.lock().len(), 1);
    }
}
