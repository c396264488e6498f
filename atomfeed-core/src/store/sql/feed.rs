use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::error::Doing;
use super::{Dialect, Matching, Row, SqlStore, Value};
use crate::chunking::{
    ChunkingChange, ChunkingHistory, ChunkingHistoryEntry, ChunkingStrategy, InvalidChunkingHistory,
};
use crate::store::{
    FeedStore, NewestEvent, NewsListener, OffsetMarker, RecordRange, StoreError, StoreErrorKind,
    StoreResult, TimeBounds,
};
use crate::{Category, EventRecord, FeedScope};

/// A statement over the rows of a feed: all of them, or those of a category in any spelling. The
/// category is the first value that is bound. `$by_id` says that the ids lie close together.
macro_rules! over_feed {
    ($scope:expr, $by_id:expr, $select:literal, $conditions:literal $(, $before:literal, $after:literal)?) => {
        match ($scope, $by_id) {
            (FeedScope::All, _) => {
                concat!($($before,)? $select, " WHERE ", $conditions $(, $after)?)
            }
            (FeedScope::Category(_), false) => concat!(
                $($before,)? $select, "{listed} WHERE {of_category} AND ", $conditions $(, $after)?
            ),
            (FeedScope::Category(_), true) => concat!(
                $($before,)? $select, " {by_id} WHERE {of_category} AND ", $conditions $(, $after)?
            ),
        }
    };
}

/// Between ids that are no further apart, an event of a category is found fastest by going through all.
const CLOSE: i64 = 4_000;

const SET_STRATEGY: &str = "UPDATE {s}atomfeed_feed_state SET strategy = ? WHERE id = 1";
const SET_SEALED_UNTIL: &str = "UPDATE {s}atomfeed_feed_state SET sealed_until = ? WHERE id = 1";

const SELECT_HISTORY: &str = "SELECT chunk_length, start FROM {s}chunking_history ORDER BY id";
const INSERT_HISTORY: &str = "INSERT INTO {s}chunking_history (chunk_length, start) VALUES (?, ?)";

const NEWEST_ID: &str = "SELECT id FROM {s}event_records WHERE id <= ? {shown}
    ORDER BY id DESC LIMIT 1";
const NEWEST_EVENT: &str = "SELECT id, uuid FROM {s}event_records WHERE id <= ? {shown}
    ORDER BY id DESC LIMIT 1";
const NEWEST_TIMESTAMP: &str = "SELECT MAX(timestamp) FROM {s}event_records WHERE id <= ? {shown}";
const COUNT_ALL: &str = "SELECT COUNT(*) FROM {s}event_records WHERE id > ? {shown}";

const COUNT_SPELLED: &str =
    "SELECT COUNT(*) FROM {s}event_records WHERE category = ? AND id <= ? {shown}";
const NTH_SPELLED: &str = "SELECT id FROM {s}event_records WHERE category = ? AND id <= ? {shown}
    ORDER BY id LIMIT 1 OFFSET ?";

const POSITION_BELOW: &str = "SELECT event_id, event_count FROM {s}atomfeed_positions
    WHERE feed = ? AND event_count <= ? ORDER BY event_count DESC LIMIT 1";
const POSITION_ABOVE: &str = "SELECT event_id, event_count FROM {s}atomfeed_positions
    WHERE feed = ? AND event_count >= ? ORDER BY event_count LIMIT 1";
const POSITIONS_AROUND: &str = "SELECT 0, event_id, event_count FROM
     (SELECT event_id, event_count FROM {s}atomfeed_positions
      WHERE feed = ? AND event_count <= ? ORDER BY event_count DESC LIMIT 1) AS below
    UNION ALL SELECT 1, event_id, event_count FROM
     (SELECT event_id, event_count FROM {s}atomfeed_positions
      WHERE feed = ? AND event_count >= ? ORDER BY event_count LIMIT 1) AS above";
const INSERT_POSITION: &str =
    "INSERT {unless} INTO {s}atomfeed_positions (feed, event_count, event_id)
    VALUES (?, ?, ?) {there}";
const SELECT_REVISION: &str = "SELECT revision FROM {s}atomfeed_feed_state WHERE id = 1";

const SELECT_OFFSET_MARKER: &str =
    "SELECT event_id, event_count FROM {s}event_records_offset_marker
    WHERE category = ? AND event_id IS NOT NULL AND event_count IS NOT NULL
    ORDER BY event_id DESC LIMIT 1";
