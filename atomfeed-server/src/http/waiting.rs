//! Requests that wait for something new (`Prefer: wait=N` with `If-None-Match`, RFC 7240 §4.3).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::header::IF_NONE_MATCH;
use axum::response::Response;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::conditional::Verdict;
use super::sender::Sender;
use super::{PageRequest, Serving, prefer, response};
use crate::FeedError;

/// How requests wait.
#[derive(Debug)]
pub(super) struct Waiting {
    bounds: Bounds,
    waiting: Mutex<Count>,
}

/// How long requests wait, and how many.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) longest: Duration,
    pub(super) most: usize,
    pub(super) most_a_client: usize,
    pub(super) look_every: Duration,
    /// They are let go once this is cancelled.
    pub(super) stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Count {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// The place of a request that waits.
struct Place<'a> {
    waiting: &'a Waiting,
    client: Option<IpAddr>,
}

impl Waiting {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            waiting: Mutex::default(),
        }
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more, if there is one.
    fn place(&self, Sender(client): Sender) -> Option<Place<'_>> {
        let mut count = self.count();
        if count.all >= self.bounds.most {
            return None;
        }
        if let Some(client) = client {
            let of_client = count.by_client.get(&client).copied().unwrap_or(0);
            if of_client >= self.bounds.most_a_client {
                return None;
            }
            count.by_client.insert(client, of_client + 1);
        }
        count.all += 1;
        Some(Place {
            waiting: self,
            client,
        })
    }

    /// Answers a request for the newest page: at once, or, if it prefers to wait and has that page
    /// already, once there is another one, or its time is over.
    pub(super) async fn answer(
        &self,
        serving: &Serving,
        request: &PageRequest<'_>,
    ) -> Result<Response, FeedError> {
        let Some(limit) = self.limit(request) else {
            let found = serving.find(request, None).await?;
            return serving.answer_found(request, found).await;
        };
        let until = Instant::now() + limit;
        // Before the page is looked at, so that what comes after is not missed.
        let mut news = serving.pages.moments.follow(self.bounds.look_every);
        let mut found = serving.find(request, None).await?;
        let mut has_waited = true;
        if serving.judge(request, &found) == Verdict::NotModified {
            let place = self.place(request.sender);
            has_waited = place.is_some();
            while has_waited && serving.judge(request, &found) == Verdict::NotModified {
                tokio::select! {
                    biased;
                    () = self.bounds.stop.cancelled() => break,
                    changed = news.changed() => {
                        if changed.is_err() {
                            break;
                        }
                        let moment = news.borrow_and_update().clone();
                        found = serving.find(request, moment.as_ref()).await?;
                    }
                    () = sleep_until(until) => break,
                }
            }
        }
        let mut response = serving.answer_found(request, found).await?;
        if has_waited {
            response::waited(&mut response, limit);
        }
        Ok(response)
    }

    /// How long a request is to wait at the most, if it is one that can.
    fn limit(&self, request: &PageRequest<'_>) -> Option<Duration> {
        let limit = prefer::wait(request.headers)?.min(self.bounds.longest);
        let can_wait = request.headers.contains_key(IF_NONE_MATCH);
        (can_wait && limit >= Duration::from_secs(1)).then_some(limit)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut count = self.waiting.count();
        count.all -= 1;
        let Some(client) = self.client else {
            return;
        };
        if let Entry::Occupied(mut of_client) = count.by_client.entry(client) {
            *of_client.get_mut() -= 1;
            if *of_client.get() == 0 {
                of_client.remove();
            }
        }
    }
}
