//! Who is let in: by a session, by a header, or by the host.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
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
}

struct Session {
    user: ConsoleUser,
    used: Instant,
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
}

impl Sessions {
    pub(super) fn new(door: Door, secure: bool) -> Self {
        Self {
            door,
            secure,
            known: Mutex::default(),
            checking: Semaphore::new(2),
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
                self.known()
                    .entry(session.clone())
                    .or_insert_with(|| Session::of(user.clone()));
                return Ok(Visitor {
                    user,
                    session: Some(session),
                });
            }
            Door::Users(users) => users,
        };
        if let Some(header) = parts.headers.get(AUTHORIZATION) {
            let (name, password) = basic(header).ok_or(Stranger::Wrong)?;
            let user = self.check(users.as_ref(), &name, &password).await;
            let user = user.ok_or(Stranger::Wrong)?;
            return Ok(Visitor {
                user,
                session: None,
            });
        }
        let id = cookie(&parts.headers).ok_or(Stranger::Unknown)?;
        let mut known = self.known();
        let session = known
            .get_mut(&id)
            .filter(|session| session.used.elapsed() < IDLE);
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
    ) -> Option<ConsoleUser> {
        let turn = self.checking.acquire().await;
        let role = users.role(name, password).await;
        drop(turn);
        if role.is_none() {
            tracing::warn!(user = name, "somebody was not let into the console");
            tokio::time::sleep(SLOW).await;
        }
        role.map(|role| ConsoleUser::new(name, role))
    }

    /// The cookie of a new session, for who gives the right password.
    pub(super) async fn sign_in(
        &self,
        name: &str,
        password: &str,
        path: &str,
    ) -> Option<HeaderValue> {
        let Door::Users(users) = &self.door else {
            return None;
        };
        let user = self.check(users.as_ref(), name, password).await?;
        tracing::info!(user = name, "signed in to the console");
        let id = random();
        let mut known = self.known();
        known.retain(|_, session| session.used.elapsed() < IDLE);
        if known.len() >= MOST_SESSIONS {
            let oldest = known.iter().min_by_key(|(_, session)| session.used);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                known.remove(&oldest);
            }
        }
        known.insert(id.clone(), Session::of(user));
        drop(known);
        HeaderValue::try_from(self.cookie_line(&id, path, "")).ok()
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

    /// Whether a form may be taken: it is one of ours, given back for the first time, or comes with what no
    /// other site can add.
    pub(super) fn takes_form(
        &self,
        visitor: &Visitor,
        headers: &HeaderMap,
        token: Option<&str>,
    ) -> bool {
        if !is_of_this_site(headers) {
            return false;
        }
        let Some(id) = &visitor.session else {
            return true;
        };
        let mut known = self.known();
        let Some((session, token)) = known.get_mut(id).zip(token) else {
            return false;
        };
        let place = session.forms.iter().position(|form| form == token);
        place.is_some_and(|place| session.forms.remove(place).is_some())
    }
}

impl Session {
    fn of(user: ConsoleUser) -> Self {
        Self {
            user,
            used: Instant::now(),
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
/// may serve it under https.
pub(super) fn is_of_this_site(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else {
        return true;
    };
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let origin = text(origin).and_then(|origin| Url::parse(&origin).ok());
    let host = headers.get(HOST).and_then(text);
    let Some((origin, host)) = origin.zip(host) else {
        return false;
    };
    let here = Url::parse(&format!("{}://{host}/", origin.scheme()));
    here.is_ok_and(|here| here.origin() == origin.origin())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn forms_come_from_here() {
        let from = |origin: Option<&str>, host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(ORIGIN, origin.parse().unwrap());
            }
            is_of_this_site(&headers)
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
