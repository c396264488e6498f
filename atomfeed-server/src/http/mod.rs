//! The feed over HTTP, as a router to mount anywhere.

mod accept;
mod asked;
mod caching;
mod coding;
mod conditional;
mod credentials;
#[cfg(feature = "serve")]
mod descriptors;
mod kept;
mod list;
mod moments;
mod prefer;
mod response;
mod sender;
#[cfg(feature = "serve")]
mod server;
#[cfg(fuzzing)]
mod understood;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use atomfeed_core::{Category, FeedScope};
use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use self::asked::PathAsked;
pub use self::caching::Audience;
use self::caching::CacheControl;
use self::coding::Coding;
use self::conditional::{Validators, Verdict};
use self::kept::{Found, Kept, KeptPages};
#[cfg(feature = "archive")]
pub(crate) use self::response::MEDIA_TYPE;
use self::sender::{Sender, Taken};
#[cfg(fuzzing)]
pub use self::understood::{Understood, asked, entity_tag};
use self::waiting::{Bounds, Waiting};
use crate::page::{Asked, Facts};
use crate::{EventFeedService, FeedError};

pub use credentials::{Guarded, GuardedFuture, InvalidCredentials, RequireCredentials};
#[cfg(all(fuzzing, feature = "serve"))]
pub use server::client_address;
#[cfg(feature = "serve")]
pub use server::{ClientAddress, FeedServer, PeerAddress, ServerLimits};

/// The feeds of a service as an [`axum::Router`].
///
/// | path | what |
/// |---|---|
/// | `/recent` | the newest page of all events |
/// | `/{n}` | page n of all events |
/// | `/{category}/recent` | the newest page of a category |
/// | `/{category}/{n}` | page n of a category |
/// | `/first`, `/{category}/first` | leads to the oldest page there is (302) |
///
/// A trailing slash is tolerated; a query is ignored. Mount it where the configured public URL says
/// that the feed is:
///
/// ```no_run
/// use atomfeed_core::store::MemoryStore;
/// use atomfeed_server::{EventFeedService, FeedConfig, FeedRouter};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = FeedConfig::new("https://emr.example.org/openmrs/ws/atomfeed".parse()?);
/// let service = EventFeedService::open(MemoryStore::new(), config).await?;
/// let app = axum::Router::new()
///     .nest("/openmrs/ws/atomfeed", FeedRouter::new(service).into_router());
/// # let _: axum::Router = app;
/// # Ok(())
/// # }
/// ```
///
/// Answers can be asked for on conditions, and are compressed (gzip, zstd). A page that has a successor
/// is rendered once, kept, and says of itself that it never changes; one that still changes may be kept
/// for [a moment](Self::with_freshness). A category may be asked for in any spelling that the database takes
/// for the same; in another than the one of its links, a page is rendered for each request, and not compressed. Who may keep them is for the [audience](Self::with_audience) to
/// say. A request for `recent` with `If-None-Match` and `Prefer: wait=N` (RFC 7240) is held until there
/// is something new, or N seconds are over.
#[derive(Debug, Clone)]
pub struct FeedRouter {
    service: EventFeedService,
    original_statuses: bool,
    audience: Audience,
    freshness: Duration,
    cache_bytes: u64,
    longest_wait: Duration,
    most_waiting: usize,
    most_waiting_a_client: usize,
    look_every: Duration,
    stop: CancellationToken,
}

impl FeedRouter {
    /// The feeds of a service.
    pub fn new(service: EventFeedService) -> Self {
        Self {
            service,
            original_statuses: false,
            audience: Audience::default(),
            freshness: Duration::from_secs(1),
            cache_bytes: 32 << 20,
            longest_wait: Duration::from_secs(30),
            most_waiting: 10_000,
            most_waiting_a_client: 1_000,
            look_every: Duration::from_secs(1),
            stop: CancellationToken::new(),
        }
    }

    /// Answers 500 for pages that cannot be, as the original library does, instead of 400 and 404:
    /// for clients that test for it.
    #[must_use]
    pub fn with_original_statuses(mut self) -> Self {
        self.original_statuses = true;
        self
    }

    /// Says who may see the feed, and so whose caches may keep it; else
    /// [only those who are let in](Audience::WhoIsLetIn).
    #[must_use]
    pub fn with_audience(mut self, audience: Audience) -> Self {
        self.audience = audience;
        self
    }

    /// Sets for how long a page that still changes may be taken for the newest by who has kept it, in
    /// whole seconds; else 1 s. With 0, it is asked for each time.
    #[must_use]
    pub fn with_freshness(mut self, freshness: Duration) -> Self {
        self.freshness = freshness;
        self
    }

