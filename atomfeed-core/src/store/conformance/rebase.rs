//! Another address in the place of a feed's.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::Harness;
use crate::store::{
    Claim, ConsumerStore, FailedEventQuery, FailedEventSelection, FeedStatus, MinuteCounts,
    StoreErrorKind,
};
use crate::{EntryId, Event, Failure, FeedUri, Marker, Place, Rebase};

fn feed(address: &str) -> FeedUri {
    FeedUri::new(address).expect("a feed address")
}

/// A host gets another name: markers, failed events, retries and what is kept besides are those of the
/// new one, in their order; other hosts are left alone.
pub async fn a_host_may_get_another_name<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let now: DateTime<Utc> = "2024-03-01T08:01:00Z".parse().expect("a time");
    let (old, new) = ("http://emr:805/feed", "https://emr.example.org/feed");
    let rebase: Rebase = "http://emr:805=https://emr.example.org"
        .parse()
        .expect("two");
    let from = feed(&format!("{old}/patient/recent#lab"));
    let to = feed(&format!("{new}/patient/recent#lab"));
    let other = feed("http://emr:8050/feed/patient/recent");
    let entry = EntryId::of_event(7);
    let place = |key: &str| Place {
        key: Some(key.to_owned()),
        due_at: None,
    };
    let mut work = store.begin().await.expect("a transaction opens");
    for feed in [&from, &other] {
        let page = feed.as_str().replace("/recent", "/3");
        let marker = Marker::new(feed.clone()).after(entry.clone()).on_page(page);
        work.move_marker(None, &marker).await.expect("made");
        let claim = Claim::after(None, "somebody");
        work.claim(feed).await.expect("read");
        work.put_claim(feed, &claim).await.expect("written");
        work.complete(feed, &[&entry]).await.expect("written");
        work.put_status(&FeedStatus::new(feed.clone()))
            .await
            .expect("written");
        let mut counts = MinuteCounts::at(now);
        counts.applied = 5;
        work.add_counts(feed, &counts).await.expect("written");
        for number in 1..=3 {
            let page = feed.as_str().replace("/recent", "/1");
            let event = Event::new(EntryId::of_event(number), feed.clone())
                .with_text("Patient", format!("/patient/{number}"))
                .on_page(Some(page.clone()));
            let message = format!("Failed processing event in feed [{page}] \nboom");
            let id = work
                .park(&event, &Failure::new(message, now))
                .await
                .expect("parked");
            // One has no place yet.
            if number < 3 {
                work.place(feed, id, &place("a")).await.expect("placed");
            }
        }
        let query = FailedEventQuery::of(feed.clone());
        let failed = work.failed_events(&query).await.expect("read");
        let boom = Failure::new("boom", now);
        let retried = work.record_failed_retry(&failed[0], &boom);
        retried.await.expect("recorded");
    }
    work.commit().await.expect("a transaction commits");

    let mut work = store.begin().await.expect("a transaction opens");
    let would = work.would_rebase(&rebase).await.expect("counted");
    let rebased = work.rebase(&rebase).await.expect("replaced");
    assert_eq!(would, rebased);
    assert_eq!(
        (rebased.markers, rebased.failed_events, rebased.retries),
        (1, 3, 1)
    );
    work.commit().await.expect("a transaction commits");

    let mut work = store.begin().await.expect("a transaction opens");
    assert_eq!(work.marker(&from).await.expect("read"), None);
    let marker = work.marker(&to).await.expect("read").expect("there");
    let page = format!("{new}/patient/3#lab");
    assert_eq!(marker.page_uri(), Some(page.as_str()));
    assert_eq!(marker.last_read_entry_id(), Some(&entry));
    let failed = work.failed_events(&FailedEventQuery::of(to.clone())).await;
    let failed = failed.expect("read");
    let first_page = format!("{new}/patient/1#lab");
    let message = Failure::new(
        format!("Failed processing event in feed [{first_page}] \nboom"),
        now,
    );
    assert_eq!(failed.len(), 3);
    for (number, failed) in (1..).zip(&failed) {
        assert_eq!(failed.event.id(), &EntryId::of_event(number));
        assert_eq!(failed.event.page_uri(), Some(first_page.as_str()));
        assert_eq!(failed.failure, message);
    }
    // The second one still waits behind the first.
    let due = FailedEventQuery::of(to.clone()).select(FailedEventSelection::DueBy(now));
    let due = work.failed_events(&due).await.expect("read");
    let due: Vec<_> = due.iter().map(|failed| failed.id).collect();
    assert_eq!(due, [failed[0].id, failed[2].id]);
    let held = work.held_keys(&to, &["a", "b"]).await.expect("read");
    assert_eq!(held, HashSet::from(["a".to_owned()]));
    let log = work
        .retry_log(&to, failed[0].event.id())
        .await
        .expect("read");
    assert_eq!(log.len(), 1);
    assert_eq!(
        work.retry_log(&from, failed[0].event.id())
            .await
            .expect("read"),
        []
    );
    let completed = work.completed(&to).await.expect("read");
    assert_eq!(completed, HashSet::from([entry.clone()]));
    let statuses = work.statuses().await.expect("read");
    let feeds: Vec<_> = statuses.iter().map(|status| &status.feed_uri).collect();
    assert_eq!(feeds, [&other, &to]);
    assert_eq!(work.counts(&to, now).await.expect("read").len(), 1);
    // Who followed the old one is told.
    let claim = Claim::after(None, "somebody");
    let lost = work.keep_claim(&from, &claim).await;
    assert_eq!(
        lost.expect_err("it is another").kind(),
        StoreErrorKind::Conflict
    );
    work.keep_claim(&other, &claim).await.expect("left alone");
    let left = work
        .failed_events(&FailedEventQuery::of(other.clone()))
        .await;
    assert_eq!(left.expect("read").len(), 3);
    work.rollback().await.expect("rolled back");

    // Nothing is left to replace; and not over another marker.
    let mut work = store.begin().await.expect("a transaction opens");
    let rebased = work.rebase(&rebase).await.expect("nothing to do");
    assert_eq!((rebased.markers, rebased.failed_events), (0, 0));
    let over: Rebase = "http://emr:8050=https://emr.example.org"
        .parse()
        .expect("two");
    let named = Marker::new(feed(&format!("{new}/patient/recent")));
    work.move_marker(None, &named).await.expect("made");
    let would = work.would_rebase(&over).await.expect_err("there is one");
    assert_eq!(would.kind(), StoreErrorKind::Refused);
    let refused = work.rebase(&over).await.expect_err("there is one");
    assert_eq!(refused.kind(), StoreErrorKind::Refused);
    work.rollback().await.expect("rolled back");
}
