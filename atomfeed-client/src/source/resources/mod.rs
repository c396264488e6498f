//! What events name.

mod error;
mod resource;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_core::{Event, FeedUri};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use http::header::{ACCEPT, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue};
use url::Url;

use super::http::{Ask, Exchange};
use super::links::Base;
use super::{FetchError, HttpFeedSource, headers};

pub use error::ResourceError;
pub use resource::Resource;

/// Fetches the resources that events name, by the login of the feed and within its limits
/// ([`HttpFeedSource::resources`]).
///
/// Content that is a path (`/openmrs/ws/rest/v1/patient/…`) is joined to the origin of the feed, or to a
/// [base](Self::with_base); whole URLs are fetched from origins that the source
/// [allows](crate::HttpFeedSourceBuilder::allow_origin). What fails because the server is busy, or the
/// connection breaks, is tried again a few times with growing delays, no earlier than the server asks.
///
/// ```
/// use async_trait::async_trait;
/// use atomfeed_client::core::store::MemoryConnection;
/// use atomfeed_client::{Event, FetchContent, Handled, PreparingWorker, Resources, WorkerError};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Patient {
///     display: String,
/// }
///
/// struct Patients {
///     emr: Resources, // source.resources()
/// }
///
/// #[async_trait]
/// impl PreparingWorker<MemoryConnection> for Patients {
///     type Prepared = Patient;
///
///     async fn prepare(&self, event: &Event) -> Result<Patient, WorkerError> {
///         Ok(event.fetch(&self.emr).await?.json()?)
///     }
///
///     async fn process(
///         &self,
///         event: &Event,
///         patient: &Patient,
///         conn: &mut MemoryConnection,
///     ) -> Result<Handled, WorkerError> {
///         conn.put("patients", event.content(), patient.display.as_str());
///         Ok(Handled::Applied)
///     }
/// }
/// ```
///
/// Errors become those of a worker with `?`: what [is transient](FetchError::is_transient) has the feed
/// wait, for as long as the server asks at least, and what is not, such as 404, parks the event.
#[derive(Debug, Clone)]
pub struct Resources {
    exchange: Arc<Exchange>,
    base: Base,
    accept: HeaderValue,
    attempts: u32,
    longest_delay: Duration,
}

/// The first delay before trying again.
const FIRST_DELAY: Duration = Duration::from_millis(250);

impl Resources {
    /// The resources of a server that anyone may read, with the usual limits, next to a feed from wherever
    /// that comes.
    ///
    /// # Errors
    ///
    /// As [`HttpFeedSourceBuilder::build`](crate::HttpFeedSourceBuilder::build).
    pub fn new(feed: &FeedUri) -> Result<Self, FetchError> {
        Ok(HttpFeedSource::new(feed)?.resources())
    }

    pub(super) fn of(exchange: Arc<Exchange>) -> Self {
        let base = Base::Origin(exchange.origins().feed().clone());
        Self {
            exchange,
            base,
            accept: HeaderValue::from_static("application/json, */*;q=0.5"),
            attempts: 3,
            longest_delay: Duration::from_secs(10),
        }
    }

    /// Joins content that is no whole URL to this one; else to the feed's origin. Its origin is to be one that
    /// the source allows.
    #[must_use]
    pub fn with_base(mut self, url: Url) -> Self {
        self.base = Base::Given(url);
        self
    }

    /// Sets what is asked for (`Accept`, RFC 9110 §12.5.1); else JSON, or what there is. Text that can
    /// stand in no header changes nothing.
    #[must_use]
    pub fn with_accept(mut self, media_types: &str) -> Self {
        if let Ok(accept) = HeaderValue::from_str(media_types) {
            self.accept = accept;
        }
        self
    }

    /// Sets how often one is asked for in all while the server is busy or the connection breaks, at least
    /// once; else three times.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// Sets the longest delay before one is asked for again; else 10 s. Chance adds up to as much, and what
    /// the server asks for comes on top; where that is longer than this, it is an error at once, which says
    /// so: the feed waits instead.
    #[must_use]
    pub fn with_longest_delay(mut self, delay: Duration) -> Self {
        self.longest_delay = delay;
        self
    }

    /// Fetches what the content of an event names; the same as [`FetchContent::fetch`].
    ///
    /// # Errors
    ///
    /// When the content is no reference, or what it names cannot be had, or must not be asked for.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn fetch(&self, event: &Event) -> Result<Resource, ResourceError> {
        let content = event.content();
        let url = self
            .base
            .join(content)
            .ok_or_else(|| ResourceError::no_reference(event.id(), content))?;
        let fetched = self.get(&url).await;
        fetched.map_err(|source| ResourceError::fetch(event.id(), &url, source))
    }

    /// Fetches what is at an address: something that belongs to what an event names.
    ///
    /// # Errors
    ///
    /// When it cannot be had, or must not be asked for.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn get(&self, url: &Url) -> Result<Resource, FetchError> {
        let ask = Ask {
            url: url.clone(),
            headers: HeaderMap::from_iter([(ACCEPT, self.accept.clone())]),
            follow_redirect: false,
            may_be_unchanged: false,
            is_resource: true,
        };
        let mut delays = self.delays();
        let mut attempt = 1;
        loop {
            let error = match self.exchange.get(&ask).await {
                Ok(got) => {
                    let text = |name| {
                        let value = got.headers.get(name)?;
                        value.to_str().ok().map(str::to_owned)
                    };
                    let etag = text(ETAG).filter(|etag| headers::entity_tag(etag).is_some());
                    let url = got.url.unwrap_or(ask.url);
                    return Ok(Resource::new(url, got.body, text(CONTENT_TYPE), etag));
                }
                Err(error) => error,
            };
            // A delay that chance adds to spreads those who were told the same.
            let delay = delays.next().unwrap_or(FIRST_DELAY);
            let asked = error.retry_after().unwrap_or_default();
            if attempt >= self.attempts || !is_passing(&error) || asked > self.longest_delay {
                return Err(error);
            }
            tracing::debug!(
                url = %ask.url, attempt, error = &error as &dyn std::error::Error,
                "a resource is asked for again"
            );
            tokio::time::sleep(delay + asked).await;
            attempt += 1;
        }
    }

    fn delays(&self) -> ExponentialBackoff {
        ExponentialBuilder::default()
            .with_min_delay(FIRST_DELAY.min(self.longest_delay))
            .with_max_delay(self.longest_delay)
            .without_max_times()
            .with_jitter()
            .build()
    }
}

/// Whether it may be over in a moment. Who has been silent for the whole of a time limit is left to the
/// feed to wait for, and so is who lets nobody in.
fn is_passing(error: &FetchError) -> bool {
    let is_spaced = matches!(
        error,
        FetchError::Timeout { .. } | FetchError::Login { .. } | FetchError::NotLetIn { .. }
    );
    error.is_transient() && !is_spaced
}

/// Fetches what an event names: `event.fetch(&resources).await?`, see [`Resources`].
#[async_trait]
pub trait FetchContent {
    /// Fetches what the content names.
    ///
    /// # Errors
    ///
    /// When the content is no reference, or what it names cannot be had, or must not be asked for.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    async fn fetch(&self, resources: &Resources) -> Result<Resource, ResourceError>;
}

#[async_trait]
impl FetchContent for Event {
    async fn fetch(&self, resources: &Resources) -> Result<Resource, ResourceError> {
        resources.fetch(self).await
    }
}
