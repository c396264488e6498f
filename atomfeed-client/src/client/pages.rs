use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use atomfeed_core::atom::{Feed, ReadLimits, read_feed};
use atomfeed_core::{EntryId, Event, FeedUri};
use url::Url;

use super::head::{Head, Seen};
use crate::source::{FeedSource, PageRequest, PageResponse};
use crate::{ProcessErrorKind, metric};

/// A page of the feed, read.
#[derive(Debug, Clone)]
pub(super) struct FetchedPage {
    /// Where it was fetched from.
    url: Url,
    /// Its own URL (`via`): what markers keep.
    pub(super) uri: String,
    next: Option<String>,
    previous: Option<String>,
    first: Option<String>,
    pub(super) events: Vec<Arc<Event>>,
    /// How many events of the feed there are up to its last one, where the server says.
    pub(super) position: Option<u64>,
}

/// What comes of asking for another page than that which is known.
pub(super) enum Fetched {
    /// It is still that one.
    Unchanged {
        /// Whether the server has waited for another.
        waits: bool,
    },
    /// It is another one.
    Page {
        /// That one.
        page: Box<FetchedPage>,
        /// Whether the server has waited for it, or would have.
        waits: bool,
    },
}

/// Fetches and reads the pages of a feed.
#[derive(Clone)]
pub(super) struct Pages {
    pub(super) feed: FeedUri,
    pub(super) source: Arc<dyn FeedSource>,
    pub(super) limits: ReadLimits,
    pub(super) any_content_type: bool,
    pub(super) head: Head,
}

impl Pages {
    pub(super) async fn fetch(&self, url: Url) -> Result<FetchedPage, ProcessErrorKind> {
        let url = without_name(url);
        if let Some(came) = self.head.take(&url, None) {
            return Ok(came);
        }
        let request = PageRequest::new(url);
        let response = self.ask(&request).await?;
        self.read(&request.url, response)
    }

    /// A page as it is now, also where a cache keeps it for a moment.
    pub(super) async fn fetch_fresh(&self, url: Url) -> Result<FetchedPage, ProcessErrorKind> {
        let request = PageRequest::new(without_name(url)).fresh();
        let response = self.ask(&request).await?;
        self.read(&request.url, response)
    }

    /// A page of which an entry is the last that is known: with no more than its last event, if it is still
    /// what it was.
    pub(super) async fn fetch_behind(
        &self,
        url: Url,
        last: &EntryId,
    ) -> Result<FetchedPage, ProcessErrorKind> {
        let url = without_name(url);
        if let Some(came) = self.head.take(&url, Some(last)) {
            return Ok(came);
        }
        let mut request = PageRequest::new(url);
        // Where there are news, they are not to be hidden by what a cache has kept.
        request.fresh = self.head.has_news();
        let Some(seen) = self.head.seen(&request.url, last) else {
            let response = self.ask(&request).await?;
            return self.read(&request.url, response);
        };
        match self.ask_again(&seen, request).await? {
            Fetched::Unchanged { .. } => Ok(seen.page),
            Fetched::Page { page, .. } => Ok(*page),
        }
    }

    /// The page to which the address of the oldest page leads.
    pub(super) async fn fetch_first(&self, url: Url) -> Result<FetchedPage, ProcessErrorKind> {
        let request = PageRequest::new(without_name(url)).following_redirect();
        let response = self.ask(&request).await?;
        self.read(&request.url, response)
    }

    /// Asks for the newest page, and has the server wait for another than that which is known.
    pub(super) async fn wait(
        &self,
        known: &Seen,
        wait: Duration,
    ) -> Result<Fetched, ProcessErrorKind> {
        let request = PageRequest::new(without_name(self.feed.url().clone()));
        self.ask_again(known, request.waiting(wait)).await
    }

    async fn ask_again(
        &self,
        known: &Seen,
        request: PageRequest,
    ) -> Result<Fetched, ProcessErrorKind> {
        let request = request.with_etag(known.etag.as_str());
        let response = self.ask(&request).await?;
        let waits = response.waits;
        if response.not_modified {
            return Ok(Fetched::Unchanged { waits });
        }
        let page = Box::new(self.read(&request.url, response)?);
        Ok(Fetched::Page { page, waits })
    }

