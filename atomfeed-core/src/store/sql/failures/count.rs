//! How many events are parked, of which feed and for which reason: counted beside them as they come and go.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::store::sql::claims::short;
use crate::store::sql::consumer::SqlUnitOfWork;
use crate::store::sql::{Dialect, TableZone, Value};
use crate::store::{FailureFilter, FailureGroup, FailureStore, FeedFailures, StoreResult};
use crate::{Failure, FeedUri, Reason};

const INSERT: &str = "INSERT {unless} INTO {s}atomfeed_failures
    (failed_event_id, feed, reason, retries, failed_at, message) VALUES (?, ?, ?, ?, ?, ?) {there}";
const INSERT_REASON: &str = "INSERT {unless} INTO {s}atomfeed_reasons (reason, text)
    VALUES (?, ?) {there}";
const ADD_RETRY: &str = "UPDATE {s}atomfeed_failures SET retries = retries + 1, reason = ?,
    failed_at = ?, message = ? WHERE failed_event_id = ?";
const SET_LAST: &str = "UPDATE {s}atomfeed_failures SET reason = ?, failed_at = ?, message = ?
    WHERE failed_event_id = ?";
pub(super) const SET_RETRIES: &str =
    "UPDATE {s}atomfeed_failures SET retries = ? WHERE failed_event_id = ?";
const DELETE: &str = "DELETE FROM {s}atomfeed_failures WHERE failed_event_id = ?";

const FEED_OF: &str = "SELECT feed_uri FROM {s}failed_events WHERE id = ?";
const FEED_BESIDE: &str =
    "SELECT feed_uri FROM {s}atomfeed_failed_events WHERE failed_event_id = ?";
const FEED_OF_OTHERS: &str = "SELECT failed.feed_uri FROM {s}atomfeed_failures AS counted
    JOIN {s}failed_events AS failed ON failed.id = counted.failed_event_id
    WHERE counted.feed = ? AND failed.feed_uri IS NOT NULL LIMIT 1";
const FEED_OF_OTHERS_BESIDE: &str = "SELECT beside.feed_uri FROM {s}atomfeed_failures AS counted
    JOIN {s}atomfeed_failed_events AS beside ON beside.failed_event_id = counted.failed_event_id
    WHERE counted.feed = ? AND beside.feed_uri IS NOT NULL LIMIT 1";
const BY_FEED: &str = "SELECT feed, COUNT(*), COUNT(CASE WHEN retries >= ? THEN 1 END),
     MIN(failed_at), MIN(failed_event_id)
    FROM {s}atomfeed_failures GROUP BY feed";

const UNCOUNTED: &str = "SELECT failed.id, failed.feed_uri, failed.error_message,
     {?failed_events.retries:failed.retries|COALESCE(beside.retries, 0)}, failed.failed_at
    FROM {s}failed_events AS failed
    LEFT JOIN {s}atomfeed_failures AS counted ON counted.failed_event_id = failed.id
    LEFT JOIN {s}atomfeed_failed_events AS beside ON beside.failed_event_id = failed.id
    WHERE counted.failed_event_id IS NULL AND failed.feed_uri IS NOT NULL
    ORDER BY failed.id LIMIT ?";
const UNCOUNTED_BESIDE: &str = "SELECT beside.failed_event_id, beside.feed_uri,
     beside.error_message, beside.retries, beside.failed_at
    FROM {s}atomfeed_failed_events AS beside
    LEFT JOIN {s}atomfeed_failures AS counted ON counted.failed_event_id = beside.failed_event_id
    WHERE counted.failed_event_id IS NULL AND beside.feed_uri IS NOT NULL
    ORDER BY beside.failed_event_id LIMIT ?";
const MISCOUNTED: &str = "SELECT failed.id,
     {?failed_events.retries:failed.retries|COALESCE(beside.retries, 0)}
    FROM {s}atomfeed_failures AS counted
    JOIN {s}failed_events AS failed ON failed.id = counted.failed_event_id
    LEFT JOIN {s}atomfeed_failed_events AS beside ON beside.failed_event_id = failed.id
    WHERE {?failed_events.retries:failed.retries|COALESCE(beside.retries, 0)} <> counted.retries
    LIMIT ?";
const GONE: &str = "SELECT counted.failed_event_id FROM {s}atomfeed_failures AS counted
    LEFT JOIN {s}failed_events AS failed ON failed.id = counted.failed_event_id
    LEFT JOIN {s}atomfeed_failed_events AS beside
     ON beside.failed_event_id = counted.failed_event_id AND beside.feed_uri IS NOT NULL
    WHERE failed.id IS NULL AND beside.failed_event_id IS NULL LIMIT ?";

