//! Rows that the migrations of another program put into its tables.

use atomfeed_core::store::conformance::PostgresHarness;
use atomfeed_core::store::{Adoption, ConsumerStore, PostgresStore};
use atomfeed_core::{EntryId, FeedUri, Marker};
use sqlx::Executor;

const OPENELIS: &str = include_str!("../../src/store/conformance/schema/openelis-postgres.sql");

/// OpenELIS begins with a marker that names a page and no entry: from the start of that page.
#[tokio::test]
async fn the_marker_of_openelis_is_read_and_moved() {
    let Some(harness) = PostgresHarness::openelis() else {
        return;
    };
    let (pool, schema) = harness.foreign().await;
    let mut statements = OPENELIS.split_inclusive(";\n");
    let seed = statements.find(|statement| statement.contains("INSERT INTO markers"));
    let seed = seed.unwrap();
    assert!(seed.contains("NULL"), "{seed}");
    pool.execute(seed).await.unwrap();
    let store = PostgresStore::over(pool.clone(), Some(&schema));
    let store = store.adopt(&Adoption::of_consumer()).await.unwrap();

    let feed: FeedUri = "http://localhost:8050/openmrs/ws/atomfeed/patient/recent"
        .parse()
        .unwrap();
    let page = "http://localhost:8050/openmrs/ws/atomfeed/patient/1";
    let seeded = Marker::new(feed.clone()).on_page(page);
    assert_eq!(store.marker(&feed).await.unwrap(), Some(seeded.clone()));
    let mut work = store.begin().await.unwrap();
    assert_eq!(work.markers().await.unwrap(), std::slice::from_ref(&seeded));
    let read = Marker::new(feed.clone())
        .after(EntryId::of_event(7))
        .on_page(page);
    work.move_marker(Some(&seeded), &read).await.unwrap();
    work.commit().await.unwrap();
    let rows: Vec<(String, Option<String>)> =
        sqlx::query_as("SELECT feed_uri, last_read_entry_id FROM markers")
            .fetch_all(&pool)
            .await
            .unwrap();
    let id = EntryId::of_event(7).to_string();
    assert_eq!(rows, [(feed.as_str().to_owned(), Some(id))]);
}
