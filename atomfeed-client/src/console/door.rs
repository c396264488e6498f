//! Who is let in: by a session, by a header, or by the host.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use super::users::{ConsoleUser, ConsoleUsers};

/// How long a session lasts that nobody uses.
const IDLE: Duration = Duration::from_secs(8 * 60 * 60);

/// How many sessions there are at most: the one that was not used for longest makes room.
const MOST_SESSIONS: usize = 1_000;

/// How many forms of one session may be open.
const MOST_FORMS: usize = 200;

/// How long who gave a wrong password waits for the answer.
const SLOW: Duration = Duration::from_millis(500);

/// How long a name or a password may be, in bytes.
const LONGEST: usize = 500;

/// How long a session lasts at all.
const WHOLE: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) const COOKIE_NAME: &str = "atomfeed_console";

/// How the host says who a request is from.
pub(super) type HostKnows = dyn Fn(&Parts) -> Option<ConsoleUser> + Send + Sync;

/// How one gets in.
pub(super) enum Door {
    Users(Arc<dyn ConsoleUsers>),
    Host(Arc<HostKnows>),
}

/// Who is in, and what they have been given.
pub(super) struct Sessions {
    pub(super) door: Door,
    secure: bool,
    known: Mutex<HashMap<String, Session>>,
    /// Passwords are checked a few at a time: that takes memory and time, as it must.
    checking: Semaphore,
    /// And so many may wait for that.
    queue: Semaphore,
}

struct Session {
    user: ConsoleUser,
    begun: Instant,
    used: Instant,
    /// What ends it, or calls something off.
    token: String,
    forms: VecDeque<String>,
}

/// Somebody who is in.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    pub(super) user: ConsoleUser,
    /// What their forms are kept under; none for who came by a header.
    session: Option<String>,
}

impl Visitor {
    /// Whether they signed in here.
    pub(super) fn is_signed_in(&self) -> bool {
        let session = self.session.as_ref();
        session.is_some_and(|session| !session.starts_with(OF_HOST))
    }
}

/// What the sessions begin with that the host has.
const OF_HOST: &str = "host ";

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stranger {
    /// They have said nothing.
    Unknown,
    /// They gave a wrong name or password.
    Wrong,
    /// So many passwords are being checked that this one is not.
    Busy,
}

impl Sessions {
    pub(super) fn new(door: Door, secure: bool) -> Self {
        Self {
            door,
            secure,
            known: Mutex::default(),
            checking: Semaphore::new(2),
            queue: Semaphore::new(16),
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who a request is from.
    pub(super) async fn visitor(&self, parts: &Parts) -> Result<Visitor, Stranger> {
        let users = match &self.door {
            Door::Host(knows) => {
                let user = knows(parts).ok_or(Stranger::Unknown)?;
                // Forms are kept by name: the host has the sessions.
                let session = format!("{OF_HOST}{}", user.name);
                let mut known = self.known();
                if known.len() >= MOST_SESSIONS {
                    known.retain(|_, session| session.is_alive());
                }
                let of_name = known.entry(session.clone());
                of_name.or_insert_with(|| Session::of(user.clone())).used = Instant::now();
                drop(known);
                return Ok(Visitor {
                    user,
                    session: Some(session),
                });
            }
            Door::Users(users) => users,
        };
        if let Some(header) = parts.headers.get(AUTHORIZATION) {
            let (name, password) = basic(header).ok_or(Stranger::Wrong)?;
            let user = self.check(users.as_ref(), &name, &password).await?;
            return Ok(Visitor {
                user,
                session: None,
            });
        }
        let id = cookie(&parts.headers).ok_or(Stranger::Unknown)?;
        let mut known = self.known();
        let session = known.get_mut(&id).filter(|session| session.is_alive());
        let session = session.ok_or(Stranger::Unknown)?;
        session.used = Instant::now();
        Ok(Visitor {
            user: session.user.clone(),
            session: Some(id),
        })
    }

    async fn check(
        &self,
        users: &dyn ConsoleUsers,
        name: &str,
        password: &str,
    ) -> Result<ConsoleUser, Stranger> {
        if name.len() > LONGEST || password.len() > LONGEST {
            return Err(Stranger::Wrong);
        }
        // Whoever comes after so many is told at once, and keeps nobody waiting.
        let Ok(place) = self.queue.try_acquire() else {
            return Err(Stranger::Busy);
        };
        let turn = self.checking.acquire().await;
        let role = users.role(name, password).await;
        drop((turn, place));
        match role {
            Some(role) => Ok(ConsoleUser::new(name, role)),
            None => {
                tracing::warn!(user = name, "somebody was not let into the console");
                tokio::time::sleep(SLOW).await;
                Err(Stranger::Wrong)
            }
        }
    }

    /// The cookie of a new session, for who gives the right password.
    pub(super) async fn sign_in(
        &self,
        name: &str,
        password: &str,
        path: &str,
    ) -> Result<HeaderValue, Stranger> {
        let Door::Users(users) = &self.door else {
            return Err(Stranger::Unknown);
        };
        let user = self.check(users.as_ref(), name, password).await?;
        tracing::info!(user = name, "signed in to the console");
        let id = random();
        let mut known = self.known();
        known.retain(|_, session| session.is_alive());
        if known.len() >= MOST_SESSIONS {
            let oldest = known.iter().min_by_key(|(_, session)| session.used);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                known.remove(&oldest);
            }
        }
        known.insert(id.clone(), Session::of(user));
        drop(known);
        let cookie = HeaderValue::try_from(self.cookie_line(&id, path, ""));
        cookie.map_err(|_| Stranger::Unknown)
    }

    /// Ends a session; the cookie that makes a browser forget it.
    pub(super) fn sign_out(&self, visitor: &Visitor, path: &str) -> Option<HeaderValue> {
        if let Some(id) = &visitor.session {
            self.known().remove(id);
        }
        HeaderValue::try_from(self.cookie_line("", path, "; Max-Age=0")).ok()
    }

    fn cookie_line(&self, id: &str, path: &str, more: &str) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        format!("{COOKIE_NAME}={id}; Path={path}; HttpOnly; SameSite=Strict{secure}{more}")
    }

