//! Two feed-consumers of one feed on one database: the one at work is killed again and again, and the
//! other takes over each time; never are both at work. On a machine that stands still for longer than the lease,
//! the other one takes over without that, too.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::databases::{Empty, Kind};
use crate::emr::{Emr, entry_id, sqlite};
use crate::lab::{Lab, ids};
use crate::patients;
use crate::programs::{Finished, PATIENCE, Program};

#[tokio::test]
async fn who_is_killed_is_followed_on_sqlite() {
    who_is_killed_is_followed(Kind::Sqlite).await;
}

#[tokio::test]
async fn who_is_killed_is_followed_on_postgres() {
    who_is_killed_is_followed(Kind::Postgres).await;
}

#[tokio::test]
async fn who_is_killed_is_followed_on_mysql() {
    who_is_killed_is_followed(Kind::MySql).await;
}

/// So many events a round.
const EVENTS: u32 = 20;

async fn who_is_killed_is_followed(kind: Kind) {
    let Some(empty) = Empty::of(kind).await else {
        return;
    };
    let full = std::env::var("ATOMFEED_FULL").is_ok_and(|value| value == "1");
    let kills = if full { 50 } else { 5 };
    let folder = tempfile::tempdir().unwrap();
    let options = ["--page-size", "7", "--import", "-"];
    let mut emr = Emr::start(&sqlite(folder.path(), "emr.db"), &options);
    let lab = Lab::on(empty.url(), emr.recent());
    let start = || {
        let options = ["--follow", "--apply", "--poll", "0.02", "--standby=0.4"];
        lab.start(&[&options[..], &["--batch", "3"], &empty.schema_options()].concat())
    };
    // The first one has the feed before the second one starts.
    let mut numbers = 1..;
    let mut publish = |emr: &mut Emr| {
        let mut last = 0;
        for number in numbers.by_ref().take(EVENTS as usize) {
            emr.program.write(&format!("{}\n", patients::event(number)));
            last = number;
        }
        last
    };
    let mut active = start();
    let last = publish(&mut emr);
    active
        .stdout
        .wait_for("all of it", |lines| has_printed(lines, last).then_some(()));
    let mut standby = start();
    // By process, in the order in which they ended.
    let mut printed: Vec<Vec<String>> = Vec::new();
    let keep = |printed: &mut Vec<Vec<String>>, finished: &Finished| {
        printed.push(
            ids(&finished.events())
                .into_iter()
                .map(str::to_owned)
                .collect(),
        );
    };
    let mut was_taken_alive = false;
    for _ in 0..kills {
        let last = publish(&mut emr);
        was_taken_alive |= wait_for_either(&mut active, &mut standby, last);
        // In the middle of things, as a rule.
        publish(&mut emr);
        let mut finished = std::mem::replace(&mut active, standby).kill();
        finished.stdout.retain(|line| line.ends_with('}'));
        keep(&mut printed, &finished);
        let last = publish(&mut emr);
        active
            .stdout
            .wait_for("all of it", |lines| has_printed(lines, last).then_some(()));
        standby = start();
    }
    let last = publish(&mut emr);
    was_taken_alive |= wait_for_either(&mut active, &mut standby, last);
    active.terminate();
    let finished = active.finish();
    finished.assert_status(0);
    keep(&mut printed, &finished);
    // Given back, it is taken at once.
    let last = publish(&mut emr);
    standby
        .stdout
        .wait_for("all of it", |lines| has_printed(lines, last).then_some(()));
    standby.terminate();
    let finished = standby.finish();
    finished.assert_status(0);
    keep(&mut printed, &finished);

    let applied = empty.applied().await;
    let applied = applied.iter().map(|(event, _)| event.as_str());
    patients::published(1..=last)
        .applied(applied.clone())
        .assert_holds();
    let applied: Vec<_> = applied.collect();
    let place = |id: &String| {
        let place = applied.iter().position(|event| event == id);
        place.expect("no phantom is printed")
    };
    let places: Vec<Vec<usize>> = printed
        .iter()
        .map(|ids| ids.iter().map(place).collect())
        .collect();
    for places in &places {
        assert!(places.is_sorted(), "one is not in order: {places:?}");
    }
    let places = places.concat();
    assert!(!places.is_empty());
    let once: BTreeSet<_> = places.iter().collect();
    assert_eq!(once.len(), places.len(), "two have applied the same");
    // What each has printed comes after all that the one before it has, unless one that stood still for longer
    // than its lease went on later.
    assert!(
        was_taken_alive || places.is_sorted(),
        "two were at work at once: {places:?}"
    );
}

/// Waits until one of them has printed an event, and has that be the first; whether it was not before.
fn wait_for_either(active: &mut Program, standby: &mut Program, last: u32) -> bool {
    let begun = Instant::now();
    while !has_printed(&active.stdout.lines(), last) {
        if has_printed(&standby.stdout.lines(), last) {
            std::mem::swap(active, standby);
            return true;
        }
        assert!(begun.elapsed() < PATIENCE, "nobody is at work");
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

fn has_printed(lines: &[String], event: u32) -> bool {
    let id = entry_id(event);
    lines.iter().any(|line| line.contains(&id))
}
