//! Users of a database who may do little else than what they must.

use std::str::FromStr;

use atomfeed_core::store::conformance::{PostgresHarness, sequence_all};
use atomfeed_core::store::{PostgresStore, SchemaName};
use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{AssertSqlSafe, Executor};

/// Who owns a schema need not be allowed to make another.
#[tokio::test]
async fn the_owner_of_a_schema_makes_its_tables() {
    let Some(harness) = PostgresHarness::openelis() else {
        return;
    };
    let (pool, like) = harness.foreign().await;
    let user = format!("u{}", &like.as_str()[like.as_str().len() - 12..]);
    let schema = SchemaName::new(format!("s{user}")).unwrap();
    for statement in [
        format!("CREATE ROLE {user} LOGIN PASSWORD 'right'"),
        format!("CREATE SCHEMA {schema} AUTHORIZATION {user}"),
    ] {
        pool.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    let url = std::env::var("ATOMFEED_POSTGRES_URL").unwrap();
    let options = PgConnectOptions::from_str(&url).unwrap();
    let theirs = PgPool::connect_lazy_with(options.username(&user).password("right"));
    let may = sqlx::query_scalar("SELECT has_database_privilege(current_database(), 'CREATE')");
    let may: bool = may.fetch_one(&theirs).await.unwrap();
    assert!(!may, "else nothing is tested");
    let store = PostgresStore::over(theirs.clone(), Some(&schema));
    for _ in 0..2 {
        store.migrate().await.unwrap();
    }
    sequence_all(&store).await;
    theirs.close().await;
    for statement in [format!("DROP OWNED BY {user}"), format!("DROP ROLE {user}")] {
        pool.execute(AssertSqlSafe(statement)).await.unwrap();
    }
}

/// In whatever case it is written, a schema is made that is not there.
#[tokio::test]
async fn a_schema_is_made_once() {
    let Some(harness) = PostgresHarness::openelis() else {
        return;
    };
    let (pool, like) = harness.foreign().await;
    let schema = SchemaName::new(like.as_str().to_uppercase() + "_NEW").unwrap();
    for _ in 0..2 {
        let store = PostgresStore::over(pool.clone(), Some(&schema));
        store.migrate().await.unwrap();
    }
}
