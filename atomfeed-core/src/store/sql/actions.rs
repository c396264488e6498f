use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::claims::feed_key;
use super::consumer::{SqlUnitOfWork, feed_uri};
use super::error::Doing;
use super::statements::Choice;
use super::{Dialect, Row, Value};
use crate::store::{ActionQuery, ActionStore, StoreError, StoreErrorKind, StoreResult};
use crate::{Action, ActionKind, ActionProgress, ActionState, EntryId, FeedUri, NewAction};

macro_rules! select_actions {
    ($($rest:expr),*) => {
        concat!(
            "SELECT id, feed_uri, kind, failed_event_id, event_id, detail, asked_by, why, asked_at,
     state, changed_at, place, succeeded, failed, was, outcome FROM {s}atomfeed_actions ",
            $($rest),*
        )
    };
}

const INSERT: &str = "INSERT INTO {s}atomfeed_actions
    (feed, feed_uri, kind, failed_event_id, event_id, detail, asked_by, why, asked_at,
     state, is_open, changed_at, place, succeeded, failed, was, outcome)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id";
const SELECT_ONE: &str = select_actions!("WHERE id = ?");
pub(super) const SELECT_OPEN: &str =
    select_actions!("WHERE feed = ? AND is_open = 1 ORDER BY id LIMIT 100");
const SELECT_SHORT: &str = "SELECT id, feed_uri, kind, failed_event_id, event_id,
     SUBSTR(detail, 1, 4000), asked_by, why, asked_at, state, changed_at, place, succeeded, failed,
     SUBSTR(was, 1, 4000), outcome FROM {s}atomfeed_actions ";
const CALL_OFF: &str = "UPDATE {s}atomfeed_actions SET state = 'called-off', is_open = 0,
    changed_at = ?, outcome = ? WHERE id = ? AND is_open = 1";
const ADVANCE: &str = "UPDATE {s}atomfeed_actions SET state = ?, is_open = ?, changed_at = ?,
    place = ?, succeeded = ?, failed = ?, was = ?, outcome = ? WHERE id = ? AND state = ?";

#[async_trait]
impl<D: Dialect> ActionStore for SqlUnitOfWork<D> {
    async fn ask(&mut self, action: &NewAction, progress: &ActionProgress) -> StoreResult<i64> {
        let what = "writing down what is asked of a consumer";
        let mut values = vec![
            feed_key(&action.feed_uri).into(),
            action.feed_uri.as_str().into(),
            action.kind.as_str().into(),
            action.failed_event_id.into(),
            action.event_id.as_ref().map(EntryId::as_str).into(),
            storable(&action.detail),
            storable(&action.by),
            storable(&action.why),
            action.at.into(),
        ];
        values.extend(progress_values(progress));
        let rows = self.fetch(what, INSERT, values).await?;
        match rows.into_iter().next() {
            Some(mut row) => row.required_int(),
            None => {
                let context = format!("{what}: it was given no id");
                Err(StoreError::new(StoreErrorKind::Database, context))
            }
        }
    }

    async fn action(&mut self, id: i64) -> StoreResult<Option<Action>> {
        let what = "reading what was asked of a consumer";
        let rows = self.fetch(what, SELECT_ONE, vec![id.into()]).await?;
        rows.into_iter().next().map(action).transpose()
    }

    async fn open_actions(&mut self, feed_uri: &FeedUri) -> StoreResult<Vec<Action>> {
        let what = "reading what is asked of a consumer";
        let values = vec![feed_key(feed_uri).into()];
        let rows = self.fetch(what, SELECT_OPEN, values).await?;
        known(rows)
    }

    async fn actions(&mut self, query: &ActionQuery) -> StoreResult<Vec<Action>> {
        let mut choice = Choice::default();
        if let Some(feed) = &query.feed_uri {
            choice.and("feed = ?", [feed_key(feed).into()]);
        }
        if let Some(id) = query.failed_event_id {
            choice.and("failed_event_id = ?", [id.into()]);
        }
        if let Some(event) = &query.event_id {
            choice.and("event_id = ?", [event.as_str().into()]);
        }
        if let Some(before) = query.before {
            choice.and("id < ?", [before.into()]);
        }
        let limit = i64::from(query.limit).into();
        let statement = format!(
            "{SELECT_SHORT}{} ORDER BY id DESC LIMIT ?",
            choice.condition()
        );
        let values = choice.values.into_iter().chain([limit]).collect();
        let rows = self
            .fetch_chosen("reading what was asked of consumers", &statement, values)
            .await?;
        rows.into_iter().map(action).collect()
    }

