use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::claims::feed_key;
use super::consumer::{SqlUnitOfWork, feed_uri};
use super::{Dialect, Row};
use crate::store::{FeedStatus, MinuteCounts, StatusStore, StoreResult};
use crate::{EntryId, FeedUri};

const INSERT_STATUS: &str = "INSERT {unless} INTO {s}atomfeed_feed_status (feed, feed_uri)
    VALUES (?, ?) {there}";
const UPDATE_STATUS: &str = "UPDATE {s}atomfeed_feed_status SET seen_at = ?, head_page = ?,
    head_entry_id = ?, events_behind = ?, pages_behind = ?, behind_since = ?, succeeded_at = ?,
    failed_at = ?, error_message = ? WHERE feed = ?";
const SELECT_STATUSES: &str = "SELECT feed_uri, seen_at, head_page, head_entry_id, events_behind,
    pages_behind, behind_since, succeeded_at, failed_at, error_message
    FROM {s}atomfeed_feed_status ORDER BY feed_uri";
const INSERT_MINUTE: &str = "INSERT {unless} INTO {s}atomfeed_feed_minutes
    (feed, minute, applied, ignored, failed, held) VALUES (?, ?, 0, 0, 0, 0) {there}";
const ADD_TO_MINUTE: &str = "UPDATE {s}atomfeed_feed_minutes SET applied = applied + ?,
    ignored = ignored + ?, failed = failed + ?, held = held + ? WHERE feed = ? AND minute = ?";
const DELETE_MINUTES: &str = "DELETE FROM {s}atomfeed_feed_minutes WHERE feed = ? AND minute < ?";
const SELECT_MINUTES: &str = "SELECT minute, applied, ignored, failed, held
    FROM {s}atomfeed_feed_minutes WHERE feed = ? AND minute >= ? ORDER BY minute";

#[async_trait]
impl<D: Dialect> StatusStore for SqlUnitOfWork<D> {
    async fn put_status(&mut self, status: &FeedStatus) -> StoreResult<()> {
        let what = "writing down how far a feed was followed";
        let feed = feed_key(&status.feed_uri);
        let message = status.error_message.as_deref();
        let mut values = vec![
            status.seen_at.into(),
            status.head_page.as_deref().into(),
            status.head_entry_id.as_ref().map(EntryId::as_str).into(),
            status.events_behind.map(count).into(),
            status.pages_behind.map(count).into(),
            status.behind_since.into(),
            status.succeeded_at.into(),
            status.failed_at.into(),
            // PostgreSQL keeps no NUL in a text.
            message.map(|said| said.replace('\0', "\u{fffd}")).into(),
        ];
        values.push(feed.as_str().into());
        if self.execute(what, UPDATE_STATUS, values.clone()).await? == 0 {
            let insert = vec![feed.into(), status.feed_uri.as_str().into()];
            self.execute(what, INSERT_STATUS, insert).await?;
            self.execute(what, UPDATE_STATUS, values).await?;
        }
        Ok(())
    }

    async fn statuses(&mut self) -> StoreResult<Vec<FeedStatus>> {
        let what = "reading how far feeds were followed";
        let rows = self.fetch(what, SELECT_STATUSES, Vec::new()).await?;
        rows.into_iter().map(status).collect()
    }

    async fn add_counts(&mut self, feed_uri: &FeedUri, counts: &MinuteCounts) -> StoreResult<()> {
        let what = "counting what became of events";
        let feed = feed_key(feed_uri);
        let add = vec![
            counts.applied.into(),
            counts.ignored.into(),
            counts.failed.into(),
            counts.held.into(),
            feed.as_str().into(),
            counts.minute.into(),
        ];
        if self.execute(what, ADD_TO_MINUTE, add.clone()).await? == 0 {
            let insert = vec![feed.as_str().into(), counts.minute.into()];
            self.execute(what, INSERT_MINUTE, insert).await?;
            self.execute(what, ADD_TO_MINUTE, add).await?;
            // Once a minute, that is.
            let too_old = counts.minute - MinuteCounts::KEPT;
            let delete = vec![feed.into(), too_old.into()];
            self.execute(what, DELETE_MINUTES, delete).await?;
        }
        Ok(())
    }

    async fn counts(
        &mut self,
        feed_uri: &FeedUri,
        since: DateTime<Utc>,
    ) -> StoreResult<Vec<MinuteCounts>> {
        let values = vec![feed_key(feed_uri).into(), since.into()];
        let what = "reading what became of events";
        let rows = self.fetch(what, SELECT_MINUTES, values).await?;
        let counts = rows.into_iter().map(|mut row| {
            Ok(MinuteCounts {
                minute: row.time()?.unwrap_or_default(),
                applied: row.required_count()?,
                ignored: row.required_count()?,
                failed: row.required_count()?,
                held: row.required_count()?,
            })
        });
        counts.collect()
    }
}

fn status(mut row: Row) -> StoreResult<FeedStatus> {
    Ok(FeedStatus {
        feed_uri: feed_uri(&mut row)?,
        seen_at: row.time()?,
        head_page: row.text()?,
        head_entry_id: row.text()?.and_then(EntryId::new),
        events_behind: row.int()?.map(i64::unsigned_abs),
        pages_behind: row.int()?.map(i64::unsigned_abs),
        behind_since: row.time()?,
        succeeded_at: row.time()?,
        failed_at: row.time()?,
        error_message: row.text()?,
    })
}

fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
