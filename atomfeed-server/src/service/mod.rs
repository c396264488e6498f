//! What is served: pages by number, the newest, and where the oldest is.

mod by_number;
mod by_time;
mod feed;
mod moment;
mod offset_markers;
mod oldest;
mod positions;
mod upkeep;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use self::moment::Moment;
pub use self::upkeep::Pruned;
use atomfeed_core::chunking::{
    ChunkingChange, ChunkingHistory, ChunkingHistoryEntry, ChunkingStrategy,
};
use atomfeed_core::store::{
    FeedStore, RecordRange, RenderedBefore, StoreError, StoreErrorKind, StoreResult,
};
use atomfeed_core::{Clock, FeedScope, SystemClock};
use tokio::sync::watch;

use self::feed::{Feed, KnownFeeds};
use crate::page::{Asked, PageContent, Rendered};
use crate::sequencer::News;
use crate::{FeedConfig, FeedError, Page, Sequencer};

/// Serves the events of a store as pages of Atom feeds: one feed of all events, and one for each
/// category.
///
/// ```
/// use atomfeed_core::store::MemoryStore;
/// use atomfeed_core::{FeedScope, NewEvent};
/// use atomfeed_server::{EventFeedService, FeedConfig, Publisher};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let mut transaction = store.transaction().await;
/// let event = NewEvent::new("Patient", "/patient/1").in_category("patient");
/// Publisher::new(store.clone()).publish(&mut transaction, &event).await?;
/// transaction.commit();
///
/// let config = FeedConfig::new("http://localhost:8080/feed".parse()?);
/// let service = EventFeedService::open(store, config).await?;
/// let page = service.recent(&FeedScope::All).await?;
/// assert_eq!((page.number, page.sealed), (1, false));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EventFeedService {
    store: Arc<dyn FeedStore>,
    config: Arc<FeedConfig>,
    clock: Arc<dyn Clock>,
    known: Arc<KnownFeeds>,
    /// The revision of the feeds as it was seen last.
    revision: Arc<AtomicU64>,
    /// Told when this process has published events.
    news: News,
}

impl EventFeedService {
    /// A service over a store. A store that has no chunking history yet gets the one that the
    /// configuration says.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Refused`] when the feed is chunked by the other strategy, or is to have time
    /// chunks and holds events of the future; else as the store has it.
    ///
    /// [`StoreErrorKind::Refused`]: atomfeed_core::store::StoreErrorKind::Refused
    pub async fn open(store: impl FeedStore, config: FeedConfig) -> StoreResult<Self> {
        Self::open_with_clock(store, config, SystemClock).await
    }

