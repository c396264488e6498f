use super::publisher::{all, at, publish};
use super::{Harness, sequence_all};
use crate::chunking::{ChunkingHistoryEntry, ChunkingStrategy};
use crate::store::{
    Breaks, Cut, FeedStore, Hole, Jump, OffsetMarker, OldEvent, RenderedBefore, StoreErrorKind,
    UpkeepStore,
};
use crate::{Category, FeedScope, NewEvent};

fn category(name: &str) -> FeedScope {
    FeedScope::Category(Category::new(name).expect("a category"))
}

fn cut(page: u64, event_count: u64, event_id: i64) -> Cut {
    let before = OffsetMarker {
        event_id,
        event_count,
    };
    Cut { page, before }
}

async fn revision(store: &impl UpkeepStore) -> u64 {
    store.feed_state().await.expect("read").revision
}

/// Cuts are kept feed by feed, whatever the case of a category, and only rise; positions below them
/// are forgotten, and the cut is one.
pub async fn cuts_are_kept_and_only_rise<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let (patient, lab) = (category("Patient"), category("lab"));
    assert_eq!(revision(&store).await, 0);
    assert_eq!(
        store.breaks(&patient).await.expect("read"),
        Breaks::default()
    );
    let position = |event_count, event_id| OffsetMarker {
        event_id,
        event_count,
    };
    let kept = [position(10, 100), position(20, 200), position(30, 300)];
    store
        .keep_positions(&patient, &kept, 0)
        .await
        .expect("kept");

    let first = [
        (FeedScope::All, cut(5, 40, 220)),
        (patient.clone(), cut(4, 15, 150)),
    ];
    store.keep_cuts(&first, 0).await.expect("kept");
    let error = store.keep_cuts(&first, 0).await;
    assert_eq!(
        error.expect_err("reckoned too early").kind(),
        StoreErrorKind::Conflict
    );
    assert_eq!(revision(&store).await, 1);
    let second = [
        (FeedScope::All, cut(3, 20, 110)),
        (patient.clone(), cut(6, 25, 250)),
    ];
    store.keep_cuts(&second, 1).await.expect("kept");
    assert_eq!(revision(&store).await, 2);

    let found = async |scope: &FeedScope| store.breaks(scope).await.expect("read").cut;
    assert_eq!(found(&FeedScope::All).await, Some(first[0].1));
    assert_eq!(found(&patient).await, Some(second[1].1));
    assert_eq!(found(&category("PATIENT")).await, Some(second[1].1));
    assert_eq!(found(&lab).await, None);
    let below = async |count| store.position_below(&patient, count).await.expect("read");
    assert_eq!(below(24).await, OffsetMarker::default());
    assert_eq!(below(29).await, position(25, 250));
    assert_eq!(below(u64::MAX).await, kept[2]);

    // Reckoned before events were deleted: not kept.
    let late = [position(40, 400)];
    store.keep_positions(&patient, &late, 1).await.expect("not");
    assert_eq!(below(u64::MAX).await, kept[2]);
    store
        .keep_positions(&patient, &late, 2)
        .await
        .expect("kept");
    assert_eq!(below(u64::MAX).await, late[0]);
}

