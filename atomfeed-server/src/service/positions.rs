use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atomfeed_core::EventRecord;
use atomfeed_core::store::{OffsetMarker, RecordRange, StoreResult};

use super::EventFeedService;
use super::feed::Feed;

/// How many events lie between two positions that are kept: what a page costs at most, wherever it
/// is, beside its own events.
const SPACING: u64 = 256;

/// So many positions of a feed are remembered: those of a million events.
const MAX_REMEMBERED: usize = 4_096;

/// Positions of a feed that were read before. They stay right as long as the feed is reckoned as it is.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownPositions(Arc<Mutex<Remembered>>);

#[derive(Debug, Default)]
struct Remembered {
    ids: BTreeMap<u64, i64>,
    /// The count of the last one there is.
    newest: Option<u64>,
}

impl KnownPositions {
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn newest(&self) -> Option<OffsetMarker> {
        let known = self.lock();
        let event_count = known.newest?;
        let event_id = *known.ids.get(&event_count)?;
        Some(OffsetMarker {
            event_id,
            event_count,
        })
    }

    /// The positions around a range, if those that are remembered are so near that there can be none
    /// between.
    fn around(&self, below: u64, above: u64) -> Option<(OffsetMarker, Option<OffsetMarker>)> {
        let known = self.lock();
        let position = |(&event_count, &event_id): (&u64, &i64)| OffsetMarker {
            event_id,
            event_count,
        };
        let found = known.ids.range(..=below).next_back().map(position);
        let found = found.unwrap_or_default();
        let next = known.ids.range(above..).next().map(position);
        let is_between = match next {
            Some(next) => next.event_count - above < SPACING,
            None => known.newest == Some(found.event_count),
        };
        (is_between && below - found.event_count < SPACING).then_some((found, next))
    }

    fn remember(&self, positions: impl IntoIterator<Item = OffsetMarker>, newest: Option<u64>) {
        let mut known = self.lock();
        if known.ids.len() >= MAX_REMEMBERED {
            *known = Remembered::default();
        }
        let positions = positions.into_iter().filter(|found| found.event_count > 0);
        let positions = positions.map(|found| (found.event_count, found.event_id));
        known.ids.extend(positions);
        known.newest = known.newest.max(newest.filter(|count| *count > 0));
    }
}

impl EventFeedService {
    /// Up to `limit` events of a feed from position `first` on; the first event has position 1.
    pub(super) async fn events_from(
        &self,
        feed: &Feed,
        first: u64,
        limit: u64,
    ) -> StoreResult<Vec<EventRecord>> {
        let before = first.saturating_sub(1);
        let end = before.saturating_add(limit);
        // What is sought behind a hole has a position behind it.
        let end = feed
            .hole_at(end)
            .map_or(end, |hole| hole.end.event_count + (end - hole.after));
        let (mut below, mut above) = self.positions_around(feed, before, end).await?;
        if before - below.event_count > 2 * SPACING {
            // Nobody has asked for the newest page for long, which keeps positions up.
            self.count(feed).await?;
            (below, above) = self.positions_around(feed, before, end).await?;
        }
        let range = RecordRange {
            after: below.event_id,
            through: above.map(|above| above.event_id),
            skip: before - below.event_count,
            limit,
        };
        self.store.records(&feed.scope, range).await
    }

    /// The last event at or before a position that has one, as a position.
    pub(super) async fn last_up_to(&self, feed: &Feed, position: u64) -> StoreResult<OffsetMarker> {
        if let Some(hole) = feed
            .hole_at(position)
            .filter(|hole| hole.end.event_count == position)
        {
            return Ok(hole.end);
        }
        let last = self.events_from(feed, position, 1).await?;
        let last = last.first().map(|record| OffsetMarker {
            event_id: record.id,
            event_count: position,
        });
        Ok(last.unwrap_or_default())
    }

    async fn positions_around(
        &self,
        feed: &Feed,
        below: u64,
        above: u64,
    ) -> StoreResult<(OffsetMarker, Option<OffsetMarker>)> {
        let (found, above) = match feed.positions.around(below, above) {
            Some(around) => around,
            None => {
                let around = self.store.positions_around(&feed.scope, below, above);
                let (found, above) = around.await?;
                let newest = above.is_none().then_some(found.event_count);
                feed.positions
                    .remember([found].into_iter().chain(above), newest);
                (found, above)
            }
        };
        Ok((nearer(found, feed.floor(below)), above))
    }

    /// How many events a feed has, or, where there are breaks, would have: the position of the newest.
    pub(super) async fn count(&self, feed: &Feed) -> StoreResult<u64> {
        let end = i64::MAX.unsigned_abs();
        let newest = match feed.positions.newest() {
            Some(newest) => newest,
            None => {
                let newest = self.store.position_below(&feed.scope, end).await?;
                feed.positions.remember([newest], Some(newest.event_count));
                newest
            }
        };
        let newest = nearer(newest, feed.floor(end));
        let since = self.store.count(&feed.scope, newest.event_id, None);
        let since = since.await?;
        if since < SPACING {
            return Ok(newest.event_count + since);
        }
        let last = self.keep_up(feed, newest).await?;
        let since = self.store.count(&feed.scope, last.event_id, None);
        Ok(last.event_count + since.await?)
    }

    /// Keeps positions of the events that came since `newest`, and says which is now the newest.
    async fn keep_up(&self, feed: &Feed, newest: OffsetMarker) -> StoreResult<OffsetMarker> {
        let ids = self
            .store
            .every_nth_id(&feed.scope, newest.event_id, SPACING)
            .await?;
        let positions: Vec<_> = (1..)
            .zip(ids)
            .map(|(nth, event_id)| OffsetMarker {
                event_id,
                event_count: newest.event_count + nth * SPACING,
            })
            .collect();
        // Without them the answer is right, and only slower.
        let keep = self
            .store
            .keep_positions(&feed.scope, &positions, feed.revision);
        if let Err(error) = keep.await {
            tracing::warn!(
                scope = %feed.scope,
                error = &error as &dyn std::error::Error,
                "positions of the feed were not kept; pages are slower until they are"
            );
        }
        let last = positions.last().copied().unwrap_or(newest);
        feed.positions.remember(positions, Some(last.event_count));
        Ok(last)
    }
}

/// Of two positions the one that leaves less to count.
fn nearer(one: OffsetMarker, other: OffsetMarker) -> OffsetMarker {
    match one.event_count >= other.event_count {
        true => one,
        false => other,
    }
}
