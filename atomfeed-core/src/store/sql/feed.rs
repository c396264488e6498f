use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::error::Doing;
use super::{Dialect, Row, SqlStore, Value};
use crate::chunking::{
    ChunkingChange, ChunkingHistory, ChunkingHistoryEntry, ChunkingStrategy, InvalidChunkingHistory,
};
use crate::store::{FeedStore, OffsetMarker, RecordRange, StoreError, StoreResult, TimeBounds};
use crate::{EventRecord, FeedScope};

/// A statement over the rows of a feed: all of them, or those of a category in any spelling. The
/// category is the first value that is bound.
macro_rules! over_feed {
    ($scope:expr, $select:literal, $conditions:literal) => {
        match $scope {
            FeedScope::All => concat!($select, " WHERE ", $conditions),
            FeedScope::Category(_) => concat!(
                $select,
                " WHERE category IN (SELECT category FROM {s}atomfeed_categories WHERE folded = ?) \
                 AND ",
                $conditions
            ),
        }
    };
}

const SET_STRATEGY: &str = "UPDATE {s}atomfeed_feed_state SET strategy = ? WHERE id = 1";
const SET_SEALED_UNTIL: &str = "UPDATE {s}atomfeed_feed_state SET sealed_until = ? WHERE id = 1";

const SELECT_HISTORY: &str = "SELECT chunk_length, start FROM {s}chunking_history ORDER BY id";
const INSERT_HISTORY: &str = "INSERT INTO {s}chunking_history (chunk_length, start) VALUES (?, ?)";

const NEWEST_ID: &str = "SELECT MAX(id) FROM {s}event_records";
const NEWEST_TIMESTAMP: &str = "SELECT MAX(timestamp) FROM {s}event_records";
const COUNT_ALL: &str = "SELECT COUNT(*) FROM {s}event_records WHERE id > ?";

const POSITION_BELOW: &str = "SELECT event_id, event_count FROM {s}atomfeed_positions
    WHERE feed = ? AND event_count <= ? ORDER BY event_count DESC LIMIT 1";
const POSITION_ABOVE: &str = "SELECT event_id, event_count FROM {s}atomfeed_positions
    WHERE feed = ? AND event_count >= ? ORDER BY event_count LIMIT 1";
const INSERT_POSITION: &str =
    "INSERT {unless} INTO {s}atomfeed_positions (feed, event_count, event_id)
    VALUES (?, ?, ?) {there}";

const SELECT_CATEGORIES: &str = "SELECT category FROM {s}atomfeed_categories";
const SELECT_OFFSET_MARKER: &str =
    "SELECT event_id, event_count FROM {s}event_records_offset_marker WHERE category = ?";
const UPDATE_OFFSET_MARKER: &str =
    "UPDATE {s}event_records_offset_marker SET event_id = ?, event_count = ? WHERE category = ?";
const INSERT_OFFSET_MARKER: &str =
    "INSERT INTO {s}event_records_offset_marker (event_id, event_count, category) VALUES (?, ?, ?)";

#[async_trait]
impl<D: Dialect> FeedStore for SqlStore<D> {
    async fn chunking(&self) -> StoreResult<Option<ChunkingHistory>> {
        let state = self.state().await?;
        let rows = self
            .read("reading the chunking history", SELECT_HISTORY, Vec::new())
            .await?;
        state.history(&history_entries(rows)?)
    }

    async fn settle_chunking(
        &self,
        strategy: ChunkingStrategy,
        first: ChunkingHistoryEntry,
    ) -> StoreResult<ChunkingHistory> {
        let doing = || "settling how the feed is chunked";
        let mut transaction = self.begin_writing(doing).await?;
        let mut state = self.lock_feed_state(&mut transaction).await?;
        state.settle(strategy)?;
        self.execute(
            &mut transaction,
            doing,
            SET_STRATEGY,
            vec![strategy.as_str().into()],
        )
        .await?;
        let rows = self
            .fetch(&mut transaction, doing, SELECT_HISTORY, Vec::new())
            .await?;
        let mut entries = history_entries(rows)?;
        if entries.is_empty() {
            self.execute(
                &mut transaction,
                doing,
                INSERT_HISTORY,
                history_values(first),
            )
            .await?;
            entries.push(first);
        }
        let history = ChunkingHistory::new(strategy, entries)?;
        transaction.commit().await.doing(doing)?;
        Ok(history)
    }

