use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use url::form_urlencoded;

use super::StoreResult;
use crate::{EntryId, FailedEvent, Failure, FeedUri, Reason};

/// What is parked, for those who look after it: across feeds, by reason, page by page, and fast for a hundred
/// thousand (tables `atomfeed_failures` and `atomfeed_reasons`, of our own, beside `failed_events`).
///
/// What another program has parked is seen once it was [counted](Self::count_failures).
#[async_trait]
pub trait FailureStore: Send {
    /// Parked events, the newest first.
    ///
    /// # Errors
    ///
    /// This and every other call: as the database has it.
    async fn failures(&mut self, query: &FailureQuery) -> StoreResult<ParkedPage>;

    /// The id of the `many`-th parked event, of any feed, below `before`: where a search that is to look at so
    /// many and no more has to stop. None where there are fewer.
    async fn failure_floor(&mut self, before: Option<i64>, many: u32) -> StoreResult<Option<i64>>;

    /// Parked events of a feed, in the order in which they were parked: their ids, above `after`.
    async fn failures_in_order(
        &mut self,
        feed_uri: &FeedUri,
        filter: &FailureFilter,
        after: i64,
        limit: u32,
    ) -> StoreResult<Vec<i64>>;

    /// How many parked events there are that pass a filter.
    async fn failure_count(&mut self, filter: &FailureFilter) -> StoreResult<u64>;

    /// Parked events that pass a filter, by feed and reason, the most first; at most `limit` groups.
    async fn failure_groups(
        &mut self,
        filter: &FailureFilter,
        limit: u32,
    ) -> StoreResult<Vec<FailureGroup>>;

    /// Of each feed that has any, how many events are parked, and how many of them were tried again at least
    /// `dead_at` times.
    async fn feed_failures(&mut self, dead_at: u32) -> StoreResult<Vec<FeedFailures>>;

    /// One parked event, whole.
    async fn parked_event(&mut self, id: i64) -> StoreResult<Option<FailedEvent>>;

    /// The last retries of a parked event that failed, the newest first.
    async fn last_retries(&mut self, failed: &FailedEvent, limit: u32)
    -> StoreResult<Vec<Failure>>;

    /// Has a parked event be tried again as if it had not been yet, and at once. False when it is not parked
    /// any more.
    async fn reset_retries(&mut self, failed: &FailedEvent) -> StoreResult<bool>;

    /// Gives a parked event another content.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::NotParked`](super::StoreErrorKind::NotParked) when it is not parked any more.
    /// [`StoreErrorKind::Refused`](super::StoreErrorKind::Refused) when an adopted table cannot hold the content.
    async fn edit_content(&mut self, failed: &FailedEvent, content: &str) -> StoreResult<()>;

    /// Locks a parked event until the transaction ends: whoever would hold, edit or remove it meanwhile waits. Read
    /// it once more behind this: what was read before may have been changed by who held it last.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::NotParked`](super::StoreErrorKind::NotParked) when it is not parked any more.
    async fn hold(&mut self, failed: &FailedEvent) -> StoreResult<()>;

    /// Takes note of what other programs have parked, tried again or removed, at most `limit` events, and says
    /// of how many.
    async fn count_failures(&mut self, limit: u32) -> StoreResult<u64>;
}

/// A parked event without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParkedEvent {
    /// Column `id`.
    pub id: i64,
    /// Column `feed_uri`.
    pub feed_uri: FeedUri,
    /// Column `event_id`.
    pub event_id: EntryId,
    /// Column `title`.
    pub title: String,
    /// Column `tags`.
    pub tags: String,
    /// The beginning of what its last failure said.
    pub error: String,
    /// Column `failed_at`: when it was parked.
    pub parked_at: DateTime<Utc>,
    /// When it failed last.
    pub failed_at: DateTime<Utc>,
    /// How often it was tried again in vain.
    pub retries: u32,
    /// See [`Place::key`](crate::Place::key).
    pub key: Option<String>,
    /// See [`Place::due_at`](crate::Place::due_at).
    pub due_at: Option<DateTime<Utc>>,
    /// Whether one of the same key is parked before it, for which it waits.
    pub waits: bool,
}

impl ParkedEvent {
    /// What is known of a failed event, of its last failure, and of whether it waits.
    pub fn of(failed: &FailedEvent, last: &Failure, waits: bool) -> Self {
        let place = failed.place.clone().unwrap_or_default();
        Self {
            id: failed.id,
            feed_uri: failed.event.feed_uri().clone(),
            event_id: failed.event.id().clone(),
            title: failed.event.title().to_owned(),
            tags: failed.event.tags_column(),
            error: beginning(last.message()),
            parked_at: failed.failure.at(),
            failed_at: last.at(),
            retries: failed.retries,
            key: place.key,
            due_at: place.due_at,
            waits,
        }
    }
}

/// Some parked events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ParkedPage {
    /// The events, the newest first.
    pub events: Vec<ParkedEvent>,
    /// Rows among them that nobody can read, since another program left something out: their ids.
    pub unreadable: Vec<i64>,
    /// [Below](FailureQuery::before) which there may be more.
    pub next: Option<i64>,
}