    /// What ends the session, or calls something off: the same for as long as it lasts, since pages that
    /// have it are loaded again and again.
    pub(super) fn session_token(&self, visitor: &Visitor) -> String {
        let session = visitor.session.as_ref();
        let token = session.and_then(|id| Some(self.known().get(id)?.token.clone()));
        token.unwrap_or_default()
    }

    /// What a form of this visitor carries, and gives back once.
    pub(super) fn form_token(&self, visitor: &Visitor) -> String {
        let token = random();
        if let Some(id) = &visitor.session
            && let Some(session) = self.known().get_mut(id)
        {
            if session.forms.len() >= MOST_FORMS {
                session.forms.pop_front();
            }
            session.forms.push_back(token.clone());
        }
        token
    }

    /// Whether a form may be taken: it is one of ours, given back for the first time where it is taken but
    /// once, or comes with what no other site can add.
    pub(super) fn takes_form(
        &self,
        visitor: &Visitor,
        parts: &Parts,
        token: Option<&str>,
        but_once: bool,
    ) -> bool {
        if !is_of_this_site(parts) {
            return false;
        }
        // No form can be sent with these to another site, unless that allows it.
        let kind = parts.headers.get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok());
        let is_json = kind.is_some_and(|kind| kind.starts_with("application/json"));
        if is_json || parts.headers.contains_key(AUTHORIZATION) {
            return true;
        }
        let Some(id) = &visitor.session else {
            return true;
        };
        let mut known = self.known();
        let Some((session, token)) = known.get_mut(id).zip(token) else {
            return false;
        };
        if !but_once && bool::from(session.token.as_bytes().ct_eq(token.as_bytes())) {
            return true;
        }
        let place = session.forms.iter().position(|form| form == token);
        place.is_some_and(|place| session.forms.remove(place).is_some())
    }
}

impl Session {
    fn is_alive(&self) -> bool {
        self.used.elapsed() < IDLE && self.begun.elapsed() < WHOLE
    }

    fn of(user: ConsoleUser) -> Self {
        Self {
            user,
            begun: Instant::now(),
            used: Instant::now(),
            token: random(),
            forms: VecDeque::new(),
        }
    }
}

fn random() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(COOKIE).iter();
    let mut pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let (_, id) = pairs.find(|(name, _)| *name == COOKIE_NAME)?;
    Some(id.to_owned())
}

fn basic(header: &HeaderValue) -> Option<(String, String)> {
    let (scheme, given) = header.to_str().ok()?.split_once(' ')?;
    let decoded = STANDARD.decode(given.trim()).ok()?;
    let pair = String::from_utf8(decoded).ok()?;
    let (name, password) = pair.split_once(':')?;
    let is_basic = scheme.eq_ignore_ascii_case("basic");
    is_basic.then(|| (name.to_owned(), password.to_owned()))
}

/// Browsers say from where a form comes (Fetch, §3.1); where they do, it is to be from here. A proxy in front
/// may serve it under https, and hands on by which name it was asked (`Host`).
pub(super) fn is_of_this_site(parts: &Parts) -> bool {
    let Some(origin) = parts.headers.get(ORIGIN) else {
        return true;
    };
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let origin = text(origin).and_then(|origin| Url::parse(&origin).ok());
    let host = parts.headers.get(HOST).and_then(text);
    // Over HTTP/2 it stands in the address.
    let host = host.or_else(|| Some(parts.uri.authority()?.to_string()));
    let Some((origin, host)) = origin.zip(host) else {
        return false;
    };
    let here = Url::parse(&format!("{}://{host}/", origin.scheme()));
    here.is_ok_and(|here| here.origin() == origin.origin())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn forms_come_from_here() {
        let from = |origin: Option<&str>, host: &str| {
            let mut request = Request::post("/x").header(HOST, host);
            if let Some(origin) = origin {
                request = request.header(ORIGIN, origin);
            }
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            let is_ours = is_of_this_site(&parts);
            parts.headers.remove(HOST);
            parts.uri = format!("http://{host}/x").parse().unwrap();
            assert_eq!(is_of_this_site(&parts), is_ours, "over HTTP/2");
            is_ours
        };
        for (origin, host, is_ours) in [
            (None, "emr", true),
            (Some("http://emr"), "emr", true),
            (Some("https://emr"), "emr:443", true),
            (Some("http://emr:9080"), "emr:9080", true),
            (Some("http://emr:9081"), "emr:9080", false),
            (Some("http://evil"), "emr", false),
            (Some("null"), "emr", false),
            (Some("http://emr.evil"), "emr", false),
        ] {
            assert_eq!(from(origin, host), is_ours, "{origin:?} {host}");
        }
    }
}
