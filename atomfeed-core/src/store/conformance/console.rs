//! What those see who look after consumers, and what they ask for.

use chrono::{DateTime, Duration, Utc};

use super::Harness;
use crate::store::{
    ActionQuery, ConsoleStore, FailedEventQuery, FailureFilter, FailureQuery, Records,
    StoreErrorKind,
};
use crate::{
    ActionKind, ActionProgress, ActionState, EntryId, Event, Failure, FeedUri, NewAction, Place,
    Reason, Rebase,
};

fn feed(name: &str) -> FeedUri {
    FeedUri::new(format!("http://emr:8050/feed/{name}/recent")).expect("a feed address")
}

fn at(seconds: i64) -> DateTime<Utc> {
    let begun: DateTime<Utc> = "2024-03-01T08:00:00Z".parse().expect("a time");
    begun + Duration::seconds(seconds)
}

fn event(feed: &FeedUri, number: u64) -> Event {
    let title = if number.is_multiple_of(2) {
        "Patient"
    } else {
        "Lab 100%_!"
    };
    Event::new(EntryId::of_event(number), feed.clone())
        .with_text(title, format!("/patient/{number}?a=1&b=2"))
        .with_tags_column(if number.is_multiple_of(3) {
            "Order,urgent"
        } else {
            ""
        })
}

async fn change<H: Harness>(store: &H::Store) -> Box<dyn Records> {
    store.change().await.expect("a transaction opens")
}

async fn look<H: Harness>(store: &H::Store) -> Box<dyn Records> {
    store.look().await.expect("a transaction opens")
}

async fn commit(work: Box<dyn Records>) {
    work.commit().await.expect("a transaction commits");
}

/// Ten events of one feed and five of another, of which the second feed's have failed for other reasons; every
/// fifth has the key of the first.
async fn fill<H: Harness>(store: &H::Store) -> Vec<i64> {
    let mut work = change::<H>(store).await;
    let mut ids = Vec::new();
    for number in 1..=15 {
        let (feed, reason) = match number {
            1..=10 => (feed("lab"), "no patient"),
            _ => (feed("erp"), "refused by http://erp/api"),
        };
        let second = i64::try_from(number).unwrap_or_default();
        let message = format!(
            "Failed processing event in feed [http://emr:8050/feed/{number}] \n{reason} {number}\nat line {number}"
        );
        let failure = Failure::new(message, at(second));
        let event = event(&feed, number);
        let id = work.park(&event, &failure).await.expect("parked");
        let place = Place {
            key: Some(format!("key {}", number % 5)),
            due_at: Some(at(1_000)),
        };
        work.place(&feed, id, &place).await.expect("placed");
        ids.push(id);
    }
    commit(work).await;
    ids
}

