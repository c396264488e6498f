//! Getting in, and in again: once for all who need it, with nothing lost, and nobody told a secret.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, Authenticator, BasicAuth, BearerToken, FetchError, FixedHeaders, FormLogin,
    HttpFeedSource, LoginDoor, LoginError, OpenMrsSession, Resources,
};
use atomfeed_core::store::conformance::{Harness, SqliteHarness};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use tokio::task::JoinSet;

use crate::feeds::{Apply, applied};
use crate::scripted_server::{Answer, ScriptedServer, header};
use crate::two_pages::{assert_says, chain};

const SESSION: &str = "/openmrs/ws/rest/v1/session";
/// Base64 of `atomfeed:hunter2`.
const BASIC: &str = "Basic YXRvbWZlZWQ6aHVudGVyMg==";

/// What a server knows of who is in.
#[derive(Default)]
struct State {
    sessions: u32,
    /// How often the current one still lets somebody in.
    left: u32,
    served: u32,
    strangers: u32,
}

/// A server whose sessions let in so often, and no more.
struct Emr {
    server: ScriptedServer,
    state: Arc<Mutex<State>>,
    lasts: u32,
}

impl Emr {
    async fn new(lasts: u32) -> Self {
        let server = ScriptedServer::new().await;
        let state = Arc::default();
        Self {
            server,
            state,
            lasts,
        }
    }

    /// Logs in as OpenMRS does: 200 also to who may not, and a session to everybody.
    async fn open_mrs(lasts: u32) -> Self {
        let emr = Self::new(lasts).await;
        let state = Arc::clone(&emr.state);
        emr.server.answer_by(SESSION, move |request| {
            let mut state = state.lock().unwrap();
            state.sessions += 1;
            let is_known = header(request, "authorization") == Some(BASIC);
            state.left = if is_known { lasts } else { 0 };
            let cookie = format!(
                "set-cookie: JSESSIONID=s{}; Path=/openmrs; HttpOnly\r\n",
                state.sessions
            );
            Answer::with(
                "200 OK",
                &cookie,
                format!("{{\"authenticated\":{is_known},\"user\":{{}}}}"),
            )
        });
        emr
    }

    fn open_elis(&self) {
        let (state, lasts) = (Arc::clone(&self.state), self.lasts);
        self.server
            .answer_by("/openelis/ValidateLogin.do", move |request| {
                let mut state = state.lock().unwrap();
                state.sessions += 1;
                let form = request.split("\r\n\r\n").nth(1).unwrap();
                let is_form =
                    header(request, "content-type") == Some("application/x-www-form-urlencoded");
                let is_known = form == "loginName=ad+min&password=h%26nter2" && is_form;
                state.left = if is_known { lasts } else { 0 };
                let cookie = format!("set-cookie: JSESSIONID=s{}; Path=/\r\n", state.sessions);
                match is_known {
                    true => Answer::with("200 OK", &cookie, "<html>Main menu</html>"),
                    false => Answer::with("200 OK", &cookie, LOGIN_PAGE),
                }
            });
    }

    /// Serves a path to who is in; others get that answer, and an empty session on top.
    fn serve(&self, path: &str, answer: Answer, to_strangers: fn(&str) -> Answer) {
        let state = Arc::clone(&self.state);
        self.server.answer_by(path, move |request| {
            let mut state = state.lock().unwrap();
            let cookie = format!("JSESSIONID=s{}", state.sessions);
            if state.left > 0 && header(request, "cookie") == Some(&cookie) {
                state.left -= 1;
                state.served += 1;
                return answer.clone();
            }
            state.strangers += 1;
            to_strangers(&format!(
                "set-cookie: JSESSIONID=nobody{}; Path=/\r\n",
                state.strangers
            ))
        });
    }

    fn serve_numbers(
        &self,
        folder: &str,
        numbers: std::ops::Range<u32>,
        to_strangers: fn(&str) -> Answer,
    ) {
        for number in numbers {
            let answer = Answer::ok("application/json", number.to_string());
            self.serve(&format!("{folder}{number}"), answer, to_strangers);
        }
    }

    fn url(&self, path: &str) -> url::Url {
        self.server.url(path).parse().unwrap()
    }

    fn source(&self, login: impl Authenticator) -> HttpFeedSource {
        let feed = self.server.url("/openmrs/feed/recent").parse().unwrap();
        let source = HttpFeedSource::builder(&feed).with_login(login);
        source.build().unwrap()
    }

