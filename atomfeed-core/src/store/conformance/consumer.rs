use std::collections::HashSet;

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use super::Harness;
use crate::store::{
    ConsumerStore, FailedEventQuery, FailedEventSelection, StoreErrorKind, UnitOfWork,
};
use crate::{EntryId, Event, FailedEvent, Failure, FeedUri, Marker, Place};

fn feed(name: &str) -> FeedUri {
    FeedUri::new(format!("http://127.0.0.1:8080/feed/{name}/recent")).expect("a feed address")
}

fn marker(name: &str, entry: u32) -> Marker {
    Marker::new(feed(name))
        .after(EntryId::of_event(entry))
        .on_page(format!(
            "http://127.0.0.1:8080/feed/{name}/{}",
            entry / 5 + 1
        ))
}

fn event(name: &str, number: u32) -> Event {
    Event::new(EntryId::of_event(number), feed(name))
        .with_text(
            format!("Event {number}"),
            format!("/{name}/{number}?v=full&n=1"),
        )
        .with_tags_column("patient,urgent")
        .on_page(Some(format!("http://127.0.0.1:8080/feed/{name}/1")))
        .at(Some(some_time()), Some(some_time() - Duration::seconds(3)))
}

fn some_time() -> DateTime<Utc> {
    DateTime::from_timestamp(1_709_280_060, 0).unwrap_or_default()
}

fn failure(message: &str) -> Failure {
    Failure::new(message, some_time())
}

type Work<H> = Box<dyn UnitOfWork<Conn = <H as Harness>::Conn>>;

async fn begin<H: Harness>(store: &H::Store) -> Work<H> {
    store.begin().await.expect("a transaction opens")
}

async fn commit<H: Harness>(work: Work<H>) {
    work.commit().await.expect("a transaction commits");
}

async fn parked<H: Harness>(store: &H::Store, query: &FailedEventQuery) -> Vec<FailedEvent> {
    begin::<H>(store)
        .await
        .failed_events(query)
        .await
        .expect("failed events are read")
}

/// A marker is made where there is none, moves from where it stands, and from nowhere else.
pub async fn marker_is_made_moved_and_guarded<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let (first, second) = (marker("patient", 1), marker("patient", 7));
    assert_eq!(
        store
            .marker(first.feed_uri())
            .await
            .expect("a marker is read"),
        None
    );

    let mut work = begin::<H>(&store).await;
    work.move_marker(None, &first)
        .await
        .expect("a marker is made");
    assert_eq!(
        work.marker(first.feed_uri()).await.expect("read"),
        Some(first.clone())
    );
    commit::<H>(work).await;
    assert_eq!(
        store.marker(first.feed_uri()).await.expect("read"),
        Some(first.clone())
    );

    for from in [None, Some(&second), Some(&Marker::new(feed("patient")))] {
        let mut work = begin::<H>(&store).await;
        let error = work
            .move_marker(from, &second)
            .await
            .expect_err("it stands elsewhere");
        assert_eq!(error.kind(), StoreErrorKind::Conflict, "{error:?}");
    }
    let mut work = begin::<H>(&store).await;
    work.move_marker(Some(&first), &second)
        .await
        .expect("a marker moves");
    commit::<H>(work).await;
    assert_eq!(
        store.marker(first.feed_uri()).await.expect("read"),
        Some(second)
    );
}

/// Of two consumers that start at the same moment, one makes the marker, and the other is told.
pub async fn of_two_that_make_a_marker_one_is_told<H: Harness>(harness: &H) {
    let store = harness.store().await;
    for round in 0..5 {
        let name = format!("round{round}");
        let make = async |entry| {
            let mut work = begin::<H>(&store).await;
            harness.write(work.conn(), &name, "by one").await;
            work.move_marker(None, &marker(&name, entry)).await?;
            work.commit().await
        };
        let (one, other) = tokio::join!(make(1), make(2));
        let told = match (one, other) {
            (Ok(()), Err(told)) | (Err(told), Ok(())) => told,
            both => panic!("one makes it, and one is told: {both:?}"),
        };
        assert_eq!(told.kind(), StoreErrorKind::Conflict, "{told:?}");
    }
    assert_eq!(
        harness.written(&store).await.len(),
        5,
        "the other's work is undone"
    );
}

