use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::MemoryConnection;
use super::consumer::{key, retry_key};
use super::transaction::merged;
use crate::store::failures::beginning;
use crate::store::{
    FailedEventStore, FailureFilter, FailureGroup, FailureQuery, FailureState, FailureStore,
    FeedFailures, ParkedEvent, ParkedPage, StoreError, StoreErrorKind, StoreResult,
};
use crate::{Event, FailedEvent, Failure, FeedUri};

/// A parked event, with its last failure.
struct Parked {
    failed: FailedEvent,
    last: Failure,
    waits: bool,
}

impl MemoryConnection {
    /// All that are parked and pass a filter, in the order in which they were parked.
    fn parked_that(&self, filter: &FailureFilter) -> Vec<Parked> {
        let tables = self.tables();
        let failed = merged(&tables.failed, &self.pending.failed, ..);
        let mut first_of_key = BTreeMap::new();
        let mut parked = Vec::new();
        for (id, failed) in failed {
            let feed = failed.event.feed_uri();
            let waits = key(failed).is_some_and(|key| {
                let first = first_of_key.entry((feed.as_str().to_owned(), key.to_owned()));
                *first.or_insert(*id) != *id
            });
            let (feed, event) = retry_key(feed, failed.event.id());
            let range = (feed.clone(), event.clone(), 0)..=(feed, event, i64::MAX);
            let retries = merged(&tables.retry_log, &self.pending.retry_log, range);
            let last = retries.last().map(|(_, retry)| retry.failure.clone());
            let candidate = Parked {
                last: last.unwrap_or_else(|| failed.failure.clone()),
                failed: failed.clone(),
                waits,
            };
            if candidate.passes(filter) {
                parked.push(candidate);
            }
        }
        parked
    }
}

impl Parked {
    fn passes(&self, filter: &FailureFilter) -> bool {
        let (failed, event) = (&self.failed, &self.failed.event);
        let contains = |text: &str, part: &Option<String>| {
            let part = part.as_ref().map(|part| part.to_lowercase());
            part.is_none_or(|part| text.to_lowercase().contains(&part))
        };
        let feed = filter.feed_uri.as_ref();
        let reason = filter.reason.as_ref();
        let state = filter.state.is_none_or(|state| match state {
            FailureState::RetriesBelow(retries) => failed.retries < retries,
            FailureState::RetriesFrom(retries) => failed.retries >= retries,
            FailureState::Waits => self.waits,
        });
        let at = self.last.at();
        feed.is_none_or(|feed| event.feed_uri() == feed)
            && reason.is_none_or(|reason| self.last.reason().key() == *reason)
            && state
            && contains(event.title(), &filter.title)
            && contains(&event.tags_column(), &filter.tag)
            && (contains(failed.failure.message(), &filter.error)
                || contains(&beginning(self.last.message()), &filter.error))
            && filter.event.as_ref().is_none_or(|id| event.id() == id)
            && (filter.key.is_none() || key(failed) == filter.key.as_deref())
            && filter.since.is_none_or(|since| at >= since)
            && filter.until.is_none_or(|until| at < until)
    }
}

#[async_trait]
impl FailureStore for MemoryConnection {
    async fn failures(&mut self, query: &FailureQuery) -> StoreResult<ParkedPage> {
        let parked = self.parked_that(&query.filter).into_iter().rev();
        let before = query.before.unwrap_or(i64::MAX);
        let down_to = query.down_to.unwrap_or(i64::MIN);
        let parked = parked.filter(|parked| (down_to..before).contains(&parked.failed.id));
        let parked = parked.take(query.limit as usize);
        let events = parked
            .map(|parked| ParkedEvent::of(&parked.failed, &parked.last, parked.waits))
            .collect();
        let mut page = ParkedPage {
            events,
            ..ParkedPage::default()
        };
        let last = page.events.last().map(|last| last.id);
        page.next = last.filter(|_| page.len() == query.limit);
        Ok(page)
    }

    async fn failure_floor(&mut self, before: Option<i64>, many: u32) -> StoreResult<Option<i64>> {
        let parked = self.parked_that(&FailureFilter::default()).into_iter();
        let ids = parked.map(|parked| parked.failed.id).rev();
        let mut below = ids.filter(|id| before.is_none_or(|before| *id < before));
        Ok((many as usize)
            .checked_sub(1)
            .and_then(|before| below.nth(before)))
    }

