use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use async_trait::async_trait;
use atomfeed_core::Event;
use futures_util::future::BoxFuture;

use super::handler::{Handler, Prepared};
use super::kind::into_handler;
use super::{AnyWorker, Handled, WorkerError, resource_key};

/// Several workers for one feed: each event goes to the worker of the first [`Route`] that takes it. What
/// no route takes is [ignored](Handled::Ignored), and counted so, unless there is a worker for
/// [the rest](Self::otherwise).
///
/// The workers may be of any kind, also routes themselves. Events keep the order of the feed, whichever
/// worker they go to. The key by which an event waits behind one that has failed is what its own worker
/// says; two workers that say the same key wait for each other. When one of the workers
/// [has other effects](super::EventWorker::has_other_effects), each event of the feed gets a
/// transaction of its own.
///
/// ```
/// use atomfeed_client::{AtomFeedClient, Event, FeedSource, Route, Routes, worker_fn};
/// use atomfeed_core::store::{MemoryConnection, MemoryStore};
///
/// # fn with(source: impl FeedSource) -> Result<(), Box<dyn std::error::Error>> {
/// let orders = worker_fn(|event, conn: &mut MemoryConnection| {
///     Box::pin(async move {
///         conn.put("orders", event.id().as_str(), event.content());
///         Ok(())
///     })
/// });
/// let drugs = worker_fn(|event, conn: &mut MemoryConnection| {
///     Box::pin(async move {
///         conn.put("drugs", event.id().as_str(), event.content());
///         Ok(())
///     })
/// });
/// let worker = Routes::new()
///     .route(Route::category("encounter"), orders)
///     .route(
///         Route::any_of([
///             Route::title("Drug"),
///             Route::when(|event: &Event| event.content().contains("/drug/")),
///         ]),
///         drugs,
///     );
/// let client = AtomFeedClient::builder("http://emr/feed/recent".parse()?, source)
///     .build(MemoryStore::new(), worker);
/// # Ok(())
/// # }
/// ```
pub struct Routes<C: ?Sized> {
    routes: Vec<(Route, Arc<dyn Handler<C>>)>,
    rest: Option<Arc<dyn Handler<C>>>,
}

impl<C: ?Sized + Send + 'static> Routes<C> {
    /// No routes yet: every event is ignored.
    pub fn new() -> Self {
        Self {
            routes: Vec::new(),
            rest: None,
        }
    }

    /// Adds a route behind those that there are, and the worker to which it leads.
    #[must_use]
    pub fn route<W, Kind>(mut self, route: Route, worker: W) -> Self
    where
        W: AnyWorker<C, Kind>,
    {
        self.routes.push((route, into_handler(worker)));
        self
    }

    /// Sets the worker for what no route takes.
    #[must_use]
    pub fn otherwise<W, Kind>(mut self, worker: W) -> Self
    where
        W: AnyWorker<C, Kind>,
    {
        self.rest = Some(into_handler(worker));
        self
    }
}

impl<C: ?Sized + Send + 'static> Default for Routes<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: ?Sized> fmt::Debug for Routes<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes: Vec<_> = self.routes.iter().map(|(route, _)| route).collect();
        f.debug_struct("Routes")
            .field("routes", &routes)
            .field("has_rest", &self.rest.is_some())
            .finish_non_exhaustive()
    }
}

/// Which events a worker of [`Routes`] gets.
#[derive(Clone)]
pub struct Route(Condition);

#[derive(Clone)]
enum Condition {
    Category(String),
    Title(String),
    AnyOf(Vec<Route>),
    When(Arc<dyn Fn(&Event) -> bool + Send + Sync>),
}

impl Route {
    /// Events with this category or tag, in any case, as feeds match theirs. A feed does not say which
    /// of an event's [categories](Event::categories) was the category, and which were tags.
    pub fn category(name: impl Into<String>) -> Self {
        Self(Condition::Category(name.into()))
    }

    /// Events with exactly this title.
    pub fn title(title: impl Into<String>) -> Self {
        Self(Condition::Title(title.into()))
    }

    /// Events that one of these routes takes.
    pub fn any_of(routes: impl IntoIterator<Item = Route>) -> Self {
        Self(Condition::AnyOf(routes.into_iter().collect()))
    }

    /// Events of which `condition` says so. It should be quick, and answer by the event alone: of an
    /// event it may be asked more than once. When it panics, that is a permanent failure of the event.
    pub fn when(condition: impl Fn(&Event) -> bool + Send + Sync + 'static) -> Self {
        Self(Condition::When(Arc::new(condition)))
    }

    /// Whether the route takes an event.
    ///
    /// ```
    /// use atomfeed_client::{Event, Route};
    /// use atomfeed_core::EntryId;
    ///
    /// let event = Event::new(EntryId::of_event("1"), "http://emr/feed/recent".parse().unwrap())
    ///     .with_text("Drug", "/drug/1")
    ///     .with_tags_column("Drug,Reference");
    /// assert!(Route::category("reference").takes(&event));
    /// assert!(!Route::title("drug").takes(&event));
    /// ```
    pub fn takes(&self, event: &Event) -> bool {
        match &self.0 {
            Condition::Category(name) => {
                let mut categories = event.categories().iter();
                categories.any(|category| are_same_folded(category, name))
            }
            Condition::Title(title) => event.title() == title,
            Condition::AnyOf(routes) => routes.iter().any(|route| route.takes(event)),
            Condition::When(condition) => condition(event),
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Condition::Category(name) => f.debug_tuple("Category").field(name).finish(),
            Condition::Title(title) => f.debug_tuple("Title").field(title).finish(),
            Condition::AnyOf(routes) => f.debug_tuple("AnyOf").field(routes).finish(),
            Condition::When(_) => f.debug_tuple("When").finish_non_exhaustive(),
        }
    }
}

