//! What Odoo answers, and why it does not.

use std::fmt;
use std::time::Duration;

use atomfeed_client::WorkerError;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use serde_json::Value;

/// How much is shown of what is no answer, in characters.
const LONGEST_SHOWN: usize = 200;

/// The result that an answer has, or the exception.
pub(super) fn read_answer(body: &[u8]) -> Result<Value, OdooError> {
    let no_odoo = || {
        let came: String = String::from_utf8_lossy(body)
            .chars()
            .take(LONGEST_SHOWN)
            .collect();
        OdooError::NoOdoo {
            what: format!("it answers {came:?}, which is no JSON-RPC"),
        }
    };
    let Ok(Value::Object(mut answer)) = serde_json::from_slice(body) else {
        return Err(no_odoo());
    };
    let Some(error) = answer.get("error").filter(|error| !error.is_null()) else {
        return match answer.contains_key("jsonrpc") || answer.contains_key("result") {
            // None of Python is not sent.
            true => Ok(answer.remove("result").unwrap_or_default()),
            false => Err(no_odoo()),
        };
    };
    let text = |value: &Value| {
        let text = value.as_str().filter(|text| !text.is_empty());
        text.map(str::to_owned)
    };
    let data = &error["data"];
    // An error without a class is somebody else's, such as a proxy's.
    let Some(name) = text(&data["name"]) else {
        return Err(no_odoo());
    };
    let message = text(&data["message"]).or_else(|| text(&error["message"]));
    Err(OdooError::Exception {
        name,
        message: message.unwrap_or_default(),
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
    /// Who answers is no Odoo, or one that is broken: another status, or what is no JSON-RPC. The address may
    /// be wrong, or what is before Odoo shows a page of its own.
    NoOdoo {
        /// What it answers.
        what: String,
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
    /// The answer of Odoo is none to what it was asked.
    Strange {
        /// What was expected, and how began what came.
        what: String,
    },
}

impl OdooError {
    /// Whether the next call would fail, too, so that a feed should wait rather than have each of its events
    /// fail in turn: so it is with a wrong password or a wrong address, until somebody puts it right.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Away { .. } | Self::Busy { .. } | Self::NoOdoo { .. } | Self::NotLetIn { .. } => {
                true
            }
            // The class itself is named, and not those that it inherits from.
            Self::Exception { name, .. } => matches!(
                name.as_str(),
                // Odoo's database is away, begins or ends, and has no room or no connection left.
                "psycopg2.OperationalError"
                    | "psycopg2.InterfaceError"
                    | "psycopg2.pool.PoolError"
                    | "odoo.sql_db.PoolError"
                    | "psycopg2.errors.AdminShutdown"
                    | "psycopg2.errors.CrashShutdown"
                    | "psycopg2.errors.CannotConnectNow"
                    | "psycopg2.errors.ConnectionFailure"
                    | "psycopg2.errors.ConnectionException"
                    | "psycopg2.errors.TooManyConnections"
                    | "psycopg2.errors.DiskFull"
                    | "psycopg2.errors.OutOfMemory"
                    | "psycopg2.errors.ReadOnlySqlTransaction"
                    // Another transaction was in the way for longer than Odoo tries.
                    | "psycopg2.errors.SerializationFailure"
                    | "psycopg2.errors.DeadlockDetected"
                    | "psycopg2.errors.LockNotAvailable"
                    // It has no `/jsonrpc`.
                    | "werkzeug.exceptions.NotFound"
            ),
            Self::Strange { .. } => false,
        }
    }

    pub(super) fn is_access_denied(&self) -> bool {
        matches!(self, Self::Exception { name, .. } if name.ends_with(".AccessDenied"))
    }

    pub(super) fn of_status(status: StatusCode, headers: &HeaderMap) -> Self {
        let header = |name: HeaderName| {
            let value = headers.get(name)?.to_str().ok()?;
            Some(value.trim().to_owned())
        };
        match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                let seconds = header(RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
                Self::Busy {
                    status,
                    retry_after: seconds.map(Duration::from_secs),
                }
            }
            // What the next event asks for may be smaller.
            StatusCode::PAYLOAD_TOO_LARGE => Self::Strange {
                what: format!("Odoo, or what is before it, answers {status} to what it is asked"),
            },
            _ => {
                let mut what = format!("it answers {status}");
                if let Some(to) = header(LOCATION) {
                    what.push_str(&format!(", and refers to {to}"));
                }
                Self::NoOdoo { what }
            }
        }
    }

    pub(super) fn strange(expected: &str, came: &Value) -> Self {
        let came: String = came.to_string().chars().take(LONGEST_SHOWN).collect();
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
            Self::NoOdoo { what } => write!(
                f,
                "who is called is no Odoo, or one that is broken: {what}; see that the address is right"
            ),
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
    fn what_is_no_answer_of_odoo_is_waited_for() {
        for body in [
            "",
            "<html>It works!</html>",
            "[1]",
            "7",
            r#"{"status": "ok"}"#,
            r#"{"error": "maintenance"}"#,
            r#"{"jsonrpc": "2.0", "error": {"code": -32601, "message": "no such method"}}"#,
        ] {
            let error = read_answer(body.as_bytes()).unwrap_err();
            assert!(matches!(error, OdooError::NoOdoo { .. }), "{error}");
            assert!(WorkerError::from(error).is_transient(), "{body}");
        }
        // An answer of another kind than was asked for is one of Odoo's all the same.
        let error = id_of(&json!({ "name": "Asha" })).unwrap_err();
        assert!(!WorkerError::from(error).is_transient());
    }

    #[test]
    fn none_of_python_is_a_result() {
        for answer in [
            json!({ "jsonrpc": "2.0", "id": 1 }),
            json!({ "jsonrpc": "2.0", "id": 1, "error": null, "result": null }),
            json!({ "result": null }),
        ] {
            assert_eq!(read(answer).unwrap(), Value::Null);
        }
    }

    #[test]
    fn an_odoo_that_can_do_nothing_now_is_waited_for() {
        for name in [
            "psycopg2.OperationalError",
            "psycopg2.errors.AdminShutdown",
            "psycopg2.errors.SerializationFailure",
            "werkzeug.exceptions.NotFound",
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
    }

    #[test]
    fn any_other_status_is_waited_for_unless_it_is_of_what_was_asked() {
        let headers =
            HeaderMap::from_iter([(LOCATION, "https://www.example.org/".parse().unwrap())]);
        for status in [301, 400, 401, 403, 404, 500] {
            let status = StatusCode::from_u16(status).unwrap();
            let error = WorkerError::from(OdooError::of_status(status, &headers));
            assert!(error.is_transient(), "{error}");
            let said = error.to_string();
            assert!(said.contains(&format!("answers {status}")), "{said}");
            assert!(
                said.contains("refers to https://www.example.org/"),
                "{said}"
            );
        }
        let error = OdooError::of_status(StatusCode::PAYLOAD_TOO_LARGE, &headers);
        assert!(!WorkerError::from(error).is_transient());
    }
}
