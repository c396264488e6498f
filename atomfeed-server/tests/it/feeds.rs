//! Ways to fill a store and to ask a feed that the tests share.

use std::sync::{Arc, Mutex, PoisonError};

use atomfeed_core::store::conformance::{Harness, sequence_all};
use atomfeed_core::store::{ConsumerStore, OutboxStore};
use atomfeed_core::{Clock, NewEvent};
use atomfeed_server::{EventFeedService, FeedConfig, FeedRouter, Publisher};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http_body_util::BodyExt;
use tower_service::Service;

pub(crate) const BASE: &str = "http://127.0.0.1:8080/feed";

pub(crate) fn config() -> FeedConfig {
    FeedConfig::new(BASE.parse().unwrap())
}

/// The feed as an application mounts it.
pub(crate) fn mounted(service: EventFeedService) -> Router {
    Router::new().nest("/feed", FeedRouter::new(service).into_router())
}

/// Publishes events, each in a transaction of its own, or all in one.
pub(crate) async fn publish<H: Harness>(
    store: &H::Store,
    events: impl IntoIterator<Item = NewEvent>,
) {
    let publisher = Publisher::new(store.clone());
    let mut work = store.begin().await.unwrap();
    for event in events {
        publisher.publish(work.conn(), &event).await.unwrap();
    }
    work.commit().await.unwrap();
    sequence_all(store).await;
}

/// As `publish`, at the time of a clock.
pub(crate) async fn publish_at<H: Harness>(store: &H::Store, clock: &HandClock, title: &str) {
    let mut work = store.begin().await.unwrap();
    store
        .publish(work.conn(), &NewEvent::new(title, ""), clock.now())
        .await
        .unwrap();
    work.commit().await.unwrap();
    sequence_all(store).await;
}

pub(crate) async fn send(router: &Router, method: &str, path: &str) -> Response<Body> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::empty())
        .unwrap();
    router.clone().call(request).await.unwrap()
}

/// Sends a GET with these headers.
pub(crate) async fn ask(router: &Router, path: &str, headers: &[(&str, &str)]) -> Answer {
    ask_with(router, "GET", path, headers).await
}

pub(crate) async fn ask_with(
    router: &Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = router.clone().call(request).await.unwrap();
    let (head, body) = response.into_parts();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// A header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub(crate) async fn get(router: &Router, path: &str) -> (StatusCode, String) {
    let response = send(router, "GET", path).await;
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// A clock that is set by hand.
#[derive(Debug, Clone)]
pub(crate) struct HandClock(Arc<Mutex<DateTime<Utc>>>);

impl HandClock {
    pub(crate) fn at(time: &str) -> Self {
        Self(Arc::new(Mutex::new(time.parse().unwrap())))
    }

    pub(crate) fn move_by(&self, delta: TimeDelta) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += delta;
    }
}

impl Clock for HandClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One named test for each store of a case that is a function over a harness; nothing, where there
/// is no server to run on.
macro_rules! on_every_store {
    ($($case:ident),+ $(,)?) => {
        $crate::feeds::on_every_store!(@ on_memory, Some(MemoryHarness); $($case),+);
        $crate::feeds::on_every_store!(@ on_sqlite, Some(SqliteHarness::default()); $($case),+);
        $crate::feeds::on_every_store!(@ on_postgres, PostgresHarness::from_env(); $($case),+);
        $crate::feeds::on_every_store!(@ on_mysql, MySqlHarness::from_env(); $($case),+);
    };
    (@ $store:ident, $harness:expr; $($case:ident),+) => {
        mod $store {
            #[allow(unused_imports)]
            use atomfeed_core::store::conformance::{
                MemoryHarness, MySqlHarness, PostgresHarness, SqliteHarness,
            };

            $(#[tokio::test]
            async fn $case() {
                if let Some(harness) = $harness {
                    super::$case(&harness).await;
                }
            })+
        }
    };
}

pub(crate) use on_every_store;
