//! Who is admitted by credentials, and what the others are told.

use atomfeed_core::store::MemoryStore;
use atomfeed_core::store::conformance::{Harness, MemoryHarness};
use atomfeed_server::{EventFeedService, FeedRouter, InvalidCredentials, RequireCredentials};
use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, Request, Response};
use axum::routing::get;
use http_body_util::BodyExt;
use tower_service::Service;

use crate::feeds::config;

/// base64 of `lab:secret`, and so on.
const LAB: &str = "Basic bGFiOnNlY3JldA==";
const WARD: &str = "Basic d2FyZDpww6Rzc3fDtnJk"; // ward:pässwörd

fn guard() -> RequireCredentials {
    RequireCredentials::basic("lab", "secret")
        .and_then(|guard| guard.or_basic("ward", "pässwörd"))
        .and_then(|guard| guard.or_bearer("abc.DEF-123="))
        .and_then(|guard| guard.or_bearer("other"))
        .unwrap()
}

async fn feed(guard: RequireCredentials) -> Router {
    let store: MemoryStore = MemoryHarness.store().await;
    let service = EventFeedService::open(store, config()).await.unwrap();
    let feed = FeedRouter::new(service).into_router();
    Router::new()
        .nest("/feed", feed)
        .route(
            "/sent",
            get(async |headers: HeaderMap| headers[AUTHORIZATION].as_bytes().to_vec()),
        )
        .layer(guard)
        .route("/open", get(async || "open"))
}

async fn ask(app: &Router, path: &str, authorization: &[&str]) -> Response<Body> {
    let mut request = Request::get(path);
    for line in authorization {
        request = request.header(AUTHORIZATION, *line);
    }
    let request = request.body(Body::empty()).unwrap();
    app.clone().call(request).await.unwrap()
}

#[tokio::test]
async fn who_has_credentials_is_admitted_and_nobody_else() {
    let app = feed(guard()).await;
    for (authorization, status) in [
        (&[LAB][..], 200),
        (&["basic bGFiOnNlY3JldA=="], 200),
        (&["BASIC  bGFiOnNlY3JldA== "], 200),
        (&[WARD], 200),
        (&["Bearer abc.DEF-123="], 200),
        (&["bearer other"], 200),
        (&[], 401),
        (&[""], 401),
        (&["Basic"], 401),
        (&["Basic "], 401),
        (&["Bearer "], 401),
        (&["Basic bGFiOnNlY3JldA"], 401),
        (&["Basic bGFiOnNlY3Jl"], 401),
        (&["Basic bGFiOnNlY3JldA==x"], 401),
        (&["Basic bGFiOg=="], 401),
        (&["Basic bGFiOlNFQ1JFVA=="], 401),
        (&["Basic lab:secret"], 401),
        (&["Bearer abc.def-123="], 401),
        (&["Bearer abc.DEF-123"], 401),
        (&["Bearer bGFiOnNlY3JldA=="], 401),
        (&["Basic other"], 401),
        (&["Digest other"], 401),
        (&["other"], 401),
        (&["Bearer wrong", "Bearer other"], 401),
        (&["Bearer other", "Bearer wrong"], 401),
        (&["Bearer other, Bearer other"], 401),
    ] {
        let answer = ask(&app, "/feed/recent", authorization).await;
        assert_eq!(answer.status(), status, "{authorization:?}");
    }
    assert_eq!(ask(&app, "/open", &[]).await.status(), 200);
}

#[tokio::test]
async fn who_is_refused_is_told_what_to_send() {
    let basic = "Basic realm=\"The \\\"EMR\\\" of ?\", charset=\"UTF-8\"";
    let bearer = "Bearer realm=\"atomfeed\"";
    for (guard, challenges, words) in [
        (
            RequireCredentials::basic("lab", "secret")
                .unwrap()
                .with_realm("The \"EMR\" of Ä"),
            &[basic][..],
            "a user and a password in",
        ),
        (
            RequireCredentials::bearer("token").unwrap(),
            &[bearer],
            "a bearer token in",
        ),
        (
            guard(),
            &["Basic realm=\"atomfeed\", charset=\"UTF-8\"", bearer],
            "a user and a password, or a bearer token",
        ),
    ] {
        let answer = ask(&feed(guard).await, "/feed/recent", &["Bearer secret-guess"]).await;
        let found: Vec<_> = answer.headers().get_all(WWW_AUTHENTICATE).iter().collect();
        assert_eq!(found, challenges);
        assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body = std::str::from_utf8(&body).unwrap();
        assert!(body.contains(words), "{body}");
        assert!(!body.contains("secret"), "{body}");
    }
}

#[tokio::test]
async fn handlers_see_the_header() {
    let answer = ask(&feed(guard()).await, "/sent", &[LAB]).await;
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, LAB);
}

#[test]
fn what_no_request_can_carry_is_refused() {
    let basic = |user, password| RequireCredentials::basic(user, password).err();
    assert_eq!(basic("lab", ""), Some(InvalidCredentials::NoPassword));
    assert_eq!(basic("lab:x", "secret"), Some(InvalidCredentials::User));
    assert_eq!(basic("lab", "secret\n"), Some(InvalidCredentials::User));
    assert_eq!(basic("", "secret:x"), None);
    for token in ["", "=", "a b", "a\n", "ä", "a=b"] {
        let error = RequireCredentials::bearer(token).err();
        assert_eq!(error, Some(InvalidCredentials::Token), "{token:?}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?}", guard().with_realm("EMR"));
    assert!(shown.contains("EMR"), "{shown}");
    for secret in ["secret", "pässwörd", "bGFi", "abc", "other"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
