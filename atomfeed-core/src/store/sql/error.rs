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
        sqlx::Error::Database(database) if is_conflict(database.as_ref()) => {
            StoreErrorKind::Conflict
        }
        sqlx::Error::Database(database) if is_for_a_while(database.as_ref()) => {
            StoreErrorKind::Unavailable
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreErrorKind::InvalidData,
        _ => StoreErrorKind::Database,
    }
}

/// Whether another transaction was in the way, and went first.
fn is_conflict(error: &dyn DatabaseError) -> bool {
    // serialization_failure, deadlock_detected; ER_CHECKREAD of MariaDB, and what group replication undoes
    matches!(error.code().as_deref(), Some("40001" | "40P01"))
        || matches!(mysql_number(error), Some(1020 | 3101))
}

/// Whether the fault is that of the server, and not of what it was asked: it ends the connection because it
/// or somebody else shuts it down, it starts, it takes no writes (after a failover), or it has no room or no
/// connection left. What was not had in time of others, a lock on a row, concerns that row alone.
fn is_for_a_while(error: &dyn DatabaseError) -> bool {
    if let Some(code) = sqlite_code(error) {
        // SQLITE_BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN, PROTOCOL
        return matches!(code, 5..=8 | 10 | 13..=15);
    }
    let code = error.code();
    let code = code.as_deref().unwrap_or_default();
    // connection_exception
    let is_of_connection = code.starts_with("08");
    if let Some(number) = mysql_number(error) {
        // ER_NET_PACKET_TOO_LARGE: by what is sent.
        return is_of_connection && number != 1153
            || is_for_a_while_by_number(number, error.message());
    }
    is_of_connection
        // disk_full, out_of_memory, too_many_connections
        || matches!(code, "53000" | "53100" | "53200" | "53300")
        // read_only_sql_transaction, admin_shutdown, crash_shutdown, cannot_connect_now,
        // idle_session_timeout
        || matches!(code, "25006" | "57P01" | "57P02" | "57P03" | "57P05")
}

/// Those of MySQL and MariaDB, whose SQLSTATEs say less.
fn is_for_a_while_by_number(number: u16, message: &str) -> bool {
    match number {
        // ER_DISK_FULL, ER_OUT_OF_RESOURCES, ER_RECORD_FILE_FULL (of InnoDB: the disk is)
        1021 | 1041 | 1114 => true,
        // ER_TOO_MANY_USER_CONNECTIONS, ER_LOCK_TABLE_FULL, ER_USER_LIMIT_REACHED,
        // ER_TOO_MANY_CONCURRENT_TRXS, ER_CONNECTION_KILLED of MariaDB, ER_CLIENT_INTERACTION_TIMEOUT
        1203 | 1206 | 1226 | 1637 | 1927 | 4031 => true,
        // ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION, ER_READ_ONLY_MODE
        1792 | 1836 => true,
        // ER_OPTION_PREVENTS_STATEMENT: of several options.
        1290 => message.contains("read-only") || message.contains("read_only"),
        _ => false,
    }
}

/// Whether a database may have ended the transaction by itself that gave this error, so that its savepoints
/// are unknown without any fault of a worker's.
pub(in crate::store) fn may_end_transaction(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(database) = error else {
        return false;
    };
    let database = database.as_ref();
    if let Some(code) = sqlite_code(database) {
        // SQLITE_BUSY, NOMEM, INTERRUPT, IOERR, FULL
        return matches!(code, 5 | 7 | 9 | 10 | 13);
    }
    // ER_CHECKREAD, ER_LOCK_WAIT_TIMEOUT (by innodb_rollback_on_timeout), ER_LOCK_TABLE_FULL,
    // ER_LOCK_DEADLOCK; PostgreSQL keeps a transaction in which a statement has failed.
    matches!(mysql_number(database), Some(1020 | 1205 | 1206 | 1213))
}

/// SQLITE_BUSY and SQLITE_LOCKED.
#[cfg(feature = "sqlite")]
pub(super) fn is_busy(error: &dyn DatabaseError) -> bool {
    matches!(sqlite_code(error), Some(5 | 6))
}

/// The low byte of the extended code.
#[cfg(feature = "sqlite")]
fn sqlite_code(error: &dyn DatabaseError) -> Option<i32> {
    error.try_downcast_ref::<sqlx::sqlite::SqliteError>()?;
    let code = error.code()?.parse::<i32>().ok()?;
    Some(code & 0xff)
}

#[cfg(not(feature = "sqlite"))]
fn sqlite_code(_error: &dyn DatabaseError) -> Option<i32> {
    None
}

#[cfg(feature = "mysql")]
fn mysql_number(error: &dyn DatabaseError) -> Option<u16> {
    let error = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()?;
    Some(error.number())
}

#[cfg(not(feature = "mysql"))]
fn mysql_number(_error: &dyn DatabaseError) -> Option<u16> {
    None
}
