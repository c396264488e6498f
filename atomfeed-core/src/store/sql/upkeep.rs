use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Transaction;
use uuid::Uuid;

use super::error::Doing;
use super::{Dialect, SqlStore, Value};
use crate::FeedScope;
use crate::chunking::ChunkingHistoryEntry;
use crate::store::{
    Breaks, Cut, FeedState, Hole, Jump, OffsetMarker, OldEvent, RenderedBefore, SequenceState,
    StoreError, StoreErrorKind, StoreResult, UpkeepStore,
};

const SELECT_STATE: &str =
    "SELECT state.strategy, state.revision, history.chunk_length, history.start
    FROM {s}atomfeed_feed_state AS state LEFT JOIN {s}chunking_history AS history ON 1 = 1
    WHERE state.id = 1 ORDER BY history.id";
const SELECT_REVISION: &str = "SELECT revision FROM {s}atomfeed_feed_state WHERE id = 1";
const REVISE: &str = "UPDATE {s}atomfeed_feed_state SET revision = revision + 1 WHERE id = 1";

const SELECT_CUT: &str = "SELECT page, event_count, event_id FROM {s}atomfeed_cuts
    WHERE {same_feed} ORDER BY page DESC LIMIT 1";
const SELECT_CUT_OF_ALL: &str =
    "SELECT page, event_count, event_id FROM {s}atomfeed_cuts WHERE feed = ?";
const DELETE_CUT: &str = "DELETE FROM {s}atomfeed_cuts WHERE feed = ?";
const INSERT_CUT: &str = "INSERT INTO {s}atomfeed_cuts
    (feed, category, page, event_count, event_id) VALUES (?, ?, ?, ?, ?)";
const DELETE_POSITIONS: &str =
    "DELETE FROM {s}atomfeed_positions WHERE feed = ? AND event_count < ?";

const SELECT_JUMPS: &str = "SELECT event_id, lost FROM {s}atomfeed_jumps ORDER BY event_id";
const INSERT_JUMP: &str = "INSERT INTO {s}atomfeed_jumps (event_id, lost) VALUES (?, ?)";
const SELECT_HOLES: &str = "SELECT after_count, event_id, event_count FROM {s}atomfeed_holes
    WHERE feed = ? ORDER BY event_id";
const INSERT_HOLE: &str = "INSERT {unless} INTO {s}atomfeed_holes
    (feed, event_id, after_count, event_count) VALUES (?, ?, ?, ?) {there}";

const SELECT_FINGERPRINTS: &str =
    "SELECT url_key, public_url, fingerprint FROM {s}atomfeed_fingerprints";
const UPDATE_FINGERPRINT: &str =
    "UPDATE {s}atomfeed_fingerprints SET fingerprint = ? WHERE url_key = ?";
const INSERT_FINGERPRINT: &str = "INSERT {unless} INTO {s}atomfeed_fingerprints
    (url_key, public_url, fingerprint) VALUES (?, ?, ?) {there}";
const DELETE_OTHER_FINGERPRINTS: &str = "DELETE FROM {s}atomfeed_fingerprints WHERE url_key <> ?";

const OLD_EVENTS: &str = "SELECT id, category, timestamp FROM {s}event_records
    WHERE id > ? AND id <= ? ORDER BY id LIMIT ?";

const LAST_ID: &str = "SELECT MAX(id) FROM {s}event_records";
const INSERT_ID: &str = "INSERT INTO {s}event_records (id, uuid, timestamp) VALUES (?, ?, ?)";
const DELETE_ID: &str = "DELETE FROM {s}event_records WHERE id = ?";

/// A statement that deletes the rows of a table from one id to another: one range, which is always
/// looked up by the primary key. For a list of ids MariaDB may go through the whole table, and then
/// waits for each row that is being inserted, for ever under load.
macro_rules! delete_run {
    ($table:literal) => {
        match D::LIMITS_DELETES {
            true => concat!(
                "DELETE FROM {s}",
                $table,
                " WHERE id >= ? AND id <= ? LIMIT ?"
            ),
            false => concat!("DELETE FROM {s}", $table, " WHERE id >= ? AND id <= ?"),
        }
    };
}

pub(super) use delete_run;

