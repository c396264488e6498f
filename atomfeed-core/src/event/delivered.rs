use chrono::{DateTime, Utc};

use super::terms;
use crate::atom::Entry;
use crate::{EntryId, FeedUri};

/// An event as a consumer's worker is handed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    id: EntryId,
    feed_uri: FeedUri,
    page_uri: Option<String>,
    title: String,
    content: String,
    categories: Vec<String>,
    updated: Option<DateTime<Utc>>,
    published: Option<DateTime<Utc>>,
    retry: bool,
}

impl Event {
    /// An event of a feed, with nothing in it but its identity: for stores and tests.
    pub fn new(id: EntryId, feed_uri: FeedUri) -> Self {
        Self {
            id,
            feed_uri,
            page_uri: None,
            title: String::new(),
            content: String::new(),
            categories: Vec::new(),
            updated: None,
            published: None,
            retry: false,
        }
    }

    /// The event that an entry of a feed's page stands for; `None` when the entry has no id.
    pub fn from_entry(entry: Entry, feed_uri: &FeedUri, page_uri: &str) -> Option<Self> {
        Some(Self {
            id: EntryId::new(entry.id)?,
            feed_uri: feed_uri.clone(),
            page_uri: Some(page_uri.to_owned()),
            title: entry.title,
            content: entry.content,
            categories: entry.terms,
            updated: entry.updated,
            published: entry.published,
            retry: false,
        })
    }

    /// Sets the title and the content.
    #[must_use]
    pub fn with_text(mut self, title: impl Into<String>, content: impl Into<String>) -> Self {
        self.title = title.into();
        self.content = content.into();
        self
    }

    /// Sets the page on which the event stands (`via` of the page).
    #[must_use]
    pub fn on_page(mut self, page_uri: Option<String>) -> Self {
        self.page_uri = page_uri;
        self
    }

    /// Sets the categories from a `tags` column, where they are joined by commas.
    #[must_use]
    pub fn with_tags_column(mut self, tags: &str) -> Self {
        self.categories = terms(None, Some(tags))
            .into_iter()
            .map(Into::into)
            .collect();
        self
    }

    /// Sets the times of the entry.
    #[must_use]
    pub fn at(mut self, updated: Option<DateTime<Utc>>, published: Option<DateTime<Utc>>) -> Self {
        self.updated = updated;
        self.published = published;
        self
    }

    /// Says whether the event has failed before and is now tried again.
    #[must_use]
    pub fn as_retry(mut self, retry: bool) -> Self {
        self.retry = retry;
        self
    }

    /// The event's identity: what a worker tells a repeated delivery by (`atom:id`).
    pub fn id(&self) -> &EntryId {
        &self.id
    }

    /// The feed that is followed.
    pub fn feed_uri(&self) -> &FeedUri {
        &self.feed_uri
    }

    /// The page on which the event stood; `None` for a parked row of another library's, which does
    /// not keep it.
    pub fn page_uri(&self) -> Option<&str> {
        self.page_uri.as_deref()
    }

    /// The title; empty when there is none.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The content exactly as it was published: a relative URL, JSON, or a document. Empty when
    /// there is none. (XML turns CR and CRLF into LF unless the server was told otherwise.)
    pub fn content(&self) -> &str {
        &self.content
    }

    /// The distinct terms of category and tags, in the order of the page.
    pub fn categories(&self) -> &[String] {
        &self.categories
    }

    /// The categories as the column `failed_events.tags` holds them: joined by commas.
    pub fn tags_column(&self) -> String {
        self.categories.join(",")
    }

    /// When the event was last changed (`atom:updated`), in whole seconds.
    pub fn updated(&self) -> Option<DateTime<Utc>> {
        self.updated
    }

    /// When the event was published (`atom:published`), in whole seconds.
    pub fn published(&self) -> Option<DateTime<Utc>> {
        self.published
    }

    /// Whether the event has failed before and is now tried again.
    pub fn is_retry(&self) -> bool {
        self.retry
    }
}
