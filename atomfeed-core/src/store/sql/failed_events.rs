use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use uuid::Uuid;

use super::consumer::{SqlUnitOfWork, feed_uri};
use super::error::Doing;
use super::{Dialect, Form, Insert, Layout, Row, SqlStore, TableZone, Value};
use crate::store::{
    FailedEventQuery, FailedEventSelection, FailedEventStore, StoreError, StoreErrorKind,
    StoreResult,
};
use crate::{EntryId, Event, FailedEvent, FailedEventRetryLog, Failure, FeedUri, Place};

const FAILED: Insert = Insert {
    table: "failed_events",
    columns: &[
        "feed_uri",
        "failed_at",
        "error_message",
        "event_id",
        "event_content",
        "error_hash_code",
        "title",
        "tags",
        "retries",
    ],
};
const SELECT_BESIDE: &str =
    "SELECT feed_uri FROM {s}atomfeed_failed_events WHERE failed_event_id = ?";
const DELETE_FAILED: &str = "DELETE FROM {s}failed_events WHERE id = ?";
const INSERT_BESIDE: &str = "INSERT INTO {s}atomfeed_failed_events
    (feed_uri, failed_at, error_message, event_id, event_content, error_hash_code, title, tags,
     failed_event_id, page_uri, updated, published)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
/// Whether what a row beside belongs to is parked: what somebody has deleted from the table holds nothing
/// back.
macro_rules! still_parked {
    () => {
        "(earlier.feed_uri IS NOT NULL OR EXISTS
     (SELECT 1 FROM {s}failed_events AS parked WHERE parked.id = earlier.failed_event_id))"
    };
}
pub(super) use still_parked;

/// Parked events that meet a condition: rows of the table, and rows that it cannot hold.
macro_rules! select_failed {
    (@columns $($rest:expr),*) => {
        concat!(
            "SELECT failed.id, failed.feed_uri, failed.failed_at,
     failed.error_message, failed.event_id, failed.event_content, failed.title,
     {?failed_events.retries:failed.retries|COALESCE(beside.retries, 0)},
     {?failed_events.tags:failed.tags|beside.tags},
     beside.page_uri, beside.updated, beside.published,
     beside.placed, beside.event_key, beside.due_at
    FROM {s}failed_events AS failed
    LEFT JOIN {s}atomfeed_failed_events AS beside ON beside.failed_event_id = failed.id ",
            $($rest,)*
        )
    };
    (@columns_beside $($rest:expr),*) => {
        concat!(
            "SELECT failed_event_id, feed_uri, failed_at, error_message, event_id,
     event_content, title, retries, tags, page_uri, updated, published, placed, event_key, due_at
    FROM {s}atomfeed_failed_events AS beside ",
            $($rest,)*
        )
    };
    ($($condition:expr),*) => {
        [
            select_failed!(@columns
                "WHERE failed.feed_uri = ? AND failed.id > ?
    AND {?failed_events.retries:failed.retries|COALESCE(beside.retries, 0)} < ? ",
                $($condition,)*
                " ORDER BY failed.id LIMIT ?"
            ),
            select_failed!(@columns_beside
                "WHERE beside.feed_uri = ? AND beside.failed_event_id > ? AND beside.retries < ? ",
                $($condition,)*
                " ORDER BY beside.failed_event_id LIMIT ?"
            ),
        ]
    };
}