/// Parked events are found by each of what is known of them, in pages, the newest first.
pub async fn what_is_parked_is_found<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let ids = fill::<H>(&store).await;
    let mut work = change::<H>(&store).await;
    for _ in 0..5 {
        let query = FailedEventQuery::of(feed("lab"));
        let failed = work.failed_events(&query).await.expect("read");
        let failure = Failure::new("the lab is down", at(100));
        let retried = work.record_failed_retry(&failed[0], &failure);
        retried.await.expect("recorded");
    }
    commit(work).await;

    let mut work = look::<H>(&store).await;
    let numbers = |range: std::ops::RangeInclusive<usize>| -> Vec<i64> {
        range.rev().map(|number| ids[number - 1]).collect()
    };
    let of = |query: &str| query.parse::<FailureFilter>().expect("a filter");
    let no_patient = Reason::of("no patient 1").key();
    for (filter, expected) in [
        (FailureFilter::default(), numbers(1..=15)),
        (FailureFilter::of_feed(feed("erp")), numbers(11..=15)),
        (
            FailureFilter::default().with_reason(&no_patient),
            numbers(2..=10),
        ),
        (of("state=from-5"), numbers(1..=1)),
        (
            of("state=below-5&title=PATIENT"),
            vec![ids[13], ids[11], ids[9], ids[7], ids[5], ids[3], ids[1]],
        ),
        (
            of("title=100%25_!"),
            (0..8).rev().map(|n| ids[n * 2]).collect(),
        ),
        (of("title=100%25%25"), vec![]),
        (
            of("tag=URGENT"),
            (1..=5).rev().map(|n| ids[n * 3 - 1]).collect(),
        ),
        (of("key=key 1"), vec![ids[10], ids[5], ids[0]]),
        (of("error=no patient 7"), vec![ids[6]]),
        (of("error=LAB is down"), vec![ids[0]]),
        (of("error=erp"), numbers(11..=15)),
        (of("since=2024-03-01T08:01:00Z"), numbers(1..=1)),
        (
            of("since=2024-03-01T08:00:14Z&until=2024-03-01T08:00:15Z"),
            numbers(14..=14),
        ),
        (of("state=waits"), numbers(6..=10)),
        (of("reason=none"), vec![]),
        (of("event=tag:atomfeed.ict4h.org:7"), vec![ids[6]]),
        (of("title=LAB&error=PATIENT 3"), vec![ids[2]]),
    ] {
        let query = FailureQuery::of(filter.clone());
        let found = work.failures(&query).await.expect("read").events;
        let found: Vec<_> = found.iter().map(|parked| parked.id).collect();
        assert_eq!(found, expected, "{filter}");
        for limit in [1, 2, 4] {
            let mut paged = Vec::new();
            let mut query = FailureQuery::of(filter.clone()).limit(limit);
            loop {
                let page = work.failures(&query).await.expect("read");
                paged.extend(page.events.iter().map(|parked| parked.id));
                let Some(next) = page.next else { break };
                assert_eq!(page.len(), limit, "{filter}");
                query = query.before(Some(next));
            }
            assert_eq!(paged, expected, "{filter} by {limit}");
        }
        let count = work.failure_count(&filter).await.expect("counted");
        assert_eq!(count, expected.len() as u64, "{filter}");
        let lab = feed("lab");
        let in_order = work.failures_in_order(&lab, &filter, ids[1], 3);
        let in_order = in_order.await.expect("read");
        let mut expected = expected;
        expected.retain(|id| *id > ids[1] && *id <= ids[9]);
        expected.reverse();
        expected.truncate(3);
        // What is asked of another feed is asked of this one.
        if filter.feed_uri.is_none() {
            assert_eq!(in_order, expected, "{filter}");
        }
    }
    let newest_first: Vec<_> = ids.iter().rev().copied().collect();
    for (before, many, expected) in [
        (None, 0, None),
        (None, 1, Some(newest_first[0])),
        (None, 4, Some(newest_first[3])),
        (Some(newest_first[3]), 4, Some(newest_first[7])),
        (None, 15, Some(ids[0])),
        (None, 16, None),
        (Some(ids[0]), 1, None),
    ] {
        let floor = work.failure_floor(before, many).await.expect("read");
        assert_eq!(floor, expected, "{many} below {before:?}");
    }
    for filter in ["", "title=lab", "error=erp"] {
        let query = FailureQuery::of(of(filter));
        let all = work.failures(&query).await.expect("read");
        let mut expected: Vec<_> = all.events.iter().map(|parked| parked.id).collect();
        expected.retain(|id| (ids[4]..ids[12]).contains(id));
        let part = query.before(Some(ids[12])).down_to(Some(ids[4]));
        let part = work.failures(&part).await.expect("read");
        let part: Vec<_> = part.events.iter().map(|parked| parked.id).collect();
        assert_eq!(part, expected, "{filter}");
    }
    let mut pages = Vec::new();
    let mut query = FailureQuery::of(FailureFilter::default()).limit(4);
    loop {
        let page = work.failures(&query).await.expect("read");
        let next = page.next;
        pages.push(page.events);
        let Some(next) = next else { break };
        query = query.before(Some(next));
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 4, 3]);
    let first = &pages[3][2];
    assert_eq!(
        (first.id, &first.feed_uri, first.title.as_str()),
        (ids[0], &feed("lab"), "Lab 100%_!")
    );
    assert_eq!((first.retries, first.waits), (5, false));
    assert_eq!((first.parked_at, first.failed_at), (at(1), at(100)));
    assert_eq!(
        (first.key.as_deref(), first.due_at),
        (Some("key 1"), Some(at(1_000)))
    );
    // As it failed last; what it said first is looked for all the same.
    assert_eq!(first.error, "the lab is down");
    assert_eq!(pages[2][0].tags, "");
    assert_eq!(pages[0][0].tags, "Order,urgent");
    let whole = work
        .parked_event(ids[0])
        .await
        .expect("read")
        .expect("there");
    assert_eq!(whole.event.content(), "/patient/1?a=1&b=2");
    assert_eq!((whole.id, whole.retries), (ids[0], 5));
    assert_eq!(
        work.parked_event(ids[14] + 1_000).await.expect("read"),
        None
    );

    let groups = work.failure_groups(&FailureFilter::default(), 10).await;
    let groups = groups.expect("read");
    let seen: Vec<_> = groups
        .iter()
        .map(|group| (group.feed_uri.clone(), group.text.as_str(), group.count))
        .collect();
    assert_eq!(
        seen,
        [
            (feed("lab"), "no patient <n>", 9),
            (feed("erp"), "refused by <url> <n>", 5),
            (feed("lab"), "the lab is down", 1),
        ]
    );
    assert_eq!((groups[0].first_at, groups[0].last_at), (at(2), at(10)));
    assert_eq!(
        (groups[0].first_id, &groups[0].reason),
        (ids[1], &no_patient)
    );
    let two = work
        .failure_groups(&of("title=patient"), 1)
        .await
        .expect("read");
    assert_eq!((two.len(), two[0].count), (1, 5));

    let feeds = work.feed_failures(5).await.expect("counted");
    let feeds: Vec<_> = feeds
        .into_iter()
        .map(|feed| (feed.feed_uri, feed.parked, feed.dead, feed.first_at))
        .collect();
    assert_eq!(
        feeds,
        [
            (feed("erp"), 5, 0, Some(at(11))),
            (feed("lab"), 10, 1, Some(at(2))),
        ]
    );
}

