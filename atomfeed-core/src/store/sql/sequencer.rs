use std::collections::BTreeSet;
use std::sync::LazyLock;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{Connection, Transaction};

use super::error::Doing;
use super::outbox::record_values;
use super::{Dialect, Row, SqlStore, Value};
use crate::EventRecord;
use crate::chunking::ChunkingStrategy;
use crate::store::{
    SequenceState, Sequenced, SequencedStore, StoreError, StoreErrorKind, StoreResult,
};

const IS_QUEUED: &str = "SELECT id FROM {s}event_records_queue LIMIT 1";

const SELECT_QUEUED: &str =
    "SELECT id, uuid, title, timestamp, uri, object, category, date_created, tags
    FROM {s}event_records_queue ORDER BY id LIMIT ?";

const SET_ASIDE: &str = "INSERT INTO {s}atomfeed_set_aside
    (uuid, title, timestamp, uri, object, category, date_created, tags, queue_id, set_aside_at,
     error)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// How many rows a statement moves at once; what is left over goes in smaller ones.
const WIDTHS: [usize; 4] = [500, 50, 5, 1];

static INSERT_RECORDS: LazyLock<[String; 4]> = LazyLock::new(|| {
    WIDTHS.map(|width| {
        let rows = vec!["(?, ?, ?, ?, ?, ?, ?, ?)"; width].join(", ");
        format!(
            "INSERT INTO {{s}}event_records
            (uuid, title, timestamp, uri, object, category, date_created, tags) VALUES {rows}"
        )
    })
});

static DELETE_QUEUED: LazyLock<[String; 4]> = LazyLock::new(|| {
    WIDTHS.map(|width| {
        let ids = vec!["?"; width].join(", ");
        format!("DELETE FROM {{s}}event_records_queue WHERE id IN ({ids})")
    })
});

#[async_trait]
impl<D: Dialect> SequencedStore for SqlStore<D> {
    async fn sequence(&self, limit: u32, now: DateTime<Utc>) -> StoreResult<Sequenced> {
        let doing = || "moving events from event_records_queue into event_records";
        // Without a lock, so that an idle sequencer costs nothing.
        if self.read(doing(), IS_QUEUED, Vec::new()).await?.is_empty() {
            return Ok(Sequenced::default());
        }
        let mut transaction = self.begin_writing(doing).await?;
        // First the lock; then, in a statement of its own, the rows: one statement sees one
        // snapshot, and this one must be taken under the lock.
        let state = self.lock_feed_state(&mut transaction).await?;
        let values = vec![i64::from(limit).into()];
        let rows = self
            .fetch(&mut transaction, doing, SELECT_QUEUED, values)
            .await?;
        let mut queued = rows
            .into_iter()
            .map(queued)
            .collect::<StoreResult<Vec<_>>>()?;
        let last = assign_times(&mut queued, state);
        let mut sequenced = Sequenced {
            more: queued.len() == limit as usize,
            ..Sequenced::default()
        };

        sequenced.set_aside = self.insert(&mut transaction, &queued, now).await?;
        sequenced.moved = queued.len() as u64 - sequenced.set_aside;
        self.delete(&mut transaction, &queued).await?;
        let categories: BTreeSet<_> = queued
            .iter()
            .filter_map(|record| record.category.as_deref())
            .collect();
        for category in categories {
            self.keep_category(&mut transaction, Some(category)).await?;
        }
        if let (Some(ChunkingStrategy::Time), Some(last)) = (state.strategy, last) {
            self.keep_last_timestamp(&mut transaction, state, last)
                .await?;
        }
        transaction.commit().await.doing(doing)?;
        Ok(sequenced)
    }
}

/// On time chunks, times never go back and never fall into a chunk that has ended. The newest of
/// them.
fn assign_times(queued: &mut [EventRecord], state: SequenceState) -> Option<DateTime<Utc>> {
    if state.strategy != Some(ChunkingStrategy::Time) {
        return None;
    }
    let mut floor = state.sealed_until.max(state.last_timestamp);
    for record in queued {
        record.timestamp = floor.map_or(record.timestamp, |floor| floor.max(record.timestamp));
        floor = Some(record.timestamp);
    }
    floor
}

