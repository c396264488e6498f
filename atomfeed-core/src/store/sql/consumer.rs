use async_trait::async_trait;
use sqlx::Transaction;

use super::error::Doing;
use super::{Dialect, Row, SqlStore, Value};
use crate::store::{
    ConsumerStore, FailedEventQuery, FailedEventStore, MarkerStore, StoreError, StoreErrorKind,
    StoreResult, UnitOfWork,
};
use crate::{EntryId, Event, FailedEvent, FailedEventRetryLog, Failure, FeedUri, Marker};

const SELECT_MARKER: &str = "SELECT feed_uri, last_read_entry_id, feed_uri_for_last_read_entry
    FROM {s}markers WHERE feed_uri = ?";
const SELECT_MARKERS: &str = "SELECT feed_uri, last_read_entry_id, feed_uri_for_last_read_entry
    FROM {s}markers ORDER BY feed_uri";
const UPDATE_MARKER: &str =
    "UPDATE {s}markers SET last_read_entry_id = ?, feed_uri_for_last_read_entry = ?
    WHERE feed_uri = ? AND COALESCE(last_read_entry_id, '') = ?
    AND COALESCE(feed_uri_for_last_read_entry, '') = ?";
const INSERT_MARKER: &str =
    "INSERT INTO {s}markers (last_read_entry_id, feed_uri_for_last_read_entry, feed_uri)
    SELECT ?, ?, ? FROM (SELECT 1 AS one) AS one
    WHERE NOT EXISTS (SELECT 1 FROM {s}markers WHERE feed_uri = ?)";

const INSERT_FAILED: &str = "INSERT INTO {s}failed_events
    (feed_uri, failed_at, error_message, event_id, event_content, error_hash_code, title, retries,
     tags)
    VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?) RETURNING id";
const INSERT_FAILED_BESIDE: &str = "INSERT INTO {s}atomfeed_failed_events
    (failed_event_id, page_uri, updated, published) VALUES (?, ?, ?, ?)";
const SELECT_FAILED: &str = "SELECT failed.id, failed.feed_uri, failed.failed_at,
     failed.error_message, failed.event_id, failed.event_content, failed.title, failed.retries,
     failed.tags, beside.page_uri, beside.updated, beside.published
    FROM {s}failed_events AS failed
    LEFT JOIN {s}atomfeed_failed_events AS beside ON beside.failed_event_id = failed.id
    WHERE failed.feed_uri = ? AND failed.id > ? AND failed.retries < ?
    ORDER BY failed.id LIMIT ?";
const COUNT_FAILED: &str = "SELECT COUNT(*) FROM {s}failed_events WHERE feed_uri = ?";
const ADD_RETRY: &str = "UPDATE {s}failed_events SET retries = retries + 1 WHERE id = ?";
const DELETE_FAILED: &str = "DELETE FROM {s}failed_events WHERE id = ?";
const DELETE_FAILED_BESIDE: &str =
    "DELETE FROM {s}atomfeed_failed_events WHERE failed_event_id = ?";

const INSERT_RETRY: &str = "INSERT INTO {s}failed_event_retry_log
    (feed_uri, failed_at, error_message, event_id, event_content, error_hash_code)
    VALUES (?, ?, ?, ?, ?, ?)";
const SELECT_RETRIES: &str =
    "SELECT id, feed_uri, failed_at, error_message, event_id, event_content
    FROM {s}failed_event_retry_log WHERE event_id = ? AND feed_uri = ? ORDER BY id";
const DELETE_RETRIES: &str =
    "DELETE FROM {s}failed_event_retry_log WHERE event_id = ? AND feed_uri = ?";

#[async_trait]
impl<D: Dialect> ConsumerStore for SqlStore<D> {
    type Conn = D::Connection;

    async fn begin(&self) -> StoreResult<Box<dyn UnitOfWork<Conn = D::Connection>>> {
        let transaction = self
            .begin_writing(|| "opening a transaction for a worker")
            .await?;
        Ok(Box::new(SqlUnitOfWork {
            store: self.clone(),
            transaction,
        }))
    }

