mod count;
mod list;

use async_trait::async_trait;

use self::count::SET_RETRIES;
use super::consumer::SqlUnitOfWork;
use super::failed_events::{SELECT_PARKED, failed_event};
use super::{Dialect, TableZone};
use crate::store::{
    FailureFilter, FailureGroup, FailureQuery, FailureStore, FeedFailures, ParkedPage, StoreError,
    StoreErrorKind, StoreResult,
};
use crate::{FailedEvent, Failure, FeedUri};

const LAST_RETRIES: &str = "SELECT failed_at, error_message FROM {s}failed_event_retry_log
    WHERE event_id = ? AND feed_uri = ? ORDER BY id DESC LIMIT ?";
const LAST_RETRIES_BESIDE: &str =
    "SELECT failed_at, error_message FROM {s}atomfeed_failed_event_retry_log
    WHERE event_id = ? AND feed_uri = ? ORDER BY id DESC LIMIT ?";

// What is set to itself is what MariaDB would set to the present of its own accord.
const RESET: &str = "UPDATE {s}failed_events
    SET {?failed_events.retries:retries = 0, |}failed_at = failed_at WHERE id = ?";
const RESET_BESIDE: &str = "UPDATE {s}atomfeed_failed_events SET retries = 0, due_at = NULL
    WHERE failed_event_id = ?";
const IS_WHOLE: &str = "SELECT 1 FROM {s}atomfeed_failed_events
    WHERE failed_event_id = ? AND feed_uri IS NOT NULL";
const EDIT: &str = "UPDATE {s}failed_events SET event_content = ?, failed_at = failed_at
    WHERE id = ?";
const EDIT_WHOLE: &str = "UPDATE {s}atomfeed_failed_events SET event_content = ?
    WHERE failed_event_id = ? AND feed_uri IS NOT NULL";
const HOLD: &str = "UPDATE {s}failed_events SET failed_at = failed_at WHERE id = ?";
const HOLD_WHOLE: &str = "UPDATE {s}atomfeed_failed_events SET failed_at = failed_at
    WHERE failed_event_id = ? AND feed_uri IS NOT NULL";
// The content is not to be taken from the page any more.
const NAME_PAGE: &str = "UPDATE {s}atomfeed_failed_events SET page_uri = COALESCE(page_uri, ?)
    WHERE failed_event_id = ?";
const INSERT_PAGE: &str = "INSERT INTO {s}atomfeed_failed_events (page_uri, failed_event_id)
    VALUES (?, ?)";

#[async_trait]
impl<D: Dialect> FailureStore for SqlUnitOfWork<D> {
    async fn failures(&mut self, query: &FailureQuery) -> StoreResult<ParkedPage> {
        self.list(query).await
    }

    async fn failure_floor(&mut self, before: Option<i64>, many: u32) -> StoreResult<Option<i64>> {
        self.list_floor(before, many).await
    }

    async fn failures_in_order(
        &mut self,
        feed_uri: &FeedUri,
        filter: &FailureFilter,
        after: i64,
        limit: u32,
    ) -> StoreResult<Vec<i64>> {
        self.list_in_order(feed_uri, filter, after, limit).await
    }

    async fn failure_count(&mut self, filter: &FailureFilter) -> StoreResult<u64> {
        self.count_passing(filter).await
    }

    async fn failure_groups(
        &mut self,
        filter: &FailureFilter,
        limit: u32,
    ) -> StoreResult<Vec<FailureGroup>> {
        self.count_groups(filter, limit).await
    }

    async fn feed_failures(&mut self, dead_at: u32) -> StoreResult<Vec<FeedFailures>> {
        self.count_feeds(dead_at).await
    }

    async fn parked_event(&mut self, id: i64) -> StoreResult<Option<FailedEvent>> {
        let [there, beside] = SELECT_PARKED;
        let zone = self.store.layout().zone();
        let what = "reading a parked event";
        let rows = self.fetch(what, there, vec![id.into()]).await?;
        if let Some(mut row) = rows.into_iter().next() {
            return failed_event(row.required_int()?, row, zone).map(Some);
        }
        let rows = self.fetch(what, beside, vec![id.into()]).await?;
        let row = rows.into_iter().next();
        row.map(|mut row| failed_event(row.required_int()?, row, TableZone::default()))
            .transpose()
    }

    async fn last_retries(
        &mut self,
        failed: &FailedEvent,
        limit: u32,
    ) -> StoreResult<Vec<Failure>> {
        let own = self.store.layout().zone();
        let mut last = Vec::new();
        for statement in self.of_retries(LAST_RETRIES, LAST_RETRIES_BESIDE) {
            let event = &failed.event;
            let values = vec![
                event.id().as_str().into(),
                event.feed_uri().as_str().into(),
                i64::from(limit).into(),
            ];
            let zone = match statement {
                LAST_RETRIES => own,
                _ => TableZone::default(),
            };
            let what = "reading the last retries of a parked event";
            for mut row in self.fetch(what, statement, values).await? {
                let at = row.time_in(zone)?.unwrap_or_default();
                last.push(Failure::new(row.text_or_empty()?, at));
            }
        }
        last.sort_by_key(|failure| std::cmp::Reverse(failure.at()));
        last.truncate(limit as usize);
        Ok(last)
    }

    async fn reset_retries(&mut self, failed: &FailedEvent) -> StoreResult<bool> {
        let what = "resetting the retries of a parked event";
        let id = || vec![failed.id.into()];
        let is_parked = self.execute(what, RESET, id()).await? > 0
            || !self.fetch(what, IS_WHOLE, id()).await?.is_empty();
        if is_parked {
            self.execute(what, RESET_BESIDE, id()).await?;
            let values = vec![0_i64.into(), failed.id.into()];
            self.execute(what, SET_RETRIES, values).await?;
        }
        Ok(is_parked)
    }

    async fn edit_content(&mut self, failed: &FailedEvent, content: &str) -> StoreResult<()> {
        let what = "giving a parked event another content";
        if content.contains('\0') {
            let context =
                format!("{what}: it holds a NUL character, which no database keeps; take it out");
            return Err(StoreError::new(StoreErrorKind::Refused, context));
        }
        let values = || vec![content.into(), failed.id.into()];
        if self.execute(what, EDIT_WHOLE, values()).await? > 0 {
            return Ok(());
        }
        let layout = self.store.layout();
        let misfit = match layout.is_adopted() {
            true => layout.misfit("failed_events", "event_content", &content.into()),
            false => None,
        };
        if let Some(misfit) = misfit {
            let context = format!("{what}: {misfit}; give one that the table can hold");
            return Err(StoreError::new(StoreErrorKind::Refused, context));
        }
        if self.execute(what, EDIT, values()).await? == 0 {
            return Err(StoreError::not_parked(failed));
        }
        let page = failed.event.feed_uri().as_str();
        let values = || vec![page.into(), failed.id.into()];
        if self.execute(what, NAME_PAGE, values()).await? == 0 {
            self.execute(what, INSERT_PAGE, values()).await?;
        }
        Ok(())
    }

    async fn hold(&mut self, failed: &FailedEvent) -> StoreResult<()> {
        for statement in [HOLD_WHOLE, HOLD] {
            let what = "keeping others from a parked event";
            if self
                .execute(what, statement, vec![failed.id.into()])
                .await?
                > 0
            {
                return Ok(());
            }
        }
        Err(StoreError::not_parked(failed))
    }

    async fn count_failures(&mut self, limit: u32) -> StoreResult<u64> {
        self.count_foreign(limit).await
    }
}
