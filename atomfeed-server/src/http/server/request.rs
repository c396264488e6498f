use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, Version, header};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::Limited;
use hyper::body::Incoming;
use tokio::time::Sleep;
use tower_service::Service as _;

use super::client::Trust;
use super::connection::{Connection, InHand};
use super::limits::ServerLimits;
use super::metric;

/// What the requests of one connection go to.
pub(super) struct Requests {
    pub(super) app: Router,
    pub(super) limits: ServerLimits,
    pub(super) trust: Trust,
    pub(super) peer: Option<IpAddr>,
    /// Whether the peer is one whose word is taken.
    pub(super) is_trusted: bool,
    pub(super) connection: Arc<Connection>,
}

impl Requests {
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<InHandBody>, Infallible> {
        let mut in_hand = self.connection.begin(request.version() == Version::HTTP_2);
        let response = match self.admit(request) {
            Ok(request) => {
                let mut app = self.app.clone();
                match app.call(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
            Err(refusal) => {
                in_hand.refused();
                refusal.into_response()
            }
        };
        in_hand.responds();
        Ok(response.map(|body| InHandBody {
            body,
            _in_hand: in_hand,
        }))
    }

    /// The request as handlers get to see it, or why they do not.
    fn admit(&self, mut request: Request<Incoming>) -> Result<Request<Body>, Refusal> {
        // RFC 9112 §3.2; who may choose among several can be told apart from a proxy that chose another.
        let hosts = request.headers().get_all(header::HOST).iter().take(2);
        if request.version() == Version::HTTP_11 && hosts.count() != 1 {
            metric::refused("malformed");
            return Err(Refusal(
                StatusCode::BAD_REQUEST,
                "a request of HTTP/1.1 has one Host header, and this one has none or several: send one\n",
            ));
        }
        let client = self
            .trust
            .client(self.peer, self.is_trusted, request.headers_mut());
        if let Some(client) = client {
            request.extensions_mut().insert(client);
        }
        if request.body().is_end_stream() {
            return Ok(request.map(|_| Body::empty()));
        }
        let limit = self.limits.body_bytes();
        if limit == 0 || request.body().size_hint().lower() > limit as u64 {
            metric::refused("body");
            return Err(Refusal(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body of the request is larger than this server takes: send less, or nothing\n",
            ));
        }
        let time = self.limits.body_time();
        Ok(request.map(|body| Body::new(RequestBody::new(body, limit, time))))
    }
}

/// Why a request never gets to a handler: the status, and a text that tells what to do.
struct Refusal(StatusCode, &'static str);

impl Refusal {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.1));
        *response.status_mut() = self.0;
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, plain);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

/// The body of a response. While it is there, the request is in hand.
pub(super) struct InHandBody {
    body: Body,
    _in_hand: InHand,
}

impl HttpBody for InHandBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request, of so many bytes and in so much time at most.
struct RequestBody {
    body: Limited<Incoming>,
    time: Duration,
    end: Pin<Box<Sleep>>,
}

impl RequestBody {
    fn new(body: Incoming, limit: usize, time: Duration) -> Self {
        Self {
            body: Limited::new(body, limit),
            time,
            end: Box::pin(tokio::time::sleep(time)),
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        if let ready @ Poll::Ready(_) = Pin::new(&mut self.body).poll_frame(cx) {
            return ready;
        }
        self.end.as_mut().poll(cx).map(|()| {
            metric::refused("body_time");
            let time = self.time;
            Some(Err(format!(
                "the body of a request did not come within {time:?}"
            )
            .into()))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
