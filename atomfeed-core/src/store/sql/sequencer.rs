use std::collections::BTreeSet;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{Connection, Transaction};

use super::error::Doing;
use super::outbox::{RECORD, record_values};
use super::upkeep::delete_run;
use super::{Dialect, Form, Row, SqlStore, Value};
use crate::category::excessive_length;
use crate::chunking::ChunkingStrategy;
use crate::store::{
    SequenceState, Sequenced, SequencedStore, StoreError, StoreErrorKind, StoreResult,
};
use crate::{Category, EventRecord};

const COUNT_QUEUED: &str = "SELECT COUNT(*) FROM {s}event_records_queue";
const IS_QUEUED: &str = "SELECT id FROM {s}event_records_queue LIMIT 1";

const SELECT_QUEUED: &str =
    "SELECT id, uuid, title, timestamp, {?event_records_queue.uri:uri|NULL}, object, category,
     {?event_records_queue.date_created:date_created|NULL},
     {?event_records_queue.tags:tags|NULL}
    FROM {s}event_records_queue ORDER BY id LIMIT ?";

const SET_ASIDE: &str = "INSERT INTO {s}atomfeed_set_aside
    (uuid, title, timestamp, uri, object, category, date_created, tags, queue_id, set_aside_at,
     error)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// How many rows a statement moves at once; what is left over goes in smaller ones.
const WIDTHS: [usize; 4] = [500, 50, 5, 1];

#[async_trait]
impl<D: Dialect> SequencedStore for SqlStore<D> {
    async fn queued(&self) -> StoreResult<u64> {
        let what = "counting the events that wait in event_records_queue";
        let rows = self.read(what, COUNT_QUEUED, Vec::new()).await?;
        let row = rows.into_iter().next();
        row.map_or(Ok(0), |mut row| row.required_count())
    }

    async fn sequence(&self, limit: u32, now: DateTime<Utc>) -> StoreResult<Sequenced> {
        let doing = || "moving events from event_records_queue into event_records";
        if !self.sequences {
            let context = format!(
                "{}: the tables were adopted, and their own program does this; both at once would \
                 double events. Adopt them for sequencing once it does not",
                doing()
            );
            return Err(StoreError::new(StoreErrorKind::Refused, context));
        }
        // Without a lock, so that an idle sequencer costs nothing.
        if self.read(doing(), IS_QUEUED, Vec::new()).await?.is_empty() {
            return Ok(Sequenced::default());
        }
        let mut transaction = self.begin_writing(doing).await?;
        // First the lock; then, in a statement of its own, the rows: one statement sees one
        // snapshot, and this one must be taken under the lock.
        let state = self.lock_feed_state(&mut transaction).await?;
        let moved = match self.moves_at_once(state) {
            true => self.move_at_once(&mut transaction, limit).await?,
            false => None,
        };
        let sequenced = match moved {
            Some(sequenced) => sequenced,
            None => self.move_rows(&mut transaction, state, limit, now).await?,
        };
        if let Some(notify) = D::NOTIFY.filter(|_| sequenced.moved > 0) {
            let values = vec![self.schema_value()];
            self.execute(&mut transaction, doing, notify, values)
                .await?;
        }
        transaction.commit().await.doing(doing)?;
        Ok(sequenced)
    }
}

/// On time chunks, times never go back, never fall into a chunk that has ended, and never lie in the
/// future: a clock that is ahead, or a row in local time, would take every later event along. The
/// newest of them.
fn assign_times(
    queued: &mut [Queued],
    state: SequenceState,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    if state.strategy != Some(ChunkingStrategy::Time) {
        return None;
    }
    let mut floor = state.sealed_until.max(state.last_timestamp);
    for Queued { record, .. } in queued {
        let timestamp = record.timestamp.min(now);
        record.timestamp = floor.map_or(timestamp, |floor| floor.max(timestamp));
        floor = Some(record.timestamp);
    }
    floor
}

/// A row of the queue; the record's id is the queue's.
struct Queued {
    record: EventRecord,
    /// Why it is not moved, but set aside.
    unfit: Option<String>,
}

