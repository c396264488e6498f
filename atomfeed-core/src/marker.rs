use crate::{EntryId, FeedUri};

/// How far a consumer has read a feed: a row of `markers`.
///
/// ```
/// use atomfeed_core::{EntryId, Marker};
///
/// let feed = "http://localhost/feed/patient/recent".parse()?;
/// let marker = Marker::new(feed)
///     .after(EntryId::of_event("0120a4f9-196a-5f9e-b9f5-23f31f914da7"))
///     .on_page("http://localhost/feed/patient/3");
/// assert_eq!(marker.page_uri(), Some("http://localhost/feed/patient/3"));
/// # Ok::<(), atomfeed_core::InvalidFeedUri>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    feed_uri: FeedUri,
    last_read_entry_id: Option<EntryId>,
    page_uri: Option<String>,
}

impl Marker {
    /// A marker that says nothing yet: the start of the feed.
    pub fn new(feed_uri: FeedUri) -> Self {
        Self {
            feed_uri,
            last_read_entry_id: None,
            page_uri: None,
        }
    }

    /// Moves the marker behind an entry.
    #[must_use]
    pub fn after(mut self, entry: EntryId) -> Self {
        self.last_read_entry_id = Some(entry);
        self
    }

    /// Sets the page: the one the entry stands on, or, without an entry, the one to begin with. An
    /// empty text is none.
    #[must_use]
    pub fn on_page(mut self, page_uri: impl Into<String>) -> Self {
        let page_uri = page_uri.into();
        self.page_uri = (!page_uri.is_empty()).then_some(page_uri);
        self
    }

    /// The feed (column `feed_uri`).
    pub fn feed_uri(&self) -> &FeedUri {
        &self.feed_uri
    }

    /// The last entry that was read (column `last_read_entry_id`); `None` means "from the start of
    /// the page".
    pub fn last_read_entry_id(&self) -> Option<&EntryId> {
        self.last_read_entry_id.as_ref()
    }

    /// The page that entry stood on, by its own URL, `via` (column
    /// `feed_uri_for_last_read_entry`); `None` means "from the start of the feed".
    pub fn page_uri(&self) -> Option<&str> {
        self.page_uri.as_deref()
    }
}
