//! An application whose handlers can be made to wait, and what is wanted to ask it.

use std::sync::Arc;

use atomfeed_server::{ClientAddress, FeedServer, ServerLimits};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request};
use axum::routing::{get, post};
use axum::{Extension, Router};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use crate::served::{PATIENCE, Served, serve};

/// What the handlers of the tests wait for, and tell.
#[derive(Clone)]
pub(crate) struct Desk {
    /// One for each request that is held now or was.
    pub(crate) taken: Arc<Semaphore>,
    pub(crate) release: Arc<Notify>,
    /// One for each body of a response that is gone.
    pub(crate) given_up: Arc<Semaphore>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self {
            taken: Arc::new(Semaphore::new(0)),
            release: Arc::new(Notify::new()),
            given_up: Arc::new(Semaphore::new(0)),
        }
    }

    pub(crate) async fn wait_for(one: &Semaphore) {
        let permit = timeout(PATIENCE, one.acquire()).await;
        permit.expect("it happens").unwrap().forget();
    }

    pub(crate) fn app(&self) -> Router {
        Router::new()
            .route("/", get(async || "hello"))
            .route("/held", get(held))
            .route("/endless", get(endless))
            .route("/large", get(async || vec![b'x'; LARGE]))
            .route("/body", post(async |body: Bytes| body.len().to_string()))
            .route("/client", get(client))
            .with_state(self.clone())
    }
}

/// More than the buffers of a connection hold.
pub(crate) const LARGE: usize = 32 << 20;

async fn held(State(desk): State<Desk>) -> &'static str {
    let released = desk.release.notified();
    desk.taken.add_permits(1);
    released.await;
    "released"
}

/// A body that goes on while somebody reads it, and says when it is dropped.
async fn endless(State(desk): State<Desk>) -> Body {
    struct Gone(Arc<Semaphore>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.add_permits(1);
        }
    }
    let gone = Gone(desk.given_up);
    Body::from_stream(futures_util::stream::repeat_with(move || {
        let _gone = &gone;
        Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b'x'; 16_384]))
    }))
}

async fn client(address: Option<Extension<ClientAddress>>, headers: HeaderMap) -> String {
    let address = address.map_or("nobody".to_owned(), |Extension(it)| it.ip().to_string());
    let mut said: Vec<_> = headers
        .iter()
        .filter(|(name, _)| name.as_str().contains("forwarded") || name.as_str() == "x-real-ip")
        .map(|(name, value)| format!(" {name}={}", value.to_str().unwrap()))
        .collect();
    said.sort();
    address + &said.concat()
}

pub(crate) async fn served(desk: &Desk, limits: ServerLimits) -> Served {
    serve(FeedServer::new(desk.app()).with_limits(limits)).await
}

pub(crate) fn asked(path: &str) -> Request<Body> {
    Request::get(format!("http://emr{path}"))
        .body(Body::empty())
        .unwrap()
}

pub(crate) async fn http2_client(served: &Served, window: Option<u32>) -> http2::SendRequest<Body> {
    let stream = TcpStream::connect(served.address).await.unwrap();
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}
