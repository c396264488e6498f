#![allow(clippy::unwrap_used)]

mod refused;
mod round_trip;

use chrono::{DateTime, Utc};

use super::{EntryRef, FeedHead, FeedWriter, LineEnds, Link};

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A page with these contents, one an entry.
fn page(contents: &[&str], line_ends: LineEnds) -> Vec<u8> {
    let links = [Link {
        rel: "via".to_owned(),
        href: "http://host/feed?a=1&b=\"<\t\n>'".to_owned(),
        media_type: None,
    }];
    let head = FeedHead {
        id: "prefix+1",
        title: "A & B",
        author: "<author>",
        generator: "G",
        generator_uri: "http://g?a&b",
        updated: time("2024-03-01T08:01:00Z"),
        links: &links,
        archive: false,
    };
    let mut writer = FeedWriter::new(&head, line_ends, 0);
    for (n, content) in contents.iter().enumerate() {
        writer.entry(&EntryRef {
            id: &format!("tag:{n}"),
            title: Some("  t\r\n "),
            terms: &["a\tb\n", "<&>\"'"],
            updated: time("2024-03-01T08:01:00.999Z"),
            published: time("1969-12-31T23:59:59.5Z"),
            content: Some(content),
        });
    }
    writer.finish()
}