impl ParkedPage {
    /// How many rows it has.
    pub fn len(&self) -> u32 {
        u32::try_from(self.events.len() + self.unreadable.len()).unwrap_or(u32::MAX)
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How much of an error message stands in a [`ParkedEvent`], in characters.
const BEGINNING: usize = 400;

pub(super) fn beginning(message: &str) -> String {
    message.chars().take(BEGINNING).collect()
}

/// Events of a feed that are parked for the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailureGroup {
    /// The feed.
    pub feed_uri: FeedUri,
    /// The [key](Reason::key) of the reason.
    pub reason: String,
    /// The reason.
    pub text: String,
    /// How many there are.
    pub count: u64,
    /// When one of them failed the longest ago.
    pub first_at: DateTime<Utc>,
    /// When one of them failed last.
    pub last_at: DateTime<Utc>,
    /// The first of them that was parked.
    pub first_id: i64,
}

impl FailureGroup {
    /// A group of one, for who counts on.
    pub fn of_one(feed_uri: FeedUri, reason: &Reason, id: i64, at: DateTime<Utc>) -> Self {
        Self {
            feed_uri,
            reason: reason.key(),
            text: reason.as_str().to_owned(),
            count: 1,
            first_at: at,
            last_at: at,
            first_id: id,
        }
    }
}

/// How many events of a feed are parked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedFailures {
    /// The feed.
    pub feed_uri: FeedUri,
    /// All that are parked.
    pub parked: u64,
    /// Those that were tried again too often.
    pub dead: u64,
    /// When one of them failed the longest ago.
    pub first_at: Option<DateTime<Utc>>,
}

impl FeedFailures {
    /// None yet.
    pub fn none(feed_uri: FeedUri) -> Self {
        Self {
            feed_uri,
            parked: 0,
            dead: 0,
            first_at: None,
        }
    }
}

/// Which parked events to read, and where a page of them begins.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailureQuery {
    /// Which.
    pub filter: FailureFilter,
    /// Only ids below this: the [next](ParkedPage::next) of the page before.
    pub before: Option<i64>,
    /// Only this id and those above: see [`failure_floor`](FailureStore::failure_floor).
    pub down_to: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

impl FailureQuery {
    /// The newest hundred that pass a filter.
    pub fn of(filter: FailureFilter) -> Self {
        Self {
            filter,
            before: None,
            down_to: None,
            limit: 100,
        }
    }

    /// Only ids below this: the [next](ParkedPage::next) of the page before.
    #[must_use]
    pub fn before(mut self, id: Option<i64>) -> Self {
        self.before = id;
        self
    }

    /// Only this id and those above: see [`failure_floor`](FailureStore::failure_floor).
    #[must_use]
    pub fn down_to(mut self, id: Option<i64>) -> Self {
        self.down_to = id;
        self
    }

    /// At most so many.
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }
}

/// What is asked of parked events; by default nothing. Texts are looked for in any case, anywhere in the
/// column.
///
/// It is written as a query: `reason=…&title=lab`, and read from one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FailureFilter {
    /// The feed.
    pub feed_uri: Option<FeedUri>,
    /// The [key](Reason::key) of the reason.
    pub reason: Option<String>,
    /// What has become of it.
    pub state: Option<FailureState>,
    /// A part of the title.
    pub title: Option<String>,
    /// A part of the categories and tags.
    pub tag: Option<String>,
    /// The whole [key](crate::Place::key).
    pub key: Option<String>,
    /// The id of the event.
    pub event: Option<EntryId>,
    /// A part of what it said when it was parked, or of the beginning of what it said last.
    pub error: Option<String>,
    /// Failed last at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Failed last before this time.
    pub until: Option<DateTime<Utc>>,
}

/// What has become of a parked event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureState {
    /// It was tried again fewer times than this.
    RetriesBelow(u32),
    /// It was tried again so often, or more often.
    RetriesFrom(u32),
    /// It waits for one of the same key that was parked before it.
    Waits,
}

/// What it takes to find the parked events that pass a [filter](FailureFilter), the least first. Of several things
/// that are asked for, the one that takes the most says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FailureSearch {
    /// Feed, reason, retries and times are counted beside the events, where indexes serve: how many pass is known
    /// without looking at the events themselves.
    Counted,
    /// A key, or the id of an event, is compared with that of each event.
    Exact,
    /// Of each event it is looked up whether one of the same key is parked before it: a part of what is parked at a
    /// time, the newest first.
    Waiting,
    /// A text is looked for in each event, in the same way; that takes the longest, and who does not want to wait
    /// looks at [so many](FailureStore::failure_floor) and no more.
    Text,
}

impl FailureFilter {
    /// All parked events of a feed.
    pub fn of_feed(feed_uri: FeedUri) -> Self {
        Self {
            feed_uri: Some(feed_uri),
            ..Self::default()
        }
    }

    /// Those that are parked for a reason.
    #[must_use]
    pub fn with_reason(mut self, key: impl Into<String>) -> Self {
        self.reason = Some(key.into());
        self
    }

