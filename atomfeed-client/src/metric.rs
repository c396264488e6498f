//! What is counted and measured, by the names that [`crate::AtomFeedClient::run`] documents.

use std::time::Duration;

use atomfeed_core::FeedUri;
use atomfeed_core::store::FeedStatus;
use metrics::{counter, gauge, histogram};

use crate::Processed;
use crate::source::PageResponse;

pub(crate) fn events(feed: &FeedUri, counted: Processed) {
    let outcomes = [
        ("applied", counted.applied),
        ("ignored", counted.ignored),
        ("parked", counted.failed),
        ("held", counted.held),
    ];
    for (outcome, events) in outcomes.into_iter().filter(|(_, events)| *events > 0) {
        counter!("atomfeed_events_total", "feed" => feed.to_string(), "outcome" => outcome)
            .increment(events);
    }
}

pub(crate) fn retries(feed: &FeedUri, outcome: &'static str) {
    counter!("atomfeed_retries_total", "feed" => feed.to_string(), "outcome" => outcome)
        .increment(1);
}

pub(crate) fn parked(feed: &FeedUri, events: u64) {
    gauge!("atomfeed_parked_events", "feed" => feed.to_string()).set(events as f64);
}

pub(crate) fn page(feed: &FeedUri, page: Option<&PageResponse>) {
    let outcome = match page {
        Some(page) if page.not_modified => "unchanged",
        Some(_) => "fetched",
        None => "failed",
    };
    counter!("atomfeed_page_fetches_total", "feed" => feed.to_string(), "outcome" => outcome)
        .increment(1);
    if let Some(page) = page {
        let bytes = page.body.len() as u64;
        counter!("atomfeed_page_bytes_total", "feed" => feed.to_string()).increment(bytes);
    }
}

pub(crate) fn batch(feed: &FeedUri, events: usize, took: Duration) {
    histogram!("atomfeed_batch_events", "feed" => feed.to_string()).record(events as f64);
    histogram!("atomfeed_batch_seconds", "feed" => feed.to_string()).record(took);
}

pub(crate) fn lag(status: &FeedStatus, seconds: f64) {
    let feed = &status.feed_uri;
    if let Some(events) = status.events_behind {
        gauge!("atomfeed_lag_events", "feed" => feed.to_string()).set(events as f64);
    }
    if let Some(pages) = status.pages_behind {
        gauge!("atomfeed_lag_pages", "feed" => feed.to_string()).set(pages as f64);
    }
    gauge!("atomfeed_lag_seconds", "feed" => feed.to_string()).set(seconds);
}

pub(crate) fn round(feed: &FeedUri, outcome: &'static str) {
    counter!("atomfeed_rounds_total", "feed" => feed.to_string(), "outcome" => outcome)
        .increment(1);
}
