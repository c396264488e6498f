use atomfeed_core::atom::{EntryRef, FeedHead, FeedWriter, Link, find_illegal};
use atomfeed_core::{EventRecord, FeedScope};
use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::FeedConfig;

/// A page of a feed, rendered.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Page {
    /// Its number; 0 for a feed that has no event yet.
    pub number: u64,
    /// Whether it has a successor: its bytes are then the same for ever, for one configuration. (The
    /// empty page in the place of pruned ones is not sealed: it is gone once more is pruned.)
    pub sealed: bool,
    /// The id of the newest event on it.
    pub newest_id: Option<i64>,
    /// How many events the feed has up to the newest one on it, as pages are reckoned; unknown with time
    /// chunking. Served as the header `atomfeed-position`, by which a consumer knows how far behind it
    /// is.
    pub position: Option<u64>,
    /// The Atom document, in UTF-8.
    pub body: Bytes,
}

/// What a page holds, before it is rendered.
pub(crate) struct PageContent {
    pub(crate) number: u64,
    pub(crate) previous: Option<u64>,
    pub(crate) next: Option<u64>,
    pub(crate) sealed: bool,
    pub(crate) records: Vec<EventRecord>,
    /// The position of the last one of them, where it is known.
    pub(crate) position: Option<u64>,
    /// `atom:updated` of a page without entries.
    pub(crate) updated_if_empty: DateTime<Utc>,
}

impl PageContent {
    /// Renders the page; `asked` is the last part of the URL it was asked for by.
    pub(crate) fn render(self, config: &FeedConfig, scope: &FeedScope, asked: &str) -> Page {
        let number = self.number;
        let mut links = vec![
            link("self", config.page_url(scope, asked)),
            link("via", config.page_url(scope, number)),
        ];
        let neighbours = [("next-archive", self.next), ("prev-archive", self.previous)];
        for (rel, number) in neighbours {
            links.extend(number.map(|number| link(rel, config.page_url(scope, number))));
        }
        let newest = self.records.last();
        let head = FeedHead {
            id: &format!("{}+{number}", config.id_prefix),
            title: &config.title,
            author: &config.author,
            generator: &config.generator,
            generator_uri: &config.generator_uri,
            updated: newest.map_or(self.updated_if_empty, |record| record.timestamp),
            links: &links,
        };
        let size = self.records.iter().map(rendered_size).sum::<usize>();
        let mut writer = FeedWriter::new(&head, config.line_ends, 1_024 + size);
        for record in &self.records {
            warn_of_what_xml_lacks(record);
            write_entry(&mut writer, record);
        }
        Page {
            number,
            sealed: self.sealed,
            newest_id: newest.map(|record| record.id),
            position: self.position,
            body: writer.finish().into(),
        }
    }
}

fn link(rel: &str, href: String) -> Link {
    let media_type = Some(atomfeed_core::atom::FEED_MEDIA_TYPE.to_owned());
    Link {
        rel: rel.to_owned(),
        href,
        media_type,
    }
}

fn write_entry(writer: &mut FeedWriter, record: &EventRecord) {
    writer.entry(&EntryRef {
        id: record.entry_id().as_str(),
        title: record.title.as_deref(),
        terms: &record.terms(),
        updated: record.timestamp,
        published: record.timestamp,
        content: record.content.as_deref(),
    });
}

/// Such an event is refused when it is published with us; a table that others write may have it.
/// The writer puts U+FFFD in the place of each such character.
fn warn_of_what_xml_lacks(record: &EventRecord) {
    let fields = [
        ("title", &record.title),
        ("object", &record.content),
        ("category", &record.category),
        ("tags", &record.tags),
    ];
    for (column, text) in fields {
        if let Some((offset, character)) = text.as_deref().and_then(find_illegal) {
            tracing::warn!(
                id = record.id,
                column,
                offset,
                ?character,
                "event_records holds a character that XML 1.0 cannot carry; U+FFFD is served in \
                 its place"
            );
        }
    }
}

/// Roughly how many bytes an entry takes, so that the buffer seldom grows.
fn rendered_size(record: &EventRecord) -> usize {
    let texts = [
        &record.title,
        &record.content,
        &record.category,
        &record.tags,
    ];
    400 + texts.into_iter().flatten().map(String::len).sum::<usize>()
}
