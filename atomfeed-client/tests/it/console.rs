//! The console as its router answers: who is let in, what is shown, and what is asked for.

use async_trait::async_trait;
use atomfeed_client::console::{Console, ConsoleUser, ConsoleUsers, Role};
use atomfeed_core::store::conformance::{Harness, MySqlHarness, PostgresHarness};
use atomfeed_core::store::{
    ActionQuery, ConsoleStore, FailureFilter, FeedStatus, MemoryStore, StoreError, StoreErrorKind,
};
use atomfeed_core::{
    ActionKind, ActionProgress, ActionState, Clock, EntryId, Event, Failure, FeedUri, Marker,
    NewAction, Place, SystemClock,
};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE};
use axum::http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tower_service::Service;
use url::form_urlencoded;

const MOUNT: &str = "/atomfeed-console";
const FEED: &str = "http://emr:8050/openmrs/ws/atomfeed/patient/recent";
/// Base64 of `asha:pw` and `ravi:pw`.
const ASHA: &str = "Basic YXNoYTpwdw==";
const RAVI: &str = "Basic cmF2aTpwdw==";

struct Two;

#[async_trait]
impl ConsoleUsers for Two {
    async fn role(&self, name: &str, password: &str) -> Option<Role> {
        match (name, password) {
            ("asha", "pw") => Some(Role::Operate),
            ("ravi", "pw") => Some(Role::View),
            _ => None,
        }
    }
}

fn feed() -> FeedUri {
    FEED.parse().unwrap()
}

fn event(number: u32, content: &str) -> Event {
    Event::new(EntryId::new(format!("tag:{number}")).unwrap(), feed())
        .with_text(format!("Title {number}"), content)
        .with_tags_column("Patient,urgent")
}

async fn park(store: &impl ConsoleStore, event: &Event, message: &str) -> i64 {
    let mut work = store.change().await.unwrap();
    let failure = Failure::new(message, SystemClock.now());
    let id = work.park(event, &failure).await.unwrap();
    work.commit().await.unwrap();
    id
}

fn console(store: impl ConsoleStore) -> Router {
    Console::new(Two)
        .with_system("Lab", store)
        .into_router(MOUNT)
}

struct Browser {
    app: Router,
    cookie: Option<String>,
}

/// An answer, read.
struct Page {
    status: StatusCode,
    location: String,
    body: String,
    headers: axum::http::HeaderMap,
}

impl Browser {
    fn new(app: Router) -> Self {
        Self { app, cookie: None }
    }

    async fn signed_in(app: Router, name: &str) -> Self {
        let mut browser = Self::new(app);
        let answer = browser
            .post("/sign-in", &[("name", name), ("password", "pw")])
            .await;
        assert_eq!(answer.status, 303, "{}", answer.body);
        let cookie = answer.headers[SET_COOKIE].to_str().unwrap();
        for word in [
            "HttpOnly",
            "SameSite=Strict",
            "Secure",
            "Path=/atomfeed-console;",
        ] {
            assert!(cookie.contains(word), "{cookie}");
        }
        browser.cookie = Some(cookie.split(';').next().unwrap().to_owned());
        browser
    }

