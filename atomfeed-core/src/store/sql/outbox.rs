use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Connection;

use super::error::Doing;
use super::{Dialect, Form, Insert, Row, SqlStore, Value};
use crate::category::{excessive_length, fold};
use crate::chunking::ChunkingStrategy;
use crate::store::{
    OpenTransaction, OutboxStore, SequenceState, StoreError, StoreErrorKind, StoreResult,
};
use crate::{EventRecord, NewEvent};

/// The columns of `event_records` and `event_records_queue`, but for the id.
const COLUMNS: &[&str] = &[
    "uuid",
    "title",
    "timestamp",
    "uri",
    "object",
    "category",
    "date_created",
    "tags",
];

pub(super) const RECORD: Insert = Insert {
    table: "event_records",
    columns: COLUMNS,
};

pub(super) const QUEUED: Insert = Insert {
    table: "event_records_queue",
    columns: COLUMNS,
};

const FIND_RECORD: &str = "SELECT id FROM {s}event_records WHERE uuid = ?";

const INSERT_CATEGORY: &str =
    "INSERT {unless} INTO {s}atomfeed_categories (category, folded) VALUES (?, ?) {there}";

const SET_LAST_TIMESTAMP: &str =
    "UPDATE {s}atomfeed_feed_state SET last_timestamp = ? WHERE id = 1";

const SELECT_STATE: &str =
    "SELECT strategy, sealed_until, last_timestamp FROM {s}atomfeed_feed_state WHERE id = 1";

#[async_trait]
impl<D: Dialect> OutboxStore for SqlStore<D> {
    type Conn = D::Connection;

    async fn publish(
        &self,
        conn: &mut D::Connection,
        event: &NewEvent,
        now: DateTime<Utc>,
    ) -> StoreResult<()> {
        event.validate()?;
        let record = EventRecord::of(event, 0, event.published().unwrap_or(now));
        // Also what would not fit where it goes from the queue.
        for table in [&QUEUED, &RECORD] {
            if let Some(misfit) = self.misfit(table, &record_values(&record)) {
                return Err(StoreError::new(
                    StoreErrorKind::Refused,
                    format!("publishing event {}: it has {misfit}", event.uuid()),
                ));
            }
        }
        match D::WRITES_ONE_AT_A_TIME {
            true => self.publish_directly(conn, event, now).await,
            false => self.queue(conn, event, now).await,
        }
    }
}

#[async_trait]
impl<D: Dialect> OpenTransaction for sqlx::Transaction<'_, D> {
    async fn commit(self) -> StoreResult<()> {
        sqlx::Transaction::commit(self)
            .await
            .doing(|| "committing a transaction with events")
    }
}

impl<D: Dialect> SqlStore<D> {
    /// Into `event_records` itself, under the lock under which events get their ids and times.
    async fn publish_directly(
        &self,
        conn: &mut D::Connection,
        event: &NewEvent,
        now: DateTime<Utc>,
    ) -> StoreResult<()> {
        let doing = || format!("publishing event {}", event.uuid());
        // Inside a transaction of the caller's this is a savepoint: an event that is refused leaves
        // nothing behind.
        let mut transaction = conn.begin().await.doing(doing)?;
        let state = self.lock_feed_state(&mut transaction).await?;
        let record = EventRecord::of(event, 0, state.timestamp(event, now)?);
        let row = record_values(&record);
        self.insert(&mut transaction, doing, &RECORD, [row]).await?;
        self.keep_category(&mut transaction, record.category.as_deref())
            .await?;
        if state.strategy == Some(ChunkingStrategy::Time) {
            self.keep_last_timestamp(&mut transaction, state, record.timestamp)
                .await?;
        }
        transaction.commit().await.doing(doing)
    }

