use std::sync::Arc;

use atomfeed_core::Event;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::AtomFeedClient;
use super::ahead::Ahead;
use super::pages::{FetchedPage, Pages, Visited};
use super::watch::Watch;
use crate::worker::{Handler, Prepared};
use crate::{ProcessErrorKind, WorkerError};

/// An event, with what the worker brought for it, or why it could not.
type Brought = (Arc<Event>, Result<Prepared, WorkerError>);

/// So many bytes of content weigh as much as an event, where it is counted how many are at hand.
const BYTES_AN_EVENT: usize = 64 << 10;

/// Yields the events of a feed from a page on, prepared. The next pages are fetched while the events of
/// this one are worked, until as many are at hand as a transaction takes. What was begun is aborted when
/// this is dropped.
pub(super) struct Intake<'a, C: ?Sized> {
    worker: &'a Arc<dyn Handler<C>>,
    prepare_ahead: usize,
    events: Events<'a, C>,
    pages: mpsc::UnboundedReceiver<Result<Unread, ProcessErrorKind>>,
    room: Arc<Semaphore>,
    reader: Option<AbortOnDropHandle<()>>,
}

type Events<'a, C> = Ahead<'a, C, std::vec::IntoIter<(Arc<Event>, Arc<Event>)>>;

/// The events of a page.
struct Unread {
    events: Vec<Arc<Event>>,
    /// How much room they take.
    weight: u32,
}

impl<'a, C: ?Sized + Send + 'static> Intake<'a, C> {
    /// From a page on, of which these events are unread.
    pub(super) fn new(
        client: &'a AtomFeedClient<C>,
        page: FetchedPage,
        unread: Vec<Arc<Event>>,
    ) -> Self {
        let (sender, pages) = mpsc::unbounded_channel();
        let limit = u32::try_from(client.settings.batch)
            .unwrap_or(u32::MAX)
            .min(100_000);
        let room = Arc::new(Semaphore::new(limit as usize));
        let reader = Reader {
            pages: client.pages.clone(),
            watch: Arc::clone(&client.watch),
            sender,
            room: Arc::clone(&room),
            limit,
        };
        let worker = &client.worker;
        // What was down is asked once.
        let prepare_ahead = match client.outages.is_known(&client.settings.backoff) {
            true => 1,
            false => client.settings.prepare_ahead,
        };
        Self {
            worker,
            prepare_ahead,
            events: ahead(worker, prepare_ahead, unread),
            pages,
            room,
            reader: Some(AbortOnDropHandle::new(tokio::spawn(reader.read_on(page)))),
        }
    }

    /// The next event; `None` at the end of the feed.
    ///
    /// Not cancel safe: an event that was taken and not yielded is passed over by who goes on with this.
    pub(super) async fn next(&mut self) -> Result<Option<Brought>, ProcessErrorKind> {
        loop {
            if let Some(ready) = self.events.next().await {
                return Ok(Some(ready));
            }
            let Some(unread) = self.pages.recv().await else {
                return self.end().await;
            };
            let Unread { events, weight } = unread?;
            self.room.add_permits(weight as usize);
            self.events = ahead(self.worker, self.prepare_ahead, events);
        }
    }

    /// The next event, if it is to be had on the spot.
    pub(super) fn next_at_hand(&mut self) -> Option<Brought> {
        self.events.next_at_hand()
    }

    /// Whether the next event is to be had without waiting for a page.
    pub(super) fn is_ready(&self) -> bool {
        !self.events.is_empty() || !self.pages.is_empty() || self.pages.is_closed()
    }

    async fn end(&mut self) -> Result<Option<Brought>, ProcessErrorKind> {
        if let Some(reader) = self.reader.take()
            && let Err(error) = reader.await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
        // Or the runtime is being shut down.
        Ok(None)
    }
}

/// Fetches pages, one after the other.
struct Reader {
    pages: Pages,
    watch: Arc<Watch>,
    sender: mpsc::UnboundedSender<Result<Unread, ProcessErrorKind>>,
    room: Arc<Semaphore>,
    limit: u32,
}

impl Reader {
    /// Ends at the head of the feed, with an error, or when nobody wants more.
    async fn read_on(self, mut page: FetchedPage) {
        let mut visited = Visited::default();
        visited.add(&page);
        loop {
            match self.next(&mut visited, &page).await {
                Ok(None) => {
                    self.watch.head(&page);
                    return;
                }
                Ok(Some(next)) => {
                    let unread = self.weighed(next.events_beyond(&page));
                    page = next;
                    // It is never closed.
                    if let Ok(room) = self.room.acquire_many(unread.weight).await {
                        room.forget();
                    }
                    if self.sender.send(Ok(unread)).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    // Told once the events before it were dealt with.
                    let _ = self.sender.send(Err(error));
                    return;
                }
            }
        }
    }

    async fn next(
        &self,
        visited: &mut Visited,
        page: &FetchedPage,
    ) -> Result<Option<FetchedPage>, ProcessErrorKind> {
        let Some(url) = page.next()? else {
            return Ok(None);
        };
        let next = self.pages.fetch(url).await?;
        visited.check(&next)?;
        next.must_follow(page)?;
        Ok(Some(next))
    }

    fn weighed(&self, events: Vec<Arc<Event>>) -> Unread {
        let bytes: usize = events.iter().map(|event| event.content().len()).sum();
        let weight = events.len() + bytes / BYTES_AN_EVENT;
        Unread {
            events,
            weight: u32::try_from(weight)
                .unwrap_or(u32::MAX)
                .clamp(1, self.limit),
        }
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
