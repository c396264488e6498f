//! Beside another program that writes events: none is hidden by what commits before it, and one that
//! comes too late all the same is told of.

use std::time::Duration;

use atomfeed_core::store::conformance::{MySqlHarness, PostgresHarness};
use atomfeed_core::store::{Adoption, MySqlStore, PostgresStore};
use sqlx::{AssertSqlSafe, Executor};

use crate::foreign::{Counted, insert, titles, until};

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

macro_rules! late_events {
    ($name:ident, $store:ident, $harness:expr) => {
        /// Its transaction was open for hours, and many ids were passed over before and since.
        #[tokio::test]
        async fn $name() {
            let Some(harness) = $harness else { return };
            let counted = Counted::default();
            let _here = metrics::set_default_local_recorder(&counted);
            let (pool, schema) = harness.foreign().await;
            let wait = Duration::from_millis(100);
            let adoption = Adoption::of_publisher().waiting_for_gaps(wait);
            let store = $store::over(pool.clone(), Some(&schema));
            let store = store.adopt(&adoption).await.unwrap();
            for title in ["1", "2", "3"] {
                pool.execute(insert(title)).await.unwrap();
            }
            pool.execute("DELETE FROM event_records WHERE id = 2")
                .await
                .unwrap();
            until(&store, &["1", "3"]).await;
            let gaps = (1..=2_500).flat_map(|n| [-2 * n, 1_000_000 + 2 * n]);
            let gaps = gaps.map(|id| format!("({id}, {id}, '2020-01-01 00:00:00')"));
            let gaps = gaps.collect::<Vec<_>>().join(", ");
            let passed = "INSERT INTO atomfeed_gaps (first_id, last_id, passed_at) VALUES";
            for sql in [
                format!("{passed} {gaps}"),
                "UPDATE atomfeed_gaps SET passed_at = '2020-01-01 00:00:00'".to_owned(),
                "INSERT INTO event_records (id, uuid) VALUES (2, 'late')".to_owned(),
            ] {
                pool.execute(AssertSqlSafe(sql)).await.unwrap();
            }
            let told = tokio::time::timeout(Duration::from_secs(300), async {
                while counted.of("atomfeed_late_events_total") == 0 {
                    assert_eq!(titles(&store).await, ["1", "3"]);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
            told.await.expect("it is counted");
        }
    };
}

late_events!(
    an_event_that_comes_hours_late_is_counted_on_postgres,
    PostgresStore,
    PostgresHarness::odoo()
);
late_events!(
    an_event_that_comes_hours_late_is_counted_on_mysql,
    MySqlStore,
    MySqlHarness::openmrs()
);
