use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::claims::{feed_key, short};
use super::consumer::{SqlUnitOfWork, feed_uri};
use super::failed_events::{SELECT_PARKED, failed_event, still_parked};
use super::statements::Choice;
use super::{Dialect, Row, TableZone, Value};
use crate::store::{
    FailureFilter, FailureGroup, FailureQuery, FailureState, FailureStore, FeedFailures,
    ParkedEvent, ParkedPage, StoreError, StoreErrorKind, StoreResult,
};
use crate::{EntryId, FailedEvent, Failure, FeedUri, Reason};

const INSERT: &str = "INSERT {unless} INTO {s}atomfeed_failures
    (failed_event_id, feed, reason, retries, failed_at, message) VALUES (?, ?, ?, ?, ?, ?) {there}";
const INSERT_REASON: &str = "INSERT {unless} INTO {s}atomfeed_reasons (reason, text)
    VALUES (?, ?) {there}";
const ADD_RETRY: &str = "UPDATE {s}atomfeed_failures SET retries = retries + 1, reason = ?,
    failed_at = ?, message = ? WHERE failed_event_id = ?";
const SET_LAST: &str = "UPDATE {s}atomfeed_failures SET reason = ?, failed_at = ?, message = ?
    WHERE failed_event_id = ?";
const SET_RETRIES: &str = "UPDATE {s}atomfeed_failures SET retries = ? WHERE failed_event_id = ?";
const DELETE: &str = "DELETE FROM {s}atomfeed_failures WHERE failed_event_id = ?";

