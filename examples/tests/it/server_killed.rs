//! feed-server, killed and started again while it publishes and feed-consumer follows: the consumer goes on
//! where it was, and nothing is lost.

#![allow(clippy::unwrap_used)]

use std::thread;
use std::time::Duration;

use crate::databases::{Empty, Kind};
use crate::emr::{Emr, entry_id, ndjson, sqlite};
use crate::lab::Lab;
use crate::nginx::free_port;
use crate::patients::{self, FAILING, number, random};

/// In its database before the first start.
const BACKLOG: u32 = 1_000;

#[tokio::test]
async fn a_server_that_is_killed_again_and_again_costs_no_event() {
    let full = std::env::var("ATOMFEED_FULL").is_ok_and(|value| value == "1");
    let kills = if full { 100 } else { 10 };
    let folder = tempfile::tempdir().unwrap();
    let database = sqlite(folder.path(), "emr.db");
    let file = ndjson(folder.path(), (1..=BACKLOG).map(patients::event));
    // Nobody gets it while the server is down.
    let listen = format!("127.0.0.1:{}", free_port());
    let filled = ["--listen", &listen, "--page-size", "5", "--import", &file];
    Emr::start(&database, &filled).stop().assert_status(0);

    let start = || Emr::start(&database, &["--listen", &listen, "--import", "-"]);
    let mut emr = start();
    let empty = Empty::of(Kind::Sqlite).await.unwrap();
    let lab = Lab::on(empty.url(), emr.recent());
    let options = ["--apply", "--fail-matching", FAILING, "--batch", "7"];
    let following = lab.start(&[&["--follow", "--poll", "0.01"], &options[..]].concat());
    let mut numbers = BACKLOG + 1..;
    for _ in 0..kills {
        let before = following.stdout.lines().len();
        for number in numbers.by_ref().take(20) {
            emr.program.write(&format!("{}\n", patients::event(number)));
        }
        // Once it has read on, while it reads and others are published, which not all will be.
        let more = before + 1 + random(5);
        let seen = |lines: &[String]| (lines.len() >= more).then_some(());
        following.stdout.wait_for(&format!("{more} events"), seen);
        thread::sleep(Duration::from_micros(random(20_000) as u64));
        emr.program.kill();
        emr = start();
    }

    // One more, which does not fail, is read after all others.
    let held: Vec<_> = patients::parked(1..numbers.start + 100);
    let last = numbers.find(|number| !held.contains(number)).unwrap();
    emr.program.write(&format!("{}\n", patients::event(last)));
    let id = entry_id(last);
    following.stdout.wait_for("the last event", |lines| {
        lines.iter().any(|line| line.contains(&id)).then_some(())
    });
    following.terminate();
    following.finish().assert_status(0);

    let published = walk(&emr).await;
    assert!(published.len() > BACKLOG as usize, "nothing was published");
    let history = patients::published(published.iter().copied());
    let applied = empty.applied().await.into_iter().map(|(event, _)| event);
    let read = history.clone().applied(applied);
    read.parked(empty.parked().await).assert_holds();
    let waiting: Vec<_> = patients::parked(published)
        .into_iter()
        .map(entry_id)
        .collect();
    assert_eq!(empty.parked().await, waiting);

    lab.run(&["--retry-failed", "--apply"]).assert_status(0);
    let applied = empty.applied().await.into_iter().map(|(event, _)| event);
    history.applied(applied).assert_holds();
}

/// The number of every event of the feed, in its order.
async fn walk(emr: &Emr) -> Vec<u32> {
    let mut seen = Vec::new();
    for page in 1.. {
        let (status, _) = emr.get(&format!("/feed/{page}")).await;
        if status == 404 {
            break;
        }
        let page = emr.page(&format!("/feed/{page}")).await;
        // They stand in the order of the feed.
        seen.extend(page.entries.iter().map(|entry| number(&entry.id)));
    }
    seen
}
