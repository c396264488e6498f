use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use atomfeed_core::{EntryId, Event, Marker};
use chrono::{DateTime, SecondsFormat, Utc};
use url::Url;

use super::AtomFeedClient;
use super::pages::{FetchedPage, Visited, page_number};
use crate::ProcessErrorKind;
use crate::source::FetchError;

/// After how long a page is asked for anew on which an entry is not that should be.
const CACHED_FOR: [Duration; 2] = [Duration::ZERO, Duration::from_millis(1_500)];

/// How far around the marker's page an entry is sought that is not there any more.
const NEIGHBOURS: usize = 3;

/// Where a consumer begins that has no marker yet, or to where a marker is moved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StartPosition {
    /// With the first event of the oldest page. A large feed is replayed whole: see that this is
    /// what the worker's target wants.
    #[default]
    Beginning,
    /// Behind the newest event there is.
    Latest,
    /// With the first event of this page.
    Page(Url),
    /// Behind this entry, which is sought from the newest page back.
    After(EntryId),
    /// With the first event that was published at this time or later, which is sought from the newest
    /// page back.
    At(DateTime<Utc>),
}

/// What was given is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no position in a feed: say beginning, latest, the URL of a page, after:ENTRY-ID or \
     at:TIME (2024-03-01T08:00:00Z)"
)]
pub struct InvalidPosition(String);

/// `beginning`, `latest`, the URL of a page, `after:ENTRY-ID` or `at:TIME`.
impl FromStr for StartPosition {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let position = match (text, text.split_once(':')) {
            ("beginning", _) => Some(Self::Beginning),
            ("latest", _) => Some(Self::Latest),
            (_, Some(("after", entry))) => EntryId::new(entry).map(Self::After),
            (_, Some(("at", time))) => time.parse().ok().map(Self::At),
            (_, Some(("page", url))) => Url::parse(url).ok().map(Self::Page),
            (url, _) => Url::parse(url).ok().map(Self::Page),
        };
        position.ok_or_else(|| InvalidPosition(text.to_owned()))
    }
}

impl fmt::Display for StartPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beginning => f.write_str("beginning"),
            Self::Latest => f.write_str("latest"),
            Self::Page(url) => write!(f, "{url}"),
            Self::After(entry) => write!(f, "after:{entry}"),
            Self::At(time) => {
                write!(
                    f,
                    "at:{}",
                    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
                )
            }
        }
    }
}

/// A page to begin with, and its events that are unread.
pub(super) struct First {
    pub(super) page: FetchedPage,
    pub(super) unread: Vec<Arc<Event>>,
}

impl First {
    fn whole(page: FetchedPage) -> Self {
        let unread = page.events.clone();
        Self { page, unread }
    }

    /// The page, of which the events behind an entry are unread, if the entry is on it.
    fn behind(page: FetchedPage, entry: &EntryId) -> Result<Self, Box<FetchedPage>> {
        match page.events_behind(entry) {
            Some(unread) => Ok(Self { page, unread }),
            None => Err(Box::new(page)),
        }
    }
}