/// Each feed has its marker.
pub async fn markers_of_feeds_are_apart<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let markers = [marker("drug", 2), marker("lab", 3)];
    let mut work = begin::<H>(&store).await;
    for marker in &markers {
        work.move_marker(None, marker)
            .await
            .expect("a marker is made");
    }
    commit::<H>(work).await;
    let mut work = begin::<H>(&store).await;
    assert_eq!(work.markers().await.expect("markers are read"), markers);
}

/// A marker without an entry, or without a page, is kept and found again as such.
pub async fn a_marker_may_name_no_entry<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let start = Marker::new(feed("patient")).on_page("http://127.0.0.1:8080/feed/patient/0");
    let mut work = begin::<H>(&store).await;
    work.move_marker(None, &start)
        .await
        .expect("a marker is made");
    commit::<H>(work).await;
    assert_eq!(
        store.marker(start.feed_uri()).await.expect("read"),
        Some(start.clone())
    );
    let mut work = begin::<H>(&store).await;
    work.move_marker(Some(&start), &marker("patient", 1))
        .await
        .expect("a marker moves");
    commit::<H>(work).await;
}

/// What the worker writes and where the marker stands last together.
pub async fn worker_and_marker_commit_together<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let mut work = begin::<H>(&store).await;
    harness.write(work.conn(), "1", "a").await;
    work.move_marker(None, &marker("patient", 1))
        .await
        .expect("a marker is made");
    commit::<H>(work).await;
    assert_eq!(
        harness.written(&store).await,
        [("1".to_owned(), "a".to_owned())]
    );
}

/// A transaction that is rolled back, or dropped, leaves nothing, and is in nobody's way.
pub async fn what_is_rolled_back_or_dropped_never_happened<H: Harness>(harness: &H) {
    let store = harness.store().await;
    for drop_it in [false, true] {
        let mut work = begin::<H>(&store).await;
        harness.write(work.conn(), "1", "a").await;
        work.move_marker(None, &marker("patient", 1))
            .await
            .expect("a marker is made");
        work.park(&event("patient", 1), &failure("boom"))
            .await
            .expect("an event is parked");
        match drop_it {
            true => drop(work),
            false => work.rollback().await.expect("a transaction rolls back"),
        }
        assert_eq!(harness.written(&store).await, []);
        assert_eq!(store.marker(&feed("patient")).await.expect("read"), None);
        assert_eq!(
            parked::<H>(&store, &FailedEventQuery::of(feed("patient"))).await,
            []
        );
    }
}

/// A failed event is read with everything that was parked.
pub async fn failed_events_come_back_as_parked<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let bare = Event::new(EntryId::of_event(2), feed("patient"));
    let mut work = begin::<H>(&store).await;
    work.park(&event("patient", 1), &failure("boom"))
        .await
        .expect("an event is parked");
    work.park(&bare, &failure(""))
        .await
        .expect("an event is parked");
    commit::<H>(work).await;

    let found = parked::<H>(&store, &FailedEventQuery::of(feed("patient"))).await;
    let expected = [
        FailedEvent::new(
            found[0].id,
            event("patient", 1).as_retry(true),
            failure("boom"),
            0,
        ),
        FailedEvent::new(found[1].id, bare.as_retry(true), failure(""), 0),
    ];
    assert_eq!(found, expected);
}

/// Failed events come in the order in which they were parked, feed by feed, page by page.
pub async fn failed_events_are_read_in_order_and_by_page<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let mut work = begin::<H>(&store).await;
    for number in 1..=25 {
        work.park(&event("patient", number), &failure("boom"))
            .await
            .expect("parked");
        work.park(&event("lab", number), &failure("boom"))
            .await
            .expect("parked");
    }
    assert_eq!(
        work.failed_event_count(&feed("patient"))
            .await
            .expect("counted"),
        25
    );
    commit::<H>(work).await;

    let mut seen = Vec::new();
    let mut query = FailedEventQuery::of(feed("patient")).limit(10);
    loop {
        let page = parked::<H>(&store, &query).await;
        let Some(last) = page.last() else { break };
        query = query.after(last.id);
        seen.extend(page.into_iter().map(|failed| failed.event.id().clone()));
    }
    assert_eq!(seen, (1..=25).map(EntryId::of_event).collect::<Vec<_>>());
}

