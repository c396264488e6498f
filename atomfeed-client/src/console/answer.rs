//! Requests, answered.

use std::sync::Arc;

use askama::Template;
use atomfeed_core::store::{
    ActionQuery, FailedEventQuery, FailedEventSelection, FailureFilter, FailureQuery, FailureState,
    StoreError, StoreErrorKind,
};
use atomfeed_core::{ActionKind, FeedUri, Reason};
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION,
    REFERRER_POLICY, SET_COOKIE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use chrono::{DateTime, Utc};
use url::form_urlencoded;

use super::act::{LARGEST_CONTENT, Unasked, Wish, seen, stands};
use super::desk::Desk;
use super::door::{Door, Stranger, Visitor, is_of_this_site};
use super::pages::{
    ActionPage, ActionRow, ActionsOf, ActionsPage, Asked, EventPage, EventRow, FailedPage,
    FailedSection, FeedRow, FormPage, Frame, GroupRow, MarkersOf, MarkersPage, OverviewPage,
    PublishingRow, SaidPage, SignInPage, SystemRow, titled,
};
use super::routes::{Ask, Route};
use super::shown::{Content, When, count, visible};
use super::system::System;
use super::users::Role;

const STYLE: &str = include_str!("console.css");
const SCRIPT: &str = include_str!("htmx.min.js");

/// How many events stand on a page.
const PAGE: u32 = 50;