    fn resources(&self, login: impl Authenticator) -> Resources {
        self.source(login).resources()
    }

    /// Each session served as often as it lasts, but the last.
    fn assert_no_login_was_wasted(&self) {
        let state = self.state.lock().unwrap();
        assert_eq!(
            state.sessions,
            state.served.div_ceil(self.lasts),
            "of {} served",
            state.served
        );
    }

    fn sessions(&self) -> u32 {
        self.state.lock().unwrap().sessions
    }
}

const LOGIN_PAGE: &str = "<html><form action='ValidateLogin.do'><input name=loginName>\
     <INPUT TYPE=\"password\" name=\"password\"></form></html>";

fn unauthorized(cookie: &str) -> Answer {
    Answer::status("401 Unauthorized", cookie)
}

fn forbidden(cookie: &str) -> Answer {
    Answer::status("403 Forbidden", cookie)
}

fn login_page(cookie: &str) -> Answer {
    Answer::with(
        "200 OK",
        &format!("content-type: Text/HTML; charset=utf-8\r\n{cookie}"),
        LOGIN_PAGE,
    )
}

fn sent_to_login_page(cookie: &str) -> Answer {
    Answer::status(
        "302 Found",
        &format!("location: /openmrs/Login.htm?x=1\r\n{cookie}"),
    )
}

fn open_mrs() -> OpenMrsSession {
    OpenMrsSession::new(SESSION, "atomfeed", "hunter2")
}

fn open_elis() -> FormLogin {
    FormLogin::new("/openelis/ValidateLogin.do", "ad min", "h&nter2")
}

/// As many at once as there are.
async fn fetch_all(emr: &Emr, resources: &Resources, folder: &str, numbers: std::ops::Range<u32>) {
    let mut fetching = JoinSet::new();
    for number in numbers.clone() {
        let (url, resources) = (emr.url(&format!("{folder}{number}")), resources.clone());
        fetching.spawn(async move { resources.get(&url).await.unwrap().json::<u32>().unwrap() });
    }
    let fetched: HashSet<_> = fetching.join_all().await.into_iter().collect();
    assert_eq!(fetched, numbers.collect());
}

/// The pages of a feed, each under the session of another, and the events of all of them.
#[tokio::test]
async fn a_feed_whose_session_ends_every_third_request() {
    let emr = Emr::open_mrs(3).await;
    for number in 1..=10 {
        let next = format!("/openmrs/feed/{}", number + 1);
        let next = (number < 10).then_some(next.as_str());
        let page = emr.server.page(number, number * 3 - 2..=number * 3, next);
        let page = page
            .replace("/feed/", "/openmrs/feed/")
            .replace("/openmrs/openmrs/", "/openmrs/");
        emr.serve(
            &format!("/openmrs/feed/{number}"),
            Answer::page(&page),
            unauthorized,
        );
        emr.serve("/openmrs/feed/recent", Answer::page(&page), unauthorized);
    }
    let harness = Arc::new(SqliteHarness::default());
    let store = harness.store().await;
    let feed = emr.server.url("/openmrs/feed/recent").parse().unwrap();
    let client = AtomFeedClient::builder(feed, emr.source(open_mrs()));
    let client = client.build(store.clone(), Apply::all(&harness));
    assert_eq!(client.process_events().await.unwrap().applied, 30);
    assert_eq!(
        applied(harness.as_ref(), &store).await,
        (1..=30).collect::<Vec<_>>()
    );
    emr.assert_no_login_was_wasted();
    // From the newest page to the oldest, and back.
    assert!(emr.sessions() >= 6, "{}", emr.sessions());
}

#[tokio::test]
async fn sixteen_at_once_log_in_once() {
    for to_strangers in [unauthorized, sent_to_login_page] {
        let emr = Emr::open_mrs(3).await;
        emr.serve_numbers("/openmrs/patient/", 0..64, to_strangers);
        let resources = emr.resources(open_mrs());
        for first in [0, 16, 32, 48] {
            fetch_all(&emr, &resources, "/openmrs/patient/", first..first + 16).await;
            emr.assert_no_login_was_wasted();
        }
        assert_eq!(emr.sessions(), 22);
    }
}

/// The session is over for all of them, and one of them sees to it.
#[tokio::test]
async fn a_session_that_is_forbidden_is_one_that_is_over() {
    let emr = Emr::open_mrs(16).await;
    emr.serve_numbers("/openmrs/patient/", 0..32, forbidden);
    let resources = emr.resources(open_mrs());
    fetch_all(&emr, &resources, "/openmrs/patient/", 0..16).await;
    fetch_all(&emr, &resources, "/openmrs/patient/", 16..32).await;
    assert_eq!(emr.sessions(), 2);
}

