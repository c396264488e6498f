//! What Odoo answers, and why it does not.

use std::fmt;
use std::time::Duration;

use atomfeed_client::WorkerError;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

/// The result that an answer has, or the exception.
pub(super) fn read_answer(body: &[u8]) -> Result<Value, OdooError> {
    let Ok(Value::Object(mut answer)) = serde_json::from_slice(body) else {
        let text = String::from_utf8_lossy(body).into_owned();
        return Err(OdooError::strange("a JSON object", &Value::String(text)));
    };
    let Some(error) = answer.get("error").filter(|error| !error.is_null()) else {
        // None of Python is not sent.
        return Ok(answer.remove("result").unwrap_or_default());
    };
    let data = &error["data"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let message = text(&data["message"]).filter(|message| !message.is_empty());
    Err(OdooError::Exception {
        name: text(&data["name"]).unwrap_or_default(),
        message: message
            .or_else(|| text(&error["message"]))
            .unwrap_or_default(),
    })
}

/// The id of a record that was read.
pub(super) fn id_of(record: &Value) -> Result<i64, OdooError> {
    let id = record["id"].as_i64();
    id.ok_or_else(|| OdooError::strange("a record with an id", record))
}

/// Why Odoo has not done what it was asked for.
///
/// It is no [`Error`](std::error::Error), so that it becomes a [`WorkerError`] by a conversion of its own: with
/// `?`, in a worker, what is transient is transient there, too.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OdooError {
    /// Nobody answers, or not in time; or the connection broke.
    Away {
        /// Who was asked.
        url: String,
        /// What is known of it.
        reason: String,
    },
    /// Odoo, or a proxy before it, asks to come again: 429, 502, 503 or 504.
    Busy {
        /// The status of HTTP.
        status: StatusCode,
        /// When to come again, where it says.
        retry_after: Option<Duration>,
    },
    /// The user, the password or the database is wrong.
    NotLetIn {
        /// Who asked.
        user: String,
        /// For which database.
        database: String,
    },
    /// Odoo has raised an exception: it does not want what it was told.
    Exception {
        /// Its class: `odoo.exceptions.ValidationError`.
        name: String,
        /// What it says to a person.
        message: String,
    },
    /// What came is no answer of an Odoo.
    Strange {
        /// What was expected, and how began what came.
        what: String,
    },
}

impl OdooError {
    /// Whether the next call would fail, too, so that a feed should wait rather than have each of its events
    /// fail in turn: so it is with a wrong password, until somebody puts it right.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Away { .. } | Self::Busy { .. } | Self::NotLetIn { .. } => true,
            // Odoo's database is away, or another transaction was in the way for longer than Odoo tries.
            Self::Exception { name, .. } => matches!(
                name.as_str(),
                "psycopg2.OperationalError"
                    | "psycopg2.InterfaceError"
                    | "psycopg2.errors.SerializationFailure"
                    | "psycopg2.errors.DeadlockDetected"
                    | "psycopg2.errors.LockNotAvailable"
            ),
            Self::Strange { .. } => false,
        }
    }

    pub(super) fn is_access_denied(&self) -> bool {
        matches!(self, Self::Exception { name, .. } if name.ends_with(".AccessDenied"))
    }

    pub(super) fn of_status(status: StatusCode, headers: &HeaderMap) -> Self {
        if !matches!(status.as_u16(), 429 | 502 | 503 | 504) {
            return Self::Strange {
                what: format!("Odoo was expected to answer 200, but it was {status}"),
            };
        }
        let seconds = headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok());
        let seconds = seconds.and_then(|seconds| seconds.trim().parse().ok());
        Self::Busy {
            status,
            retry_after: seconds.map(Duration::from_secs),
        }
    }

    pub(super) fn strange(expected: &str, came: &Value) -> Self {
        let came: String = came.to_string().chars().take(200).collect();
        Self::Strange {
            what: format!("Odoo was expected to answer {expected}, but it was {came}"),
        }
    }
}

impl fmt::Display for OdooError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away { url, reason } => write!(f, "calling Odoo at {url}: {reason}"),
            Self::Busy { status, .. } => {
                write!(f, "Odoo, or what is before it, answers {status}")
            }
            Self::NotLetIn { user, database } => write!(
                f,
                "Odoo does not let in the user {user} to the database {database}: see that the password is \
                 right"
            ),
            Self::Exception { name, message } => write!(f, "Odoo says: {message} ({name})"),
            Self::Strange { what } => f.write_str(what),
        }
    }
}

impl From<OdooError> for WorkerError {
    fn from(error: OdooError) -> Self {
        let text = error.to_string();
        let retry_after = match error {
            OdooError::Busy { retry_after, .. } => retry_after,
            _ => None,
        };
        let failure = match error.is_transient() {
            true => Self::transient(text),
            false => Self::new(text),
        };
        match retry_after {
            Some(wait) => failure.with_retry_after(wait),
            None => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn read(answer: Value) -> Result<Value, OdooError> {
        read_answer(answer.to_string().as_bytes())
    }

    #[test]
    fn an_exception_is_permanent_and_says_what_odoo_says() {
        let data = json!({
            "name": "odoo.exceptions.ValidationError",
            "message": "have it approved",
            "debug": "Traceback",
        });
        let error = json!({ "code": 200, "message": "Odoo Server Error", "data": data });
        let error = read(json!({ "jsonrpc": "2.0", "id": 1, "error": error })).unwrap_err();
        let error = WorkerError::from(error);
        assert!(!error.is_transient());
        assert_eq!(
            error.to_string(),
            "Odoo says: have it approved (odoo.exceptions.ValidationError)"
        );
    }

    #[test]
    fn what_comes_without_a_class_is_permanent() {
        let error = read(json!({ "error": { "code": 404, "message": "404: Not Found" } }));
        let error = error.unwrap_err();
        assert!(!error.is_transient());
        assert_eq!(error.to_string(), "Odoo says: 404: Not Found ()");
        for body in ["<html>", "[1]", "7"] {
            let error = read_answer(body.as_bytes()).unwrap_err();
            assert!(!error.is_transient(), "{error}");
        }
    }

    #[test]
    fn an_odoo_without_its_database_is_waited_for() {
        for name in [
            "psycopg2.OperationalError",
            "psycopg2.errors.SerializationFailure",
        ] {
            let data = json!({ "name": name, "message": "could not serialize access" });
            let error = read(json!({ "error": { "data": data } })).unwrap_err();
            assert!(error.is_transient(), "{error}");
        }
    }

    #[test]
    fn a_busy_proxy_is_waited_for_as_long_as_it_asks() {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "7".parse().unwrap())]);
        for status in [429, 502, 503, 504] {
            let status = StatusCode::from_u16(status).unwrap();
            let error = WorkerError::from(OdooError::of_status(status, &headers));
            assert!(error.is_transient(), "{status}");
            assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        }
        let error = OdooError::of_status(StatusCode::NOT_FOUND, &headers);
        assert!(!error.is_transient());
    }
}
