use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;
use url::Url;

use super::cookies::Jar;

/// After this long, also a session that nobody got in with may be over for its age.
const YOUNG: Duration = Duration::from_secs(60);

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
    has_served: AtomicBool,
    in_flight: AtomicU32,
}

/// Headers that are not shown.
struct Credentials(HeaderMap);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// A request that is under way.
pub(super) struct InFlight<'a>(&'a Session);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Session {
    pub(super) fn new(number: u64) -> Self {
        Self {
            number,
            credentials: Credentials(HeaderMap::new()),
            jar: Jar::default(),
            begun: Instant::now(),
            has_served: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
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
        InFlight(self)
    }

    /// Somebody was let in.
    pub(super) fn serves(&self) {
        self.has_served.store(true, Ordering::Relaxed);
    }

    /// Whether it may have ended since it began, so that another one may help who was refused; not where it
    /// is new and has let nobody in: then what was asked for is not for this user. Others that are under way
    /// may have been let in.
    pub(super) fn may_be_over(&self) -> bool {
        self.has_served.load(Ordering::Relaxed)
            || self.in_flight.load(Ordering::Relaxed) > 0
            || self.begun.elapsed() > YOUNG
    }
}
