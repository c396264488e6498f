use std::sync::Arc;

use axum::Router;
use axum::extract::{RawPathParams, Request, State};
use axum::routing::{MethodFilter, on};

use super::desk::Desk;

/// What is asked for by a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Style,
    Script,
    SignInForm,
    SignIn,
    SignOut,
    Overview,
    Failed,
    Event,
    Content,
    EventForm,
    EventAct,
    ManyForm,
    ManyAct,
    ExportForm,
    ExportAct,
    Export,
    Markers,
    MarkerForm,
    MarkerAct,
    RebaseForm,
    RebaseAct,
    Actions,
    Action,
    CallOff,
    ApiSystems,
    ApiFailed,
    ApiReasons,
    ApiEvent,
    ApiMarkers,
    ApiRebase,
    ApiActions,
    ApiAction,
    ApiWish,
    ApiCallOff,
    OldApps,
    OldStatus,
    OldFailed,
    OldRetries,
    OldReset,
}

/// A method and a path below the mount.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) ask: Ask,
}

const fn get(path: &'static str, ask: Ask) -> Route {
    let method = "GET";
    Route { method, path, ask }
}

const fn post(path: &'static str, ask: Ask) -> Route {
    let method = "POST";
    Route { method, path, ask }
}

/// Every route there is.
pub(super) const ROUTES: &[Route] = &[
    get("/static/console.css", Ask::Style),
    get("/static/htmx.js", Ask::Script),
    get("/sign-in", Ask::SignInForm),
    post("/sign-in", Ask::SignIn),
    post("/sign-out", Ask::SignOut),
    get("/", Ask::Overview),
    get("/failed", Ask::Failed),
    get("/systems/{system}/failed/{id}", Ask::Event),
    get("/systems/{system}/failed/{id}/content", Ask::Content),
    get("/systems/{system}/failed/{id}/{act}", Ask::EventForm),
    post("/systems/{system}/failed/{id}/{act}", Ask::EventAct),
    get("/systems/{system}/retry", Ask::ManyForm),
    post("/systems/{system}/retry", Ask::ManyAct),
    get("/systems/{system}/export", Ask::ExportForm),
    post("/systems/{system}/export", Ask::ExportAct),
    get("/systems/{system}/export/{format}", Ask::Export),
    get("/markers", Ask::Markers),
    get("/systems/{system}/marker", Ask::MarkerForm),
    post("/systems/{system}/marker", Ask::MarkerAct),
    get("/systems/{system}/rebase", Ask::RebaseForm),
    post("/systems/{system}/rebase", Ask::RebaseAct),
    get("/actions", Ask::Actions),
    get("/systems/{system}/actions/{id}", Ask::Action),
    post("/systems/{system}/actions/{id}/call-off", Ask::CallOff),
    get("/api/systems", Ask::ApiSystems),
    get("/api/systems/{system}/failed", Ask::ApiFailed),
    get("/api/systems/{system}/reasons", Ask::ApiReasons),
    get("/api/systems/{system}/failed/{id}", Ask::ApiEvent),
    get("/api/systems/{system}/markers", Ask::ApiMarkers),
    get("/api/systems/{system}/rebase", Ask::ApiRebase),
    get("/api/systems/{system}/actions", Ask::ApiActions),
    post("/api/systems/{system}/actions", Ask::ApiWish),
    get("/api/systems/{system}/actions/{id}", Ask::ApiAction),
    post(
        "/api/systems/{system}/actions/{id}/call-off",
        Ask::ApiCallOff,
    ),
    get("/apps", Ask::OldApps),
    get("/apps/{system}/feedStatus", Ask::OldStatus),
    get("/apps/{system}/failedEvent", Ask::OldFailed),
    get("/apps/{system}/failedEvent/{id}/retryLog", Ask::OldRetries),
    post(
        "/apps/{system}/failedEvent/{id}/resetRetryCount",
        Ask::OldReset,
    ),
];

impl Ask {
    /// Whether it is for everybody.
    pub(super) fn is_for_all(self) -> bool {
        matches!(
            self,
            Self::Style | Self::Script | Self::SignInForm | Self::SignIn
        )
    }

    /// Whether who asks is a program.
    pub(super) fn is_in_json(self) -> bool {
        matches!(
            self,
            Self::ApiSystems
                | Self::ApiFailed
                | Self::ApiReasons
                | Self::ApiEvent
                | Self::ApiMarkers
                | Self::ApiRebase
                | Self::ApiActions
                | Self::ApiAction
                | Self::ApiWish
                | Self::ApiCallOff
                | Self::OldApps
                | Self::OldStatus
                | Self::OldFailed
                | Self::OldRetries
                | Self::OldReset
        )
    }
}

pub(super) fn router(desk: Arc<Desk>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let filter = match route.method {
            "POST" => MethodFilter::POST,
            _ => MethodFilter::GET,
        };
        let handler = move |State(desk): State<Arc<Desk>>,
                            params: RawPathParams,
                            request: Request| async move {
            let params = params.iter();
            let params = params.map(|(name, value)| (name.to_owned(), value.to_owned()));
            desk.answer(route, params.collect(), request).await
        };
        let path = match route.path {
            "/" if !desk.base.is_empty() => desk.base.clone(),
            path => format!("{}{path}", desk.base),
        };
        router = router.route(&path, on(filter, handler));
        if route.path == "/" && !desk.base.is_empty() {
            router = router.route(&format!("{path}/"), on(filter, handler));
        }
    }
    router.with_state(desk)
}
