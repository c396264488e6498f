//! Feeds of a category carry its events in every spelling that another program has used, whatever its
//! column takes for one and the same.

use std::time::Duration;

use atomfeed_core::store::conformance::{MySqlHarness, PostgresHarness};
use atomfeed_core::store::sql::{Dialect, SqlStore};
use atomfeed_core::store::{Adoption, FeedStore, MySqlStore, PostgresStore, RecordRange};
use atomfeed_core::{Category, FeedScope};
use sqlx::{AssertSqlSafe, Executor};

const SPELLINGS: [&str; 5] = ["Encounter", "encounter", "ENCOUNTER", "\u{e9}", "\u{c9}"];

async fn ids<D: Dialect>(store: &SqlStore<D>, category: &str) -> Vec<i64> {
    let scope = FeedScope::Category(Category::new(category).unwrap());
    let range = RecordRange {
        after: 0,
        through: None,
        skip: 0,
        limit: 100,
    };
    let records = store.records(&scope, range).await.unwrap();
    let ids: Vec<_> = records.into_iter().map(|record| record.id).collect();
    let count = store.count(&scope, 0, None).await.unwrap();
    assert_eq!(count, ids.len() as u64, "{category}");
    assert_eq!(store.every_nth_id(&scope, 0, 1).await.unwrap(), ids);
    ids
}

macro_rules! on_adopted_tables {
    ($($name:ident: $store:ident, $harness:expr;)+) => {
        $(#[tokio::test]
        async fn $name() {
            let Some(harness) = $harness else { return };
            let (pool, schema) = harness.foreign().await;
            let insert = async |category: &str| {
                let insert = format!(
                    "INSERT INTO event_records (uuid, category) VALUES ('{category}', '{category}')"
                );
                pool.execute(AssertSqlSafe(insert)).await.unwrap();
            };
            for category in SPELLINGS {
                insert(category).await;
            }
            let adoption = Adoption::of_publisher().waiting_for_gaps(Duration::from_millis(200));
            let over = || $store::over(pool.clone(), Some(&schema));
            let store = over().adopt(&adoption).await.unwrap();
            for category in ["encounter", "eNcounter"] {
                assert_eq!(ids(&store, category).await, [1, 2, 3]);
            }
            assert_eq!(ids(&store, "\u{c9}").await, [4, 5]);
            let mut categories = store.categories().await.unwrap();
            categories.sort();
            let mut expected = SPELLINGS;
            expected.sort_unstable();
            assert_eq!(categories, expected);

            let exact = over().with_exact_categories().adopt(&adoption).await.unwrap();
            for exact in [exact, store.clone().with_exact_categories()] {
                for (id, category) in (1..).zip(SPELLINGS) {
                    assert_eq!(ids(&exact, category).await, [id], "{category}");
                }
                assert_eq!(ids(&exact, "eNcounter").await, []);
            }

            // One that comes later.
            insert("encOUNTER").await;
            assert_eq!(ids(&store, "encounter").await, [1, 2, 3, 6]);
        })+
    };
}

on_adopted_tables! {
    odoo: PostgresStore, PostgresHarness::odoo();
    openelis: PostgresStore, PostgresHarness::openelis();
    openmrs: MySqlStore, MySqlHarness::openmrs();
    openmrs_sync2: MySqlStore, MySqlHarness::openmrs_sync2();
}