#[async_trait]
impl<D: Dialect> UpkeepStore for SqlStore<D> {
    async fn feed_state(&self) -> StoreResult<FeedState> {
        let rows = self
            .read("reading the chunking history", SELECT_STATE, Vec::new())
            .await?;
        let mut entries = Vec::new();
        let (mut strategy, mut revision) = (None, 0);
        for mut row in rows {
            strategy = row.text()?;
            revision = row.required_count()?;
            // No row but that of the strategy: nothing is settled.
            let (chunk_length, start) = (row.int()?, row.int()?);
            entries.extend(start.map(|start| ChunkingHistoryEntry {
                chunk_length: chunk_length.unwrap_or_default(),
                start,
            }));
        }
        let strategy = strategy.map(|text| text.parse()).transpose();
        let state = SequenceState {
            strategy: strategy.map_err(|error| {
                let context = "reading the column strategy of atomfeed_feed_state";
                StoreError::new(StoreErrorKind::InvalidData, context).caused_by(error)
            })?,
            ..SequenceState::default()
        };
        Ok(FeedState {
            history: state.history(&entries)?,
            revision,
        })
    }

    async fn breaks(&self, scope: &FeedScope) -> StoreResult<Breaks> {
        let mut conn = self.connection().await?;
        let doing = || format!("reading the breaks of the feed of {scope}");
        let mut breaks = Breaks {
            cut: self.cut(&mut conn, scope).await?,
            ..Breaks::default()
        };
        let rows = self
            .fetch(&mut conn, doing, SELECT_JUMPS, Vec::new())
            .await?;
        for mut row in rows {
            breaks.jumps.push(Jump {
                event_id: row.required_int()?,
                lost: row.required_count()?,
            });
        }
        if !breaks.jumps.is_empty() {
            let values = vec![self.key(scope).into()];
            for mut row in self.fetch(&mut conn, doing, SELECT_HOLES, values).await? {
                breaks.holes.push(Hole {
                    after: row.required_count()?,
                    end: OffsetMarker {
                        event_id: row.required_int()?,
                        event_count: row.required_count()?,
                    },
                });
            }
        }
        Ok(breaks)
    }

    async fn keep_fingerprint(
        &self,
        public_url: &str,
        fingerprint: &str,
    ) -> StoreResult<Option<RenderedBefore>> {
        let doing = || format!("keeping what the pages at {public_url} are rendered with");
        // What an index holds, however long the URL.
        let key = Uuid::new_v5(&Uuid::NAMESPACE_URL, public_url.as_bytes()).to_string();
        let mut conn = self.connection().await?;
        let rows = self.fetch(&mut conn, doing, SELECT_FINGERPRINTS, Vec::new());
        let (mut own, mut elsewhere) = (None, None);
        for mut row in rows.await? {
            match row.text()?.as_deref() == Some(&key) {
                true => (_, own) = (row.text()?, row.text()?),
                false => elsewhere = row.text()?,
            }
        }
        let is_same = own.as_deref() == Some(fingerprint);
        if !is_same {
            let (statement, values) = match own {
                Some(_) => (
                    UPDATE_FINGERPRINT,
                    vec![fingerprint.into(), key.as_str().into()],
                ),
                None => (
                    INSERT_FINGERPRINT,
                    vec![key.as_str().into(), public_url.into(), fingerprint.into()],
                ),
            };
            self.execute(&mut conn, doing, statement, values).await?;
        }
        if elsewhere.is_some() {
            // One is there, of which it is known that it was the last.
            let values = vec![key.as_str().into()];
            let deleted = self.execute(&mut conn, doing, DELETE_OTHER_FINGERPRINTS, values);
            deleted.await?;
        }
        Ok(match elsewhere {
            Some(before) => Some(RenderedBefore::At(before)),
            None => (own.is_some() && !is_same).then_some(RenderedBefore::Otherwise),
        })
    }

    async fn keep_hole(&self, scope: &FeedScope, hole: Hole) -> StoreResult<()> {
        let doing = || format!("keeping what was lost of the feed of {scope}");
        let mut transaction = self.begin_writing(doing).await?;
        let values = vec![
            self.key(scope).into(),
            hole.end.event_id.into(),
            hole.after.into(),
            hole.end.event_count.into(),
        ];
        self.execute(&mut transaction, doing, INSERT_HOLE, values)
            .await?;
        self.keep_position(&mut transaction, &self.key(scope), hole.end)
            .await?;
        transaction.commit().await.doing(doing)
    }

