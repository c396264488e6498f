use atomfeed_core::FeedScope;
use atomfeed_core::chunking::ChunkingStrategy;
use atomfeed_core::store::{FeedState, NewestEvent, StoreResult};

use super::EventFeedService;

/// What all feeds hang on: while two moments are the same, so is every page of every feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    state: FeedState,
    newest: Option<NewestEvent>,
    /// With time chunks, the page of the clock: a page ends without an event, too.
    page_of_now: Option<u64>,
}

impl Moment {
    /// Whether the pages of the feeds are cut by the clock.
    pub(crate) fn is_of_time(&self) -> bool {
        self.page_of_now.is_some()
    }

    /// Whether there is nothing between the two but events.
    pub(crate) fn differs_by_events(&self, other: &Self) -> bool {
        self.state == other.state && self.page_of_now == other.page_of_now
    }
}

impl EventFeedService {
    /// The moment that is now: no page is read for it.
    pub(crate) async fn moment(&self) -> StoreResult<Moment> {
        let state = self.store.feed_state().await?;
        let newest = self.store.newest_event().await?;
        self.saw_revision(state.revision);
        let of_time = state.history.as_ref();
        let page_of_now = match of_time.filter(|of| of.strategy() == ChunkingStrategy::Time) {
            Some(history) => {
                // A server whose clock is ahead may have ended a page already.
                let now = self.store.sealed_until().await?.max(Some(self.clock.now()));
                let now = now.map_or(0, |now| now.timestamp_millis());
                Some(history.number_of(now).unwrap_or_default())
            }
            None => None,
        };
        Ok(Moment {
            page_of_now,
            state,
            newest,
        })
    }

    /// Whether a feed has events behind that with an id; behind none, whether it has any.
    pub(crate) async fn has_events_behind(
        &self,
        scope: &FeedScope,
        id: Option<i64>,
    ) -> StoreResult<bool> {
        let behind = id.unwrap_or(i64::MIN);
        Ok(self.store.count(scope, behind, None).await? > 0)
    }
}
