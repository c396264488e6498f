use std::sync::Arc;

use atomfeed_core::Event;
use tokio_util::task::AbortOnDropHandle;

use super::AtomFeedClient;
use super::ahead::Ahead;
use super::pages::{FetchedPage, Pages, Visited};
use super::watch::Watch;
use crate::worker::{Handler, Prepared};
use crate::{ProcessErrorKind, WorkerError};

/// An event, with what the worker brought for it, or why it could not.
type Brought = (Arc<Event>, Result<Prepared, WorkerError>);

type Fetching = AbortOnDropHandle<Result<FetchedPage, ProcessErrorKind>>;

/// Yields the events of a feed from a page on, prepared. The next page is fetched while the events of
/// this one are worked. What was begun is aborted when this is dropped.
pub(super) struct Intake<'a, C: ?Sized> {
    pages: &'a Pages,
    worker: &'a Arc<dyn Handler<C>>,
    prepare_ahead: usize,
    page: FetchedPage,
    next: Option<Result<Fetching, ProcessErrorKind>>,
    visited: Visited,
    watch: &'a Watch,
    events: Events<'a, C>,
}

type Events<'a, C> = Ahead<'a, C, std::vec::IntoIter<(Arc<Event>, Arc<Event>)>>;

impl<'a, C: ?Sized + Send + 'static> Intake<'a, C> {
    /// From a page on, of which these events are unread.
    pub(super) fn new(
        client: &'a AtomFeedClient<C>,
        page: FetchedPage,
        unread: Vec<Arc<Event>>,
    ) -> Self {
        let mut visited = Visited::default();
        visited.add(&page);
        let (worker, prepare_ahead) = (&client.worker, client.settings.prepare_ahead);
        let mut intake = Self {
            pages: &client.pages,
            worker,
            prepare_ahead,
            page,
            next: None,
            visited,
            watch: &client.watch,
            events: ahead(worker, prepare_ahead, unread),
        };
        intake.fetch_next();
        intake
    }

    /// The next event; `None` at the end of the feed.
    ///
    /// Cancel safe in so far as nothing is lost that matters: an event that was not yielded stays
    /// unread.
    pub(super) async fn next(&mut self) -> Result<Option<Brought>, ProcessErrorKind> {
        loop {
            if let Some(ready) = self.events.next().await {
                return Ok(Some(ready));
            }
            let Some(fetching) = self.next.take() else {
                return Ok(None);
            };
            let next = match fetching?.await {
                Ok(fetched) => fetched?,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime is being shut down.
                    Err(_) => return Ok(None),
                },
            };
            self.visited.check(&next)?;
            next.must_follow(&self.page)?;
            let unread = next.events_beyond(&self.page);
            self.page = next;
            self.events = ahead(self.worker, self.prepare_ahead, unread);
            self.fetch_next();
        }
    }

    /// Whether the next event is to be had without waiting for a page.
    pub(super) fn is_ready(&self) -> bool {
        let is_fetching = matches!(&self.next, Some(Ok(next)) if !next.is_finished());
        !self.events.is_empty() || !is_fetching
    }

    fn fetch_next(&mut self) {
        let next = self.page.next().transpose();
        if next.is_none() {
            self.watch.head(&self.page);
        }
        self.next = next.map(|url| {
            let (pages, url) = (self.pages.clone(), url?);
            let fetching = tokio::spawn(async move { pages.fetch(url).await });
            Ok(AbortOnDropHandle::new(fetching))
        });
    }
}

fn ahead<'a, C: ?Sized + Send + 'static>(
    worker: &'a Arc<dyn Handler<C>>,
    limit: usize,
    events: Vec<Arc<Event>>,
) -> Events<'a, C> {
    let items = events.into_iter().map(|event| (Arc::clone(&event), event));
    Ahead::new(worker, limit, items.collect::<Vec<_>>())
}