    /// Keeps rendered pages up to so many bytes, with their compressed forms; else 32 MiB. One that takes
    /// more than about a quarter of that is rendered each time.
    #[must_use]
    pub fn with_cache(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Sets how long a request is held that prefers to wait, at the most, in whole seconds; else 30 s.
    /// With 0, none is. What stands in front of the server must be patient for longer than that.
    #[must_use]
    pub fn with_longest_wait(mut self, limit: Duration) -> Self {
        self.longest_wait = limit;
        self
    }

    /// Holds so many requests at the most; else 10,000. Others are answered at once. They are never more than
    /// half the connections that there can be with the files that the process may open: those who wait keep
    /// nobody out. Where fewer connections are allowed, allow fewer of these, too.
    #[must_use]
    pub fn with_most_waiting(mut self, requests: usize) -> Self {
        self.most_waiting = requests;
        self
    }

    /// Holds so many requests of one client at the most; else 1,000, and never more than an eighth of the
    /// connections that there can be. Who that is is known where a
    /// `FeedServer` serves the router: one client then does not keep all others from waiting.
    #[must_use]
    pub fn with_most_waiting_a_client(mut self, requests: usize) -> Self {
        self.most_waiting_a_client = requests;
        self
    }

    /// Sets how often it is looked for events of which nothing is heard, while somebody waits; else every
    /// second. See [`EventFeedService::hearing`].
    #[must_use]
    pub fn look_every(mut self, interval: Duration) -> Self {
        self.look_every = interval.max(Duration::from_millis(1));
        self
    }

    /// Lets those who wait go once `stop` is cancelled: with it a server is shut down without waiting for
    /// them.
    #[must_use]
    pub fn until(mut self, stop: CancellationToken) -> Self {
        self.stop = stop;
        self
    }

    /// The router, to be nested under the path of the public URL.
    pub fn into_router(self) -> Router {
        let state = Arc::new(Serving {
            cache_control: CacheControl::new(self.audience, self.freshness),
            pages: KeptPages::new(self.service.clone(), self.cache_bytes),
            waiting: Waiting::new(Bounds {
                longest: self.longest_wait,
                most: possible_waits(self.most_waiting, 2),
                most_a_client: possible_waits(self.most_waiting_a_client, 8),
                look_every: self.look_every,
                stop: self.stop,
            }),
            original_statuses: self.original_statuses,
            service: self.service,
        });
        Router::new()
            .route("/{page}", get(all_events))
            .route("/{page}/", get(all_events))
            .route("/{category}/{page}", get(one_category))
            .route("/{category}/{page}/", get(one_category))
            .with_state(state)
    }
}

/// So many of those that were wanted as are no more than this part of the connections that there can be.
fn possible_waits(wanted: usize, part: usize) -> usize {
    #[cfg(feature = "serve")]
    if let Some(possible) = descriptors::possible_connections() {
        return wanted.min(possible / part);
    }
    let _ = part;
    wanted
}

/// What answers requests.
struct Serving {
    service: EventFeedService,
    pages: KeptPages,
    waiting: Waiting,
    cache_control: CacheControl,
    original_statuses: bool,
}

async fn all_events(
    State(serving): State<Arc<Serving>>,
    path: Result<Path<String>, PathRejection>,
    sender: Sender,
    Taken(headers): Taken,
) -> Response {
    match path {
        Ok(Path(page)) => {
            let answer = serving.answer(FeedScope::All, &page, sender, &headers);
            answer.await
        }
        Err(rejection) => response::bad_path(&rejection),
    }
}

async fn one_category(
    State(serving): State<Arc<Serving>>,
    path: Result<Path<(String, String)>, PathRejection>,
    sender: Sender,
    Taken(headers): Taken,
) -> Response {
    let (category, page) = match path {
        Ok(Path(parts)) => parts,
        Err(rejection) => return response::bad_path(&rejection),
    };
    match Category::new(category) {
        Ok(category) => {
            let scope = FeedScope::Category(category);
            serving.answer(scope, &page, sender, &headers).await
        }
        Err(invalid) => response::text(StatusCode::BAD_REQUEST, format!("{invalid}\n")),
    }
}

impl Serving {
    async fn answer(
        &self,
        scope: FeedScope,
        path: &str,
        sender: Sender,
        headers: &HeaderMap,
    ) -> Response {
        let answered = match PathAsked::parse(path) {
            Some(PathAsked::Page(asked)) => self.answer_page(&scope, asked, sender, headers).await,
            Some(PathAsked::First) => self.lead_to_oldest(&scope).await,
            Some(PathAsked::BeyondCounting) => Err(FeedError::NoSuchPage {
                scope,
                asked: path.to_owned(),
            }),
            Some(PathAsked::Zero) | None => Err(FeedError::NotAPageNumber {
                scope,
                asked: path.to_owned(),
            }),
        };
        answered.unwrap_or_else(|error| response::error(&error, self.original_statuses))
    }

    async fn lead_to_oldest(&self, scope: &FeedScope) -> Result<Response, FeedError> {
        let config = self.service.config();
        let location = match self.service.oldest_page(scope).await? {
            Some(number) => config.page_url(scope, number),
            None => config.page_url(scope, Asked::Recent),
        };
        Ok(response::found(&location))
    }