    /// As [`open`](Self::open), with a clock of the caller's.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_with_clock(
        store: impl FeedStore,
        config: FeedConfig,
        clock: impl Clock,
    ) -> StoreResult<Self> {
        let first = RecordRange {
            after: i64::MIN,
            through: None,
            skip: 0,
            limit: 1,
        };
        let first = store.records(&FeedScope::All, first).await?;
        let now = clock.now();
        if config.strategy == ChunkingStrategy::Time
            && store.feed_state().await?.history.is_none()
            && let Some(newest) = store
                .newest_timestamp()
                .await?
                .filter(|newest| *newest > now)
        {
            let context = format!(
                "opening a feed with time chunks: it is {now}, and there are events up to {newest}; \
                 time chunks hold no future: correct their times, or open it with number chunks"
            );
            return Err(StoreError::new(StoreErrorKind::Refused, context));
        }
        let oldest = first
            .first()
            .map_or(now, |record| record.timestamp.min(now));
        store
            .settle_chunking(config.strategy, config.first_chunk(oldest))
            .await?;
        look_at_fingerprint(&store, &config).await;
        Ok(Self {
            store: Arc::new(store),
            config: Arc::new(config),
            clock: Arc::new(clock),
            known: Arc::default(),
            revision: Arc::default(),
            news: News::default(),
        })
    }

    /// Hears from a sequencer of this process, and so from the publishers that wake it, when there may be
    /// events: who waits for them has them then at once. Without that, events of this process are found
    /// as those of others are: at once where the database tells, on PostgreSQL and in memory, else when
    /// it is looked for them the next time.
    #[must_use]
    pub fn hearing(mut self, sequencer: &Sequencer) -> Self {
        self.news = sequencer.news();
        self
    }

    /// The newest page of a feed. A feed without events has page 0, which is empty; with time
    /// chunks it is the page of the present.
    ///
    /// # Errors
    ///
    /// [`FeedError::Store`] when the store fails.
    pub async fn recent(&self, scope: &FeedScope) -> Result<Page, FeedError> {
        Ok(self.render(scope, Asked::Recent).await?.into())
    }

    /// A page of a feed by its number.
    ///
    /// # Errors
    ///
    /// [`FeedError::NotAPageNumber`] for 0, [`FeedError::NoSuchPage`] for a page that holds no
    /// event yet (or whose time has not come), [`FeedError::Pruned`] and [`FeedError::Lost`] for one
    /// that holds none any more, [`FeedError::Store`] when the store fails.
    pub async fn page(&self, scope: &FeedScope, number: u64) -> Result<Page, FeedError> {
        if number == 0 {
            return Err(FeedError::NotAPageNumber {
                scope: scope.clone(),
                asked: number.to_string(),
            });
        }
        Ok(self.render(scope, Asked::Number(number)).await?.into())
    }

    /// Reads a page and renders it, as that of the feed as it is when this returns.
    pub(crate) async fn render(
        &self,
        scope: &FeedScope,
        asked: Asked,
    ) -> Result<Rendered, FeedError> {
        let mut feed = self.known_feed(scope).await?;
        loop {
            let content = self.content(&feed, asked).await;
            if self.has_changed(&feed).await? {
                feed = self.feed(scope).await?;
                continue;
            }
            return match content? {
                Some(content) => Ok(content.render(&self.config, &feed.history, scope, asked)),
                None => Err(FeedError::NoSuchPage {
                    scope: scope.clone(),
                    asked: asked.to_string(),
                }),
            };
        }
    }

    /// What is on a page; `None` when there is no such page.
    async fn content(&self, feed: &Feed, asked: Asked) -> Result<Option<PageContent>, FeedError> {
        Ok(match (asked, feed.history.strategy()) {
            (Asked::Number(number), _) if feed.is_pruned(number) => {
                Some(self.pruned(feed, number).await?)
            }
            (Asked::Number(number), ChunkingStrategy::Number) => {
                self.page_by_number(feed, number).await?
            }
            (Asked::Number(number), ChunkingStrategy::Time) => {
                self.page_by_time(feed, number).await?
            }
            (Asked::Recent, ChunkingStrategy::Number) => Some(self.recent_by_number(feed).await?),
            (Asked::Recent, ChunkingStrategy::Time) => Some(self.recent_by_time(feed).await?),
        })
    }

    /// How the feeds are cut into pages.
    ///
    /// # Errors
    ///
    /// As the store has it.
    pub async fn history(&self) -> StoreResult<ChunkingHistory> {
        Ok(self.feed(&FeedScope::All).await?.history)
    }

    /// Changes how many events, or milliseconds, the pages hold from some point of the future on:
    /// else from the next page on.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Refused`](atomfeed_core::store::StoreErrorKind::Refused) when the change
    /// would touch a page that is published; the message names the first start that is allowed.
    pub async fn change_chunking(
        &self,
        change: ChunkingChange,
    ) -> StoreResult<ChunkingHistoryEntry> {
        // How far it has come is reckoned from breaks, too.
        self.feed(&FeedScope::All).await?;
        self.store.change_chunking(change, self.clock.now()).await
    }
}

impl EventFeedService {
    pub(crate) fn store(&self) -> &dyn FeedStore {
        self.store.as_ref()
    }

    pub(crate) fn config(&self) -> &FeedConfig {
        &self.config
    }

    pub(crate) fn news(&self) -> watch::Receiver<()> {
        self.news.listen()
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// The revision of the feeds as this process has seen it last.
    pub(crate) fn revision_seen(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    fn saw_revision(&self, revision: u64) {
        self.revision.fetch_max(revision, Ordering::AcqRel);
    }
}

/// Says so, when pages that caches may hold for ever are rendered otherwise now.
async fn look_at_fingerprint(store: &impl FeedStore, config: &FeedConfig) {
    let (url, fingerprint) = (config.base(), config.fingerprint().to_string());
    match store.keep_fingerprint(url, &fingerprint).await {
        Ok(None) => {}
        Ok(Some(RenderedBefore::At(before))) => tracing::warn!(
            url,
            before,
            "pages of this feed were at another public URL before, or are served there, too; if that was \
             changed, empty the caches in front of it, and export its archive anew: links on sealed \
             pages lead to where the feed was"
        ),
        Ok(Some(_)) => tracing::warn!(
            url,
            "pages of this feed are rendered otherwise than before: its title, author, generator, id \
             prefix or line ends were changed, or the version of the library was; empty the caches \
             in front of it, and export its archive anew, or readers see pages of both kinds"
        ),
        // A database that may only be read, say.
        Err(error) => tracing::warn!(
            url,
            error = &error as &dyn std::error::Error,
            "whether pages are rendered as before is not known; if the configuration was changed, \
             empty the caches in front of the feed"
        ),
    }
}

impl std::fmt::Debug for EventFeedService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventFeedService")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
