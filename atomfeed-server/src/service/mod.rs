//! What is served: pages by number, and the newest.

mod by_number;
mod by_time;
mod feed;
mod offset_markers;
mod positions;
mod upkeep;

use std::sync::Arc;

pub use self::upkeep::Pruned;
use atomfeed_core::chunking::{
    ChunkingChange, ChunkingHistory, ChunkingHistoryEntry, ChunkingStrategy,
};
use atomfeed_core::store::{FeedStore, RecordRange, StoreError, StoreErrorKind, StoreResult};
use atomfeed_core::{Clock, FeedScope, SystemClock};

use self::feed::KnownFeeds;
use crate::{FeedConfig, FeedError, Page};

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
        Ok(Self {
            store: Arc::new(store),
            config: Arc::new(config),
            clock: Arc::new(clock),
            known: Arc::default(),
        })
    }

    /// The newest page of a feed. A feed without events has page 0, which is empty; with time
    /// chunks it is the page of the present.
    ///
    /// # Errors
    ///
    /// [`FeedError::Store`] when the store fails.
    pub async fn recent(&self, scope: &FeedScope) -> Result<Page, FeedError> {
        let mut feed = self.known_feed(scope).await?;
        loop {
            let content = match feed.history.strategy() {
                ChunkingStrategy::Number => self.recent_by_number(&feed).await,
                ChunkingStrategy::Time => self.recent_by_time(&feed).await,
            };
            if !self.has_changed(&feed).await? {
                return Ok(content?.render(&self.config, scope, "recent"));
            }
            feed = self.feed(scope).await?;
        }
    }

    /// A page of a feed by its number.
    ///
    /// # Errors
    ///
    /// [`FeedError::NotAPageNumber`] for 0, [`FeedError::NoSuchPage`] for a page that holds no
    /// event yet (or whose time has not come), [`FeedError::Pruned`] and [`FeedError::Lost`] for one
    /// that holds none any more, [`FeedError::Store`] when the store fails.
    pub async fn page(&self, scope: &FeedScope, number: u64) -> Result<Page, FeedError> {
        let asked = number.to_string();
        if number == 0 {
            return Err(FeedError::NotAPageNumber {
                scope: scope.clone(),
                asked,
            });
        }
        let mut feed = self.known_feed(scope).await?;
        loop {
            let content = match feed.history.strategy() {
                _ if feed.is_pruned(number) => self.pruned(&feed, number).await.map(Some),
                ChunkingStrategy::Number => self.page_by_number(&feed, number).await,
                ChunkingStrategy::Time => {
                    self.page_by_time(&feed, number).await.map_err(Into::into)
                }
            };
            if self.has_changed(&feed).await? {
                feed = self.feed(scope).await?;
                continue;
            }
            return match content? {
                Some(content) => Ok(content.render(&self.config, scope, &asked)),
                None => Err(FeedError::NoSuchPage {
                    scope: scope.clone(),
                    asked,
                }),
            };
        }
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

impl std::fmt::Debug for EventFeedService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventFeedService")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