/// Old events are read, and deleted by their ids, and nothing else is.
pub async fn old_events_are_deleted<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let names = [Some("Patient"), None, Some("Lab"), Some("patient"), None];
    for (seconds, name) in (0..).zip(names) {
        let event = NewEvent::new("t", "c");
        let event = match name {
            Some(name) => event.in_category(name),
            None => event,
        };
        let published = publish::<H>(&store, &event, at(seconds)).await;
        published.expect("published");
    }
    let before = all::<H>(&store, &FeedScope::All).await;
    let ids: Vec<_> = before.iter().map(|record| record.id).collect();
    let since = async |scope: FeedScope, seconds| {
        let first = store.first_id_since(&scope, at(seconds)).await;
        first.expect("read")
    };
    assert_eq!(since(FeedScope::All, 1).await, Some(ids[1]));
    assert_eq!(since(category("patient"), 1).await, Some(ids[3]));
    assert_eq!(since(category("patient"), 4).await, None);

    let old = store.old_events(ids[0], ids[3], 2).await.expect("read");
    let expected = [1, 2].map(|index: usize| OldEvent {
        id: ids[index],
        category: names[index].map(str::to_owned),
        timestamp: at(i64::try_from(index).unwrap_or_default()),
    });
    assert_eq!(old, expected);
    let rest = store.old_events(ids[2], ids[3], 2).await.expect("read");
    assert_eq!(rest.len(), 1);

    store.delete_events(&[]).await.expect("nothing to delete");
    let gone = [ids[0], ids[1], ids[3]];
    store.delete_events(&gone).await.expect("deleted");
    let left = all::<H>(&store, &FeedScope::All).await;
    assert_eq!(left, [before[2].clone(), before[4].clone()]);
    assert_eq!(all::<H>(&store, &category("patient")).await, []);
}

/// Ids go on above the one that is given, and the jump is written down once.
pub async fn ids_continue_after_the_lost_ones<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let first = ChunkingHistoryEntry {
        chunk_length: 5,
        start: 1,
    };
    let settled = store.settle_chunking(ChunkingStrategy::Number, first);
    settled.await.expect("settled");
    for _ in 0..3 {
        let published = publish::<H>(&store, &NewEvent::blank(), at(0)).await;
        published.expect("published");
    }
    let last = store.newest_id().await.expect("read");
    for used in [0, last] {
        let error = store.continue_after(used).await;
        let error = error.expect_err("there are events with such ids");
        assert_eq!(error.kind(), StoreErrorKind::Refused);
        assert!(error.to_string().contains(&last.to_string()), "{error}");
    }
    for _again in 0..2 {
        store.continue_after(last + 100).await.expect("continued");
        assert_eq!(revision(&store).await, 1);
    }
    sequence_all(&store).await;
    assert_eq!(store.newest_id().await.expect("read"), last, "none is seen");
    for _ in 0..2 {
        let published = publish::<H>(&store, &NewEvent::blank(), at(0)).await;
        published.expect("published");
    }
    let records = all::<H>(&store, &FeedScope::All).await;
    assert_eq!(records.len(), 5);
    assert!(records[3].id > last + 100, "{records:?}");

    let jump = Jump {
        event_id: last + 100,
        lost: 100,
    };
    let hole = Hole {
        after: 3,
        end: OffsetMarker {
            event_id: last + 100,
            event_count: 105,
        },
    };
    let other = Hole { after: 4, ..hole };
    for hole in [hole, other] {
        let kept = store.keep_hole(&FeedScope::All, hole).await;
        kept.expect("kept, or was");
    }
    let expected = Breaks {
        cut: None,
        jumps: vec![jump],
        holes: vec![hole],
    };
    let breaks = store.breaks(&FeedScope::All).await;
    assert_eq!(breaks.expect("read"), expected);
    let position = store.position_below(&FeedScope::All, 105).await;
    assert_eq!(position.expect("read"), hole.end);
}

/// Where pages are rendered, and with what, is kept, however long the URL; what is otherwise is told once.
pub async fn another_fingerprint_is_noticed_once<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let urls = [
        "http://emr/feed".to_owned(),
        format!("http://emr/{}", "é".repeat(3_000)),
    ];
    let otherwise = || Some(RenderedBefore::Otherwise);
    let (here, there) = (&urls[0], &urls[1]);
    for (url, left) in [(here, None), (there, Some(here)), (here, Some(there))] {
        let elsewhere = left.map(|url| RenderedBefore::At(url.clone()));
        for (fingerprint, before) in [
            ("a", elsewhere),
            ("a", None),
            ("b", otherwise()),
            ("b", None),
            ("a", otherwise()),
        ] {
            let kept = store
                .keep_fingerprint(url, fingerprint)
                .await
                .expect("kept");
            assert_eq!(kept, before, "{fingerprint}");
        }
    }
}
