use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atomfeed_core::EntryId;
use url::Url;

use super::pages::FetchedPage;

/// What is known of the newest page of a feed, so that asking for it again costs next to nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Head(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// As it was asked for by the address of the feed.
    recent: Option<Seen>,
    /// As it was asked for by its own.
    numbered: Option<Seen>,
    /// The newest event when it was seen last.
    newest: Option<EntryId>,
    /// The newest event when the feed was read to its end.
    read_to: Option<EntryId>,
    /// A page that came for its news, and has not been read yet.
    came: Option<FetchedPage>,
}

/// A page that had no successor.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    url: Url,
    pub(super) etag: String,
    /// With its last event alone.
    pub(super) page: FetchedPage,
}

impl Head {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a page, if it has no successor.
    pub(super) fn see(&self, feed: &Url, asked: &Url, etag: Option<String>, page: &FetchedPage) {
        if !page.is_last() {
            return;
        }
        let mut known = self.known();
        known.newest = page.events.last().map(|event| event.id().clone());
        let seen = etag.map(|etag| Seen {
            url: asked.clone(),
            etag,
            page: page.with_last_event_alone(),
        });
        match asked == feed {
            true => known.recent = seen,
            false => known.numbered = seen,
        }
    }

    /// What is known of a page, if an entry is the last one on it.
    pub(super) fn seen(&self, url: &Url, last: &EntryId) -> Option<Seen> {
        let known = self.known();
        let mut seen = [&known.numbered, &known.recent].into_iter().flatten();
        seen.find(|seen| seen.url == *url && seen.last() == Some(last))
            .cloned()
    }

    /// The newest page by the address of the feed, if it has nothing that was not read.
    pub(super) fn recent(&self) -> Option<Seen> {
        let known = self.known();
        let recent = known.recent.as_ref();
        recent
            .filter(|recent| recent.last() == known.read_to.as_ref())
            .cloned()
    }

    /// The feed was read to its end, as that was seen last.
    pub(super) fn is_read(&self) {
        let mut known = self.known();
        known.read_to = known.newest.clone();
        known.came = None;
    }

    /// Whether a page ends with what was read last.
    pub(super) fn ends_there(&self, page: &FetchedPage) -> bool {
        let last = page.events.last().map(|event| event.id());
        last == self.known().read_to.as_ref()
    }

    /// Keeps a page that has news for who asks for it next.
    pub(super) fn keep(&self, page: FetchedPage) {
        self.known().came = Some(page);
    }

    /// The page that came for its news, if that is the one at an address.
    pub(super) fn take(&self, url: &Url) -> Option<FetchedPage> {
        let mut known = self.known();
        let came = known.came.take_if(|came| came.is_at(url));
        came.map(|came| came.asked_at(url.clone()))
    }
}

impl Seen {
    fn last(&self) -> Option<&EntryId> {
        self.page.events.last().map(|event| event.id())
    }
}
