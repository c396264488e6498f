//! Databases that cannot be used: each is a clear error, none a panic or a hang.

#![allow(clippy::unwrap_used)]

use std::net::TcpListener;

use atomfeed_core::store::conformance::{MySqlHarness, PostgresHarness};
use sqlx::{AssertSqlSafe, Executor};
use url::Url;

use crate::emr::Emr;
use crate::lab::Lab;
use crate::programs::Finished;

/// Both programs, which say the same.
#[track_caller]
fn assert_refused(database: &str, options: &[&str], expected: &[&str]) {
    let consumer = Lab::on(database, "http://127.0.0.1:9/recent");
    let once = [&["--once"], options].concat();
    for refused in [Emr::refused(database, options), consumer.run(&once)] {
        assert_clear(&refused, expected);
    }
}

#[track_caller]
fn assert_clear(refused: &Finished, expected: &[&str]) {
    assert!(!refused.status.success(), "{refused:#?}");
    let said = refused.stderr.join("\n");
    assert!(!said.contains("panicked"), "{said}");
    assert!(!said.contains("secret"), "the password is not told: {said}");
    for expected in expected {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

/// The URL of the server, as somebody else.
fn url_as(variable: &str, user: &str, password: Option<&str>) -> String {
    let mut url: Url = std::env::var(variable).unwrap().parse().unwrap();
    url.set_username(user).unwrap();
    url.set_password(password).unwrap();
    url.into()
}

#[test]
fn a_server_that_is_not_there() {
    // Bound and let go: nobody listens.
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    for scheme in ["postgres", "mysql"] {
        let database = format!("{scheme}://me:secret@{address}/none");
        assert_refused(&database, &[], &["see whether the server is up"]);
    }
}

#[test]
fn a_schema_that_is_no_name() {
    for database in ["postgres://127.0.0.1/none", "mysql://127.0.0.1/none"] {
        for schema in ["a\"b", "a'b", "a`b", "a;b", ""] {
            assert_refused(database, &["--schema", schema], &["--schema"]);
        }
    }
}

#[test]
fn a_database_of_no_kind_that_is_known() {
    assert_refused(
        "oracle://127.0.0.1/none",
        &[],
        &["sqlite:", "postgres://", "mysql://"],
    );
}

#[tokio::test]
async fn somebody_whom_mariadb_does_not_let_in() {
    let Some(harness) = MySqlHarness::openmrs() else {
        return;
    };
    let (pool, schema) = harness.foreign().await;
    // Names of users have no schema: as unlike others as the schema is.
    let user = format!("u{}", &schema.as_str()[schema.as_str().len() - 12..]);
    for statement in [
        format!("CREATE USER '{user}'@'localhost' IDENTIFIED BY 'right'"),
        format!("GRANT SELECT ON {schema}.* TO '{user}'@'localhost'"),
    ] {
        pool.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    let wrong = url_as("ATOMFEED_MYSQL_URL", &user, Some("secret"));
    assert_refused(&wrong, &[], &["user, password", "Access denied"]);
    let right = url_as("ATOMFEED_MYSQL_URL", &user, Some("right"));
    let right = right.replace("/mysql?", &format!("/{schema}?"));
    assert_refused(&right, &["--adopt"], &["may make tables", "denied"]);
    assert_refused(&right, &[], &["tables", "denied"]);
    let drop = format!("DROP USER '{user}'@'localhost'");
    pool.execute(AssertSqlSafe(drop)).await.unwrap();
}

#[tokio::test]
async fn somebody_whom_postgres_does_not_let_in() {
    let Some(harness) = PostgresHarness::openelis() else {
        return;
    };
    let (pool, schema) = harness.foreign().await;
    let user = format!("u{}", &schema.as_str()[schema.as_str().len() - 12..]);
    for statement in [
        format!("CREATE ROLE {user} LOGIN PASSWORD 'right'"),
        format!("GRANT USAGE ON SCHEMA {schema} TO {user}"),
        format!("GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {user}"),
    ] {
        pool.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    let wrong = url_as("ATOMFEED_POSTGRES_URL", &user, Some("secret"));
    let failed = "password authentication failed";
    assert_refused(&wrong, &[], &["user, password", failed]);
    let reads = url_as("ATOMFEED_POSTGRES_URL", &user, Some("right"));
    let options = ["--schema", schema.as_str(), "--adopt"];
    assert_refused(&reads, &options, &["may make tables", "permission denied"]);
    let no_tables = ["--schema", "atomfeed_no_such_schema", "--adopt"];
    assert_refused(&reads, &no_tables, &["atomfeed_no_such_schema", "missing"]);
    for statement in [format!("DROP OWNED BY {user}"), format!("DROP ROLE {user}")] {
        pool.execute(AssertSqlSafe(statement)).await.unwrap();
    }
}
