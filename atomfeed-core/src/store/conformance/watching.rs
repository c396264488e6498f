//! Who follows a feed, and what is kept for those who watch.

use std::collections::HashSet;

use chrono::{DateTime, Duration, Utc};

use super::Harness;
use crate::store::{Claim, ConsumerStore, FeedStatus, MinuteCounts, StoreErrorKind, UnitOfWork};
use crate::{EntryId, FeedUri, Marker};

fn feed(name: &str) -> FeedUri {
    FeedUri::new(format!("http://127.0.0.1:8080/feed/{name}/recent")).expect("a feed address")
}

async fn begin<H: Harness>(store: &H::Store) -> Box<dyn UnitOfWork<Conn = H::Conn>> {
    store.begin().await.expect("a transaction opens")
}

async fn commit<H: Harness>(work: Box<dyn UnitOfWork<Conn = H::Conn>>) {
    work.commit().await.expect("a transaction commits");
}

/// A feed is claimed by one consumer; who has lost it is told.
pub async fn a_feed_is_claimed_by_one<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let (patient, lab) = (feed("patient"), feed("lab"));
    let mut work = begin::<H>(&store).await;
    assert_eq!(work.claim(&patient).await.expect("read"), None);
    let first = Claim::after(None, "first");
    work.put_claim(&patient, &first).await.expect("written");
    work.keep_claim(&patient, &first).await.expect("its own");
    commit::<H>(work).await;

    // What was rolled back was never taken.
    let mut work = begin::<H>(&store).await;
    let known = work.claim(&patient).await.expect("read");
    assert_eq!(known.as_ref(), Some(&first));
    let second = Claim::after(known.as_ref(), "second");
    assert!(second.epoch > first.epoch);
    work.put_claim(&patient, &second).await.expect("written");
    work.rollback().await.expect("rolled back");
    let mut work = begin::<H>(&store).await;
    work.keep_claim(&patient, &first).await.expect("it is");

    // A sign of life changes nothing about it.
    let known = work.claim(&patient).await.expect("read").expect("there");
    let mut alive = known.clone();
    alive.beats += 1;
    work.put_claim(&patient, &alive).await.expect("written");
    work.keep_claim(&patient, &first).await.expect("it is");
    work.put_claim(&patient, &second).await.expect("written");
    commit::<H>(work).await;
    let mut work = begin::<H>(&store).await;
    let lost = work.keep_claim(&patient, &first).await;
    let lost = lost.expect_err("it was taken");
    assert_eq!(lost.kind(), StoreErrorKind::Conflict);
    assert!(lost.to_string().contains(patient.as_str()), "{lost}");
    work.rollback().await.expect("rolled back");

    // The marker moves with it, or not at all.
    let mut work = begin::<H>(&store).await;
    let [here, there] = ["1", "2"].map(|page| {
        let page = format!("http://127.0.0.1:8080/feed/patient/{page}");
        Marker::new(patient.clone()).on_page(page)
    });
    let moved = work.move_claimed_marker(&second, None, &here).await;
    moved.expect("it has the feed");
    commit::<H>(work).await;
    for (claim, from) in [(&first, &here), (&second, &there)] {
        let mut work = begin::<H>(&store).await;
        let moved = work.move_claimed_marker(claim, Some(from), &there).await;
        let told = moved.expect_err("the feed is lost, or the marker stands elsewhere");
        assert_eq!(told.kind(), StoreErrorKind::Conflict);
        work.rollback().await.expect("rolled back");
    }
    let mut work = begin::<H>(&store).await;
    let moved = work.move_claimed_marker(&second, Some(&here), &there).await;
    moved.expect("it has the feed");
    commit::<H>(work).await;
    let marker = store.marker(&patient).await.expect("read");
    assert_eq!(marker, Some(there));

    // Another feed is another one's, and nobody's so far.
    let mut work = begin::<H>(&store).await;
    assert_eq!(work.claim(&lab).await.expect("read"), None);
    let none = work.keep_claim(&lab, &first).await;
    assert_eq!(
        none.expect_err("nobody has it").kind(),
        StoreErrorKind::Conflict
    );
    work.rollback().await.expect("rolled back");
}