    async fn change_chunking(
        &self,
        change: ChunkingChange,
        now: DateTime<Utc>,
    ) -> StoreResult<ChunkingHistoryEntry> {
        let doing = || "changing the chunk length";
        let mut transaction = self.begin_writing(doing).await?;
        let state = self.lock_feed_state(&mut transaction).await?;
        let rows = self
            .fetch(&mut transaction, doing, SELECT_HISTORY, Vec::new())
            .await?;
        let history = state
            .history(&history_entries(rows)?)?
            .ok_or_else(|| StoreError::from(InvalidChunkingHistory::Empty))?;
        let values = vec!["".into(), i64::MAX.into()];
        let rows = self
            .fetch(&mut transaction, doing, POSITION_BELOW, values)
            .await?;
        let last = position(rows)?.unwrap_or_default();
        let values = vec![last.event_id.into()];
        let rows = self
            .fetch(&mut transaction, doing, COUNT_ALL, values)
            .await?;
        let count = last.event_count + count(rows)?;
        let rows = self
            .fetch(&mut transaction, doing, NEWEST_TIMESTAMP, Vec::new())
            .await?;
        let reached = state.reached(&history, count, newest(rows)?, now);
        let entry = change.plan(&history, reached)?;
        self.execute(
            &mut transaction,
            doing,
            INSERT_HISTORY,
            history_values(entry),
        )
        .await?;
        transaction.commit().await.doing(doing)?;
        Ok(entry)
    }

    async fn records(
        &self,
        scope: &FeedScope,
        range: RecordRange,
    ) -> StoreResult<Vec<EventRecord>> {
        let sql = over_feed!(
            scope,
            "SELECT id, uuid, title, timestamp, uri, object, category, date_created, tags
             FROM {s}event_records",
            "id > ? AND id <= ? ORDER BY id LIMIT ? OFFSET ?"
        );
        let through = range.through.unwrap_or(i64::MAX);
        let mut values = scope_values(scope);
        values.extend([range.after, through].map(Value::from));
        values.extend([range.limit, range.skip].map(Value::from));
        records(self.read("reading events", sql, values).await?)
    }

    async fn records_between(
        &self,
        scope: &FeedScope,
        bounds: TimeBounds,
    ) -> StoreResult<Vec<EventRecord>> {
        let sql = over_feed!(
            scope,
            "SELECT id, uuid, title, timestamp, uri, object, category, date_created, tags
             FROM {s}event_records",
            "timestamp >= ? AND timestamp < ? ORDER BY id"
        );
        let mut values = scope_values(scope);
        values.push(bounds.start.unwrap_or(BEFORE_ALL_TIME).into());
        values.push(bounds.end.into());
        records(
            self.read("reading the events of a time", sql, values)
                .await?,
        )
    }

    async fn count(&self, scope: &FeedScope, after: i64, through: Option<i64>) -> StoreResult<u64> {
        let sql = over_feed!(
            scope,
            "SELECT COUNT(*) FROM {s}event_records",
            "id > ? AND id <= ?"
        );
        let mut values = scope_values(scope);
        values.extend([after, through.unwrap_or(i64::MAX)].map(Value::from));
        count(self.read("counting events", sql, values).await?)
    }

