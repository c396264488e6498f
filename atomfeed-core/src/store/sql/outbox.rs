use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Connection;

use super::error::Doing;
use super::{Dialect, SqlStore, Value};
use crate::category::fold;
use crate::chunking::ChunkingStrategy;
use crate::store::{OutboxStore, SequenceState, StoreError, StoreErrorKind, StoreResult};
use crate::{EventRecord, NewEvent};

const INSERT_RECORD: &str = "INSERT INTO event_records
    (uuid, title, timestamp, uri, object, category, date_created, tags)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)";

const INSERT_CATEGORY: &str = "INSERT INTO atomfeed_categories (category, folded)
    SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM atomfeed_categories WHERE category = ?)";

const SET_LAST_TIMESTAMP: &str = "UPDATE atomfeed_feed_state SET last_timestamp = ? WHERE id = 1";

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
        let doing = || format!("publishing event {}", event.uuid());
        // Inside a transaction of the caller's this is a savepoint: an event that is refused leaves
        // nothing behind.
        let mut transaction = conn.begin().await.doing(doing)?;
        let state = lock_feed_state::<D>(&mut transaction).await?;
        let record = EventRecord::of(event, 0, state.timestamp(event, now)?);
        insert_record::<D>(&mut transaction, &record).await?;
        if state.strategy == Some(ChunkingStrategy::Time) {
            let last = state.last_timestamp.max(Some(record.timestamp));
            D::execute(&mut transaction, SET_LAST_TIMESTAMP, vec![last.into()])
                .await
                .doing(doing)?;
        }
        transaction.commit().await.doing(doing)
    }
}

/// What is settled about the feed; nobody else can publish or seal until the transaction ends.
pub(super) async fn lock_feed_state<D: Dialect>(
    conn: &mut D::Connection,
) -> StoreResult<SequenceState> {
    let rows = D::fetch(conn, D::LOCK_FEED_STATE, Vec::new())
        .await
        .doing(|| "locking the feed to publish or seal")?;
    feed_state(rows)
}

/// Reads strategy, sealed_until and last_timestamp.
pub(super) fn feed_state(rows: Vec<super::Row>) -> StoreResult<SequenceState> {
    let Some(mut row) = rows.into_iter().next() else {
        let context = "reading the state of the feed: atomfeed_feed_state has no row; make the \
                       tables again with migrate()";
        return Err(StoreError::new(StoreErrorKind::InvalidData, context));
    };
    let strategy = row
        .text()?
        .map(|text| text.parse())
        .transpose()
        .map_err(|error| {
            StoreError::new(StoreErrorKind::InvalidData, "reading the state of the feed")
                .caused_by(error)
        })?;
    Ok(SequenceState {
        strategy,
        sealed_until: row.time()?,
        last_timestamp: row.time()?,
    })
}

async fn insert_record<D: Dialect>(
    conn: &mut D::Connection,
    record: &EventRecord,
) -> StoreResult<()> {
    let values = vec![
        record.uuid.as_str().into(),
        record.title.as_deref().into(),
        record.timestamp.into(),
        record.uri.as_deref().into(),
        record.content.as_deref().into(),
        record.category.as_deref().into(),
        record.date_created.into(),
        record.tags.as_deref().into(),
    ];
    let doing = || format!("writing event {} into event_records", record.uuid);
    D::execute(conn, INSERT_RECORD, values).await.doing(doing)?;
    if let Some(category) = &record.category {
        let category = category.as_str();
        let values: Vec<Value> = vec![category.into(), fold(category).into(), category.into()];
        D::execute(conn, INSERT_CATEGORY, values)
            .await
            .doing(doing)?;
    }
    Ok(())
}
