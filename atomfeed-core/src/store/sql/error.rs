use std::borrow::Cow;

use sqlx::error::DatabaseError;

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
        sqlx::Error::Database(database) if is_for_a_while(database.as_ref()) => {
            StoreErrorKind::Unavailable
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreErrorKind::InvalidData,
        _ => StoreErrorKind::Database,
    }
}

/// Whether the fault is that of the server, and not of what it was asked: it ends the connection because it
/// or somebody else shuts it down, it starts, it has no room or no connection left, or another transaction
/// has kept a lock for too long.
fn is_for_a_while(error: &dyn DatabaseError) -> bool {
    is_for_a_while_by_sqlstate(error)
        || is_for_a_while_by_mysql(error)
        || is_for_a_while_by_sqlite(error)
}

fn is_for_a_while_by_sqlstate(error: &dyn DatabaseError) -> bool {
    let code = error.code();
    let code = code.as_deref().unwrap_or_default();
    // Codes of SQLite are numbers of less than five digits.
    code.len() == 5
        && match &code[..2] {
            // connection_exception, insufficient_resources
            "08" | "53" => true,
            // lock_not_available, admin_shutdown, crash_shutdown, cannot_connect_now
            _ => matches!(code, "55P03" | "57P01" | "57P02" | "57P03"),
        }
}

/// SQLITE_BUSY and SQLITE_LOCKED.
#[cfg(feature = "sqlite")]
pub(super) fn is_busy(error: &dyn DatabaseError) -> bool {
    matches!(sqlite_code(error), Some(5 | 6))
}

/// SQLITE_BUSY, SQLITE_LOCKED and SQLITE_FULL.
#[cfg(feature = "sqlite")]
fn is_for_a_while_by_sqlite(error: &dyn DatabaseError) -> bool {
    matches!(sqlite_code(error), Some(5 | 6 | 13))
}

#[cfg(not(feature = "sqlite"))]
fn is_for_a_while_by_sqlite(_error: &dyn DatabaseError) -> bool {
    false
}

/// The low byte of the extended code.
#[cfg(feature = "sqlite")]
fn sqlite_code(error: &dyn DatabaseError) -> Option<i32> {
    error.try_downcast_ref::<sqlx::sqlite::SqliteError>()?;
    let code = error.code()?.parse::<i32>().ok()?;
    Some(code & 0xff)
}

/// ER_DISK_FULL, ER_CON_COUNT_ERROR, ER_SERVER_SHUTDOWN, ER_RECORD_FILE_FULL (of InnoDB: the disk is),
/// ER_TOO_MANY_USER_CONNECTIONS, ER_LOCK_WAIT_TIMEOUT, ER_USER_LIMIT_REACHED, ER_CONNECTION_KILLED of
/// MariaDB: their SQLSTATEs say less.
#[cfg(feature = "mysql")]
fn is_for_a_while_by_mysql(error: &dyn DatabaseError) -> bool {
    error
        .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
        .is_some_and(|error| {
            matches!(
                error.number(),
                1021 | 1040 | 1053 | 1114 | 1203 | 1205 | 1226 | 1927
            )
        })
}

#[cfg(not(feature = "mysql"))]
fn is_for_a_while_by_mysql(_error: &dyn DatabaseError) -> bool {
    false
}
