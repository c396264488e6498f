//! The console as its router answers: who is let in, what is shown, and what is asked for.

mod adopted;
mod asked;
mod door;
mod handed_out;
mod original;
mod sessions;
mod shown;
mod undone;

use async_trait::async_trait;
use atomfeed_client::console::{Console, ConsoleUsers, Role};
use atomfeed_core::store::ConsoleStore;
use atomfeed_core::{ActionKind, Clock, EntryId, Event, Failure, FeedUri, NewAction, SystemClock};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE};
use axum::http::{Request, Response, StatusCode};
use chrono::{DateTime, Utc};
use serde_json::Value;
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

/// What Asha asks for: that all of the feed are tried again.
fn retry_of_many(at: DateTime<Utc>) -> NewAction {
    NewAction {
        feed_uri: feed(),
        kind: ActionKind::RetryMany,
        failed_event_id: None,
        event_id: None,
        detail: String::new(),
        by: "asha".to_owned(),
        why: "a test".to_owned(),
        at,
    }
}
