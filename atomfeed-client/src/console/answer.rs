//! Requests, answered.

use std::sync::Arc;

use atomfeed_core::FeedUri;
use atomfeed_core::store::{FailureFilter, FailureState, StoreError, StoreErrorKind};
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, SET_COOKIE, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use chrono::{DateTime, Utc};
use url::form_urlencoded;

use super::act::{LARGEST_CONTENT, Unasked, Wish};
use super::desk::Desk;
use super::door::{Door, Stranger, Visitor, is_of_this_site};
use super::pages::{
    FeedRow, FormPage, Frame, OverviewPage, PublishingRow, SaidPage, SignInPage, SystemRow, titled,
};
use super::response::{encoded, html, json, kept, pairs, report, response, to, value};
use super::routes::{Ask, Route};
use super::shown::{When, count, visible};
use super::system::System;
use super::users::Role;

const STYLE: &str = include_str!("console.css");
const SCRIPT: &str = include_str!("htmx.min.js");

/// How many events stand on a page.
pub(super) const PAGE: u32 = 50;

/// Nothing runs but our own script, and nothing is loaded from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// How a request ends otherwise than with a page.
#[derive(Debug)]
pub(super) enum Ended {
    NotFound,
    Refused(StatusCode, String),
    Store(StoreError),
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Unasked> for Ended {
    fn from(unasked: Unasked) -> Self {
        let said = unasked.to_string();
        match unasked {
            Unasked::NotAllowed(_) => Self::Refused(StatusCode::FORBIDDEN, said),
            Unasked::Wrong(_) => Self::Refused(StatusCode::BAD_REQUEST, said),
            Unasked::Gone | Unasked::Changed | Unasked::Taken(..) => {
                Self::Refused(StatusCode::CONFLICT, said)
            }
            Unasked::Store(error) => Self::Store(error),
        }
    }
}

pub(super) type Answer = Result<Response<Body>, Ended>;

/// A request of somebody who is in.
pub(super) struct Visit<'a> {
    pub(super) desk: &'a Desk,
    pub(super) visitor: Visitor,
    params: Vec<(String, String)>,
    pub(super) query: Vec<(String, String)>,
    pub(super) form: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Desk {
    pub(super) async fn answer(
        self: Arc<Self>,
        route: &'static Route,
        params: Vec<(String, String)>,
        request: Request,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let answered = self.answered(route, params, &parts, body).await;
        let mut response = answered.unwrap_or_else(|ended| self.ended(route.ask, ended));
        let headers = response.headers_mut();
        let all = [
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            (REFERRER_POLICY, "same-origin"),
            (
                HeaderName::from_static("cross-origin-opener-policy"),
                "same-origin",
            ),
        ];
        for (name, value) in all {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if !headers.contains_key(CACHE_CONTROL) {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        response
    }

    async fn answered(
        &self,
        route: &'static Route,
        params: Vec<(String, String)>,
        parts: &Parts,
        body: Body,
    ) -> Answer {
        let query = pairs(parts.uri.query().unwrap_or_default().as_bytes());
        match route.ask {
            Ask::Style => return Ok(kept("text/css; charset=utf-8", STYLE)),
            Ask::Script => return Ok(kept("text/javascript; charset=utf-8", SCRIPT)),
            _ => {}
        }
        let visitor = match route.ask.is_for_all() {
            true => None,
            false => match self.sessions.visitor(parts).await {
                Ok(visitor) => Some(visitor),
                Err(stranger) => return Ok(self.turned_away(route, parts, stranger)),
            },
        };
        // With what is only asked for, nothing is taken.
        let body = match route.method {
            "POST" => body,
            _ => Body::empty(),
        };
        let limit = match route.ask {
            Ask::SignIn => 8 << 10,
            _ => LARGEST_CONTENT * 3 + (64 << 10),
        };
        let read = to_bytes(body, limit).await;
        let Ok(body) = read else {
            let said = "what was sent is too long, or did not come whole".to_owned();
            return Err(Ended::Refused(StatusCode::PAYLOAD_TOO_LARGE, said));
        };
        let form = match route.method == "POST" && !route.ask.is_in_json() {
            true => pairs(&body),
            false => Vec::new(),
        };
        let Some(visitor) = visitor else {
            return match route.ask {
                Ask::SignIn => self.sign_in(parts, &form).await,
                _ => self.sign_in_page(value(&query, "next"), false, StatusCode::OK),
            };
        };
        let token = value(&form, "token");
        let but_once = !matches!(route.ask, Ask::SignOut | Ask::CallOff);
        let sessions = &self.sessions;
        if route.method == "POST" && !sessions.takes_form(&visitor, parts, token, but_once) {
            let said = "this form was sent already, is too old, or comes from elsewhere: open it again, and send \
                        it once";
            return Err(Ended::Refused(StatusCode::FORBIDDEN, said.to_owned()));
        }
        let visit = Visit {
            desk: self,
            visitor,
            params,
            query,
            form,
            body: body.into(),
        };
        match route.ask {
            Ask::SignOut => Ok(self.sign_out(&visit.visitor)),
            Ask::Overview => visit.overview().await,
            Ask::Failed => visit.failed().await,
            Ask::Event => visit.event().await,
            Ask::Content => visit.content().await,
            Ask::EventForm => visit.event_form().await,
            Ask::EventAct => visit.event_act().await,
            Ask::ManyForm => visit.many_form().await,
            Ask::ManyAct => visit.many_act().await,
            Ask::ExportForm => visit.export_form().await,
            Ask::ExportAct => visit.export_act().await,
            // HEAD (RFC 9110 §9.3.2) would write down that somebody has what nobody got.
            Ask::Export if parts.method == Method::HEAD => {
                let said = "an export is had by GET".to_owned();
                Err(Ended::Refused(StatusCode::METHOD_NOT_ALLOWED, said))
            }
            Ask::Export => visit.export().await,
            Ask::Markers => visit.markers().await,
            Ask::MarkerForm => visit.marker_form().await,
            Ask::MarkerAct => visit.marker_act().await,
            Ask::RebaseForm => visit.rebase_form().await,
            Ask::RebaseAct => visit.rebase_act().await,
            Ask::Actions => visit.actions().await,
            Ask::Action => visit.action().await,
            Ask::CallOff => visit.call_off().await,
            _ => visit.in_json(route.ask).await,
        }
    }

    fn ended(&self, ask: Ask, ended: Ended) -> Response<Body> {
        let (status, heading, said) = match ended {
            Ended::NotFound => (
                StatusCode::NOT_FOUND,
                "Not found",
                "There is no such thing here (any more): an event that has succeeded is parked no longer.".to_owned(),
            ),
            Ended::Refused(status, said) => (status, "This cannot be done", said),
            Ended::Store(error) => {
                let what = &error as &dyn std::error::Error;
                tracing::warn!(error = what, "a page of the console cannot be shown");
                let status = match error.kind() {
                    StoreErrorKind::Conflict | StoreErrorKind::NotParked => StatusCode::CONFLICT,
                    _ => StatusCode::SERVICE_UNAVAILABLE,
                };
                (status, "The database does not answer as it should", report(&error))
            }
        };
        if ask.is_in_json() {
            let said = serde_json::json!({ "error": said });
            return json(status, &said);
        }
        let frame = Frame {
            base: self.base.clone(),
            user: None,
            may_operate: false,
            has_session: false,
            token: String::new(),
            here: "",
        };
        let said = visible(&said);
        html(
            status,
            &SaidPage {
                frame,
                heading,
                said,
            },
        )
    }

    /// Who is not known gets to where one signs in, or is told that that is needed.
    fn turned_away(&self, route: &Route, parts: &Parts, stranger: Stranger) -> Response<Body> {
        let is_program =
            route.ask.is_in_json() || stranger == Stranger::Wrong || route.method == "POST";
        if stranger == Stranger::Busy {
            return self.ended(route.ask, busy());
        }
        if parts.headers.contains_key("hx-request") {
            // The page that asks for a part of itself is left.
            let kind = "text/plain; charset=utf-8";
            let mut response = response(StatusCode::UNAUTHORIZED, kind, Body::empty());
            let sign_in = HeaderValue::try_from(format!("{}/sign-in", self.base));
            if let Ok(sign_in) = sign_in {
                response.headers_mut().insert("hx-redirect", sign_in);
            }
            return response;
        }
        if let (false, Door::Users(_)) = (is_program, &self.sessions.door) {
            let here = parts.uri.path_and_query().map_or("", |path| path.as_str());
            let next: String = form_urlencoded::byte_serialize(here.as_bytes()).collect();
            return to(&format!("{}/sign-in?next={next}", self.base));
        }
        let said = serde_json::json!({ "error": "who is this? sign in, or give name and password (HTTP Basic)" });
        let mut response = json(StatusCode::UNAUTHORIZED, &said);
        if let Door::Users(_) = &self.sessions.door {
            let basic =
                HeaderValue::from_static("Basic realm=\"atomfeed console\", charset=\"UTF-8\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, basic);
        }
        response
    }

    fn sign_in_page(&self, next: Option<&str>, wrong: bool, status: StatusCode) -> Answer {
        let frame = Frame {
            base: self.base.clone(),
            user: None,
            may_operate: false,
            has_session: false,
            token: String::new(),
            here: "",
        };
        let next = next.unwrap_or_default().to_owned();
        Ok(html(status, &SignInPage { frame, next, wrong }))
    }

    async fn sign_in(&self, parts: &Parts, form: &[(String, String)]) -> Answer {
        let given = |name| value(form, name).unwrap_or_default();
        if !is_of_this_site(parts) {
            let said = "this form comes from elsewhere: open the page and sign in there";
            return Err(Ended::Refused(StatusCode::FORBIDDEN, said.to_owned()));
        }
        let path = format!("{}/", self.base);
        let (name, password) = (given("name"), given("password"));
        let cookie = self.sessions.sign_in(name, password, self.cookie_path());
        let cookie = match cookie.await {
            Ok(cookie) => cookie,
            Err(Stranger::Busy) => return Err(busy()),
            Err(_) => {
                return self.sign_in_page(Some(given("next")), true, StatusCode::FORBIDDEN);
            }
        };
        // Only to a page of ours. Browsers take a backslash for a slash, and pass over what cannot be seen.
        let is_odd = |letter: char| letter == '\\' || letter.is_control();
        let next = Some(given("next"))
            .filter(|next| next.starts_with(&path) && !next.starts_with("//"))
            .filter(|next| !next.contains(is_odd));
        let mut response = to(next.unwrap_or(&path));
        response.headers_mut().insert(SET_COOKIE, cookie);
        Ok(response)
    }

    fn cookie_path(&self) -> &str {
        match self.base.as_str() {
            "" => "/",
            base => base,
        }
    }

    fn sign_out(&self, visitor: &Visitor) -> Response<Body> {
        let mut response = to(&format!("{}/sign-in", self.base));
        if let Some(cookie) = self.sessions.sign_out(visitor, self.cookie_path()) {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        response
    }
}

impl Visit<'_> {
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.desk.clock.now()
    }

    pub(super) fn frame(&self, here: &'static str) -> Frame {
        Frame {
            base: self.desk.base.clone(),
            user: Some(visible(&self.visitor.user.name)),
            may_operate: self.visitor.user.role >= Role::Operate,
            has_session: self.visitor.is_signed_in(),
            token: self.desk.sessions.session_token(&self.visitor),
            here,
        }
    }

    pub(super) fn param(&self, name: &str) -> &str {
        value(&self.params, name).unwrap_or_default()
    }

    pub(super) fn asked(&self, name: &str) -> Option<&str> {
        value(&self.query, name).filter(|value| !value.is_empty())
    }

    pub(super) fn given(&self, name: &str) -> &str {
        value(&self.form, name).unwrap_or_default()
    }

    pub(super) fn system(&self) -> Result<&System, Ended> {
        self.desk
            .system(self.param("system"))
            .ok_or(Ended::NotFound)
    }

    pub(super) fn id(&self) -> Result<i64, Ended> {
        self.param("id").parse().map_err(|_| Ended::NotFound)
    }

    /// The systems that are asked for: one, or all.
    pub(super) fn systems(&self) -> Result<Vec<&System>, Ended> {
        match self.asked("system") {
            Some(name) => Ok(vec![self.desk.system(name).ok_or(Ended::NotFound)?]),
            None => Ok(self.desk.systems.iter().collect()),
        }
    }

    /// The filter that the query holds.
    pub(super) fn filter(&self) -> Result<FailureFilter, Ended> {
        let mut filter = FailureFilter::default();
        for (name, value) in &self.query {
            let value = value.trim();
            if value.is_empty() {
                continue;
            }
            let is_set = match name.as_str() {
                "state" if value == "dead" => {
                    filter.state = Some(FailureState::RetriesFrom(self.desk.dead_at));
                    true
                }
                "state" if value == "parked" => {
                    filter.state = Some(FailureState::RetriesBelow(self.desk.dead_at));
                    true
                }
                // As a browser writes a time, in UTC.
                "since" | "until" => {
                    let ends = [
                        value.to_owned(),
                        format!("{value}Z"),
                        format!("{value}:00Z"),
                    ];
                    ends.iter().any(|time| filter.set(name, time))
                }
                // Of the page, and of the form.
                "system" | "before" | "limit" | "refresh" | "reasons" | "why" => true,
                _ => filter.set(name, value),
            };
            if !is_set {
                let said = format!("{name}={value:?} is nothing that can be looked for");
                return Err(Ended::Refused(StatusCode::BAD_REQUEST, said));
            }
        }
        Ok(filter)
    }

    pub(super) fn before(&self) -> Result<Option<i64>, Ended> {
        let before = self.asked("before").map(str::parse).transpose();
        before.map_err(|_| Ended::NotFound)
    }

    async fn overview(&self) -> Answer {
        let now = self.now();
        let seen = self.desk.systems.iter().map(|system| async move {
            let seen = self.desk.see(system, true).await;
            (system, seen)
        });
        let mut systems = Vec::new();
        for (system, seen) in futures_util::future::join_all(seen).await {
            systems.push(match seen {
                Err(error) => SystemRow {
                    name: system.name().to_owned(),
                    away: Some(visible(&report(&error))),
                    is_adopted: false,
                    feeds: Vec::new(),
                    publishing: None,
                },
                Ok(seen) => SystemRow {
                    name: system.name().to_owned(),
                    away: None,
                    is_adopted: seen.is_adopted,
                    feeds: seen
                        .feeds
                        .iter()
                        .map(|feed| FeedRow::of(feed, now))
                        .collect(),
                    publishing: Some(seen.publishing)
                        .filter(|publishing| {
                            publishing.is_there && publishing.newest_id > 0
                                || publishing.queued > 0
                                || publishing.set_aside > 0
                        })
                        .map(|publishing| PublishingRow {
                            newest: publishing.newest_id.to_string(),
                            newest_at: publishing.newest_at.map(|at| When::of(at, now)),
                            queued: count(publishing.queued),
                            set_aside: publishing.set_aside,
                            rows: publishing
                                .last_set_aside
                                .into_iter()
                                .map(|row| {
                                    let (title, error) = (titled(&row.title), visible(&row.error));
                                    (When::of(row.at, now), title, visible(&row.uuid), error)
                                })
                                .collect(),
                        }),
                },
            });
        }
        let page = OverviewPage {
            frame: self.frame("overview"),
            systems,
            now: When::of(now, now),
            stands_still: self.asked("refresh") == Some("no"),
        };
        Ok(html(StatusCode::OK, &page))
    }

    pub(super) fn here(&self, path: &str) -> String {
        let name: String = encoded(self.param("system"));
        format!("{}/systems/{name}{path}", self.desk.base)
    }

    pub(super) fn must_operate(&self) -> Result<(), Ended> {
        let user = &self.visitor.user;
        match user.role >= Role::Operate {
            true => Ok(()),
            false => Err(Unasked::NotAllowed(user.name.clone()).into()),
        }
    }

    pub(super) fn form_page(
        &self,
        here: &'static str,
        does: &'static str,
        is_grave: bool,
    ) -> FormPage {
        FormPage {
            frame: self.frame(here),
            token: self.desk.sessions.form_token(&self.visitor),
            heading: "",
            facts: Vec::new(),
            explains: String::new(),
            path: String::new(),
            hidden: Vec::new(),
            text: None,
            position: None,
            is_by_hand: false,
            addresses: false,
            formats: false,
            asks_why: true,
            does,
            is_grave,
            back: String::new(),
        }
    }

    pub(super) fn feed(given: &str) -> Result<FeedUri, Ended> {
        FeedUri::new(given)
            .map_err(|error| Ended::Refused(StatusCode::BAD_REQUEST, error.to_string()))
    }

    /// Asks, and leads to where it can be watched.
    pub(super) async fn ask(&self, wish: Wish) -> Answer {
        let system = self.system()?;
        let id = self.desk.ask(system, &self.visitor.user, wish).await?;
        Ok(to(&self.here(&format!("/actions/{id}"))))
    }
}

fn busy() -> Ended {
    let said = "too many sign in at once: try again in a moment".to_owned();
    Ended::Refused(StatusCode::TOO_MANY_REQUESTS, said)
}