const DELETE_OFFSET_MARKERS: &str = "DELETE FROM {s}event_records_offset_marker WHERE category = ?";
const INSERT_OFFSET_MARKER: &str =
    "INSERT INTO {s}event_records_offset_marker (event_id, event_count, category) VALUES (?, ?, ?)";

#[async_trait]
impl<D: Dialect> FeedStore for SqlStore<D> {
    async fn settle_chunking(
        &self,
        strategy: ChunkingStrategy,
        first: ChunkingHistoryEntry,
    ) -> StoreResult<ChunkingHistory> {
        let doing = || "settling how the feed is chunked";
        if strategy == ChunkingStrategy::Time && self.horizon.is_some() {
            // It would end when the clock says so, and a transaction that is still open may hold an
            // event of before.
            let context = format!(
                "{}: time chunks, on tables into which another program writes events at times of its own: \
                 none could end without losing one that commits late; adopt them for sequencing once \
                 it does not, or open the feed with number chunks",
                doing()
            );
            return Err(StoreError::new(StoreErrorKind::Refused, context));
        }
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
            .fetch(
                &mut transaction,
                doing,
                NEWEST_TIMESTAMP,
                vec![i64::MAX.into()],
            )
            .await?;
        let newest = self.newest(rows)?;
        let reached = state.reached(&history, count, newest, now);
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
        let through = self.within_shown(range.through).await?;
        let sql = over_feed!(
            scope,
            self.are_close(range.after, through).await?,
            "SELECT id, uuid, title, timestamp, {?event_records.uri:uri|NULL}, object, category,
             {?event_records.date_created:date_created|NULL}, {?event_records.tags:tags|NULL}
             FROM {s}event_records",
            "{between} {shown} ORDER BY {id} LIMIT ? OFFSET ?"
        );
        let mut values = self.between(scope, range.after, through);
        values.extend([range.limit, range.skip].map(Value::from));
        let rows = self.read_feed("reading events", scope, through, sql, values);
        self.records_of(rows.await?)
    }

    async fn records_between(
        &self,
        scope: &FeedScope,
        bounds: TimeBounds,
    ) -> StoreResult<Vec<EventRecord>> {
        let sql = over_feed!(
            scope,
            false,
            "SELECT id, uuid, title, timestamp, {?event_records.uri:uri|NULL}, object, category,
             {?event_records.date_created:date_created|NULL}, {?event_records.tags:tags|NULL}
             FROM {s}event_records",
            "timestamp >= ? AND timestamp < ? AND {id} <= ? {shown} ORDER BY {id}"
        );
        let shown = self.shown_through().await?;
        let mut values = self.scope_values(scope, shown).await?;
        let start = bounds.start.unwrap_or(BEFORE_ALL_TIME);
        for time in [start, bounds.end] {
            values.push(
                self.layout()
                    .value("event_records", "timestamp", time.into()),
            );
        }
        values.push(self.shown_through().await?.into());
        let rows = self
            .read("reading the events of a time", sql, values)
            .await?;
        let mut records = self.records_of(rows)?;
        // An hour that comes twice in the column's zone is in both of its times.
        records.retain(|record| record.timestamp >= start && record.timestamp < bounds.end);
        Ok(records)
    }

    async fn count(&self, scope: &FeedScope, after: i64, through: Option<i64>) -> StoreResult<u64> {
        let through = self.within_shown(through).await?;
        let sql = over_feed!(
            scope,
            self.are_close(after, through).await?,
            "SELECT COUNT(*) FROM {s}event_records",
            "{between} {shown}"
        );
        let values = self.between(scope, after, through);
        let rows = self.read_feed("counting events", scope, through, sql, values);
        count(rows.await?)
    }

    async fn every_nth_id(&self, scope: &FeedScope, after: i64, n: u64) -> StoreResult<Vec<i64>> {
        let sql = over_feed!(
            scope,
            false,
            "SELECT id, ROW_NUMBER() OVER (ORDER BY {id}) AS nth FROM {s}event_records",
            "{between} {shown}",
            "SELECT id FROM (",
            ") AS numbered WHERE nth % ? = 0 ORDER BY id"
        );
        let shown = self.shown_through().await?;
        let mut values = self.between(scope, after, shown);
        values.push(n.max(1).into());
        let rows = self.read_feed("finding positions", scope, shown, sql, values);
        let rows = rows.await?;
        rows.into_iter().map(|mut row| row.required_int()).collect()
    }