impl<C: ?Sized + Send + 'static> AtomFeedClient<C> {
    /// What to begin with; `None` when there is nothing to read yet.
    pub(super) async fn first(
        &self,
        marker: Option<&Marker>,
    ) -> Result<Option<First>, ProcessErrorKind> {
        let page = marker.and_then(Marker::page_uri);
        let entry = marker.and_then(Marker::last_read_entry_id);
        let lost = match (page, entry) {
            // The feed was empty when the marker was made, and has begun since, or not yet.
            (Some(page), None) if names_page_0(page) => {
                return Ok(Some(First::whole(self.oldest_page().await?)));
            }
            (Some(page), entry) => match (self.fetch_marked(page, entry).await?, entry) {
                (Ok(fetched), None) => return Ok(Some(First::whole(fetched))),
                (Ok(fetched), Some(entry)) => match self.behind(fetched, entry).await? {
                    Ok(first) => return Ok(Some(first)),
                    Err(lost) => lost,
                },
                (Err(error), _) => self.why_not_there(page, error).await,
            },
            (None, Some(entry)) => match self.behind(self.newest_page().await?, entry).await? {
                Ok(first) => return Ok(Some(first)),
                Err(lost) => lost,
            },
            (None, None) => {
                let start = self.settings.start.clone();
                return self.begin_at(&start, marker).await;
            }
        };
        let is_lost = matches!(lost, ProcessErrorKind::MarkedEntryMissing { .. })
            || status(&lost) == Some(410);
        match &self.settings.when_lost {
            Some(position) if is_lost => {
                tracing::warn!(
                    feed = %self.feed, ?position, reason = %lost,
                    "the feed goes on where it is set to, since the place of the marker is gone"
                );
                self.begin_at(position, marker).await
            }
            _ => Err(lost),
        }
    }

    /// The page that the marker names.
    async fn fetch_marked(
        &self,
        page: &str,
        entry: Option<&EntryId>,
    ) -> Result<Result<FetchedPage, ProcessErrorKind>, ProcessErrorKind> {
        let url = self.marked_page(page)?;
        Ok(match entry {
            Some(entry) => self.pages.fetch_behind(url, entry).await,
            None => self.fetch(url).await,
        })
    }

    /// The events behind an entry, on a page or those around it; or why there are none.
    async fn behind(
        &self,
        page: FetchedPage,
        entry: &EntryId,
    ) -> Result<Result<First, ProcessErrorKind>, ProcessErrorKind> {
        let mut page = match First::behind(page, entry) {
            Ok(first) => return Ok(Ok(first)),
            Err(page) => page,
        };
        // It may be as it was before the entry: a cache between may have kept it for a moment, and may do so
        // whatever is asked of it.
        for wait in CACHED_FOR {
            if !page.is_last() {
                break;
            }
            tokio::time::sleep(wait).await;
            let fresh = self.pages.fetch_fresh(page.asked().clone()).await?;
            page = match First::behind(fresh, entry) {
                Ok(first) => return Ok(Ok(first)),
                Err(page) => page,
            };
        }
        let sought = self.seek_around(page, entry).await?;
        Ok(sought.map_err(|page| ProcessErrorKind::MarkedEntryMissing {
            entry: entry.to_string(),
            page: page.uri,
        }))
    }

    async fn begin_at(
        &self,
        position: &StartPosition,
        marker: Option<&Marker>,
    ) -> Result<Option<First>, ProcessErrorKind> {
        if *position != StartPosition::Latest {
            return self.find(position).await;
        }
        let newest = self.pages.fetch_fresh(self.feed.url().clone()).await?;
        let to = self.marker_at(&First {
            unread: Vec::new(),
            page: newest,
        });
        self.begin_reading(marker).await?;
        let mut work = self.store.begin().await?;
        self.keep_claim(work.as_mut()).await?;
        let beyond = work.completed(&self.feed).await?;
        let beyond: Vec<_> = beyond.iter().collect();
        work.forget_completed(&self.feed, &beyond).await?;
        work.move_marker(marker, &to).await?;
        work.commit().await?;
        self.pages.head.read_to(Some(&to));
        let page = to.page_uri().unwrap_or_default();
        tracing::info!(feed = %self.feed, page, "begun at the latest event");
        Ok(None)
    }

    /// The page of a position; `None` when the feed has nothing there yet.
    pub(super) async fn find(
        &self,
        position: &StartPosition,
    ) -> Result<Option<First>, ProcessErrorKind> {
        match position {
            StartPosition::Beginning => Ok(Some(First::whole(self.oldest_page().await?))),
            StartPosition::Page(url) => Ok(Some(First::whole(self.fetch(url.clone()).await?))),
            StartPosition::Latest => {
                let page = self.newest_page().await?;
                let unread = Vec::new();
                Ok(Some(First { page, unread }))
            }
            StartPosition::After(entry) => {
                let is_there = |page: &FetchedPage| page.events_behind(entry).is_some();
                match self.seek_back(is_there).await? {
                    (page, true) => Ok(First::behind(page, entry).ok()),
                    (oldest, false) => Err(ProcessErrorKind::EntryNotFound {
                        entry: entry.to_string(),
                        oldest: oldest.uri,
                    }),
                }
            }
            StartPosition::At(time) => {
                let is_before = |event: &Arc<Event>| event.published().is_some_and(|at| at < *time);
                // The page with the last event before that time; or else the oldest one.
                let has_before = |page: &FetchedPage| page.events.iter().any(is_before);
                let (page, _) = self.seek_back(has_before).await?;
                let behind = page.events.iter().rposition(is_before);
                let unread = page.events[behind.map_or(0, |index| index + 1)..].to_vec();
                Ok(Some(First { page, unread }))
            }
        }
    }

    /// The marker that stands in front of what is unread.
    pub(super) fn marker_at(&self, first: &First) -> Marker {
        let marker = Marker::new(self.feed.clone()).on_page(first.page.uri.as_str());
        let read = first.page.events.len() - first.unread.len();
        match read.checked_sub(1).map(|last| &first.page.events[last]) {
            Some(last) => marker.after(last.id().clone()),
            None => marker,
        }
    }

    pub(super) async fn newest_page(&self) -> Result<FetchedPage, ProcessErrorKind> {
        self.fetch(self.feed.url().clone()).await
    }

    /// The oldest page: that to which the newest one leads as the first, or else back along `prev-archive`,
    /// up to where the publisher has pruned.
    async fn oldest_page(&self) -> Result<FetchedPage, ProcessErrorKind> {
        if self.followed_back().is_some() {
            // It was tried before.
            return Ok(self.seek_back(|_| false).await?.0);
        }
        let newest = self.newest_page().await?;
        self.watch.head(&newest);
        let first = match newest.first()?.filter(|_| newest.has_previous()) {
            Some(first) => self.pages.fetch_first(first).await,
            None => return Ok(self.seek_back_from(newest, |_| false).await?.0),
        };
        let from = match first {
            Ok(first) => first,
            // It is there, and not to be had now.
            Err(error) if error.fetching().is_some_and(FetchError::is_transient) => {
                return Err(error);
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(
                    feed = %self.feed, error, "the oldest page is sought from the newest back"
                );
                newest
            }
        };
        // Whatever is first elsewhere, the oldest page has none before it.
        Ok(self.seek_back_from(from, |_| false).await?.0)
    }

    /// Where another search was broken off is no place to begin one for something else.
    pub(super) fn begin_search_anew(&self) {
        *self.followed_back() = None;
    }

    fn followed_back(&self) -> MutexGuard<'_, Option<Url>> {
        self.followed_back
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch_back(&self, url: Url) -> Result<FetchedPage, ProcessErrorKind> {
        let fetched = self.fetch(url.clone()).await;
        if fetched
            .as_ref()
            .is_err_and(|error| status(error) != Some(410))
        {
            *self.followed_back() = Some(url);
        }
        fetched
    }

    /// The first page that is such, from the newest back; or the oldest one, and false.
    pub(super) async fn seek_back(
        &self,
        is_it: impl Fn(&FetchedPage) -> bool,
    ) -> Result<(FetchedPage, bool), ProcessErrorKind> {
        // A long way, on which a page may not come: the next time it goes on from there.
        let reached = self.followed_back().take();
        let page = match reached {
            Some(url) => self.fetch_back(url).await?,
            None => {
                let newest = self.newest_page().await?;
                self.watch.head(&newest);
                newest
            }
        };
        self.seek_back_from(page, is_it).await
    }

    async fn seek_back_from(
        &self,
        mut page: FetchedPage,
        is_it: impl Fn(&FetchedPage) -> bool,
    ) -> Result<(FetchedPage, bool), ProcessErrorKind> {
        let mut visited = Visited::default();
        loop {
            visited.check(&page)?;
            if is_it(&page) {
                return Ok((page, true));
            }
            let Some(previous) = page.previous()? else {
                return Ok((page, false));
            };
            page = match self.fetch_back(previous).await {
                Ok(previous) => previous,
                Err(error) if status(&error) == Some(410) => {
                    tracing::info!(feed = %self.feed, page = %page.uri, "older pages were pruned");
                    return Ok((page, false));
                }
                Err(error) => return Err(error),
            };
        }
    }

    /// Seeks an entry on the pages around one on which it is not; gives that back when it is on none.
    async fn seek_around(
        &self,
        page: Box<FetchedPage>,
        entry: &EntryId,
    ) -> Result<Result<First, Box<FetchedPage>>, ProcessErrorKind> {
        for link in [FetchedPage::previous, FetchedPage::next] {
            let mut next = link(&page)?;
            for _ in 0..NEIGHBOURS {
                let Some(url) = next else { break };
                let neighbour = match self.fetch(url).await {
                    Ok(neighbour) => neighbour,
                    // It was pruned, say: it is not there, either.
                    Err(error) if status(&error).is_some() => break,
                    Err(error) => return Err(error),
                };
                next = link(&neighbour)?;
                if let Ok(first) = First::behind(neighbour, entry) {
                    let (was, is) = (&page.uri, &first.page.uri);
                    tracing::warn!(
                        feed = %self.feed, %entry, was, is,
                        "the marker's entry is on another page than it was"
                    );
                    return Ok(Ok(first));
                }
            }
        }
        Ok(Err(page))
    }

    /// Why the page that the marker names is not there: it may be ahead of the feed.
    async fn why_not_there(&self, marked: &str, error: ProcessErrorKind) -> ProcessErrorKind {
        // The original says so with its own status.
        if !matches!(status(&error), Some(404 | 500)) {
            return error;
        }
        let Ok(newest) = self.newest_page().await else {
            return error;
        };
        match (page_number(marked), page_number(&newest.uri)) {
            (Some((folder, page)), Some((newest_folder, number)))
                if folder == newest_folder && page > number =>
            {
                ProcessErrorKind::MarkerAhead {
                    page: marked.to_owned(),
                    newest: newest.uri,
                }
            }
            _ => error,
        }
    }

    fn marked_page(&self, page: &str) -> Result<Url, ProcessErrorKind> {
        Url::parse(page).map_err(|source| ProcessErrorKind::BadLink {
            page: "the marker".to_owned(),
            rel: "feed_uri_for_last_read_entry",
            href: page.to_owned(),
            source,
        })
    }
}

/// The status with which the server refused a page.
pub(super) fn status(error: &ProcessErrorKind) -> Option<u16> {
    match error {
        ProcessErrorKind::Fetch {
            source: FetchError::Status { status, .. },
            ..
        } => Some(*status),
        _ => None,
    }
}

/// Whether a page is the one that stands for an empty feed.
fn names_page_0(page: &str) -> bool {
    page.trim_end_matches('/').ends_with("/0")
}
