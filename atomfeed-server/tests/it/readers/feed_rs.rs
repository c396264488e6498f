use feed_rs::model::{Entry, FeedType};
use feed_rs::parser;

use super::{Reader, Seen, SeenEntry, by_relation};

/// The crate `feed-rs`.
pub(super) struct FeedRs;

impl Reader for FeedRs {
    fn name(&self) -> &'static str {
        "feed-rs"
    }

    fn read(&mut self, page: &[u8]) -> Seen {
        let feed = parser::parse(page).unwrap();
        assert_eq!(feed.feed_type, FeedType::Atom);
        let links = feed.links.into_iter();
        let links = links.map(|link| (link.rel.unwrap(), link.href));
        Seen {
            id: feed.id,
            title: feed.title.unwrap().content,
            updated: feed.updated.unwrap(),
            links: by_relation(links),
            is_archive: None,
            entries: feed.entries.into_iter().map(entry).collect(),
        }
    }
}

fn entry(entry: Entry) -> SeenEntry {
    SeenEntry {
        id: entry.id,
        title: entry.title.map(|title| title.content).unwrap_or_default(),
        content: entry
            .content
            .and_then(|content| content.body)
            .unwrap_or_default(),
        updated: entry.updated.unwrap(),
        published: entry.published.unwrap(),
        categories: entry
            .categories
            .into_iter()
            .map(|category| category.term)
            .collect(),
    }
}
