//! Documents that running systems published, where they are at hand beside the project.

use std::fs;
use std::path::PathBuf;

use atomfeed_client::{AtomFeedClient, ProcessErrorKind, StartPosition, worker_fn};
use atomfeed_core::atom::{ReadLimits, read_feed};
use atomfeed_core::store::{ConsumerStore, MemoryConnection, MemoryStore};

use crate::feeds::Pages;

/// `None`, and a word about it, where the documents are not there.
fn document(name: &str) -> Option<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/wire/real");
    let document = fs::read(folder.join(name)).ok();
    if document.is_none() {
        eprintln!("{name} is not there; nothing is checked");
    }
    document
}

async fn walk(
    feed: &str,
    pages: Vec<(&str, Vec<u8>)>,
    store: &MemoryStore,
    start: StartPosition,
) -> Result<u64, String> {
    let pages = pages
        .into_iter()
        .map(|(url, page)| (url.to_owned(), page))
        .collect();
    let worker = worker_fn(|event, conn: &mut MemoryConnection| {
        Box::pin(async move {
            conn.put("seen", event.id().as_str(), event.content());
            Ok(())
        })
    });
    let client = AtomFeedClient::builder(feed.parse().unwrap(), Pages(pages))
        .start(start)
        .build(store.clone(), worker);
    match client.process_events().await {
        Ok(processed) => Ok(processed.applied),
        Err(error) => match error.kind() {
            ProcessErrorKind::Fetch { page, .. } => Err(page.clone()),
            other => panic!("{other:?}"),
        },
    }
}

#[tokio::test]
async fn every_document_parses() {
    for (name, entries, published) in [
        ("openmrs-encounter-recent-at-36.xml", 2, true),
        ("openlmis-requisition-status-1.xml", 5, false),
        ("openmrs-patient-recent-at-36.xml", 5, true),
        ("openmrs-patient-recent-at-37.xml", 1, true),
    ] {
        let Some(document) = document(name) else {
            return;
        };
        let feed = read_feed(&document, &ReadLimits::default()).unwrap();
        assert_eq!(feed.entries.len(), entries, "{name}");
        assert!(
            feed.entries
                .iter()
                .all(|entry| entry.published.is_some() == published),
            "{name}"
        );
        assert!(
            feed.entries.iter().all(|entry| !entry.content.is_empty()),
            "{name}"
        );
    }
}

/// The feed of patients, read when its newest page was the 36th, and again a few minutes later.
#[tokio::test]
async fn a_consumer_follows_openmrs_from_one_page_to_the_next() {
    let feed = "http://192.168.33.10:8080/openmrs/ws/atomfeed/patient/recent";
    let page_36 = "http://192.168.33.10:8080/openmrs/ws/atomfeed/patient/36";
    let page_37 = "http://192.168.33.10:8080/openmrs/ws/atomfeed/patient/37";
    let Some(first) = document("openmrs-patient-recent-at-36.xml") else {
        return;
    };
    let Some(second) = document("openmrs-patient-recent-at-37.xml") else {
        return;
    };
    let store = MemoryStore::new();
    let start = StartPosition::Page(page_36.parse().unwrap());
    let pages = vec![(feed, first.clone()), (page_36, first.clone())];
    assert_eq!(walk(feed, pages, &store, start).await, Ok(5));
    let marker = store.marker(&feed.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(marker.page_uri(), Some(page_36));

    // What page 36 says once it has a successor.
    let sealed = String::from_utf8(first).unwrap().replace(
        "<link rel=\"prev-archive\"",
        &format!("<link rel=\"next-archive\" href=\"{page_37}\"/><link rel=\"prev-archive\""),
    );
    let pages = vec![
        (feed, second.clone()),
        (page_36, sealed.into()),
        (page_37, second),
    ];
    assert_eq!(
        walk(feed, pages, &store, StartPosition::Beginning).await,
        Ok(1)
    );
    let marker = store.marker(&feed.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(marker.page_uri(), Some(page_37));
    assert_eq!(store.rows("seen").len(), 6);
}

/// What can be read of a feed is applied; the page that cannot be had is named.
#[tokio::test]
async fn a_consumer_reads_openlmis_up_to_the_page_that_is_missing() {
    let page = "http://localhost:9091/feeds/requisition-status/1";
    let Some(first) = document("openlmis-requisition-status-1.xml") else {
        return;
    };
    let store = MemoryStore::new();
    let missing = "http://localhost:9091/feeds/requisition-status/2".to_owned();
    let pages = vec![
        (
            "http://localhost:9091/feeds/requisition-status/recent",
            first.clone(),
        ),
        (page, first),
    ];
    let start = StartPosition::Page(page.parse().unwrap());
    let feed = "http://localhost:9091/feeds/requisition-status/recent";
    assert_eq!(walk(feed, pages, &store, start).await, Err(missing));
    assert_eq!(store.rows("seen").len(), 5);
    assert!(store.rows("seen")[0].1.starts_with("{\"requisitionId\":28"));
}
