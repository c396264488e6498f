//! Which events are parked: those that pass a filter, page by page, or in the order in which they were parked.

use crate::store::sql::claims::feed_key;
use crate::store::sql::consumer::{SqlUnitOfWork, feed_uri};
use crate::store::sql::failed_events::still_parked;
use crate::store::sql::statements::Choice;
use crate::store::sql::{Dialect, Row, TableZone, Value};
use crate::store::{
    FailureFilter, FailureQuery, FailureSearch, FailureState, ParkedEvent, ParkedPage, StoreError,
    StoreErrorKind, StoreResult,
};
use crate::{EntryId, FeedUri};

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

const ENDS: &str = "SELECT MIN(failed_event_id), MAX(failed_event_id) FROM {s}atomfeed_failures";
const FLOOR: &str = "SELECT failed_event_id FROM {s}atomfeed_failures WHERE failed_event_id < ?
    ORDER BY failed_event_id DESC LIMIT 1 OFFSET ?";

impl<D: Dialect> SqlUnitOfWork<D> {
    /// Parked events, the newest first.
    pub(super) async fn list(&mut self, query: &FailureQuery) -> StoreResult<ParkedPage> {
        if query.filter.search() < FailureSearch::Waiting {
            return self.failures_above(query, query.down_to).await;
        }
        // No index helps to find these. Ever larger parts are gone through, the newest first, as a rule of a
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

    /// How far down so many of them reach.
    pub(super) async fn list_floor(
        &mut self,
        before: Option<i64>,
        many: u32,
    ) -> StoreResult<Option<i64>> {
        let Some(passed) = many.checked_sub(1) else {
            return Ok(None);
        };
        let values = vec![before.unwrap_or(i64::MAX).into(), i64::from(passed).into()];
        let what = "reading how far down a part of what is parked reaches";
        let rows = self.fetch(what, FLOOR, values).await?;
        let row = rows.into_iter().next();
        row.map(|mut row| row.required_int()).transpose()
    }

    /// The ids of those of a feed, in the order in which they were parked.
    pub(super) async fn list_in_order(
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

    /// From where parked events that pass a filter are counted: from what is counted alone, where that has
    /// all that is asked for.
    pub(super) fn counted(&self, filter: &FailureFilter) -> Vec<(&'static str, Choice)> {
        let narrow = " FROM {s}atomfeed_failures AS counted";
        if filter.search() == FailureSearch::Counted {
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
            // That both ends hold for the joined table, too, PostgreSQL does not see: it would go through what is
            // above in that table.
            for (end, compared) in [(query.before, "<"), (above, ">=")] {
                let Some(end) = end else { continue };
                for id in ["counted.failed_event_id", source.id] {
                    choice.and(&format!("{id} {compared} ?"), [end.into()]);
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