/// Whether one of the same key is parked before it.
macro_rules! waits {
    () => {
        concat!(
            "CASE WHEN beside.order_key IS NOT NULL AND EXISTS
     (SELECT 1 FROM {s}atomfeed_failed_events AS earlier
      WHERE earlier.order_key = beside.order_key
      AND earlier.failed_event_id < beside.failed_event_id AND ",
            still_parked!(),
            ") THEN 1 ELSE 0 END"
        )
    };
}

/// A row of `failed_events` and what stands beside it, and one that stands whole beside it.
const FROM_TABLE: Source = Source {
    columns: concat!(
        "failed.id, failed.feed_uri, failed.event_id, failed.title,
     {?failed_events.tags:failed.tags|beside.tags},
     COALESCE(counted.message, SUBSTR(failed.error_message, 1, 400)),
     failed.failed_at, counted.failed_at, counted.retries, beside.event_key, beside.due_at, ",
        waits!()
    ),
    from: " FROM {s}atomfeed_failures AS counted
    JOIN {s}failed_events AS failed ON failed.id = counted.failed_event_id
    LEFT JOIN {s}atomfeed_failed_events AS beside ON beside.failed_event_id = counted.failed_event_id",
    id: "failed.id",
    title: "failed.title",
    tags: "{?failed_events.tags:failed.tags|beside.tags}",
    error: "failed.error_message",
    event: "failed.event_id",
    is_whole: None,
};
const FROM_BESIDE: Source = Source {
    columns: concat!(
        "beside.failed_event_id, beside.feed_uri, beside.event_id, beside.title, beside.tags,
     COALESCE(counted.message, SUBSTR(beside.error_message, 1, 400)), beside.failed_at, counted.failed_at, counted.retries,
     beside.event_key, beside.due_at, ",
        waits!()
    ),
    from: " FROM {s}atomfeed_failures AS counted
    JOIN {s}atomfeed_failed_events AS beside ON beside.failed_event_id = counted.failed_event_id",
    id: "beside.failed_event_id",
    title: "beside.title",
    tags: "beside.tags",
    error: "beside.error_message",
    event: "beside.event_id",
    is_whole: Some("beside.feed_uri IS NOT NULL"),
};

/// Where parked events are read from.
struct Source {
    columns: &'static str,
    from: &'static str,
    id: &'static str,
    title: &'static str,
    tags: &'static str,
    error: &'static str,
    event: &'static str,
    is_whole: Option<&'static str>,
}

const LAST_RETRIES: &str = "SELECT failed_at, error_message FROM {s}failed_event_retry_log
    WHERE event_id = ? AND feed_uri = ? ORDER BY id DESC LIMIT ?";
const LAST_RETRIES_BESIDE: &str =
    "SELECT failed_at, error_message FROM {s}atomfeed_failed_event_retry_log
    WHERE event_id = ? AND feed_uri = ? ORDER BY id DESC LIMIT ?";
const FEED_OF: &str = "SELECT feed_uri FROM {s}failed_events WHERE id = ?";
const FEED_BESIDE: &str =
    "SELECT feed_uri FROM {s}atomfeed_failed_events WHERE failed_event_id = ?";
const ENDS: &str = "SELECT MIN(failed_event_id), MAX(failed_event_id) FROM {s}atomfeed_failures";
const FLOOR: &str = "SELECT failed_event_id FROM {s}atomfeed_failures WHERE failed_event_id < ?
    ORDER BY failed_event_id DESC LIMIT 1 OFFSET ?";
const BY_FEED: &str = "SELECT feed, COUNT(*), COUNT(CASE WHEN retries >= ? THEN 1 END),
     MIN(failed_at), MIN(failed_event_id)
    FROM {s}atomfeed_failures GROUP BY feed";

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
// The content is not to be taken from the page any more.
const NAME_PAGE: &str = "UPDATE {s}atomfeed_failed_events SET page_uri = COALESCE(page_uri, ?)
    WHERE failed_event_id = ?";
const INSERT_PAGE: &str = "INSERT INTO {s}atomfeed_failed_events (page_uri, failed_event_id)
    VALUES (?, ?)";

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
    /// Counts an event that was parked.
    pub(super) async fn count_parked(
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
    pub(super) async fn count_retry(&mut self, id: i64, failure: &Failure) -> StoreResult<()> {
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
    pub(super) async fn count_out(&mut self, id: i64) -> StoreResult<()> {
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

    /// The sources of parked events: the second has rows in adopted tables alone.
    fn sources(&self) -> &'static [Source] {
        const BOTH: &[Source] = &[FROM_TABLE, FROM_BESIDE];
        match self.store.layout().is_adopted() {
            true => BOTH,
            false => &BOTH[..1],
        }
    }

    /// Parked events with numbers from one on, the newest first.
    async fn failures_above(
        &mut self,
        query: &FailureQuery,
        above: Option<i64>,
    ) -> StoreResult<ParkedPage> {
        let zone = self.store.layout().zone();
        let mut parked = Vec::new();
        for source in self.sources() {
            let mut choice = chosen::<D>(&query.filter, source);
            if let Some(before) = query.before {
                choice.and("counted.failed_event_id < ?", [before.into()]);
            }
            if let Some(above) = above {
                choice.and("counted.failed_event_id >= ?", [above.into()]);
                // That both ends hold for the joined table, too, PostgreSQL does not see.
                choice.and(&format!("{} >= ?", source.id), [above.into()]);
                if let Some(before) = query.before {
                    choice.and(&format!("{} < ?", source.id), [before.into()]);
                }
            }
            let statement = format!(
                "SELECT {}{}{} ORDER BY counted.failed_event_id DESC LIMIT ?",
                source.columns,
                source.from,
                choice.condition()
            );
            let limit = Value::from(i64::from(query.limit));
            let values = choice.values.into_iter().chain([limit]).collect();
            let rows = self
                .fetch_chosen("reading what is parked", &statement, values)
                .await?;
            let zone = match source.is_whole {
                None => zone,
                Some(_) => TableZone::default(),
            };
            for mut row in rows {
                let id = row.required_int()?;
                parked.push((id, parked_event(id, row, zone)));
            }
        }
        parked.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
        parked.truncate(query.limit as usize);
        let is_full = parked.len() == query.limit as usize;
        let last = parked.last().map(|(id, _)| *id);
        let mut page = ParkedPage {
            next: last.filter(|_| is_full),
            ..ParkedPage::default()
        };
        for (id, read) in parked {
            match read {
                Err(error) if error.kind() == StoreErrorKind::InvalidData => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(id, error, "a row of failed_events cannot be read");
                    page.unreadable.push(id);
                }
                read => page.events.push(read?),
            }
        }
        Ok(page)
    }

    /// The feed of a parked event.
    async fn feed_of(&mut self, id: i64) -> StoreResult<Option<FeedUri>> {
        for statement in [FEED_OF, FEED_BESIDE] {
            let what = "reading of which feed a parked event is";
            let rows = self.fetch(what, statement, vec![id.into()]).await?;
            if let Some(mut row) = rows.into_iter().next()
                && let Some(uri) = row.text()?
            {
                return Ok(FeedUri::new(uri).ok());
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl<D: Dialect> FailureStore for SqlUnitOfWork<D> {
    async fn failures(&mut self, query: &FailureQuery) -> StoreResult<ParkedPage> {
        if !query.filter.has_text() && query.filter.state != Some(FailureState::Waits) {
            return self.failures_above(query, query.down_to).await;
        }
        // No index helps to find a text. Ever larger parts are gone through, the newest first, as a rule of a
        // few hundred: databases would go through all of them, and sort what they find.
        let ends = self
            .fetch("reading how much is parked", ENDS, Vec::new())
            .await?;
        let Some(mut ends) = ends.into_iter().next() else {
            return Ok(ParkedPage::default());
        };
        let (Some(lowest), Some(highest)) = (ends.int()?, ends.int()?) else {
            return Ok(ParkedPage::default());
        };
        let lowest = query.down_to.map_or(lowest, |down_to| lowest.max(down_to));
        let mut found = ParkedPage::default();
        let mut before = query
            .before
            .unwrap_or(i64::MAX)
            .min(highest.saturating_add(1));
        let mut part = i64::from(query.limit).saturating_mul(2).max(1);
        while before > lowest && found.len() < query.limit {
            let above = before.saturating_sub(part).max(lowest);
            let left = query.limit - found.len();
            let of_part = query.clone().before(Some(before)).limit(left);
            let of_part = self.failures_above(&of_part, Some(above)).await?;
            found.events.extend(of_part.events);
            found.unreadable.extend(of_part.unreadable);
            found.next = of_part.next;
            (before, part) = (above, part.saturating_mul(8));
        }
        Ok(found)
    }

    async fn failure_floor(&mut self, before: Option<i64>, many: u32) -> StoreResult<Option<i64>> {
        let Some(passed) = many.checked_sub(1) else {
            return Ok(None);
        };
        let values = vec![before.unwrap_or(i64::MAX).into(), i64::from(passed).into()];
        let what = "reading how far down a part of what is parked reaches";
        let rows = self.fetch(what, FLOOR, values).await?;
        let row = rows.into_iter().next();
        row.map(|mut row| row.required_int()).transpose()
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
        let mut ids = Vec::new();
        for source in self.sources() {
            let mut choice = chosen::<D>(&filter, source);
            choice.and("counted.failed_event_id > ?", [after.into()]);
            let statement = format!(
                "SELECT counted.failed_event_id{}{} ORDER BY counted.failed_event_id LIMIT ?",
                source.from,
                choice.condition()
            );
            let limit = Value::from(i64::from(limit));
            let values = choice.values.into_iter().chain([limit]).collect();
            let what = "reading which parked events are to be tried again";
            for mut row in self.fetch_chosen(what, &statement, values).await? {
                ids.push(row.required_int()?);
            }
        }
        ids.sort_unstable();
        ids.truncate(limit as usize);
        Ok(ids)
    }

    async fn failure_count(&mut self, filter: &FailureFilter) -> StoreResult<u64> {
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

    async fn failure_groups(
        &mut self,
        filter: &FailureFilter,
        limit: u32,
    ) -> StoreResult<Vec<FailureGroup>> {
        let mut groups: Vec<(String, FailureGroup)> = Vec::new();
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
                } else if let Some(feed_uri) = self.feed_of(first_id).await? {
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

    async fn feed_failures(&mut self, dead_at: u32) -> StoreResult<Vec<FeedFailures>> {
        let what = "counting what is parked of each feed";
        let rows = self
            .fetch(what, BY_FEED, vec![i64::from(dead_at).into()])
            .await?;
        let mut feeds = Vec::with_capacity(rows.len());
        for mut row in rows {
            row.text()?;
            let (parked, dead) = (row.required_count()?, row.int()?.unwrap_or_default());
            let (first_at, first_id) = (row.time()?, row.required_int()?);
            if let Some(feed_uri) = self.feed_of(first_id).await? {
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

    async fn parked_event(&mut self, id: i64) -> StoreResult<Option<FailedEvent>> {
        let [there, beside] = SELECT_PARKED;
        let zone = self.store.layout().zone();
        let what = "reading a parked event";
        let rows = self.fetch(what, there, vec![id.into()]).await?;
        if let Some(row) = rows.into_iter().next() {
            return failed_event(row, zone).map(Some);
        }
        let rows = self.fetch(what, beside, vec![id.into()]).await?;
        let row = rows.into_iter().next();
        row.map(|row| failed_event(row, TableZone::default()))
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

    async fn count_failures(&mut self, limit: u32) -> StoreResult<u64> {
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
        for mut row in self.fetch(what, MISCOUNTED, limit()).await? {
            let (id, retries) = (row.required_int()?, row.required_int()?);
            let values = vec![retries.into(), id.into()];
            changed += self.execute(what, SET_RETRIES, values).await?;
            self.count_last(id).await?;
        }
        for mut row in self.fetch(what, GONE, limit()).await? {
            changed += 1;
            self.count_out(row.required_int()?).await?;
        }
        Ok(changed)
    }
}

impl<D: Dialect> SqlUnitOfWork<D> {
    /// From where parked events that pass a filter are counted: from what is counted alone, where that has
    /// all that is asked for.
    fn counted(&self, filter: &FailureFilter) -> Vec<(&'static str, Choice)> {
        let narrow = " FROM {s}atomfeed_failures AS counted";
        if filter.is_narrow() {
            let source = Source {
                is_whole: None,
                ..FROM_TABLE
            };
            return vec![(narrow, chosen::<D>(filter, &source))];
        }
        let sources = self.sources().iter();
        sources
            .map(|source| (source.from, chosen::<D>(filter, source)))
            .collect()
    }
}

/// The conditions of a filter.
fn chosen<D: Dialect>(filter: &FailureFilter, source: &Source) -> Choice {
    let mut choice = Choice::default();
    if let Some(is_whole) = source.is_whole {
        choice.and(is_whole, []);
    }
    if let Some(feed) = &filter.feed_uri {
        choice.and("counted.feed = ?", [feed_key(feed).into()]);
    }
    if let Some(reason) = &filter.reason {
        choice.and("counted.reason = ?", [reason.replace('\0', "").into()]);
    }
    match filter.state {
        None => {}
        Some(FailureState::RetriesBelow(retries)) => {
            choice.and("counted.retries < ?", [i64::from(retries).into()]);
        }
        Some(FailureState::RetriesFrom(retries)) => {
            choice.and("counted.retries >= ?", [i64::from(retries).into()]);
        }
        Some(FailureState::Waits) => choice.and(concat!(waits!(), " = 1"), []),
    }
    let has = |column: &str| format!("LOWER({column}) LIKE ? ESCAPE '!'");
    for (column, text) in [(source.title, &filter.title), (source.tags, &filter.tag)] {
        if let Some(text) = text {
            choice.and(&has(column), [containing::<D>(text).into()]);
        }
    }
    if let Some(text) = &filter.error {
        let condition = format!("({} OR {})", has("counted.message"), has(source.error));
        let pattern = containing::<D>(text);
        choice.and(&condition, [pattern.clone().into(), pattern.into()]);
    }
    if let Some(key) = &filter.key {
        choice.and("beside.event_key = ?", [key.replace('\0', "").into()]);
    }
    if let Some(event) = &filter.event {
        let condition = format!("{} = ?", source.event);
        choice.and(&condition, [event.as_str().replace('\0', "").into()]);
    }
    if let Some(since) = filter.since {
        choice.and("counted.failed_at >= ?", [since.into()]);
    }
    if let Some(until) = filter.until {
        choice.and("counted.failed_at < ?", [until.into()]);
    }
    choice
}

/// The beginning of what a failure says, as the tables keep it.
fn beginning(failure: &Failure) -> Value {
    let beginning = crate::store::failures::beginning(failure.message());
    beginning.replace('\0', "\u{fffd}").into()
}

/// The pattern of texts that contain one, as the database lowers them.
fn containing<D: Dialect>(text: &str) -> String {
    let lowered = match D::LOWERS_ASCII_ALONE {
        true => text.to_ascii_lowercase(),
        false => text.to_lowercase(),
    };
    let mut pattern = "%".to_owned();
    for character in lowered.chars().filter(|character| *character != '\0') {
        if "!%_".contains(character) {
            pattern.push('!');
        }
        pattern.push(character);
    }
    pattern + "%"
}

fn parked_event(id: i64, mut row: Row, zone: TableZone) -> StoreResult<ParkedEvent> {
    let feed_uri = feed_uri(&mut row)?;
    let event_id = EntryId::new(row.text_or_empty()?).ok_or_else(|| {
        let context = "reading the column event_id: it is empty; remove the row";
        StoreError::new(StoreErrorKind::InvalidData, context)
    })?;
    Ok(ParkedEvent {
        id,
        feed_uri,
        event_id,
        title: row.text_or_empty()?,
        tags: row.text_or_empty()?,
        error: row.text_or_empty()?,
        parked_at: row.time_in(zone)?.unwrap_or_default(),
        failed_at: row.time()?.unwrap_or_default(),
        retries: u32::try_from(row.required_count()?).unwrap_or(u32::MAX),
        key: row.text()?,
        due_at: row.time()?,
        waits: row.int()?.unwrap_or_default() != 0,
    })
}