/// What succeeds, or is given up, is counted no longer; a host that gets another name takes along what is
/// counted, and what was asked for.
pub async fn what_is_parked_no_longer_is_not_counted<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let ids = fill::<H>(&store).await;
    let mut work = change::<H>(&store).await;
    let first = work
        .parked_event(ids[0])
        .await
        .expect("read")
        .expect("there");
    work.remove_failed_event(&first).await.expect("removed");
    let asked = action(&feed("lab"), ids[1]);
    let id = work.ask(&asked, &ActionProgress::waiting(at(0))).await;
    let id = id.expect("written");
    let rebase: Rebase = "http://emr:8050=https://emr.example.org"
        .parse()
        .expect("two");
    work.rebase(&rebase).await.expect("replaced");
    commit(work).await;
    let mut work = look::<H>(&store).await;
    let to = FeedUri::new("https://emr.example.org/feed/lab/recent").expect("an address");
    let count = work
        .failure_count(&FailureFilter::of_feed(to.clone()))
        .await;
    assert_eq!(count.expect("counted"), 9);
    let feeds = work.feed_failures(5).await.expect("counted");
    assert_eq!(feeds.iter().map(|feed| feed.parked).sum::<u64>(), 14);
    let open = work.open_actions(&to).await.expect("read");
    assert_eq!(
        open.iter().map(|action| action.id).collect::<Vec<_>>(),
        [id]
    );
}

