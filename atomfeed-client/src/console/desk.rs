use std::collections::BTreeMap;
use std::sync::Arc;

use atomfeed_core::store::{FeedFailures, FeedStatus, MinuteCounts, Publishing, StoreResult};
use atomfeed_core::{Clock, FeedUri, Marker};
use chrono::{DateTime, TimeDelta, Utc};

use super::door::Sessions;
use super::reset::InHand;
use super::system::System;

/// After this long without a word of its consumer, a feed has stalled.
pub(super) const STALLED: TimeDelta = TimeDelta::minutes(10);

/// What the console is made of.
pub(super) struct Desk {
    pub(super) systems: Vec<System>,
    pub(super) sessions: Sessions,
    pub(super) resetting: InHand,
    /// What stands before each path.
    pub(super) base: String,
    pub(super) dead_at: u32,
    pub(super) clock: Arc<dyn Clock>,
}

/// How a feed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FeedState {
    Ok,
    Behind,
    Parked,
    Dead,
    Waiting,
    Stalled,
    /// No consumer of ours writes down how far it is.
    Foreign,
}

impl FeedState {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Behind => "behind",
            Self::Parked => "parked",
            Self::Dead => "dead",
            Self::Waiting => "waiting",
            Self::Stalled => "stalled",
            Self::Foreign => "run by another program",
        }
    }
}

/// What is known of a feed.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    pub(super) uri: FeedUri,
    pub(super) marker: Option<Marker>,
    pub(super) status: Option<FeedStatus>,
    pub(super) failures: FeedFailures,
    pub(super) counts: Vec<MinuteCounts>,
}

/// What is known of a system.
pub(super) struct Seen {
    pub(super) is_adopted: bool,
    pub(super) feeds: Vec<Feed>,
    pub(super) publishing: Publishing,
}

impl Feed {
    fn none(uri: FeedUri) -> Self {
        Self {
            failures: FeedFailures::none(uri.clone()),
            uri,
            marker: None,
            status: None,
            counts: Vec::new(),
        }
    }

    pub(super) fn state(&self, now: DateTime<Utc>) -> FeedState {
        let Some(status) = &self.status else {
            return match (self.failures.dead, self.failures.parked) {
                (0, 0) => FeedState::Foreign,
                (0, _) => FeedState::Parked,
                _ => FeedState::Dead,
            };
        };
        if status.seen_at.is_none_or(|seen| now - seen > STALLED) {
            return FeedState::Stalled;
        }
        match (
            &status.error_message,
            self.failures.dead,
            self.failures.parked,
        ) {
            (Some(_), ..) => FeedState::Waiting,
            (None, 1.., _) => FeedState::Dead,
            (None, 0, 1..) => FeedState::Parked,
            (None, 0, 0) if is_behind(status) => FeedState::Behind,
            (None, 0, 0) => FeedState::Ok,
        }
    }

    /// Since when the first event ahead of the marker waits.
    pub(super) fn lag(&self, now: DateTime<Utc>) -> Option<TimeDelta> {
        let since = self.status.as_ref()?.behind_since?;
        Some((now - since).max(TimeDelta::zero()))
    }
}

/// A server of the original says no positions, and so its events are not counted.
pub(super) fn is_behind(status: &FeedStatus) -> bool {
    match status.events_behind {
        Some(events) => events > 0,
        None => status.pages_behind.is_some_and(|pages| pages > 0) || status.behind_since.is_some(),
    }
}

impl Desk {
    pub(super) fn system(&self, name: &str) -> Option<&System> {
        self.systems.iter().find(|system| system.name() == name)
    }

    /// What there is to be seen of a system; without the counts of the last day, where nobody asks for them.
    pub(super) async fn see(&self, system: &System, with_counts: bool) -> StoreResult<Seen> {
        system.read(self.see_all(system, with_counts)).await
    }

    async fn see_all(&self, system: &System, with_counts: bool) -> StoreResult<Seen> {
        let store = system.store().await?;
        let since = self.clock.now() - MinuteCounts::KEPT;
        let mut work = system.look().await?;
        let mut feeds = BTreeMap::new();
        for marker in work.markers().await? {
            let uri = marker.feed_uri().clone();
            feed(&mut feeds, &uri).marker = Some(marker);
        }
        for status in work.statuses().await? {
            let uri = status.feed_uri.clone();
            feed(&mut feeds, &uri).status = Some(status);
        }
        for failures in work.feed_failures(self.dead_at).await? {
            let uri = failures.feed_uri.clone();
            feed(&mut feeds, &uri).failures = failures;
        }
        let mut feeds: Vec<Feed> = feeds.into_values().collect();
        if with_counts {
            for feed in &mut feeds {
                feed.counts = work.counts(&feed.uri, since).await?;
            }
        }
        drop(work);
        Ok(Seen {
            is_adopted: store.is_adopted(),
            feeds,
            publishing: store.publishing().await?,
        })
    }
}

fn feed<'a>(feeds: &'a mut BTreeMap<String, Feed>, uri: &FeedUri) -> &'a mut Feed {
    feeds
        .entry(uri.as_str().to_owned())
        .or_insert_with(|| Feed::none(uri.clone()))
}
