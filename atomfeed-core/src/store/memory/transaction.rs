use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeBounds;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::OwnedMutexGuard;

use super::Shared;
use super::tables::{RetryKey, RowKey};
use crate::chunking::ChunkingStrategy;
use crate::store::{Claim, FeedStatus, MinuteCounts, StoreError, StoreErrorKind, StoreResult};
use crate::{Action, EntryId, EventRecord, FailedEvent, FailedEventRetryLog, Marker, NewEvent};

/// An open transaction of a [`MemoryStore`](super::MemoryStore): what a publisher writes with, and
/// what a worker is lent. Dropped without a commit, it never happened.
pub struct MemoryConnection {
    shared: Arc<Shared>,
    _writer: OwnedMutexGuard<()>,
    pub(super) pending: Pending,
}

/// What a transaction has changed and not yet committed: of each table the rows it wrote (`Some`)
/// or removed (`None`).
#[derive(Debug, Default)]
pub(super) struct Pending {
    records: Vec<EventRecord>,
    last_timestamp: Option<DateTime<Utc>>,
    pub(super) markers: BTreeMap<String, Option<Marker>>,
    pub(super) failed: BTreeMap<i64, Option<FailedEvent>>,
    pub(super) claims: BTreeMap<String, Option<Claim>>,
    pub(super) completed: BTreeMap<(String, EntryId), Option<()>>,
    pub(super) statuses: BTreeMap<String, Option<FeedStatus>>,
    pub(super) minutes: BTreeMap<(String, DateTime<Utc>), Option<MinuteCounts>>,
    pub(super) actions: BTreeMap<i64, Option<Action>>,
    pub(super) retry_log: BTreeMap<RetryKey, Option<FailedEventRetryLog>>,
    rows: BTreeMap<RowKey, Option<String>>,
    pub(super) last_failed_id: Option<i64>,
    pub(super) last_retry_id: Option<i64>,
}

impl MemoryConnection {
    pub(super) fn new(shared: Arc<Shared>, writer: OwnedMutexGuard<()>) -> Self {
        Self {
            shared,
            _writer: writer,
            pending: Pending::default(),
        }
    }

    /// Writes a row of the application's own: what a table is to a database. A value that stands
    /// under the key is replaced.
    pub fn put(&mut self, table: &str, key: &str, value: impl Into<String>) {
        self.pending
            .rows
            .insert((table.to_owned(), key.to_owned()), Some(value.into()));
    }

    /// Removes a row of the application's own.
    pub fn remove(&mut self, table: &str, key: &str) {
        self.pending
            .rows
            .insert((table.to_owned(), key.to_owned()), None);
    }

    /// A row of the application's own, as this transaction sees it.
    pub fn get(&self, table: &str, key: &str) -> Option<String> {
        let key = (table.to_owned(), key.to_owned());
        match self.pending.rows.get(&key) {
            Some(pending) => pending.clone(),
            None => self.shared.read().rows.get(&key).cloned(),
        }
    }

    /// Makes all of it last.
    pub fn commit(self) {
        let Pending {
            records,
            last_timestamp,
            markers,
            failed,
            claims,
            completed,
            statuses,
            minutes,
            actions,
            retry_log,
            rows,
            last_failed_id,
            last_retry_id,
        } = self.pending;
        let has_events = !records.is_empty();
        let mut tables = self.shared.write();
        for record in records {
            tables.insert_record(record);
        }
        tables.state.last_timestamp = last_timestamp.max(tables.state.last_timestamp);
        apply(&mut tables.markers, markers);
        apply(&mut tables.failed, failed);
        apply(&mut tables.claims, claims);
        apply(&mut tables.completed, completed);
        apply(&mut tables.statuses, statuses);
        apply(&mut tables.minutes, minutes);
        apply(&mut tables.actions, actions);
        apply(&mut tables.retry_log, retry_log);
        apply(&mut tables.rows, rows);
        tables.last_failed_id = last_failed_id.unwrap_or(tables.last_failed_id);
        tables.last_retry_id = last_retry_id.unwrap_or(tables.last_retry_id);
        drop(tables);
        if has_events {
            self.shared.news.send_replace(());
        }
    }

    pub(super) fn publish(&mut self, event: &NewEvent, now: DateTime<Utc>) -> StoreResult<()> {
        event.validate()?;
        let tables = self.shared.read();
        let uuid = event.uuid().to_string();
        let pending = &mut self.pending;
        if tables.uuids.contains(&uuid) || pending.records.iter().any(|record| record.uuid == uuid)
        {
            return Err(StoreError::new(
                StoreErrorKind::Duplicate,
                format!("publishing event {uuid}: an event with this uuid is there already"),
            ));
        }
        let mut state = tables.state;
        state.last_timestamp = state.last_timestamp.max(pending.last_timestamp);
        let timestamp = state.timestamp(event, now)?;
        let last_id = pending
            .records
            .last()
            .map_or(tables.last_id(), |record| record.id);
        pending
            .records
            .push(EventRecord::of(event, last_id + 1, timestamp));
        if state.strategy == Some(ChunkingStrategy::Time) {
            pending.last_timestamp = pending.last_timestamp.max(Some(timestamp));
        }
        Ok(())
    }

    pub(super) fn tables(&self) -> std::sync::RwLockReadGuard<'_, super::tables::Tables> {
        self.shared.read()
    }
}

impl fmt::Debug for MemoryConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryConnection")
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}

fn apply<K: Ord, V>(table: &mut BTreeMap<K, V>, pending: BTreeMap<K, Option<V>>) {
    for (key, value) in pending {
        match value {
            Some(value) => drop(table.insert(key, value)),
            None => drop(table.remove(&key)),
        }
    }
}

/// The rows of a range as a transaction sees them: what it wrote over what was committed.
pub(super) fn merged<'a, K: Ord, V>(
    table: &'a BTreeMap<K, V>,
    pending: &'a BTreeMap<K, Option<V>>,
    range: impl RangeBounds<K> + Clone,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    let mut committed = table
        .range(range.clone())
        .filter(|(key, _)| !pending.contains_key(*key))
        .peekable();
    let mut written = pending
        .range(range)
        .filter_map(|(key, value)| Some((key, value.as_ref()?)))
        .peekable();
    std::iter::from_fn(move || match (committed.peek(), written.peek()) {
        (Some((old, _)), Some((new, _))) if old < new => committed.next(),
        (_, Some(_)) => written.next(),
        _ => committed.next(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_sees_its_own_rows_in_order() {
        let table = BTreeMap::from([(1, 'a'), (3, 'c'), (5, 'e')]);
        let pending = BTreeMap::from([(2, Some('b')), (3, None), (5, Some('E')), (9, Some('z'))]);
        let seen: Vec<_> = merged(&table, &pending, 1..9)
            .map(|(key, value)| (*key, *value))
            .collect();
        assert_eq!(seen, [(1, 'a'), (2, 'b'), (5, 'E')]);
    }
}
