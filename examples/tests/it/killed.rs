//! feed-consumer, killed again and again while it catches up: of what fails and what waits behind it,
//! too, nothing is lost, nothing doubled, and everything of a patient is in order.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use crate::databases::{Empty, Kind};
use crate::emr::{Emr, entry_id, ndjson};
use crate::lab::{Lab, ids};
use crate::patients::{self, FAILING, number, random};

const EVENTS: usize = 2_000;

/// So many events in one transaction.
const BATCHES: [&str; 3] = ["1", "7", "100"];

/// So many at once.
const WORKERS: [&str; 2] = ["1", "4"];

#[tokio::test]
async fn killed_at_any_moment_it_applies_each_event_exactly_once_on_sqlite() {
    killed_at_any_moment(Kind::Sqlite).await;
}

#[tokio::test]
async fn killed_at_any_moment_it_applies_each_event_exactly_once_on_postgres() {
    killed_at_any_moment(Kind::Postgres).await;
}

#[tokio::test]
async fn killed_at_any_moment_it_applies_each_event_exactly_once_on_mysql() {
    killed_at_any_moment(Kind::MySql).await;
}

async fn killed_at_any_moment(kind: Kind) {
    let full = std::env::var("ATOMFEED_FULL").is_ok_and(|value| value == "1");
    let kills = if full { 100 } else { 10 };
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=EVENTS as u32).map(patients::event));
    let emr = Emr::start("memory:", &["--page-size", "50", "--import", &file]);
    let mut done = 0;
    // As a rule one consumer is enough; one that comes near the end before its last kill is followed by
    // another.
    for _consumer in 0..20 {
        let Some(empty) = Empty::of(kind).await else {
            return;
        };
        done += killed_while_it_catches_up(&emr, &empty, done..kills).await;
        if done == kills {
            return;
        }
    }
    panic!("{done} of {kills} kills were made: it catches up too fast to be killed");
}

/// Kills a new consumer up to so many times, lets it end, and judges what it has done. Gives the number
/// of kills in the middle of things.
async fn killed_while_it_catches_up(
    emr: &Emr,
    empty: &Empty,
    kills: std::ops::Range<usize>,
) -> usize {
    let lab = Lab::on(empty.url(), emr.recent());
    let fixed = ["--apply", "--fail-matching", FAILING];
    let fixed = [&fixed[..], &empty.schema_options()].concat();
    let mut printed = HashSet::new();
    let mut markers = Vec::new();
    let (mut reached, mut killed) = (0, 0);
    // As many as may have committed before they were printed.
    let mut unprinted = 0;
    for kill in kills.clone() {
        let mut options = vec!["--follow", "--poll", "0.01"];
        options.extend(&fixed);
        options.extend(["--batch", BATCHES[kill % BATCHES.len()]]);
        let workers = WORKERS[kill / BATCHES.len() % WORKERS.len()];
        options.extend(["--workers", workers]);
        unprinted += 100 * workers.parse::<usize>().unwrap();
        let following = lab.start(&options);
        // After some events, or none, and then at any moment in what it does with an event, or in
        // what it does when it starts.
        let events = random((EVENTS - reached) / (3 * (kills.end - kill)).max(4) + 1);
        let seen = |lines: &[String]| (lines.len() >= events).then_some(());
        following.stdout.wait_for(&format!("{events} events"), seen);
        let moment = if events == 0 { 100_000 } else { 5_000 };
        thread::sleep(Duration::from_micros(random(moment) as u64));
        let mut finished = following.kill();
        assert!(
            !finished.status.success(),
            "it ran when it was killed: {finished:#?}"
        );
        killed += 1;
        // The last line may have been cut off.
        finished.stdout.retain(|line| line.ends_with('}'));
        for id in ids(&finished.events()) {
            assert!(printed.insert(id.to_owned()), "{id} is applied again");
            reached = reached.max(number(id) as usize);
        }
        markers.extend(empty.marker().await);
        // Much is parked: what is left must be enough to be waited for.
        if reached + 500 > EVENTS {
            break;
        }
    }
    let rest = lab.run(&[&["--once"], &fixed[..]].concat());
    rest.assert_status(0);
    for id in ids(&rest.events()) {
        assert!(printed.insert(id.to_owned()), "{id} is applied again");
    }
    markers.extend(empty.marker().await);

    let all = 1..=EVENTS as u32;
    let applied = empty.applied().await;
    let parked = empty.parked().await;
    let history = patients::published(all.clone()).markers(markers);
    let read = history.clone().applied(events_of(&applied));
    read.parked(parked.clone()).assert_holds();
    let waiting: HashSet<_> = patients::parked(all.clone())
        .into_iter()
        .map(entry_id)
        .collect();
    let parked_once: HashSet<_> = parked.iter().cloned().collect();
    assert_eq!(parked.len(), waiting.len());
    assert_eq!(
        parked_once, waiting,
        "only what fails, and what waits behind it"
    );
    // Killed between the commit and the lines, it does not print the events: at most a batch each time.
    assert!(
        applied.len() - printed.len() <= unprinted,
        "{killed} kills, {} of {} printed",
        printed.len(),
        applied.len()
    );

    // What failed is mended: it follows, in order.
    let retry = [&["--retry-failed", "--apply"], &empty.schema_options()[..]].concat();
    let retried = lab.run(&retry);
    retried.assert_status(0);
    assert_eq!(retried.summary(), (parked.len() as u64, 0), "{retried:#?}");
    let applied = empty.applied().await;
    history.applied(events_of(&applied)).assert_holds();
    assert_eq!(empty.parked().await, [""; 0]);
    for (event, content) in applied {
        assert_eq!(content, patients::content(number(&event)));
    }
    killed
}

fn events_of(rows: &[(String, String)]) -> impl Iterator<Item = &str> {
    rows.iter().map(|(event, _)| event.as_str())
}
