//! What lets only those read feed-servers behind it who have logged in, as OpenMRS and OpenELIS do.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderName, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use reqwest::redirect::Policy;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::emr::{Emr, event, ndjson};

/// The door.
#[derive(Clone)]
pub(super) struct Door {
    login: fn(&Heard) -> bool,
    session: &'static str,
    /// What is behind it, below which path.
    behind: Vec<(&'static str, String)>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

/// What was asked for.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) authorization: String,
    pub(super) cookie: String,
    pub(super) body: Bytes,
}

impl Door {
    /// Lets in by a session of OpenMRS.
    pub(super) fn of_openmrs(heard: &Heard) -> bool {
        // admin:made-up
        heard.method == Method::GET
            && heard.path == "/openmrs/ws/rest/v1/session"
            && heard.authorization == "Basic YWRtaW46bWFkZS11cA=="
    }

    /// Lets in by a form, as OpenELIS does.
    pub(super) fn of_openelis(heard: &Heard) -> bool {
        heard.method == Method::POST
            && heard.path == "/openelis/ws/feed/patient/recent"
            && heard.body == "loginName=atomfeed&password=made-up"
    }

    async fn answer(State(door): State<Self>, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let header = |name: HeaderName| {
            let value = head.headers.get(name);
            value.map_or("", |value| value.to_str().unwrap()).to_owned()
        };
        let heard = Heard {
            authorization: header(AUTHORIZATION),
            cookie: header(COOKIE),
            path: head.uri.path().to_owned(),
            method: head.method,
            body: to_bytes(body, 10_000).await.unwrap(),
        };
        door.heard.lock().unwrap().push(heard.clone());
        if (door.login)(&heard) {
            let session = [(SET_COOKIE, format!("{}; Path=/; HttpOnly", door.session))];
            return (session, r#"{"authenticated": true}"#).into_response();
        }
        if heard.cookie != door.session {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        let mut behind = door.behind.iter();
        let Some((_, behind)) = behind.find(|(mount, _)| heard.path.starts_with(*mount)) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        // A redirect is for whoever has logged in, too.
        let forwarding = reqwest::Client::builder().redirect(Policy::none()).build();
        let url = format!("{behind}{}", heard.path);
        let answer = forwarding.unwrap().get(url).send().await.unwrap();
        let mut forwarded = HeaderMap::new();
        for name in [CONTENT_TYPE, LOCATION] {
            if let Some(value) = answer.headers().get(&name) {
                forwarded.insert(name, value.clone());
            }
        }
        let status = answer.status();
        (status, forwarded, answer.bytes().await.unwrap()).into_response()
    }
}

/// A server that publishes events behind a door.
pub(super) struct Guarded {
    pub(super) address: String,
    heard: Arc<Mutex<Vec<Heard>>>,
    _behind: Vec<Emr>,
}

impl Guarded {
    /// Publishes the events of these numbers below a path, at an address that is free.
    pub(super) async fn start(
        folder: &Path,
        mount: &'static str,
        numbers: impl IntoIterator<Item = u32>,
        login: fn(&Heard) -> bool,
        session: &'static str,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let events = numbers.into_iter().map(event).collect();
        Self::at(listener, folder, &[(mount, events)], login, session)
    }

    /// Publishes events below each path.
    pub(super) fn at(
        listener: TcpListener,
        folder: &Path,
        published: &[(&'static str, Vec<Value>)],
        login: fn(&Heard) -> bool,
        session: &'static str,
    ) -> Self {
        let address = listener.local_addr().unwrap().to_string();
        let (mut behind, mut servers) = (Vec::new(), Vec::new());
        for (number, (mount, events)) in published.iter().enumerate() {
            let folder = folder.join(number.to_string());
            std::fs::create_dir_all(&folder).unwrap();
            let file = ndjson(&folder, events.iter().cloned());
            let public = format!("http://{address}{mount}");
            let options = [
                "--public-url",
                &public,
                "--mount",
                mount,
                "--page-size",
                "2",
                "--import",
                &file,
            ];
            let server = Emr::start("memory:", &options);
            behind.push((*mount, server.url("")));
            servers.push(server);
        }
        let heard = Arc::default();
        let door = Door {
            login,
            session,
            behind,
            heard: Arc::clone(&heard),
        };
        let app = Router::new().fallback(Door::answer).with_state(door);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self {
            address,
            heard,
            _behind: servers,
        }
    }

    pub(super) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// How often it was asked for something below a path.
    pub(super) fn asked_for(&self, path: &str) -> usize {
        let heard = self.heard();
        heard
            .iter()
            .filter(|heard| heard.path.starts_with(path))
            .count()
    }
}