    /// Into `event_records_queue`, without a lock; the sequencer moves it on.
    async fn queue(
        &self,
        conn: &mut D::Connection,
        event: &NewEvent,
        now: DateTime<Utc>,
    ) -> StoreResult<()> {
        let doing = || format!("publishing event {}", event.uuid());
        let mut timestamp = now;
        if event.published().is_some() {
            let rows = self.fetch(conn, doing, SELECT_STATE, Vec::new()).await?;
            timestamp = feed_state(rows)?.timestamp(event, now)?;
        }
        let record = EventRecord::of(event, 0, timestamp);
        let row = record_values(&record);
        let uuid = Value::from(record.uuid.as_str());
        // What was drawn at random is not looked for among the events that were moved on; the sequencer
        // would set it aside.
        let is_given = event.uuid_is_given();
        let is_new = match (self.knows_uuids, D::ERRORS_END_TRANSACTIONS, is_given) {
            (false, _, _) | (true, false, false) => {
                self.insert(conn, doing, &QUEUED, [row]).await?;
                true
            }
            (true, true, false) => {
                let sql = self.statements.insert(&QUEUED, Form::UnlessThere);
                let values = self.cells(&QUEUED, row);
                D::execute(conn, sql, values).await.doing(doing)? > 0
            }
            // In one statement, which does nothing when the event is there already.
            (true, true, true) => {
                let sql = self.statements.insert(&QUEUED, Form::UnlessPublished);
                let mut values = self.cells(&QUEUED, row);
                values.push(uuid);
                D::execute(conn, sql, values).await.doing(doing)? > 0
            }
            // A guard in the statement would lock the rows that it looks at, on MariaDB, and the
            // sequencer would wait for every publisher; INSERT IGNORE would cut what is too long.
            (true, false, true) => {
                let found = self.fetch(conn, doing, FIND_RECORD, vec![uuid]).await?;
                if found.is_empty() {
                    self.insert(conn, doing, &QUEUED, [row]).await?;
                }
                found.is_empty()
            }
        };
        match is_new {
            true => Ok(()),
            false => Err(StoreError::new(
                StoreErrorKind::Duplicate,
                format!("{}: an event with this uuid is there already", doing()),
            )),
        }
    }

    /// What is settled about the feed; nobody else can sequence or seal until the transaction ends.
    pub(super) async fn lock_feed_state(
        &self,
        conn: &mut D::Connection,
    ) -> StoreResult<SequenceState> {
        let doing = || "locking the feed";
        feed_state(
            self.fetch(conn, doing, D::LOCK_FEED_STATE, Vec::new())
                .await?,
        )
    }

    /// What is settled about the feed.
    pub(super) async fn state(&self) -> StoreResult<SequenceState> {
        feed_state(
            self.read("reading the state of the feed", SELECT_STATE, Vec::new())
                .await?,
        )
    }

    /// Keeps how a category is spelled, and what feeds match it by.
    pub(super) async fn keep_category(
        &self,
        conn: &mut D::Connection,
        category: Option<&str>,
    ) -> StoreResult<()> {
        // One that is too long was written by another program, and has no feed.
        let Some(category) = category.filter(|name| excessive_length(name).is_none()) else {
            return Ok(());
        };
        let values = vec![category.into(), fold(category).into()];
        let doing = || format!("keeping the category {category:?}");
        self.execute(conn, doing, INSERT_CATEGORY, values)
            .await
            .map(drop)
    }

    /// Keeps the newest time that was given.
    pub(super) async fn keep_last_timestamp(
        &self,
        conn: &mut D::Connection,
        state: SequenceState,
        given: DateTime<Utc>,
    ) -> StoreResult<()> {
        let last = state.last_timestamp.max(Some(given));
        let doing = || "keeping the newest time of the feed";
        self.execute(conn, doing, SET_LAST_TIMESTAMP, vec![last.into()])
            .await
            .map(drop)
    }
}

/// Reads strategy, sealed_until and last_timestamp.
fn feed_state(rows: Vec<Row>) -> StoreResult<SequenceState> {
    let invalid = |why: &str| {
        let context = format!("reading the state of the feed in atomfeed_feed_state{why}");
        StoreError::new(StoreErrorKind::InvalidData, context)
    };
    let Some(mut row) = rows.into_iter().next() else {
        return Err(invalid(
            ": it has no row; make the tables again with migrate()",
        ));
    };
    let strategy = row.text()?.map(|text| text.parse()).transpose();
    Ok(SequenceState {
        strategy: strategy.map_err(|error| invalid("").caused_by(error))?,
        sealed_until: row.time()?,
        last_timestamp: row.time()?,
    })
}

/// uuid, title, timestamp, uri, object, category, date_created and tags.
pub(super) fn record_values(record: &EventRecord) -> Vec<Value> {
    vec![
        record.uuid.as_str().into(),
        record.title.as_deref().into(),
        record.timestamp.into(),
        record.uri.as_deref().into(),
        record.content.as_deref().into(),
        record.category.as_deref().into(),
        record.date_created.into(),
        record.tags.as_deref().into(),
    ]
}