/// One new session is tried; then it is what the server says.
#[tokio::test]
async fn what_is_forbidden_stays_so() {
    let emr = Emr::open_mrs(100).await;
    emr.serve_numbers("/openmrs/patient/", 0..1, unauthorized);
    for (path, status) in [
        ("/openmrs/secret", "403 Forbidden"),
        ("/openmrs/odd", "401 Unauthorized"),
    ] {
        emr.server.answer(path, Answer::status(status, ""));
    }
    let resources = emr.resources(open_mrs());
    let error = resources
        .get(&emr.url("/openmrs/secret"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, FetchError::Status { status: 403, .. }),
        "{error:?}"
    );
    // Whoever was refused by a session that is new, is refused, however often.
    resources
        .get(&emr.url("/openmrs/secret"))
        .await
        .unwrap_err();
    assert_eq!(emr.sessions(), 1);
    for (path, sessions) in [("/openmrs/secret", 2), ("/openmrs/odd", 3)] {
        // The session has let somebody in, so that it may be over now.
        fetch_all(&emr, &resources, "/openmrs/patient/", 0..1).await;
        for _ in 0..3 {
            let error = resources.get(&emr.url(path)).await.unwrap_err();
            assert!(!error.is_transient(), "{error:?}");
            assert_eq!(emr.sessions(), sessions);
        }
    }
    fetch_all(&emr, &resources, "/openmrs/patient/", 0..1).await;
    assert_eq!(emr.sessions(), 3);
}

/// OpenELIS shows its login page, with 200, or sends there.
#[tokio::test]
async fn a_form_is_filled_in() {
    for to_strangers in [unauthorized, login_page, sent_to_login_page] {
        let emr = Emr::new(3).await;
        emr.open_elis();
        emr.serve_numbers("/lab/", 0..32, to_strangers);
        let resources = emr.resources(open_elis());
        fetch_all(&emr, &resources, "/lab/", 0..16).await;
        fetch_all(&emr, &resources, "/lab/", 16..32).await;
        emr.assert_no_login_was_wasted();
    }
}

/// What is never anything but a login is no resource.
#[tokio::test]
async fn a_login_page_is_not_taken_for_what_was_asked() {
    let emr = Emr::new(3).await;
    emr.open_elis();
    emr.serve_numbers("/lab/", 0..1, unauthorized);
    for (path, answer) in [("/page", login_page("")), ("/away", sent_to_login_page(""))] {
        emr.server.answer(path, answer);
    }
    let resources = emr.resources(open_elis());
    for path in ["/page", "/away"] {
        let error = resources.get(&emr.url(path)).await.unwrap_err();
        assert!(matches!(error, FetchError::LoginPage { .. }), "{error:?}");
        assert_says(&error, &[path, "see whether this user may read"]);
    }
    // Where pages are what is wanted, that is what they are.
    let resources = emr.resources(open_elis().among_pages());
    let page = resources.get(&emr.url("/page")).await.unwrap();
    assert_eq!(page.text().unwrap(), LOGIN_PAGE);
}

#[tokio::test]
async fn other_forms_have_other_fields() {
    let emr = Emr::new(3).await;
    emr.server.answer_by("/in", |request| {
        let form = request.split("\r\n\r\n").nth(1).unwrap();
        assert_eq!(form, "j_user=me&j_pass=pw&go=1");
        Answer::status(
            "302 Found",
            "location: /home\r\nset-cookie: sid=1; Path=/\r\n",
        )
    });
    emr.server
        .answer("/home/1", Answer::ok("application/json", "1"));
    let login = FormLogin::new("/in", "me", "pw")
        .with_fields("j_user", "j_pass")
        .with_field("go", "1");
    let resources = emr.resources(login);
    resources.get(&emr.url("/home/1")).await.unwrap();
    let heads = emr.server.heads_of("/home/1");
    assert_eq!(header(&heads[0], "cookie"), Some("sid=1"));
}

