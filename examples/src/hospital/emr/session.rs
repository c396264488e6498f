//! A login as that of OpenMRS: user and password once, at the session resource, and from then on a cookie.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use atomfeed_server::{InvalidCredentials, RequireCredentials};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use serde_json::json;
use uuid::Uuid;

use super::answer::Json;
use crate::hospital::feeds::{PASSWORD, USER};

const SESSION: &str = "/openmrs/ws/rest/v1/session";

/// How long a session lasts that nobody uses.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// How many there may be at once: one more ends the one that has been idle longest.
const MOST: usize = 1_000;

/// Lets those in who name the user and the password, or have a session, which stands for both.
pub(super) fn behind_login(app: Router) -> Result<Router, InvalidCredentials> {
    let sessions = Sessions::default();
    let guard = RequireCredentials::basic(USER, PASSWORD)?.with_realm("OpenMRS");
    let by_session = from_fn_with_state(sessions.clone(), by_session);
    // What is added last comes first.
    let app = app.layer(guard.clone()).layer(by_session.clone());
    let begin: Router = Router::new()
        .route(SESSION, get(begin))
        .with_state(sessions.clone())
        .layer(guard)
        .layer(by_session)
        .layer(map_response(as_openmrs_says_it));
    let end: Router = Router::new()
        .route(SESSION, delete(end))
        .with_state(sessions);
    Ok(app.merge(begin).merge(end))
}

/// Gives a request of a session the credentials with which that began.
async fn by_session(
    State(sessions): State<Sessions>,
    mut request: Request,
    next: Next,
) -> Response {
    let headers = request.headers_mut();
    if !headers.contains_key(AUTHORIZATION)
        && let Some(credentials) = sessions.find(headers, Instant::now())
    {
        headers.insert(AUTHORIZATION, credentials);
    }
    next.run(request).await
}

/// Begins a session: who comes so far has been let in.
async fn begin(State(sessions): State<Sessions>, headers: HeaderMap) -> Response {
    let said = Json(json!({ "authenticated": true, "user": { "username": USER } }));
    let Some(credentials) = headers.get(AUTHORIZATION) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let id = sessions.begin(credentials.clone(), Instant::now());
    let cookie = format!("JSESSIONID={id}; Path=/openmrs; HttpOnly; SameSite=Strict");
    let headers = [(CACHE_CONTROL, "no-store".to_owned()), (SET_COOKIE, cookie)];
    (headers, said).into_response()
}

/// At the session resource, who is not let in is told so with status 200.
async fn as_openmrs_says_it(response: Response) -> Response {
    if response.status() != StatusCode::UNAUTHORIZED {
        return response;
    }
    let said = Json(json!({ "authenticated": false }));
    ([(CACHE_CONTROL, "no-store")], said).into_response()
}

async fn end(State(sessions): State<Sessions>, headers: HeaderMap) -> Response {
    sessions.end(&headers);
    let cookie = "JSESSIONID=; Path=/openmrs; Max-Age=0";
    (StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]).into_response()
}

/// Who has signed in, by the id of the session. A restart ends all of them.
#[derive(Clone, Default)]
struct Sessions(Arc<Mutex<HashMap<String, Session>>>);

struct Session {
    /// The header `Authorization` with which it began.
    credentials: HeaderValue,
    used: Instant,
}

impl Sessions {
    fn begin(&self, credentials: HeaderValue, now: Instant) -> String {
        let mut known = self.lock();
        known.retain(|_, session| now.duration_since(session.used) < IDLE);
        if known.len() >= MOST {
            let oldest = known.iter().min_by_key(|(_, session)| session.used);
            let oldest = oldest.map(|(id, _)| id.clone()).unwrap_or_default();
            known.remove(&oldest);
        }
        let id = Uuid::new_v4().simple().to_string();
        let used = now;
        known.insert(id.clone(), Session { credentials, used });
        id
    }

    /// What the session of a request stands for. It is in use then.
    fn find(&self, headers: &HeaderMap, now: Instant) -> Option<HeaderValue> {
        let mut known = self.lock();
        for id in ids(headers) {
            if let Some(session) = known.get_mut(id)
                && now.duration_since(session.used) < IDLE
            {
                session.used = now;
                return Some(session.credentials.clone());
            }
        }
        None
    }