/// A parked event gets another content, and its retries begin anew; one that is gone gets neither.
pub async fn a_parked_event_is_edited_and_reset<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let ids = fill::<H>(&store).await;
    let mut work = change::<H>(&store).await;
    let failed = work
        .parked_event(ids[3])
        .await
        .expect("read")
        .expect("there");
    let failure = Failure::new("again", at(50));
    work.record_failed_retry(&failed, &failure)
        .await
        .expect("recorded");
    let text = "/patient/9?name=<é>&]]>\u{202e}";
    let fits = match work.edit_content(&failed, text).await {
        Ok(()) => text,
        // The tables of some have no such characters.
        Err(error) => {
            assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
            assert!(
                !harness.shape().all_characters || !harness.shape().large_events,
                "{error}"
            );
            work.edit_content(&failed, "/patient/9?a&b")
                .await
                .expect("edited");
            "/patient/9?a&b"
        }
    };
    assert!(work.reset_retries(&failed).await.expect("reset"));
    commit(work).await;
    let mut work = change::<H>(&store).await;
    let edited = work
        .parked_event(ids[3])
        .await
        .expect("read")
        .expect("there");
    assert_eq!(edited.event.content(), fits);
    assert!(
        edited.event.page_uri().is_some(),
        "it is not looked up on a page"
    );
    assert_eq!(
        (edited.event.title(), edited.event.id()),
        (failed.event.title(), failed.event.id())
    );
    assert_eq!((edited.retries, &edited.failure), (0, &failed.failure));
    let place = edited.place.clone().expect("a place");
    assert_eq!((place.key.as_deref(), place.due_at), (Some("key 4"), None));
    let count = work
        .failure_count(&"state=from-1".parse().expect("a filter"))
        .await;
    assert_eq!(count.expect("counted"), 0);
    let refused = work
        .edit_content(&failed, "a\0b")
        .await
        .expect_err("no NUL");
    assert_eq!(refused.kind(), StoreErrorKind::Refused);
    assert!(refused.to_string().contains("NUL"), "{refused}");
    drop(work);

    let mut work = change::<H>(&store).await;
    work.remove_failed_event(&edited).await.expect("removed");
    assert!(!work.reset_retries(&edited).await.expect("nothing"));
    let gone = work.edit_content(&edited, "x").await.expect_err("gone");
    assert_eq!(gone.kind(), StoreErrorKind::NotParked);
}

fn action(feed: &FeedUri, failed: i64) -> NewAction {
    NewAction {
        feed_uri: feed.clone(),
        kind: ActionKind::Edit,
        failed_event_id: Some(failed),
        event_id: Some(EntryId::of_event(7)),
        detail: "<content>".to_owned(),
        by: "asha".to_owned(),
        why: "it named \u{202e}another patient".to_owned(),
        at: at(0),
    }
}

