use atomfeed_core::store::{OffsetMarker, RecordRange, StoreResult};
use atomfeed_core::{EventRecord, FeedScope};

use super::EventFeedService;

/// How many events lie between two positions that are kept: what a page costs at most, wherever it
/// is, beside its own events.
const SPACING: u64 = 256;

impl EventFeedService {
    /// Up to `limit` events of a feed from position `first` on; the first event has position 1.
    pub(super) async fn events_from(
        &self,
        scope: &FeedScope,
        first: u64,
        limit: u64,
    ) -> StoreResult<Vec<EventRecord>> {
        let before = first.saturating_sub(1);
        let end = before.saturating_add(limit);
        let (mut below, mut above) = self.store.positions_around(scope, before, end).await?;
        if before - below.event_count > 2 * SPACING {
            // Nobody has asked for the newest page for long, which keeps positions up.
            self.count(scope).await?;
            (below, above) = self.store.positions_around(scope, before, end).await?;
        }
        let range = RecordRange {
            after: below.event_id,
            through: above.map(|above| above.event_id),
            skip: before - below.event_count,
            limit,
        };
        self.store.records(scope, range).await
    }

    /// How many events a feed has.
    pub(super) async fn count(&self, scope: &FeedScope) -> StoreResult<u64> {
        let newest = self
            .store
            .position_below(scope, i64::MAX.unsigned_abs())
            .await?;
        let since = self.store.count(scope, newest.event_id, None).await?;
        if since < SPACING {
            return Ok(newest.event_count + since);
        }
        let last = self.keep_up(scope, newest).await?;
        Ok(last.event_count + self.store.count(scope, last.event_id, None).await?)
    }

    /// Keeps positions of the events that came since `newest`, and says which is now the newest.
    async fn keep_up(&self, scope: &FeedScope, newest: OffsetMarker) -> StoreResult<OffsetMarker> {
        let ids = self
            .store
            .every_nth_id(scope, newest.event_id, SPACING)
            .await?;
        let positions: Vec<_> = (1..)
            .zip(ids)
            .map(|(nth, event_id)| OffsetMarker {
                event_id,
                event_count: newest.event_count + nth * SPACING,
            })
            .collect();
        // Without them the answer is right, and only slower.
        if let Err(error) = self.store.keep_positions(scope, &positions).await {
            tracing::warn!(
                %scope,
                error = &error as &dyn std::error::Error,
                "positions of the feed were not kept; pages are slower until they are"
            );
        }
        Ok(positions.last().copied().unwrap_or(newest))
    }
}
