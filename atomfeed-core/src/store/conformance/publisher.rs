use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Harness, sequence_all};
use crate::store::{
    ConsumerStore, FeedStore, OffsetMarker, OutboxStore, RecordRange, StoreErrorKind, StoreResult,
};
use crate::{Category, EventRecord, FeedScope, NewEvent};

/// The hour from which times of the cases count, in seconds.
pub(super) const BASE: i64 = 1_709_251_200;

pub(super) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(BASE + seconds, 0).unwrap_or_default()
}

/// Publishes in a transaction of its own.
pub(super) async fn publish<H: Harness>(
    store: &H::Store,
    event: &NewEvent,
    now: DateTime<Utc>,
) -> StoreResult<()> {
    let mut work = store.begin().await?;
    store.publish(work.conn(), event, now).await?;
    work.commit().await?;
    sequence_all(store).await;
    Ok(())
}

async fn publish_all<H: Harness>(store: &H::Store, events: impl IntoIterator<Item = NewEvent>) {
    let mut work = store.begin().await.expect("a transaction opens");
    for event in events {
        store
            .publish(work.conn(), &event, at(0))
            .await
            .expect("an event is published");
    }
    work.commit().await.expect("a transaction commits");
    sequence_all(store).await;
}

pub(super) async fn all<H: Harness>(store: &H::Store, scope: &FeedScope) -> Vec<EventRecord> {
    let everything = RecordRange {
        after: i64::MIN,
        through: None,
        skip: 0,
        limit: 10_000,
    };
    store
        .records(scope, everything)
        .await
        .expect("events are read")
}

fn category(name: &str) -> FeedScope {
    FeedScope::Category(Category::new(name).expect("a category"))
}

/// An event is seen when, and only when, its transaction has committed.
pub async fn an_event_lasts_when_its_transaction_does<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let mut work = store.begin().await.expect("a transaction opens");
    harness.write(work.conn(), "1", "rolled back").await;
    store
        .publish(work.conn(), &NewEvent::blank(), at(0))
        .await
        .expect("published");
    assert_eq!(
        store.newest_id().await.expect("read"),
        0,
        "not committed yet"
    );
    work.rollback().await.expect("rolled back");

    let event = NewEvent::new("kept", "");
    let mut work = store.begin().await.expect("a transaction opens");
    harness.write(work.conn(), "2", "committed").await;
    store
        .publish(work.conn(), &event, at(0))
        .await
        .expect("published");
    sequence_all(&store).await;
    assert_eq!(
        store.newest_id().await.expect("read"),
        0,
        "still not committed"
    );
    work.commit().await.expect("committed");
    sequence_all(&store).await;

    let found = all::<H>(&store, &FeedScope::All).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].uuid, event.uuid().to_string());
    assert_eq!(
        harness.written(&store).await,
        [("2".to_owned(), "committed".to_owned())]
    );
}

/// Every column holds what the event said.
pub async fn every_field_comes_back<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let shape = harness.shape();
    let content = match shape.all_characters {
        true => "]]>&amp;<é😀\r\n\t",
        false => "]]>&amp;<é\u{fffd}\r\n\t",
    };
    let content = content.repeat(if shape.large_events { 1 << 16 } else { 50 });
    let full = NewEvent::new("A & B", content.as_str())
        .in_category("Lab Result")
        .with_tags(["a", "b c"])
        .with_uri("http://host/1")
        .raised_at(at(10));
    publish::<H>(&store, &full, at(20))
        .await
        .expect("published");
    publish::<H>(&store, &NewEvent::blank(), at(21))
        .await
        .expect("published");

    let found = all::<H>(&store, &FeedScope::All).await;
    let mut expected = EventRecord::new(found[0].id, full.uuid().to_string(), at(20));
    expected.title = Some("A & B".to_owned());
    expected.content = Some(content);
    expected.category = Some("Lab Result".to_owned());
    expected.tags = Some("a,b c".to_owned());
    expected.uri = Some("http://host/1".to_owned());
    expected.date_created = match shape.date_created {
        true => Some(at(10)),
        false => found[0].date_created,
    };
    assert_eq!(found[0], expected);
    let blank = &found[1];
    assert_eq!(
        (&blank.title, &blank.content, &blank.category),
        (&None, &None, &None)
    );
    assert_eq!(blank.timestamp, at(21));
    assert!(!shape.date_created || blank.date_created == Some(at(21)));
}

