//! An export that goes on where another one was, and what it asks of the store for that.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use atomfeed_core::store::MemoryStore;
use atomfeed_core::store::conformance::MemoryHarness;
use atomfeed_server::{ArchiveError, CancellationToken};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;

use super::{LOWER_CASE, archive, events, filled, pages_in, reopened, sealed_pages};
use crate::feeds::{config, publish};
use crate::watched::Watched;

#[tokio::test]
async fn what_is_exported_is_neither_sent_nor_looked_at_again() {
    let (store, service) = filled(1_500).await;
    let watched = Arc::new(Watched::default());
    let exporting = archive(&service, &watched);
    assert_eq!(exporting.export().await.unwrap().pages, 299 + 3 * 99);
    watched.take_put();
    watched.take_requests();

    let again = exporting.export().await.unwrap();
    assert_eq!((again.pages, watched.take_requests()), (0, 0));

    // In another process: what stands in the archive of itself, and of each feed the page that is said to be
    // the last, and the one behind.
    let restarted = archive(&service, &watched);
    let again = restarted.export().await.unwrap();
    assert_eq!((again.pages, again.found), (0, 0));
    assert_eq!(watched.take_put(), [""; 0]);
    assert!(watched.take_requests() <= 2 + 4 * 2);

    // One more page: it, and how far it has come.
    publish::<MemoryHarness>(&store, events(0, 1)).await;
    for exporting in [&exporting, &restarted] {
        exporting.export().await.unwrap();
    }
    assert_eq!(
        watched.take_put(),
        [
            "feed/300",
            "feed/patient/100",
            "feed/.atomfeed/progress.json"
        ]
    );
    assert!(watched.take_requests() <= 3 + 2 + 2 * 2 + 2);
}

/// Whatever is asked of the store fails once, or is done and its answer lost: the next export, of another
/// process or of the same, leaves the archive as it is when nothing fails, and nothing is sent twice but
/// what was in flight.
#[tokio::test]
async fn an_export_that_failed_anywhere_goes_on_where_it_was() {
    let (_, service) = filled(100).await;
    let whole = sealed_pages(&service, &LOWER_CASE).await;
    for does_what_it_fails in [false, true] {
        let mut ended = 0;
        for number in 1.. {
            let watched = Arc::new(match does_what_it_fails {
                true => Watched::that_does_what_it_fails(),
                false => Watched::default(),
            });
            watched.fail_at(number);
            let first = archive(&service, &watched);
            match first.export().await {
                Ok(_) => break,
                Err(ArchiveError::Objects { .. }) => ended += 1,
                Err(error) => panic!("{error:?}"),
            }
            let kept = pages_in(&watched.store).await;
            for (path, body) in &kept {
                assert_eq!(whole.get(path), Some(body), "{path}");
            }
            let next = match number % 2 {
                0 => first,
                _ => archive(&service, &watched),
            };
            next.export().await.unwrap();
            assert_eq!(pages_in(&watched.store).await, whole, "request {number}");

            let sent = watched.take_put();
            let pages = sent.iter().filter(|path| !path.contains(".atomfeed"));
            let different: BTreeSet<_> = pages.clone().collect();
            assert_eq!(pages.count(), different.len(), "request {number}: {sent:?}");
        }
        // Every page, and what is written and read besides.
        assert!(ended > whole.len(), "{ended} requests failed");
    }
}

/// How far it has come is written down on the way, so that the next one need not look at all that it finds.
#[tokio::test]
async fn an_exporter_that_ends_on_the_spot_has_written_down_how_far_it_came() {
    let (_, service) = filled(5_000).await;
    let watched = Arc::new(Watched::that_goes_away());
    watched.fail_at(900);
    archive(&service, &watched).export().await.unwrap_err();
    watched.fail_at(u64::MAX);
    watched.take_put();
    watched.take_requests();
    let exported = archive(&service, &watched).export().await.unwrap();
    assert!(exported.found < 64, "{exported:?}");
    let whole = sealed_pages(&service, &LOWER_CASE).await;
    assert_eq!(pages_in(&watched.store).await, whole);
    let sent = watched.take_put().len() as u64;
    assert!(sent - exported.pages < 30, "{sent} objects were sent");
    let asked = watched.take_requests() - sent;
    assert!(asked < 64 + 30 + 3 * 10, "{asked} objects were looked at");
}

