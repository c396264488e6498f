//! The lab's login, by a form and a session as OpenELIS has them: whoever has no session is sent to the
//! login page. The form is posted to `/openelis/ValidateLogin.do`, or to a feed, as the original's consumers
//! do (`openelis.uri`).

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use url::form_urlencoded;

use crate::hospital::feeds::{PASSWORD, USER};
use crate::hospital::sessions::Sessions;

const VALIDATE: &str = "/openelis/ValidateLogin.do";
const LOGIN_PAGE: &str = "/openelis/LoginPage.do";
const DASHBOARD: &str = "/openelis/Dashboard.do";

/// How long the form may be that is posted to a feed, in bytes.
const LONGEST_FORM: usize = 16 << 10;

/// Whoever has one has signed in.
type SignedIn = Sessions<()>;

/// Sends whoever asks for something without a session to the login.
pub(super) fn behind_login(app: Router) -> Router {
    let sessions = SignedIn::below("/openelis");
    let guard = from_fn_with_state(sessions.clone(), who_is_in);
    let door: Router = Router::new()
        .route(VALIDATE, post(validate))
        .route(LOGIN_PAGE, get(login_page))
        .with_state(sessions);
    app.route(DASHBOARD, get(dashboard))
        .route_layer(guard)
        .merge(door)
}

async fn who_is_in(State(sessions): State<SignedIn>, request: Request, next: Next) -> Response {
    if is_form_for_feed(&request) {
        return match to_bytes(request.into_body(), LONGEST_FORM).await {
            Ok(form) => validate(State(sessions), form).await,
            Err(_) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        };
    }
    match sessions.find(request.headers()) {
        Some(()) => next.run(request).await,
        None => send_to(LOGIN_PAGE),
    }
}

fn is_form_for_feed(request: &Request) -> bool {
    request.method() == Method::POST && request.uri().path().starts_with(super::FEED)
}

async fn validate(State(sessions): State<SignedIn>, form: Bytes) -> Response {
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
    let cookie = sessions.begin(());
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
}
