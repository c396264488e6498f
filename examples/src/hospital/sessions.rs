//! Sessions by a cookie, as the servlet containers of OpenMRS and OpenELIS keep them: whoever has signed in is
//! known by it from then on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use uuid::Uuid;

/// How the cookie begins; the id of the session follows.
const COOKIE_IS: &str = "JSESSIONID=";

/// How long a session lasts that nobody uses.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// How many there may be at once: one more ends the one that has been idle longest.
const MOST: usize = 1_000;

/// Who has signed in, by the id of the session. A restart ends all of them; clones share them.
#[derive(Clone)]
pub(super) struct Sessions<T> {
    path: &'static str,
    known: Arc<Mutex<HashMap<String, Session<T>>>>,
}

struct Session<T> {
    stands_for: T,
    used: Instant,
}

impl<T: Clone> Sessions<T> {
    /// Those of what is below a path: their cookies are sent there, and nowhere else.
    pub(super) fn below(path: &'static str) -> Self {
        Self {
            path,
            known: Arc::default(),
        }
    }

    /// Begins a session, for which another may have to end, and gives the value of `Set-Cookie`.
    pub(super) fn begin(&self, stands_for: T) -> String {
        self.begin_at(stands_for, Instant::now())
    }

    /// What the session of a request stands for. It is in use then.
    pub(super) fn find(&self, headers: &HeaderMap) -> Option<T> {
        self.find_at(headers, Instant::now())
    }

    /// Ends the session of a request, and gives the value of `Set-Cookie` by which that is forgotten.
    pub(super) fn end(&self, headers: &HeaderMap) -> String {
        let mut known = self.lock();
        for id in ids(headers) {
            known.remove(id);
        }
        format!("{COOKIE_IS}; Path={}; Max-Age=0", self.path)
    }

    fn begin_at(&self, stands_for: T, now: Instant) -> String {
        let mut known = self.lock();
        known.retain(|_, session| now.duration_since(session.used) < IDLE);
        if known.len() >= MOST {
            let oldest = known.iter().min_by_key(|(_, session)| session.used);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                known.remove(&oldest);
            }
        }
        let id = Uuid::new_v4().simple().to_string();
        let cookie = format!(
            "{COOKIE_IS}{id}; Path={}; HttpOnly; SameSite=Strict",
            self.path
        );
        let used = now;
        known.insert(id, Session { stands_for, used });
        cookie
    }

    fn find_at(&self, headers: &HeaderMap, now: Instant) -> Option<T> {
        let mut known = self.lock();
        for id in ids(headers) {
            if let Some(session) = known.get_mut(id)
                && now.duration_since(session.used) < IDLE
            {
                session.used = now;
                return Some(session.stands_for.clone());
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session<T>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ids of sessions that a request has cookies of.
fn ids(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(COOKIE).iter();
    let cookies = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    cookies.filter_map(|cookie| cookie.trim().strip_prefix(COOKIE_IS))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn sessions() -> Sessions<&'static str> {
        Sessions::below("/openmrs")
    }

    /// The headers of a request by who was given this `Set-Cookie`.
    fn headers(given: &str) -> HeaderMap {
        let cookie = given.split(';').next().unwrap();
        let line = format!("theme=dark; {cookie}").parse().unwrap();
        HeaderMap::from_iter([(COOKIE, line)])
    }

    #[test]
    fn a_session_ends_when_nobody_uses_it() {
        let sessions = sessions();
        let begun = Instant::now();
        let asha = headers(&sessions.begin_at("Asha", begun));
        let found = |headers: &HeaderMap, now| sessions.find_at(headers, now);
        assert_eq!(found(&asha, begun + IDLE / 2), Some("Asha"));
        assert_eq!(found(&asha, begun + IDLE), Some("Asha"));
        assert_eq!(found(&asha, begun + IDLE * 2), None);
        assert_eq!(found(&headers("JSESSIONID=made-up"), begun), None);
        assert_eq!(found(&HeaderMap::new(), begun), None);

        sessions.begin_at("Ravi", begun + IDLE * 2);
        assert_eq!(sessions.lock().len(), 1, "what has ended is still there");
    }

    #[test]
    fn a_session_can_be_ended() {
        let sessions = sessions();
        let [asha, ravi] = ["Asha", "Ravi"].map(|who| headers(&sessions.begin(who)));
        let forget = sessions.end(&asha);
        assert_eq!(forget, "JSESSIONID=; Path=/openmrs; Max-Age=0");
        assert_eq!(sessions.find(&asha), None);
        assert_eq!(sessions.find(&ravi), Some("Ravi"));
    }

    #[test]
    fn one_session_too_many_ends_the_oldest() {
        let sessions = sessions();
        let begun = Instant::now();
        let moment = Duration::from_millis(1);
        let first = headers(&sessions.begin_at("first", begun));
        let kept = headers(&sessions.begin_at("kept", begun + moment));
        for _ in 2..=MOST {
            sessions.begin_at("another", begun + moment * 2);
        }
        let now = begun + moment * 2;
        assert_eq!(sessions.find_at(&first, now), None);
        assert_eq!(sessions.find_at(&kept, now), Some("kept"));
        assert_eq!(sessions.lock().len(), MOST);
    }
}