/// Lower case letter by letter, as `Category::folded`, which has no name for every term on a page.
fn are_same_folded(one: &str, other: &str) -> bool {
    let fold = |name: &str| {
        name.chars()
            .flat_map(char::to_lowercase)
            .collect::<String>()
    };
    one == other || fold(one) == fold(other)
}

/// [`Routes`] with their type taken off, shared with the tasks in which their workers prepare.
pub(super) struct Routed<C: ?Sized>(pub(super) Arc<Routes<C>>);

/// What was prepared for an event, and for whom: the route is chosen once, before that.
struct Taken {
    to: To,
    ready: (Arc<Event>, Prepared),
}

/// To whom an event goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Route(usize),
    Rest,
    Nobody,
}

impl<C: ?Sized + Send + 'static> Routes<C> {
    fn choose(&self, event: &Event) -> Result<To, WorkerError> {
        let mut routes = self.routes.iter();
        let choosing = AssertUnwindSafe(|| routes.position(|(route, _)| route.takes(event)));
        match catch_unwind(choosing) {
            Ok(Some(index)) => Ok(To::Route(index)),
            Ok(None) if self.rest.is_some() => Ok(To::Rest),
            Ok(None) => Ok(To::Nobody),
            Err(_) => Err(WorkerError::new(
                "choosing the route of the event: the condition of a route panicked",
            )),
        }
    }

    fn worker(&self, to: To) -> Option<&Arc<dyn Handler<C>>> {
        match to {
            To::Route(index) => self.routes.get(index).map(|(_, worker)| worker),
            To::Rest => self.rest.as_ref(),
            To::Nobody => None,
        }
    }

    fn workers(&self) -> impl Iterator<Item = &Arc<dyn Handler<C>>> {
        let workers = self.routes.iter().map(|(_, worker)| worker);
        workers.chain(&self.rest)
    }
}

#[async_trait]
impl<C: ?Sized + Send + 'static> Handler<C> for Routed<C> {
    fn prepares(&self) -> bool {
        self.0.workers().any(|worker| worker.prepares())
    }

    fn prepare(&self, event: Arc<Event>) -> BoxFuture<'static, Result<Prepared, WorkerError>> {
        let routes = Arc::clone(&self.0);
        Box::pin(async move {
            let to = routes.choose(&event)?;
            let prepared = match routes.worker(to) {
                Some(worker) => worker.prepare(Arc::clone(&event)).await?,
                None => Box::new(()) as Prepared,
            };
            let ready = (event, prepared);
            Ok(Box::new(Taken { to, ready }) as Prepared)
        })
    }

    async fn process(
        &self,
        event: &Event,
        prepared: &Prepared,
        conn: &mut C,
    ) -> Result<Handled, WorkerError> {
        let taken = taken(prepared)?;
        match self.0.worker(taken.to) {
            Some(worker) => worker.process(event, &taken.ready.1, conn).await,
            None => Ok(Handled::Ignored),
        }
    }

    /// Hands each run of events of one route to its worker, in the order of the feed.
    async fn process_batch(
        &self,
        events: &[&(Arc<Event>, Prepared)],
        conn: &mut C,
    ) -> Result<Vec<Handled>, WorkerError> {
        let events = events.iter().map(|(_, prepared)| taken(prepared));
        let events = events.collect::<Result<Vec<_>, _>>()?;
        let mut handled = Vec::with_capacity(events.len());
        for run in events.chunk_by(|one, next| one.to == next.to) {
            let Some(worker) = run.first().and_then(|taken| self.0.worker(taken.to)) else {
                handled.extend(run.iter().map(|_| Handled::Ignored));
                continue;
            };
            let ready: Vec<_> = run.iter().map(|taken| &taken.ready).collect();
            let said = worker.process_batch(&ready, conn).await?;
            if said.len() != run.len() {
                // Too few in all, also where another worker's too many would make up for it: the
                // caller sees that, and says so.
                return Ok(handled);
            }
            handled.extend(said);
        }
        Ok(handled)
    }

    fn key(&self, event: &Event, prepared: Option<&Prepared>) -> Option<String> {
        let taken = prepared.and_then(|prepared| taken(prepared).ok());
        let to = match taken {
            Some(taken) => taken.to,
            None => match self.0.choose(event) {
                Ok(to) => to,
                // It fails for that, and others of its resource are to wait behind it.
                Err(_) => return resource_key(event),
            },
        };
        let prepared = taken.map(|taken| &taken.ready.1);
        self.0.worker(to)?.key(event, prepared)
    }

    fn has_other_effects(&self) -> bool {
        self.0.workers().any(|worker| worker.has_other_effects())
    }

    async fn committed(&self, event: &Event) {
        let to = self.0.choose(event).unwrap_or(To::Nobody);
        if let Some(worker) = self.0.worker(to) {
            worker.committed(event).await;
        }
    }

    fn name(&self, event: &Event) -> &'static str {
        let to = self.0.choose(event).unwrap_or(To::Nobody);
        let worker = self.0.worker(to);
        worker.map_or("Routes", |worker| worker.name(event))
    }
}

fn taken(prepared: &Prepared) -> Result<&Taken, WorkerError> {
    let taken = prepared.downcast_ref::<Taken>();
    taken.ok_or_else(|| WorkerError::new("what was prepared for the event is another worker's"))
}