/// Events behind the marker are dealt with once, feed by feed.
pub async fn events_behind_the_marker_are_completed_once<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let (patient, lab) = (feed("patient"), feed("lab"));
    let ids: Vec<_> = (0..1_500).map(EntryId::of_event).collect();
    let long = EntryId::new("é".repeat(1_000)).expect("an id");
    let all: Vec<&EntryId> = ids.iter().chain([&long]).collect();
    let mut work = begin::<H>(&store).await;
    assert_eq!(
        work.completed(&patient).await.expect("read"),
        HashSet::new()
    );
    work.complete(&patient, &all).await.expect("written");
    work.complete(&lab, &all[..1])
        .await
        .expect("another feed's");
    work.complete(&lab, &[]).await.expect("nothing to do");
    commit::<H>(work).await;
    let mut work = begin::<H>(&store).await;
    let completed = work.completed(&patient).await.expect("read");
    assert_eq!(completed, all.iter().copied().cloned().collect());
    work.complete(&patient, &all[3..5])
        .await
        .expect_err("it was already");
    drop(work);
    let mut work = begin::<H>(&store).await;
    let (forgotten, kept) = all.split_at(all.len() - 1);
    work.forget_completed(&patient, forgotten)
        .await
        .expect("gone");
    work.forget_completed(&patient, &[]).await.expect("nothing");
    commit::<H>(work).await;
    let mut work = begin::<H>(&store).await;
    let completed = work.completed(&patient).await.expect("read");
    assert_eq!(completed, HashSet::from([kept[0].clone()]));
    assert_eq!(work.completed(&lab).await.expect("read").len(), 1);
    work.rollback().await.expect("rolled back");
}

/// What is kept for those who watch comes back as it was, and counts add up.
pub async fn statuses_and_counts_are_kept<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let (patient, lab) = (feed("patient"), feed("lab"));
    let now: DateTime<Utc> = "2024-03-01T08:01:30.123456Z".parse().expect("a time");
    let mut status = FeedStatus::new(patient.clone());
    let mut work = begin::<H>(&store).await;
    assert_eq!(work.statuses().await.expect("read"), []);
    work.put_status(&status).await.expect("written");
    status.seen_at = Some(now);
    status.head_page = Some("http://127.0.0.1:8080/feed/patient/7".to_owned());
    status.head_entry_id = Some(EntryId::of_event(7));
    status.events_behind = Some(12);
    status.pages_behind = Some(3);
    status.behind_since = Some(now - Duration::hours(3));
    status.succeeded_at = Some(now - Duration::days(3));
    status.failed_at = Some(now);
    status.error_message = Some("💊 ".repeat(5_000));
    work.put_status(&status).await.expect("written");
    let other = FeedStatus::new(lab.clone());
    work.put_status(&other).await.expect("written");
    commit::<H>(work).await;
    let mut work = begin::<H>(&store).await;
    assert_eq!(work.statuses().await.expect("read"), [other, status]);

    let counts = |minutes, applied| {
        let mut counts = MinuteCounts::at(now + Duration::minutes(minutes));
        (counts.applied, counts.failed) = (applied, 1);
        counts
    };
    for more in [counts(0, 3), counts(0, 4), counts(5, 1)] {
        work.add_counts(&patient, &more).await.expect("counted");
    }
    work.add_counts(&lab, &counts(0, 100))
        .await
        .expect("counted");
    commit::<H>(work).await;
    let mut work = begin::<H>(&store).await;
    let mut first = counts(0, 7);
    first.failed = 2;
    let all = work.counts(&patient, now - Duration::minutes(1)).await;
    assert_eq!(all.expect("read"), [first, counts(5, 1)]);
    let later = work
        .counts(&patient, first.minute + Duration::minutes(1))
        .await;
    assert_eq!(later.expect("read"), [counts(5, 1)]);
    // A day later.
    let next = counts(24 * 60 + 3, 1);
    work.add_counts(&patient, &next).await.expect("counted");
    let kept = work.counts(&patient, DateTime::UNIX_EPOCH).await;
    assert_eq!(kept.expect("read"), [counts(5, 1), next]);
    work.rollback().await.expect("rolled back");
}