    async fn send(&mut self, mut request: Request<Body>) -> Page {
        let headers = request.headers_mut();
        headers.insert(HOST, "console:9080".parse().unwrap());
        if let Some(cookie) = &self.cookie {
            headers.insert(COOKIE, cookie.parse().unwrap());
        }
        let response: Response<Body> = self.app.call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 30).await.unwrap();
        let header = |name| {
            parts
                .headers
                .get(name)
                .map(|value: &axum::http::HeaderValue| value.to_str().unwrap().to_owned())
        };
        Page {
            status: parts.status,
            location: header(LOCATION).unwrap_or_default(),
            body: String::from_utf8(body.to_vec()).unwrap(),
            headers: parts.headers,
        }
    }

    async fn get(&mut self, path: &str) -> Page {
        let request = Request::get(format!("{MOUNT}{path}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn page(&mut self, path: &str) -> String {
        let page = self.get(path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.body);
        page.body
    }

    async fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Page {
        self.post_from(path, form, Some("http://console:9080"))
            .await
    }

    async fn post_from(&mut self, path: &str, form: &[(&str, &str)], origin: Option<&str>) -> Page {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let mut request = Request::post(format!("{MOUNT}{path}"))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    /// Opens a form and sends it, with these fields in it; leads to the action.
    async fn fill(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let form = self.page(path).await;
        let mut all: Vec<(String, String)> = hidden(&form);
        all.extend(
            fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let all: Vec<_> = all
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let to = path.split('?').next().unwrap();
        self.post(to, &all).await
    }
}

/// The hidden fields of the form on a page that is not that of the header.
fn hidden(page: &str) -> Vec<(String, String)> {
    let form = page.rsplit("<form").next().unwrap();
    let fields = form.split("<input type=\"hidden\" name=\"").skip(1);
    let fields = fields.map(|field| {
        let (name, rest) = field.split_once("\" value=\"").unwrap();
        let value = rest.split_once('"').unwrap().0;
        let value = value
            .replace("&#38;", "&")
            .replace("&#34;", "\"")
            .replace("&#60;", "<");
        (name.to_owned(), value)
    });
    fields.collect()
}

fn json_request(method: &str, path: &str, who: &str, body: &Value) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(format!("{MOUNT}{path}"))
        .header(AUTHORIZATION, who)
        .body(Body::from(body.to_string()))
        .unwrap()
}

/// The router's own list, walked.
#[tokio::test(start_paused = true)]
async fn without_signing_in_every_route_leads_nowhere() {
    let store = MemoryStore::new();
    let id = park(&store, &event(1, "/patient/secret"), "boom").await;
    let mut open = 0;
    for (method, path) in Console::routes() {
        let path = path
            .replace("{system}", "Lab")
            .replace("{id}", &id.to_string());
        let path = path.replace("{act}", "skip").replace("{format}", "csv");
        for (cookie, authorization) in [
            (None, None),
            (Some("atomfeed_console="), None),
            (Some("atomfeed_console=0123"), None),
            (None, Some("Basic YXNoYTp3cm9uZw==")),
            (None, Some("Bearer YXNoYTpwdw==")),
            (None, Some("Basic")),
        ] {
            let mut browser = Browser::new(console(store.clone()));
            browser.cookie = cookie.map(str::to_owned);
            let mut request = Request::builder()
                .method(method)
                .uri(format!("{MOUNT}{path}"));
            if let Some(authorization) = authorization {
                request = request.header(AUTHORIZATION, authorization);
            }
            let page = browser.send(request.body(Body::empty()).unwrap()).await;
            let is_for_all = path == "/sign-in" || path.starts_with("/static/");
            open += usize::from(is_for_all && page.status == 200);
            match page.status.as_u16() {
                200 | 403 if is_for_all => {}
                401 => {}
                303 => assert!(
                    page.location.starts_with("/atomfeed-console/sign-in?next="),
                    "{path}"
                ),
                other => panic!("{method} {path}: {other}"),
            }
            assert!(!page.body.contains("secret"), "{method} {path}");
            let policy = page.headers["content-security-policy"].to_str().unwrap();
            assert!(
                policy.contains("default-src 'none'") && !policy.contains("unsafe"),
                "{policy}"
            );
        }
    }
    assert_eq!(open, 3 * 6, "style, script and where one signs in");
    let mut work = store.look().await.unwrap();
    assert!(work.parked_event(id).await.unwrap().is_some());
    assert_eq!(work.actions(&ActionQuery::newest(1)).await.unwrap(), []);
}

/// One whose host authenticates is mounted by saying so, and still takes its own forms alone.
#[tokio::test]
async fn a_host_may_authenticate() {
    let store = MemoryStore::new();
    let id = park(&store, &event(1, "/patient/1"), "boom").await;
    let app = Console::host_authenticates(|parts| {
        let name = parts.headers.get("x-user")?.to_str().ok()?;
        Some(ConsoleUser::new(name, Role::Operate))
    });
    let app = app.with_system("Lab", store.clone()).into_router("/");
    let mut browser = Browser::new(app);
    let ask = |method: &str, path: String, user: Option<&str>, body: String| {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(user) = user {
            request = request.header("x-user", user);
        }
        request.body(Body::from(body)).unwrap()
    };
    let nobody = browser
        .send(ask("GET", "/".into(), None, String::new()))
        .await;
    assert_eq!(nobody.status, 401);
    let path = format!("/systems/Lab/failed/{id}/skip");
    let form = browser
        .send(ask("GET", path.clone(), Some("mira"), String::new()))
        .await;
    assert_eq!(form.status, 200, "{}", form.body);
    assert!(!form.body.contains("Sign out"));
    let forged = format!("feed={FEED}&why=x&token=abc");
    let refused = browser
        .send(ask("POST", path.clone(), Some("mira"), forged))
        .await;
    assert_eq!(refused.status, 403);
    let fields = hidden(&form.body);
    let fields = form_urlencoded::Serializer::new("why=x".to_owned())
        .extend_pairs(fields)
        .finish();
    let asked = browser.send(ask("POST", path, Some("mira"), fields)).await;
    assert_eq!(
        (asked.status.as_u16(), asked.location.as_str()),
        (303, "/systems/Lab/actions/1")
    );
    let mut work = store.look().await.unwrap();
    assert_eq!(work.action(1).await.unwrap().unwrap().asked.by, "mira");
}

/// Each form is given back once, by whom it was given to, from the same site.
#[tokio::test]
async fn forms_of_others_are_not_taken() {
    let store = MemoryStore::new();
    let id = park(&store, &event(1, "/patient/1"), "boom").await;
    let app = console(store.clone());
    let mut asha = Browser::signed_in(app.clone(), "asha").await;
    let mut other = Browser::signed_in(app.clone(), "asha").await;
    let path = format!("/systems/Lab/failed/{id}/reset");
    let form = asha.page(&path).await;
    let fields = hidden(&form);
    let with = |token: Option<&str>| -> Vec<(String, String)> {
        let mut fields: Vec<_> = fields
            .iter()
            .filter(|(name, _)| name != "token")
            .cloned()
            .collect();
        fields.extend(token.map(|token| ("token".to_owned(), token.to_owned())));
        fields.push(("why".to_owned(), "a test".to_owned()));
        fields
    };
    let token = fields
        .iter()
        .find(|(name, _)| name == "token")
        .unwrap()
        .1
        .clone();
    let refs = |fields: &[(String, String)]| -> Vec<(String, String)> { fields.to_vec() };
    async fn post(
        browser: &mut Browser,
        path: &str,
        fields: Vec<(String, String)>,
        origin: Option<&str>,
    ) -> StatusCode {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        browser.post_from(path, &fields, origin).await.status
    }
    let here = Some("http://console:9080");
    for (token, origin) in [
        (None, here),
        (Some(""), here),
        (Some("0123"), here),
        (Some(token.as_str()), Some("http://evil:9080")),
        (Some(token.as_str()), Some("http://console:9081")),
        (Some(token.as_str()), Some("null")),
    ] {
        let status = post(&mut asha, &path, refs(&with(token)), origin).await;
        assert_eq!(status, 403, "{token:?} {origin:?}");
    }
    let status = post(&mut other, &path, with(Some(&token)), here).await;
    assert_eq!(status, 403, "of another session");
    let status = post(&mut asha, &path, with(Some(&token)), here).await;
    assert_eq!(status, 303);
    let status = post(&mut asha, &path, with(Some(&token)), here).await;
    assert_eq!(status, 403, "a second time");
    // Who comes by a header needs none, but no browser sends that for another site.
    let body =
        json!({ "kind": "reset-retries", "feed": FEED, "failed_event_id": id, "why": "a script" });
    let mut script = Browser::new(app.clone());
    let answer = script
        .send(json_request(
            "POST",
            "/api/systems/Lab/actions",
            ASHA,
            &body,
        ))
        .await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let mut elsewhere = json_request("POST", "/api/systems/Lab/actions", ASHA, &body);
    elsewhere
        .headers_mut()
        .insert(ORIGIN, "http://evil".parse().unwrap());
    assert_eq!(script.send(elsewhere).await.status, 403);
    let mut with_cookie = json_request("POST", "/api/systems/Lab/actions", ASHA, &body);
    with_cookie.headers_mut().remove(AUTHORIZATION);
    assert_eq!(asha.send(with_cookie).await.status, 403);
    let mut work = store.look().await.unwrap();
    assert_eq!(
        work.actions(&ActionQuery::newest(10)).await.unwrap().len(),
        2
    );
    drop(work);

    // Who has signed out is a stranger.
    let overview = asha.page("/").await;
    let token = hidden(&overview)[0].1.clone();
    let out = asha.post("/sign-out", &[("token", &token)]).await;
    assert_eq!(out.status, 303);
    assert_eq!(asha.get("/").await.status, 303);
}

#[tokio::test]
async fn who_may_look_may_change_nothing() {
    let store = MemoryStore::new();
    let id = park(&store, &event(1, "/patient/1"), "boom").await;
    let app = console(store.clone());
    let mut ravi = Browser::signed_in(app.clone(), "ravi").await;
    let page = ravi.page(&format!("/systems/Lab/failed/{id}")).await;
    assert!(!page.contains("/skip"));
    for act in ["retry", "edit", "reset", "skip"] {
        let path = format!("/systems/Lab/failed/{id}/{act}");
        assert_eq!(ravi.get(&path).await.status, 403);
        // Their own token, from elsewhere on the page.
        let token = hidden(&ravi.page("/").await)[0].1.clone();
        let fields = [
            ("token", token.as_str()),
            ("feed", FEED),
            ("why", "x"),
            ("detail", "y"),
        ];
        assert_eq!(ravi.post(&path, &fields).await.status, 403);
    }
    for kind in ActionKind::ALL {
        let body =
            json!({ "kind": kind.as_str(), "feed": FEED, "failed_event_id": id, "why": "x" });
        let request = json_request("POST", "/api/systems/Lab/actions", RAVI, &body);
        assert_eq!(ravi.send(request).await.status, 403);
    }
    let mut work = store.look().await.unwrap();
    assert_eq!(work.actions(&ActionQuery::newest(1)).await.unwrap(), []);
}

/// Whatever an event is made of, it is text.
#[tokio::test]
async fn what_is_hostile_is_shown_as_text() {
    let store = MemoryStore::new();
    let evil =
        "<script>alert(1)</script>]]><img src=x onerror=alert(1)>\u{202e}'\"&amp;{{7*7}}\0\u{7f}";
    let large = format!("{{\"a\":\"{}\"}}", "<b>".repeat(5 << 20 >> 2));
    let hostile = Event::new(EntryId::new(format!("tag:{evil}")).unwrap(), feed())
        .with_text(evil, evil)
        .with_tags_column(evil);
    let mut work = store.change().await.unwrap();
    let failure = Failure::new(evil, SystemClock.now());
    let id = work.park(&hostile, &failure).await.unwrap();
    let place = Place {
        key: Some(evil.to_owned()),
        due_at: None,
    };
    work.place(&feed(), id, &place).await.unwrap();
    let failed = work.parked_event(id).await.unwrap().unwrap();
    work.record_failed_retry(&failed, &failure).await.unwrap();
    work.move_marker(
        None,
        &Marker::new(feed())
            .on_page(evil)
            .after(EntryId::new(evil).unwrap()),
    )
    .await
    .unwrap();
    let mut status = FeedStatus::new(feed());
    (status.error_message, status.seen_at) = (Some(evil.to_owned()), Some(SystemClock.now()));
    work.put_status(&status).await.unwrap();
    work.commit().await.unwrap();
    let big = park(&store, &event(2, &large), evil).await;

    let mut asha = Browser::signed_in(console(store.clone()), "asha").await;
    let asked = asha
        .fill(
            &format!("/systems/Lab/failed/{id}/edit"),
            &[("detail", "<script>"), ("why", "<script>")],
        )
        .await;
    assert_eq!(asked.status, 303, "{}", asked.body);
    let action = asked.location.replace(MOUNT, "");
    let query: String = form_urlencoded::byte_serialize(evil.as_bytes()).collect();
    for path in [
        "/".to_owned(),
        "/failed".to_owned(),
        format!("/failed?title={query}&key={query}&error={query}"),
        format!("/systems/Lab/failed/{id}"),
        format!("/systems/Lab/failed/{id}/edit"),
        format!("/systems/Lab/failed/{big}"),
        format!("/systems/Lab/retry?feed={FEED}&title={query}"),
        format!("/systems/Lab/marker?feed={FEED}&position={query}"),
        "/markers".to_owned(),
        "/actions".to_owned(),
        action,
        format!("/sign-in?next={query}"),
    ] {
        let page = asha.page(&path).await;
        assert!(!page.contains("<script>alert"), "{path}");
        assert!(!page.contains("<img"), "{path}");
        assert!(!page.contains("<b>"), "{path}");
        assert!(
            // In a field it stays what it is.
            !page.contains('\u{202e}') || path.ends_with("/edit") || path.contains('?'),
            "{path}"
        );
        assert_eq!(page.matches("<script").count(), 1, "{path}");
        assert!(
            !page.contains(" style=") && !page.contains("onerror=alert(1)>"),
            "{path}"
        );
        assert!(page.len() < 600_000, "{path} has {} bytes", page.len());
    }
    let page = asha
        .get(&format!("/systems/Lab/failed/{big}/content"))
        .await;
    assert_eq!(page.body, large);
    assert_eq!(page.headers[CONTENT_TYPE], "text/plain; charset=utf-8");
    assert!(
        page.headers["content-disposition"]
            .to_str()
            .unwrap()
            .starts_with("attachment")
    );
    let csv = asha.page("/systems/Lab/export/csv").await;
    assert_eq!(csv.matches("\r\n").count(), 3);
    // Nobody is led elsewhere by signing in.
    for next in [
        "https://evil/",
        "//evil/",
        "/\\evil",
        "/atomfeed-console/\\..",
        "x",
    ] {
        let to = asha
            .post(
                "/sign-in",
                &[("name", "asha"), ("password", "pw"), ("next", next)],
            )
            .await;
        assert_eq!(to.location, "/atomfeed-console/", "{next}");
    }
}

/// As the original parks them: each message names a page, and each content differs.
#[tokio::test]
async fn who_looks_for_a_text_in_ten_thousand_and_one_is_led_to_all_of_them() {
    let store = MemoryStore::new();
    let mut work = store.change().await.unwrap();
    for number in 0..=10_000 {
        let message = match number {
            0 => "only the first has <this>",
            _ => "the others have that",
        };
        let failure = Failure::new(message, SystemClock.now());
        work.park(&event(number, "/patient/1"), &failure)
            .await
            .unwrap();
    }
    work.commit().await.unwrap();
    let mut asha = Browser::signed_in(console(store), "asha").await;
    let mut path = "/failed?system=Lab&error=HAS+%3Cthis".to_owned();
    let mut led_on = 0;
    let page = loop {
        let page = asha.page(&path).await;
        if !page.contains("more were looked at") {
            break page;
        }
        assert!(page.contains("Lab: at least 0 parked"), "{page}");
        assert!(!page.contains("Nothing"), "{page}");
        led_on += 1;
        let (_, next) = page
            .split_once("<a rel=\"next\" href=\"/atomfeed-console")
            .unwrap();
        let next = next.split('"').next().unwrap();
        path = next.replace("&amp;", "&").replace("&#38;", "&");
    };
    assert_eq!(led_on, 2);
    assert_eq!(page.matches("<span class=\"number\">").count(), 1);
    // An event has a name, too, and what is no question is no answer to another one.
    let json = asha.page("/api/systems/Lab/failed?event=tag:7").await;
    assert_eq!(json.matches("\"event_id\"").count(), 1, "{json}");
    let refused = asha.get("/failed?titel=7").await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    // Where few are left nobody is led on.
    let page = asha
        .page("/failed?system=Lab&title=nowhere&before=4000")
        .await;
    assert!(
        page.contains("Nothing more is parked that is like this."),
        "{page}"
    );
    assert!(!page.contains("rel=\"next\""), "{page}");
}

#[tokio::test]
async fn a_thousand_failures_of_one_cause_are_one_group() {
    let store = MemoryStore::new();
    let mut work = store.change().await.unwrap();
    for number in 0..1_000 {
        let message = format!(
            "Failed processing event in feed [http://emr:8050/openmrs/ws/atomfeed/patient/{}] \
             org.openmrs.api.APIException: no patient {} at http://emr/patient/{number}\n\tat line {number}",
            number / 5,
            uuid::Uuid::new_v4()
        );
        let failure = Failure::new(message, SystemClock.now());
        work.park(&event(number, &format!("/patient/{number}")), &failure)
            .await
            .unwrap();
    }
    work.commit().await.unwrap();
    let mut asha = Browser::signed_in(console(store.clone()), "asha").await;
    let page = asha.page("/failed").await;
    assert_eq!(page.matches("Retry all<span").count(), 1);
    assert!(
        page.contains("org.openmrs.api.APIException: no patient &#60;uuid&#62; at &#60;url&#62;"),
        "{page}"
    );
    assert!(page.contains("<td>1\u{202f}000</td>"));
    // The whole of them can be paged through.
    let (mut seen, mut path) = (0, "/failed?system=Lab".to_owned());
    loop {
        let page = asha.page(&path).await;
        seen += page.matches("<span class=\"number\">").count();
        let Some((_, next)) = page.split_once("<a rel=\"next\" href=\"/atomfeed-console") else {
            break;
        };
        path = next
            .split('"')
            .next()
            .unwrap()
            .replace("&amp;", "&")
            .replace("&#38;", "&");
    }
    assert_eq!(seen, 1_000);
    let group = page.split("&amp;reason=").nth(1).unwrap()[..36].to_owned();
    let asked = asha
        .fill(
            &format!("/systems/Lab/retry?feed={FEED}&reason={group}"),
            &[("why", "the EMR is back")],
        )
        .await;
    assert_eq!(asked.status, 303, "{}", asked.body);
    let mut work = store.look().await.unwrap();
    let action = work.action(1).await.unwrap().unwrap();
    assert_eq!(
        (action.asked.kind, action.asked.by.as_str()),
        (ActionKind::RetryMany, "asha")
    );
    let filter: FailureFilter = action.asked.detail.parse().unwrap();
    assert_eq!(work.failure_count(&filter).await.unwrap(), 1_000);
}

/// As the console of the original answered.
#[tokio::test]
async fn scripts_of_the_old_console_keep_working() {
    let store = MemoryStore::new();
    let id = park(&store, &event(1, "/patient/1"), "boom").await;
    let mut work = store.change().await.unwrap();
    let marker = Marker::new(feed())
        .after(EntryId::new("tag:9").unwrap())
        .on_page("http://emr/9");
    work.move_marker(None, &marker).await.unwrap();
    let failed = work.parked_event(id).await.unwrap().unwrap();
    let at = "2024-03-01T08:01:00.123Z".parse().unwrap();
    work.record_failed_retry(&failed, &Failure::new("again", at))
        .await
        .unwrap();
    work.commit().await.unwrap();
    let mut script = Browser::new(console(store.clone()));
    let mut ask = async |method: &str, path: String| {
        let page = script
            .send(json_request(method, &path, ASHA, &Value::Null))
            .await;
        (page.status.as_u16(), page.body)
    };
    let read = |body: &str| -> Value { serde_json::from_str(body).unwrap() };
    assert_eq!(read(&ask("GET", "/apps".into()).await.1), json!(["Lab"]));
    assert_eq!(
        read(&ask("GET", "/apps/Lab/feedStatus".into()).await.1),
        json!([{ "feedUri": FEED, "lastReadEntry": "tag:9", "countOfFailedEvents": 1 }])
    );
    let failed = read(
        &ask("GET", format!("/apps/Lab/failedEvent?feedUri={FEED}"))
            .await
            .1,
    );
    let failed_at = failed[0]["failedAt"].as_i64().unwrap();
    assert!((SystemClock.now().timestamp_millis() - failed_at).abs() < 600_000);
    assert_eq!(
        failed,
        json!([{
            "feedUri": FEED, "eventId": "tag:1", "failedAt": failed_at, "errorMessage": "boom", "retries": 1,
            "event": {
                "id": "tag:1", "title": "Title 1", "content": "/patient/1", "feedUri": FEED,
                "categories": ["Patient", "urgent"], "updatedDate": null, "dateCreated": null,
            },
        }])
    );
    assert_eq!(
        read(
            &ask("GET", "/apps/Lab/failedEvent/tag:1/retryLog".into())
                .await
                .1
        ),
        json!([{
            "feedUri": FEED, "failedAt": 1_709_280_060_123_i64, "errorMessage": "again", "eventId": "tag:1",
            "eventContent": "/patient/1",
        }])
    );
    let reset = "/apps/Lab/failedEvent/tag:1/resetRetryCount";
    assert_eq!(ask("POST", reset.into()).await, (200, String::new()));
    assert_eq!(ask("POST", reset.replace(":1", ":2")).await.0, 404);
    assert_eq!(ask("GET", "/apps/Nobody/feedStatus".into()).await.0, 404);
    assert_eq!(ask("GET", "/apps/Lab/failedEvent".into()).await.0, 400);
    let mut work = store.look().await.unwrap();
    assert_eq!(
        work.action(1).await.unwrap().unwrap().asked.kind,
        ActionKind::ResetRetries
    );
}

/// What is away is said to be, and everything else goes on.
#[tokio::test(start_paused = true)]
async fn a_database_that_is_away_is_said_to_be() {
    let store = MemoryStore::new();
    park(&store, &event(1, "/patient/1"), "boom").await;
    let app = Console::new(Two)
        .with_system("Lab", store)
        .with_system_to_open("Refused", || {
            Box::pin(async {
                Err(StoreError::new(
                    StoreErrorKind::Unavailable,
                    "opening it: there is no such <file>",
                ))
            })
        })
        .with_system_to_open("Silent", || Box::pin(std::future::pending()))
        .into_router(MOUNT);
    let mut asha = Browser::signed_in(app, "asha").await;
    for path in ["/", "/failed", "/markers", "/actions"] {
        let page = asha.page(path).await;
        assert!(page.contains("there is no such &#60;file&#62;"), "{path}");
        assert!(page.contains("does not answer within 5s"), "{path}");
        assert!(page.contains("Lab"), "{path}");
    }
    let page = asha.get("/systems/Silent/failed/1").await;
    assert_eq!(page.status, 503);
    assert!(page.body.contains("does not answer"));
}

/// Tables of systems that run the original: what they can carry is done at once, and the page says so.
async fn on_adopted<H: Harness>(harness: &H)
where
    H::Store: ConsoleStore + Clone,
{
    let store = harness.store().await;
    let mut ids = Vec::new();
    for number in 1..=5 {
        ids.push(
            park(
                &store,
                &event(number, &format!("/patient/{number}?a&b")),
                "java.lang.Exception: boom",
            )
            .await,
        );
    }
    let mut work = store.change().await.unwrap();
    let marker = Marker::new(feed())
        .after(EntryId::new("tag:0").unwrap())
        .on_page("http://emr:8050/1");
    work.move_marker(None, &marker).await.unwrap();
    let failed = work.parked_event(ids[0]).await.unwrap().unwrap();
    for _ in 0..6 {
        work.record_failed_retry(&failed, &Failure::new("again", SystemClock.now()))
            .await
            .unwrap();
    }
    work.commit().await.unwrap();
    let mut asha = Browser::signed_in(console(store.clone()), "asha").await;
    let overview = asha.page("/").await;
    assert!(overview.contains("tables of another program"), "{overview}");
    let event = asha.page(&format!("/systems/Lab/failed/{}", ids[0])).await;
    assert!(event.contains("Another program runs this feed"));

    let outcome = async |asha: &mut Browser, path: String, fields: &[(&str, &str)]| {
        let asked = asha.fill(&path, fields).await;
        assert_eq!(asked.status, 303, "{path}: {}", asked.body);
        asha.page(&asked.location.replace(MOUNT, "")).await
    };
    let why = ("why", "a test");
    let page = outcome(
        &mut asha,
        format!("/systems/Lab/failed/{}/retry", ids[0]),
        &[why],
    )
    .await;
    assert!(page.contains("its retries are 0"), "{page}");
    let edit = [("detail", "/patient/12?c"), why];
    outcome(
        &mut asha,
        format!("/systems/Lab/failed/{}/edit", ids[1]),
        &edit,
    )
    .await;
    outcome(
        &mut asha,
        format!("/systems/Lab/failed/{}/skip", ids[2]),
        &[why],
    )
    .await;
    let page = outcome(&mut asha, format!("/systems/Lab/retry?feed={FEED}"), &[why]).await;
    assert!(page.contains("tries 4 again"), "{page}");
    // What a console was at that was ended in the middle is gone on with once somebody looks.
    let long_ago = SystemClock.now() - chrono::TimeDelta::minutes(3);
    let many = NewAction {
        feed_uri: feed(),
        kind: ActionKind::RetryMany,
        failed_event_id: None,
        event_id: None,
        detail: String::new(),
        by: "asha".to_owned(),
        why: "a test".to_owned(),
        at: long_ago,
    };
    let begun = ActionProgress::waiting(long_ago).then(ActionState::Running, long_ago, "");
    let mut work = store.change().await.unwrap();
    let many = work.ask(&many, &begun).await.unwrap();
    work.commit().await.unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !asha
        .page(&format!("/systems/Lab/actions/{many}"))
        .await
        .contains("tries 4 again")
    {
        assert!(std::time::Instant::now() < until, "nobody goes on with it");
    }
    let place = [("page", "http://emr:8050/7"), ("entry", "tag:7")];
    let page = outcome(
        &mut asha,
        format!("/systems/Lab/marker?feed={FEED}"),
        &place,
    )
    .await;
    assert!(page.contains("behind tag:7 on http://emr:8050/7"), "{page}");
    let path = format!("/systems/Lab/marker?feed={FEED}&position=http://emr:8050/7%20tag:7");
    let page = outcome(&mut asha, path, &[why]).await;
    assert!(
        page.contains("behind tag:0 on http://emr:8050/1"),
        "where it was: {page}"
    );
    let preview = asha
        .fill(
            "/systems/Lab/rebase",
            &[
                ("from", "http://emr:8050"),
                ("to", "https://emr.example.org"),
            ],
        )
        .await;
    let preview = preview.location.replace(MOUNT, "");
    assert!(
        asha.page(&preview)
            .await
            .contains("1 markers, 4 parked events")
    );
    let page = outcome(&mut asha, preview, &[why]).await;
    assert!(page.contains("1 markers, 4 parked events"), "{page}");

    let mut work = store.look().await.unwrap();
    let moved: FeedUri = FEED
        .replace("http://emr:8050", "https://emr.example.org")
        .parse()
        .unwrap();
    let marker = work.marker(&moved).await.unwrap().unwrap();
    assert_eq!(
        marker.last_read_entry_id().map(EntryId::as_str),
        Some("tag:7")
    );
    let edited = work.parked_event(ids[1]).await.unwrap().unwrap();
    assert_eq!(edited.event.content(), "/patient/12?c");
    assert!(work.parked_event(ids[2]).await.unwrap().is_none());
    assert_eq!(work.parked_event(ids[0]).await.unwrap().unwrap().retries, 0);
    let actions = work.actions(&ActionQuery::newest(100)).await.unwrap();
    assert_eq!(actions.len(), 8);
    assert!(
        actions
            .iter()
            .all(|action| action.progress.state == ActionState::Done)
    );
}

macro_rules! adopted {
    ($($name:ident: $harness:expr;)+) => {
        $(
            #[tokio::test]
            async fn $name() {
                if let Some(harness) = $harness {
                    on_adopted(&harness).await;
                }
            }
        )+
    };
}

adopted! {
    on_the_tables_of_odoo: PostgresHarness::odoo();
    on_the_tables_of_openelis: PostgresHarness::openelis();
    on_the_tables_of_openmrs: MySqlHarness::openmrs();
    on_the_tables_of_openmrs_sync2: MySqlHarness::openmrs_sync2();
}

/// HL7 has line ends that no form has; and what somebody else has changed meanwhile is not written over.
#[tokio::test]
async fn an_edit_keeps_the_line_ends_and_what_others_did() {
    let store = MemoryStore::new();
    let mut asha = Browser::signed_in(console(store.clone()), "asha").await;
    for (content, typed, edited) in [
        (
            "MSH|1\rPID|2\r",
            "MSH|1\r\nPID|3\r\n",
            Some("MSH|1\rPID|3\r"),
        ),
        ("a\r\nb", "a\r\nc", Some("a\r\nc")),
        ("a\nb", "a\r\nc", Some("a\nc")),
        ("a", "a\r\nc", Some("a\nc")),
        ("a\r\nb\nc", "a\r\nb\r\nd", None),
    ] {
        let id = park(&store, &event(1, content), "boom").await;
        let path = format!("/systems/Lab/failed/{id}/edit");
        let fields = [("detail", typed), ("why", "a test")];
        let asked = asha.fill(&path, &fields).await;
        let mut work = store.look().await.unwrap();
        let actions = work
            .actions(&ActionQuery::newest(1).of_event(feed(), id))
            .await
            .unwrap();
        let detail = actions.first().map(|action| action.asked.detail.as_str());
        assert_eq!(detail, edited, "{content:?} {}", asked.status);
    }
    let id = park(&store, &event(1, "as it was"), "boom").await;
    let path = format!("/systems/Lab/failed/{id}/edit");
    let form = asha.page(&path).await;
    let mut work = store.change().await.unwrap();
    let failed = work.parked_event(id).await.unwrap().unwrap();
    work.edit_content(&failed, "by somebody else")
        .await
        .unwrap();
    work.commit().await.unwrap();
    let mut fields = hidden(&form);
    fields.extend([("why", "x"), ("detail", "y")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let late = asha.post(&path, &fields).await;
    assert_eq!(late.status, 409);
    assert!(
        late.body.contains("somebody else has changed it"),
        "{}",
        late.body
    );
}

/// What is asked for is taken up by who runs, and can be called off until then.
#[tokio::test]
async fn what_is_asked_for_can_be_watched_and_called_off() {
    let store = MemoryStore::new();
    let id = park(&store, &event(1, "/patient/1"), "boom").await;
    let mut asha = Browser::signed_in(console(store.clone()), "asha").await;
    let asked = asha
        .fill(
            &format!("/systems/Lab/failed/{id}/retry"),
            &[("why", "the lab is back")],
        )
        .await;
    let path = asked.location.replace(MOUNT, "");
    let page = asha.page(&path).await;
    for words in [
        "waiting for the consumer",
        "the lab is back",
        "asha",
        "hx-trigger=\"every 1s\"",
        "Call it off",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let token = hidden(&page).pop().unwrap().1;
    let off = asha
        .post(&format!("{path}/call-off"), &[("token", &token)])
        .await;
    assert_eq!(off.status, 303, "{}", off.body);
    let page = asha.page(&path).await;
    assert!(
        page.contains("called off by asha") && !page.contains("hx-get"),
        "{page}"
    );
    // Two do not edit it, or give it up, at once.
    let why = ("why", "it is wrong");
    let edit = asha
        .fill(
            &format!("/systems/Lab/failed/{id}/edit"),
            &[("detail", "/patient/2"), why],
        )
        .await;
    assert_eq!(edit.status, 303, "{}", edit.body);
    let skip = asha
        .fill(&format!("/systems/Lab/failed/{id}/skip"), &[why])
        .await;
    assert_eq!(skip.status, 409, "{}", skip.body);
    assert!(skip.body.contains("call that off"), "{}", skip.body);
    let event = asha.page(&format!("/systems/Lab/failed/{id}")).await;
    assert!(event.contains("What was done about it"));
    // Without a reason, or of what is gone, nothing is asked.
    let asked = asha
        .fill(&format!("/systems/Lab/failed/{id}/skip"), &[("why", "  ")])
        .await;
    assert_eq!(asked.status, 400);
    let form = asha.page(&format!("/systems/Lab/failed/{id}/skip")).await;
    let mut work = store.change().await.unwrap();
    let failed = work.parked_event(id).await.unwrap().unwrap();
    work.remove_failed_event(&failed).await.unwrap();
    work.commit().await.unwrap();
    let mut fields = hidden(&form);
    fields.push(("why".to_owned(), "x".to_owned()));
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let late = asha
        .post(&format!("/systems/Lab/failed/{id}/skip"), &fields)
        .await;
    assert_eq!(late.status, 409, "{}", late.body);
    assert_eq!(
        asha.get(&format!("/systems/Lab/failed/{id}")).await.status,
        404
    );
}
