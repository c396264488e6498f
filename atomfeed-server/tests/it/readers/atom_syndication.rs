use atom_syndication::{Entry, Feed};

use super::{Reader, Seen, SeenEntry, by_relation};

/// The crate `atom_syndication`.
pub(super) struct AtomSyndication;

impl Reader for AtomSyndication {
    fn name(&self) -> &'static str {
        "atom_syndication"
    }

    fn read(&mut self, page: &[u8]) -> Seen {
        let feed = Feed::read_from(page).unwrap();
        let links = feed.links.into_iter().map(|link| (link.rel, link.href));
        let history = feed.extensions.get("fh");
        Seen {
            id: feed.id,
            title: feed.title.value,
            updated: feed.updated.to_utc(),
            links: by_relation(links),
            is_archive: Some(history.is_some_and(|history| history.contains_key("archive"))),
            entries: feed.entries.into_iter().map(entry).collect(),
        }
    }
}

fn entry(entry: Entry) -> SeenEntry {
    SeenEntry {
        id: entry.id,
        title: entry.title.value,
        content: entry
            .content
            .and_then(|content| content.value)
            .unwrap_or_default(),
        updated: entry.updated.to_utc(),
        published: entry.published.unwrap().to_utc(),
        categories: entry
            .categories
            .into_iter()
            .map(|category| category.term)
            .collect(),
    }
}
