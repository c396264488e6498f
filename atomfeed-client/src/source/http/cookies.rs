use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cookie_store::{Cookie, CookieStore};
use http::HeaderMap;
use http::header::{HeaderValue, SET_COOKIE};
use url::Url;

/// How many cookies a server may set; and, in bytes, how large each may be (RFC 6265 §6.1) and all are
/// together: more than most servers take in a request.
const MOST: usize = 50;
const LARGEST: usize = 4 << 10;
const LARGEST_TOGETHER: usize = 8 << 10;

/// The cookies of one session at one origin. A jar is never asked for another: cookies know nothing of
/// ports, so that a jar for all would carry them from one server to the next on the same machine.
#[derive(Default)]
pub(super) struct Jar(Mutex<CookieStore>);

impl Jar {
    /// Keeps what the answer to a request for this URL sets. What is for other hosts, or too much, is
    /// dropped.
    pub(super) fn keep(&self, url: &Url, headers: &HeaderMap) {
        for value in headers.get_all(SET_COOKIE) {
            let value = value.to_str().ok();
            let value = value.filter(|value| value.len() <= LARGEST);
            let Some(cookie) = value.and_then(|value| Cookie::parse(value, url).ok()) else {
                continue;
            };
            let mut jar = self.lock();
            let before = jar.clone();
            // It says nothing of the cookie to the log, as other ways of the store would.
            if jar.insert(cookie.into_owned(), url).is_ok() && !is_within_bounds(&jar) {
                *jar = before;
            }
        }
    }

    /// The value of the header that sends them, if there are any for this URL.
    pub(super) fn header(&self, url: &Url) -> Option<HeaderValue> {
        let jar = self.lock();
        let pairs = jar.get_request_values(url);
        let pairs: Vec<_> = pairs
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        drop(jar);
        let value = (!pairs.is_empty()).then(|| HeaderValue::try_from(pairs.join("; ")).ok());
        let mut value = value.flatten()?;
        value.set_sensitive(true);
        Some(value)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().iter_unexpired().next().is_none()
    }

    fn lock(&self) -> MutexGuard<'_, CookieStore> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Also those that are over count: they take up memory as others do.
fn is_within_bounds(jar: &CookieStore) -> bool {
    let sizes = || {
        jar.iter_any()
            .map(|cookie| cookie.name().len() + cookie.value().len())
    };
    sizes().count() <= MOST && sizes().sum::<usize>() <= LARGEST_TOGETHER
}

impl fmt::Debug for Jar {
    // Without the cookies.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jar").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    fn jar(cookies: &[&str]) -> Jar {
        let jar = Jar::default();
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(SET_COOKIE, HeaderValue::from_str(cookie).unwrap());
        }
        jar.keep(&url("http://emr.example.org/openmrs/login"), &headers);
        jar
    }

    fn sent(jar: &Jar, to: &str) -> Vec<String> {
        let header = jar.header(&url(to));
        let header = header
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default();
        let mut cookies: Vec<_> = header.split("; ").map(str::to_owned).collect();
        cookies.retain(|cookie| !cookie.is_empty());
        cookies.sort();
        cookies
    }

    #[test]
    fn cookies_go_back_by_path_and_while_they_last() {
        let jar = jar(&[
            "JSESSIONID=1; Path=/openmrs; HttpOnly",
            "other=2; Path=/other",
            "secure=3; Secure; Path=/",
            "over=4; Max-Age=0",
            "default=5",
            "no cookie",
        ]);
        assert_eq!(
            sent(&jar, "http://emr.example.org/openmrs/ws"),
            ["JSESSIONID=1", "default=5"]
        );
        assert_eq!(sent(&jar, "http://emr.example.org/other/x"), ["other=2"]);
        assert!(sent(&jar, "http://emr.example.org/").is_empty());
    }

    #[test]
    fn cookies_for_other_hosts_are_dropped() {
        let jar = jar(&[
            "a=1; Domain=evil.org; Path=/",
            "b=2; Domain=x.emr.example.org; Path=/",
        ]);
        assert!(jar.is_empty());
    }

    #[test]
    fn too_many_cookies_are_dropped_and_the_first_stay() {
        let many: Vec<_> = (0..1_000).map(|n| format!("c{n}={n}; Path=/")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let full = jar(&many);
        let sent_back = sent(&full, "http://emr.example.org/");
        assert_eq!(sent_back.len(), MOST);
        assert!(sent_back.contains(&"c0=0".to_owned()));
        // What is there can still be changed.
        let mut headers = HeaderMap::new();
        headers.append(SET_COOKIE, HeaderValue::from_static("c0=new; Path=/"));
        full.keep(&url("http://emr.example.org/"), &headers);
        assert!(sent(&full, "http://emr.example.org/").contains(&"c0=new".to_owned()));

        let large = format!("large={}; Path=/", "x".repeat(5_000));
        assert!(jar(&[&large]).is_empty());
        let large: Vec<_> = (0..9)
            .map(|n| format!("c{n}={}; Path=/", "x".repeat(1_500)))
            .collect();
        let large: Vec<_> = large.iter().map(String::as_str).collect();
        assert_eq!(sent(&jar(&large), "http://emr.example.org/").len(), 5);
    }
}
