//! The console: a page in a browser that shows what is stuck in every system, and sets it right without SQL.
//!
//! [`Console`] is an [`axum::Router`] to mount in any service, over one or several databases: of consumers of
//! this library, and of systems that run the original. It is rendered on the server, loads nothing from
//! elsewhere, and works without JavaScript; where there is that, htmx (2.0.11, of which the crate has a copy, under
//! the Zero-Clause BSD licence) keeps pages up to date.
//!
//! ```no_run
//! use atomfeed_client::console::{Console, UserList};
//! use atomfeed_core::store::{MemoryStore, StoreError};
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let users: UserList = std::fs::read_to_string("/etc/atomfeed/users")?.parse()?;
//! let lab = MemoryStore::new(); // the store of a consumer, or an SqliteStore, a PostgresStore, …
//! let console = Console::new(users)
//!     .with_system("Lab", lab)
//!     .into_router("/atomfeed-console");
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:9080").await?;
//! axum::serve(listener, axum::Router::new().merge(console)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! What is asked for there is written into the database, with who asked, when and why; the consumer that runs
//! carries it out within a second. A feed that the original library runs has no such consumer: what its tables
//! can carry is done at once (retries are set to 0, say), and the page says so.
//!
//! # In JSON
//!
//! Below the mount, for scripts, by HTTP Basic; `SYSTEM` is a name that was given, percent-encoded. What
//! changes something is for the role [`Operate`](Role::Operate), and takes a JSON object, sent as
//! `application/json`.
//!
//! | request | what |
//! |---|---|
//! | `GET /api/systems` | systems and feeds with their states |
//! | `GET /api/systems/SYSTEM/failed?…` | parked events, the newest first; [filters](atomfeed_core::store::FailureFilter), `before` (an id), `limit` (1,000 at most) |
//! | `GET /api/systems/SYSTEM/reasons?…` | how many are parked for each reason; filters |
//! | `GET /api/systems/SYSTEM/failed/ID` | one, with its content, its retries, and what was asked for |
//! | `GET /api/systems/SYSTEM/markers` | markers |
//! | `GET /api/systems/SYSTEM/rebase?from=URL&to=URL` | how much another address would be put in the place of: nothing is changed |
//! | `GET /api/systems/SYSTEM/actions?before=ID` | what was asked for, the newest first |
//! | `GET /api/systems/SYSTEM/actions/ID` | one of that |
//! | `POST /api/systems/SYSTEM/actions` | asks: `{"kind", "feed", "failed_event_id", "detail", "why", "seen"}`, kinds and details as in [`ActionKind`](atomfeed_core::ActionKind); answers `{"id"}`; with the `seen` of an event, it is refused when somebody has changed that since |
//! | `POST /api/systems/SYSTEM/actions/ID/call-off` | calls it off, as far as it is not done |
//! | `GET /systems/SYSTEM/export/json?…` or `/csv?…` | parked events without their contents, 100,000 at most; filters, and `why`, which is written down |
//!
//! And, for scripts of the original's console: `GET /apps`, `GET /apps/SYSTEM/feedStatus`,
//! `GET /apps/SYSTEM/failedEvent?feedUri=…`, `GET /apps/SYSTEM/failedEvent/EVENT-ID/retryLog` and
//! `POST /apps/SYSTEM/failedEvent/EVENT-ID/resetRetryCount`.

mod act;
mod again;
mod answer;
mod api;
mod desk;
mod door;
mod event;
mod failed;
mod history;
mod pages;
mod places;
mod reset;
mod response;
mod routes;
mod shown;
mod system;
mod users;

use std::sync::Arc;

use atomfeed_core::store::{ConsoleStore, StoreError};
use atomfeed_core::{Clock, SystemClock};
use axum::Router;
use axum::http::request::Parts;
use futures_util::future::BoxFuture;

use self::desk::Desk;
use self::door::{Door, Sessions};
use self::system::System;

pub use self::users::{ConsoleUser, ConsoleUsers, InvalidUsers, Role, UserList};

/// The console, to be mounted: see the [module](self).
pub struct Console {
    door: Door,
    systems: Vec<System>,
    dead_at: u32,
    secure: bool,
    clock: Arc<dyn Clock>,
}

impl Console {
    /// A console that signs users in itself.
    pub fn new(users: impl ConsoleUsers) -> Self {
        Self::by(Door::Users(Arc::new(users)))
    }

    /// A console whose host authenticates: a middleware before it has let only those through who may use it,
    /// and `knows` says who a request is from, by an extension, say. Where it says nobody, the answer is 401.
    ///
    /// What changes something is taken with a token of the console's own form, or as what no form of another
    /// site can be: JSON (`Content-Type: application/json`), or a request with `Authorization`.
    pub fn host_authenticates(
        knows: impl Fn(&Parts) -> Option<ConsoleUser> + Send + Sync + 'static,
    ) -> Self {
        Self::by(Door::Host(Arc::new(knows)))
    }

    fn by(door: Door) -> Self {
        Self {
            door,
            systems: Vec::new(),
            dead_at: 10,
            secure: true,
            clock: Arc::new(SystemClock),
        }
    }

    /// Adds a system, whose database this is.
    ///
    /// # Panics
    ///
    /// When there is one of this name already.
    #[must_use]
    pub fn with_system(self, name: impl Into<String>, store: impl ConsoleStore) -> Self {
        self.add(System::of(name.into(), Arc::new(store)))
    }

    fn add(mut self, system: System) -> Self {
        let name = system.name();
        let is_there = self.systems.iter().any(|known| known.name() == name);
        assert!(!is_there, "the console has a system {name:?} already");
        self.systems.push(system);
        self
    }

    /// Adds a system whose database is opened when it is needed: until it is there, the console says that it
    /// cannot be reached, and tries again.
    ///
    /// # Panics
    ///
    /// When there is one of this name already.
    #[must_use]
    pub fn with_system_to_open(
        self,
        name: impl Into<String>,
        open: impl Fn() -> BoxFuture<'static, Result<Arc<dyn ConsoleStore>, StoreError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.add(System::to_open(name.into(), Box::new(open)))
    }

    /// Sets from how many retries on a parked event counts as dead, which nobody tries again by itself; else 10.
    /// The original's is 5.
    #[must_use]
    pub fn with_dead_at(mut self, retries: u32) -> Self {
        self.dead_at = retries;
        self
    }

    /// Sends cookies over plain HTTP, too: for a console on this machine alone.
    #[must_use]
    pub fn with_insecure_cookies(mut self) -> Self {
        self.secure = false;
        self
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The router, with all its paths below `mount` (`/atomfeed-console`; `/` is the root), to be merged into
    /// that of the application.
    pub fn into_router(self, mount: &str) -> Router {
        let base = match mount.trim_matches('/') {
            "" => String::new(),
            path => format!("/{path}"),
        };
        let desk = Desk {
            resetting: Arc::default(),
            systems: self.systems,
            sessions: Sessions::new(self.door, self.secure),
            base,
            dead_at: self.dead_at,
            clock: self.clock,
        };
        routes::router(Arc::new(desk))
    }

    /// Every route below a mount, as method and path, for tests and firewalls. `{…}` stands for a part of the
    /// path. Without signing in, all but `/sign-in` and `/static/…` lead nowhere.
    pub fn routes() -> impl Iterator<Item = (&'static str, &'static str)> {
        routes::ROUTES
            .iter()
            .map(|route| (route.method, route.path))
    }
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.systems.iter().map(System::name);
        f.debug_struct("Console")
            .field("systems", &names.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
