//! Ways to get in, what becomes of one that fails, and that nobody is told a secret.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_client::{
    Authenticator, BasicAuth, BearerToken, FetchError, FixedHeaders, FormLogin, HttpFeedSource,
    LoginDoor, LoginError, OpenMrsSession,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use tokio::task::JoinSet;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

use crate::closed_server::{
    BASIC, Emr, LOGIN_PAGE, SESSION, fetch_all, login_page, open_elis, open_mrs,
    sent_to_login_page, unauthorized,
};
use crate::scripted_server::{Answer, ScriptedServer, header};
use crate::two_pages::{assert_says, chain};

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
        // No other session has let anybody in: that may be so everywhere.
        let FetchError::NotLetIn { source: error, .. } = error else {
            panic!("{error:?}");
        };
        assert!(matches!(*error, FetchError::LoginPage { .. }), "{error:?}");
        assert_says(&*error, &[path, "see whether this user may read"]);
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
    async fn check(login: Arc<dyn Authenticator>, name: &str, value: &str) {
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
    check(Arc::new(key), "x-api-key", "hunter2").await;
    check(Arc::new(bearer), "authorization", "Bearer hunter2").await;
    check(Arc::new(basic), "authorization", BASIC).await;
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

/// Where a name has one, what is sent would be another name and another password.
#[tokio::test]
async fn a_user_with_a_colon_is_told_of_it() {
    let emr = Emr::new(1).await;
    for resources in [
        emr.resources(BasicAuth::new("lab:atomfeed", "hunter2")),
        emr.resources(OpenMrsSession::new(SESSION, "lab:atomfeed", "hunter2")),
    ] {
        let error = resources.get(&emr.url("/1")).await.unwrap_err();
        assert_says(&error, &["\"lab:atomfeed\"", "a colon", "RFC 7617"]);
        assert!(!chain(&error).contains("control characters"), "{error:?}");
    }
    assert!(emr.server.heads().is_empty());
}

/// A login at another origin than the feed's would give that one's password away, also where that origin may
/// be asked for other things.
#[tokio::test]
async fn a_login_stays_at_its_origin() {
    let (emr, elsewhere) = (Emr::new(1).await, ScriptedServer::new().await);
    let feed = emr.server.url("/openmrs/feed/recent").parse().unwrap();
    let login = OpenMrsSession::new(elsewhere.url(SESSION), "atomfeed", "hunter2");
    let source = HttpFeedSource::builder(&feed).with_login(login);
    let allowed = source
        .clone()
        .allow_origin(&elsewhere.base.parse().unwrap());
    for source in [source, allowed] {
        let resources = source.build().unwrap().resources();
        let url = emr.url("/openmrs/patient/0");
        let error = resources.get(&url).await.unwrap_err();
        assert_says(
            &error,
            &["logging in", &elsewhere.base, "is not at http://"],
        );
    }
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

thread_local! {
    /// Everything that this thread tells the log, in one text, once somebody listens.
    static HEARD: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Hears all threads: of what is told before one of a thread's own listens, `tracing` may remember that
/// nobody does.
#[derive(Clone, Copy)]
struct Heard;

impl Heard {
    fn listen() {
        // There is one for all tests.
        let _ = tracing::subscriber::set_global_default(Self);
        HEARD.set(Some(String::new()));
    }

    fn all() -> String {
        HEARD.take().unwrap()
    }
}

impl Visit for Heard {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        HEARD.with_borrow_mut(|heard| {
            if let Some(heard) = heard {
                heard.push_str(&format!("{field}={value:?}\n"));
            }
        });
    }
}

impl Subscriber for Heard {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Self);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Self);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Self);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Not in what they look like, before and after they were used, and not in the log.
#[tokio::test]
async fn nothing_shows_a_secret() {
    Heard::listen();
    let emr = Emr::open_mrs(3).await;
    emr.serve_numbers("/openmrs/patient/", 0..1, unauthorized);
    let feed = emr.server.url("/openmrs/feed/recent").parse().unwrap();
    let builder = HttpFeedSource::builder(&feed).with_login(open_mrs());
    let source = builder.clone().build().unwrap();
    let resources = source.resources();
    fetch_all(&emr, &resources, "/openmrs/patient/", 0..1).await;
    let wrong = OpenMrsSession::new(SESSION, "atomfeed", "hunter2!");
    let (wrong, url) = (emr.resources(wrong), emr.url("/openmrs/patient/0"));
    let error = wrong.get(&url).await.unwrap_err();
    let form = FormLogin::new("/in", "me", "hunter2").with_field("pin", "hunter2");
    let heard = Heard::all();
    assert!(heard.contains("logged in"), "{heard}");
    for shown in [
        heard,
        format!("{error:?} {}", chain(&error)),
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
