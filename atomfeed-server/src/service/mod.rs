//! What is served: pages by number, and the newest.

mod by_number;
mod by_time;
mod offset_markers;
mod positions;

use std::sync::Arc;

use atomfeed_core::chunking::{
    ChunkingChange, ChunkingHistory, ChunkingHistoryEntry, ChunkingStrategy, InvalidChunkingHistory,
};
use atomfeed_core::store::{FeedStore, RecordRange, StoreError, StoreErrorKind, StoreResult};
use atomfeed_core::{Clock, FeedScope, SystemClock};

use crate::page::PageContent;
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
            && store.chunking().await?.is_none()
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
        })
    }

    /// The newest page of a feed. A feed without events has page 0, which is empty; with time
    /// chunks it is the page of the present.
    ///
    /// # Errors
    ///
    /// [`FeedError::Store`] when the store fails.
    pub async fn recent(&self, scope: &FeedScope) -> Result<Page, FeedError> {
        let mut history = self.history().await?;
        loop {
            let content = match history.strategy() {
                ChunkingStrategy::Number => self.recent_by_number(scope, &history).await?,
                ChunkingStrategy::Time => self.recent_by_time(scope, &history).await?,
            };
            if !self.changed(&mut history).await? {
                return Ok(content.render(&self.config, scope, "recent"));
            }
        }
    }

    /// A page of a feed by its number.
    ///
    /// # Errors
    ///
    /// [`FeedError::NotAPageNumber`] for 0, [`FeedError::NoSuchPage`] for a page that holds no
    /// event yet (or whose time has not come), [`FeedError::Store`] when the store fails.
    pub async fn page(&self, scope: &FeedScope, number: u64) -> Result<Page, FeedError> {
        let asked = number.to_string();
        if number == 0 {
            return Err(FeedError::NotAPageNumber {
                scope: scope.clone(),
                asked,
            });
        }
        let mut history = self.history().await?;
        loop {
            let content: Option<PageContent> = match history.strategy() {
                ChunkingStrategy::Number => self.page_by_number(scope, &history, number).await?,
                ChunkingStrategy::Time => self.page_by_time(scope, &history, number).await?,
            };
            if self.changed(&mut history).await? {
                continue;
            }
            return match content {
                Some(content) => Ok(content.render(&self.config, scope, &asked)),
                None => Err(FeedError::NoSuchPage {
                    scope: scope.clone(),
                    asked,
                }),
            };
        }
    }

    /// Whether the chunking history was changed since it was read, and takes it over. What was read
    /// meanwhile may hold events that came after the change, cut as before it.
    async fn changed(&self, history: &mut ChunkingHistory) -> StoreResult<bool> {
        let now = self.history().await?;
        Ok(std::mem::replace(history, now.clone()) != now)
    }

    /// How the feeds are cut into pages.
    ///
    /// # Errors
    ///
    /// As the store has it.
    pub async fn history(&self) -> StoreResult<ChunkingHistory> {
        // Opening settled it; somebody may have removed the rows since.
        self.store
            .chunking()
            .await?
            .ok_or_else(|| StoreError::from(InvalidChunkingHistory::Empty))
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