    fn end(&self, headers: &HeaderMap) {
        let mut known = self.lock();
        for id in ids(headers) {
            known.remove(id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ids of sessions that a request has cookies of.
fn ids(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(COOKIE).iter();
    let cookies = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    cookies.filter_map(|cookie| cookie.trim().strip_prefix("JSESSIONID="))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::hospital::emr::testing::{TestEmr, patient};

    const FEED: &str = "/openmrs/ws/atomfeed/patient/recent";

    fn credentials() -> HeaderValue {
        HeaderValue::from_static("Basic Zm9vOmJhcg==")
    }

    fn cookie(id: &str) -> HeaderMap {
        let line = format!("theme=dark; JSESSIONID={id}").parse().unwrap();
        HeaderMap::from_iter([(COOKIE, line)])
    }

    #[test]
    fn a_session_ends_when_nobody_uses_it() {
        let sessions = Sessions::default();
        let begun = Instant::now();
        let id = sessions.begin(credentials(), begun);
        let found = |id: &str, now| sessions.find(&cookie(id), now);
        assert_eq!(found(&id, begun + IDLE / 2), Some(credentials()));
        assert_eq!(found(&id, begun + IDLE), Some(credentials()));
        assert_eq!(found(&id, begun + IDLE * 2), None);
        assert_eq!(found("another", begun), None);
        assert_eq!(sessions.find(&HeaderMap::new(), begun), None);
    }

    #[test]
    fn one_session_too_many_ends_the_oldest() {
        let sessions = Sessions::default();
        let begun = Instant::now();
        let moment = Duration::from_millis(1);
        let first = sessions.begin(credentials(), begun);
        let kept = sessions.begin(credentials(), begun + moment);
        for _ in 2..=MOST {
            sessions.begin(credentials(), begun + moment * 2);
        }
        assert_eq!(sessions.find(&cookie(&first), begun), None);
        assert!(sessions.find(&cookie(&kept), begun).is_some());
        assert_eq!(sessions.lock().len(), MOST);
    }

    #[tokio::test]
    async fn nobody_gets_in_without_a_login() {
        let emr = TestEmr::start().await;
        let asha = patient(1);
        emr.client.put_patient(&asha).await.unwrap();
        let patient = format!("/openmrs/ws/rest/v1/patient/{}", asha.uuid);
        let upload = "/openmrs/ws/rest/v1/drug/upload";
        for path in [FEED, &patient, upload, "/openmrs/ws/atomfeed/recent"] {
            for request in [emr.http.get(emr.url(path)), emr.http.post(emr.url(path))] {
                assert_eq!(request.send().await.unwrap().status(), 401, "{path}");
            }
            let wrong = emr.http.get(emr.url(path));
            let wrong = wrong.basic_auth(USER, Some("admin")).send().await;
            assert_eq!(wrong.unwrap().status(), 401, "{path}");
        }
        let right = emr.http.get(emr.url(FEED));
        let right = right.basic_auth(USER, Some(PASSWORD)).send().await;
        assert_eq!(right.unwrap().status(), 200);
    }

    #[tokio::test]
    async fn a_session_lets_in_until_it_is_ended() {
        let emr = TestEmr::start().await;
        let ask = || emr.http.get(emr.url(SESSION));
        for refused in [ask(), ask().basic_auth(USER, Some("admin"))] {
            let refused = refused.send().await.unwrap();
            assert_eq!(refused.status(), 200);
            assert!(!refused.headers().contains_key(SET_COOKIE));
            assert_eq!(refused.text().await.unwrap(), r#"{"authenticated":false}"#);
        }

        let right = ask().basic_auth(USER, Some(PASSWORD)).send().await.unwrap();
        let cookie = right.headers()[SET_COOKIE].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let said = right.text().await.unwrap();
        assert!(said.contains(r#""authenticated":true"#), "{said}");

        let feed = || emr.http.get(emr.url(FEED)).header(COOKIE, &cookie);
        assert_eq!(feed().send().await.unwrap().status(), 200);
        let said = ask().header(COOKIE, &cookie).send().await.unwrap();
        let said = said.text().await.unwrap();
        assert!(said.contains(r#""authenticated":true"#), "{said}");

        let end = emr.http.delete(emr.url(SESSION)).header(COOKIE, &cookie);
        assert_eq!(end.send().await.unwrap().status(), 204);
        assert_eq!(feed().send().await.unwrap().status(), 401);
    }
}