    async fn ask(&self, request: &PageRequest) -> Result<PageResponse, ProcessErrorKind> {
        let response = self.source.fetch(request).await;
        metric::page(&self.feed, response.as_ref().ok());
        response.map_err(|source| ProcessErrorKind::Fetch {
            page: request.url.to_string(),
            source,
        })
    }

    fn read(&self, asked: &Url, response: PageResponse) -> Result<FetchedPage, ProcessErrorKind> {
        let url = response.url.clone().unwrap_or_else(|| asked.clone());
        if let Some(content_type) = &response.content_type
            && !self.any_content_type
            && !is_xml(content_type)
        {
            return Err(ProcessErrorKind::ContentType {
                page: url.into(),
                content_type: content_type.clone(),
            });
        }
        let feed = read_feed(&response.body, &self.limits).map_err(|source| {
            ProcessErrorKind::Document {
                page: url.to_string(),
                source,
            }
        })?;
        let page = self.page(url, feed, response.position);
        let of_feed = without_name(self.feed.url().clone());
        self.head.see(&of_feed, asked, response.etag, &page);
        Ok(page)
    }

    fn page(&self, url: Url, feed: Feed, position: Option<u64>) -> FetchedPage {
        let own = feed
            .link("via")
            .or_else(|| feed.link("self"))
            .filter(|href| !href.is_empty());
        // An address of our own making only where the page gives none, or a relative one.
        let uri = match own {
            Some(href) if Url::parse(href).is_ok() => href.to_owned(),
            Some(href) => url.join(href).map_or_else(|_| url.to_string(), Into::into),
            None => url.to_string(),
        };
        let next = feed.link("next-archive").map(str::to_owned);
        let previous = feed.link("prev-archive").map(str::to_owned);
        let first = feed.link("first").map(str::to_owned);
        let entries = feed.entries.into_iter();
        let events = entries.filter_map(|entry| Event::from_entry(entry, &self.feed, &uri));
        // An id that a page has twice is one event (the original's concurrent publishers write such):
        // a marker could not say behind which of them it stands.
        let mut ids = HashSet::new();
        let events = events.filter(|event| ids.insert(event.id().clone()));
        let events = events.map(Arc::new).collect();
        FetchedPage {
            position,
            url,
            uri,
            next,
            previous,
            first,
            events,
        }
    }
}

/// The address of a page, without the consumer's name, which is no part of it.
fn without_name(mut url: Url) -> Url {
    url.set_fragment(None);
    url
}

impl FetchedPage {
    /// The events behind an entry, if that is on the page.
    pub(super) fn events_behind(&self, entry: &EntryId) -> Option<Vec<Arc<Event>>> {
        let index = self.events.iter().position(|event| event.id() == entry)?;
        Some(self.events[index + 1..].to_vec())
    }

    /// The events that are not on the page before, too. (The original's time chunks have an entry on
    /// their border on both pages.)
    pub(super) fn events_beyond(&self, before: &FetchedPage) -> Vec<Arc<Event>> {
        let seen: HashSet<_> = before.events.iter().map(|event| event.id()).collect();
        let beyond = self.events.iter();
        let beyond = beyond.filter(|event| !seen.contains(event.id()));
        beyond.map(Arc::clone).collect()
    }

    /// Makes sure that this page follows `before`, of which it was said: that it names that one as
    /// the page before it (RFC 5005 §4). Otherwise the links may lead back to events that were
    /// applied long ago.
    ///
    /// # Errors
    ///
    /// When it names another, or none.
    pub(super) fn must_follow(&self, before: &FetchedPage) -> Result<(), ProcessErrorKind> {
        // Links that agree may still form a circle. Pages are numbered upwards, and a number that does
        // not rise shows it also to a consumer that has started anew since.
        if let (Some((folder, before)), Some((own_folder, this))) =
            (page_number(&before.uri), page_number(&self.uri))
            && folder == own_folder
            && this <= before
        {
            return Err(ProcessErrorKind::PageLoop {
                page: self.url.to_string(),
            });
        }
        let previous = self.previous()?;
        let own = Url::parse(&before.uri).ok();
        match previous {
            Some(previous) if previous == before.url || Some(&previous) == own.as_ref() => Ok(()),
            previous => Err(ProcessErrorKind::BrokenChain {
                page: before.uri.clone(),
                next: self.url.to_string(),
                previous: previous.map_or_else(|| "none".to_owned(), Into::into),
            }),
        }
    }

