//! What an export does not write over, and stores of which little can be asked.

use std::error::Error as _;
use std::sync::Arc;

use atomfeed_core::NewEvent;
use atomfeed_core::store::MemoryStore;
use atomfeed_core::store::conformance::MemoryHarness;
use atomfeed_server::{ArchiveError, Audience};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;

use super::{LOWER_CASE, archive, events, filled, pages_in, reopened, sealed_pages};
use crate::feeds::{config, publish};
use crate::watched::Watched;

#[tokio::test]
async fn an_archive_of_another_configuration_is_refused() {
    let (store, service) = filled(100).await;
    let memory = Arc::new(InMemory::new());
    archive(&service, &memory).export().await.unwrap();
    let before = pages_in(memory.as_ref()).await;

    publish::<MemoryHarness>(&store, events(0, 100)).await;
    let other = reopened(&store, config().with_title("Another title")).await;
    let refused = archive(&other, &memory).export().await.unwrap_err();
    let text = refused.to_string();
    for word in [
        "/feed",
        "title",
        "http://127.0.0.1:8080/feed",
        "remove",
        "caches",
    ] {
        assert!(text.contains(word), "{word} is not in {text:?}");
    }
    assert_eq!(pages_in(memory.as_ref()).await, before);

    // Elsewhere in the same store there is room for it, and here for the old one.
    let elsewhere = archive(&other, &memory).under("feed/.atomfeed/2").unwrap();
    assert_eq!(elsewhere.export().await.unwrap().pages, 39 + 3 * 13);
    let same = reopened(&store, config()).await;
    assert!(archive(&same, &memory).export().await.unwrap().pages > 0);
}

/// Object stores hand out the Cache-Control of a page as it was exported.
#[tokio::test]
async fn what_was_for_everyone_does_not_become_private_by_the_way() {
    let (store, service) = filled(100).await;
    let memory = Arc::new(InMemory::new());
    let of = |audience| archive(&service, &memory).with_audience(audience);
    // Few first, then all, and few again.
    of(Audience::WhoIsLetIn).export().await.unwrap();
    publish::<MemoryHarness>(&store, events(0, 20)).await;
    of(Audience::Everyone).export().await.unwrap();
    publish::<MemoryHarness>(&store, events(0, 20)).await;
    let before = pages_in(memory.as_ref()).await;
    let refused = of(Audience::WhoIsLetIn).export().await.unwrap_err();
    let text = refused.to_string();
    let configuration = "feed/.atomfeed/configuration.json";
    for word in [configuration, "public", "caches", "lets nobody else in"] {
        assert!(text.contains(word), "{word} is not in {text:?}");
    }
    assert_eq!(pages_in(memory.as_ref()).await, before);
    let configuration = Path::parse(configuration).unwrap();
    memory.delete(&configuration).await.unwrap();
    assert!(of(Audience::WhoIsLetIn).export().await.unwrap().pages > 0);
}

/// Another database at the same public URL, or this one as it was before a restore.
#[tokio::test]
async fn pages_of_another_feed_are_not_written_over() {
    let (_, service) = filled(100).await;
    let memory = Arc::new(InMemory::new());
    archive(&service, &memory).export().await.unwrap();
    let before = pages_in(memory.as_ref()).await;

    let store = MemoryStore::new();
    let events = events(0, 100).chain([NewEvent::new("", "").in_category("new")]);
    publish::<MemoryHarness>(&store, events.chain(new(9))).await;
    let other = reopened(&store, config()).await;
    let refused = archive(&other, &memory).export().await.unwrap_err();
    assert!(
        matches!(&refused, ArchiveError::AnotherPage { page: 19, path, .. } if path == "feed/19"),
        "{refused:?}"
    );
    // What is of no doubt goes on.
    let mut after = pages_in(memory.as_ref()).await;
    assert!(after.remove("feed/new/1").is_some());
    assert_eq!(after, before);

    // It is behind its archive.
    let (_, restored) = filled(50).await;
    let refused = archive(&restored, &memory).export().await.unwrap_err();
    assert!(
        matches!(refused, ArchiveError::AnotherPage { .. }),
        "{refused:?}"
    );
    assert_eq!(pages_in(memory.as_ref()).await.len(), before.len() + 1);
}

/// Something that was put there since, of which nothing is written down.
#[tokio::test]
async fn an_object_that_is_in_the_way_is_not_written_over() {
    for watched in [Watched::default(), Watched::plain()].map(Arc::new) {
        let (store, service) = filled(100).await;
        let exporting = archive(&service, &watched);
        exporting.export().await.unwrap();
        let way = Path::parse("feed/21").unwrap();
        watched.store.put(&way, "somebody's".into()).await.unwrap();
        publish::<MemoryHarness>(&store, events(100, 30)).await;
        for exporting in [exporting, archive(&service, &watched)] {
            let refused = exporting.export().await.unwrap_err();
            assert!(
                matches!(refused, ArchiveError::AnotherPage { page: 21, .. }),
                "{refused:?}"
            );
            let pages = pages_in(&watched.store).await;
            assert_eq!(pages["feed/21"], "somebody's");
            assert!(pages.contains_key("feed/patient/8"), "others go on");
        }
    }
}

fn new(count: usize) -> impl Iterator<Item = NewEvent> {
    (0..count).map(|_| NewEvent::new("", "").in_category("new"))
}

/// One that keeps no headers, and knows no "unless it is there".
#[tokio::test]
async fn a_plain_store_will_do() {
    let (_, service) = filled(100).await;
    let plain = Arc::new(Watched::plain());
    archive(&service, &plain).export().await.unwrap();
    let whole = sealed_pages(&service, &LOWER_CASE).await;
    assert_eq!(pages_in(&plain.store).await, whole);
    // Nothing is written over there, either.
    let sent = plain.take_put();
    for path in ["feed/3", "feed/.atomfeed/progress.json"] {
        let path = Path::parse(path).unwrap();
        plain.store.put(&path, "{}".into()).await.unwrap();
    }
    let refused = archive(&service, &plain).export().await.unwrap_err();
    assert!(
        matches!(refused, ArchiveError::AnotherPage { page: 3, .. }),
        "{refused:?}"
    );
    assert!(sent.len() > whole.len());
    let sent = plain.take_put();
    assert!(
        sent.iter().all(|path| path.contains(".atomfeed")),
        "{sent:?}"
    );
}

#[tokio::test]
async fn a_store_that_fails_says_of_what() {
    let (_, service) = filled(100).await;
    let watched = Arc::new(Watched::default());
    // The configuration is read and written, what was written down is read, and the first feed is listed.
    watched.fail_at(5);
    let error = archive(&service, &watched).export().await.unwrap_err();
    assert!(error.to_string().contains("writing \"feed/1\""), "{error}");
    let cause = error.source().unwrap().to_string();
    assert!(cause.contains("as it was told to"), "{cause}");
}