    async fn marker(&self, feed_uri: &FeedUri) -> StoreResult<Option<Marker>> {
        let values = vec![feed_uri.as_str().into()];
        one_marker(
            self.read("reading the marker", SELECT_MARKER, values)
                .await?,
        )
    }
}

/// An open transaction; sqlx rolls it back when it is dropped.
struct SqlUnitOfWork<D: Dialect> {
    store: SqlStore<D>,
    transaction: Transaction<'static, D>,
}

impl<D: Dialect> SqlUnitOfWork<D> {
    async fn execute(
        &mut self,
        what: &'static str,
        statement: &'static str,
        values: Vec<Value>,
    ) -> StoreResult<u64> {
        self.store
            .execute(&mut self.transaction, || what, statement, values)
            .await
    }

    async fn fetch(
        &mut self,
        what: &'static str,
        statement: &'static str,
        values: Vec<Value>,
    ) -> StoreResult<Vec<Row>> {
        self.store
            .fetch(&mut self.transaction, || what, statement, values)
            .await
    }
}

#[async_trait]
impl<D: Dialect> UnitOfWork for SqlUnitOfWork<D> {
    type Conn = D::Connection;

    fn conn(&mut self) -> &mut D::Connection {
        &mut self.transaction
    }

    async fn commit(self: Box<Self>) -> StoreResult<()> {
        self.transaction
            .commit()
            .await
            .doing(|| "committing a worker's transaction")
    }

    async fn rollback(self: Box<Self>) -> StoreResult<()> {
        self.transaction
            .rollback()
            .await
            .doing(|| "rolling a worker's transaction back")
    }
}

#[async_trait]
impl<D: Dialect> MarkerStore for SqlUnitOfWork<D> {
    async fn marker(&mut self, feed_uri: &FeedUri) -> StoreResult<Option<Marker>> {
        let values = vec![feed_uri.as_str().into()];
        one_marker(
            self.fetch("reading the marker", SELECT_MARKER, values)
                .await?,
        )
    }

    async fn markers(&mut self) -> StoreResult<Vec<Marker>> {
        let rows = self
            .fetch("reading the markers", SELECT_MARKERS, Vec::new())
            .await?;
        rows.into_iter().map(marker).collect()
    }