    /// Where it was asked for.
    pub(super) fn asked(&self) -> &Url {
        &self.url
    }

    /// Whether no page is named as the next newer one.
    pub(super) fn is_last(&self) -> bool {
        self.next.is_none()
    }

    /// Whether a page is named as the next older one.
    pub(super) fn has_previous(&self) -> bool {
        self.previous.is_some()
    }

    /// Whether an address is the page's own.
    pub(super) fn is_at(&self, url: &Url) -> bool {
        Url::parse(&self.uri).is_ok_and(|own| own == *url)
    }

    /// The same page, as if it had been asked for at this address.
    pub(super) fn asked_at(self, url: Url) -> Self {
        Self { url, ..self }
    }

    /// As much of the page as says where it ends.
    pub(super) fn with_last_event_alone(&self) -> Self {
        let first = self.events.len().saturating_sub(1);
        Self {
            url: self.url.clone(),
            uri: self.uri.clone(),
            next: self.next.clone(),
            previous: self.previous.clone(),
            first: self.first.clone(),
            events: self.events[first..].to_vec(),
            position: self.position,
        }
    }

    /// Where the oldest page is to be found, if the page says that.
    pub(super) fn first(&self) -> Result<Option<Url>, ProcessErrorKind> {
        self.follow("first", self.first.as_deref())
    }

    /// The next newer page.
    pub(super) fn next(&self) -> Result<Option<Url>, ProcessErrorKind> {
        self.follow("next-archive", self.next.as_deref())
    }

    /// The next older page.
    pub(super) fn previous(&self) -> Result<Option<Url>, ProcessErrorKind> {
        self.follow("prev-archive", self.previous.as_deref())
    }

    fn follow(
        &self,
        rel: &'static str,
        href: Option<&str>,
    ) -> Result<Option<Url>, ProcessErrorKind> {
        let Some(href) = href else { return Ok(None) };
        let url = self.url.join(href);
        let mut url = url.map_err(|source| ProcessErrorKind::BadLink {
            page: self.uri.clone(),
            rel,
            href: href.to_owned(),
            source,
        })?;
        // Who writes a password into a link has it neither sent nor shown.
        let _ = url.set_password(None);
        let _ = url.set_username("");
        Ok(Some(url))
    }
}

/// The number with which the URL of a page ends, as those of this family of feeds do, after what
/// stands before it: elsewhere `/2026/1` may well follow `/2025/12`.
pub(super) fn page_number(uri: &str) -> Option<(&str, u64)> {
    let path = uri.split(['?', '#']).next()?;
    let (folder, number) = path.trim_end_matches('/').rsplit_once('/')?;
    Some((folder, number.parse().ok()?))
}

/// The pages of one walk, so that a walk in a circle ends. Of each, only a hash is kept: a feed may
/// have hundreds of thousands.
#[derive(Default)]
pub(super) struct Visited {
    urls: HashSet<u64>,
    hasher: std::hash::RandomState,
}

impl Visited {
    /// Adds a page; false when it is there already.
    pub(super) fn add(&mut self, page: &FetchedPage) -> bool {
        use std::hash::BuildHasher;

        self.urls.insert(self.hasher.hash_one(&page.url))
    }

    pub(super) fn check(&mut self, page: &FetchedPage) -> Result<(), ProcessErrorKind> {
        match self.add(page) {
            true => Ok(()),
            false => Err(ProcessErrorKind::PageLoop {
                page: page.url.to_string(),
            }),
        }
    }
}

/// Whether a content type is one that Atom documents are served as (RFC 4287 §7, RFC 7303).
fn is_xml(content_type: &str) -> bool {
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence.is_empty()
        || matches!(essence.as_str(), "application/xml" | "text/xml")
        || essence.ends_with("+xml") && essence != "application/xhtml+xml"
}
