use std::cmp::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atomfeed_core::{EntryId, Marker};
use url::Url;

use super::pages::{FetchedPage, page_number};

/// What is known of the newest page of a feed, so that asking for it again costs next to nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Head(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// As it was asked for by the address of the feed.
    recent: Option<Seen>,
    /// As it was asked for by its own.
    numbered: Option<Seen>,
    /// Behind what the feed was read, when it was read to its end: an entry, and its page.
    read_to: Option<EntryId>,
    read_page: Option<String>,
    /// The page without a successor that was seen last.
    newest: Option<String>,
    /// That of then, which need not have any event: pages by time begin so.
    end: Option<String>,
    /// A page that came for its news, for the next round.
    came: Option<FetchedPage>,
}

/// Where a page ends, next to what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// Behind it: there is something new.
    Beyond,
    /// There.
    There,
    /// Before it: a cache has kept it since.
    Before,
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
        known.newest = Some(page.uri.clone());
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
            .filter(|recent| known.ends(&recent.page) == Ends::There)
            .cloned()
    }

    /// The feed was read to its end, where its marker stands now.
    pub(super) fn read_to(&self, marker: Option<&Marker>) {
        let mut known = self.known();
        known.read_to = marker.and_then(Marker::last_read_entry_id).cloned();
        known.read_page = marker.and_then(Marker::page_uri).map(str::to_owned);
        known.end = known.newest.clone();
    }

    /// The page to which the feed was read, be there an event on it or not.
    pub(super) fn end(&self) -> Option<String> {
        self.known().end.clone()
    }

    /// Where a page ends, next to what was read.
    pub(super) fn ends(&self, page: &FetchedPage) -> Ends {
        self.known().ends(page)
    }

    /// Keeps a page that has news for the next round.
    pub(super) fn keep(&self, page: FetchedPage) {
        self.known().came = Some(page);
    }

    /// Whether a page has come for its news, and nobody has taken it.
    pub(super) fn has_news(&self) -> bool {
        self.known().came.is_some()
    }

    /// A round is over, and what came for it with it.
    pub(super) fn forget(&self) {
        self.known().came = None;
    }

    /// The page that came for its news, if that is the one at an address; where it is sought by an entry,
    /// if that is on it.
    pub(super) fn take(&self, url: &Url, entry: Option<&EntryId>) -> Option<FetchedPage> {
        let mut known = self.known();
        let came = known.came.take_if(|came| {
            came.is_at(url) && entry.is_none_or(|entry| came.events_behind(entry).is_some())
        });
        came.map(|came| came.asked_at(url.clone()))
    }
}

impl Known {
    fn ends(&self, page: &FetchedPage) -> Ends {
        let Some(last) = page.events.last() else {
            return match self.end.as_deref() {
                Some(end) => ends_after(end, page, Ends::There),
                None if self.read_to.is_none() => Ends::There,
                None => Ends::Beyond,
            };
        };
        if self.read_to.as_ref() == Some(last.id()) {
            return Ends::There;
        }
        let is_on_it = |entry| page.events.iter().any(|event| event.id() == entry);
        match self.read_page.as_deref() {
            _ if self.read_to.as_ref().is_some_and(is_on_it) => Ends::Beyond,
            // It has nothing of what was read: it is a later page, or an earlier one, or was earlier.
            Some(read) => ends_after(read, page, Ends::Before),
            None => Ends::Beyond,
        }
    }
}

/// Where a page ends, next to the end of another; in the place of that one, so.
fn ends_after(other: &str, page: &FetchedPage, in_its_place: Ends) -> Ends {
    if page.uri == other {
        return in_its_place;
    }
    match page_number(other).zip(page_number(&page.uri)) {
        Some(((folder, other), (own_folder, own))) if folder == own_folder => {
            match own.cmp(&other) {
                Ordering::Greater => Ends::Beyond,
                Ordering::Equal => in_its_place,
                Ordering::Less => Ends::Before,
            }
        }
        _ => Ends::Beyond,
    }
}

impl Seen {
    fn last(&self) -> Option<&EntryId> {
        self.page.events.last().map(|event| event.id())
    }
}