/// What would be sent again is the same: it is not.
#[tokio::test]
async fn basic_and_fixed_headers_are_sent_from_the_first_request_on() {
    let key = FixedHeaders::new([("x-api-key", "hunter2"), ("cookie", "a=1")]).unwrap();
    let bearer = BearerToken::new("hunter2");
    let basic = BasicAuth::new("atomfeed", "hunter2");
    async fn check(login: impl Authenticator, name: &str, value: &str) {
        let emr = Emr::new(1).await;
        let cookie = "set-cookie: b=2; Path=/\r\n";
        emr.server
            .answer("/no", Answer::status("401 Unauthorized", cookie));
        let resources = emr.resources(login);
        for _ in 0..2 {
            let error = resources.get(&emr.url("/no")).await.unwrap_err();
            assert_says(&error, &["401", "give user and password"]);
        }
        let heads = emr.server.heads();
        assert_eq!(heads.len(), 2);
        for head in &heads {
            assert_eq!(header(head, name), Some(value), "{head}");
        }
        let cookies = header(&heads[1], "cookie").unwrap();
        assert!(cookies.contains("b=2"), "{cookies}");
        assert_eq!(cookies.contains("a=1"), name == "x-api-key", "{cookies}");
    }
    check(key, "x-api-key", "hunter2").await;
    check(bearer, "authorization", "Bearer hunter2").await;
    check(basic, "authorization", BASIC).await;
}

#[tokio::test]
async fn a_token_is_asked_for_again_when_it_is_over() {
    let emr = Emr::new(3).await;
    let tokens = Arc::new(Mutex::new(0));
    for number in 0..16_u32 {
        let (state, tokens) = (Arc::clone(&emr.state), Arc::clone(&tokens));
        emr.server.answer_by(&format!("/{number}"), move |request| {
            let mut state = state.lock().unwrap();
            let token = format!("Bearer token{}", *tokens.lock().unwrap());
            if header(request, "authorization") != Some(&token) || state.left == 0 {
                return Answer::status("401 Unauthorized", "");
            }
            state.left -= 1;
            state.served += 1;
            Answer::ok("application/json", number.to_string())
        });
    }
    let (state, given) = (Arc::clone(&emr.state), Arc::clone(&tokens));
    let login = BearerToken::from_fn(move || {
        let (state, given) = (Arc::clone(&state), Arc::clone(&given));
        async move {
            // Somebody else may have to be asked.
            tokio::task::yield_now().await;
            let mut state = state.lock().unwrap();
            state.sessions += 1;
            state.left = 3;
            let mut given = given.lock().unwrap();
            *given += 1;
            Ok(format!("token{given}\n"))
        }
    });
    let resources = emr.resources(login);
    fetch_all(&emr, &resources, "/", 0..16).await;
    emr.assert_no_login_was_wasted();
}

/// Seven wrong passwords, and OpenMRS locks the account: one is enough, however many ask, and how often.
#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    let emr = Emr::open_mrs(3).await;
    emr.open_elis();
    emr.serve_numbers("/openmrs/patient/", 0..1, unauthorized);
    async fn check(emr: &Emr, login: impl Authenticator, user: &str) {
        let before = emr.sessions();
        let resources = emr.resources(login);
        let mut fetching = JoinSet::new();
        for _ in 0..16 {
            let (url, resources) = (emr.url("/openmrs/patient/0"), resources.clone());
            fetching.spawn(async move { resources.get(&url).await.unwrap_err() });
        }
        let mut errors = fetching.join_all().await;
        errors.push(
            resources
                .get(&emr.url("/openmrs/patient/0"))
                .await
                .unwrap_err(),
        );
        for error in errors {
            assert_says(
                &error,
                &["logging in at http://127.0.0.1:", "tried again in", user],
            );
            assert_says(&error, &["user and password are right", "not locked"]);
            assert!(!chain(&error).contains("swordfish"), "{error:?}");
            // The feed waits for somebody to mend that, and its events with it.
            assert!(error.is_transient());
            assert!(error.retry_after().unwrap() > Duration::from_secs(20));
        }
        assert_eq!(emr.sessions() - before, 1);
    }
    check(
        &emr,
        OpenMrsSession::new(SESSION, "atomfeed", "swordfish"),
        "atomfeed",
    )
    .await;
    check(
        &emr,
        FormLogin::new("/openelis/ValidateLogin.do", "admin", "swordfish"),
        "admin",
    )
    .await;
    assert!(emr.server.heads_of("/openmrs/patient/0").is_empty());
}

