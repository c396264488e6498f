//! Beside another program that writes events: none is hidden by what commits before it.

use std::time::Duration;

use atomfeed_core::store::conformance::PostgresHarness;
use atomfeed_core::store::{Adoption, PostgresStore};
use sqlx::Executor;

use crate::adopted::{insert, titles, until};

/// On PostgreSQL the numbers of transactions tell which are open, and those of who begins early and
/// commits first are lower than those of who is still at it.
#[tokio::test]
async fn an_older_transaction_that_commits_hides_no_younger_one() {
    let Some(harness) = PostgresHarness::odoo() else {
        return;
    };
    let (pool, schema) = harness.foreign().await;
    pool.execute(insert("1")).await.unwrap();
    // Nothing is waited for but transactions.
    let adoption = Adoption::of_publisher().waiting_for_gaps(Duration::ZERO);
    let store = PostgresStore::over(pool.clone(), Some(&schema));
    let store = store.adopt(&adoption).await.unwrap();

    let mut older = pool.begin().await.unwrap();
    let number = "INSERT INTO event_records_queue (uuid) VALUES ('older')";
    older.execute(number).await.unwrap();
    let mut younger = pool.begin().await.unwrap();
    younger.execute(insert("2")).await.unwrap();
    older.execute(insert("3")).await.unwrap();
    older.commit().await.unwrap();
    for _look in 0..20 {
        assert_eq!(titles(&store).await, ["1"]);
    }
    younger.commit().await.unwrap();
    until(&store, &["1", "2", "3"]).await;
}