/// What is asked for is kept with what came of it, and of two who take it up one is told.
pub async fn actions_are_kept_with_what_came_of_them<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let (lab, erp) = (feed("lab"), feed("erp"));
    let waiting = ActionProgress::waiting(at(0));
    let mut work = change::<H>(&store).await;
    let first = work.ask(&action(&lab, 1), &waiting).await.expect("written");
    let second = work.ask(&action(&lab, 2), &waiting).await.expect("written");
    let many = NewAction {
        kind: ActionKind::RetryMany,
        failed_event_id: None,
        event_id: None,
        ..action(&erp, 0)
    };
    let third = work.ask(&many, &waiting).await.expect("written");
    assert!(first < second && second < third);
    commit(work).await;

    let mut work = change::<H>(&store).await;
    let open = work.open_actions(&lab).await.expect("read");
    assert_eq!(
        open.iter().map(|action| action.id).collect::<Vec<_>>(),
        [first, second]
    );
    assert_eq!(open[0].asked, action(&lab, 1));
    assert_eq!(open[0].progress, waiting);
    let running = waiting.clone().then(ActionState::Running, at(1), "");
    work.advance(first, ActionState::Waiting, &running)
        .await
        .expect("taken");
    let late = work.advance(first, ActionState::Waiting, &running).await;
    let late = late.expect_err("it was taken");
    assert_eq!(late.kind(), StoreErrorKind::Conflict);
    let mut done = running.clone().then(ActionState::Done, at(2), "applied\0");
    (done.place, done.succeeded, done.failed) = (9, 3, 1);
    done.was = Some("before".to_owned());
    let mut edited = running.clone();
    edited.was = Some("before".to_owned());
    let second_runs = work.advance(second, ActionState::Waiting, &edited);
    second_runs.await.expect("taken");
    work.advance(first, ActionState::Running, &done)
        .await
        .expect("ended");
    commit(work).await;

    let mut work = change::<H>(&store).await;
    assert_eq!(work.open_actions(&lab).await.expect("read").len(), 1);
    // It is called off whatever it is at, and what there was before stays written down.
    assert!(
        work.call_off(second, "not now", at(3))
            .await
            .expect("called off")
    );
    assert!(!work.call_off(second, "again", at(4)).await.expect("over"));
    assert!(!work.call_off(first, "late", at(4)).await.expect("over"));
    let off = work
        .action(second)
        .await
        .expect("read")
        .expect("there")
        .progress;
    assert_eq!((off.state, off.changed_at), (ActionState::CalledOff, at(3)));
    assert_eq!(off.was.as_deref(), Some("before"));
    assert_eq!(off.outcome.as_deref(), Some("not now"));
    commit(work).await;

    let mut work = look::<H>(&store).await;
    let ended = work.action(first).await.expect("read").expect("there");
    let outcome = ended.progress.outcome.as_deref().unwrap_or_default();
    assert!(outcome.starts_with("applied"), "{outcome:?}");
    let expected = ActionProgress {
        outcome: ended.progress.outcome.clone(),
        ..done
    };
    assert_eq!(ended.progress, expected);
    assert_eq!(work.action(third + 1_000).await.expect("read"), None);
    let mut newest = Vec::new();
    for query in [
        ActionQuery::newest(2),
        ActionQuery::newest(9).before(Some(second)),
        ActionQuery::newest(9).of_feed(lab.clone()),
        ActionQuery::newest(9).of_event(2, &event(&lab, 7)),
        ActionQuery::newest(9).of_event(2, &event(&erp, 7)),
        // Under the number of one that is gone may be another.
        ActionQuery::newest(9).of_event(2, &event(&lab, 8)),
    ] {
        let actions = work.actions(&query).await.expect("read");
        newest.push(actions.iter().map(|action| action.id).collect::<Vec<_>>());
    }
    let expected = [
        vec![third, second],
        vec![first],
        vec![second, first],
        vec![second],
        vec![],
        vec![],
    ];
    assert_eq!(newest, expected);
    let erps = work.actions(&ActionQuery::newest(1)).await.expect("read");
    assert_eq!(erps[0].asked, many);
}

/// Who looks keeps nobody from writing, and sees what a database publishes.
pub async fn who_looks_keeps_nobody_from_writing<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let ids = fill::<H>(&store).await;
    let mut work = look::<H>(&store).await;
    let parked = work.parked_event(ids[0]).await.expect("read");
    assert!(parked.is_some());
    let waits_for_it = store.change();
    if !harness.shape().one_at_a_time {
        let mut writing = waits_for_it.await.expect("a transaction opens");
        let failed = parked.expect("there");
        writing.remove_failed_event(&failed).await.expect("removed");
        commit(writing).await;
    }
    drop(work);
    let publishing = store.publishing().await.expect("read");
    assert_eq!(
        (
            publishing.newest_id,
            publishing.queued,
            publishing.set_aside
        ),
        (0, 0, 0)
    );
}
