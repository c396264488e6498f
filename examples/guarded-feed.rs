//! Who may read a feed is the host application's decision: here its own middleware lets those in who
//! have signed in, by its session cookie. Partners, who have no session, read the same events behind
//! `RequireCredentials`. A `FeedServer` serves both, with limits on what a client may ask of it.
//!
//! `cargo run --example guarded-feed`, then
//!
//! ```console
//! curl -c jar -d 'a password' http://127.0.0.1:8080/login
//! curl -b jar http://127.0.0.1:8080/feed/recent
//! curl -u lab:'lab password' http://127.0.0.1:8080/partners/feed/recent
//! curl -H 'Authorization: Bearer a-token' http://127.0.0.1:8080/partners/feed/recent
//! ```

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use atomfeed_core::NewEvent;
use atomfeed_core::store::MemoryStore;
use atomfeed_server::{
    CancellationToken, EventFeedService, FeedConfig, FeedRouter, FeedServer, Publisher,
    RequireCredentials,
};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::net::TcpListener;
use uuid::Uuid;

/// What the host application knows: who has signed in.
#[derive(Clone, Default)]
struct Sessions(Arc<Mutex<HashSet<String>>>);

async fn sign_in(State(sessions): State<Sessions>, password: String) -> Response {
    if password != "a password" {
        return (StatusCode::FORBIDDEN, "wrong password\n").into_response();
    }
    let session = format!("session={}", Uuid::new_v4());
    let mut known = sessions.0.lock().unwrap_or_else(PoisonError::into_inner);
    known.insert(session.clone());
    let cookie = format!("{session}; HttpOnly; SameSite=Strict; Path=/");
    ([(header::SET_COOKIE, cookie)], "welcome\n").into_response()
}

/// The host's own middleware.
async fn signed_in(State(sessions): State<Sessions>, request: Request, next: Next) -> Response {
    let cookies = request.headers().get_all(header::COOKIE).iter();
    let is_known = cookies
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split("; "))
        .any(|cookie| {
            let known = sessions.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.contains(cookie)
        });
    match is_known {
        true => next.run(request).await,
        false => (StatusCode::UNAUTHORIZED, "sign in at /login\n").into_response(),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stopped = atomfeed_examples::stopped();
    let address = std::env::args()
        .nth(1)
        .unwrap_or("127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(&address)
        .await
        .with_context(|| format!("listening on {address}"))?;
    let origin = format!("http://{}", listener.local_addr()?);

    let store = MemoryStore::new();
    let mut transaction = store.transaction().await;
    let event = NewEvent::new("Patient", "/patient/1").in_category("patient");
    Publisher::new(store.clone())
        .publish(&mut transaction, &event)
        .await?;
    transaction.commit();

    // Links on the pages lead to where the reader has come in.
    let feed = async |path: &str| {
        let config = FeedConfig::new(format!("{origin}{path}").parse()?);
        let service = EventFeedService::open(store.clone(), config).await?;
        anyhow::Ok(FeedRouter::new(service).into_router())
    };
    let sessions = Sessions::default();
    let of_the_host = from_fn_with_state(sessions.clone(), signed_in);
    let of_partners = RequireCredentials::basic("lab", "lab password")?.or_bearer("a-token")?;
    let app = Router::new()
        .route("/login", post(sign_in))
        .with_state(sessions)
        .nest("/feed", feed("/feed").await?.layer(of_the_host))
        .nest(
            "/partners/feed",
            feed("/partners/feed").await?.layer(of_partners),
        );

    let stop = CancellationToken::new();
    let asked = stop.clone();
    tokio::spawn(async move {
        stopped.await;
        asked.cancel();
    });
    println!("listening on {origin}");
    FeedServer::new(app).run(listener, stop).await;
    Ok(())
}