impl<D: Dialect> SqlUnitOfWork<D> {
    /// How many there are that pass a filter.
    pub(super) async fn count_passing(&mut self, filter: &FailureFilter) -> StoreResult<u64> {
        let mut count = 0;
        for (from, choice) in self.counted(filter) {
            let statement = format!("SELECT COUNT(*){from}{}", choice.condition());
            let what = "counting what is parked";
            let rows = self.fetch_chosen(what, &statement, choice.values).await?;
            let row = rows.into_iter().next();
            count += row.map_or(Ok(0), |mut row| row.required_count())?;
        }
        Ok(count)
    }

    /// Those that pass a filter, by feed and reason.
    pub(super) async fn count_groups(
        &mut self,
        filter: &FailureFilter,
        limit: u32,
    ) -> StoreResult<Vec<FailureGroup>> {
        let mut groups: Vec<(String, FailureGroup)> = Vec::new();
        let mut feeds = HashMap::new();
        for (from, choice) in self.counted(filter) {
            let statement = format!(
                "SELECT grouped.feed, grouped.reason, reasons.text, grouped.number, grouped.first_at,
     grouped.last_at, grouped.first_id
    FROM (SELECT counted.feed, counted.reason, COUNT(*) AS number,
      MIN(counted.failed_at) AS first_at, MAX(counted.failed_at) AS last_at,
      MIN(counted.failed_event_id) AS first_id{from}{} GROUP BY counted.feed, counted.reason
      ORDER BY number DESC, first_id LIMIT ?) AS grouped
    LEFT JOIN {{s}}atomfeed_reasons AS reasons ON reasons.reason = grouped.reason",
                choice.condition()
            );
            let limit = Value::from(i64::from(limit));
            let values = choice.values.into_iter().chain([limit]).collect();
            let what = "reading for which reasons events are parked";
            for mut row in self.fetch_chosen(what, &statement, values).await? {
                let feed = row.text_or_empty()?;
                let (reason, text) = (row.text_or_empty()?, row.text_or_empty()?);
                let count = row.required_count()?;
                let first_at = row.time()?.unwrap_or_default();
                let last_at = row.time()?.unwrap_or_default();
                let first_id = row.required_int()?;
                let same = groups
                    .iter_mut()
                    .find(|(known, group)| *known == feed && group.reason == reason);
                if let Some((_, group)) = same {
                    group.count += count;
                    group.first_at = group.first_at.min(first_at);
                    group.last_at = group.last_at.max(last_at);
                    group.first_id = group.first_id.min(first_id);
                } else if let Some(feed_uri) = self.known_feed(&mut feeds, first_id, &feed).await? {
                    let group = FailureGroup {
                        feed_uri,
                        reason,
                        text,
                        count,
                        first_at,
                        last_at,
                        first_id,
                    };
                    groups.push((feed, group));
                }
            }
        }
        let mut groups: Vec<_> = groups.into_iter().map(|(_, group)| group).collect();
        groups.sort_by_key(|group| (std::cmp::Reverse(group.count), group.first_id));
        groups.truncate(limit as usize);
        Ok(groups)
    }

    /// How many there are of each feed, and how many of them were tried again too often.
    pub(super) async fn count_feeds(&mut self, dead_at: u32) -> StoreResult<Vec<FeedFailures>> {
        let what = "counting what is parked of each feed";
        let rows = self
            .fetch(what, BY_FEED, vec![i64::from(dead_at).into()])
            .await?;
        let mut feeds = Vec::with_capacity(rows.len());
        for mut row in rows {
            let feed = row.text_or_empty()?;
            let (parked, dead) = (row.required_count()?, row.int()?.unwrap_or_default());
            let (first_at, first_id) = (row.time()?, row.required_int()?);
            if let Some(feed_uri) = self.feed_of(first_id, &feed).await? {
                feeds.push(FeedFailures {
                    feed_uri,
                    parked,
                    dead: dead.unsigned_abs(),
                    first_at,
                });
            }
        }
        feeds.sort_by(|a, b| a.feed_uri.as_str().cmp(b.feed_uri.as_str()));
        Ok(feeds)
    }

    /// The same, read once for each feed.
    async fn known_feed(
        &mut self,
        known: &mut HashMap<String, Option<FeedUri>>,
        id: i64,
        key: &str,
    ) -> StoreResult<Option<FeedUri>> {
        if let Some(feed) = known.get(key) {
            return Ok(feed.clone());
        }
        let feed = self.feed_of(id, key).await?;
        known.insert(key.to_owned(), feed.clone());
        Ok(feed)
    }

    /// The feed of a parked event; if that is gone since it was counted, that of those with the same key.
    async fn feed_of(&mut self, id: i64, key: &str) -> StoreResult<Option<FeedUri>> {
        let statements: [(_, Value); 4] = [
            (FEED_OF, id.into()),
            (FEED_BESIDE, id.into()),
            (FEED_OF_OTHERS, key.into()),
            (FEED_OF_OTHERS_BESIDE, key.into()),
        ];
        for (statement, value) in statements {
            let what = "reading of which feed a parked event is";
            let rows = self.fetch(what, statement, vec![value]).await?;
            if let Some(mut row) = rows.into_iter().next()
                && let Some(uri) = row.text()?
            {
                return Ok(FeedUri::new(uri).ok());
            }
        }
        Ok(None)
    }

