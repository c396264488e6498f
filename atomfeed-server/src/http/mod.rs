//! The feed over HTTP, as a router to mount anywhere.

mod response;

use atomfeed_core::{Category, FeedScope};
use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;

use crate::{EventFeedService, FeedError};

/// The feeds of a service as an [`axum::Router`].
///
/// | path | what |
/// |---|---|
/// | `/recent` | the newest page of all events |
/// | `/{n}` | page n of all events |
/// | `/{category}/recent` | the newest page of a category |
/// | `/{category}/{n}` | page n of a category |
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
#[derive(Debug, Clone)]
pub struct FeedRouter {
    service: EventFeedService,
    original_statuses: bool,
}

impl FeedRouter {
    /// The feeds of a service.
    pub fn new(service: EventFeedService) -> Self {
        Self {
            service,
            original_statuses: false,
        }
    }

    /// Answers 500 for pages that cannot be, as the original library does, instead of 400 and 404:
    /// for clients that test for it.
    #[must_use]
    pub fn with_original_statuses(mut self) -> Self {
        self.original_statuses = true;
        self
    }

    /// The router, to be nested under the path of the public URL.
    pub fn into_router(self) -> Router {
        Router::new()
            .route("/{page}", get(all_events))
            .route("/{page}/", get(all_events))
            .route("/{category}/{page}", get(one_category))
            .route("/{category}/{page}/", get(one_category))
            .with_state(self)
    }

    async fn answer(&self, scope: FeedScope, asked: &str) -> Response {
        let page = match PageAsked::parse(asked) {
            Some(PageAsked::Recent) => self.service.recent(&scope).await,
            Some(PageAsked::Number(number)) => self.service.page(&scope, number).await,
            Some(PageAsked::BeyondCounting) => Err(FeedError::NoSuchPage {
                scope,
                asked: asked.to_owned(),
            }),
            None => Err(FeedError::NotAPageNumber {
                scope,
                asked: asked.to_owned(),
            }),
        };
        match page {
            Ok(page) => response::page(page),
            Err(error) => response::error(&error, self.original_statuses),
        }
    }
}

async fn all_events(
    State(router): State<FeedRouter>,
    path: Result<Path<String>, PathRejection>,
) -> Response {
    match path {
        Ok(Path(page)) => router.answer(FeedScope::All, &page).await,
        Err(rejection) => response::bad_path(&rejection),
    }
}

async fn one_category(
    State(router): State<FeedRouter>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Response {
    let (category, page) = match path {
        Ok(Path(parts)) => parts,
        Err(rejection) => return response::bad_path(&rejection),
    };
    match Category::new(category) {
        Ok(category) => router.answer(FeedScope::Category(category), &page).await,
        Err(invalid) => response::text(StatusCode::BAD_REQUEST, invalid.to_string()),
    }
}

/// What the last part of a path asks for.
enum PageAsked {
    Recent,
    Number(u64),
    /// A number, and a greater one than pages have.
    BeyondCounting,
}

impl PageAsked {
    fn parse(asked: &str) -> Option<Self> {
        match asked {
            "recent" => Some(Self::Recent),
            digits if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().map_or(Self::BeyondCounting, Self::Number))
            }
            _ => None,
        }
    }
}
