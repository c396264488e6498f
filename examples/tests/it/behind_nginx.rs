//! feed-server behind nginx: a consumer sees no difference, and our server little of it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use atomfeed_core::atom::{ReadLimits, read_feed};

use crate::emr::{Emr, category, content, entry_id, event, ndjson};
use crate::lab::Lab;
use crate::nginx::{CONFIGURATION, Front, Logged, Nginx};
use crate::programs::PATIENCE;

/// In the feed before anybody reads it, on pages of ten.
const BACKLOG: u32 = 255;

/// Pages that never change, then.
const SEALED: u32 = 25;

struct Feed {
    emr: Emr,
    nginx: Nginx,
}

impl Feed {
    /// A feed for everybody, behind nginx; with `--archive`, once its sealed pages are exported.
    async fn started(front: Front, folder: &Path, options: &[&str]) -> Self {
        let file = ndjson(folder, (1..=BACKLOG).map(event));
        let public = front.url("/");
        let all = [
            &[
                "--public-url",
                &public,
                "--open-to-all",
                "--page-size",
                "10",
            ],
            options,
        ];
        // What it is given on standard input comes on top of what it has been given before.
        let database = crate::emr::sqlite(folder, "emr.db");
        let filling = [&all.concat()[..], &["--import", &file]].concat();
        Emr::start(&database, &filling).stop().assert_status(0);
        let emr = Emr::start(&database, &[&all.concat()[..], &["--import", "-"]].concat());
        let address = emr.url("").replace("http://", "");
        let nginx = front.before(&[address]);
        Self { emr, nginx }
    }

    fn recent(&self) -> String {
        self.nginx.url("/feed/recent")
    }