/// A retry that fails counts, is logged, and leaves the first failure as it was.
pub async fn a_retry_that_fails_is_counted_and_logged<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let mut work = begin::<H>(&store).await;
    work.park(&event("patient", 1), &failure("first"))
        .await
        .expect("parked");
    commit::<H>(work).await;
    let all = FailedEventQuery::of(feed("patient"));
    for (retries, message) in (1..).zip(["second", "third"]) {
        let failed = parked::<H>(&store, &all).await.remove(0);
        let mut work = begin::<H>(&store).await;
        work.record_failed_retry(&failed, &failure(message))
            .await
            .expect("recorded");
        commit::<H>(work).await;
        let failed = parked::<H>(&store, &all).await.remove(0);
        assert_eq!(failed.retries, retries);
        assert_eq!(failed.failure, failure("first"));
    }
    assert_eq!(
        parked::<H>(&store, &all.clone().retries_below(Some(2))).await,
        []
    );
    assert_eq!(
        parked::<H>(&store, &all.retries_below(Some(3))).await.len(),
        1
    );

    let event = event("patient", 1);
    let mut work = begin::<H>(&store).await;
    let log = work
        .retry_log(event.feed_uri(), event.id())
        .await
        .expect("the log is read");
    let logged: Vec<_> = log.iter().map(|row| row.failure.message()).collect();
    assert_eq!(logged, ["second", "third"]);
    assert_eq!(log[0].event_content, event.content());
}

/// A parked event's place says what it holds back, and when it is tried again: of each key, the first
/// that is due.
pub async fn parked_events_have_places<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let feed = feed("patient");
    let select = |selection| FailedEventQuery::of(feed.clone()).select(selection);
    let now = some_time();
    let place = |key: Option<&str>, due_at| Place {
        key: key.map(str::to_owned),
        due_at,
    };
    let long = "é".repeat(5_000);
    let places = [
        Some(place(Some("a"), None)),
        Some(place(Some("a"), None)),
        Some(place(Some("b"), Some(now))),
        Some(place(Some(&long), None)),
        Some(place(None, None)),
        Some(place(None, Some(now + Duration::seconds(1)))),
        None,
    ];
    let mut work = begin::<H>(&store).await;
    let mut ids = Vec::new();
    for (number, place) in (1..).zip(&places) {
        let (event, boom) = (event("patient", number), failure("boom"));
        let id = work.park(&event, &boom).await.expect("parked");
        if let Some(place) = place {
            work.place(&feed, id, place).await.expect("placed");
        }
        ids.push(id);
    }
    // Another feed's keys are its own.
    let other = work.park(&event("lab", 1), &failure("boom")).await;
    let other = (self::feed("lab"), other.expect("parked"));
    let b = place(Some("b"), None);
    work.place(&other.0, other.1, &b).await.expect("placed");
    commit::<H>(work).await;

    let of = |found: Vec<FailedEvent>| -> Vec<_> {
        let positions = found.into_iter().map(|failed| {
            let position = ids.iter().position(|id| *id == failed.id);
            position.expect("it is one of these") + 1
        });
        positions.collect()
    };
    let all = parked::<H>(&store, &select(FailedEventSelection::All)).await;
    let kept: Vec<_> = all.iter().map(|failed| failed.place.clone()).collect();
    assert_eq!(kept, places);
    let unplaced = parked::<H>(&store, &select(FailedEventSelection::Unplaced)).await;
    assert_eq!(of(unplaced), [7]);
    let of_a = FailedEventSelection::OfKey("a".to_owned());
    assert_eq!(of(parked::<H>(&store, &select(of_a.clone())).await), [1, 2]);
    let second = FailedEventQuery::of(feed.clone())
        .after(ids[0])
        .select(of_a);
    assert_eq!(of(parked::<H>(&store, &second).await), [2]);
    for (by, expected) in [
        (now - Duration::microseconds(1), &[1, 4, 5, 7][..]),
        (now, &[1, 3, 4, 5, 7]),
        (now + Duration::seconds(1), &[1, 3, 4, 5, 6, 7]),
    ] {
        let due = parked::<H>(&store, &select(FailedEventSelection::DueBy(by))).await;
        assert_eq!(of(due), expected, "by {by}");
    }
    let mut work = begin::<H>(&store).await;
    let held = work.held_keys(&feed, &["a", "b", &long, "c", "A"]).await;
    let expected = ["a", "b", long.as_str()].map(str::to_owned);
    assert_eq!(held.expect("asked"), HashSet::from(expected));
    assert_eq!(
        work.held_keys(&feed, &[]).await.expect("asked"),
        HashSet::new()
    );

    // The first one goes: the second of its key is due. One that is gone gets no place.
    work.remove_failed_event(&all[0]).await.expect("removed");
    let moved = place(Some("z"), None);
    work.place(&feed, all[0].id, &moved)
        .await
        .expect("nothing is done");
    work.place(&feed, ids[3], &moved)
        .await
        .expect("placed anew");
    let held = work.held_keys(&feed, &["a", "z", &long]).await;
    assert_eq!(
        held.expect("asked"),
        HashSet::from(["a", "z"].map(str::to_owned))
    );
    commit::<H>(work).await;
    let due = parked::<H>(&store, &select(FailedEventSelection::DueBy(now))).await;
    assert_eq!(of(due), [2, 3, 4, 5, 7]);
}

