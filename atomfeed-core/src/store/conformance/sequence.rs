use chrono::{Duration, SubsecRound};

use super::publisher::{BASE, all, at, publish};
use super::{Harness, sequence_all};
use crate::chunking::{ChunkingChange, ChunkingHistoryEntry, ChunkingStrategy};
use crate::store::{
    ConsumerStore, FeedStore, OutboxStore, SequencedStore, StoreErrorKind, TimeBounds, UpkeepStore,
};
use crate::{FeedScope, NewEvent};

const HOUR: i64 = 3_600;

fn by_the_hour() -> ChunkingHistoryEntry {
    ChunkingHistoryEntry {
        chunk_length: HOUR * 1_000,
        start: 0,
    }
}

async fn timed<H: Harness>(harness: &H) -> H::Store {
    let store = harness.store().await;
    store
        .settle_chunking(ChunkingStrategy::Time, by_the_hour())
        .await
        .expect("settled");
    store
}

/// What waits in a queue is counted, until it is moved.
pub async fn what_is_queued_is_counted<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let mut work = store.begin().await.expect("a transaction opens");
    for number in 1..=3 {
        let event = NewEvent::new("Event", number.to_string());
        let published = store.publish(work.conn(), &event, at(0)).await;
        published.expect("published");
    }
    work.take_back().await.expect("it is whole");
    work.commit().await.expect("committed");
    // Where one transaction writes at a time, there is no queue.
    let shown = u64::from(store.newest_id().await.expect("read") > 0) * 3;
    assert_eq!(store.queued().await.expect("counted"), 3 - shown);
    sequence_all(&store).await;
    assert_eq!(store.queued().await.expect("counted"), 0);
}

/// What is settled stays, and the other strategy is refused.
pub async fn chunking_is_settled_once<H: Harness>(harness: &H) {
    let store = harness.store().await;
    assert_eq!(store.feed_state().await.expect("read").history, None);
    let (five, seven) = (
        ChunkingHistoryEntry {
            chunk_length: 5,
            start: 1,
        },
        ChunkingHistoryEntry {
            chunk_length: 7,
            start: 1,
        },
    );
    for first in [five, seven] {
        let settled = store.settle_chunking(ChunkingStrategy::Number, first).await;
        assert_eq!(settled.expect("settled").entries(), [five]);
    }
    let refused = store
        .settle_chunking(ChunkingStrategy::Time, by_the_hour())
        .await;
    assert_eq!(
        refused.expect_err("numbers were settled").kind(),
        StoreErrorKind::Refused
    );
    let history = store.feed_state().await.expect("read");
    let history = history.history.expect("settled");
    assert_eq!(
        (history.strategy(), history.entries()),
        (ChunkingStrategy::Number, &[five][..])
    );
}

/// A new chunk length never touches a position that holds an event.
pub async fn chunk_length_changes_beyond_what_is_published<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let first = ChunkingHistoryEntry {
        chunk_length: 5,
        start: 1,
    };
    store
        .settle_chunking(ChunkingStrategy::Number, first)
        .await
        .expect("settled");
    for _ in 0..12 {
        publish::<H>(&store, &NewEvent::blank(), at(0))
            .await
            .expect("published");
    }
    let error = store
        .change_chunking(ChunkingChange::to(3).from(12), at(0))
        .await;
    let error = error.expect_err("position 12 holds an event");
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    assert!(
        error.to_string().contains("13"),
        "names the first allowed start: {error}"
    );
    let added = store
        .change_chunking(ChunkingChange::to(3), at(0))
        .await
        .expect("changed");
    assert_eq!(
        added,
        ChunkingHistoryEntry {
            chunk_length: 3,
            start: 16
        }
    );
    let history = store.feed_state().await.expect("read");
    let history = history.history.expect("settled");
    assert_eq!(history.entries(), [first, added]);
}