/// What the tables cannot hold is refused before anything is written, and the transaction goes on.
pub async fn what_would_not_fit_is_refused<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let shape = harness.shape();
    let mut odd = Vec::new();
    if !shape.large_events {
        odd.push((
            NewEvent::new("t", "é".repeat(1_001)),
            "1001 characters, where 1000 fit",
        ));
        odd.push((
            NewEvent::new("é".repeat(256), ""),
            "event_records_queue.title",
        ));
        let tags = NewEvent::blank().with_tags(["t".repeat(256)]);
        odd.push((tags, "tags"));
    }
    if !shape.all_characters {
        odd.push((NewEvent::new("t", "a😀"), "'😀'"));
    }
    if !shape.all_times {
        let old = DateTime::from_timestamp(-1, 0).unwrap_or_default();
        odd.push((NewEvent::blank().published_at(old), "1970 to 2038"));
    }
    let mut work = store.begin().await.expect("a transaction opens");
    for (event, why) in &odd {
        let error = store
            .publish(work.conn(), event, at(0))
            .await
            .expect_err("it does not fit");
        assert_eq!(error.kind(), StoreErrorKind::Refused);
        assert!(error.to_string().contains(why), "{error}");
    }
    let fits = NewEvent::new("é".repeat(255), "é".repeat(1_000));
    store
        .publish(work.conn(), &fits, at(0))
        .await
        .expect("published");
    work.commit().await.expect("committed");
    sequence_all(&store).await;
    assert_eq!(all::<H>(&store, &FeedScope::All).await.len(), 1);
}

/// What no page could carry is refused, and nothing is written.
pub async fn illegal_characters_are_refused<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let mut work = store.begin().await.expect("a transaction opens");
    let error = store
        .publish(work.conn(), &NewEvent::new("a\u{b}", ""), at(0))
        .await
        .expect_err("XML has no vertical tab");
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    work.commit().await.expect("the transaction goes on");
    assert_eq!(store.newest_id().await.expect("read"), 0);
}

/// The second event with a uuid is refused, also within one transaction, which goes on.
pub async fn an_event_with_a_known_uuid_is_refused<H: Harness>(harness: &H) {
    if !harness.shape().known_uuids {
        return;
    }
    let store = harness.store().await;
    let event = NewEvent::new("once", "").with_uuid(Uuid::new_v4());
    publish::<H>(&store, &event, at(0))
        .await
        .expect("published");
    let error = publish::<H>(&store, &event, at(0))
        .await
        .expect_err("it is there already");
    assert_eq!(error.kind(), StoreErrorKind::Duplicate);

    let mut work = store.begin().await.expect("a transaction opens");
    let twice = NewEvent::new("twice", "");
    store
        .publish(work.conn(), &twice, at(0))
        .await
        .expect("published");
    let error = store
        .publish(work.conn(), &twice, at(0))
        .await
        .expect_err("it is there already");
    assert_eq!(error.kind(), StoreErrorKind::Duplicate);
    store
        .publish(work.conn(), &NewEvent::blank(), at(0))
        .await
        .expect("published");
    work.commit().await.expect("committed");
    sequence_all(&store).await;
    assert_eq!(all::<H>(&store, &FeedScope::All).await.len(), 3);
}

/// Ids ascend in the order of publishing, across transactions, and stay with their event.
pub async fn ids_ascend_and_are_never_given_twice<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let mut titles = Vec::new();
    for round in 0..5 {
        let events: Vec<_> = (0..4)
            .map(|n| NewEvent::new(format!("{round}.{n}"), ""))
            .collect();
        titles.extend(
            events
                .iter()
                .filter_map(|event| event.title().map(str::to_owned)),
        );
        publish_all::<H>(&store, events).await;
        let mut undone = store.begin().await.expect("a transaction opens");
        store
            .publish(undone.conn(), &NewEvent::blank(), at(0))
            .await
            .expect("published");
        undone.rollback().await.expect("rolled back");
    }
    let found = all::<H>(&store, &FeedScope::All).await;
    assert!(found.is_sorted_by(|one, next| one.id < next.id));
    let found: Vec<_> = found
        .into_iter()
        .filter_map(|record| record.title)
        .collect();
    assert_eq!(found, titles);
}

/// Times before, at and after 1970 come back to the microsecond, also several alike.
pub async fn times_come_back_to_the_microsecond<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let micros: &[i64] = match harness.shape().all_times {
        true => &[
            -62_135_596_800_000_000,
            -1,
            -1,
            0,
            1,
            1,
            1_709_280_060_999_999,
        ],
        false => &[1_000_000, 1_000_000, 2_000_000, 1_709_280_060_000_000],
    };
    let times = micros.iter().copied();
    let times = times.map(|micros| DateTime::from_timestamp_micros(micros).unwrap_or_default());
    let times: Vec<_> = times.collect();
    let events = times
        .iter()
        .map(|time| NewEvent::blank().published_at(*time));
    publish_all::<H>(&store, events).await;
    let found = all::<H>(&store, &FeedScope::All).await;
    let found: Vec<_> = found.iter().map(|record| record.timestamp).collect();
    assert_eq!(found, times);
    assert_eq!(
        store.newest_timestamp().await.expect("read"),
        times.last().copied()
    );
}

