use std::error::Error;
use std::time::{Duration, SystemTime};

use atomfeed_core::Clock;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderName, LAST_MODIFIED, LOCATION, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::coding::Coding;
use crate::FeedError;
use crate::page::Facts;

/// What pages are.
pub(crate) const MEDIA_TYPE: &str = "application/atom+xml; charset=utf-8";

const ATOM: HeaderValue = HeaderValue::from_static(MEDIA_TYPE);
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const CODING_VARIES: HeaderValue = HeaderValue::from_static("accept-encoding");

/// How many events the feed has up to the newest one on the page.
const POSITION: HeaderName = HeaderName::from_static("atomfeed-position");

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What every answer with a page in a coding has, whoever asks, but for who may keep it.
pub(super) fn headers(facts: &Facts, coding: Coding) -> HeaderMap {
    let mut headers = about(facts, coding);
    headers.insert(CONTENT_TYPE, ATOM);
    if let Some(name) = coding.name() {
        headers.insert(CONTENT_ENCODING, name);
    }
    if let Some(position) = facts.position {
        headers.insert(POSITION, position.into());
    }
    if let Some(time) = facts.last_modified.and_then(http_date) {
        headers.insert(LAST_MODIFIED, time);
    }
    headers
}

/// What of these an answer has, too, that says that nothing has changed (RFC 9110 §15.4.5).
fn about(facts: &Facts, coding: Coding) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    // Hexadecimal digits, and the name of a coding.
    if let Ok(entity_tag) = HeaderValue::from_str(&coding.entity_tag(&facts.tag)) {
        headers.insert(ETAG, entity_tag);
    }
    headers.insert(VARY, CODING_VARIES);
    headers
}

/// A page, with its [`headers`].
pub(super) fn page(
    mut headers: HeaderMap,
    cache_control: HeaderValue,
    facts: &Facts,
    body: Bytes,
    clock: &dyn Clock,
) -> Response {
    headers.insert(CACHE_CONTROL, cache_control);
    // A time that is still to come is none (RFC 9110 §8.8.2.1).
    if facts.last_modified.is_some_and(|time| time > clock.now()) {
        headers.remove(LAST_MODIFIED);
    }
    let mut response = Response::new(Body::from(body));
    *response.headers_mut() = headers;
    response
}

pub(super) fn not_modified(facts: &Facts, coding: Coding, cache_control: HeaderValue) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    *response.headers_mut() = about(facts, coding);
    response.headers_mut().insert(CACHE_CONTROL, cache_control);
    response
}

/// A time as HTTP has it.
fn http_date(time: DateTime<Utc>) -> Option<HeaderValue> {
    let seconds = u64::try_from(time.timestamp()).ok()?;
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    // No later year has a form.
    (seconds < 253_402_300_800)
        .then(|| HeaderValue::from_str(&httpdate::fmt_http_date(time)).ok())
        .flatten()
}

/// Says that it was waited, as was asked, for so long at the most (RFC 7240 §3).
pub(super) fn waited(response: &mut Response, limit: Duration) {
    if let Ok(applied) = HeaderValue::from_str(&format!("wait={}", limit.as_secs())) {
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
}

/// Leads to another address, for this time.
pub(super) fn found(location: &str) -> Response {
    match HeaderValue::from_str(location) {
        Ok(location) => {
            let headers = [(LOCATION, location), (CACHE_CONTROL, NO_STORE)];
            (StatusCode::FOUND, headers).into_response()
        }
        // The public URL is one of printable ASCII.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Tells the client what it did wrong, and nothing of the inside; the log has everything.
pub(super) fn error(error: &FeedError, original_statuses: bool) -> Response {
    let status = match error {
        FeedError::NotAPageNumber { .. } if !original_statuses => StatusCode::BAD_REQUEST,
        FeedError::NoSuchPage { .. } if !original_statuses => StatusCode::NOT_FOUND,
        FeedError::NotAPageNumber { .. } | FeedError::NoSuchPage { .. } => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        FeedError::Pruned { .. } | FeedError::Lost { .. } => StatusCode::GONE,
        FeedError::Store(_) | FeedError::Coding(_) => {
            tracing::error!(
                error = error as &dyn Error,
                "a page of the feed was not served"
            );
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    match error.original_text() {
        Some(original) => text(status, format!("{original}\n{error}\n")),
        None => text(
            status,
            "the feed cannot be read at present; try again later\n".to_owned(),
        ),
    }
}

pub(super) fn bad_path(rejection: &PathRejection) -> Response {
    text(
        StatusCode::BAD_REQUEST,
        format!("the path names no page: {rejection}\n"),
    )
}

/// An answer that is about no page, and that nobody keeps: what is not there may be there in a moment.
pub(super) fn text(status: StatusCode, body: String) -> Response {
    let headers = [(CONTENT_TYPE, TEXT), (CACHE_CONTROL, NO_STORE)];
    (status, headers, body).into_response()
}