/// Several are on their way at once, and the first need not be the first to arrive.
#[tokio::test]
async fn what_arrived_behind_a_page_that_did_not_is_not_sent_again() {
    let (_, service) = filled(200).await;
    let watched = Arc::new(Watched::default());
    archive(&service, &watched).export().await.unwrap();
    let whole = pages_in(&watched.store).await;
    let progress = Path::parse("feed/.atomfeed/progress.json").unwrap();
    let said = watched.store.get(&progress).await.unwrap();
    let said = String::from_utf8(said.bytes().await.unwrap().to_vec()).unwrap();
    let earlier = said.replace("\"all_events\": 39", "\"all_events\": 20");
    assert_ne!(earlier, said);
    watched.store.put(&progress, earlier.into()).await.unwrap();
    let missing = Path::parse("feed/21").unwrap();
    watched.store.delete(&missing).await.unwrap();
    watched.take_put();

    archive(&service, &watched).export().await.unwrap();
    assert_eq!(
        watched.take_put(),
        ["feed/21", "feed/.atomfeed/progress.json"]
    );
    assert_eq!(pages_in(&watched.store).await, whole);
}

#[tokio::test]
async fn many_exporters_at_once_leave_the_same_archive() {
    let store = MemoryStore::new();
    let service = reopened(&store, config()).await;
    let memory = Arc::new(InMemory::new());
    let stop = CancellationToken::new();
    let running: Vec<_> = (0..3)
        .map(|_| {
            let (exporting, stop) = (archive(&service, &memory), stop.clone());
            tokio::spawn(async move { exporting.run(stop, Duration::from_millis(1)).await })
        })
        .collect();
    for n in 0..50 {
        publish::<MemoryHarness>(&store, events(n * 7, 7)).await;
        tokio::task::yield_now().await;
    }
    let whole = sealed_pages(&service, &LOWER_CASE).await;
    let all = async {
        while pages_in(memory.as_ref()).await.len() < whole.len() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .expect("they come to the end");
    stop.cancel();
    for running in running {
        running.await.unwrap();
    }
    assert_eq!(pages_in(memory.as_ref()).await, whole);
    // What they left written down holds, whoever wrote it last.
    let again = archive(&service, &memory).export().await.unwrap();
    assert_eq!(again.pages, 0);
}

#[tokio::test]
async fn pages_that_somebody_removed_are_exported_anew() {
    let (store, service) = filled(200).await;
    let memory = Arc::new(InMemory::new());
    let exporting = archive(&service, &memory);
    exporting.export().await.unwrap();
    let whole = pages_in(memory.as_ref()).await;
    let remove = async |path: &str| memory.delete(&Path::parse(path).unwrap()).await.unwrap();

    // The last one of a feed is missed by the next process, and then all are looked for.
    remove("feed/39").await;
    remove("feed/7").await;
    let mended = archive(&service, &memory).export().await.unwrap();
    assert_eq!((mended.pages, mended.found), (2, 37));
    assert_eq!(pages_in(memory.as_ref()).await, whole);

    // Any other is missed by who lists them all.
    remove("feed/patient/5").await;
    let mended = exporting.mend().await.unwrap();
    assert_eq!((mended.pages, mended.found), (1, whole.len() as u64 - 1));
    assert_eq!(pages_in(memory.as_ref()).await, whole);

    // Nothing stands in what was written down, or nothing that can be read.
    let progress = Path::parse("feed/.atomfeed/progress.json").unwrap();
    for written in ["", "{", "{\"all_events\": 1}", "{\"all_events\": 38}"] {
        memory.put(&progress, written.into()).await.unwrap();
        remove("feed/39").await;
        let mended = archive(&service, &memory).export().await.unwrap();
        assert_eq!(mended.pages, 1, "{written}");
        assert_eq!(pages_in(memory.as_ref()).await, whole, "{written}");
    }

    // A page that was cut off is not taken for one, nor is one of the same size.
    for other in ["<feed".into(), vec![b'.'; whole["feed/5"].len()]] {
        let page = Path::parse("feed/5").unwrap();
        memory.put(&page, other.into()).await.unwrap();
        let refused = exporting.mend().await.unwrap_err();
        assert!(
            matches!(refused, ArchiveError::AnotherPage { page: 5, .. }),
            "{refused:?}"
        );
    }
    drop(store);
}