/// How many are exported at most.
const MOST_EXPORTED: usize = 100_000;

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
            Unasked::Gone | Unasked::Changed => Self::Refused(StatusCode::CONFLICT, said),
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
    fn now(&self) -> DateTime<Utc> {
        self.desk.clock.now()
    }

    fn frame(&self, here: &'static str) -> Frame {
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

    fn given(&self, name: &str) -> &str {
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
    fn systems(&self) -> Result<Vec<&System>, Ended> {
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
                "feed" | "reason" | "state" | "title" | "tag" | "key" | "error" => {
                    filter.set(name, value)
                }
                _ => true,
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

    async fn failed(&self) -> Answer {
        let filter = self.filter()?;
        let before = self.before()?;
        let now = self.now();
        let (mut sections, mut feeds) = (Vec::new(), Vec::new());
        for system in self.systems()? {
            let found = self.find(system, &filter, before, now, &mut feeds).await;
            sections.push(found.unwrap_or_else(|error| FailedSection {
                system: system.name().to_owned(),
                away: Some(visible(&report(&error))),
                is_counting: false,
                total: "0".to_owned(),
                groups: Vec::new(),
                events: Vec::new(),
                query: String::new(),
                retry_of: Vec::new(),
                next: None,
            }));
        }
        let asked = |name| self.asked(name).unwrap_or_default().to_owned();
        let page = FailedPage {
            frame: self.frame("failed"),
            systems: self
                .desk
                .systems
                .iter()
                .map(|system| system.name().to_owned())
                .collect(),
            chosen: asked("system"),
            asked: Asked {
                feed: asked("feed"),
                reason: asked("reason"),
                state: asked("state"),
                title: asked("title"),
                tag: asked("tag"),
                key: asked("key"),
                error: asked("error"),
                since: asked("since"),
                until: asked("until"),
                feeds,
            },
            sections,
        };
        Ok(html(StatusCode::OK, &page))
    }

    async fn find(
        &self,
        system: &System,
        filter: &FailureFilter,
        before: Option<i64>,
        now: DateTime<Utc>,
        feeds: &mut Vec<String>,
    ) -> Result<FailedSection, StoreError> {
        let mut work = system.look().await?;
        let all = work.feed_failures(self.desk.dead_at).await?;
        feeds.extend(all.iter().map(|feed| feed.feed_uri.as_str().to_owned()));
        let query = FailureQuery::of(filter.clone()).before(before).limit(PAGE);
        let events = work.failures(&query).await?;
        let is_full = events.len() as u32 == PAGE;
        // To look for texts in all that is parked takes long, and is done once.
        let (total, groups) = match filter.is_narrow() {
            false if before.is_none() && !is_full => (count(events.len() as u64), Vec::new()),
            false => (format!("more than {}", events.len()), Vec::new()),
            true => {
                let total = match *filter == FailureFilter::default() {
                    true => all.iter().map(|feed| feed.parked).sum(),
                    false => work.failure_count(filter).await?,
                };
                let groups = match filter.reason {
                    None => work.failure_groups(filter, 20).await?,
                    Some(_) => Vec::new(),
                };
                (count(total), groups)
            }
        };
        let mut of_feeds = Vec::new();
        for event in &events {
            let feed = event.feed_uri.as_str();
            if !of_feeds.iter().any(|known| known == feed) {
                of_feeds.push(feed.to_owned());
            }
        }
        Ok(FailedSection {
            system: system.name().to_owned(),
            away: None,
            is_counting: system.is_counting(),
            total,
            groups: groups
                .iter()
                .map(|group| GroupRow::of(group, now))
                .collect(),
            next: events.last().filter(|_| is_full).map(|last| last.id),
            events: events
                .iter()
                .map(|parked| EventRow::of(parked, self.desk.dead_at, now))
                .collect(),
            query: filter.to_string(),
            retry_of: match filter.is_narrow() && filter.feed_uri.is_none() {
                true => Vec::new(),
                false => of_feeds,
            },
        })
    }

    async fn event(&self) -> Answer {
        let (system, id, now) = (self.system()?, self.id()?, self.now());
        let is_adopted = system.store().await?.is_adopted();
        let mut work = system.look().await?;
        let failed = work.parked_event(id).await?.ok_or(Ended::NotFound)?;
        let event = &failed.event;
        let feed = event.feed_uri();
        let place = failed.place.clone().unwrap_or_default();
        let log = work.last_retries(&failed, 100).await?;
        let (mut first, mut behind) = (None, Vec::new());
        if let Some(key) = &place.key {
            let of_key =
                FailedEventQuery::of(feed.clone()).select(FailedEventSelection::OfKey(key.clone()));
            let before = work.failed_events(&of_key.clone().limit(1)).await?;
            first = before
                .first()
                .map(|failed| failed.id)
                .filter(|first| *first < id);
            behind = work.failed_events(&of_key.after(id).limit(21)).await?;
        }
        let of_event = ActionQuery::newest(50).of_event(feed.clone(), id);
        let actions = work.actions(&of_event).await?;
        let is_foreign = self
            .desk
            .is_foreign(is_adopted, work.as_mut(), feed)
            .await?;
        drop(work);
        let last = log.first().unwrap_or(&failed.failure);
        let parked = atomfeed_core::store::ParkedEvent::of(&failed, last.at(), first.is_some());
        let original = actions
            .iter()
            .rev()
            .find(|action| action.asked.kind == ActionKind::Edit && action.progress.was.is_some());
        let original = match original {
            Some(edit) => system.look().await?.action(edit.id).await?,
            None => None,
        };
        let original = original.and_then(|action| action.progress.was);
        let dead_at = self.desk.dead_at;
        let page = EventPage {
            frame: self.frame("failed"),
            system: system.name().to_owned(),
            row: EventRow::of(&parked, dead_at, now),
            event_id: visible(event.id().as_str()),
            key: place.key.map(|key| (key.clone(), visible(&key))),
            parked: When::of(failed.failure.at(), now),
            due: place.due_at.map(|due| match due > now {
                true => When::of(due, now).ago,
                false => "due".to_owned(),
            }),
            is_foreign,
            error: visible(last.message()),
            content: Content::of(event.content(), feed.as_str()),
            original: original.map(|was| Content::of(&was, feed.as_str())),
            retries: log
                .iter()
                .map(|retry| (When::of(retry.at(), now), visible(retry.message())))
                .collect(),
            first,
            has_more_behind: behind.len() > 20,
            behind: behind
                .iter()
                .take(20)
                .map(|failed| {
                    let parked =
                        atomfeed_core::store::ParkedEvent::of(failed, failed.failure.at(), true);
                    EventRow::of(&parked, dead_at, now)
                })
                .collect(),
            actions: actions
                .iter()
                .map(|action| ActionRow::of(action, system.name(), now))
                .collect(),
        };
        Ok(html(StatusCode::OK, &page))
    }

    async fn content(&self) -> Answer {
        let (system, id) = (self.system()?, self.id()?);
        let failed = system
            .look()
            .await?
            .parked_event(id)
            .await?
            .ok_or(Ended::NotFound)?;
        let name = format!("attachment; filename=\"event-{id}.txt\"");
        let mut response = text(
            "text/plain; charset=utf-8",
            failed.event.content().to_owned(),
        );
        if let Ok(name) = HeaderValue::try_from(name) {
            response.headers_mut().insert(CONTENT_DISPOSITION, name);
        }
        Ok(response)
    }

    fn here(&self, path: &str) -> String {
        let name: String = encoded(self.param("system"));
        format!("{}/systems/{name}{path}", self.desk.base)
    }

    fn must_operate(&self) -> Result<(), Ended> {
        let user = &self.visitor.user;
        match user.role >= Role::Operate {
            true => Ok(()),
            false => Err(Unasked::NotAllowed(user.name.clone()).into()),
        }
    }

    async fn event_form(&self) -> Answer {
        self.must_operate()?;
        let (system, id) = (self.system()?, self.id()?);
        let (kind, act) = self.kind()?;
        let is_adopted = system.store().await?.is_adopted();
        let mut work = system.look().await?;
        let failed = work.parked_event(id).await?.ok_or(Ended::NotFound)?;
        let event = &failed.event;
        let is_foreign = self
            .desk
            .is_foreign(is_adopted, work.as_mut(), event.feed_uri())
            .await?;
        drop(work);
        let theirs = "Another program runs this feed: its retries are set to 0, and that program tries it again by \
                      itself.";
        let (heading, explains, does) = match kind {
            ActionKind::Retry if is_foreign => ("Retry an event", theirs, "Set its retries to 0"),
            ActionKind::Retry => (
                "Retry an event",
                "The consumer tries it again now, whether it is due or not. If it fails, it stays parked with one more retry.",
                "Retry it",
            ),
            ActionKind::Edit => (
                "Edit an event and retry it",
                "The content is replaced and the event is tried again. What it was stays beside it.",
                "Replace it and retry",
            ),
            ActionKind::ResetRetries => (
                "Reset the retries of an event",
                "It is tried again by itself, as if for the first time.",
                "Reset them",
            ),
            _ => (
                "Skip an event",
                "It is given up: it is parked no longer, and never applied. What waits behind it goes on. This cannot \
                 be undone.",
                "Skip it",
            ),
        };
        let page = FormPage {
            heading,
            facts: vec![
                ("System", system.name().to_owned()),
                ("Event", format!("{} {id}", titled(event.title()))),
                ("Feed", visible(event.feed_uri().as_str())),
                ("Error", short_line(failed.failure.message())),
            ],
            explains: explains.to_owned(),
            path: self.here(&format!("/failed/{id}/{act}")),
            hidden: vec![
                ("feed", event.feed_uri().as_str().to_owned()),
                ("seen", seen(&failed)),
            ],
            text: (kind == ActionKind::Edit).then(|| event.content().to_owned()),
            back: self.here(&format!("/failed/{id}")),
            ..self.form_page(does, kind == ActionKind::Skip)
        };
        Ok(html(StatusCode::OK, &page))
    }

    fn form_page(&self, does: &'static str, is_grave: bool) -> FormPage {
        FormPage {
            frame: self.frame("failed"),
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
            asks_why: true,
            does,
            is_grave,
            back: String::new(),
        }
    }

    /// What is to be done with one event.
    fn kind(&self) -> Result<(ActionKind, &str), Ended> {
        let act = self.param("act");
        let kind = match act {
            "retry" => ActionKind::Retry,
            "edit" => ActionKind::Edit,
            "reset" => ActionKind::ResetRetries,
            "skip" => ActionKind::Skip,
            _ => return Err(Ended::NotFound),
        };
        Ok((kind, act))
    }

    fn feed(given: &str) -> Result<FeedUri, Ended> {
        FeedUri::new(given)
            .map_err(|error| Ended::Refused(StatusCode::BAD_REQUEST, error.to_string()))
    }

    /// Asks, and leads to where it can be watched.
    async fn ask(&self, wish: Wish) -> Answer {
        let system = self.system()?;
        let id = self.desk.ask(system, &self.visitor.user, wish).await?;
        Ok(to(&self.here(&format!("/actions/{id}"))))
    }

    async fn event_act(&self) -> Answer {
        let (kind, _) = self.kind()?;
        let id = self.id()?;
        let detail = match kind {
            ActionKind::Edit => self.edited(id).await?,
            _ => String::new(),
        };
        self.ask(Wish {
            kind,
            feed_uri: Self::feed(self.given("feed"))?,
            failed_event_id: Some(id),
            detail,
            why: self.given("why").to_owned(),
            seen: Some(self.given("seen").to_owned()),
        })
        .await
    }

    /// What was typed, with the line ends that the content has: a form has those of Windows alone, and HL7
    /// stands on others.
    async fn edited(&self, id: i64) -> Result<String, Ended> {
        let typed = self
            .given("detail")
            .replace("\r\n", "\n")
            .replace('\r', "\n");
        let failed = self.system()?.look().await?.parked_event(id).await?;
        let Some(failed) = failed else {
            return Err(Unasked::Gone.into());
        };
        let content = failed.event.content();
        let both = content.matches("\r\n").count();
        let returns = content.matches('\r').count() - both;
        let feeds = content.matches('\n').count() - both;
        match (both, returns, feeds) {
            (0, 0, _) => Ok(typed),
            (_, 0, 0) => Ok(typed.replace('\n', "\r\n")),
            (0, _, 0) => Ok(typed.replace('\n', "\r")),
            _ => {
                let said = "the content has line ends of several kinds, which a form cannot keep apart: edit it by \
                            the JSON interface";
                Err(Ended::Refused(StatusCode::BAD_REQUEST, said.to_owned()))
            }
        }
    }

    async fn many_form(&self) -> Answer {
        self.must_operate()?;
        let (system, filter) = (self.system()?, self.filter()?);
        let Some(feed) = filter.feed_uri.clone() else {
            let said = "choose a feed first: each has a consumer of its own".to_owned();
            return Err(Ended::Refused(StatusCode::BAD_REQUEST, said));
        };
        let is_adopted = system.store().await?.is_adopted();
        let mut work = system.look().await?;
        let total = work.failure_count(&filter).await?;
        let reason = match &filter.reason {
            Some(_) => work
                .failure_groups(&filter, 1)
                .await?
                .pop()
                .map(|group| group.text),
            None => None,
        };
        let is_foreign = self
            .desk
            .is_foreign(is_adopted, work.as_mut(), &feed)
            .await?;
        drop(work);
        let mut facts = vec![
            ("System", system.name().to_owned()),
            ("Feed", visible(feed.as_str())),
            ("Events", count(total)),
        ];
        facts.extend(reason.map(|reason| ("Reason", visible(&reason))));
        let others = filter.pairs().into_iter();
        facts.extend(
            others
                .filter(|(name, _)| !["feed", "reason"].contains(name))
                .map(|(name, value)| (name, visible(&value))),
        );
        let explains = match is_foreign {
            true => {
                "Another program runs this feed: their retries are set to 0, and that program tries them again by itself."
            }
            false => {
                "The consumer tries one of them, then 5, then 25, then 125 at a time, and no more than 20 a second on an \
                      average. It stops when a fifth of all has failed again, or five in a row, or when what they need is away."
            }
        };
        let page = FormPage {
            heading: "Retry many events",
            facts,
            explains: explains.to_owned(),
            path: self.here("/retry"),
            hidden: vec![
                ("feed", feed.as_str().to_owned()),
                ("filter", filter.to_string()),
            ],
            back: format!(
                "{}/failed?system={}&{filter}",
                self.desk.base,
                encoded(system.name())
            ),
            ..self.form_page("Retry them", false)
        };
        Ok(html(StatusCode::OK, &page))
    }

    async fn many_act(&self) -> Answer {
        self.ask(Wish {
            kind: ActionKind::RetryMany,
            feed_uri: Self::feed(self.given("feed"))?,
            failed_event_id: None,
            detail: self.given("filter").to_owned(),
            why: self.given("why").to_owned(),
            seen: None,
        })
        .await
    }

    async fn export(&self) -> Answer {
        let (system, filter) = (self.system()?, self.filter()?);
        if !["json", "csv"].contains(&self.param("format")) {
            return Err(Ended::NotFound);
        }
        let mut work = system.look().await?;
        let mut query = FailureQuery::of(filter).limit(1_000);
        let mut rows = Vec::new();
        loop {
            let page = work.failures(&query).await?;
            let Some(last) = page.last() else { break };
            query = query.before(Some(last.id));
            rows.extend(page);
            if rows.len() >= MOST_EXPORTED {
                break;
            }
        }
        drop(work);
        let (kind, body) = match self.param("format") {
            "json" => ("application/json", super::api::exported_json(&rows)),
            "csv" => ("text/csv; charset=utf-8", super::api::exported_csv(&rows)),
            _ => return Err(Ended::NotFound),
        };
        let mut response = text(kind, body);
        let name = format!(
            "attachment; filename=\"failed-events.{}\"",
            self.param("format")
        );
        if let Ok(name) = HeaderValue::try_from(name) {
            response.headers_mut().insert(CONTENT_DISPOSITION, name);
        }
        Ok(response)
    }

    async fn markers(&self) -> Answer {
        let mut systems = Vec::new();
        for system in self.systems()? {
            let markers = async { system.look().await?.markers().await };
            let (away, markers) = match markers.await {
                Ok(markers) => (None, markers),
                Err(error) => (Some(visible(&report(&error))), Vec::new()),
            };
            let rows = markers.iter().map(|marker| {
                let feed = marker.feed_uri().as_str();
                let page = marker.page_uri().unwrap_or_default();
                let entry = marker
                    .last_read_entry_id()
                    .map(|entry| visible(entry.as_str()));
                (
                    feed.to_owned(),
                    visible(feed),
                    visible(page),
                    entry.unwrap_or_default(),
                )
            });
            systems.push(MarkersOf {
                name: system.name().to_owned(),
                away,
                rows: rows.collect(),
            });
        }
        let frame = self.frame("markers");
        Ok(html(StatusCode::OK, &MarkersPage { frame, systems }))
    }

    /// First where to, which shows a preview; with that, whether it is to be done.
    async fn marker_form(&self) -> Answer {
        self.must_operate()?;
        let system = self.system()?;
        let feed = Self::feed(self.asked("feed").unwrap_or_default())?;
        let is_adopted = system.store().await?.is_adopted();
        let mut work = system.look().await?;
        let marker = work.marker(&feed).await?;
        let is_foreign = self
            .desk
            .is_foreign(is_adopted, work.as_mut(), &feed)
            .await?;
        drop(work);
        let stood = marker
            .as_ref()
            .map_or_else(|| "nowhere yet".to_owned(), stands);
        let facts = vec![
            ("System", system.name().to_owned()),
            ("Feed", visible(feed.as_str())),
            ("The marker stands", visible(&stood)),
        ];
        let hidden = vec![("feed", feed.as_str().to_owned())];
        let back = format!("{}/markers", self.desk.base);
        let path = self.here("/marker");
        let page = match self.asked("position") {
            None => FormPage {
                heading: "Move a marker",
                facts,
                explains: "First you see what would be skipped, or read and applied again; nothing is moved yet.".to_owned(),
                path,
                hidden,
                position: Some("latest".to_owned()),
                is_by_hand: is_foreign,
                asks_why: false,
                back,
                ..self.form_page("Show what would happen", false)
            },
            Some(position) => FormPage {
                heading: "Move a marker",
                facts: [facts, vec![("It is to stand at", visible(position))]].concat(),
                explains: "What lies between is skipped, and never applied, or read and applied again.".to_owned(),
                path,
                hidden: [hidden, vec![("position", position.to_owned())]].concat(),
                back,
                ..self.form_page("Move the marker", true)
            },
        };
        let frame = Frame {
            here: "markers",
            ..page.frame
        };
        Ok(html(StatusCode::OK, &FormPage { frame, ..page }))
    }

    async fn marker_act(&self) -> Answer {
        let feed_uri = Self::feed(self.given("feed"))?;
        let position = self.given("position");
        let (kind, detail, why) = match position.is_empty() {
            true => {
                let by_hand = format!("{} {}", self.given("page"), self.given("entry"));
                let detail = match self.given("detail") {
                    "" => by_hand.trim().to_owned(),
                    detail => detail.to_owned(),
                };
                (
                    ActionKind::PreviewMarker,
                    detail,
                    "to see where it would stand".to_owned(),
                )
            }
            false => {
                let why = self.given("why").to_owned();
                (ActionKind::MoveMarker, position.to_owned(), why)
            }
        };
        self.ask(Wish {
            kind,
            feed_uri,
            failed_event_id: None,
            detail,
            why,
            seen: None,
        })
        .await
    }

    async fn rebase_form(&self) -> Answer {
        self.must_operate()?;
        let system = self.system()?;
        let facts = vec![("System", system.name().to_owned())];
        let back = format!("{}/markers", self.desk.base);
        let path = self.here("/rebase");
        let explains = "Markers hold whole addresses. When a host has got another name, put that in the place of the old \
                        one, wherever it stands.";
        let page = match (self.asked("from"), self.asked("to")) {
            (Some(from), Some(new)) => {
                let detail = format!("{from}={new}");
                let would = self.desk.preview_rebase(system, &detail).await?;
                FormPage {
                    heading: "Give a host another address",
                    facts: [
                        facts,
                        vec![
                            ("From", visible(from)),
                            ("To", visible(new)),
                            ("It would change", would),
                        ],
                    ]
                    .concat(),
                    explains: explains.to_owned(),
                    path,
                    hidden: vec![("detail", detail), ("to", new.to_owned())],
                    back,
                    ..self.form_page("Replace it", true)
                }
            }
            _ => FormPage {
                heading: "Give a host another address",
                facts,
                explains: explains.to_owned(),
                path,
                addresses: true,
                asks_why: false,
                back,
                ..self.form_page("Show what would change", false)
            },
        };
        let frame = Frame {
            here: "markers",
            ..page.frame
        };
        Ok(html(StatusCode::OK, &FormPage { frame, ..page }))
    }

    async fn rebase_act(&self) -> Answer {
        let (from, new) = (self.given("from"), self.given("to"));
        if !from.is_empty() {
            let query = form_urlencoded::Serializer::new(String::new())
                .extend_pairs([("from", from), ("to", new)])
                .finish();
            return Ok(to(&self.here(&format!("/rebase?{query}"))));
        }
        self.ask(Wish {
            kind: ActionKind::Rebase,
            feed_uri: Self::feed(new)?,
            failed_event_id: None,
            detail: self.given("detail").to_owned(),
            why: self.given("why").to_owned(),
            seen: None,
        })
        .await
    }

    async fn actions(&self) -> Answer {
        let (before, now) = (self.before()?, self.now());
        let mut sections = Vec::new();
        for system in self.systems()? {
            let query = ActionQuery::newest(PAGE).before(before);
            let actions = async { system.look().await?.actions(&query).await };
            let (away, actions) = match actions.await {
                Ok(actions) => (None, actions),
                Err(error) => (Some(visible(&report(&error))), Vec::new()),
            };
            let is_full = actions.len() as u32 == PAGE;
            let next = actions.last().filter(|_| is_full).map(|last| last.id);
            let rows = actions
                .iter()
                .map(|action| ActionRow::of(action, system.name(), now));
            sections.push(ActionsOf {
                system: system.name().to_owned(),
                away,
                rows: rows.collect(),
                next,
            });
        }
        let frame = self.frame("actions");
        Ok(html(StatusCode::OK, &ActionsPage { frame, sections }))
    }

    async fn action(&self) -> Answer {
        let (system, id) = (self.system()?, self.id()?);
        let action = system
            .look()
            .await?
            .action(id)
            .await?
            .ok_or(Ended::NotFound)?;
        let row = ActionRow::of(&action, system.name(), self.now());
        let frame = self.frame("actions");
        Ok(html(StatusCode::OK, &ActionPage { frame, row }))
    }

    async fn call_off(&self) -> Answer {
        let (system, id) = (self.system()?, self.id()?);
        self.desk.call_off(system, &self.visitor.user, id).await?;
        Ok(to(&self.here(&format!("/actions/{id}"))))
    }
}

fn busy() -> Ended {
    let said = "too many sign in at once: try again in a moment".to_owned();
    Ended::Refused(StatusCode::TOO_MANY_REQUESTS, said)
}

/// All there is to be read of an error.
pub(super) fn report(error: &StoreError) -> String {
    let mut report = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        report.push_str(": ");
        report.push_str(&error.to_string());
        cause = error.source();
    }
    report
}

fn short_line(message: &str) -> String {
    visible(&Reason::line(message).chars().take(400).collect::<String>())
}

fn pairs(text: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(text).into_owned().collect()
}

fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut pairs = pairs.iter();
    let found = pairs.find(|(known, _)| known == name)?;
    Some(&found.1)
}