    async fn failures_in_order(
        &mut self,
        feed_uri: &FeedUri,
        filter: &FailureFilter,
        after: i64,
        limit: u32,
    ) -> StoreResult<Vec<i64>> {
        let mut filter = filter.clone();
        filter.feed_uri = Some(feed_uri.clone());
        let parked = self.parked_that(&filter).into_iter();
        let ids = parked.map(|parked| parked.failed.id);
        Ok(ids.filter(|id| *id > after).take(limit as usize).collect())
    }

    async fn failure_count(&mut self, filter: &FailureFilter) -> StoreResult<u64> {
        Ok(self.parked_that(filter).len() as u64)
    }

    async fn failure_groups(
        &mut self,
        filter: &FailureFilter,
        limit: u32,
    ) -> StoreResult<Vec<FailureGroup>> {
        let mut groups = BTreeMap::<_, FailureGroup>::new();
        for Parked { failed, last, .. } in self.parked_that(filter) {
            let (feed, reason, at) = (failed.event.feed_uri(), last.reason(), last.at());
            let of_one = FailureGroup::of_one(feed.clone(), &reason, failed.id, at);
            groups
                .entry((feed.as_str().to_owned(), reason))
                .and_modify(|group| {
                    group.count += 1;
                    group.first_at = group.first_at.min(at);
                    group.last_at = group.last_at.max(at);
                })
                .or_insert(of_one);
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|group| (std::cmp::Reverse(group.count), group.first_id));
        groups.truncate(limit as usize);
        Ok(groups)
    }

    async fn feed_failures(&mut self, dead_at: u32) -> StoreResult<Vec<FeedFailures>> {
        let mut feeds = BTreeMap::<String, FeedFailures>::new();
        for Parked { failed, last, .. } in self.parked_that(&FailureFilter::default()) {
            let feed = failed.event.feed_uri();
            let counts = feeds
                .entry(feed.as_str().to_owned())
                .or_insert_with(|| FeedFailures::none(feed.clone()));
            counts.parked += 1;
            counts.dead += u64::from(failed.retries >= dead_at);
            let first = counts
                .first_at
                .map_or(last.at(), |at: DateTime<Utc>| at.min(last.at()));
            counts.first_at = Some(first);
        }
        Ok(feeds.into_values().collect())
    }

    async fn parked_event(&mut self, id: i64) -> StoreResult<Option<FailedEvent>> {
        let tables = self.tables();
        let mut failed = merged(&tables.failed, &self.pending.failed, id..=id);
        Ok(failed.next().map(|(_, failed)| failed.clone()))
    }

    async fn last_retries(
        &mut self,
        failed: &FailedEvent,
        limit: u32,
    ) -> StoreResult<Vec<Failure>> {
        let log = self
            .retry_log(failed.event.feed_uri(), failed.event.id())
            .await?;
        let newest = log.into_iter().rev().map(|retry| retry.failure);
        Ok(newest.take(limit as usize).collect())
    }

    async fn reset_retries(&mut self, failed: &FailedEvent) -> StoreResult<bool> {
        let Some(mut row) = self.parked_event(failed.id).await? else {
            return Ok(false);
        };
        row.retries = 0;
        if let Some(place) = &mut row.place {
            place.due_at = None;
        }
        self.pending.failed.insert(row.id, Some(row));
        Ok(true)
    }

    /// One transaction is open at a time: there is nobody else.
    async fn hold(&mut self, failed: &FailedEvent) -> StoreResult<()> {
        match self.parked_event(failed.id).await? {
            Some(_) => Ok(()),
            None => Err(StoreError::not_parked(failed)),
        }
    }

    async fn edit_content(&mut self, failed: &FailedEvent, content: &str) -> StoreResult<()> {
        if content.contains('\0') {
            let context = "giving a parked event another content: it holds a NUL character, which no \
                           database keeps; take it out";
            return Err(StoreError::new(StoreErrorKind::Refused, context));
        }
        let Some(mut row) = self.parked_event(failed.id).await? else {
            return Err(StoreError::not_parked(failed));
        };
        let event = &row.event;
        let page = event.page_uri().unwrap_or(event.feed_uri().as_str());
        row.event = Event::new(event.id().clone(), event.feed_uri().clone())
            .with_text(event.title(), content)
            .with_tags_column(&event.tags_column())
            .on_page(Some(page.to_owned()))
            .at(event.updated(), event.published())
            .as_retry(true);
        self.pending.failed.insert(row.id, Some(row));
        Ok(())
    }

    /// Nobody else writes here.
    async fn count_failures(&mut self, _limit: u32) -> StoreResult<u64> {
        Ok(0)
    }
}