    async fn move_marker(&mut self, from: Option<&Marker>, to: &Marker) -> StoreResult<()> {
        let mut values = marker_values(to);
        let feed_uri = to.feed_uri().as_str();
        values.push(feed_uri.into());
        let sql = match from {
            Some(from) => {
                values.extend(marker_values(from));
                UPDATE_MARKER
            }
            None => {
                values.push(feed_uri.into());
                INSERT_MARKER
            }
        };
        match self.execute("moving the marker", sql, values).await {
            Ok(0) => Err(StoreError::marker_conflict(to)),
            Ok(_) => Ok(()),
            // Two have made it at the same moment.
            Err(error) if error.kind() == StoreErrorKind::Duplicate => {
                Err(StoreError::marker_conflict(to).caused_by(error))
            }
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl<D: Dialect> FailedEventStore for SqlUnitOfWork<D> {
    async fn park(&mut self, event: &Event, failure: &Failure) -> StoreResult<()> {
        let what = "parking an event in failed_events";
        let mut values = failure_values(event, failure);
        values.extend([Value::from(event.title()), event.tags_column().into()]);
        let rows = self.fetch(what, INSERT_FAILED, values).await?;
        let Some(mut row) = rows.into_iter().next() else {
            return Err(StoreError::new(
                StoreErrorKind::Database,
                format!("{what}: no id"),
            ));
        };
        let values = vec![
            row.required_int()?.into(),
            event.page_uri().into(),
            event.updated().into(),
            event.published().into(),
        ];
        self.execute(what, INSERT_FAILED_BESIDE, values)
            .await
            .map(drop)
    }

    async fn failed_events(&mut self, query: &FailedEventQuery) -> StoreResult<Vec<FailedEvent>> {
        let values = vec![
            query.feed_uri.as_str().into(),
            query.after.into(),
            query.retries_below.map_or(i64::MAX, i64::from).into(),
            i64::from(query.limit).into(),
        ];
        let rows = self
            .fetch("reading failed events", SELECT_FAILED, values)
            .await?;
        rows.into_iter().map(failed_event).collect()
    }

    async fn failed_event_count(&mut self, feed_uri: &FeedUri) -> StoreResult<u64> {
        let values = vec![feed_uri.as_str().into()];
        let rows = self
            .fetch("counting failed events", COUNT_FAILED, values)
            .await?;
        rows.into_iter()
            .next()
            .map_or(Ok(0), |mut row| row.required_count())
    }

    async fn record_failed_retry(
        &mut self,
        failed: &FailedEvent,
        failure: &Failure,
    ) -> StoreResult<()> {
        let what = "recording a retry that failed";
        if self
            .execute(what, ADD_RETRY, vec![failed.id.into()])
            .await?
            == 0
        {
            return Err(StoreError::not_parked(failed));
        }
        let values = failure_values(&failed.event, failure);
        self.execute(what, INSERT_RETRY, values).await.map(drop)
    }

    async fn remove_failed_event(&mut self, failed: &FailedEvent) -> StoreResult<()> {
        let what = "removing a failed event that succeeded";
        if self
            .execute(what, DELETE_FAILED, vec![failed.id.into()])
            .await?
            == 0
        {
            return Err(StoreError::not_parked(failed));
        }
        self.execute(what, DELETE_FAILED_BESIDE, vec![failed.id.into()])
            .await?;
        let event = &failed.event;
        let values = vec![event.id().as_str().into(), event.feed_uri().as_str().into()];
        self.execute(what, DELETE_RETRIES, values).await.map(drop)
    }

    async fn retry_log(
        &mut self,
        feed_uri: &FeedUri,
        event_id: &EntryId,
    ) -> StoreResult<Vec<FailedEventRetryLog>> {
        let values = vec![event_id.as_str().into(), feed_uri.as_str().into()];
        let rows = self
            .fetch("reading the retry log", SELECT_RETRIES, values)
            .await?;
        rows.into_iter().map(retry).collect()
    }
}

/// Entry and page; no NULL is ever written, since some tables refuse it.
fn marker_values(marker: &Marker) -> Vec<Value> {
    let entry = marker.last_read_entry_id().map_or("", EntryId::as_str);
    vec![entry.into(), marker.page_uri().unwrap_or_default().into()]
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

fn one_marker(rows: Vec<Row>) -> StoreResult<Option<Marker>> {
    rows.into_iter().next().map(marker).transpose()
}

fn marker(mut row: Row) -> StoreResult<Marker> {
    let mut marker = Marker::new(feed_uri(&mut row)?);
    if let Some(entry) = EntryId::new(row.text_or_empty()?) {
        marker = marker.after(entry);
    }
    Ok(marker.on_page(row.text_or_empty()?))
}

fn failed_event(mut row: Row) -> StoreResult<FailedEvent> {
    let id = row.required_int()?;
    let feed_uri = feed_uri(&mut row)?;
    let failure = failure(&mut row)?;
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
    Ok(FailedEvent::new(
        id,
        event,
        failure,
        u32::try_from(retries).unwrap_or(u32::MAX),
    ))
}

fn retry(mut row: Row) -> StoreResult<FailedEventRetryLog> {
    let id = row.required_int()?;
    let feed_uri = feed_uri(&mut row)?;
    let failure = failure(&mut row)?;
    let event = Event::new(entry_id(&mut row)?, feed_uri).with_text("", row.text_or_empty()?);
    Ok(FailedEventRetryLog::new(id, &event, failure))
}

/// Columns failed_at and error_message. A row without a time is as old as can be.
fn failure(row: &mut Row) -> StoreResult<Failure> {
    let at = row.time()?.unwrap_or_default();
    Ok(Failure::new(row.text_or_empty()?, at))
}

fn feed_uri(row: &mut Row) -> StoreResult<FeedUri> {
    FeedUri::new(row.text_or_empty()?).map_err(|error| {
        StoreError::new(StoreErrorKind::InvalidData, "reading the column feed_uri").caused_by(error)
    })
}

fn entry_id(row: &mut Row) -> StoreResult<EntryId> {
    EntryId::new(row.text_or_empty()?).ok_or_else(|| {
        let context = "reading the column event_id: it is empty; remove the row";
        StoreError::new(StoreErrorKind::InvalidData, context)
    })
}