/// Once a time chunk has ended, nothing is added to it, and what was in flight is in it, or in a
/// later one.
pub async fn time_chunks_end_for_good<H: Harness>(harness: &H) {
    let store = timed(harness).await;
    let before_the_hour = at(HOUR) - Duration::microseconds(1);
    let hour = TimeBounds {
        start: Some(at(0)),
        end: at(HOUR),
    };
    let in_the_hour = async || {
        store
            .records_between(&FeedScope::All, hour)
            .await
            .expect("events are read")
    };
    publish::<H>(&store, &NewEvent::new("early", ""), at(1))
        .await
        .expect("published");

    // A transaction publishes just before the hour and commits after it. Ending the chunk waits
    // for it, or it comes too late for the chunk.
    let mut work = store.begin().await.expect("a transaction opens");
    store
        .publish(work.conn(), &NewEvent::new("late", ""), before_the_hour)
        .await
        .expect("ok");
    let (ended, ()) = tokio::join!(
        async {
            store.seal_until(at(HOUR)).await.expect("sealed");
            in_the_hour().await
        },
        async { work.commit().await.expect("committed") }
    );
    sequence_all(&store).await;
    assert_eq!(
        in_the_hour().await,
        ended,
        "nothing is added to a chunk that ended"
    );
    assert_eq!(
        all::<H>(&store, &FeedScope::All).await.len(),
        2,
        "and nothing is lost"
    );

    // The clock jumps back; an import brings an old time.
    publish::<H>(&store, &NewEvent::new("jumped", ""), at(HOUR / 2))
        .await
        .expect("published");
    let import = NewEvent::new("import", "").published_at(at(HOUR - 1));
    let refused = publish::<H>(&store, &import, at(HOUR + 1))
        .await
        .expect_err("it has ended");
    assert_eq!(refused.kind(), StoreErrorKind::Refused);
    let future = NewEvent::new("future", "").published_at(at(9 * HOUR));
    let refused = publish::<H>(&store, &future, at(HOUR + 1))
        .await
        .expect_err("not yet");
    assert_eq!(refused.kind(), StoreErrorKind::Refused);
    assert_eq!(
        in_the_hour().await,
        ended,
        "nothing is added to a chunk that ended"
    );
    assert_eq!(all::<H>(&store, &FeedScope::All).await.len(), 3);

    // Nor does a new chunk length, though the clock has jumped back.
    store.seal_until(at(3 * HOUR)).await.expect("sealed");
    let change = ChunkingChange::to(60_000);
    let added = store.change_chunking(change, at(HOUR / 2)).await;
    assert!(added.expect("changed").start >= (BASE + 3 * HOUR) * 1_000);
    let within = ChunkingChange::to(60_000).from((BASE + 2 * HOUR) * 1_000);
    let refused = store.change_chunking(within, at(HOUR / 2)).await;
    assert_eq!(
        refused.expect_err("it has ended").kind(),
        StoreErrorKind::Refused
    );

    store.seal_until(at(0)).await.expect("sealed");
    assert_eq!(
        store.sealed_until().await.expect("read"),
        Some(at(3 * HOUR)),
        "never goes back"
    );
}

/// On time chunks, times ascend with ids, whatever the clock does.
pub async fn times_never_go_back_on_time_chunks<H: Harness>(harness: &H) {
    let store = timed(harness).await;
    for seconds in [10, 2 * HOUR, 5, HOUR, 2 * HOUR + 1] {
        publish::<H>(&store, &NewEvent::blank(), at(seconds))
            .await
            .expect("published");
    }
    let found = all::<H>(&store, &FeedScope::All).await;
    let times: Vec<_> = found
        .iter()
        .map(|record| record.timestamp.trunc_subsecs(0))
        .collect();
    assert_eq!(
        times,
        [10, 2 * HOUR, 2 * HOUR, 2 * HOUR, 2 * HOUR + 1].map(at)
    );
}