/// A retry that succeeds removes the event and its rows in the retry log, and no others.
pub async fn a_retry_that_succeeds_removes_both<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let mut work = begin::<H>(&store).await;
    for number in [1, 2] {
        work.park(&event("patient", number), &failure("boom"))
            .await
            .expect("parked");
    }
    let all = FailedEventQuery::of(feed("patient"));
    for failed in work.failed_events(&all).await.expect("read") {
        work.record_failed_retry(&failed, &failure("again"))
            .await
            .expect("recorded");
    }
    commit::<H>(work).await;

    let failed = parked::<H>(&store, &all).await;
    let mut work = begin::<H>(&store).await;
    work.remove_failed_event(&failed[0]).await.expect("removed");
    commit::<H>(work).await;

    assert_eq!(parked::<H>(&store, &all).await, failed[1..]);
    let mut work = begin::<H>(&store).await;
    for (number, rows) in [(1, 0), (2, 1)] {
        let event = event("patient", number);
        let log = work
            .retry_log(event.feed_uri(), event.id())
            .await
            .expect("the log is read");
        assert_eq!(log.len(), rows, "event {number}");
    }
}

/// Of two that deal with a failed event, the second is told.
pub async fn a_failed_event_is_taken_once<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let mut work = begin::<H>(&store).await;
    work.park(&event("patient", 1), &failure("boom"))
        .await
        .expect("parked");
    commit::<H>(work).await;
    let failed = parked::<H>(&store, &FailedEventQuery::of(feed("patient")))
        .await
        .remove(0);
    let mut work = begin::<H>(&store).await;
    work.remove_failed_event(&failed).await.expect("removed");
    commit::<H>(work).await;

    let mut work = begin::<H>(&store).await;
    let error = work
        .remove_failed_event(&failed)
        .await
        .expect_err("it is gone");
    assert_eq!(error.kind(), StoreErrorKind::NotParked);
    drop(work);
    let mut work = begin::<H>(&store).await;
    let error = work
        .record_failed_retry(&failed, &failure("x"))
        .await
        .expect_err("it is gone");
    assert_eq!(error.kind(), StoreErrorKind::NotParked);
}

/// Parking keeps large and odd texts.
pub async fn large_failures_are_kept<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let content = "]]>&amp;<é😀\r\n".repeat(1 << 16);
    let large = event("patient", 1).with_text("😀".repeat(200), content);
    let mut work = begin::<H>(&store).await;
    work.park(&large, &failure(&"😀".repeat(1 << 18)))
        .await
        .expect("parked");
    commit::<H>(work).await;
    let found = parked::<H>(&store, &FailedEventQuery::of(feed("patient")))
        .await
        .remove(0);
    assert_eq!(found.event, large.as_retry(true));
    let message = found.failure.message();
    assert!(
        message
            .chars()
            .all(|character| matches!(character, '😀' | '\u{fffd}'))
    );
    assert!(message.chars().count() >= crate::MAX_ERROR_MESSAGE / 2);
}

