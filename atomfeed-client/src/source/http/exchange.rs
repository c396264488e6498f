use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use reqwest::Body;
use url::{Origin, Url};

use super::builder::Settings;
use super::realm::Realm;
use super::session::Session;
use super::wire::Wire;
use crate::FetchError;
use crate::source::headers::{self, is_redirect};
use crate::source::links::{self, Origins};
use crate::source::login::AnswerHead;

/// How often one request is sent again under a newer session: each may have ended by what others asked.
const MOST_SESSIONS: u32 = 10;

/// How often it logs in itself for that: once, and once more where others have used that session up before it
/// came to its turn. The other sessions are those that others began.
const MOST_OWN_LOGINS: u32 = 2;

/// The same where it is told that it is forbidden: as a rule it is, in every session.
const MOST_OWN_LOGINS_IF_FORBIDDEN: u32 = 1;

/// Gets what is at an address: at an origin that may be asked, logged in there, and, where that is
/// allowed, elsewhere if it is said to be there. Feeds and what their events name are got by the same.
#[derive(Debug)]
pub(crate) struct Exchange {
    wire: Arc<Wire>,
    realms: HashMap<Origin, Arc<Realm>>,
}

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Ask {
    /// The server's own URL of it.
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// Whether one redirect is followed, also where that is not so for all.
    pub(crate) follow_redirect: bool,
    /// Whether it is an answer that nothing has changed.
    pub(crate) may_be_unchanged: bool,
    /// Whether it is what an event names, and no page.
    pub(crate) is_resource: bool,
}

/// What was got, with status 200, or 304 where that is an answer.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Where it was in the end, if it was elsewhere.
    pub(crate) url: Option<Url>,
}

impl Exchange {
    pub(super) fn new(settings: Settings) -> Result<Self, FetchError> {
        let logins = &settings.logins;
        let realm = |origin: &Origin| {
            let login = logins.iter().rev().find(|(at, _)| at == origin);
            Realm::new(login.map(|(_, authenticator)| Arc::clone(authenticator)))
        };
        let origins = settings.origins.all().iter();
        let realms = origins
            .map(|origin| (origin.clone(), Arc::new(realm(origin))))
            .collect();
        let wire = Arc::new(Wire::new(settings)?);
        Ok(Self { wire, realms })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.wire.settings
    }

    pub(crate) fn origins(&self) -> &Origins {
        &self.wire.settings.origins
    }

    /// # Errors
    ///
    /// When it cannot be had within the limits, or must not be asked for.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped. A login goes on, for who comes next.
    pub(crate) async fn get(&self, ask: &Ask) -> Result<Got, FetchError> {
        let limit = self.settings().total_timeout;
        let got = tokio::time::timeout(limit, self.follow(ask)).await;
        got.unwrap_or(Err(FetchError::Timeout { limit }))
    }

    async fn follow(&self, ask: &Ask) -> Result<Got, FetchError> {
        let mut response = self.admitted(ask, &ask.url).await?;
        let mut elsewhere = None;
        if is_redirect(response.status()) {
            let location = headers::location(response.headers());
            let target = links::redirected(&ask.url, &location)
                .filter(|_| ask.follow_redirect || self.settings().redirects)
                .ok_or_else(|| FetchError::redirect(&location))?;
            response = self.admitted(ask, &target).await?;
            elsewhere = Some(target);
            if is_redirect(response.status()) {
                let location = headers::location(response.headers());
                return Err(FetchError::redirect(&location));
            }
        }
        let (status, head) = (response.status(), response.headers().clone());
        let body = match status {
            StatusCode::OK => self.wire.read(response, self.settings().max_bytes).await?,
            StatusCode::NOT_MODIFIED if ask.may_be_unchanged => Bytes::new(),
            _ => {
                let body = self.wire.beginning(response).await;
                return Err(FetchError::status(status.as_u16(), &head, &body));
            }
        };
        Ok(Got {
            status,
            headers: head,
            body,
            url: elsewhere,
        })
    }

