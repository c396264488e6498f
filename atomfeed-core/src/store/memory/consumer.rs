use std::collections::{HashMap, HashSet};
use std::ops::Bound::{Excluded, Unbounded};

use async_trait::async_trait;

use super::MemoryConnection;
use super::transaction::merged;
use crate::store::{
    FailedEventQuery, FailedEventSelection, FailedEventStore, MarkerStore, StoreError, StoreResult,
    UnitOfWork,
};
use crate::{
    EntryId, Event, FailedEvent, FailedEventRetryLog, Failure, FeedUri, Marker, Place, Rebase,
    Rebased,
};

#[async_trait]
impl UnitOfWork for MemoryConnection {
    type Conn = Self;

    fn conn(&mut self) -> &mut Self {
        self
    }

    /// A worker cannot end it: that takes the transaction itself, and it is lent.
    async fn take_back(&mut self) -> StoreResult<()> {
        Ok(())
    }

    async fn commit(self: Box<Self>) -> StoreResult<()> {
        (*self).commit();
        Ok(())
    }

    async fn rollback(self: Box<Self>) -> StoreResult<()> {
        Ok(())
    }
}

#[async_trait]
impl MarkerStore for MemoryConnection {
    async fn marker(&mut self, feed_uri: &FeedUri) -> StoreResult<Option<Marker>> {
        Ok(match self.pending.markers.get(feed_uri.as_str()) {
            Some(pending) => pending.clone(),
            None => self.tables().markers.get(feed_uri.as_str()).cloned(),
        })
    }

    async fn markers(&mut self) -> StoreResult<Vec<Marker>> {
        let tables = self.tables();
        let markers = merged(&tables.markers, &self.pending.markers, ..);
        Ok(markers.map(|(_, marker)| marker.clone()).collect())
    }

    async fn move_marker(&mut self, from: Option<&Marker>, to: &Marker) -> StoreResult<()> {
        let found = self.marker(to.feed_uri()).await?;
        if found.as_ref() != from {
            return Err(StoreError::marker_conflict(to));
        }
        self.pending
            .markers
            .insert(to.feed_uri().as_str().to_owned(), Some(to.clone()));
        Ok(())
    }

    async fn would_rebase(&mut self, rebase: &Rebase) -> StoreResult<Rebased> {
        self.count_rebased(rebase).await
    }

    async fn rebase(&mut self, rebase: &Rebase) -> StoreResult<Rebased> {
        self.rebase_rows(rebase).await
    }
}

#[async_trait]
impl FailedEventStore for MemoryConnection {
    async fn park(&mut self, event: &Event, failure: &Failure) -> StoreResult<i64> {
        let id = self
            .pending
            .last_failed_id
            .unwrap_or(self.tables().last_failed_id)
            + 1;
        self.pending.last_failed_id = Some(id);
        // As a column keeps them: a term with a comma comes back as two.
        let tags = event.tags_column();
        let event = event.clone().with_tags_column(&tags).as_retry(true);
        let failed = FailedEvent::new(id, event, failure.clone(), 0);
        self.pending.failed.insert(id, Some(failed));
        Ok(id)
    }

    async fn place(&mut self, _feed_uri: &FeedUri, id: i64, place: &Place) -> StoreResult<()> {
        let row = match self.pending.failed.get(&id) {
            Some(pending) => pending.clone(),
            None => self.tables().failed.get(&id).cloned(),
        };
        if let Some(mut row) = row {
            row.place = Some(place.clone());
            self.pending.failed.insert(id, Some(row));
        }
        Ok(())
    }

    async fn held_keys(
        &mut self,
        feed_uri: &FeedUri,
        keys: &[&str],
    ) -> StoreResult<HashSet<String>> {
        let tables = self.tables();
        let failed = merged(&tables.failed, &self.pending.failed, ..);
        let failed = failed.filter(|(_, failed)| failed.event.feed_uri() == feed_uri);
        let held = failed.filter_map(|(_, failed)| key(failed));
        Ok(held
            .filter(|key| keys.contains(key))
            .map(str::to_owned)
            .collect())
    }

