//! Answers, and how texts get into them.

use askama::Template;
use atomfeed_core::Reason;
use atomfeed_core::store::StoreError;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, Response, StatusCode};
use url::form_urlencoded;

use super::shown::visible;

/// All there is to be read of an error.
pub(super) fn report(error: &StoreError) -> String {
    let mut report = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        report.push_str(": ");
        report.push_str(&error.to_string());
        cause = error.source();
    }
    report
}

pub(super) fn short_line(message: &str) -> String {
    visible(&Reason::line(message).chars().take(400).collect::<String>())
}

pub(super) fn pairs(text: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(text).into_owned().collect()
}

pub(super) fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut pairs = pairs.iter();
    let found = pairs.find(|(known, _)| known == name)?;
    Some(&found.1)
}

/// A part of a path.
pub(super) fn encoded(name: &str) -> String {
    let encoded: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    encoded.replace('+', "%20")
}

pub(super) fn response(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

pub(super) fn text(kind: &'static str, body: String) -> Response<Body> {
    response(StatusCode::OK, kind, Body::from(body))
}

/// What is the same until the program is another one.
pub(super) fn kept(kind: &'static str, body: &'static str) -> Response<Body> {
    let mut response = response(StatusCode::OK, kind, Body::from(body));
    let hour = HeaderValue::from_static("private, max-age=3600");
    response.headers_mut().insert(CACHE_CONTROL, hour);
    response
}

pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    response(status, "application/json", Body::from(value.to_string()))
}

pub(super) fn html(status: StatusCode, page: &impl Template) -> Response<Body> {
    match page.render() {
        Ok(html) => response(status, "text/html; charset=utf-8", Body::from(html)),
        Err(error) => {
            tracing::error!(%error, "a page of the console cannot be written");
            let said = Body::from("this page cannot be written; the log says why\n");
            response(
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain; charset=utf-8",
                said,
            )
        }
    }
}

/// Leads on (303).
pub(super) fn to(path: &str) -> Response<Body> {
    let mut response = response(
        StatusCode::SEE_OTHER,
        "text/plain; charset=utf-8",
        Body::empty(),
    );
    match HeaderValue::try_from(path) {
        Ok(path) => drop(response.headers_mut().insert(LOCATION, path)),
        Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}