    async fn newest_id(&self) -> StoreResult<i64> {
        let values = vec![self.shown_through().await?.into()];
        let rows = self
            .read("reading the newest event", NEWEST_ID, values)
            .await?;
        let newest = rows
            .into_iter()
            .next()
            .map(|mut row| row.int())
            .transpose()?;
        Ok(newest.flatten().unwrap_or_default())
    }

    async fn newest_event(&self) -> StoreResult<Option<NewestEvent>> {
        let values = vec![self.shown_through().await?.into()];
        let rows = self
            .read("reading the newest event", NEWEST_EVENT, values)
            .await?;
        let newest = rows.into_iter().next().map(|mut row| {
            StoreResult::Ok(NewestEvent {
                id: row.required_int()?,
                uuid: row.text_as_far_as_it_is()?.0.unwrap_or_default(),
            })
        });
        newest.transpose()
    }

    async fn listen(&self) -> StoreResult<Box<dyn NewsListener>> {
        D::listen(self).await
    }

    fn one_spelling(&self, category: &Category) -> Category {
        self.statements.matching().one_spelling(category)
    }

    async fn newest_timestamp(&self) -> StoreResult<Option<DateTime<Utc>>> {
        let values = vec![self.shown_through().await?.into()];
        self.newest(
            self.read("reading the newest time", NEWEST_TIMESTAMP, values)
                .await?,
        )
    }

    async fn position_below(&self, scope: &FeedScope, count: u64) -> StoreResult<OffsetMarker> {
        let values = vec![self.key(scope).into(), count.into()];
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
        let values = vec![self.key(scope).into(), count.into()];
        position(
            self.read("reading a position", POSITION_ABOVE, values)
                .await?,
        )
    }

    async fn positions_around(
        &self,
        scope: &FeedScope,
        below: u64,
        above: u64,
    ) -> StoreResult<(OffsetMarker, Option<OffsetMarker>)> {
        let key = self.key(scope);
        let values = vec![
            key.as_str().into(),
            below.into(),
            key.as_str().into(),
            above.into(),
        ];
        let rows = self
            .read("reading positions", POSITIONS_AROUND, values)
            .await?;
        let mut around = (OffsetMarker::default(), None);
        for mut row in rows {
            let is_above = row.required_int()? == 1;
            let found = OffsetMarker {
                event_id: row.required_int()?,
                event_count: row.required_count()?,
            };
            match is_above {
                true => around.1 = Some(found),
                false => around.0 = found,
            }
        }
        Ok(around)
    }

    async fn keep_positions(
        &self,
        scope: &FeedScope,
        positions: &[OffsetMarker],
        revision: u64,
    ) -> StoreResult<()> {
        let doing = || format!("keeping positions of the feed of {scope}");
        let key = self.key(scope);
        let mut transaction = self.begin_writing(doing).await?;
        let rows = self
            .fetch(&mut transaction, doing, SELECT_REVISION, Vec::new())
            .await?;
        let now = rows.into_iter().next().map(|mut row| row.required_count());
        if now.transpose()? != Some(revision) {
            return Ok(());
        }
        for position in positions {
            self.keep_position(&mut transaction, &key, *position)
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
        self.all_spellings().await
    }

    fn tells_spellings_apart(&self) -> bool {
        self.statements.matching() == Matching::Folded
    }

    async fn count_spelled(&self, category: &str) -> StoreResult<u64> {
        let values = vec![category.into(), self.shown_through().await?.into()];
        let what = "counting the events of a spelling";
        count(self.read(what, COUNT_SPELLED, values).await?)
    }

    async fn nth_spelled(&self, category: &str, n: u64) -> StoreResult<Option<i64>> {
        let mut values = vec![category.into(), self.shown_through().await?.into()];
        values.push(n.saturating_sub(1).into());
        let what = "finding an event of a spelling";
        let rows = self.read(what, NTH_SPELLED, values).await?;
        let nth = rows.into_iter().next().map(|mut row| row.required_int());
        nth.transpose()
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
        // No key may keep a second row out: not one of who writes at once, and those that other programs
        // left go, too.
        self.lock_feed_state(&mut transaction).await?;
        let statement = DELETE_OFFSET_MARKERS;
        self.execute(&mut transaction, doing, statement, vec![category.into()])
            .await?;
        self.execute(&mut transaction, doing, INSERT_OFFSET_MARKER, values)
            .await?;
        transaction.commit().await.doing(doing)
    }
}

impl<D: Dialect> SqlStore<D> {
    /// Whether ids lie so close together that the database is told to go by them.
    async fn are_close(&self, after: i64, through: i64) -> StoreResult<bool> {
        let goes_by_list = self.layout().lists_categories();
        if D::BY_ID.is_empty() || !self.layout().is_adopted() || goes_by_list || after <= 0 {
            return Ok(false);
        }
        let through = match through {
            i64::MAX => self.newest_id().await?,
            through => through,
        };
        Ok(through.saturating_sub(after) <= CLOSE)
    }

