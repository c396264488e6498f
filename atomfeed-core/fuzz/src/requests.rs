use std::future::{Ready, ready};
use std::net::IpAddr;
use std::task::{Context, Poll};

use atomfeed_server::{RequireCredentials, fuzzing};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tower_layer::Layer;
use tower_service::Service;

/// Reads any lines as what proxies say of who sent a request: those that begin with `F` as
/// `Forwarded`, the others as `X-Forwarded-For`.
pub fn forwarded(input: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        let (name, value) = match line {
            [b'F', value @ ..] => ("forwarded", value),
            value => ("x-forwarded-for", value),
        };
        let Ok(value) = HeaderValue::from_bytes(value) else {
            return;
        };
        headers.append(name, value);
    }
    let peer: IpAddr = [10, 0, 0, 9].into();
    let proxies = ["10.0.0.0/8", "fd00::/8"];
    let all = headers.len();
    let client = fuzzing::client_address(Some(peer), &proxies, &mut headers);
    assert!(client.is_some(), "at least the proxy is known");
    assert_eq!(headers.len(), all, "the word of a proxy stays");
    let told = fuzzing::client_address(Some(peer), &[], &mut headers);
    assert_eq!(told, Some(peer), "nobody else is believed");
    assert!(headers.is_empty(), "nor heard");
}

/// Sends any line as credentials.
pub fn credentials(input: &[u8]) {
    let Ok(line) = HeaderValue::from_bytes(input) else {
        return;
    };
    let guard = RequireCredentials::basic("lab", "secret")
        .and_then(|guard| guard.or_bearer("abc"))
        .expect("good ones");
    let mut request = Request::new(Body::empty());
    request.headers_mut().insert(header::AUTHORIZATION, line);
    let answered = guard.layer(Welcome).call(request).now_or_never();
    let status = answered
        .expect("it waits for nothing")
        .expect("it does not fail")
        .status();
    let text = String::from_utf8_lossy(input);
    let (scheme, sent) = text.split_once(' ').unwrap_or_default();
    let is_known = match sent.trim_ascii() {
        "bGFiOnNlY3JldA==" => scheme.eq_ignore_ascii_case("basic"),
        "abc" => scheme.eq_ignore_ascii_case("bearer"),
        _ => false,
    };
    let expected = match is_known {
        true => StatusCode::OK,
        false => StatusCode::UNAUTHORIZED,
    };
    assert_eq!(status, expected, "{text:?}");
}

struct Welcome;

impl Service<Request<Body>> for Welcome {
    type Response = Response;
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Response, Self::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<Body>) -> Self::Future {
        ready(Ok(StatusCode::OK.into_response()))
    }
}
