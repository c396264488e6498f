//! A login as that of OpenMRS: user and password once, at the session resource, and from then on a cookie.

use atomfeed_server::{InvalidCredentials, RequireCredentials};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use serde_json::json;

use super::answer::Json;
use crate::hospital::feeds::{PASSWORD, USER};
use crate::hospital::sessions::Sessions;

const SESSION: &str = "/openmrs/ws/rest/v1/session";

/// A session stands for the header `Authorization` with which it began.
type SignedIn = Sessions<HeaderValue>;

/// Lets those in who name the user and the password, or have a session, which stands for both.
pub(super) fn behind_login(app: Router) -> Result<Router, InvalidCredentials> {
    let sessions = SignedIn::below("/openmrs");
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
    State(sessions): State<SignedIn>,
    mut request: Request,
    next: Next,
) -> Response {
    let headers = request.headers_mut();
    if !headers.contains_key(AUTHORIZATION)
        && let Some(credentials) = sessions.find(headers)
    {
        headers.insert(AUTHORIZATION, credentials);
    }
    next.run(request).await
}

/// Begins a session, unless the request is of one: who comes so far has been let in.
async fn begin(State(sessions): State<SignedIn>, headers: HeaderMap) -> Response {
    let said = Json(json!({ "authenticated": true, "user": { "username": USER } }));
    if sessions.find(&headers).is_some() {
        return ([(CACHE_CONTROL, "no-store")], said).into_response();
    }
    let Some(credentials) = headers.get(AUTHORIZATION) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let cookie = sessions.begin(credentials.clone());
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

async fn end(State(sessions): State<SignedIn>, headers: HeaderMap) -> Response {
    let cookie = sessions.end(&headers);
    (StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::http::header::COOKIE;

    use super::*;
    use crate::hospital::emr::testing::{TestEmr, patient};

    const FEED: &str = "/openmrs/ws/atomfeed/patient/recent";

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

        let again = || ask().header(COOKIE, &cookie);
        for again in [again(), again().basic_auth(USER, Some(PASSWORD))] {
            let again = again.send().await.unwrap();
            assert!(!again.headers().contains_key(SET_COOKIE), "another session");
            let said = again.text().await.unwrap();
            assert!(said.contains(r#""authenticated":true"#), "{said}");
        }
        let wrong = again().basic_auth(USER, Some("admin")).send().await;
        let said = wrong.unwrap().text().await.unwrap();
        assert_eq!(said, r#"{"authenticated":false}"#);

        let end = emr.http.delete(emr.url(SESSION)).header(COOKIE, &cookie);
        assert_eq!(end.send().await.unwrap().status(), 204);
        assert_eq!(feed().send().await.unwrap().status(), 401);
        let anew = again().basic_auth(USER, Some(PASSWORD)).send().await;
        assert!(anew.unwrap().headers().contains_key(SET_COOKIE));
    }
}
