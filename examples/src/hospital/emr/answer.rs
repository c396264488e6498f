//! What requests are answered with, as JSON.

use atomfeed_core::store::is_transient;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

/// A document.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => Refusal::from(error).into_response(),
        }
    }
}

/// Why a request is not done; nothing of it was written. Any error becomes one with `?`.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    why: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { status, why }
    }

    /// Says more.
    pub(super) fn and(mut self, more: &str) -> Self {
        self.why.push_str(more);
        self
    }
}

/// Who asks is told whether asking again may help, and the log why: who follows the feed waits for a 503, and
/// parks an event for a 500.
impl<E: Into<anyhow::Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        let error = error.into();
        tracing::error!("a request was not answered: {error:#}");
        match is_transient(&*error) {
            true => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the database of the EMR is busy or away: try again",
            ),
            false => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the EMR has failed: its log says why",
            ),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.why }))).into_response()
    }
}