/// Parking keeps an event whose id, and the address of whose feed, are longer than any column is made for.
pub async fn long_names_are_kept<H: Harness>(harness: &H) {
    let store = harness.store().await;
    // Of letters that no index can make shorter.
    let long = |length: u32| {
        let uuid = |number: u32| Uuid::new_v5(&Uuid::NAMESPACE_URL, &number.to_be_bytes());
        let uuids = (0..length.div_ceil(36)).map(|number| uuid(number).to_string());
        uuids.collect::<String>()
    };
    let id = EntryId::new(format!("tag:{}", long(5_000))).expect("an id");
    let feed = feed(&long(1_000));
    let event = Event::new(id, feed.clone()).with_text("Event", "/long/1");
    let mut work = begin::<H>(&store).await;
    let parked_at = failure("boom");
    work.park(&event, &parked_at).await.expect("parked");
    commit::<H>(work).await;
    let all = FailedEventQuery::of(feed);
    let found = parked::<H>(&store, &all).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].event, event.clone().as_retry(true));

    let mut work = begin::<H>(&store).await;
    let again = failure("again");
    work.record_failed_retry(&found[0], &again)
        .await
        .expect("recorded");
    let log = work.retry_log(event.feed_uri(), event.id()).await;
    assert_eq!(log.expect("read").len(), 1);
    work.remove_failed_event(&found[0]).await.expect("removed");
    let log = work.retry_log(event.feed_uri(), event.id()).await;
    assert_eq!(log.expect("read"), []);
    commit::<H>(work).await;
    assert_eq!(parked::<H>(&store, &all).await, []);
}

/// Parking never fails: what the tables cannot hold is kept whole, takes its place in the order of the
/// others, is counted, retried and removed as they are.
pub async fn what_cannot_be_kept_beside_others_is_kept_whole<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let odd = |number| match number % 5 {
        0 => event("patient", number).with_text("5 kB", "x".repeat(5_000)),
        1 => event("patient", number).with_text("😀", "a😀b"),
        2 => event("patient", number).with_text("t".repeat(400), "/long/title"),
        3 => event("patient", number).with_tags_column(&"tag,".repeat(200)),
        _ => event("patient", number),
    };
    let messages = ["\u{0}", "😀 boom", &"m".repeat(1 << 20), "plain"];
    let mut work = begin::<H>(&store).await;
    for number in 0..20 {
        let message = messages[number as usize % messages.len()];
        work.park(&odd(number), &failure(message))
            .await
            .expect("parked");
    }
    commit::<H>(work).await;
    let all = FailedEventQuery::of(feed("patient"));
    let found = parked::<H>(&store, &all).await;
    assert!(found.is_sorted_by_key(|failed| failed.id));
    assert_eq!(found.len(), 20);
    for (number, failed) in (0..).zip(&found) {
        assert_eq!(failed.event, odd(number).as_retry(true));
        assert!(!failed.failure.message().is_empty());
    }
    let third = parked::<H>(&store, &all.clone().after(found[1].id).limit(3)).await;
    assert_eq!(third, found[2..5]);

    for failed in &found {
        let mut work = begin::<H>(&store).await;
        work.record_failed_retry(failed, &failure("again 😀"))
            .await
            .expect("recorded");
        commit::<H>(work).await;
    }
    let retried = parked::<H>(&store, &all).await;
    assert!(retried.iter().all(|failed| failed.retries == 1));
    let mut work = begin::<H>(&store).await;
    assert_eq!(
        work.failed_event_count(&feed("patient"))
            .await
            .expect("counted"),
        20
    );
    for failed in &retried {
        let event = &failed.event;
        let log = work
            .retry_log(event.feed_uri(), event.id())
            .await
            .expect("read");
        assert_eq!(log.len(), 1);
        assert_eq!(log[0].event_content, event.content());
        assert!(log[0].failure.message().starts_with("again "));
        work.remove_failed_event(failed).await.expect("removed");
        let log = work
            .retry_log(event.feed_uri(), event.id())
            .await
            .expect("read");
        assert_eq!(log, []);
    }
    assert_eq!(
        work.failed_event_count(&feed("patient"))
            .await
            .expect("counted"),
        0
    );
    commit::<H>(work).await;
    let mut work = begin::<H>(&store).await;
    let gone = work
        .remove_failed_event(&found[0])
        .await
        .expect_err("it is gone");
    assert_eq!(gone.kind(), StoreErrorKind::NotParked);
}
