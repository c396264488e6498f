//! A feed that is not for everybody, behind nginx: what one may see is in no cache for another.

#![allow(clippy::unwrap_used)]

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use atomfeed_core::NewEvent;
use atomfeed_core::store::{ConsumerStore, MemoryStore};
use atomfeed_server::{
    Audience, CancellationToken, EventFeedService, FeedConfig, FeedRouter, FeedServer, Publisher,
};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use url::Url;

use crate::nginx::{Front, Nginx};

/// The paths that reached our server, and who was let in.
type Asked = Arc<Mutex<Vec<(String, bool)>>>;

/// A feed of 45 events on pages of ten, in this process, and nginx before it.
struct Feed {
    nginx: Nginx,
    asked: Asked,
    http: reqwest::Client,
}

const CREDENTIALS: [(&str, &str); 2] = [
    ("authorization", "Basic bGFiOnNlY3JldA=="),
    ("cookie", "JSESSIONID=secret"),
];

/// Lets in who has credentials.
async fn guard(State(asked): State<Asked>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let is_known = CREDENTIALS.iter().any(|(name, value)| {
        request
            .headers()
            .get(*name)
            .is_some_and(|sent| sent == value)
    });
    asked.lock().unwrap().push((path, is_known));
    match is_known {
        true => next.run(request).await,
        false => (StatusCode::UNAUTHORIZED, "who are you?").into_response(),
    }
}

/// Writes down what is asked, and lets everybody in.
async fn count(State(asked): State<Asked>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    asked.lock().unwrap().push((path, true));
    next.run(request).await
}

impl Feed {
    async fn started(front: Front, audience: Audience, is_guarded: bool) -> Self {
        let store = MemoryStore::new();
        let publisher = Publisher::new(store.clone());
        let mut work = store.begin().await.unwrap();
        for number in 1..=45 {
            let event = NewEvent::new("Patient", format!("/patient/{number}"));
            publisher.publish(work.conn(), &event).await.unwrap();
        }
        work.commit().await.unwrap();
        let public: Url = front.url("/feed").parse().unwrap();
        let config = FeedConfig::new(public).with_page_size(10);
        let service = EventFeedService::open(store, config).await.unwrap();
        let router = FeedRouter::new(service).with_audience(audience);
        let app = axum::Router::new().nest("/feed", router.into_router());
        let asked = Asked::default();
        let app = match is_guarded {
            true => app.layer(from_fn_with_state(asked.clone(), guard)),
            false => app.layer(from_fn_with_state(asked.clone(), count)),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            nginx: front.before(&[address]),
            asked,
            http: reqwest::Client::new(),
        }
    }

    /// Status and body.
    async fn ask(&self, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let mut request = self.http.get(self.nginx.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// What reached our server since.
    fn take_asked(&self) -> Vec<(String, bool)> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

#[tokio::test]
async fn a_stranger_never_gets_what_somebody_else_was_given() {
    for audience in [Audience::WhoIsLetIn, Audience::Everyone] {
        let Some(front) = Front::new() else { return };
        let feed = Feed::started(front, audience, true).await;
        for path in ["/feed/1", "/feed/recent", "/feed/2?x=1"] {
            for known in CREDENTIALS {
                for _again in 0..2 {
                    let (status, page) = feed.ask(path, &[known]).await;
                    assert_eq!(status, 200, "{audience:?} {path} {known:?}");
                    assert!(page.contains("/patient/"));
                    for stranger in [
                        &[][..],
                        &[("prefer", "wait=1")],
                        &[("if-none-match", "*")],
                        &[("authorization", "Basic bGFiOndyb25n")],
                        &[("cookie", "JSESSIONID=another")],
                        &[("range", "bytes=0-10")],
                    ] {
                        let (status, page) = feed.ask(path, stranger).await;
                        assert_eq!(status, 401, "{audience:?} {path} {stranger:?}");
                        assert!(!page.contains("/patient/"), "{page}");
                    }
                }
            }
            // And each of them has reached our server: nothing came from a cache.
            let asked = feed.take_asked();
            assert_eq!(asked.len(), 2 * 2 * 7, "{asked:?}");
            assert_eq!(asked.iter().filter(|(_, is_known)| *is_known).count(), 4);
        }
    }
}

#[tokio::test]
async fn a_feed_for_everybody_is_cached_but_not_for_one_alone_nor_as_one_words_it() {
    let Some(front) = Front::new() else { return };
    let feed = Feed::started(front, Audience::Everyone, false).await;
    let (_, page) = feed.ask("/feed/1", &[("cookie", "a=b")]).await;
    assert_eq!(feed.take_asked().len(), 1);
    // What somebody asks first is not what the next one gets.
    let first = [
        &[("accept", "application/json")][..],
        &[("host", "evil.example.org")],
        &[("x-forwarded-host", "evil.example.org")],
        &[
            ("x-forwarded-proto", "gopher"),
            ("forwarded", "host=evil.example.org"),
        ],
        &[("if-match", "\"another\"")],
        &[("accept-encoding", "identity;q=0")],
        &[("range", "bytes=5-6")],
    ];
    for (number, headers) in first.iter().enumerate() {
        let path = format!("/feed/1?{number}");
        feed.ask(&path, headers).await;
        let (status, next) = feed.ask(&path, &[]).await;
        assert_eq!((status, &next), (200, &page), "after {headers:?}");
        assert!(!next.contains("evil"));
    }
    feed.take_asked();
    for query in ["", "?1", "?a=b&c", "?recent"] {
        let (status, again) = feed.ask(&format!("/feed/1{query}"), &[]).await;
        assert_eq!((status, again), (200, page.clone()));
    }
    assert_eq!(feed.take_asked(), [], "it is in the cache");
    // Other pages have not become one with it.
    let (_, second) = feed.ask("/feed/2", &[]).await;
    assert_ne!(second, page);
    feed.take_asked();
    for path in ["/feed/a%2Fb/1", "/feed/a/b/1", "/feed/1/", "/feed/%31"] {
        let (_, other) = feed.ask(path, &[]).await;
        let ours = feed.take_asked();
        assert_eq!(ours.len(), 1, "{path} {other}");
    }
}

/// Our server bounds how many requests of one client wait, and nginx is not one client.
#[tokio::test]
async fn clients_behind_nginx_are_told_apart() {
    let Some(front) = Front::new() else { return };
    let config = FeedConfig::new(front.url("/feed").parse().unwrap());
    let service = EventFeedService::open(MemoryStore::new(), config);
    let router = FeedRouter::new(service.await.unwrap()).with_most_waiting_a_client(1);
    let app = axum::Router::new().nest("/feed", router.into_router());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nginx = front.before(&[listener.local_addr().unwrap().to_string()]);
    let server = FeedServer::new(app).trust_proxies(["127.0.0.1/32".parse().unwrap()]);
    tokio::spawn(server.run(listener, CancellationToken::new()));
    let _ = rustls::crypto::ring::default_provider().install_default();

    let recent = nginx.url("/feed/recent");
    let page = reqwest::get(&recent).await.unwrap();
    let waits = async |address: [u8; 4]| {
        let client = reqwest::Client::builder().local_address(IpAddr::from(address));
        let request = client.build().unwrap().get(&recent);
        let request = request.header("if-none-match", &page.headers()["etag"]);
        let answer = request.header("prefer", "wait=2").send().await.unwrap();
        answer.headers().contains_key("preference-applied")
    };
    let [one, another] = [[127, 0, 0, 2], [127, 0, 0, 3]].map(&waits);
    assert_eq!(tokio::join!(one, another), (true, true));
}
