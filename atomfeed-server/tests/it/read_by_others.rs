//! Our pages, read by programs that we did not write.

use std::collections::BTreeMap;

use atomfeed_core::NewEvent;
use atomfeed_core::store::MemoryStore;
use atomfeed_core::store::conformance::MemoryHarness;
use atomfeed_server::{EventFeedService, FeedConfig};
use axum::Router;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::feeds::{BASE, ask, config, mounted, publish};
use crate::readers::{self, Reader, Seen, SeenEntry};

/// What goes wrong easily. (C1 controls do with feedparser, which takes them for characters of Windows.)
const TEXTS: [&str; 13] = [
    "]]>",
    "a]]>b]]]]>c",
    "<![CDATA[x]]>",
    "<b>bold</b> & <br/>",
    "&amp; &lt; &#x41;",
    "\"quoted\" 'twice'",
    "नमस्ते, 患者, Étude, 👩‍⚕️",
    "left \u{202E}right\u{202C} left",
    "a\nb\tc",
    "x\u{2028}|\u{FFFD}|\u{10FFFF}",
    "http://host/a?b=c&d=e#f",
    "<?xml version=\"1.0\"?><!DOCTYPE x>",
    "a",
];

/// These, and more that are plain.
const COUNT: usize = 43;

const PAGE: usize = 5;

fn text(number: usize) -> String {
    match TEXTS.get(number - 1) {
        Some(text) => (*text).to_owned(),
        None => format!("/patient/{number}?v=full&n=<{number}>"),
    }
}

fn uuid(number: usize) -> Uuid {
    Uuid::from_u128(number as u128)
}

fn time(number: usize) -> DateTime<Utc> {
    let first: DateTime<Utc> = "2024-03-01T08:00:00Z".parse().unwrap();
    first + TimeDelta::seconds(number as i64)
}

fn event(number: usize) -> NewEvent {
    NewEvent::new(text(number), text(number))
        .in_category("Lab & more")
        .with_tags(["<urgent>"])
        .with_uuid(uuid(number))
        .published_at(time(number))
}

fn entry(number: usize) -> SeenEntry {
    SeenEntry {
        id: format!("tag:atomfeed.ict4h.org:{}", uuid(number)),
        title: text(number),
        content: text(number),
        updated: time(number),
        published: time(number),
        categories: vec!["Lab & more".to_owned(), "<urgent>".to_owned()],
    }
}

fn feed_config() -> FeedConfig {
    config()
        .with_title("Ganiyari & <more>")
        .with_id_prefix("urn:emr")
        .with_page_size(PAGE as u32)
}

async fn filled() -> Router {
    let store = MemoryStore::new();
    publish::<MemoryHarness>(&store, (1..=COUNT).map(event)).await;
    let service = EventFeedService::open(store, feed_config()).await.unwrap();
    mounted(service)
}

/// What is expected of a page of all events, asked for as `asked`.
fn expected(asked: &str, number: usize) -> Seen {
    let pages = COUNT.div_ceil(PAGE);
    let numbers = (number - 1) * PAGE + 1..=(number * PAGE).min(COUNT);
    let number = |number: usize| number.to_string();
    let here = numbers.end().div_ceil(PAGE);
    let mut links = BTreeMap::from([
        ("self", asked.to_owned()),
        ("via", number(here)),
        ("current", "recent".to_owned()),
        ("first", "first".to_owned()),
    ]);
    if here > 1 {
        links.insert("prev-archive", number(here - 1));
    }
    if here < pages {
        links.insert("next-archive", number(here + 1));
    }
    let links = links.into_iter();
    Seen {
        id: format!("urn:emr+{here}"),
        title: "Ganiyari & <more>".to_owned(),
        updated: time(*numbers.end()),
        links: links
            .map(|(rel, page)| (rel.to_owned(), format!("{BASE}/{page}")))
            .collect(),
        is_archive: Some(here < pages),
        entries: numbers.map(entry).collect(),
    }
}

impl Seen {
    /// As a reader sees it that does not say whether it is an archive.
    fn seen_by(mut self, reader: &dyn Reader) -> Self {
        if reader.name() == "feed-rs" {
            self.is_archive = None;
        }
        self
    }
}

