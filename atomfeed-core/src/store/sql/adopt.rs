use std::sync::Arc;
use std::time::Duration;

use super::horizon::Horizon;
use super::layout::{Column, Layout};
use super::matching::Matching;
use super::{Dialect, Found, SqlStore, TableZone, Value};
use crate::store::{StoreError, StoreErrorKind, StoreResult};

/// How tables are taken over that belong to another program, whose migrations made them: OpenMRS',
/// OpenELIS', Odoo's.
///
/// They are used as they are, and nothing of them is altered; what is needed besides is kept in tables
/// of our own (`atomfeed_*`) beside them.
///
/// ```no_run
/// use atomfeed_core::store::{Adoption, StoreError};
/// # #[cfg(feature = "postgres")]
/// use atomfeed_core::store::PostgresStore;
///
/// # #[cfg(feature = "postgres")]
/// # async fn adopt(pool: sqlx::PgPool) -> Result<(), StoreError> {
/// let adoption = Adoption::of_publisher().in_zone("Asia/Kathmandu".parse()?);
/// let schema = "clinlims".parse()?;
/// let store = PostgresStore::over(pool, Some(&schema)).adopt(&adoption).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Adoption {
    publisher: bool,
    zone: TableZone,
    sequencing: bool,
    pruning: bool,
    gap_wait: Duration,
}

impl Adoption {
    /// The tables of who publishes: `event_records`, `event_records_queue`, `chunking_history`,
    /// `event_records_offset_marker`.
    pub fn of_publisher() -> Self {
        Self {
            publisher: true,
            zone: TableZone::default(),
            sequencing: false,
            pruning: false,
            gap_wait: Duration::from_secs(10),
        }
    }

    /// The tables of who consumes: `markers`, `failed_events`, `failed_event_retry_log`.
    pub fn of_consumer() -> Self {
        Self {
            publisher: false,
            ..Self::of_publisher()
        }
    }

    /// Sets the zone of times in columns that name none; else UTC.
    #[must_use]
    pub fn in_zone(mut self, zone: TableZone) -> Self {
        self.zone = zone;
        self
    }

    /// Has this library move events from the queue, instead of the original. Both at once double
    /// events: the original reads the queue without a lock. Time chunks need it: without, they are refused
    /// where transactions write at the same time.
    #[must_use]
    pub fn sequencing(mut self) -> Self {
        self.sequencing = true;
        self
    }

    /// Allows old events to be pruned. The original finds its pages by counting rows: once events are
    /// gone, it would number the pages of what is left anew, unless its offset markers are written
    /// before it serves the feed again (`mark_events`), and no page below them is asked for.
    #[must_use]
    pub fn pruning(mut self) -> Self {
        self.pruning = true;
        self
    }

    /// Sets how long an id may be missing between those of events before it is taken for rolled back;
    /// else 10 s. Meanwhile the events above it are not shown, since one that is being committed may
    /// still come below them. PostgreSQL says when none can, and then this is not waited for.
    #[must_use]
    pub fn waiting_for_gaps(mut self, wait: Duration) -> Self {
        self.gap_wait = wait;
        self
    }

    /// The tables and columns without which it cannot be done.
    fn required(&self) -> &'static [(&'static str, &'static [&'static str])] {
        match self.publisher {
            true => &[
                ("event_records", RECORD),
                ("event_records_queue", RECORD),
                ("chunking_history", &["id", "chunk_length", "start"]),
                (
                    "event_records_offset_marker",
                    &["event_id", "event_count", "category"],
                ),
            ],
            false => &[
                (
                    "markers",
                    &[
                        "feed_uri",
                        "last_read_entry_id",
                        "feed_uri_for_last_read_entry",
                    ],
                ),
                (
                    "failed_events",
                    &[
                        "id",
                        "feed_uri",
                        "failed_at",
                        "error_message",
                        "event_id",
                        "event_content",
                        "error_hash_code",
                        "title",
                    ],
                ),
            ],
        }
    }
}

const RECORD: &[&str] = &["id", "uuid", "title", "timestamp", "object", "category"];