    async fn every_nth_id(&self, scope: &FeedScope, after: i64, n: u64) -> StoreResult<Vec<i64>> {
        let sql = match scope {
            FeedScope::All => {
                "SELECT id FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS nth
                 FROM {s}event_records WHERE id > ?) AS numbered WHERE nth % ? = 0 ORDER BY id"
            }
            FeedScope::Category(_) => {
                "SELECT id FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS nth
                 FROM {s}event_records
                 WHERE category IN (SELECT category FROM {s}atomfeed_categories WHERE folded = ?)
                 AND id > ?) AS numbered WHERE nth % ? = 0 ORDER BY id"
            }
        };
        let mut values = scope_values(scope);
        values.extend([after.into(), n.max(1).into()]);
        let rows = self.read("finding positions", sql, values).await?;
        rows.into_iter().map(|mut row| row.required_int()).collect()
    }

    async fn newest_id(&self) -> StoreResult<i64> {
        let rows = self
            .read("reading the newest event", NEWEST_ID, Vec::new())
            .await?;
        let newest = rows
            .into_iter()
            .next()
            .map(|mut row| row.int())
            .transpose()?;
        Ok(newest.flatten().unwrap_or_default())
    }

    async fn newest_timestamp(&self) -> StoreResult<Option<DateTime<Utc>>> {
        newest(
            self.read("reading the newest time", NEWEST_TIMESTAMP, Vec::new())
                .await?,
        )
    }

    async fn position_below(&self, scope: &FeedScope, count: u64) -> StoreResult<OffsetMarker> {
        let values = vec![scope.key().into(), count.into()];
        let rows = self
            .read("reading a position", POSITION_BELOW, values)
            .await?;
        Ok(position(rows)?.unwrap_or_default())
    }

    async fn position_above(
        &self,
        scope: &FeedScope,
        count: u64,
    ) -> StoreResult<Option<OffsetMarker>> {
        let values = vec![scope.key().into(), count.into()];
        position(
            self.read("reading a position", POSITION_ABOVE, values)
                .await?,
        )
    }

    async fn keep_positions(
        &self,
        scope: &FeedScope,
        positions: &[OffsetMarker],
    ) -> StoreResult<()> {
        let doing = || format!("keeping positions of the feed of {scope}");
        let key = scope.key();
        let mut transaction = self.begin_writing(doing).await?;
        for position in positions {
            let values = vec![
                key.as_str().into(),
                position.event_count.into(),
                position.event_id.into(),
            ];
            self.execute(&mut transaction, doing, INSERT_POSITION, values)
                .await?;
        }
        transaction.commit().await.doing(doing)
    }

    async fn sealed_until(&self) -> StoreResult<Option<DateTime<Utc>>> {
        Ok(self.state().await?.sealed_until)
    }

    async fn seal_until(&self, time: DateTime<Utc>) -> StoreResult<()> {
        let doing = || format!("ending the time chunks before {time}");
        let mut transaction = self.begin_writing(doing).await?;
        let state = self.lock_feed_state(&mut transaction).await?;
        let sealed = state.sealed_until.max(Some(time));
        self.execute(
            &mut transaction,
            doing,
            SET_SEALED_UNTIL,
            vec![sealed.into()],
        )
        .await?;
        transaction.commit().await.doing(doing)
    }

    async fn categories(&self) -> StoreResult<Vec<String>> {
        let rows = self
            .read("reading the categories", SELECT_CATEGORIES, Vec::new())
            .await?;
        rows.into_iter()
            .map(|mut row| row.text_or_empty())
            .collect()
    }

    async fn offset_marker(&self, category: &str) -> StoreResult<Option<OffsetMarker>> {
        let values = vec![category.into()];
        position(
            self.read("reading an offset marker", SELECT_OFFSET_MARKER, values)
                .await?,
        )
    }

    async fn write_offset_marker(&self, category: &str, marker: OffsetMarker) -> StoreResult<()> {
        let doing = || format!("writing the offset marker of category {category:?}");
        let mut transaction = self.begin_writing(doing).await?;
        let values: Vec<Value> = vec![
            marker.event_id.into(),
            marker.event_count.into(),
            category.into(),
        ];
        let statement = UPDATE_OFFSET_MARKER;
        if self
            .execute(&mut transaction, doing, statement, values.clone())
            .await?
            == 0
        {
            self.execute(&mut transaction, doing, INSERT_OFFSET_MARKER, values)
                .await?;
        }
        transaction.commit().await.doing(doing)
    }
}

/// The first time that every database can compare with.
const BEFORE_ALL_TIME: DateTime<Utc> = match DateTime::from_timestamp(-62_135_596_800, 0) {
    Some(time) => time,
    None => DateTime::UNIX_EPOCH,
};

fn scope_values(scope: &FeedScope) -> Vec<Value> {
    scope
        .category()
        .map(|category| category.folded().into())
        .into_iter()
        .collect()
}

fn history_entries(rows: Vec<Row>) -> StoreResult<Vec<ChunkingHistoryEntry>> {
    rows.into_iter()
        .map(|mut row| {
            Ok(ChunkingHistoryEntry {
                chunk_length: row.int()?.unwrap_or_default(),
                start: row.required_int()?,
            })
        })
        .collect()
}

fn history_values(entry: ChunkingHistoryEntry) -> Vec<Value> {
    vec![entry.chunk_length.into(), entry.start.into()]
}

fn records(rows: Vec<Row>) -> StoreResult<Vec<EventRecord>> {
    rows.into_iter()
        .map(|mut row| {
            Ok(EventRecord {
                id: row.required_int()?,
                uuid: row.text_or_empty()?,
                title: row.text()?,
                timestamp: row.required_time()?,
                uri: row.text()?,
                content: row.text()?,
                category: row.text()?,
                date_created: row.time()?,
                tags: row.text()?,
            })
        })
        .collect()
}

fn count(rows: Vec<Row>) -> StoreResult<u64> {
    rows.into_iter()
        .next()
        .map_or(Ok(0), |mut row| row.required_count())
}

fn newest(rows: Vec<Row>) -> StoreResult<Option<DateTime<Utc>>> {
    Ok(rows
        .into_iter()
        .next()
        .map(|mut row| row.time())
        .transpose()?
        .flatten())
}

fn position(rows: Vec<Row>) -> StoreResult<Option<OffsetMarker>> {
    rows.into_iter()
        .next()
        .map(|mut row| {
            Ok(OffsetMarker {
                event_id: row.required_int()?,
                event_count: row.required_count()?,
            })
        })
        .transpose()
}
