//! Readers of Atom that others wrote, and what they make of a page.

mod atom_syndication;
mod feed_rs;
mod feedparser;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

/// One of them.
pub(crate) trait Reader {
    fn name(&self) -> &'static str;

    /// Reads a page, which is well formed.
    fn read(&mut self, page: &[u8]) -> Seen;
}

/// What is on a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) updated: DateTime<Utc>,
    /// By their relations, of which each is there once.
    pub(crate) links: BTreeMap<String, String>,
    /// Whether the page says that it does not change any more; unknown to a reader of Atom alone.
    pub(crate) is_archive: Option<bool>,
    pub(crate) entries: Vec<SeenEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenEntry {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) content: String,
    pub(crate) updated: DateTime<Utc>,
    pub(crate) published: DateTime<Utc>,
    pub(crate) categories: Vec<String>,
}

/// All that there are here. feedparser is missing where there is no Python that has it.
pub(crate) fn all() -> Vec<Box<dyn Reader>> {
    let mut all: Vec<Box<dyn Reader>> = vec![
        Box::new(atom_syndication::AtomSyndication),
        Box::new(feed_rs::FeedRs),
    ];
    match feedparser::Feedparser::start() {
        Some(reader) => all.push(Box::new(reader)),
        None => {
            println!("feedparser is not tested: ATOMFEED_FEEDPARSER names no Python that has it")
        }
    }
    all
}

/// Links by their relations.
fn by_relation(links: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let mut by_relation = BTreeMap::new();
    for (rel, href) in links {
        let twice = by_relation.insert(rel, href);
        assert_eq!(twice, None, "a relation is there once");
    }
    by_relation
}