impl<D: Dialect> SqlStore<D> {
    /// Takes over tables that belong to another program, instead of making our own.
    ///
    /// Where another program goes on writing events, this waits, the first time, until none can come any
    /// more below those that are there; see [`Adoption::waiting_for_gaps`].
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Refused`] when a table or column is missing (or not this user's to read); the
    /// message names all of them. Or when the tables are ours, or, on MariaDB, the pool's connections are
    /// not in UTC. Else as the database has it.
    pub async fn adopt(mut self, adoption: &Adoption) -> StoreResult<Self> {
        let mut conn = self.connection().await?;
        let found = self.columns(&mut conn).await?;
        let mut layout = Layout::adopted(adoption.zone, found);
        let missing = missing(&layout, adoption.required());
        if !missing.is_empty() {
            let context = format!(
                "adopting the tables of {}: {} missing, or this user may not read {}; see whether \
                 schema and user are right",
                match &self.schema {
                    Some(schema) => format!("the schema {schema}"),
                    None => "this connection's own schema".to_owned(),
                },
                missing.join(", "),
                if missing.len() == 1 { "it" } else { "them" },
            );
            return Err(StoreError::new(StoreErrorKind::Refused, context));
        }
        if let Some(difference) = D::SECONDS_FROM_UTC {
            let doing = || "asking for the zone of the connection";
            let rows = self.fetch(&mut conn, doing, difference, Vec::new()).await?;
            for mut row in rows {
                let seconds = row.required_int()?;
                if seconds != 0 {
                    let context = format!(
                        "adopting tables through a connection whose clock is {seconds} s from UTC, be \
                         it in summer alone: their times would be as far off; open the pool in time \
                         zone +00:00, as sqlx does unless it is told otherwise"
                    );
                    return Err(StoreError::new(StoreErrorKind::Refused, context));
                }
            }
        }
        if let Some(collation) = D::CATEGORY_COLLATION {
            let doing = || "asking how event_records compares categories";
            let values = vec![self.schema_value()];
            let rows = self.fetch(&mut conn, doing, collation, values).await?;
            if let Some(mut row) = rows.into_iter().next() {
                layout.set_collation(&row.text_or_empty()?, &row.text_or_empty()?)?;
            }
        }
        self.knows_uuids = self.has_index(&mut conn, D::INDEX_ON, "uuid").await?;
        let in_order = D::INDEX_IN_ORDER;
        layout.set_category_index(self.has_index(&mut conn, in_order, "category").await?);
        drop(conn);
        D::migrate(&self, true).await?;

        let matching = match self.statements.matching() {
            Matching::Folded if D::COLLATES => Matching::Collation,
            Matching::Exact if D::COLLATES => Matching::ExactBytes,
            matching => matching,
        };
        self.set_statements(layout, matching);
        self.sequences = adoption.sequencing;
        self.prunes = adoption.pruning;
        if adoption.publisher && !adoption.sequencing && !D::WRITES_ONE_AT_A_TIME {
            self.horizon = Some(Arc::new(Horizon::new(adoption.gap_wait)));
            self.settle().await?;
        }
        if self.layout().lists_categories() {
            // Now, and not while somebody waits for a page.
            self.learn_categories().await?;
            if let Some(count) = D::COUNT_LISTED {
                let doing = || "counting of which category events are";
                let mut conn = self.connection().await?;
                self.execute(&mut conn, doing, count, Vec::new()).await?;
            }
        }
        Ok(self)
    }

    /// Whether `event_records` has an index, of those that a statement finds, that begins with a column.
    async fn has_index(
        &self,
        conn: &mut D::Connection,
        statement: &'static str,
        column: &str,
    ) -> StoreResult<bool> {
        let doing = || format!("looking for an index of event_records on {column}");
        let values = vec![self.schema_value(), column.into()];
        let indexes = self.fetch(conn, doing, statement, values).await?;
        Ok(!indexes.is_empty())
    }

    /// The columns of the tables of the feed that there are.
    pub(super) async fn columns(
        &self,
        conn: &mut D::Connection,
    ) -> StoreResult<Vec<(String, String, Column)>> {
        let doing = || "looking at the tables of the feed";
        let values = vec![self.schema_value()];
        let rows = self.fetch(conn, doing, D::COLUMNS, values).await?;
        let columns = rows.into_iter().map(|mut row| {
            let table = row.text_or_empty()?.to_ascii_lowercase();
            let column = row.text_or_empty()?.to_ascii_lowercase();
            let found = Found {
                kind: row.text_or_empty()?.to_ascii_lowercase(),
                characters: row.int()?.and_then(|length| u64::try_from(length).ok()),
                bytes: row.int()?.and_then(|length| u64::try_from(length).ok()),
                charset: row.text()?,
                digits: row.int()?.and_then(|digits| u64::try_from(digits).ok()),
            };
            Ok((table, column, D::column(&found)))
        });
        let columns = columns.collect::<StoreResult<Vec<_>>>()?;
        Ok(columns
            .into_iter()
            .filter(|(table, _, _)| TABLES.contains(&table.as_str()))
            .collect())
    }

    pub(super) fn schema_value(&self) -> Value {
        Value::from(self.schema.as_ref().map(|schema| schema.as_str()))
    }
}

/// The tables in the names that deployed systems have.
const TABLES: [&str; 7] = [
    "event_records",
    "event_records_queue",
    "chunking_history",
    "event_records_offset_marker",
    "markers",
    "failed_events",
    "failed_event_retry_log",
];

fn missing(layout: &Layout, required: &[(&str, &[&str])]) -> Vec<String> {
    let mut missing = Vec::new();
    for (table, columns) in required {
        match layout.has_table(table) {
            false => missing.push(format!("the table {table}")),
            true => missing.extend(
                columns
                    .iter()
                    .filter(|column| !layout.has(table, column))
                    .map(|column| format!("the column {table}.{column}")),
            ),
        }
    }
    missing
}
