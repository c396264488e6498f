//! feed-consumer, killed again and again while it catches up.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use uuid::Uuid;

use crate::emr::{Emr, content, entry_id, event, ndjson};
use crate::lab::{Lab, ids};

const EVENTS: usize = 2_000;

/// So many events in one transaction.
const BATCHES: [&str; 3] = ["1", "7", "100"];

#[tokio::test]
async fn killed_at_any_moment_it_applies_each_event_exactly_once() {
    let full = std::env::var("ATOMFEED_FULL").is_ok_and(|value| value == "1");
    let mut left = if full { 100 } else { 10 };
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=EVENTS as u32).map(event));
    let emr = Emr::start("memory:", &["--page-size", "50", "--import", &file]);
    // As a rule one consumer is enough; one that has caught up before its last kill is followed by
    // another.
    for _consumer in 0..10 {
        left -= killed_while_it_catches_up(&emr, left).await;
        if left == 0 {
            return;
        }
    }
    panic!("{left} kills are left: it catches up too fast to be killed");
}

/// Kills a new consumer up to so many times, lets it end, and sees what it has applied. Gives the
/// number of kills in the middle of things.
async fn killed_while_it_catches_up(emr: &Emr, kills: usize) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::new(folder.path(), emr.recent());
    let mut printed = HashSet::new();
    let (mut reached, mut killed) = (0, 0);
    while killed < kills {
        let batch = BATCHES[random(BATCHES.len())];
        let options = ["--follow", "--apply", "--poll", "0.01", "--batch", batch];
        let following = lab.start(&options);
        // After some events, or none, and then at any moment in what it does with an event, or in
        // what it does when it starts.
        let events = random((EVENTS - reached) / (2 * (kills - killed)) + 1);
        let seen = |lines: &[String]| (lines.len() >= events).then_some(());
        following.stdout.wait_for(&format!("{events} events"), seen);
        let moment = if events == 0 { 100_000 } else { 5_000 };
        thread::sleep(Duration::from_micros(random(moment) as u64));
        let mut finished = following.kill();
        assert!(
            !finished.status.success(),
            "it ran when it was killed: {finished:#?}"
        );
        // The last line may have been cut off.
        finished.stdout.retain(|line| line.ends_with('}'));
        for id in ids(&finished.events()) {
            assert!(printed.insert(id.to_owned()), "{id} is applied again");
            reached = number(id);
        }
        if reached == EVENTS {
            break;
        }
        killed += 1;
    }
    let rest = lab.run(&["--once", "--apply"]);
    rest.assert_status(0);
    for id in ids(&rest.events()) {
        assert!(printed.insert(id.to_owned()), "{id} is applied again");
    }
    let expected = (1..=EVENTS as u32).map(|number| (entry_id(number), content(number)));
    let applied = lab.applied().await;
    assert_eq!(applied.len(), EVENTS);
    assert!(
        applied.into_iter().eq(expected),
        "each exactly once, in the order of the feed"
    );
    assert_eq!(lab.count("failed_events").await, 0);
    // Killed between the commit and the lines, it does not print the events: at most a batch each time.
    assert!(
        EVENTS - printed.len() <= killed * 100,
        "{killed} kills, {} printed",
        printed.len()
    );
    killed
}

fn number(entry_id: &str) -> usize {
    let (_, uuid) = entry_id.rsplit_once(':').unwrap();
    uuid.parse::<Uuid>().unwrap().as_u128() as usize
}

/// A number below `bound`.
fn random(bound: usize) -> usize {
    (Uuid::new_v4().as_u128() % bound as u128) as usize
}
