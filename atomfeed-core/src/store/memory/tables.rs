use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Utc};

use crate::category::fold;
use crate::chunking::ChunkingHistoryEntry;
use crate::store::{Claim, Cut, FeedStatus, Hole, Jump, MinuteCounts, OffsetMarker, SequenceState};
use crate::{Action, EntryId, EventRecord, FailedEvent, FailedEventRetryLog, FeedScope, Marker};

/// What was committed.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// Ids ascend.
    pub(super) records: Vec<EventRecord>,
    /// For each folded category, where its records stand in `records`.
    by_category: BTreeMap<String, Vec<usize>>,
    pub(super) spellings: BTreeSet<String>,
    pub(super) uuids: HashSet<String>,
    pub(super) history: Vec<ChunkingHistoryEntry>,
    pub(super) state: SequenceState,
    /// By feed and count.
    pub(super) positions: BTreeMap<(String, u64), i64>,
    /// By feed.
    pub(super) cuts: BTreeMap<String, Cut>,
    pub(super) jumps: Vec<Jump>,
    /// By feed and the id that the jump ended with.
    pub(super) holes: BTreeMap<(String, i64), Hole>,
    pub(super) revision: u64,
    /// The public URL, and what pages are rendered with there.
    pub(super) fingerprint: Option<(String, String)>,
    pub(super) offset_markers: BTreeMap<String, OffsetMarker>,
    pub(super) markers: BTreeMap<String, Marker>,
    pub(super) failed: BTreeMap<i64, FailedEvent>,
    /// By feed.
    pub(super) claims: BTreeMap<String, Claim>,
    /// Feed and event.
    pub(super) completed: BTreeMap<(String, EntryId), ()>,
    /// By feed.
    pub(super) statuses: BTreeMap<String, FeedStatus>,
    /// By feed and minute.
    pub(super) minutes: BTreeMap<(String, DateTime<Utc>), MinuteCounts>,
    pub(super) actions: BTreeMap<i64, Action>,
    pub(super) retry_log: BTreeMap<RetryKey, FailedEventRetryLog>,
    /// The application's own rows, by table and key.
    pub(super) rows: BTreeMap<RowKey, String>,
    pub(super) last_failed_id: i64,
    pub(super) last_retry_id: i64,
}

/// Feed, event, and id of a row of the retry log.
pub(super) type RetryKey = (String, String, i64);

/// Table and key of a row of the application's own.
pub(super) type RowKey = (String, String);

impl Tables {
    pub(super) fn insert_record(&mut self, record: EventRecord) {
        let index = self.records.len();
        if let Some(category) = &record.category {
            self.by_category
                .entry(fold(category))
                .or_default()
                .push(index);
            self.spellings.insert(category.clone());
        }
        self.uuids.insert(record.uuid.clone());
        self.records.push(record);
    }

    /// The id after which the next event's comes.
    pub(super) fn last_id(&self) -> i64 {
        let jumped = self.jumps.last().map_or(0, |jump| jump.event_id);
        self.newest_id().max(jumped)
    }

    /// The id of the newest event; 0 when there is none.
    pub(super) fn newest_id(&self) -> i64 {
        self.records.last().map_or(0, |record| record.id)
    }

    /// Removes those records whose ids, which ascend, are given.
    pub(super) fn delete_records(&mut self, ids: &[i64]) {
        let records = std::mem::take(&mut self.records);
        let spellings = std::mem::take(&mut self.spellings);
        self.by_category.clear();
        self.uuids.clear();
        let kept = records
            .into_iter()
            .filter(|record| ids.binary_search(&record.id).is_err());
        for record in kept {
            self.insert_record(record);
        }
        self.spellings = spellings;
    }

    /// The records of a feed with an id above `after`, in the order of their ids.
    pub(super) fn after(
        &self,
        scope: &FeedScope,
        after: i64,
    ) -> Box<dyn Iterator<Item = &EventRecord> + '_> {
        match scope {
            FeedScope::All => {
                let from = self.records.partition_point(|record| record.id <= after);
                Box::new(self.records[from..].iter())
            }
            FeedScope::Category(category) => {
                let indices = self
                    .by_category
                    .get(&category.folded())
                    .map_or(&[][..], |all| all);
                let from = indices.partition_point(|&index| self.records[index].id <= after);
                Box::new(indices[from..].iter().map(|&index| &self.records[index]))
            }
        }
    }

    /// The records of a category in exactly this spelling.
    pub(super) fn spelled(&self, category: &str) -> impl Iterator<Item = &EventRecord> {
        let records = self.records.iter();
        records.filter(move |record| record.category.as_deref() == Some(category))
    }

    pub(super) fn rows(&self, table: &str) -> Vec<(String, String)> {
        self.rows
            .range((table.to_owned(), String::new())..)
            .take_while(|((name, _), _)| name == table)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect()
    }
}
