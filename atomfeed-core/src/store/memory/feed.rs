use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::MemoryStore;
use crate::chunking::{ChunkingChange, ChunkingHistory, ChunkingHistoryEntry, ChunkingStrategy};
use crate::store::{
    FeedStore, NewsListener, OffsetMarker, RecordRange, StoreError, StoreResult, TimeBounds,
};
use crate::{Category, EventRecord, FeedScope};

#[async_trait]
impl FeedStore for MemoryStore {
    async fn settle_chunking(
        &self,
        strategy: ChunkingStrategy,
        first: ChunkingHistoryEntry,
    ) -> StoreResult<ChunkingHistory> {
        let _lock = self.lock().await;
        let mut tables = self.shared.write();
        tables.state.settle(strategy)?;
        if tables.history.is_empty() {
            tables.history.push(first);
        }
        ChunkingHistory::new(strategy, tables.history.clone()).map_err(StoreError::from)
    }

    async fn change_chunking(
        &self,
        change: ChunkingChange,
        now: DateTime<Utc>,
    ) -> StoreResult<ChunkingHistoryEntry> {
        let _lock = self.lock().await;
        let mut tables = self.shared.write();
        let history = tables
            .state
            .history(&tables.history)?
            .ok_or_else(|| StoreError::from(crate::chunking::InvalidChunkingHistory::Empty))?;
        let newest = tables.records.iter().map(|record| record.timestamp).max();
        let whole = (String::new(), 0)..=(String::new(), u64::MAX);
        let last = tables.positions.range(whole).next_back();
        let (before, after) = last.map_or((0, i64::MIN), |((_, count), id)| (*count, *id));
        let count = before + tables.after(&FeedScope::All, after).count() as u64;
        let reached = tables.state.reached(&history, count, newest, now);
        let entry = change.plan(&history, reached)?;
        tables.history.push(entry);
        Ok(entry)
    }

    async fn records(
        &self,
        scope: &FeedScope,
        range: RecordRange,
    ) -> StoreResult<Vec<EventRecord>> {
        let tables = self.shared.read();
        let records = self
            .after(&tables, scope, range.after)
            .take_while(|record| range.through.is_none_or(|through| record.id <= through));
        let skip = usize::try_from(range.skip).unwrap_or(usize::MAX);
        let limit = usize::try_from(range.limit).unwrap_or(usize::MAX);
        Ok(records.skip(skip).take(limit).cloned().collect())
    }

    async fn records_between(
        &self,
        scope: &FeedScope,
        bounds: TimeBounds,
    ) -> StoreResult<Vec<EventRecord>> {
        let tables = self.shared.read();
        let within = |record: &&EventRecord| {
            bounds.start.is_none_or(|start| record.timestamp >= start)
                && record.timestamp < bounds.end
        };
        Ok(self
            .after(&tables, scope, i64::MIN)
            .filter(within)
            .cloned()
            .collect())
    }

    async fn count(&self, scope: &FeedScope, after: i64, through: Option<i64>) -> StoreResult<u64> {
        let tables = self.shared.read();
        let within = |record: &&EventRecord| through.is_none_or(|through| record.id <= through);
        let after = self.after(&tables, scope, after);
        Ok(after.take_while(within).count() as u64)
    }

    async fn every_nth_id(&self, scope: &FeedScope, after: i64, n: u64) -> StoreResult<Vec<i64>> {
        let tables = self.shared.read();
        let n = usize::try_from(n.max(1)).unwrap_or(usize::MAX);
        Ok(self
            .after(&tables, scope, after)
            .skip(n - 1)
            .step_by(n)
            .map(|record| record.id)
            .collect())
    }

    async fn newest_id(&self) -> StoreResult<i64> {
        Ok(self.shared.read().newest_id())
    }

    async fn listen(&self) -> StoreResult<Box<dyn NewsListener>> {
        Ok(Box::new(MemoryListener(self.shared.news.subscribe())))
    }

    fn one_spelling(&self, category: &Category) -> Category {
        match self.exact {
            true => category.clone(),
            false => category.in_lower_case(),
        }
    }

    async fn newest_timestamp(&self) -> StoreResult<Option<DateTime<Utc>>> {
        Ok(self
            .shared
            .read()
            .records
            .iter()
            .map(|record| record.timestamp)
            .max())
    }

    async fn position_below(&self, scope: &FeedScope, count: u64) -> StoreResult<OffsetMarker> {
        let key = self.key(scope);
        let tables = self.shared.read();
        let mut below = tables.positions.range((key.clone(), 0)..=(key, count));
        let found = below
            .next_back()
            .map(|((_, event_count), &event_id)| OffsetMarker {
                event_id,
                event_count: *event_count,
            });
        Ok(found.unwrap_or_default())
    }

    async fn position_above(
        &self,
        scope: &FeedScope,
        count: u64,
    ) -> StoreResult<Option<OffsetMarker>> {
        let key = self.key(scope);
        let tables = self.shared.read();
        let mut above = tables
            .positions
            .range((key.clone(), count)..=(key, u64::MAX));
        Ok(above
            .next()
            .map(|((_, event_count), &event_id)| OffsetMarker {
                event_id,
                event_count: *event_count,
            }))
    }

    async fn keep_positions(
        &self,
        scope: &FeedScope,
        positions: &[OffsetMarker],
        revision: u64,
    ) -> StoreResult<()> {
        let key = self.key(scope);
        let mut tables = self.shared.write();
        if tables.revision != revision {
            return Ok(());
        }
        for position in positions {
            let at = (key.clone(), position.event_count);
            tables.positions.entry(at).or_insert(position.event_id);
        }
        Ok(())
    }

    async fn sealed_until(&self) -> StoreResult<Option<DateTime<Utc>>> {
        Ok(self.shared.read().state.sealed_until)
    }

    async fn seal_until(&self, time: DateTime<Utc>) -> StoreResult<()> {
        let _lock = self.lock().await;
        let mut tables = self.shared.write();
        tables.state.sealed_until = tables.state.sealed_until.max(Some(time));
        Ok(())
    }

    async fn categories(&self) -> StoreResult<Vec<String>> {
        Ok(self.shared.read().spellings.iter().cloned().collect())
    }

    fn tells_spellings_apart(&self) -> bool {
        !self.exact
    }

    async fn count_spelled(&self, category: &str) -> StoreResult<u64> {
        let tables = self.shared.read();
        Ok(tables.spelled(category).count() as u64)
    }

    async fn nth_spelled(&self, category: &str, n: u64) -> StoreResult<Option<i64>> {
        let tables = self.shared.read();
        let before = usize::try_from(n).unwrap_or(usize::MAX).saturating_sub(1);
        let nth = tables.spelled(category).nth(before);
        Ok(nth.map(|record| record.id))
    }

    async fn offset_marker(&self, category: &str) -> StoreResult<Option<OffsetMarker>> {
        Ok(self.shared.read().offset_markers.get(category).copied())
    }

    async fn write_offset_marker(&self, category: &str, marker: OffsetMarker) -> StoreResult<()> {
        self.shared
            .write()
            .offset_markers
            .insert(category.to_owned(), marker);
        Ok(())
    }
}

/// Hears of what transactions of this process publish.
struct MemoryListener(watch::Receiver<()>);

#[async_trait]
impl NewsListener for MemoryListener {
    async fn heard(&mut self) -> StoreResult<()> {
        if self.0.changed().await.is_err() {
            // The store is gone: nobody publishes to it any more.
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}