    async fn failed_events(&mut self, query: &FailedEventQuery) -> StoreResult<Vec<FailedEvent>> {
        let tables = self.tables();
        let after = (Excluded(query.after), Unbounded);
        // Of whose key none is parked before them: the first of each key.
        let mut first = HashMap::new();
        if let FailedEventSelection::DueBy(_) = query.selection {
            for (id, failed) in merged(&tables.failed, &self.pending.failed, ..) {
                let is_of_feed = *failed.event.feed_uri() == query.feed_uri;
                if let Some(key) = key(failed).filter(|_| is_of_feed) {
                    first.entry(key).or_insert(*id);
                }
            }
        }
        let is_selected = |failed: &&FailedEvent| match &query.selection {
            FailedEventSelection::All => true,
            FailedEventSelection::Unplaced => failed.place.is_none(),
            FailedEventSelection::OfKey(sought) => key(failed) == Some(sought),
            FailedEventSelection::DueBy(by) => {
                let due_at = failed.place.as_ref().and_then(|place| place.due_at);
                let is_first = |key| first.get(key) == Some(&failed.id);
                due_at.is_none_or(|at| at <= *by) && key(failed).is_none_or(is_first)
            }
        };
        let failed = merged(&tables.failed, &self.pending.failed, after)
            .map(|(_, failed)| failed)
            .filter(|failed| *failed.event.feed_uri() == query.feed_uri)
            .filter(|failed| {
                query
                    .retries_below
                    .is_none_or(|below| failed.retries < below)
            })
            .filter(is_selected);
        Ok(failed.take(query.limit as usize).cloned().collect())
    }

    async fn failed_event_count(&mut self, feed_uri: &FeedUri) -> StoreResult<u64> {
        let tables = self.tables();
        let failed = merged(&tables.failed, &self.pending.failed, ..);
        Ok(failed
            .filter(|(_, failed)| failed.event.feed_uri() == feed_uri)
            .count() as u64)
    }

    async fn record_failed_retry(
        &mut self,
        failed: &FailedEvent,
        failure: &Failure,
    ) -> StoreResult<()> {
        let mut row = self.parked(failed)?;
        row.retries += 1;
        self.pending.failed.insert(row.id, Some(row));
        let id = self
            .pending
            .last_retry_id
            .unwrap_or(self.tables().last_retry_id)
            + 1;
        self.pending.last_retry_id = Some(id);
        let (feed_uri, event_id) = retry_key(failed.event.feed_uri(), failed.event.id());
        let log = FailedEventRetryLog::new(id, &failed.event, failure.clone());
        self.pending
            .retry_log
            .insert((feed_uri, event_id, id), Some(log));
        Ok(())
    }

    async fn remove_failed_event(&mut self, failed: &FailedEvent) -> StoreResult<()> {
        self.parked(failed)?;
        self.pending.failed.insert(failed.id, None);
        for log in self
            .retry_log(failed.event.feed_uri(), failed.event.id())
            .await?
        {
            let (feed_uri, event_id) = retry_key(&log.feed_uri, &log.event_id);
            self.pending
                .retry_log
                .insert((feed_uri, event_id, log.id), None);
        }
        Ok(())
    }

    async fn retry_log(
        &mut self,
        feed_uri: &FeedUri,
        event_id: &EntryId,
    ) -> StoreResult<Vec<FailedEventRetryLog>> {
        let (feed_uri, event_id) = retry_key(feed_uri, event_id);
        let range = (feed_uri.clone(), event_id.clone(), 0)..=(feed_uri, event_id, i64::MAX);
        let tables = self.tables();
        let log = merged(&tables.retry_log, &self.pending.retry_log, range);
        Ok(log.map(|(_, log)| log.clone()).collect())
    }
}

pub(super) fn key(failed: &FailedEvent) -> Option<&str> {
    failed.place.as_ref()?.key.as_deref()
}

impl MemoryConnection {
    /// The row as this transaction sees it.
    fn parked(&self, failed: &FailedEvent) -> StoreResult<FailedEvent> {
        let found = match self.pending.failed.get(&failed.id) {
            Some(pending) => pending.clone(),
            None => self.tables().failed.get(&failed.id).cloned(),
        };
        found.ok_or_else(|| StoreError::not_parked(failed))
    }
}

pub(super) fn retry_key(feed_uri: &FeedUri, event_id: &EntryId) -> (String, String) {
    (feed_uri.as_str().to_owned(), event_id.as_str().to_owned())
}
