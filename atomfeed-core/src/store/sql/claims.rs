use std::collections::HashSet;

use async_trait::async_trait;
use uuid::Uuid;

use super::consumer::SqlUnitOfWork;
use super::error::Doing;
use super::{Dialect, Form, Insert, Value};
use crate::store::{Claim, ClaimStore, StoreError, StoreResult};
use crate::{EntryId, FeedUri};

const INSERT_CLAIM: &str = "INSERT {unless} INTO {s}atomfeed_claims
    (feed, feed_uri, epoch, consumer, beats) VALUES (?, ?, 0, '', 0) {there}";
const UPDATE_CLAIM: &str =
    "UPDATE {s}atomfeed_claims SET epoch = ?, consumer = ?, beats = ? WHERE feed = ?";
const COMPLETED: Insert = Insert {
    table: "atomfeed_completed_events",
    columns: &["feed", "event", "feed_uri", "event_id"],
};
const SELECT_COMPLETED: &str = "SELECT event_id FROM {s}atomfeed_completed_events WHERE feed = ?";
const FORGET_COMPLETED: &str =
    "DELETE FROM {s}atomfeed_completed_events WHERE feed = ? AND event IN ({list})";

/// A feed, in the same few letters however long its address is.
pub(super) fn feed_key(feed_uri: &FeedUri) -> String {
    short(feed_uri.as_str())
}

pub(super) fn short(name: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string()
}

#[async_trait]
impl<D: Dialect> ClaimStore for SqlUnitOfWork<D> {
    async fn claim(&mut self, feed_uri: &FeedUri) -> StoreResult<Option<Claim>> {
        let what = "reading who follows a feed";
        let key = || Value::from(feed_key(feed_uri));
        let mut rows = self.fetch(what, D::LOCK_CLAIM, vec![key()]).await?;
        if rows.is_empty() {
            // A row that is not there cannot be locked.
            let values = vec![key(), feed_uri.as_str().into()];
            self.execute(what, INSERT_CLAIM, values).await?;
            rows = self.fetch(what, D::LOCK_CLAIM, vec![key()]).await?;
        }
        let Some(mut row) = rows.into_iter().next() else {
            return Ok(None);
        };
        let claim = Claim {
            epoch: row.required_count()?,
            consumer: row.text_or_empty()?,
            beats: row.required_count()?,
        };
        Ok((claim.epoch > 0).then_some(claim))
    }

    async fn put_claim(&mut self, feed_uri: &FeedUri, claim: &Claim) -> StoreResult<()> {
        let values = vec![
            claim.epoch.into(),
            claim.consumer.as_str().into(),
            claim.beats.into(),
            feed_key(feed_uri).into(),
        ];
        let what = "writing down who follows a feed";
        self.execute(what, UPDATE_CLAIM, values).await.map(drop)
    }

    async fn keep_claim(&mut self, feed_uri: &FeedUri, claim: &Claim) -> StoreResult<()> {
        let values = vec![feed_key(feed_uri).into()];
        let what = "seeing that a feed is still followed by this consumer";
        let rows = self.fetch(what, D::KEEP_CLAIM, values).await?;
        let epoch = rows.into_iter().next().map(|mut row| row.required_count());
        match epoch.transpose()? == Some(claim.epoch) {
            true => Ok(()),
            false => Err(StoreError::claim_lost(feed_uri)),
        }
    }

    async fn completed(&mut self, feed_uri: &FeedUri) -> StoreResult<HashSet<EntryId>> {
        let values = vec![feed_key(feed_uri).into()];
        let what = "reading which events behind the marker were dealt with";
        let rows = self.fetch(what, SELECT_COMPLETED, values).await?;
        let ids = rows.into_iter().map(|mut row| row.text_or_empty());
        let ids = ids.collect::<StoreResult<Vec<_>>>()?;
        Ok(ids.into_iter().filter_map(EntryId::new).collect())
    }

    async fn complete(&mut self, feed_uri: &FeedUri, events: &[&EntryId]) -> StoreResult<()> {
        let what = || "writing down which events were dealt with";
        let feed = feed_key(feed_uri);
        let rows = events.iter().map(|event| {
            vec![
                feed.as_str().into(),
                short(event.as_str()).into(),
                feed_uri.as_str().into(),
                event.as_str().into(),
            ]
        });
        let rows: Vec<Vec<Value>> = rows.collect();
        for rows in rows.chunks(MOST_ROWS) {
            let sql = self
                .store
                .statements
                .insert(&COMPLETED, Form::Rows(rows.len()));
            let values = rows.iter().flatten().cloned().collect();
            D::execute(&mut self.conn, sql, values).await.doing(what)?;
        }
        Ok(())
    }

    async fn forget_completed(
        &mut self,
        feed_uri: &FeedUri,
        events: &[&EntryId],
    ) -> StoreResult<()> {
        let what = || "forgetting events that the marker stands behind";
        for events in events.chunks(MOST_ROWS) {
            let Some(any) = events.first() else { continue };
            // Few different statements, whatever number of events there is.
            let width = events.len().next_power_of_two();
            let ids = events.iter().chain(std::iter::repeat(any)).take(width);
            let ids = ids.map(|event| Value::from(short(event.as_str())));
            let feed = Value::from(feed_key(feed_uri));
            let values = std::iter::once(feed).chain(ids).collect();
            let sql = self.store.statements.listed(FORGET_COMPLETED, width);
            D::execute(&mut self.conn, sql, values).await.doing(what)?;
        }
        Ok(())
    }
}

/// How many events one statement takes, at most: SQLite binds no more than 32,766 values.
const MOST_ROWS: usize = 1_000;