    async fn advance(
        &mut self,
        id: i64,
        from: ActionState,
        progress: &ActionProgress,
    ) -> StoreResult<()> {
        let what = "writing down how far an action has come";
        let mut values = progress_values(progress);
        values.extend([id.into(), from.as_str().into()]);
        match self.execute(what, ADVANCE, values).await? {
            0 => Err(StoreError::action_conflict(id)),
            _ => Ok(()),
        }
    }

    async fn call_off(&mut self, id: i64, said: &str, at: DateTime<Utc>) -> StoreResult<bool> {
        let values = vec![at.into(), storable(said), id.into()];
        let what = "calling off what was asked for";
        Ok(self.execute(what, CALL_OFF, values).await? > 0)
    }
}

impl<D: Dialect> SqlUnitOfWork<D> {
    /// Runs a query that was put together of constants, planned for its values.
    pub(super) async fn fetch_chosen(
        &mut self,
        what: &'static str,
        statement: &str,
        values: Vec<Value>,
    ) -> StoreResult<Vec<Row>> {
        let sql = self.store.statements.chosen(statement);
        let fetched = D::fetch_with(&mut self.conn, sql, values, false).await;
        fetched.doing(|| what)
    }
}

/// PostgreSQL keeps no NUL in a text.
fn storable(text: &str) -> Value {
    text.replace('\0', "\u{fffd}").into()
}

fn progress_values(progress: &ActionProgress) -> Vec<Value> {
    let text = |text: &Option<String>| match text {
        Some(text) => storable(text),
        None => Value::Text(None),
    };
    vec![
        progress.state.as_str().into(),
        i64::from(progress.state.is_open()).into(),
        progress.changed_at.into(),
        progress.place.into(),
        progress.succeeded.into(),
        progress.failed.into(),
        text(&progress.was),
        text(&progress.outcome),
    ]
}

fn action(mut row: Row) -> StoreResult<Action> {
    let id = row.required_int()?;
    let feed_uri = feed_uri(&mut row)?;
    let kind = named(&mut row, "kind", ActionKind::named)?;
    let asked = NewAction {
        feed_uri,
        kind,
        failed_event_id: row.int()?,
        event_id: row.text()?.and_then(EntryId::new),
        detail: row.text_or_empty()?,
        by: row.text_or_empty()?,
        why: row.text_or_empty()?,
        at: row.time()?.unwrap_or_default(),
    };
    let progress = ActionProgress {
        state: named(&mut row, "state", ActionState::named)?,
        changed_at: row.time()?.unwrap_or_default(),
        place: row.required_int()?,
        succeeded: row.required_count()?,
        failed: row.required_count()?,
        was: row.text()?,
        outcome: row.text()?,
    };
    Ok(Action::new(id, asked, progress))
}

/// Those that this version knows: one that a newer one has asked for keeps no other waiting.
pub(super) fn known(rows: Vec<Row>) -> StoreResult<Vec<Action>> {
    let read = rows.into_iter().filter_map(|row| match action(row) {
        Err(error) if error.kind() == StoreErrorKind::InvalidData => {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "an action is passed over"
            );
            None
        }
        read => Some(read),
    });
    read.collect()
}

fn named<T>(row: &mut Row, column: &str, read: fn(&str) -> Option<T>) -> StoreResult<T> {
    let name = row.text_or_empty()?;
    read(&name).ok_or_else(|| {
        let context = format!(
            "reading what was asked of consumers: the column {column} of atomfeed_actions holds {name:?}, which \
             this version does not know; update it"
        );
        StoreError::new(StoreErrorKind::InvalidData, context)
    })
}