/// One of them, by its id.
pub(super) const SELECT_PARKED: [&str; 2] = [
    select_failed!(@columns "WHERE failed.id = ?"),
    select_failed!(@columns_beside "WHERE beside.failed_event_id = ? AND beside.feed_uri IS NOT NULL"),
];
const SELECT_FAILED: [&str; 2] = select_failed!("");
const SELECT_UNPLACED: [&str; 2] = select_failed!("AND COALESCE(beside.placed, 0) = 0");
const SELECT_OF_KEY: [&str; 2] = select_failed!("AND beside.order_key = ?");
const SELECT_DUE: [&str; 2] = select_failed!(
    "AND (beside.due_at IS NULL OR beside.due_at <= ?)
     AND (beside.order_key IS NULL OR NOT EXISTS
      (SELECT 1 FROM {s}atomfeed_failed_events AS earlier
       WHERE earlier.order_key = beside.order_key
       AND earlier.failed_event_id < beside.failed_event_id AND ",
    still_parked!(),
    "))"
);
const SELECT_HELD: &str = concat!(
    "SELECT DISTINCT order_key FROM {s}atomfeed_failed_events AS earlier
    WHERE order_key IN ({list}) AND ",
    still_parked!()
);
const PLACE: &str = "UPDATE {s}atomfeed_failed_events
    SET placed = 1, event_key = ?, order_key = ?, due_at = ? WHERE failed_event_id = ?";
const INSERT_PLACE: &str = "INSERT INTO {s}atomfeed_failed_events
    (placed, event_key, order_key, due_at, failed_event_id)
    SELECT 1, ?, ?, ?, id FROM {s}failed_events WHERE id = ?";
const COUNT_FAILED: &str = "SELECT COUNT(*) FROM {s}failed_events WHERE feed_uri = ?";
const COUNT_BESIDE: &str = "SELECT COUNT(*) FROM {s}atomfeed_failed_events WHERE feed_uri = ?";
// What is set to itself is what MariaDB would set to the present of its own accord.
const ADD_RETRY: &str = "UPDATE {s}failed_events
    SET {?failed_events.retries:retries = retries + 1, |}failed_at = failed_at WHERE id = ?";
const ADD_RETRY_BESIDE: &str =
    "UPDATE {s}atomfeed_failed_events SET retries = retries + 1 WHERE failed_event_id = ?";
const INSERT_RETRIES_BESIDE: &str =
    "INSERT INTO {s}atomfeed_failed_events (failed_event_id, retries) VALUES (?, 1)";
const ADD_RETRY_OF_WHOLE: &str = "UPDATE {s}atomfeed_failed_events SET retries = retries + 1
    WHERE failed_event_id = ? AND feed_uri IS NOT NULL";
const DELETE_WHOLE: &str = "DELETE FROM {s}atomfeed_failed_events
    WHERE failed_event_id = ? AND feed_uri IS NOT NULL";
const DELETE_BESIDE: &str = "DELETE FROM {s}atomfeed_failed_events WHERE failed_event_id = ?";

const RETRY_COLUMNS: &[&str] = &[
    "feed_uri",
    "failed_at",
    "error_message",
    "event_id",
    "event_content",
    "error_hash_code",
];
const RETRY: Insert = Insert {
    table: "failed_event_retry_log",
    columns: RETRY_COLUMNS,
};
const INSERT_RETRY_BESIDE: &str = "INSERT INTO {s}atomfeed_failed_event_retry_log
    (feed_uri, failed_at, error_message, event_id, event_content, error_hash_code)
    VALUES (?, ?, ?, ?, ?, ?)";
const SELECT_RETRIES: &str =
    "SELECT id, feed_uri, failed_at, error_message, event_id, event_content
    FROM {s}failed_event_retry_log WHERE event_id = ? AND feed_uri = ? ORDER BY id";
const SELECT_RETRIES_BESIDE: &str =
    "SELECT id, feed_uri, failed_at, error_message, event_id, event_content
    FROM {s}atomfeed_failed_event_retry_log WHERE event_id = ? AND feed_uri = ? ORDER BY id";
const DELETE_RETRIES: &str =
    "DELETE FROM {s}failed_event_retry_log WHERE event_id = ? AND feed_uri = ?";
const DELETE_RETRIES_BESIDE: &str =
    "DELETE FROM {s}atomfeed_failed_event_retry_log WHERE event_id = ? AND feed_uri = ?";

#[async_trait]
impl<D: Dialect> FailedEventStore for SqlUnitOfWork<D> {
    async fn park(&mut self, event: &Event, failure: &Failure) -> StoreResult<i64> {
        let fitted = fitted(self.store.layout(), FAILED.table, failure);
        let mut row = failure_values(event, &fitted);
        row.extend([
            event.title().into(),
            event.tags_column().into(),
            0_i64.into(),
        ]);
        let Some(misfit) = self.store.misfit_of_parked(&row) else {
            let id = self.insert_failed(row).await?;
            let tags = Value::from(event.tags_column());
            self.insert_beside(not_a_whole_row(tags), id, event).await?;
            let feed_uri = event.feed_uri().as_str();
            self.count_parked(id, feed_uri, failure, 0).await?;
            return Ok(id);
        };
        // Never refused: what the table cannot hold stands whole in one of ours.
        tracing::warn!(
            feed = %event.feed_uri(),
            event = %event.id(),
            misfit,
            "failed_events cannot hold an event; it is parked in atomfeed_failed_events, where no other \
             program finds it"
        );
        let id = self.take_failed_id(failure).await?;
        let mut whole = failure_values(event, &storable(failure));
        whole.extend([Value::from(event.title()), event.tags_column().into()]);
        self.insert_beside(whole, id, event).await?;
        let feed_uri = event.feed_uri().as_str();
        self.count_parked(id, feed_uri, failure, 0).await?;
        Ok(id)
    }

    async fn place(&mut self, feed_uri: &FeedUri, id: i64, place: &Place) -> StoreResult<()> {
        let what = "giving a parked event its place";
        let key = place.key.as_deref();
        let values = vec![
            key.into(),
            key.map(|key| order_key(feed_uri, key)).into(),
            place.due_at.into(),
            id.into(),
        ];
        if self.execute(what, PLACE, values.clone()).await? == 0 {
            self.execute(what, INSERT_PLACE, values).await?;
        }
        Ok(())
    }

    async fn held_keys(
        &mut self,
        feed_uri: &FeedUri,
        keys: &[&str],
    ) -> StoreResult<HashSet<String>> {
        let by_order: HashMap<_, _> = keys
            .iter()
            .map(|key| (order_key(feed_uri, key), *key))
            .collect();
        let Some(any) = by_order.keys().next() else {
            return Ok(HashSet::new());
        };
        // Few different statements, whatever number of keys there is.
        let width = by_order.len().next_power_of_two();
        let padding = std::iter::repeat(any);
        let values = by_order.keys().chain(padding).take(width);
        let values = values.map(|key| Value::from(key.as_str())).collect();
        let sql = self.store.statements.listed(SELECT_HELD, width);
        let rows = D::fetch(&mut self.conn, sql, values)
            .await
            .doing(|| "asking which keys have parked events")?;
        let mut held = HashSet::with_capacity(rows.len());
        for mut row in rows {
            let key = by_order.get(&row.text_or_empty()?);
            held.extend(key.map(|key| (*key).to_owned()));
        }
        Ok(held)
    }

    async fn failed_events(&mut self, query: &FailedEventQuery) -> StoreResult<Vec<FailedEvent>> {
        let mut failed = Vec::new();
        let mut after = query.after;
        loop {
            let rows = self.parked_rows(query, after).await?;
            let is_last = rows.len() < query.limit as usize;
            after = rows.last().map_or(after, |(id, _)| *id);
            for (id, row) in rows {
                match row {
                    Ok(event) => failed.push(event),
                    // Whoever has written it: it stops nobody, and the console names it.
                    Err(error) if error.kind() == StoreErrorKind::InvalidData => {
                        tracing::debug!(feed = %query.feed_uri, id, %error, "failed event passed over");
                    }
                    Err(error) => return Err(error),
                }
            }
            if is_last || failed.len() >= query.limit as usize {
                failed.truncate(query.limit as usize);
                return Ok(failed);
            }
        }
    }

    async fn failed_event_count(&mut self, feed_uri: &FeedUri) -> StoreResult<u64> {
        let mut count = 0;
        for statement in [COUNT_FAILED, COUNT_BESIDE] {
            let values = vec![feed_uri.as_str().into()];
            let rows = self
                .fetch("counting failed events", statement, values)
                .await?;
            let row = rows.into_iter().next();
            count += row.map_or(Ok(0), |mut row| row.required_count())?;
        }
        Ok(count)
    }

    async fn record_failed_retry(
        &mut self,
        failed: &FailedEvent,
        failure: &Failure,
    ) -> StoreResult<()> {
        let what = "recording a retry that failed";
        let id = || vec![failed.id.into()];
        if self.execute(what, ADD_RETRY, id()).await? == 0 {
            if self.execute(what, ADD_RETRY_OF_WHOLE, id()).await? == 0 {
                return Err(StoreError::not_parked(failed));
            }
        } else if !self.store.layout().has(FAILED.table, "retries")
            && self.execute(what, ADD_RETRY_BESIDE, id()).await? == 0
        {
            self.execute(what, INSERT_RETRIES_BESIDE, id()).await?;
        }
        self.count_retry(failed.id, failure).await?;
        let layout = self.store.layout();
        let has_table = layout.has_table(RETRY.table);
        let fitted = fitted(layout, RETRY.table, failure);
        let row = failure_values(&failed.event, &fitted);
        if has_table && self.store.misfit(&RETRY, &row).is_none() {
            let doing = || what;
            let store = self.store.clone();
            let inserted = store.insert(&mut self.conn, doing, &RETRY, [row]);
            return inserted.await.map(drop);
        }
        let row = failure_values(&failed.event, &storable(failure));
        self.execute(what, INSERT_RETRY_BESIDE, row).await.map(drop)
    }

    async fn remove_failed_event(&mut self, failed: &FailedEvent) -> StoreResult<()> {
        let what = "removing a failed event that succeeded";
        let id = || vec![failed.id.into()];
        match self.execute(what, DELETE_FAILED, id()).await? {
            0 if self.execute(what, DELETE_WHOLE, id()).await? == 0 => {
                return Err(StoreError::not_parked(failed));
            }
            0 => {}
            _ => drop(self.execute(what, DELETE_BESIDE, id()).await?),
        }
        self.count_out(failed.id).await?;
        let event = &failed.event;
        for statement in self.of_retries(DELETE_RETRIES, DELETE_RETRIES_BESIDE) {
            let values = vec![event.id().as_str().into(), event.feed_uri().as_str().into()];
            self.execute(what, statement, values).await?;
        }
        Ok(())
    }

    async fn retry_log(
        &mut self,
        feed_uri: &FeedUri,
        event_id: &EntryId,
    ) -> StoreResult<Vec<FailedEventRetryLog>> {
        let mut retries = Vec::new();
        let zone = self.store.layout().zone();
        for statement in self.of_retries(SELECT_RETRIES, SELECT_RETRIES_BESIDE) {
            let values = vec![event_id.as_str().into(), feed_uri.as_str().into()];
            let rows = self
                .fetch("reading the retry log", statement, values)
                .await?;
            let zone = match statement {
                SELECT_RETRIES => zone,
                _ => TableZone::default(),
            };
            for row in rows {
                retries.push(retry(row, zone)?);
            }
        }
        // The two tables number their rows apart.
        retries.sort_by_key(|retry| retry.failure.at());
        Ok(retries)
    }
}

impl<D: Dialect> SqlStore<D> {
    fn misfit_of_parked(&self, row: &[Value]) -> Option<String> {
        // Its tags go beside where there is no column.
        let has_tags = self.layout().has(FAILED.table, "tags");
        let mut cells = FAILED.columns.iter().zip(row);
        cells.find_map(|(column, value)| match *column {
            "tags" if !has_tags => None,
            column => self.layout().misfit(FAILED.table, column, value),
        })
    }
}

impl<D: Dialect> SqlUnitOfWork<D> {
    /// As many rows as a query asks for, in the order of their ids, each with its own; above an id.
    async fn parked_rows(
        &mut self,
        query: &FailedEventQuery,
        after: i64,
    ) -> StoreResult<Vec<(i64, StoreResult<FailedEvent>)>> {
        let mut values = vec![
            query.feed_uri.as_str().into(),
            after.into(),
            query.retries_below.map_or(i64::MAX, i64::from).into(),
        ];
        let [there, beside] = match &query.selection {
            FailedEventSelection::All => SELECT_FAILED,
            FailedEventSelection::Unplaced => SELECT_UNPLACED,
            FailedEventSelection::DueBy(by) => {
                values.push((*by).into());
                SELECT_DUE
            }
            FailedEventSelection::OfKey(key) => {
                values.push(order_key(&query.feed_uri, key).into());
                SELECT_OF_KEY
            }
        };
        values.push(i64::from(query.limit).into());
        let mut sources = vec![(there, self.store.layout().zone())];
        if self.store.layout().is_adopted() {
            sources.push((beside, TableZone::default()));
        }
        let mut parked = Vec::new();
        for (statement, zone) in sources {
            let rows = self.fetch("reading failed events", statement, values.clone());
            for mut row in rows.await? {
                let id = row.required_int()?;
                parked.push((id, failed_event(id, row, zone)));
            }
        }
        parked.sort_by_key(|(id, _)| *id);
        parked.truncate(query.limit as usize);
        Ok(parked)
    }

    /// A place in the order of parked events, for one that the table itself cannot hold.
    async fn take_failed_id(&mut self, failure: &Failure) -> StoreResult<i64> {
        let mut row = vec![Value::from(""); FAILED.columns.len()];
        for (column, cell) in FAILED.columns.iter().zip(&mut row) {
            match *column {
                "failed_at" => *cell = failure.at().into(),
                "error_hash_code" | "retries" => *cell = 0_i64.into(),
                _ => {}
            }
        }
        let id = self.insert_failed(row).await?;
        let what = "taking a place among the parked events";
        self.execute(what, DELETE_FAILED, vec![id.into()]).await?;
        Ok(id)
    }

    /// Inserts a row, under an id that stands for nothing else: a table that was emptied may count from 1
    /// again, while what stands beside it is still there.
    async fn insert_failed(&mut self, row: Vec<Value>) -> StoreResult<i64> {
        loop {
            let id = self.insert_failed_row(row.clone()).await?;
            let what = "looking for what stands beside a parked event already";
            let beside = self.fetch(what, SELECT_BESIDE, vec![id.into()]).await?;
            let Some(mut beside) = beside.into_iter().next() else {
                return Ok(id);
            };
            if beside.text()?.is_none() {
                // Of an event that is gone.
                self.execute(what, DELETE_BESIDE, vec![id.into()]).await?;
                return Ok(id);
            }
            // Another event, whole: that keeps its id.
            self.execute(what, DELETE_FAILED, vec![id.into()]).await?;
        }
    }

    async fn insert_failed_row(&mut self, row: Vec<Value>) -> StoreResult<i64> {
        let doing = || "parking an event in failed_events";
        let sql = self.store.statements.insert(&FAILED, Form::AnsweringId);
        let values = self.store.cells(&FAILED, row);
        let rows = D::fetch(&mut self.conn, sql, values).await.doing(doing)?;
        match rows.into_iter().next() {
            Some(mut row) => row.required_int(),
            None => Err(StoreError::new(
                StoreErrorKind::Database,
                format!("{}: it was given no id", doing()),
            )),
        }
    }

    /// The columns of a row that is not in `failed_events` (or [`not_a_whole_row`]), and what that has no
    /// columns for.
    async fn insert_beside(
        &mut self,
        mut values: Vec<Value>,
        id: i64,
        event: &Event,
    ) -> StoreResult<()> {
        let what = "parking an event in atomfeed_failed_events";
        values.extend([
            id.into(),
            event.page_uri().into(),
            event.updated().into(),
            event.published().into(),
        ]);
        self.execute(what, INSERT_BESIDE, values).await.map(drop)
    }

    /// A statement on the retry log that is there, and one on that beside it.
    pub(super) fn of_retries(
        &self,
        there: &'static str,
        beside: &'static str,
    ) -> Vec<&'static str> {
        let layout = self.store.layout();
        let mut statements = Vec::new();
        if layout.has_table(RETRY.table) {
            statements.push(there);
        }
        if layout.is_adopted() {
            statements.push(beside);
        }
        statements
    }
}

/// The columns of `failed_events` in the table beside it, where the row itself stands there.
fn not_a_whole_row(tags: Value) -> Vec<Value> {
    let none = || Value::Text(None);
    let at = Value::Time(None);
    let hash = Value::Int(None);
    vec![none(), at, none(), none(), none(), hash, none(), tags]
}

/// A failure whose message fits a table.
fn fitted(layout: &Layout, table: &str, failure: &Failure) -> Failure {
    let message = layout.fitted(table, "error_message", failure.message());
    Failure::new(message, failure.at())
}

/// A failure whose message every table of ours can hold: PostgreSQL keeps no NUL in a text.
fn storable(failure: &Failure) -> Failure {
    Failure::new(failure.message().replace('\0', "\u{fffd}"), failure.at())
}

fn failure_values(event: &Event, failure: &Failure) -> Vec<Value> {
    vec![
        event.feed_uri().as_str().into(),
        failure.at().into(),
        failure.message().into(),
        event.id().as_str().into(),
        event.content().into(),
        i64::from(failure.hash_code()).into(),
    ]
}

/// A key of a feed, in the same few letters however long it is.
pub(super) fn order_key(feed_uri: &FeedUri, key: &str) -> String {
    let name = format!("{}\n{key}", feed_uri.as_str());
    Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string()
}

/// What follows the id in a row.
pub(super) fn failed_event(id: i64, mut row: Row, zone: TableZone) -> StoreResult<FailedEvent> {
    let feed_uri = feed_uri(&mut row)?;
    let failure = failure(&mut row, zone)?;
    let event_id = entry_id(&mut row)?;
    let content = row.text_or_empty()?;
    let title = row.text_or_empty()?;
    let retries = row.required_count()?;
    let event = Event::new(event_id, feed_uri)
        .with_text(title, content)
        .with_tags_column(&row.text_or_empty()?)
        .on_page(row.text()?)
        .at(row.time()?, row.time()?)
        .as_retry(true);
    let retries = u32::try_from(retries).unwrap_or(u32::MAX);
    let mut failed = FailedEvent::new(id, event, failure, retries);
    let is_placed = row.int()?.unwrap_or_default() != 0;
    let (key, due_at) = (row.text()?, row.time()?);
    failed.place = is_placed.then_some(Place { key, due_at });
    Ok(failed)
}

fn retry(mut row: Row, zone: TableZone) -> StoreResult<FailedEventRetryLog> {
    let id = row.required_int()?;
    let feed_uri = feed_uri(&mut row)?;
    let failure = failure(&mut row, zone)?;
    let event = Event::new(entry_id(&mut row)?, feed_uri).with_text("", row.text_or_empty()?);
    Ok(FailedEventRetryLog::new(id, &event, failure))
}

/// Columns failed_at and error_message. A row without a time is as old as can be.
fn failure(row: &mut Row, zone: TableZone) -> StoreResult<Failure> {
    let at = row.time_in(zone)?.unwrap_or_default();
    Ok(Failure::new(row.text_or_empty()?, at))
}

fn entry_id(row: &mut Row) -> StoreResult<EntryId> {
    EntryId::new(row.text_or_empty()?).ok_or_else(|| {
        let context = "reading the column event_id: it is empty; remove the row";
        StoreError::new(StoreErrorKind::InvalidData, context)
    })
}
