use std::borrow::Cow;

use crate::store::{StoreError, StoreErrorKind, StoreResult};

/// Says of a database's answer what was being done.
pub(super) trait Doing<T> {
    /// Turns an error of the database into ours. `what` begins in the present participle.
    fn doing<C: Into<Cow<'static, str>>>(self, what: impl FnOnce() -> C) -> StoreResult<T>;
}

impl<T> Doing<T> for sqlx::Result<T> {
    fn doing<C: Into<Cow<'static, str>>>(self, what: impl FnOnce() -> C) -> StoreResult<T> {
        self.map_err(|error| {
            let context = what().into();
            StoreError::new(kind_of(&error), context).caused_by(error)
        })
    }
}

/// What an error of sqlx means.
pub(in crate::store) fn kind_of(error: &sqlx::Error) -> StoreErrorKind {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => StoreErrorKind::Unavailable,
        sqlx::Error::Database(database) if database.is_unique_violation() => {
            StoreErrorKind::Duplicate
        }
        // Serialization failure and deadlock: another transaction was in the way, and went first.
        sqlx::Error::Database(database)
            if matches!(database.code().as_deref(), Some("40001" | "40P01")) =>
        {
            StoreErrorKind::Conflict
        }
        sqlx::Error::Database(database) if is_busy(database.as_ref()) => {
            StoreErrorKind::Unavailable
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreErrorKind::InvalidData,
        _ => StoreErrorKind::Database,
    }
}

/// SQLITE_BUSY and SQLITE_LOCKED, in the low byte of the extended code.
#[cfg(feature = "sqlite")]
pub(super) fn is_busy(error: &dyn sqlx::error::DatabaseError) -> bool {
    let code = error.code().and_then(|code| code.parse::<i32>().ok());
    error
        .try_downcast_ref::<sqlx::sqlite::SqliteError>()
        .is_some()
        && code.is_some_and(|code| matches!(code & 0xff, 5 | 6))
}

#[cfg(not(feature = "sqlite"))]
fn is_busy(_error: &dyn sqlx::error::DatabaseError) -> bool {
    false
}
