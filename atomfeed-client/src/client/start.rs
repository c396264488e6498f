use atomfeed_core::{EntryId, Marker};
use url::Url;

use super::AtomFeedClient;
use super::pages::{FetchedPage, Visited, page_number};
use crate::ProcessErrorKind;
use crate::source::FetchError;

/// Where a consumer begins that has no marker yet.
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
}

impl<C: ?Sized + Send + 'static> AtomFeedClient<C> {
    /// The page to begin with; `None` when there is nothing to read yet.
    pub(super) async fn first_page(
        &self,
        marker: Option<&Marker>,
    ) -> Result<Option<FetchedPage>, ProcessErrorKind> {
        let page = marker.and_then(Marker::page_uri);
        let entry = marker.and_then(Marker::last_read_entry_id);
        match (page, entry) {
            // The feed was empty when the marker was made, and has begun since, or not yet.
            (Some(page), None) if names_page_0(page) => self.oldest_page().await,
            (Some(page), _) => match self.fetch(self.marked_page(page)?).await {
                Ok(fetched) => Ok(Some(fetched)),
                Err(error) => Err(self.why_not_there(page, error).await),
            },
            (None, Some(_)) => self.fetch(self.feed.url().clone()).await.map(Some),
            (None, None) => self.start(marker).await,
        }
    }

    async fn start(
        &self,
        marker: Option<&Marker>,
    ) -> Result<Option<FetchedPage>, ProcessErrorKind> {
        match &self.settings.start {
            StartPosition::Beginning => self.oldest_page().await,
            StartPosition::Page(url) => self.fetch(url.clone()).await.map(Some),
            StartPosition::Latest => {
                let newest = self.fetch(self.feed.url().clone()).await?;
                let mut to = Marker::new(self.feed.clone()).on_page(newest.uri.as_str());
                if let Some(last) = newest.events.last() {
                    to = to.after(EntryId::clone(last.id()));
                }
                let mut work = self.store.begin().await?;
                work.move_marker(marker, &to).await?;
                work.commit().await?;
                tracing::info!(feed = %self.feed, page = %newest.uri, "begun at the latest event");
                Ok(None)
            }
        }
    }

    /// The oldest page: back along `prev-archive` from the newest, up to where the publisher has pruned.
    async fn oldest_page(&self) -> Result<Option<FetchedPage>, ProcessErrorKind> {
        let mut page = self.fetch(self.feed.url().clone()).await?;
        let mut visited = Visited::default();
        visited.check(&page)?;
        while let Some(previous) = page.previous()? {
            match self.fetch(previous).await {
                Ok(previous) => page = previous,
                Err(error) if status(&error) == Some(410) => {
                    tracing::info!(feed = %self.feed, page = %page.uri, "older pages were pruned");
                    break;
                }
                Err(error) => return Err(error),
            }
            visited.check(&page)?;
        }
        Ok(Some(page))
    }

    /// Why the page that the marker names is not there: it may be ahead of the feed.
    async fn why_not_there(&self, marked: &str, error: ProcessErrorKind) -> ProcessErrorKind {
        // The original says so with its own status.
        if !matches!(status(&error), Some(404 | 500)) {
            return error;
        }
        let Ok(newest) = self.fetch(self.feed.url().clone()).await else {
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