#[tokio::test]
async fn every_page_says_the_same_to_each_reader() {
    let feed = filled().await;
    let pages = COUNT.div_ceil(PAGE);
    for mut reader in readers::all() {
        for number in 1..=pages {
            let page = ask(&feed, &format!("/feed/{number}"), &[]).await;
            let seen = reader.read(&page.body);
            let expected = expected(&number.to_string(), number).seen_by(reader.as_ref());
            assert_eq!(seen, expected, "{} page {number}", reader.name());
        }
        let head = ask(&feed, "/feed/recent", &[]).await;
        let expected = expected("recent", pages).seen_by(reader.as_ref());
        assert_eq!(reader.read(&head.body), expected, "{}", reader.name());
    }
}

#[tokio::test]
async fn a_feed_without_events_is_one_to_each_reader() {
    let service = EventFeedService::open(MemoryStore::new(), feed_config());
    let feed = mounted(service.await.unwrap());
    let page = ask(&feed, "/feed/recent", &[]).await;
    for mut reader in readers::all() {
        let seen = reader.read(&page.body);
        assert_eq!(seen.id, "urn:emr+0", "{}", reader.name());
        assert_eq!(seen.entries, [], "{}", reader.name());
        let relations: Vec<_> = seen.links.keys().collect();
        assert_eq!(relations, ["current", "first", "self", "via"]);
        assert_ne!(seen.is_archive, Some(true));
    }
}

/// Events that other programs wrote may lack a title and content.
#[tokio::test]
async fn an_event_without_anything_is_an_entry_to_each_reader() {
    let store = MemoryStore::new();
    let blank = [
        NewEvent::blank(),
        NewEvent::new("", ""),
        NewEvent::new(" ", " x "),
        NewEvent::new("long", "0123456789<&".repeat(100_000)),
    ];
    publish::<MemoryHarness>(&store, blank).await;
    let service = EventFeedService::open(store, feed_config()).await.unwrap();
    let feed = mounted(service);
    let page = ask(&feed, "/feed/1", &[]).await;
    for mut reader in readers::all() {
        // feed-rs refuses a page that has empty content, which those of the original library have, too.
        if reader.name() == "feed-rs" {
            continue;
        }
        let seen = reader.read(&page.body);
        let texts: Vec<_> = seen
            .entries
            .iter()
            .map(|entry| (entry.title.trim(), entry.content.trim().len()))
            .collect();
        let expected = [("", 0), ("", 0), ("", 1), ("long", 1_200_000)];
        assert_eq!(texts, expected, "{}", reader.name());
    }
}

/// From the oldest page to the newest along `next-archive`, and back along `prev-archive`, by nothing but
/// what the reader sees.
#[tokio::test]
async fn each_reader_finds_its_way_through_the_whole_archive() {
    let feed = filled().await;
    let path = |address: &str| address.replace("http://127.0.0.1:8080", "");
    let everything: Vec<_> = (1..=COUNT).map(|number| entry(number).id).collect();
    for mut reader in readers::all() {
        let head = ask(&feed, "/feed/recent", &[]).await;
        let head = reader.read(&head.body);
        let led = ask(&feed, &path(&head.links["first"]), &[]).await;
        assert_eq!(led.status, 302);

        let mut ids = Vec::new();
        let mut next = Some(led.header("location").to_owned());
        let mut last = String::new();
        while let Some(address) = next {
            let page = reader.read(&ask(&feed, &path(&address), &[]).await.body);
            ids.extend(page.entries.iter().map(|entry| entry.id.clone()));
            assert_eq!(page.links["current"], head.links["self"]);
            next = page.links.get("next-archive").cloned();
            last = address;
        }
        assert_eq!(ids, everything, "{}", reader.name());
        assert_eq!(last, head.links["via"]);

        let mut ids = Vec::new();
        let mut page = head;
        loop {
            ids.extend(page.entries.iter().rev().map(|entry| entry.id.clone()));
            let Some(before) = page.links.get("prev-archive") else {
                break;
            };
            page = reader.read(&ask(&feed, &path(before), &[]).await.body);
        }
        ids.reverse();
        assert_eq!(ids, everything, "{}", reader.name());
    }
}