    /// What it takes to find those that pass.
    pub fn search(&self) -> FailureSearch {
        let texts = [&self.title, &self.tag, &self.error];
        if texts.iter().any(|text| text.is_some()) {
            FailureSearch::Text
        } else if self.state == Some(FailureState::Waits) {
            FailureSearch::Waiting
        } else if self.key.is_some() || self.event.is_some() {
            FailureSearch::Exact
        } else {
            FailureSearch::Counted
        }
    }

    /// What is asked for, name by name.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Micros, true);
        let state = self.state.map(|state| match state {
            FailureState::RetriesBelow(retries) => format!("below-{retries}"),
            FailureState::RetriesFrom(retries) => format!("from-{retries}"),
            FailureState::Waits => "waits".to_owned(),
        });
        let feed = self.feed_uri.as_ref().map(|feed| feed.as_str().to_owned());
        let all = [
            ("feed", feed),
            ("reason", self.reason.clone()),
            ("state", state),
            ("title", self.title.clone()),
            ("tag", self.tag.clone()),
            ("key", self.key.clone()),
            (
                "event",
                self.event.as_ref().map(|event| event.as_str().to_owned()),
            ),
            ("error", self.error.clone()),
            ("since", self.since.map(time)),
            ("until", self.until.map(time)),
        ];
        let given = all.into_iter();
        given
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }

    /// Sets what a name asks for, as [`pairs`](Self::pairs) has it. False when there is no such name, or its
    /// value cannot be read.
    pub fn set(&mut self, name: &str, value: &str) -> bool {
        fn time(value: &str) -> Option<DateTime<Utc>> {
            value.parse().ok()
        }
        let text = || Some(value.to_owned());
        match name {
            "feed" => self.feed_uri = FeedUri::new(value).ok(),
            "reason" => self.reason = text(),
            "state" => self.state = FailureState::named(value),
            "title" => self.title = text(),
            "tag" => self.tag = text(),
            "key" => self.key = text(),
            "event" => self.event = EntryId::new(value),
            "error" => self.error = text(),
            "since" => self.since = time(value),
            "until" => self.until = time(value),
            _ => return false,
        }
        self.pairs().iter().any(|(known, _)| *known == name)
    }
}

impl FailureState {
    fn named(name: &str) -> Option<Self> {
        match name.split_once('-') {
            Some(("below", retries)) => Some(Self::RetriesBelow(retries.parse().ok()?)),
            Some(("from", retries)) => Some(Self::RetriesFrom(retries.parse().ok()?)),
            _ => (name == "waits").then_some(Self::Waits),
        }
    }
}

impl fmt::Display for FailureFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut query = form_urlencoded::Serializer::new(String::new());
        f.write_str(&query.extend_pairs(self.pairs()).finish())
    }
}

/// What was given is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value:?} is nothing that parked events can be asked for: see FailureFilter")]
pub struct InvalidFilter {
    name: String,
    value: String,
}

impl FromStr for FailureFilter {
    type Err = InvalidFilter;

    fn from_str(query: &str) -> Result<Self, InvalidFilter> {
        let mut filter = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !filter.set(&name, &value) {
                return Err(InvalidFilter {
                    name: name.into_owned(),
                    value: value.into_owned(),
                });
            }
        }
        Ok(filter)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_as_it_is_written() {
        let filter = FailureFilter {
            feed_uri: Some(FeedUri::new("http://emr/feed/recent#lab").unwrap()),
            reason: Some("r".into()),
            state: Some(FailureState::RetriesFrom(5)),
            title: Some("a&b=c %é".into()),
            tag: Some(String::new()),
            key: Some("+".into()),
            event: EntryId::new("tag:1&2"),
            error: Some("<x>".into()),
            since: Some("2024-03-01T08:01:00.000001Z".parse().unwrap()),
            until: None,
        };
        assert_eq!(filter.to_string().parse(), Ok(filter));
        assert_eq!("".parse(), Ok(FailureFilter::default()));
        for wrong in ["state=x", "since=1", "feed=", "colour=red", "state=from-"] {
            let error = wrong.parse::<FailureFilter>().unwrap_err().to_string();
            assert!(error.contains(wrong.split('=').next().unwrap()), "{error}");
        }
    }

    #[test]
    fn what_takes_the_most_says_how_a_filter_is_searched_for() {
        use FailureSearch::{Counted, Exact, Text, Waiting};

        for (filter, search) in [
            ("", Counted),
            ("feed=http://emr/1&reason=r&state=from-5", Counted),
            (
                "state=below-1&since=2024-03-01T08:01:00Z&until=2024-03-02T08:01:00Z",
                Counted,
            ),
            ("feed=http://emr/1&key=k", Exact),
            ("event=tag:1", Exact),
            ("state=waits", Waiting),
            ("state=waits&key=k", Waiting),
            ("title=lab", Text),
            ("tag=", Text),
            ("error=x&state=waits&key=k", Text),
        ] {
            let asked: FailureFilter = filter.parse().unwrap();
            assert_eq!(asked.search(), search, "{filter}");
        }
    }
}