/// A part of a path.
fn encoded(name: &str) -> String {
    let encoded: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    encoded.replace('+', "%20")
}

fn response(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn text(kind: &'static str, body: String) -> Response<Body> {
    response(StatusCode::OK, kind, Body::from(body))
}

/// What is the same until the program is another one.
fn kept(kind: &'static str, body: &'static str) -> Response<Body> {
    let mut response = response(StatusCode::OK, kind, Body::from(body));
    let hour = HeaderValue::from_static("private, max-age=3600");
    response.headers_mut().insert(CACHE_CONTROL, hour);
    response
}

pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    response(status, "application/json", Body::from(value.to_string()))
}

fn html(status: StatusCode, page: &impl Template) -> Response<Body> {
    match page.render() {
        Ok(html) => response(status, "text/html; charset=utf-8", Body::from(html)),
        Err(error) => {
            tracing::error!(%error, "a page of the console cannot be written");
            let said = Body::from("this page cannot be written; the log says why\n");
            response(
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain; charset=utf-8",
                said,
            )
        }
    }
}

/// Leads on (303).
fn to(path: &str) -> Response<Body> {
    let mut response = response(
        StatusCode::SEE_OTHER,
        "text/plain; charset=utf-8",
        Body::empty(),
    );
    match HeaderValue::try_from(path) {
        Ok(path) => drop(response.headers_mut().insert(LOCATION, path)),
        Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}