    async fn answer_page(
        &self,
        scope: &FeedScope,
        asked: Asked,
        sender: Sender,
        headers: &HeaderMap,
    ) -> Result<Response, FeedError> {
        // The feed in the one spelling in which its pages are kept.
        let kept_as = match scope {
            FeedScope::All => FeedScope::All,
            FeedScope::Category(category) => {
                FeedScope::Category(self.service.store().one_spelling(category))
            }
        };
        let request = PageRequest {
            scope,
            kept_as: &kept_as,
            asked,
            sender,
            headers,
            // Under another spelling a page has another head and is made anew: nobody is to keep us busy
            // by that, nor fill the memory.
            coding: match *scope == kept_as {
                true => Coding::of(headers),
                false => Coding::least(headers),
            },
        };
        // As most are: without waiting for anything.
        let at_hand = self.pages.at_hand(&kept_as, asked, request.kept_coding());
        if let Some(found) = at_hand {
            match (self.answer_known(&request, &found), found.kept) {
                (Ok(answered), _) => return Ok(answered),
                (Err(_), Some(kept)) if request.is_kept_spelling() => {
                    return Ok(self.page(&request, kept));
                }
                _ => {}
            }
        }
        match asked {
            Asked::Recent => Box::pin(self.waiting.answer(self, &request)).await,
            Asked::Number(_) => {
                Box::pin(async {
                    let found = self.find(&request, None).await?;
                    self.answer_found(&request, found).await
                })
                .await
            }
        }
    }

    async fn find(
        &self,
        request: &PageRequest<'_>,
        since: Option<&Arc<crate::service::Moment>>,
    ) -> Result<Found, FeedError> {
        let coding = request.kept_coding();
        let pages = &self.pages;
        pages
            .find(request.kept_as, request.asked, coding, since)
            .await
    }

    /// What the conditions of a request make of a page that was found.
    fn judge(&self, request: &PageRequest<'_>, found: &Found) -> Verdict {
        if !conditional::has_conditions(request.headers) {
            return Verdict::Send;
        }
        let Some(coding) = request.acceptable() else {
            return Verdict::Send;
        };
        let validators = Validators {
            entity_tag: &coding.entity_tag(&found.facts.tag),
            last_modified: found.facts.last_modified,
            is_settled: found.facts.is_sealed(),
        };
        validators.judge(request.headers)
    }

    /// The answer to a request that gets no page; or else the coding in which it gets it.
    fn answer_known(&self, request: &PageRequest<'_>, found: &Found) -> Result<Response, Coding> {
        let Some(coding) = request.acceptable() else {
            return Ok(response::text(
                StatusCode::NOT_ACCEPTABLE,
                "this is application/atom+xml, as it is, with gzip or with zstd: accept that\n"
                    .to_owned(),
            ));
        };
        match self.judge(request, found) {
            Verdict::NotModified => {
                let cache_control = self.cache_control(request, &found.facts);
                Ok(response::not_modified(&found.facts, coding, cache_control))
            }
            Verdict::Failed => Ok(response::text(
                StatusCode::PRECONDITION_FAILED,
                "the page is not what If-Match or If-Unmodified-Since asks for\n".to_owned(),
            )),
            Verdict::Send => Err(coding),
        }
    }

    async fn answer_found(
        &self,
        request: &PageRequest<'_>,
        found: Found,
    ) -> Result<Response, FeedError> {
        let coding = match self.answer_known(request, &found) {
            Ok(answered) => return Ok(answered),
            Err(coding) => coding,
        };
        let pages = &self.pages;
        let kept = pages.bytes(request.kept_as, request.asked, request.kept_coding(), found);
        let mut kept = kept.await?;
        if !request.is_kept_spelling() {
            let config = self.service.config();
            let spelled = kept.facts.spelled(&kept.body, config, request.scope);
            kept.body = coding.encode(spelled).await.map_err(FeedError::Coding)?;
            kept.headers = Arc::new(response::headers(&kept.facts, coding));
        }
        Ok(self.page(request, kept))
    }

    fn page(&self, request: &PageRequest<'_>, kept: Kept) -> Response {
        let cache_control = self.cache_control(request, &kept.facts);
        let headers = kept.headers.as_ref().clone();
        let clock = self.service.clock();
        response::page(headers, cache_control, &kept.facts, kept.body, clock)
    }

    fn cache_control(&self, request: &PageRequest<'_>, facts: &Facts) -> HeaderValue {
        self.cache_control.of(request.headers, facts.is_sealed())
    }
}

/// A request for a page.
struct PageRequest<'a> {
    /// The feed as the request spells it.
    scope: &'a FeedScope,
    /// The same feed as it is kept.
    kept_as: &'a FeedScope,
    asked: Asked,
    sender: Sender,
    headers: &'a HeaderMap,
    /// The best that the client takes.
    coding: Option<Coding>,
}

impl PageRequest<'_> {
    fn is_kept_spelling(&self) -> bool {
        self.scope == self.kept_as
    }

    /// The best coding that the client takes, if it takes Atom.
    fn acceptable(&self) -> Option<Coding> {
        self.coding.filter(|_| accept::accepts_atom(self.headers))
    }

    /// The coding in which the page is looked for: under another spelling it has another head, and is
    /// coded anew, so that nobody can fill the cache with spellings.
    fn kept_coding(&self) -> Coding {
        let coding = self.coding.filter(|_| self.is_kept_spelling());
        coding.unwrap_or(Coding::Identity)
    }
}