    /// What `{between}` is given.
    fn between(&self, scope: &FeedScope, after: i64, through: i64) -> Vec<Value> {
        let goes_by_list = scope.category().is_some() && self.layout().lists_categories();
        let times = if goes_by_list { 2 } else { 1 };
        let ids = [after, through].repeat(times).into_iter();
        ids.map(Value::from).collect()
    }

    /// Runs a query over the rows of a feed up to an id.
    async fn read_feed(
        &self,
        what: &'static str,
        scope: &FeedScope,
        through: i64,
        statement: &'static str,
        more: Vec<Value>,
    ) -> StoreResult<Vec<Row>> {
        let mut values = self.scope_values(scope, through).await?;
        let Some(spellings) = self.spellings_of(scope, through).await? else {
            values.extend(more);
            return self.read(what, statement, values).await;
        };
        if spellings.is_empty() {
            return Ok(Vec::new());
        }
        // Few different statements, whatever number of spellings there is.
        let width = spellings.len().next_power_of_two();
        let last = spellings.last().cloned();
        let repeated = std::iter::repeat_with(|| last.clone().unwrap_or_default());
        let padded = spellings.into_iter().chain(repeated).take(width);
        values = padded.map(Value::from).chain(more).collect();
        let mut conn = self.connection().await?;
        let sql = self.statements.spelled(statement, width);
        D::fetch_with(&mut conn, sql, values, !D::PLANS_FOR_VALUES)
            .await
            .doing(|| what)
    }

    /// Keeps a position of the feed that has this key.
    pub(super) async fn keep_position(
        &self,
        conn: &mut D::Connection,
        key: &str,
        position: OffsetMarker,
    ) -> StoreResult<()> {
        let doing = || format!("keeping a position of the feed {key:?}");
        let values = vec![
            key.into(),
            position.event_count.into(),
            position.event_id.into(),
        ];
        self.execute(conn, doing, INSERT_POSITION, values)
            .await
            .map(drop)
    }

    pub(super) fn key(&self, scope: &FeedScope) -> String {
        self.statements.matching().key(scope)
    }

    fn records_of(&self, rows: Vec<Row>) -> StoreResult<Vec<EventRecord>> {
        let zone = self.layout().zone();
        // One that another program wrote and nobody can read whole must not end the feed.
        let text = |row: &mut Row| StoreResult::Ok(row.text_as_far_as_it_is()?.0);
        let records = rows.into_iter().map(|mut row| {
            Ok(EventRecord {
                id: row.required_int()?,
                uuid: text(&mut row)?.unwrap_or_default(),
                title: text(&mut row)?,
                // A row without a time is as old as can be.
                timestamp: row.time_in(zone)?.unwrap_or_default(),
                uri: text(&mut row)?,
                content: text(&mut row)?,
                category: text(&mut row)?,
                date_created: row.time_in(zone)?,
                tags: text(&mut row)?,
            })
        });
        records.collect()
    }

    fn newest(&self, rows: Vec<Row>) -> StoreResult<Option<DateTime<Utc>>> {
        let zone = self.layout().zone();
        let newest = rows.into_iter().next().map(|mut row| row.time_in(zone));
        Ok(newest.transpose()?.flatten())
    }
}

/// The first time that every database can compare with.
const BEFORE_ALL_TIME: DateTime<Utc> = match DateTime::from_timestamp(-62_135_596_800, 0) {
    Some(time) => time,
    None => DateTime::UNIX_EPOCH,
};

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

fn count(rows: Vec<Row>) -> StoreResult<u64> {
    rows.into_iter()
        .next()
        .map_or(Ok(0), |mut row| row.required_count())
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
