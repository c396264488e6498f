use std::error::Error;
use std::fmt;
use std::time::Duration;

use atomfeed_core::store;

use crate::FetchError;

/// Why a worker could not apply an event, and whether trying again soon may help. Any error type
/// becomes one with `?`.
///
/// A *permanent* error is one of the event: it is parked, and the others go on. A *transient* one is one
/// of the world around (the ERP is down): the feed waits, and nothing is parked. An error is permanent
/// unless it is [made transient](FailureExt::transient), or [a database says
/// so](atomfeed_core::store::is_transient): another transaction was in the way, or the server does not answer,
/// shuts down, or has no room left; or what could not be fetched may be had [soon](FetchError::is_transient).
///
/// ```
/// use atomfeed_client::WorkerError;
///
/// fn age(text: &str) -> Result<u8, WorkerError> {
///     let age = text.parse()?;
///     if age > 150 {
///         return Err(WorkerError::new(format!("nobody is {age} years old")));
///     }
///     Ok(age)
/// }
/// assert_eq!(age("x").unwrap_err().to_string(), "invalid digit found in string");
/// ```
// Not an `Error` itself, so that every error can be turned into one.
pub struct WorkerError {
    error: Box<dyn Error + Send + Sync>,
    transient: bool,
    may_have_ended_transaction: bool,
    transaction_lost: bool,
    retry_after: Option<Duration>,
}

impl WorkerError {
    /// A permanent error that says this.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            error: message.into().into(),
            transient: false,
            may_have_ended_transaction: false,
            transaction_lost: false,
            retry_after: None,
        }
    }

    /// A transient error that says this.
    pub fn transient(message: impl Into<String>) -> Self {
        Self {
            transient: true,
            ..Self::new(message)
        }
    }

    /// Says that trying again earlier than after this time does not help, where it is transient: a day at
    /// most.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// For how long trying again does not help, where somebody says so: what a server asks by `Retry-After`,
    /// say.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether a database gave it that may have ended the transaction at hand by itself.
    pub(crate) fn may_have_ended_transaction(&self) -> bool {
        self.may_have_ended_transaction
    }

    /// The same, of a transaction that went with its connection, or was not committed.
    pub(crate) fn with_transaction_lost(mut self) -> Self {
        self.transaction_lost = true;
        self
    }

    /// Whether the database has lost the transaction at hand, whatever the worker said.
    pub(crate) fn is_transaction_lost(&self) -> bool {
        self.transaction_lost
    }

    /// Whether trying again soon may help.
    pub fn is_transient(&self) -> bool {
        self.transient
    }

    /// The error with its causes, a line each: what is kept with the event.
    pub(crate) fn report(&self) -> String {
        let mut report = self.error.to_string();
        let mut cause = self.error.source();
        while let Some(error) = cause {
            report.push_str("\ncaused by: ");
            report.push_str(&error.to_string());
            cause = error.source();
        }
        report
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for WorkerError {
    fn from(error: E) -> Self {
        let is_of_database = store::is_transient(&error);
        let fetching = fetch_error(&error);
        Self {
            transient: is_of_database || fetching.is_some_and(FetchError::is_transient),
            may_have_ended_transaction: store::may_end_transaction(&error),
            transaction_lost: false,
            retry_after: fetching.and_then(FetchError::retry_after),
            error: Box::new(error),
        }
    }
}

/// What could not be fetched, where that is the cause.
fn fetch_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a FetchError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(fetching) = error.downcast_ref() {
            return Some(fetching);
        }
        cause = error.source();
    }
    None
}

/// Says of an error in a worker what it means.
///
/// ```
/// use atomfeed_client::{FailureExt, WorkerError};
///
/// fn post(order: &str) -> Result<(), WorkerError> {
///     let number: u32 = order.parse().permanent()?; // as it would be without a word
///     send(number).transient()?;
///     Ok(())
/// }
/// # fn send(_: u32) -> std::io::Result<()> {
/// #     Err(std::io::ErrorKind::ConnectionRefused.into())
/// # }
/// assert!(post("1").unwrap_err().is_transient());
/// assert!(!post("x").unwrap_err().is_transient());
/// ```
pub trait FailureExt<T> {
    /// Trying again soon may help: the feed waits, and nothing is parked.
    ///
    /// # Errors
    ///
    /// The error, if it is one.
    fn transient(self) -> Result<T, WorkerError>;

    /// Trying again soon does not help: the event is parked, and the others go on.
    ///
    /// # Errors
    ///
    /// The error, if it is one.
    fn permanent(self) -> Result<T, WorkerError>;
}

impl<T, E: Into<WorkerError>> FailureExt<T> for Result<T, E> {
    fn transient(self) -> Result<T, WorkerError> {
        self.map_err(|error| WorkerError {
            transient: true,
            ..error.into()
        })
    }

    fn permanent(self) -> Result<T, WorkerError> {
        self.map_err(|error| WorkerError {
            transient: false,
            ..error.into()
        })
    }
}

impl fmt::Display for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl fmt::Debug for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}
