use std::error::Error;
use std::fmt;

/// Why a worker could not apply an event. Any error becomes one with `?`.
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
}

impl WorkerError {
    /// An error that says this.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            error: message.into().into(),
        }
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
        Self {
            error: Box::new(error),
        }
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
