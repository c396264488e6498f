use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;
use url::Url;

use super::cookies::Jar;

/// After this long, also a session that nobody got in with may be over for its age.
const YOUNG: Duration = Duration::from_secs(60);

/// How many refusals are remembered: more than are met at once.
const MOST_DOUBTS: usize = 64;

/// What requests are given to get in with: what the login gave, and the cookies since.
///
/// An answer's cookies are kept with the session that its request was sent under. Servers give a new,
/// empty session along with the refusal of an old one, and that must not replace the one of a login that
/// was made meanwhile.
#[derive(Debug)]
pub(crate) struct Session {
    number: u64,
    credentials: Credentials,
    jar: Jar,
    begun: Instant,
    /// How many requests were sent under it, which numbers them.
    sent: AtomicU64,
    /// The last of those that were let in; 0 for none.
    served: AtomicU64,
    in_flight: AtomicU32,
    doubts: Mutex<VecDeque<Doubt>>,
}

/// What was refused, of which it is open whose affair that is.
#[derive(Debug)]
struct Doubt {
    url: Url,
    /// The first request that was sent since.
    since: u64,
}

/// Headers that are not shown.
struct Credentials(HeaderMap);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// A request that is under way.
pub(super) struct InFlight<'a> {
    session: &'a Session,
    number: u64,
}

impl InFlight<'_> {
    /// It was let in.
    pub(super) fn is_served(&self) {
        self.session
            .served
            .fetch_max(self.number, Ordering::Relaxed);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.session.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Session {
    pub(super) fn new(number: u64) -> Self {
        Self {
            number,
            credentials: Credentials(HeaderMap::new()),
            jar: Jar::default(),
            begun: Instant::now(),
            sent: AtomicU64::new(0),
            served: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            doubts: Mutex::default(),
        }
    }

    /// How many logins there were until it.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn set_credentials(&mut self, mut credentials: HeaderMap) {
        for value in credentials.values_mut() {
            value.set_sensitive(true);
        }
        self.credentials = Credentials(credentials);
    }

    /// Gives a request what it gets in with.
    pub(super) fn sign(&self, url: &Url, headers: &mut HeaderMap) {
        for name in self.credentials.0.keys() {
            headers.remove(name);
        }
        for (name, value) in &self.credentials.0 {
            headers.append(name, value.clone());
        }
        let Some(cookies) = self.jar.header(url) else {
            return;
        };
        // Those that the owner fixed go along.
        let value = match headers.get(COOKIE) {
            Some(fixed) => {
                let both = [fixed.as_bytes(), b"; ", cookies.as_bytes()].concat();
                let both = HeaderValue::from_bytes(&both).map(|mut both| {
                    both.set_sensitive(true);
                    both
                });
                both.unwrap_or(cookies)
            }
            None => cookies,
        };
        headers.insert(COOKIE, value);
    }

    pub(super) fn keep_cookies(&self, url: &Url, headers: &HeaderMap) {
        self.jar.keep(url, headers);
    }

    pub(crate) fn has_cookies(&self) -> bool {
        !self.jar.is_empty()
    }

    /// Counts a request until its answer is there.
    pub(super) fn request(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let number = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
        InFlight {
            session: self,
            number,
        }
    }

    /// Whether a refusal is an affair of what was asked for alone: it was refused before, and others that
    /// were asked for after that were let in. Until that is seen, the server may let nobody in, and so it is
    /// remembered.
    pub(super) fn refuses_nothing_else(&self, url: &Url) -> bool {
        let mut doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        let since = self.sent.load(Ordering::Relaxed) + 1;
        if let Some(doubt) = doubts.iter_mut().find(|doubt| doubt.url == *url) {
            let is_alone = self.served.load(Ordering::Relaxed) >= doubt.since;
            if is_alone {
                // The next time, it may be for all.
                doubt.since = since;
            }
            return is_alone;
        }
        if doubts.len() == MOST_DOUBTS {
            doubts.pop_front();
        }
        let url = url.clone();
        doubts.push_back(Doubt { url, since });
        false
    }

    /// Whether it may have ended since it began, so that another one may help who was refused; not where it
    /// is new and has let nobody in: then what was asked for is not for this user. Others that are under way
    /// may have been let in.
    pub(super) fn may_be_over(&self) -> bool {
        self.served.load(Ordering::Relaxed) > 0
            || self.in_flight.load(Ordering::Relaxed) > 0
            || self.begun.elapsed() > YOUNG
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_for_all_until_others_are_let_in_since() {
        let session = Session::new(1);
        let url: Url = "http://emr/1".parse().unwrap();
        let before = session.request();
        for _ in 0..3 {
            assert!(!session.refuses_nothing_else(&url));
        }
        // What was asked for before says nothing of now.
        before.is_served();
        assert!(!session.refuses_nothing_else(&url));
        session.request().is_served();
        assert!(session.refuses_nothing_else(&url));
        // Nor does what was let in once say so for ever.
        assert!(!session.refuses_nothing_else(&url));
        session.request().is_served();
        assert!(!session.refuses_nothing_else(&"http://emr/2".parse().unwrap()));
        assert!(session.refuses_nothing_else(&url));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let session = Session::new(1);
        for number in 0..1_000 {
            let url = format!("http://emr/{number}").parse().unwrap();
            session.refuses_nothing_else(&url);
        }
        assert_eq!(session.doubts.lock().unwrap().len(), MOST_DOUBTS);
    }
}