/// What a login is answered with that is neither yes nor no, and what is said of it.
#[tokio::test]
async fn a_login_that_is_answered_oddly() {
    for (answer, words) in [
        (
            Answer::with("200 OK", "set-cookie: a=1\r\n", "<html>"),
            "that its address is right",
        ),
        (
            Answer::ok("application/json", "{\"authenticated\":true}"),
            "set no cookie",
        ),
        (
            Answer::status("204 No Content", "set-cookie: a=1\r\n"),
            "second factor",
        ),
        (Answer::status("404 Not Found", ""), "answered 404"),
        (Answer::redirect("http://169.254.169.254/"), "answered 302"),
        (
            Answer::status("401 Unauthorized", ""),
            "user and password are right",
        ),
        (Answer::status("503 Oh", "retry-after: 100\r\n"), "503"),
        (Answer::endless(), "larger than 1048576"),
    ] {
        let emr = Emr::new(1).await;
        emr.server.answer(SESSION, answer);
        let resources = emr.resources(open_mrs());
        let error = resources
            .get(&emr.url("/openmrs/patient/0"))
            .await
            .unwrap_err();
        assert!(matches!(error, FetchError::Login { .. }), "{error:?}");
        assert_says(&error, &[words]);
        assert_eq!(emr.server.heads().len(), 1, "{words}");
        if words == "503" {
            assert!(
                error.retry_after().unwrap() > Duration::from_secs(90),
                "{error:?}"
            );
        }
    }
}

/// A login at another origin than the feed's would give that one's password away.
#[tokio::test]
async fn a_login_stays_at_its_origin() {
    let (emr, elsewhere) = (Emr::new(1).await, ScriptedServer::new().await);
    let resources = emr.resources(OpenMrsSession::new(
        elsewhere.url(SESSION),
        "atomfeed",
        "hunter2",
    ));
    let error = resources
        .get(&emr.url("/openmrs/patient/0"))
        .await
        .unwrap_err();
    assert_says(&error, &["logging in", &elsewhere.base, "allow its origin"]);
    assert!(elsewhere.heads().is_empty() && emr.server.heads().is_empty());
}

/// A server that gives a token for a key.
struct Tokens(&'static str);

#[async_trait]
impl Authenticator for Tokens {
    async fn log_in(&self, door: &LoginDoor<'_>) -> Result<HeaderMap, LoginError> {
        let request = Request::post("/token").body(Bytes::from_static(self.0.as_bytes()));
        let answer = door.send(request.map_err(LoginError::other)?).await?;
        let token = format!("Token {}", String::from_utf8_lossy(answer.body()));
        let token = HeaderValue::try_from(token).map_err(LoginError::other)?;
        let mut headers = HeaderMap::new();
        headers.insert("x-token", token);
        Ok(headers)
    }
}

#[tokio::test]
async fn one_may_get_in_as_one_likes() {
    let emr = Emr::new(1).await;
    emr.server.answer_by("/token", |request| {
        assert!(request.ends_with("\r\n\r\nkey"), "{request}");
        Answer::with("200 OK", "set-cookie: node=n1; Path=/\r\n", "t1")
    });
    emr.server.answer("/1", Answer::ok("application/json", "1"));
    let resources = emr.resources(Tokens("key"));
    resources.get(&emr.url("/1")).await.unwrap();
    let heads = emr.server.heads_of("/1");
    assert_eq!(header(&heads[0], "x-token"), Some("Token t1"));
    assert_eq!(header(&heads[0], "cookie"), Some("node=n1"));
}

/// Not in what they look like, before and after they were used.
#[tokio::test]
async fn nothing_shows_a_secret() {
    let emr = Emr::open_mrs(3).await;
    emr.serve_numbers("/openmrs/patient/", 0..1, unauthorized);
    let feed = emr.server.url("/openmrs/feed/recent").parse().unwrap();
    let builder = HttpFeedSource::builder(&feed).with_login(open_mrs());
    let source = builder.clone().build().unwrap();
    let resources = source.resources();
    fetch_all(&emr, &resources, "/openmrs/patient/", 0..1).await;
    let form = FormLogin::new("/in", "me", "hunter2").with_field("pin", "hunter2");
    for shown in [
        format!(
            "{builder:#?} {source:#?} {resources:#?} {:?} {form:?}",
            open_mrs()
        ),
        format!(
            "{:?} {:?}",
            BasicAuth::new("atomfeed", "hunter2"),
            BearerToken::new("hunter2")
        ),
        format!(
            "{:?}",
            FixedHeaders::new([("x-api-key", "hunter2")]).unwrap()
        ),
        format!(
            "{:?}",
            FixedHeaders::new([("x-api-key", "hunter2\n")]).unwrap_err()
        ),
    ] {
        for secret in ["hunter2", "YXRvbWZlZWQ6aHVudGVyMg", "JSESSIONID=", "s1"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
