use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atomfeed_core::store::{FeedStatus, MinuteCounts, StoreResult};
use atomfeed_core::{Event, FeedUri};
use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::AtomFeedClient;
use super::pages::{FetchedPage, page_number};
use super::start::First;
use crate::outcome::Processed;
use crate::{ProcessErrorKind, metric};

/// How often the status is written down while nothing new is to be said.
const REST: Duration = Duration::from_secs(5);

/// How far behind the head of its feed a consumer is, for those who watch. Nothing is decided by it.
#[derive(Debug)]
pub(super) struct Watch(Mutex<Seen>);

#[derive(Debug)]
struct Seen {
    status: FeedStatus,
    /// The position of the newest event, where the server says.
    head: Option<u64>,
    /// That of the last event that was dealt with.
    reached: Option<u64>,
    /// What became of events since it was written down last.
    counted: Processed,
    written: Option<Instant>,
    /// Whether there is something new to be said.
    is_news: bool,
    /// Whether the head was seen in this walk.
    knows_head: bool,
}

impl Watch {
    pub(super) fn of(feed: &FeedUri) -> Self {
        Self(Mutex::new(Seen {
            status: FeedStatus::new(feed.clone()),
            head: None,
            reached: None,
            counted: Processed::default(),
            written: None,
            is_news: true,
            knows_head: false,
        }))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The head is to be looked at anew.
    pub(super) fn forget_head(&self) {
        self.seen().knows_head = false;
    }

    pub(super) fn knows_head(&self) -> bool {
        self.seen().knows_head
    }

    /// A page that has no successor was seen.
    pub(super) fn head(&self, page: &FetchedPage) {
        let mut seen = self.seen();
        seen.knows_head = true;
        seen.status.head_page = Some(page.uri.clone());
        if let Some(newest) = page.events.last() {
            seen.status.head_entry_id = Some(newest.id().clone());
        }
        seen.head = page.position.or(seen.head);
    }

    /// Where a walk begins.
    pub(super) fn begin(&self, first: &First, now: DateTime<Utc>) {
        let mut seen = self.seen();
        let unread = first.unread.len() as u64;
        seen.status.seen_at = Some(now);
        seen.reached = first.page.position.map(|last| last.saturating_sub(unread));
        seen.stand_on(&first.page.uri);
        seen.stand_before(first.unread.first());
    }

    /// Events are about to be dealt with.
    pub(super) fn before(&self, event: &Arc<Event>) {
        let mut seen = self.seen();
        seen.stand_on(event.page_uri().unwrap_or_default());
        seen.stand_before(Some(event));
    }

    /// So many more events lie behind the marker, or beyond it.
    pub(super) fn passed(&self, events: u64) {
        let mut seen = self.seen();
        seen.reached = seen.reached.map(|position| position + events);
        seen.is_news = true;
        seen.reckon();
    }

    pub(super) fn count(&self, more: Processed) {
        let mut seen = self.seen();
        seen.counted.add(more);
        seen.is_news = true;
    }

    /// A walk has ended: at the head, when there is no error, or when it was told to stop.
    pub(super) fn end(&self, error: Option<&ProcessErrorKind>, stopped: bool, now: DateTime<Utc>) {
        let mut seen = self.seen();
        seen.status.seen_at = Some(now);
        match error {
            None if stopped => {}
            None => {
                seen.is_news |= seen.status.error_message.take().is_some();
                seen.status.succeeded_at = Some(now);
                seen.stand_before(None);
                seen.status.pages_behind = Some(0);
                // Also where the server says no positions.
                seen.status.events_behind = Some(0);
            }
            Some(error) => {
                let message = report(error);
                seen.is_news |= seen.status.error_message.as_deref() != Some(&message);
                seen.status.failed_at = Some(now);
                seen.status.error_message = Some(message);
            }
        }
    }
}

impl Seen {
    fn stand_on(&mut self, page: &str) {
        let head = self.status.head_page.as_deref();
        let numbers = head.and_then(page_number).zip(page_number(page));
        self.status.pages_behind = match numbers {
            Some(((folder, head), (own, page))) if folder == own => Some(head.saturating_sub(page)),
            _ => None,
        };
    }

    fn stand_before(&mut self, event: Option<&Arc<Event>>) {
        self.status.behind_since = event.and_then(|event| event.published());
        self.reckon();
    }

    fn reckon(&mut self) {
        let positions = self.head.zip(self.reached);
        self.status.events_behind = positions.map(|(head, reached)| head.saturating_sub(reached));
    }
}

impl<C: ?Sized + Send + 'static> AtomFeedClient<C> {
    /// Writes down how far the feed was followed, if there is something new to be said, or it is time.
    /// What cannot be written is left for the next time.
    pub(super) async fn write_status(&self, is_pausing: bool) {
        let (status, counted) = {
            let mut seen = self.watch.seen();
            let has_rested = seen.written.is_none_or(|written| written.elapsed() >= REST);
            let is_due = has_rested || is_pausing && seen.is_news;
            if !is_due {
                return;
            }
            let now = self.settings.clock.now();
            seen.status.seen_at = Some(now);
            let lag = seen.status.behind_since.map(|since| now - since);
            let seconds = lag.map_or(0.0, |lag| lag.as_seconds_f64().max(0.0));
            metric::lag(&seen.status, seconds);
            seen.is_news = false;
            seen.written = Some(Instant::now());
            (seen.status.clone(), std::mem::take(&mut seen.counted))
        };
        if let Err(error) = self.put_status(&status, counted).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(feed = %self.feed, error, "how far the feed was followed was not written down");
            self.watch.count(counted);
        }
    }

    async fn put_status(&self, status: &FeedStatus, counted: Processed) -> StoreResult<()> {
        let mut counts = MinuteCounts::at(self.settings.clock.now());
        counts.applied = counted.applied;
        counts.ignored = counted.ignored;
        counts.failed = counted.failed;
        counts.held = counted.held;
        let mut work = self.store.begin().await?;
        work.put_status(status).await?;
        if counted != Processed::default() {
            work.add_counts(&self.feed, &counts).await?;
        }
        work.commit().await
    }
}

/// The error with its causes, a line each.
fn report(error: &ProcessErrorKind) -> String {
    let mut report = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        report.push_str("\ncaused by: ");
        report.push_str(&error.to_string());
        cause = error.source();
    }
    report
}