    /// Waits until who just asks is shown an event: nginx may answer with a head that is a second old.
    async fn shows(&self, number: u32) {
        let begun = Instant::now();
        loop {
            let page = reqwest::get(self.recent()).await.unwrap();
            let page = page.bytes().await.unwrap();
            let page = read_feed(&page, &ReadLimits::default()).unwrap();
            let mut ids = page.entries.iter().map(|entry| &entry.id);
            if ids.any(|id| *id == entry_id(number)) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{number} is never shown");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// How often our server was asked for each page by its number.
fn asked_of_us(log: &[Logged]) -> BTreeMap<u32, usize> {
    let mut asked = BTreeMap::new();
    for request in log.iter().filter(|request| request.reached_us) {
        let name = request.path.rsplit('/').next().unwrap();
        if let Ok(number) = name.parse() {
            *asked.entry(number).or_default() += 1;
        }
    }
    asked
}

fn expected(last: u32) -> Vec<(String, String)> {
    let numbers = 1..=last;
    numbers
        .map(|number| (entry_id(number), content(number)))
        .collect()
}

/// What a consumer applies that reads the feed from the beginning to where it is.
async fn applied(feed: &str) -> Vec<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::new(folder.path(), feed);
    lab.run(&["--once", "--apply"]).assert_status(0);
    lab.applied().await
}

#[tokio::test]
async fn a_consumer_applies_the_same_and_a_sealed_page_is_asked_of_us_once() {
    let Some(front) = Front::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut feed = Feed::started(front, folder.path(), &[]).await;

    // One reads while others publish.
    let lab_folder = tempfile::tempdir().unwrap();
    let lab = Lab::new(lab_folder.path(), feed.recent());
    let following = lab.start(&["--follow", "--poll", "0.05", "--apply"]);
    for number in BACKLOG + 1..=BACKLOG + 100 {
        feed.emr.program.write(&format!("{}\n", event(number)));
    }
    let last = entry_id(BACKLOG + 100);
    following.stdout.wait_for("the last event", |lines| {
        lines.iter().any(|line| line.contains(&last)).then_some(())
    });
    following.terminate();
    following.finish().assert_status(0);
    assert_eq!(lab.applied().await, expected(BACKLOG + 100));

    // Others come later. Pages that ended meanwhile are asked for once more, as what they are now: for a second,
    // nginx may answer with what they were, and lead no further.
    let begun = Instant::now();
    while applied(&feed.recent()).await != expected(BACKLOG + 100) {
        assert!(begun.elapsed() < PATIENCE, "not all is ever shown");
    }
    let before = feed.nginx.log().await;
    let asked = asked_of_us(&before);
    for number in 1..=SEALED {
        assert_eq!(asked.get(&number), Some(&1), "page {number}: {before:?}");
    }
    for _ in 0..3 {
        assert_eq!(applied(&feed.recent()).await, expected(BACKLOG + 100));
    }
    let log = feed.nginx.log().await;
    let later = asked_of_us(&log[before.len()..]);
    assert!(log.len() > before.len() + 3 * SEALED as usize, "{log:?}");
    assert!(later.keys().all(|number| *number > 35), "{later:?}");

    // And without nginx.
    let direct_folder = tempfile::tempdir().unwrap();
    let file = ndjson(direct_folder.path(), (1..=BACKLOG + 100).map(event));
    let direct = Emr::start("memory:", &["--page-size", "10", "--import", &file]);
    assert_eq!(applied(&direct.recent()).await, expected(BACKLOG + 100));
}

#[tokio::test]
async fn the_head_is_fresh_and_who_waits_is_told_through_nginx() {
    let Some(front) = Front::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut feed = Feed::started(front, folder.path(), &[]).await;
    let http = reqwest::Client::new();
    for number in BACKLOG + 1..=BACKLOG + 10 {
        let head = http.get(feed.recent()).send().await.unwrap();
        let tag = head.headers()["etag"].clone();
        // One that has this page already waits for the next.
        let waiting = http
            .get(feed.recent())
            .header("if-none-match", &tag)
            .header("prefer", "wait=30")
            .timeout(PATIENCE)
            .send();
        let waiting = tokio::spawn(waiting);
        feed.emr.program.write(&format!("{}\n", event(number)));
        let told = waiting.await.unwrap().unwrap();
        assert_eq!(told.headers()["preference-applied"], "wait=30");
        assert_eq!(told.status(), 200);
        assert!(told.text().await.unwrap().contains(&entry_id(number)));
        // One that just asks has it soon.
        feed.shows(number).await;
    }
    // Who waits in vain is told so by us, and not by nginx.
    let head = http.get(feed.emr.recent()).send().await.unwrap();
    let in_vain = http
        .get(feed.recent())
        .header("if-none-match", &head.headers()["etag"])
        .header("prefer", "wait=2");
    let in_vain = in_vain.send().await.unwrap();
    assert_eq!(in_vain.status(), 304);
    assert_eq!(in_vain.headers()["preference-applied"], "wait=2");
    // A condition is answered from the cache, too.
    let page = http.get(feed.nginx.url("/feed/3")).send().await.unwrap();
    let tag = page.headers()["etag"].clone();
    let same = http
        .get(feed.nginx.url("/feed/3"))
        .header("if-none-match", tag);
    assert_eq!(same.send().await.unwrap().status(), 304);
    let log = feed.nginx.log().await;
    assert_eq!(asked_of_us(&log).get(&3), Some(&1), "{log:?}");
}

#[tokio::test]
async fn with_an_archive_our_server_is_asked_for_the_head_alone() {
    let Some(front) = Front::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let archive = front.archive();
    let options = ["--archive", archive.to_str().unwrap()];
    let mut feed = Feed::started(front, folder.path(), &options).await;
    feed.emr.publish(BACKLOG + 1..=BACKLOG + 10).await;
    let sealed = [
        ("feed", SEALED + 1),
        ("feed/encounter", 13),
        ("feed/patient", 13),
    ];
    let sealed = sealed
        .into_iter()
        .flat_map(|(feed, last)| (1..=last).map(move |page| format!("{feed}/{page}")));
    let sealed: Vec<_> = sealed.map(|page| archive.join(page)).collect();
    let begun = Instant::now();
    while !sealed.iter().all(|page| page.exists()) {
        assert!(begun.elapsed() < PATIENCE, "it is not exported");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let all = expected(BACKLOG + 10);
    assert_eq!(applied(&feed.recent()).await, all);
    for name in ["encounter", "patient"] {
        let of_it: Vec<_> = (1..=BACKLOG + 10)
            .filter(|number| category(*number) == name)
            .map(|number| (entry_id(number), content(number)))
            .collect();
        let feed = feed.nginx.url(&format!("/feed/{name}/recent"));
        assert_eq!(applied(&feed).await, of_it);
    }
    let log = feed.nginx.log().await;
    assert!(log.len() > 2 * SEALED as usize, "{log:?}");
    let newest = asked_of_us(&log);
    assert!(
        newest
            .keys()
            .all(|number| [14, SEALED + 2].contains(number)),
        "{newest:?}"
    );

    // What is in no archive, or is spelled otherwise than there, is answered all the same.
    let answers = [
        ("/feed/PATIENT/1", 200),
        ("/feed/first", 200),
        ("/feed/0", 400),
        ("/feed/999", 404),
        ("/feed/no%2Fsuch/1", 404),
        ("/feed/.atomfeed/progress.json", 400),
    ];
    for (path, status) in answers {
        let answer = reqwest::get(feed.nginx.url(path)).await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
    }
    // A file comes with what our server says of it, compressed or not.
    let http = reqwest::Client::new();
    for path in ["/feed/3", "/feed/patient/3"] {
        let file = reqwest::get(feed.nginx.url(path)).await.unwrap();
        let ours = reqwest::get(feed.emr.url(path)).await.unwrap();
        for name in ["content-type", "cache-control"] {
            let [file, ours] = [&file, &ours].map(|answer| answer.headers().get(name));
            assert_eq!(file.unwrap(), ours.unwrap(), "{path} {name}");
        }
        let vary = file.headers()["vary"]
            .to_str()
            .unwrap()
            .to_ascii_lowercase();
        assert_eq!(vary, "accept-encoding");
        let ours = ours.bytes().await.unwrap();
        assert_eq!(file.bytes().await.unwrap(), ours);
        let coded = http
            .get(feed.nginx.url(path))
            .header("accept-encoding", "gzip");
        let coded = coded.send().await.unwrap();
        assert_eq!(coded.headers()["content-encoding"], "gzip");
        let mut decoded = Vec::new();
        flate2::read::GzDecoder::new(coded.bytes().await.unwrap().as_ref())
            .read_to_end(&mut decoded)
            .unwrap();
        assert_eq!(decoded, ours);
    }
}

#[test]
fn the_readme_shows_the_configuration_that_is_tested() {
    let readme = include_str!("../../../README.md");
    assert!(readme.contains(&format!("```nginx\n{CONFIGURATION}```")));
}