impl<D: Dialect> SqlStore<D> {
    /// Whether rows need not be looked at one by one.
    fn moves_at_once(&self, state: SequenceState) -> bool {
        D::MOVES_IN_ONE_STATEMENT
            && !self.layout().is_adopted()
            && state.strategy != Some(ChunkingStrategy::Time)
    }

    /// In one statement; nothing is moved and `None` is answered when there is a row that cannot be.
    async fn move_at_once(
        &self,
        transaction: &mut Transaction<'_, D>,
        limit: u32,
    ) -> StoreResult<Option<Sequenced>> {
        let doing = || "moving events from event_records_queue into event_records at once";
        let sql = self.statements.insert(&RECORD, Form::FromQueue);
        let mut savepoint = transaction.begin().await.doing(doing)?;
        let values = vec![i64::from(limit).into()];
        let moved = D::fetch(&mut savepoint, sql, values).await.doing(doing);
        let rows = match moved {
            Ok(rows) => rows,
            Err(error) if concerns_a_row::<D>(&error) => {
                savepoint.rollback().await.doing(doing)?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut sequenced = Sequenced::default();
        for mut row in rows {
            let category = row.text()?;
            sequenced.moved += row.required_count()?;
            let is_long = category.as_deref().and_then(excessive_length).is_some();
            if row.required_count()? > 0 || is_long {
                savepoint.rollback().await.doing(doing)?;
                return Ok(None);
            }
            self.keep_category(&mut savepoint, category.as_deref())
                .await?;
        }
        savepoint.commit().await.doing(doing)?;
        sequenced.more = sequenced.moved == u64::from(limit);
        Ok(Some(sequenced))
    }

    /// Row by row as far as it must be, whatever the tables are like.
    async fn move_rows(
        &self,
        transaction: &mut Transaction<'_, D>,
        state: SequenceState,
        limit: u32,
        now: DateTime<Utc>,
    ) -> StoreResult<Sequenced> {
        let doing = || "moving events from event_records_queue into event_records";
        let values = vec![i64::from(limit).into()];
        let rows = self
            .fetch(transaction, doing, SELECT_QUEUED, values)
            .await?;
        let mut queued = rows
            .into_iter()
            .map(|row| self.queued(row, now))
            .collect::<StoreResult<Vec<_>>>()?;
        let last = assign_times(&mut queued, state, now);
        self.insert_queued(transaction, &mut queued, now).await?;
        self.delete(transaction, &queued).await?;
        let moved = || queued.iter().filter(|queued| queued.unfit.is_none());
        let categories: BTreeSet<_> = moved()
            .filter_map(|queued| queued.record.category.as_deref())
            .collect();
        for category in categories {
            self.keep_category(transaction, Some(category)).await?;
        }
        if let (Some(ChunkingStrategy::Time), Some(last)) = (state.strategy, last) {
            self.keep_last_timestamp(transaction, state, last).await?;
        }
        let moved = moved().count();
        Ok(Sequenced {
            moved: moved as u64,
            set_aside: (queued.len() - moved) as u64,
            more: queued.len() == limit as usize,
        })
    }

    /// Takes a row as far as it can be read.
    fn queued(&self, mut row: Row, now: DateTime<Utc>) -> StoreResult<Queued> {
        let zone = self.layout().zone();
        let mut record = EventRecord::new(row.required_int()?, "", now);
        let (mut unreadable, mut garbled) = (None, None);
        let mut text = |row: &mut Row, column| {
            let (text, is_garbled) = row.text_as_far_as_it_is()?;
            garbled = garbled.or(is_garbled.then_some(column));
            StoreResult::Ok(text)
        };
        record.uuid = text(&mut row, "uuid")?.unwrap_or_default();
        record.title = text(&mut row, "title")?;
        match row.time_in(zone) {
            Ok(timestamp) => record.timestamp = timestamp.unwrap_or(now),
            Err(error) => unreadable = Some(error.to_string()),
        }
        record.uri = text(&mut row, "uri")?;
        record.content = text(&mut row, "object")?;
        record.category = text(&mut row, "category")?;
        match row.time_in(zone) {
            Ok(date_created) => record.date_created = date_created.or(Some(record.timestamp)),
            Err(error) => unreadable = Some(error.to_string()),
        }
        record.tags = text(&mut row, "tags")?;
        if let Some(column) = garbled {
            let why = format!("reading column {column}: it holds a text that is not in UTF-8");
            unreadable = Some(why);
        }
        // Where a database would cut what does not fit, and say nothing.
        let misfit = self.misfit(&RECORD, &record_values(&record));
        let long = record.category.as_deref().and_then(excessive_length);
        let long = long.map(|length| {
            let fit = Category::MAX_LENGTH;
            format!("a category of {length} characters, in lower case too, where {fit} fit")
        });
        let misfit = misfit.or(long).map(|misfit| format!("it has {misfit}"));
        let unfit = unreadable.or(misfit);
        Ok(Queued { record, unfit })
    }

    /// Writes records in their order, and says of those that had to be set aside why.
    async fn insert_queued(
        &self,
        transaction: &mut Transaction<'_, D>,
        queued: &mut [Queued],
        now: DateTime<Utc>,
    ) -> StoreResult<()> {
        let doing = || "moving events into event_records";
        if queued.iter().any(|queued| queued.unfit.is_some()) {
            return self.insert_each(transaction, queued, now).await;
        }
        let mut savepoint = transaction.begin().await.doing(doing)?;
        match self.insert_all(&mut savepoint, queued).await {
            Ok(()) => savepoint.commit().await.doing(doing),
            Err(error) if concerns_a_row::<D>(&error) => {
                savepoint.rollback().await.doing(doing)?;
                self.insert_each(transaction, queued, now).await
            }
            Err(error) => Err(error),
        }
    }

    async fn insert_all(&self, conn: &mut D::Connection, mut queued: &[Queued]) -> StoreResult<()> {
        let doing = || "moving events into event_records";
        for width in WIDTHS {
            while let Some((some, rest)) = queued.split_at_checked(width) {
                let rows = some.iter().map(|queued| record_values(&queued.record));
                self.insert(conn, doing, &RECORD, rows).await?;
                queued = rest;
            }
        }
        Ok(())
    }

    /// One by one: what cannot be written is set aside with the reason, and holds nothing up.
    async fn insert_each(
        &self,
        transaction: &mut Transaction<'_, D>,
        all: &mut [Queued],
        now: DateTime<Utc>,
    ) -> StoreResult<()> {
        for queued in all {
            let record = &queued.record;
            let doing = || format!("moving event {} into event_records", record.uuid);
            let reason = match &queued.unfit {
                Some(unfit) => unfit.clone(),
                None => {
                    let mut savepoint = transaction.begin().await.doing(doing)?;
                    let inserted = self
                        .insert_all(&mut savepoint, std::slice::from_ref(&*queued))
                        .await;
                    match inserted {
                        Ok(()) => {
                            savepoint.commit().await.doing(doing)?;
                            continue;
                        }
                        Err(error) if concerns_a_row::<D>(&error) => {
                            savepoint.rollback().await.doing(doing)?;
                            reason(&error)
                        }
                        Err(error) => return Err(error),
                    }
                }
            };
            tracing::error!(uuid = record.uuid, reason, "a queued event was set aside");
            let mut values = record_values(record);
            values.extend([Value::from(record.id), now.into(), reason.as_str().into()]);
            self.execute(transaction, doing, SET_ASIDE, values).await?;
            queued.unfit = Some(reason);
        }
        Ok(())
    }

    /// Run by run of ids: a row between them may be another transaction's, which is not waited for.
    async fn delete(&self, conn: &mut D::Connection, queued: &[Queued]) -> StoreResult<()> {
        let doing = || "removing from event_records_queue what was moved";
        for run in queued.chunk_by(|one, next| one.record.id + 1 == next.record.id) {
            let id = |queued: &Queued| queued.record.id;
            let (first, last) = (run.first().map(id), run.last().map(id));
            let values = self.run_values(first.as_ref(), last.as_ref(), run.len());
            let statement = delete_run!("event_records_queue");
            self.execute(conn, doing, statement, values).await?;
        }
        Ok(())
    }
}

/// Whether an error is one row's own, and not the database's.
fn concerns_a_row<D: Dialect>(error: &StoreError) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    match cause {
        Some(sqlx::Error::Database(error)) => D::concerns_a_row(error.as_ref()),
        _ => false,
    }
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