    /// Counts an event that was parked.
    pub(in crate::store::sql) async fn count_parked(
        &mut self,
        id: i64,
        feed_uri: &str,
        failure: &Failure,
        retries: u64,
    ) -> StoreResult<()> {
        let what = "counting a parked event";
        let reason = failure.reason();
        self.keep_reason(&reason).await?;
        // What was parked under this id before is gone.
        self.execute(what, DELETE, vec![id.into()]).await?;
        let values = vec![
            id.into(),
            short(feed_uri).into(),
            reason.key().into(),
            retries.into(),
            failure.at().into(),
            beginning(failure),
        ];
        self.execute(what, INSERT, values).await.map(drop)
    }

    /// Counts a retry that failed.
    pub(in crate::store::sql) async fn count_retry(
        &mut self,
        id: i64,
        failure: &Failure,
    ) -> StoreResult<()> {
        let reason = failure.reason();
        self.keep_reason(&reason).await?;
        let values = vec![
            reason.key().into(),
            failure.at().into(),
            beginning(failure),
            id.into(),
        ];
        let what = "counting a retry that failed";
        self.execute(what, ADD_RETRY, values).await.map(drop)
    }

    /// An event is parked no longer.
    pub(in crate::store::sql) async fn count_out(&mut self, id: i64) -> StoreResult<()> {
        let what = "counting what is parked";
        self.execute(what, DELETE, vec![id.into()]).await.map(drop)
    }

    /// Takes note of the last failure of an event that another program has tried again.
    async fn count_last(&mut self, id: i64) -> StoreResult<()> {
        let Ok(Some(failed)) = self.parked_event(id).await else {
            return Ok(());
        };
        let last = self.last_retries(&failed, 1).await?.into_iter().next();
        let Some(last) = last else {
            return Ok(());
        };
        let reason = last.reason();
        self.keep_reason(&reason).await?;
        let values = vec![
            reason.key().into(),
            last.at().into(),
            beginning(&last),
            id.into(),
        ];
        let what = "counting what other programs have tried again";
        self.execute(what, SET_LAST, values).await.map(drop)
    }

    async fn keep_reason(&mut self, reason: &Reason) -> StoreResult<()> {
        let values = vec![reason.key().into(), reason.as_str().into()];
        let what = "keeping why events fail";
        self.execute(what, INSERT_REASON, values).await.map(drop)
    }

    /// Takes note of what other programs have done with parked events.
    pub(super) async fn count_foreign(&mut self, limit: u32) -> StoreResult<u64> {
        let what = "counting what other programs have parked";
        let limit = || vec![i64::from(limit).into()];
        let zone = self.store.layout().zone();
        let mut changed = 0;
        let mut uncounted = vec![(UNCOUNTED, zone)];
        if self.store.layout().is_adopted() {
            uncounted.push((UNCOUNTED_BESIDE, TableZone::default()));
        }
        for (statement, zone) in uncounted {
            for mut row in self.fetch(what, statement, limit()).await? {
                let id = row.required_int()?;
                // Whatever it is: what nobody can read must not hide the rest.
                let feed_uri = row.text_or_empty()?;
                let message = row.text_or_empty()?;
                let retries = row.int()?.unwrap_or_default().unsigned_abs();
                let at: DateTime<Utc> = row.time_in(zone)?.unwrap_or_default();
                let failure = Failure::new(message, at);
                self.count_parked(id, &feed_uri, &failure, retries).await?;
                changed += 1;
            }
        }
        // In the order of their ids: of two that count at once, none waits for the other in a circle.
        let mut miscounted = Vec::new();
        for mut row in self.fetch(what, MISCOUNTED, limit()).await? {
            miscounted.push((row.required_int()?, row.required_int()?));
        }
        miscounted.sort_unstable();
        for (id, retries) in miscounted {
            let values = vec![retries.into(), id.into()];
            changed += self.execute(what, SET_RETRIES, values).await?;
            self.count_last(id).await?;
        }
        let mut gone = Vec::new();
        for mut row in self.fetch(what, GONE, limit()).await? {
            gone.push(row.required_int()?);
        }
        gone.sort_unstable();
        for id in gone {
            changed += 1;
            self.count_out(id).await?;
        }
        Ok(changed)
    }
}

/// The beginning of what a failure says, as the tables keep it.
fn beginning(failure: &Failure) -> Value {
    let beginning = crate::store::failures::beginning(failure.message());
    beginning.replace('\0', "\u{fffd}").into()
}
