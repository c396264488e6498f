//! A server that wants to know who asks, and soon again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use atomfeed_client::{Authenticator, FormLogin, HttpFeedSource, OpenMrsSession, Resources};
use tokio::task::JoinSet;

use crate::scripted_server::{Answer, ScriptedServer, header};

pub(crate) const SESSION: &str = "/openmrs/ws/rest/v1/session";
/// Base64 of `atomfeed:hunter2`.
pub(crate) const BASIC: &str = "Basic YXRvbWZlZWQ6aHVudGVyMg==";

/// What a server knows of who is in.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) sessions: u32,
    /// How often the current one still lets somebody in.
    pub(crate) left: u32,
    pub(crate) served: u32,
    pub(crate) strangers: u32,
}

/// A server whose sessions let in so often, and no more.
pub(crate) struct Emr {
    pub(crate) server: ScriptedServer,
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) lasts: u32,
}

impl Emr {
    pub(crate) async fn new(lasts: u32) -> Self {
        let server = ScriptedServer::new().await;
        let state = Arc::default();
        Self {
            server,
            state,
            lasts,
        }
    }

    /// Logs in as OpenMRS does: 200 also to who may not, and a session to everybody.
    pub(crate) async fn open_mrs(lasts: u32) -> Self {
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

    pub(crate) fn open_elis(&self) {
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
    pub(crate) fn serve(&self, path: &str, answer: Answer, to_strangers: fn(&str) -> Answer) {
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

    pub(crate) fn serve_numbers(
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

    pub(crate) fn url(&self, path: &str) -> url::Url {
        self.server.url(path).parse().unwrap()
    }

    pub(crate) fn source(&self, login: impl Authenticator) -> HttpFeedSource {
        let feed = self.server.url("/openmrs/feed/recent").parse().unwrap();
        let source = HttpFeedSource::builder(&feed).with_login(login);
        source.build().unwrap()
    }

    pub(crate) fn resources(&self, login: impl Authenticator) -> Resources {
        self.source(login).resources()
    }

    /// Each session served as often as it lasts, but the last.
    pub(crate) fn assert_no_login_was_wasted(&self) {
        let state = self.state.lock().unwrap();
        assert_eq!(
            state.sessions,
            state.served.div_ceil(self.lasts),
            "of {} served",
            state.served
        );
    }

    pub(crate) fn sessions(&self) -> u32 {
        self.state.lock().unwrap().sessions
    }
}

pub(crate) const LOGIN_PAGE: &str = "<html><form action='ValidateLogin.do'><input name=loginName>\
     <INPUT TYPE=\"password\" name=\"password\"></form></html>";

pub(crate) fn unauthorized(cookie: &str) -> Answer {
    Answer::status("401 Unauthorized", cookie)
}

pub(crate) fn forbidden(cookie: &str) -> Answer {
    Answer::status("403 Forbidden", cookie)
}

pub(crate) fn login_page(cookie: &str) -> Answer {
    Answer::with(
        "200 OK",
        &format!("content-type: Text/HTML; charset=utf-8\r\n{cookie}"),
        LOGIN_PAGE,
    )
}

pub(crate) fn sent_to_login_page(cookie: &str) -> Answer {
    Answer::status(
        "302 Found",
        &format!("location: /openmrs/Login.htm?x=1\r\n{cookie}"),
    )
}

pub(crate) fn open_mrs() -> OpenMrsSession {
    OpenMrsSession::new(SESSION, "atomfeed", "hunter2")
}

pub(crate) fn open_elis() -> FormLogin {
    FormLogin::new("/openelis/ValidateLogin.do", "ad min", "h&nter2")
}

/// As many at once as there are.
pub(crate) async fn fetch_all(
    emr: &Emr,
    resources: &Resources,
    folder: &str,
    numbers: std::ops::Range<u32>,
) {
    let mut fetching = JoinSet::new();
    for number in numbers.clone() {
        let (url, resources) = (emr.url(&format!("{folder}{number}")), resources.clone());
        fetching.spawn(async move { resources.get(&url).await.unwrap().json::<u32>().unwrap() });
    }
    let fetched: HashSet<_> = fetching.join_all().await.into_iter().collect();
    assert_eq!(fetched, numbers.collect());
}