    /// The head of the answer, by a session that the server takes.
    async fn admitted(&self, ask: &Ask, url: &Url) -> Result<Response<Body>, FetchError> {
        let reached = self.origins().reached(url)?;
        let Some(realm) = self.realms.get(&reached.origin()) else {
            // There is one for each origin that may be asked.
            return Err(FetchError::ForeignOrigin {
                url: reached.into(),
                feed_origin: self.origins().feed().origin().ascii_serialization(),
            });
        };
        let origin = links::origin_of(&reached);
        let mut session = realm.session(&self.wire, &origin).await?.session;
        let mut own_logins = 0;
        let mut sessions = 1;
        loop {
            let in_flight = session.request();
            let (asking, nothing) = (ask.headers.clone(), Bytes::new());
            let sent = self
                .wire
                .send(Method::GET, &reached, asking, nothing, &session);
            let response = sent.await?;
            let answer = AnswerHead::new(&reached, response.status(), response.headers());
            if !realm.is_refused(&answer) {
                in_flight.is_served();
                if ask.is_resource && response.status() == StatusCode::OK {
                    realm.has_let_in(&reached, &ask.headers);
                }
                return Ok(response);
            }
            drop(in_flight);
            let (most_own_logins, is_known) = match response.status() {
                StatusCode::FORBIDDEN => (MOST_OWN_LOGINS_IF_FORBIDDEN, false),
                _ => (MOST_OWN_LOGINS, session.refuses_nothing_else(&reached)),
            };
            let may_help = !is_known && realm.can_log_in_again() && session.may_be_over();
            if !may_help || sessions >= MOST_SESSIONS {
                return self
                    .refused(realm, &session, reached, response, is_known)
                    .await;
            }
            let next = if own_logins < most_own_logins {
                let granted = realm.log_in_after(Some(&session), &self.wire, &origin);
                Some(granted.await?)
            } else {
                realm.begun_after(&session).await
            };
            let Some(granted) = next else {
                return self
                    .refused(realm, &session, reached, response, is_known)
                    .await;
            };
            own_logins += u32::from(granted.by_own_login);
            session = granted.session;
            sessions += 1;
        }
    }

    /// What a refusal means that no other session has mended: where it is of this alone, that.
    async fn refused(
        &self,
        realm: &Realm,
        session: &Session,
        reached: Url,
        response: Response<Body>,
        is_known: bool,
    ) -> Result<Response<Body>, FetchError> {
        let (status, headers) = (response.status(), response.headers().clone());
        let is_login = status == StatusCode::OK || is_redirect(status);
        let is_alone = match self.lets_others_in(realm, session, &reached).await {
            Some(lets_in) => lets_in,
            // What is forbidden mostly is so for this user, and for nothing else.
            None => is_known || !is_login && status != StatusCode::UNAUTHORIZED,
        };
        let url = reached.to_string();
        let error = match is_login {
            true => FetchError::LoginPage { url: url.clone() },
            // It says by itself what it is.
            false if is_alone => return Ok(response),
            false => {
                let body = self.wire.beginning(response).await;
                FetchError::status(status.as_u16(), &headers, &body)
            }
        };
        Err(match is_alone {
            true => error,
            false => FetchError::NotLetIn {
                url,
                source: Box::new(error),
            },
        })
    }

    /// Whether a session still lets in for what the server was asked for before, and gave; `None` where it has
    /// given nothing, or cannot be asked.
    async fn lets_others_in(
        &self,
        realm: &Realm,
        session: &Session,
        refused: &Url,
    ) -> Option<bool> {
        let (url, headers) = realm.let_in_beside(refused)?;
        let sent = self
            .wire
            .send(Method::GET, &url, headers, Bytes::new(), session);
        let response = sent.await.ok()?;
        let answer = AnswerHead::new(&url, response.status(), response.headers());
        Some(!realm.is_refused(&answer))
    }
}
