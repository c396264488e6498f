use std::error::Error;

use axum::extract::rejection::PathRejection;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::{FeedError, Page};

const ATOM: HeaderValue = HeaderValue::from_static("application/atom+xml; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// How many events the feed has up to the newest one on the page.
const POSITION: HeaderName = HeaderName::from_static("atomfeed-position");

pub(super) fn page(page: Page) -> Response {
    let position = page.position;
    let mut response = ([(header::CONTENT_TYPE, ATOM)], page.body).into_response();
    if let Some(position) = position {
        response.headers_mut().insert(POSITION, position.into());
    }
    response
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
        FeedError::Store(_) => {
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

pub(super) fn text(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, TEXT)], body).into_response()
}
