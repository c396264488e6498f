use atomfeed_core::FeedScope;
use atomfeed_core::atom::LineEnds;
use atomfeed_core::chunking::{ChunkingHistoryEntry, ChunkingStrategy};
use chrono::{DateTime, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;
use uuid::Uuid;

/// How a feed presents itself, and how a new one is cut into pages.
///
/// What stands in every page (address, title, author, generator) is part of each page's bytes: the
/// promise that a published page never changes holds for one configuration.
#[derive(Debug, Clone)]
pub struct FeedConfig {
    base: String,
    pub(crate) title: String,
    pub(crate) author: String,
    pub(crate) generator: String,
    pub(crate) generator_uri: String,
    pub(crate) id_prefix: String,
    pub(crate) line_ends: LineEnds,
    pub(crate) strategy: ChunkingStrategy,
    chunk_length: Option<i64>,
    pub(crate) empty_page_before_the_oldest: bool,
}

/// Events a page of a new feed holds; feeds that have a chunking history keep theirs.
const DEFAULT_PAGE_SIZE: i64 = 100;

const HOUR: i64 = 3_600_000;

/// The version of what makes bytes of a page: raised whenever the same page becomes other bytes,
/// compressed ones included.
const RENDERER: u32 = 1;

/// What may stand in a path segment as it is (RFC 3986 §2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

impl FeedConfig {
    /// A feed that readers reach at `public_url`, under which `recent`, `{n}`, `{category}/recent`
    /// and `{category}/{n}` lie. Links are made from it, never from what a request says.
    ///
    /// Its query and fragment, and a trailing slash, are dropped.
    pub fn new(mut public_url: Url) -> Self {
        public_url.set_query(None);
        public_url.set_fragment(None);
        Self {
            base: public_url.as_str().trim_end_matches('/').to_owned(),
            title: "Event feed".to_owned(),
            author: "Atomfeed".to_owned(),
            generator: "Atomfeed".to_owned(),
            generator_uri: "https://github.com/ICT4H/atomfeed".to_owned(),
            id_prefix: String::new(),
            line_ends: LineEnds::AsXml,
            strategy: ChunkingStrategy::Number,
            chunk_length: None,
            empty_page_before_the_oldest: false,
        }
    }

    /// Sets `atom:title` (`feed.title`); else `Event feed`.
    #[must_use]
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Sets `atom:author` (`feed.author`); else `Atomfeed`.
    #[must_use]
    pub fn with_author(mut self, author: impl Into<String>) -> Self {
        self.author = author.into();
        self
    }

    /// Sets `atom:generator` and its uri (`feed.generator.title`, `feed.generator.uri`).
    #[must_use]
    pub fn with_generator(mut self, title: impl Into<String>, uri: impl Into<String>) -> Self {
        self.generator = title.into();
        self.generator_uri = uri.into();
        self
    }

    /// Answers, once old events were pruned, the page before the oldest one with a page that is empty
    /// and names none before it, instead of an error: so that a consumer of the original library that
    /// has no marker yet, and walks back along `prev-archive`, can begin there.
    #[must_use]
    pub fn with_empty_page_before_the_oldest(mut self) -> Self {
        self.empty_page_before_the_oldest = true;
        self
    }

    /// Sets what stands before `+{n}` in `atom:id` (`feed.id.prefix`); else nothing.
    #[must_use]
    pub fn with_id_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.id_prefix = prefix.into();
        self
    }

    /// Keeps CR and CRLF in content: it is then written as escaped text, not as CDATA. Consumers of
    /// the original library see `&amp;` for `&` in such content.
    #[must_use]
    pub fn exact_line_ends(mut self) -> Self {
        self.line_ends = LineEnds::Exact;
        self
    }

    /// Cuts a new feed into pages of so many events; else a hundred. A feed that has a chunking
    /// history keeps it: see [`EventFeedService::change_chunking`].
    ///
    /// [`EventFeedService::change_chunking`]: crate::EventFeedService::change_chunking
    #[must_use]
    pub fn with_page_size(mut self, events: u32) -> Self {
        self.strategy = ChunkingStrategy::Number;
        self.chunk_length = Some(i64::from(events));
        self
    }

    /// Cuts a new feed into pages by time, of an hour each.
    #[must_use]
    pub fn with_time_chunks(mut self) -> Self {
        self.strategy = ChunkingStrategy::Time;
        self.chunk_length = None;
        self
    }

    /// Cuts a new feed into pages of so many minutes.
    #[must_use]
    pub fn with_minutes_a_page(mut self, minutes: u32) -> Self {
        self.strategy = ChunkingStrategy::Time;
        self.chunk_length = Some(i64::from(minutes) * 60_000);
        self
    }

    /// The first row of a new feed's chunking history. `oldest` is the time of its first event.
    pub(crate) fn first_chunk(&self, oldest: DateTime<Utc>) -> ChunkingHistoryEntry {
        match self.strategy {
            ChunkingStrategy::Number => ChunkingHistoryEntry {
                chunk_length: self.chunk_length.unwrap_or(DEFAULT_PAGE_SIZE).max(1),
                start: 1,
            },
            ChunkingStrategy::Time => {
                let millis = oldest.timestamp_millis();
                ChunkingHistoryEntry {
                    chunk_length: self.chunk_length.unwrap_or(HOUR).max(60_000),
                    start: millis - millis.rem_euclid(HOUR),
                }
            }
        }
    }

    /// What stands for all that is in the bytes of every page.
    pub(crate) fn fingerprint(&self) -> Uuid {
        // All fields by their names, so that none that is added is forgotten.
        let Self {
            base,
            title,
            author,
            generator,
            generator_uri,
            id_prefix,
            line_ends,
            strategy: _,
            chunk_length: _,
            empty_page_before_the_oldest: _,
        } = self;
        let of = (base, title, author, generator, generator_uri, id_prefix);
        let of = format!("{RENDERER} {of:?} {line_ends:?}");
        Uuid::new_v5(&Uuid::NAMESPACE_URL, of.as_bytes())
    }

    /// Where readers reach the feed.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The URL of a page of a feed: `last` is its number, or `recent`. The category is spelled as
    /// asked.
    pub(crate) fn page_url(&self, scope: &FeedScope, last: impl std::fmt::Display) -> String {
        match scope.category() {
            None => format!("{}/{last}", self.base),
            Some(category) => {
                let segment = utf8_percent_encode(category.as_str(), SEGMENT);
                format!("{}/{segment}/{last}", self.base)
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use atomfeed_core::Category;

    use super::*;

    #[test]
    fn links_come_from_the_public_url_and_are_encoded() {
        let config = FeedConfig::new("http://host:8080/feed/?a=b#c".parse().unwrap());
        assert_eq!(
            config.page_url(&FeedScope::All, "recent"),
            "http://host:8080/feed/recent"
        );
        for (category, segment) in [
            ("r&d", "r%26d"),
            ("Lab Result", "Lab%20Result"),
            ("a/b", "a%2Fb"),
            ("é%", "%C3%A9%25"),
        ] {
            let scope = FeedScope::Category(Category::new(category).unwrap());
            assert_eq!(
                config.page_url(&scope, 3),
                format!("http://host:8080/feed/{segment}/3")
            );
        }
    }
}