    async fn keep_cuts(&self, cuts: &[(FeedScope, Cut)], revision: u64) -> StoreResult<()> {
        let doing = || "pruning the feeds";
        self.may_prune()?;
        if self.horizon.is_some() {
            // What is gone below it must not be taken for ids that are missing.
            let shown = self.shown_through().await?;
            self.keep_settled(shown).await?;
        }
        let mut transaction = self.begin_writing(doing).await?;
        self.lock_feed_state(&mut transaction).await?;
        let rows = self
            .fetch(&mut transaction, doing, SELECT_REVISION, Vec::new())
            .await?;
        let now = rows.into_iter().next().map(|mut row| row.required_count());
        if now.transpose()? != Some(revision) {
            return Err(StoreError::revised(doing()));
        }
        let mut raised = false;
        for (scope, cut) in cuts {
            let known = self.cut(&mut transaction, scope).await?.unwrap_or_default();
            if cut.page > known.page {
                self.keep_cut(&mut transaction, scope, *cut).await?;
                raised = true;
            }
        }
        if raised {
            self.execute(&mut transaction, doing, REVISE, Vec::new())
                .await?;
        }
        transaction.commit().await.doing(doing)
    }

    async fn first_id_since(
        &self,
        scope: &FeedScope,
        time: DateTime<Utc>,
    ) -> StoreResult<Option<i64>> {
        let sql = match scope {
            FeedScope::All => {
                "SELECT MIN(id) FROM {s}event_records WHERE timestamp >= ? AND id <= ? {shown}"
            }
            FeedScope::Category(_) => {
                "SELECT MIN({id}) FROM {s}event_records{listed}
                WHERE {of_category} AND timestamp >= ? AND {id} <= ? {shown}"
            }
        };
        let shown = self.shown_through().await?;
        let mut values = self.scope_values(scope, shown).await?;
        let time = self
            .layout()
            .value("event_records", "timestamp", time.into());
        values.extend([time, shown.into()]);
        let rows = self
            .read("looking for the first event since a time", sql, values)
            .await?;
        let first = rows.into_iter().next().map(|mut row| row.int());
        Ok(first.transpose()?.flatten())
    }

    async fn old_events(&self, after: i64, through: i64, limit: u32) -> StoreResult<Vec<OldEvent>> {
        let zone = self.layout().zone();
        let values = vec![after.into(), through.into(), i64::from(limit).into()];
        let rows = self.read("reading old events", OLD_EVENTS, values).await?;
        let events = rows.into_iter().map(|mut row| {
            Ok(OldEvent {
                id: row.required_int()?,
                category: row
                    .text_as_far_as_it_is()?
                    .0
                    .filter(|category| !category.is_empty()),
                timestamp: row.time_in(zone)?.unwrap_or_default(),
            })
        });
        events.collect()
    }

    async fn delete_events(&self, ids: &[i64]) -> StoreResult<()> {
        let doing = || "deleting old events from event_records";
        self.may_prune()?;
        let mut transaction = self.begin_writing(doing).await?;
        for run in ids.chunk_by(|one, next| one + 1 == *next) {
            let values = self.run_values(run.first(), run.last(), run.len());
            let statement = delete_run!("event_records");
            self.execute(&mut transaction, doing, statement, values)
                .await?;
        }
        transaction.commit().await.doing(doing)
    }

    async fn continue_after(&self, id: i64) -> StoreResult<()> {
        let doing = || format!("continuing after event id {id}");
        if !self.sequences {
            let context = format!(
                "{}: the tables were adopted, and another program gives events their ids; adopt them \
                 for sequencing once it does not",
                doing()
            );
            return Err(StoreError::new(StoreErrorKind::Refused, context));
        }
        let mut transaction = self.begin_writing(doing).await?;
        self.lock_feed_state(&mut transaction).await?;
        let rows = self
            .fetch(&mut transaction, doing, SELECT_JUMPS, Vec::new())
            .await?;
        let mut last = 0;
        for mut row in rows {
            last = row.required_int()?;
            if last == id {
                return Ok(());
            }
        }
        let rows = self
            .fetch(&mut transaction, doing, LAST_ID, Vec::new())
            .await?;
        let newest = rows.into_iter().next().map(|mut row| row.int());
        let last = last.max(newest.transpose()?.flatten().unwrap_or_default());
        if id <= last {
            return Err(StoreError::has_come_to(id, last));
        }
        self.pass_over_ids(&mut transaction, id).await?;
        let values = vec![id.into(), id.abs_diff(last).into()];
        self.execute(&mut transaction, doing, INSERT_JUMP, values)
            .await?;
        self.execute(&mut transaction, doing, REVISE, Vec::new())
            .await?;
        transaction.commit().await.doing(doing)
    }
}

