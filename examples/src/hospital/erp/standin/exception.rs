//! What goes wrong in a call, as Odoo says it.

use serde_json::{Value, json};

/// Why a call has no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// An exception, by the class that it has in Python.
    Exception { name: &'static str, message: String },
    /// The database is away or busy, and the same call may be answered later.
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error() {
            Some(refused) if refused.is_unique_violation() => {
                Self::validation("The operation cannot be completed: it is there already.")
            }
            _ => Self::Database(error),
        }
    }
}

impl Failure {
    fn exception(name: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::Exception { name, message }
    }

    /// What is asked for breaks a rule.
    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::exception("odoo.exceptions.ValidationError", message)
    }

    /// What is asked for makes no sense to a person.
    pub(super) fn user(message: impl Into<String>) -> Self {
        Self::exception("odoo.exceptions.UserError", message)
    }

    /// An argument is not what it should be.
    pub(super) fn value(message: impl Into<String>) -> Self {
        Self::exception("builtins.ValueError", message)
    }

    /// An argument is missing, or of another kind.
    pub(super) fn kind(message: impl Into<String>) -> Self {
        Self::exception("builtins.TypeError", message)
    }

    /// Odoo can do that, and this cannot.
    pub(super) fn not_spoken(what: impl Into<String>) -> Self {
        let message = format!("what stands in for Odoo does not speak {}", what.into());
        Self::exception("builtins.NotImplementedError", message)
    }

    pub(super) fn no_method(model: &str, method: &str) -> Self {
        let message = format!("type object '{model}' has no attribute '{method}'");
        Self::exception("builtins.AttributeError", message)
    }

    pub(super) fn no_field(model: &str, field: &str) -> Self {
        Self::value(format!("Invalid field '{field}' on model '{model}'"))
    }

    pub(super) fn missing(model: &str, id: i64) -> Self {
        let message =
            format!("Record does not exist or has been deleted.\n(Record: {model}({id},))");
        Self::exception("odoo.exceptions.MissingError", message)
    }

    pub(super) fn access_denied() -> Self {
        Self::exception("odoo.exceptions.AccessDenied", "Access Denied")
    }

    pub(super) fn no_database(name: &str) -> Self {
        let message = format!("FATAL:  database \"{name}\" does not exist");
        Self::exception("psycopg2.OperationalError", message)
    }

    pub(super) fn session_expired() -> Self {
        Self::exception("odoo.http.SessionExpiredException", "Session expired")
    }
}

/// What stands under `error` in the answer.
pub(super) fn error_of(name: &str, message: &str) -> Value {
    let (code, title) = match name {
        "odoo.http.SessionExpiredException" => (100, "Odoo Session Expired"),
        _ => (200, "Odoo Server Error"),
    };
    let data = json!({
        "name": name,
        "debug": "",
        "message": message,
        "arguments": [message],
        "context": {},
    });
    json!({ "code": code, "message": title, "data": data })
}
