use std::fmt::{self, Write};

use atomfeed_core::atom::{EntryRef, FeedHead, FeedWriter, Link, find_illegal};
use atomfeed_core::chunking::{ChunkingHistory, ChunkingHistoryEntry};
use atomfeed_core::{EventRecord, FeedScope};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

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
    /// What stands for its bytes, with nothing of HTTP around it: two pages of the same address that have
    /// the same one are the same, byte for byte, from whichever process, of this version of the library.
    pub tag: String,
    /// The Atom document, in UTF-8.
    pub body: Bytes,
}

/// By what a page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Asked {
    /// The newest.
    Recent,
    /// By its number, not 0.
    Number(u64),
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recent => f.write_str("recent"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
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

/// A page that was rendered once, for one spelling of its category. The others have another head.
#[derive(Debug, Clone)]
pub(crate) struct Rendered {
    pub(crate) facts: Facts,
    pub(crate) body: Bytes,
}

/// All of a rendered page but its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    head: Head,
    pub(crate) newest_id: Option<i64>,
    pub(crate) position: Option<u64>,
    pub(crate) tag: String,
    /// When the page became what it is, where whole seconds tell that from what it was before.
    pub(crate) last_modified: Option<DateTime<Utc>>,
    /// Where in the document its entries begin.
    entries_at: usize,
}

/// What stands before the entries, but for the spelling of a category.
#[derive(Debug, Clone, Copy)]
struct Head {
    asked: Asked,
    number: u64,
    previous: Option<u64>,
    next: Option<u64>,
    sealed: bool,
    updated: DateTime<Utc>,
}

impl PageContent {
    /// Renders the page as that of a feed, spelled as `scope` is.
    pub(crate) fn render(
        self,
        config: &FeedConfig,
        history: &ChunkingHistory,
        scope: &FeedScope,
        asked: Asked,
    ) -> Rendered {
        let newest = self.records.last();
        let head = Head {
            asked,
            number: self.number,
            previous: self.previous,
            next: self.next,
            sealed: self.sealed,
            updated: newest.map_or(self.updated_if_empty, |record| record.timestamp),
        };
        let size = self.records.iter().map(rendered_size).sum::<usize>();
        let mut writer = head.write(config, scope, 2_048 + size);
        let entries_at = writer.written();
        for record in &self.records {
            warn_of_what_xml_lacks(record);
            write_entry(&mut writer, record);
        }
        Rendered {
            facts: Facts {
                newest_id: newest.map(|record| record.id),
                position: self.position,
                tag: head.tag(config, history, newest),
                last_modified: head.last_modified(&self.records),
                entries_at,
                head,
            },
            body: writer.finish().into(),
        }
    }
}

impl Facts {
    pub(crate) fn is_sealed(&self) -> bool {
        self.head.sealed
    }

    /// Whether it is what it would be at a time: the page that stands for a feed without events has the day
    /// on it.
    pub(crate) fn is_of(&self, now: DateTime<Utc>) -> bool {
        !self.is_page_0() || self.head.updated.date_naive() == now.date_naive()
    }

    /// Whether it is the page that stands for a feed without events.
    pub(crate) fn is_page_0(&self) -> bool {
        self.head.number == 0
    }

    /// The document for a category that is spelled otherwise than in `body`.
    pub(crate) fn spelled(&self, body: &[u8], config: &FeedConfig, scope: &FeedScope) -> Bytes {
        let entries = &body[self.entries_at..];
        let writer = self.head.write(config, scope, 2_048 + entries.len());
        writer.finish_with(entries).into()
    }
}

impl From<Rendered> for Page {
    fn from(Rendered { facts, body }: Rendered) -> Self {
        Self {
            number: facts.head.number,
            sealed: facts.head.sealed,
            newest_id: facts.newest_id,
            position: facts.position,
            tag: facts.tag,
            body,
        }
    }
}

impl Head {
    fn write(&self, config: &FeedConfig, scope: &FeedScope, capacity: usize) -> FeedWriter {
        let mut links = vec![
            link("self", config.page_url(scope, self.asked)),
            link("via", config.page_url(scope, self.number)),
        ];
        let neighbours = [("next-archive", self.next), ("prev-archive", self.previous)];
        for (rel, number) in neighbours {
            links.extend(number.map(|number| link(rel, config.page_url(scope, number))));
        }
        // Of the feed as a whole: the newest page (RFC 5005 §4), and where the oldest is to be found.
        links.push(link("current", config.page_url(scope, Asked::Recent)));
        links.push(link("first", config.page_url(scope, "first")));
        let head = FeedHead {
            id: &format!("{}+{}", config.id_prefix, self.number),
            title: &config.title,
            author: &config.author,
            generator: &config.generator,
            generator_uri: &config.generator_uri,
            updated: self.updated,
            links: &links,
            archive: self.sealed,
        };
        FeedWriter::new(&head, config.line_ends, capacity)
    }

    /// What stands for the page: all that its bytes come from. Of the chunking history, those rows that
    /// have to do with the page: it stays what it is when others are added.
    fn tag(
        &self,
        config: &FeedConfig,
        history: &ChunkingHistory,
        newest: Option<&EventRecord>,
    ) -> String {
        let start = history.chunk(self.number).map_or(0, |chunk| chunk.start);
        let rows = history.entries().iter();
        let rows = rows.take_while(|row: &&ChunkingHistoryEntry| row.start <= start);
        let rows = rows.map(|row| format!("{}+{}", row.start, row.chunk_length));
        let mut of = format!(
            "{} {} {:?} {:?} {} {}\n{}\n",
            self.asked,
            self.number,
            self.previous,
            self.next,
            self.sealed,
            self.updated.timestamp(),
            rows.collect::<Vec<_>>().join(" "),
        );
        if let Some(newest) = newest {
            // Writing to a string does not fail.
            let _ = write!(of, "{} {}", newest.id, newest.uuid);
        }
        let tag = Uuid::new_v5(&config.fingerprint(), of.as_bytes());
        tag.simple().to_string()
    }

    /// The time of the newest event of a sealed page. Of the newest page, only where it tells it from what it
    /// was before: not where another event on it has the same second, or might have had on the page
    /// before. Of a page in the making that is asked for by its number there is none, since it becomes
    /// another one without getting an event: that which has a successor.
    fn last_modified(&self, records: &[EventRecord]) -> Option<DateTime<Utc>> {
        let (newest, before) = records.split_last()?;
        let second = newest.timestamp.timestamp();
        let is_told_apart = !before.is_empty()
            && before
                .iter()
                .all(|record| record.timestamp.timestamp() < second);
        let has_one = match self.asked {
            _ if self.sealed => true,
            Asked::Recent => is_told_apart,
            Asked::Number(_) => false,
        };
        has_one.then_some(newest.timestamp)
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
