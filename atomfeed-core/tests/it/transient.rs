//! Which errors of a database are no fault of what it was asked, as the servers themselves raise them.

use atomfeed_core::store::conformance::{Harness, MySqlHarness, PostgresHarness, SqliteHarness};
use atomfeed_core::store::is_transient;
use sqlx::{AssertSqlSafe, Executor};

#[tokio::test]
async fn what_postgres_says_of_itself() {
    let Some(harness) = PostgresHarness::from_env() else {
        return;
    };
    let store = harness.store().await;
    for (code, is_of_server) in [
        ("08006", true),
        ("25006", true),
        ("40001", true),
        ("40P01", true),
        ("53100", true),
        ("53300", true),
        // What one statement has asked for is too much; a lock is in the way of one row.
        ("53400", false),
        ("55P03", false),
        ("57P01", true),
        ("57P02", true),
        ("57P03", true),
        ("57P05", true),
        ("57014", false),
        ("22001", false),
        ("23503", false),
        ("23505", false),
        ("42P01", false),
    ] {
        let raise = format!("DO $$ BEGIN RAISE 'no' USING ERRCODE = '{code}'; END $$");
        let error = store
            .pool()
            .execute(AssertSqlSafe(raise))
            .await
            .unwrap_err();
        assert_eq!(is_transient(&error), is_of_server, "{code}: {error}");
    }
    // And when it does so in earnest.
    let mut conn = store.pool().acquire().await.unwrap();
    let end = "SELECT pg_terminate_backend(pg_backend_pid())";
    let error = conn.execute(end).await.unwrap_err();
    let database = error.as_database_error().expect("it says so");
    assert_eq!(database.code().as_deref(), Some("57P01"));
    assert!(is_transient(&error), "{error}");
}

#[tokio::test]
async fn what_mariadb_says_of_itself() {
    let Some(harness) = MySqlHarness::from_env() else {
        return;
    };
    let store = harness.store().await;
    let read_only = "The server is running with the --read-only option";
    for (code, number, message, is_of_server) in [
        ("08004", 1040, "", true),
        ("08S01", 1047, "", true),
        ("08S01", 1053, "", true),
        ("HY000", 1021, "", true),
        ("HY000", 1114, "", true),
        ("42000", 1203, "", true),
        ("42000", 1226, "", true),
        ("HY000", 1637, "", true),
        ("70100", 1927, "", true),
        ("25006", 1792, "", true),
        ("HY000", 1836, "", true),
        ("HY000", 4031, "", true),
        ("HY000", 1290, read_only, true),
        ("HY000", 1290, "with --secure-file-priv", false),
        ("40001", 1213, "", true),
        ("HY000", 1020, "", true),
        ("40000", 3101, "", true),
        // A packet that is too large; a lock is in the way of one row.
        ("08S01", 1153, "", false),
        ("HY000", 1205, "", false),
        ("70100", 1317, "", false),
        ("22001", 1406, "", false),
        ("23000", 1062, "", false),
        ("42S02", 1146, "", false),
        ("45000", 1644, "", false),
    ] {
        let raise = format!(
            "SIGNAL SQLSTATE '{code}' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = '{message}'"
        );
        let error = sqlx::raw_sql(AssertSqlSafe(raise))
            .execute(store.pool())
            .await
            .unwrap_err();
        assert_eq!(is_transient(&error), is_of_server, "{number}: {error}");
    }
    let mut conn = store.pool().acquire().await.unwrap();
    let end = sqlx::raw_sql("KILL CONNECTION CONNECTION_ID()");
    let error = end.execute(&mut *conn).await.unwrap_err();
    assert!(is_transient(&error), "{error}");
}

#[tokio::test]
async fn what_sqlite_says_of_itself() {
    let store = SqliteHarness::default().store().await;
    let mut conn = store.pool().acquire().await.unwrap();
    for statement in [
        "CREATE TABLE large (value BLOB)",
        // No more than there is.
        "PRAGMA max_page_count = 1",
    ] {
        conn.execute(statement).await.unwrap();
    }
    let large = "INSERT INTO large VALUES (zeroblob(1000000))";
    let error = conn.execute(large).await.unwrap_err();
    assert!(error.to_string().contains("full"), "{error}");
    assert!(is_transient(&error), "{error}");
    conn.execute("PRAGMA max_page_count = 1000000")
        .await
        .unwrap();
    conn.execute("PRAGMA query_only = ON").await.unwrap();
    let error = conn.execute(large).await.unwrap_err();
    assert!(error.to_string().contains("readonly"), "{error}");
    assert!(is_transient(&error), "{error}");
    conn.execute("PRAGMA query_only = OFF").await.unwrap();
    let twice = "INSERT INTO large (rowid) VALUES (1), (1)";
    let error = conn.execute(twice).await.unwrap_err();
    assert!(!is_transient(&error), "{error}");
}
