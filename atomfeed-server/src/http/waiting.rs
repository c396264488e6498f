//! Requests that wait for something new (`Prefer: wait=N` with `If-None-Match`, RFC 7240 §4.3).

use std::time::Duration;

use axum::http::header::IF_NONE_MATCH;
use axum::response::Response;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::conditional::Verdict;
use super::{PageRequest, Serving, prefer, response};
use crate::FeedError;

/// How requests wait.
#[derive(Debug)]
pub(super) struct Waiting {
    longest: Duration,
    places: Semaphore,
    look_every: Duration,
    stop: CancellationToken,
}

impl Waiting {
    pub(super) fn new(
        longest: Duration,
        most: usize,
        look_every: Duration,
        stop: CancellationToken,
    ) -> Self {
        Self {
            longest,
            places: Semaphore::new(most.min(Semaphore::MAX_PERMITS)),
            look_every,
            stop,
        }
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
        let mut news = serving.pages.moments.follow(self.look_every);
        let mut found = serving.find(request, None).await?;
        let mut has_waited = true;
        if serving.judge(request, &found) == Verdict::NotModified {
            let place = self.places.try_acquire();
            has_waited = place.is_ok();
            while has_waited && serving.judge(request, &found) == Verdict::NotModified {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => break,
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
        let limit = prefer::wait(request.headers)?.min(self.longest);
        let can_wait = request.headers.contains_key(IF_NONE_MATCH);
        (can_wait && limit >= Duration::from_secs(1)).then_some(limit)
    }
}