/// A row of the queue; its id is the queue's.
fn queued(mut row: Row) -> StoreResult<EventRecord> {
    let mut record = EventRecord::new(
        row.required_int()?,
        row.text_or_empty()?,
        DateTime::default(),
    );
    record.title = row.text()?;
    record.timestamp = row.required_time()?;
    record.uri = row.text()?;
    record.content = row.text()?;
    record.category = row.text()?;
    record.date_created = row.time()?;
    record.tags = row.text()?;
    Ok(record)
}

impl<D: Dialect> SqlStore<D> {
    /// Writes records in their order, and says how many had to be set aside.
    async fn insert(
        &self,
        transaction: &mut Transaction<'_, D>,
        records: &[EventRecord],
        now: DateTime<Utc>,
    ) -> StoreResult<u64> {
        let doing = || "moving events into event_records";
        let mut savepoint = transaction.begin().await.doing(doing)?;
        match self.insert_all(&mut savepoint, records).await {
            Ok(()) => savepoint.commit().await.doing(doing).map(|()| 0),
            Err(error) if concerns_a_row(&error) => {
                savepoint.rollback().await.doing(doing)?;
                self.insert_each(transaction, records, now).await
            }
            Err(error) => Err(error),
        }
    }

    async fn insert_all(
        &self,
        conn: &mut D::Connection,
        mut records: &[EventRecord],
    ) -> StoreResult<()> {
        let doing = || "moving events into event_records";
        for (width, statement) in WIDTHS.into_iter().zip(INSERT_RECORDS.iter()) {
            while let Some((some, rest)) = records.split_at_checked(width) {
                let values = some.iter().flat_map(record_values).collect();
                self.execute(conn, doing, statement, values).await?;
                records = rest;
            }
        }
        Ok(())
    }

    /// One by one: what cannot be written is set aside with the reason, and holds nothing up.
    async fn insert_each(
        &self,
        transaction: &mut Transaction<'_, D>,
        records: &[EventRecord],
        now: DateTime<Utc>,
    ) -> StoreResult<u64> {
        let mut set_aside = 0;
        for record in records {
            let doing = || format!("moving event {} into event_records", record.uuid);
            let mut savepoint = transaction.begin().await.doing(doing)?;
            let inserted = self
                .insert_all(&mut savepoint, std::slice::from_ref(record))
                .await;
            let error = match inserted {
                Ok(()) => {
                    savepoint.commit().await.doing(doing)?;
                    continue;
                }
                Err(error) if concerns_a_row(&error) => error,
                Err(error) => return Err(error),
            };
            savepoint.rollback().await.doing(doing)?;
            let reason = reason(&error);
            tracing::error!(uuid = record.uuid, reason, "a queued event was set aside");
            let mut values = record_values(record);
            values.extend([Value::from(record.id), now.into(), reason.into()]);
            self.execute(transaction, doing, SET_ASIDE, values).await?;
            set_aside += 1;
        }
        Ok(set_aside)
    }

    async fn delete(
        &self,
        conn: &mut D::Connection,
        mut records: &[EventRecord],
    ) -> StoreResult<()> {
        let doing = || "removing from event_records_queue what was moved";
        for (width, statement) in WIDTHS.into_iter().zip(DELETE_QUEUED.iter()) {
            while let Some((some, rest)) = records.split_at_checked(width) {
                let values = some.iter().map(|record| record.id.into()).collect();
                self.execute(conn, doing, statement, values).await?;
                records = rest;
            }
        }
        Ok(())
    }
}

/// Whether an error may be one row's own, and not the database's.
fn concerns_a_row(error: &StoreError) -> bool {
    matches!(
        error.kind(),
        StoreErrorKind::Duplicate | StoreErrorKind::Database
    )
}

fn reason(error: &StoreError) -> String {
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        reason.push_str(": ");
        reason.push_str(&cause.to_string());
        source = cause.source();
    }
    reason
}