/// A feed carries its category in whatever case it was published, beyond ASCII too.
pub async fn feeds_match_categories_in_any_case<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let spelled = [
        "Encounter",
        "encounter",
        "Échantillon",
        "échantillon",
        "patient",
    ];
    let events = spelled.map(|category| NewEvent::new(category, "").in_category(category));
    publish_all::<H>(&store, events.into_iter().chain([NewEvent::blank()])).await;
    for (asked, found) in [
        ("ENCOUNTER", &spelled[..2]),
        ("ÉCHANTILLON", &spelled[2..4]),
        ("patient", &spelled[4..]),
        ("patien", &[]),
    ] {
        let records = all::<H>(&store, &category(asked)).await;
        let titles: Vec<_> = records
            .iter()
            .filter_map(|record| record.title.as_deref())
            .collect();
        assert_eq!(titles, found, "{asked}");
        let count = store
            .count(&category(asked), 0, None)
            .await
            .expect("counted");
        assert_eq!(count, found.len() as u64);
    }
    if harness.shape().collated {
        let records = all::<H>(&store, &category("ECHANTILLON")).await;
        assert_eq!(records.len(), 2, "as the column compares");
    }
    let mut categories = store.categories().await.expect("read");
    categories.sort();
    assert_eq!(
        categories,
        [
            "Encounter",
            "encounter",
            "patient",
            "Échantillon",
            "échantillon"
        ]
    );
}

/// Bounds, skip, limit and step mean what they say, in the feed of all and in that of a category.
pub async fn ranges_are_cut_as_asked<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let names = ["a", "A", "b"];
    let events = (0..60).map(|n| NewEvent::new(n.to_string(), "").in_category(names[n % 3]));
    publish_all::<H>(&store, events).await;
    for scope in [FeedScope::All, category("a")] {
        let every = all::<H>(&store, &scope).await;
        let ids: Vec<_> = every.iter().map(|record| record.id).collect();
        for (after, through, skip, limit) in [
            (0, None, 0, 7),
            (ids[4], None, 3, 7),
            (ids[4], Some(ids[9]), 2, 100),
            (ids[9], Some(ids[4]), 0, 9),
        ] {
            let range = RecordRange {
                after,
                through,
                skip,
                limit,
            };
            let found = store.records(&scope, range).await.expect("read");
            let expected: Vec<_> = every
                .iter()
                .filter(|record| record.id > after)
                .filter(|record| through.is_none_or(|through| record.id <= through))
                .collect();
            let count = store.count(&scope, after, through).await.expect("counted");
            assert_eq!(count, expected.len() as u64);
            let expected: Vec<_> = expected
                .into_iter()
                .skip(skip as usize)
                .take(limit as usize)
                .cloned()
                .collect();
            assert_eq!(found, expected, "{scope} {range:?}");
        }
        let nth = store.every_nth_id(&scope, ids[2], 4).await.expect("read");
        let expected: Vec<_> = ids[3..].iter().skip(3).step_by(4).copied().collect();
        assert_eq!(nth, expected);
    }
}

/// Kept positions are found by count, feed by feed, and stay as they were first kept.
pub async fn positions_are_found_below_and_above<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let scope = category("Patient");
    let position = |event_count, event_id| OffsetMarker {
        event_id,
        event_count,
    };
    let below = async |count| store.position_below(&scope, count).await.expect("read");
    let above = async |count| store.position_above(&scope, count).await.expect("read");
    assert_eq!(below(u64::MAX).await, OffsetMarker::default());
    assert_eq!(above(0).await, None);

    let kept = [position(10, 100), position(20, 250)];
    store.keep_positions(&scope, &kept, 0).await.expect("kept");
    store
        .keep_positions(&FeedScope::All, &[position(15, 15)], 0)
        .await
        .expect("kept");
    store
        .keep_positions(&scope, &[position(20, 999), position(30, 300)], 0)
        .await
        .expect("kept");
    assert_eq!(below(9).await, OffsetMarker::default());
    assert_eq!(below(10).await, kept[0]);
    assert_eq!(below(29).await, kept[1]);
    assert_eq!(below(u64::MAX).await, position(30, 300));
    assert_eq!(above(11).await, Some(kept[1]));
    assert_eq!(above(31).await, None);
    let folded = category("PATIENT");
    assert_eq!(
        store.position_below(&folded, 10).await.expect("read"),
        kept[0]
    );
}

/// The original's table has one row per category.
pub async fn offset_markers_are_one_a_category<H: Harness>(harness: &H) {
    let store = harness.store().await;
    assert_eq!(store.offset_marker("").await.expect("read"), None);
    for (category, event_id, event_count) in [("", 5, 5), ("lab", 3, 1), ("", 9, 9)] {
        let marker = OffsetMarker {
            event_id,
            event_count,
        };
        store
            .write_offset_marker(category, marker)
            .await
            .expect("written");
        assert_eq!(
            store.offset_marker(category).await.expect("read"),
            Some(marker)
        );
    }
    let lab = store.offset_marker("lab").await.expect("read");
    assert_eq!(
        lab,
        Some(OffsetMarker {
            event_id: 3,
            event_count: 1
        })
    );
}
