use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::MemoryStore;
use crate::FeedScope;
use crate::store::{
    Breaks, Cut, FeedState, Hole, Jump, OldEvent, RenderedBefore, StoreError, StoreResult,
    UpkeepStore,
};

#[async_trait]
impl UpkeepStore for MemoryStore {
    async fn feed_state(&self) -> StoreResult<FeedState> {
        let tables = self.shared.read();
        Ok(FeedState {
            history: tables.state.history(&tables.history)?,
            revision: tables.revision,
        })
    }

    async fn breaks(&self, scope: &FeedScope) -> StoreResult<Breaks> {
        let key = self.key(scope);
        let tables = self.shared.read();
        let holes = tables
            .holes
            .range((key.clone(), i64::MIN)..=(key.clone(), i64::MAX));
        Ok(Breaks {
            cut: tables.cuts.get(&key).copied(),
            jumps: tables.jumps.clone(),
            holes: holes.map(|(_, hole)| *hole).collect(),
        })
    }

    async fn keep_fingerprint(
        &self,
        public_url: &str,
        fingerprint: &str,
    ) -> StoreResult<Option<RenderedBefore>> {
        let mut tables = self.shared.write();
        let now = (public_url.to_owned(), fingerprint.to_owned());
        let before = tables.fingerprint.replace(now);
        Ok(match before {
            None => None,
            Some((url, _)) if url != public_url => Some(RenderedBefore::At(url)),
            Some((_, before)) => (before != fingerprint).then_some(RenderedBefore::Otherwise),
        })
    }

    async fn keep_hole(&self, scope: &FeedScope, hole: Hole) -> StoreResult<()> {
        let mut tables = self.shared.write();
        let at = (self.key(scope), hole.end.event_id);
        tables.holes.entry(at).or_insert(hole);
        let at = (self.key(scope), hole.end.event_count);
        tables.positions.entry(at).or_insert(hole.end.event_id);
        Ok(())
    }

    async fn keep_cuts(&self, cuts: &[(FeedScope, Cut)], revision: u64) -> StoreResult<()> {
        let mut tables = self.shared.write();
        if tables.revision != revision {
            return Err(StoreError::revised("pruning the feeds"));
        }
        let mut raised = false;
        for (scope, cut) in cuts {
            let key = self.key(scope);
            let kept = tables.cuts.entry(key.clone()).or_default();
            if cut.page <= kept.page {
                continue;
            }
            *kept = *cut;
            raised = true;
            let before = cut.before;
            let at = (key.clone(), before.event_count);
            tables
                .positions
                .retain(|(feed, count), _| *feed != key || *count >= before.event_count);
            if before.event_count > 0 {
                tables.positions.insert(at, before.event_id);
            }
        }
        tables.revision += u64::from(raised);
        Ok(())
    }

    async fn first_id_since(
        &self,
        scope: &FeedScope,
        time: DateTime<Utc>,
    ) -> StoreResult<Option<i64>> {
        let tables = self.shared.read();
        let mut since = self
            .after(&tables, scope, i64::MIN)
            .filter(|record| record.timestamp >= time);
        Ok(since.next().map(|record| record.id))
    }

    async fn old_events(&self, after: i64, through: i64, limit: u32) -> StoreResult<Vec<OldEvent>> {
        let tables = self.shared.read();
        let old = tables
            .after(&FeedScope::All, after)
            .take_while(|record| record.id <= through)
            .take(limit as usize);
        let old = old.map(|record| OldEvent {
            id: record.id,
            category: record.category.clone(),
            timestamp: record.timestamp,
        });
        Ok(old.collect())
    }

    async fn delete_events(&self, ids: &[i64]) -> StoreResult<()> {
        let _lock = self.lock().await;
        self.shared.write().delete_records(ids);
        Ok(())
    }

    async fn continue_after(&self, id: i64) -> StoreResult<()> {
        let _lock = self.lock().await;
        let mut tables = self.shared.write();
        if tables.jumps.iter().any(|jump| jump.event_id == id) {
            return Ok(());
        }
        let last = tables.last_id();
        if id <= last {
            return Err(StoreError::has_come_to(id, last));
        }
        tables.jumps.push(Jump {
            event_id: id,
            lost: id.abs_diff(last),
        });
        tables.revision += 1;
        Ok(())
    }
}