impl<D: Dialect> SqlStore<D> {
    fn may_prune(&self) -> StoreResult<()> {
        if self.prunes {
            return Ok(());
        }
        let context = "pruning tables that were adopted: the program whose they are counts its rows \
                       to find its pages, and would number them anew once it serves the feed again; \
                       allow it in the adoption if there is no way back";
        Err(StoreError::new(StoreErrorKind::Refused, context))
    }

    async fn cut(&self, conn: &mut D::Connection, scope: &FeedScope) -> StoreResult<Option<Cut>> {
        let doing = || format!("reading up to where the feed of {scope} was pruned");
        let (statement, feed) = match scope {
            FeedScope::All => (SELECT_CUT_OF_ALL, String::new()),
            FeedScope::Category(_) => (SELECT_CUT, self.statements.same_feed(scope)),
        };
        let rows = self
            .fetch(conn, doing, statement, vec![feed.into()])
            .await?;
        let Some(mut row) = rows.into_iter().next() else {
            return Ok(None);
        };
        Ok(Some(Cut {
            page: row.required_count()?,
            before: OffsetMarker {
                event_count: row.required_count()?,
                event_id: row.required_int()?,
            },
        }))
    }

    async fn keep_cut(
        &self,
        transaction: &mut Transaction<'_, D>,
        scope: &FeedScope,
        cut: Cut,
    ) -> StoreResult<()> {
        let doing = || format!("keeping up to where the feed of {scope} is pruned");
        let key = self.key(scope);
        let category = scope.category().map(|category| category.as_str());
        let before = cut.before;
        self.execute(transaction, doing, DELETE_CUT, vec![key.as_str().into()])
            .await?;
        let values = vec![
            key.as_str().into(),
            category.unwrap_or_default().into(),
            cut.page.into(),
            before.event_count.into(),
            before.event_id.into(),
        ];
        self.execute(transaction, doing, INSERT_CUT, values).await?;
        let values = vec![key.as_str().into(), before.event_count.into()];
        self.execute(transaction, doing, DELETE_POSITIONS, values)
            .await?;
        match before.event_count {
            0 => Ok(()),
            _ => self.keep_position(transaction, &key, before).await,
        }
    }

    /// Has the database give ids above this one.
    async fn pass_over_ids(
        &self,
        transaction: &mut Transaction<'_, D>,
        id: i64,
    ) -> StoreResult<()> {
        let doing = || format!("passing over the ids of event_records up to {id}");
        let Some(statement) = D::PASS_OVER_IDS else {
            // A row that never was: whoever reads sees only what is committed.
            let uuid = Uuid::new_v4().to_string();
            let now = Utc::now().into();
            let now = self.layout().value("event_records", "timestamp", now);
            let values = vec![id.into(), uuid.into(), now];
            self.execute(transaction, doing, INSERT_ID, values).await?;
            return self
                .execute(transaction, doing, DELETE_ID, vec![id.into()])
                .await
                .map(drop);
        };
        let rows = self
            .fetch(transaction, doing, statement, vec![id.into()])
            .await?;
        match rows.into_iter().next().map(|mut row| row.int()) {
            Some(Ok(Some(_))) => Ok(()),
            _ => {
                let context = format!(
                    "{}: its column id has no sequence of its own that could be set",
                    doing()
                );
                Err(StoreError::new(StoreErrorKind::Refused, context))
            }
        }
    }

    /// The values of a statement that deletes a run of so many rows.
    pub(super) fn run_values(
        &self,
        first: Option<&i64>,
        last: Option<&i64>,
        length: usize,
    ) -> Vec<Value> {
        let ends = first.into_iter().chain(last);
        let mut values: Vec<Value> = ends.map(|id| Value::from(*id)).collect();
        if D::LIMITS_DELETES {
            values.push((length as u64).into());
        }
        values
    }
}
