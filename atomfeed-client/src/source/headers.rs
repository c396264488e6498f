//! What servers say in headers, read without trust.

use std::time::{Duration, SystemTime};

use http::header::{HeaderName, LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};

pub(super) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The longest that a server has us wait.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// An ETag is sent back with each request: not one that fills a head of its own.
const LONGEST_ETAG: usize = 1 << 10;

/// An address elsewhere that is longer leads nowhere.
const LONGEST_LOCATION: usize = 8 << 10;

/// How long to wait as `Retry-After` says (RFC 9110 §10.2.3): seconds, or a date. An hour at most; nothing
/// where it is over, and `None` where it is neither.
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than a number holds is long.
        value.parse().map_or(Duration::MAX, Duration::from_secs)
    } else {
        let at = httpdate::parse_http_date(value).ok()?;
        at.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// The same, as it stands among the headers.
pub(super) fn retry_after_of(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    retry_after(value, SystemTime::now())
}

/// Whether a value of `Preference-Applied` names `wait` (RFC 7240 §3).
pub(crate) fn applies_wait(value: &str) -> bool {
    value.split(',').any(|preference| {
        let name = preference.split(['=', ';']).next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("wait")
    })
}

/// A value of `ETag`, if it is one (RFC 9110 §8.8.3).
pub(crate) fn entity_tag(value: &str) -> Option<&str> {
    let value = value.trim();
    let opaque = value.strip_prefix("W/").unwrap_or(value);
    let inner = opaque.strip_prefix('"')?.strip_suffix('"')?;
    let is_etagc = |byte: u8| byte > b' ' && byte != b'"' && byte != 0x7F;
    (value.len() <= LONGEST_ETAG && inner.bytes().all(is_etagc)).then_some(value)
}

/// Whether an answer of this status says where to ask instead (RFC 9110 §15.4).
pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The address of a redirect, to make a URL of; empty where there is none.
pub(super) fn location(headers: &HeaderMap) -> String {
    let location = headers.get(LOCATION).map(|value| value.as_bytes());
    let location = location.filter(|location| location.len() <= LONGEST_LOCATION);
    String::from_utf8_lossy(location.unwrap_or_default()).into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_an_hour_at_most() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let seconds = |value| retry_after(value, now).map(|wait| wait.as_secs());
        for (value, expected) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("3601", Some(3600)),
            ("99999999999999999999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(0)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", Some(3600)),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(seconds(value), expected, "{value:?}");
        }
    }

    #[test]
    fn what_waits_says_so() {
        for value in ["wait", "wait=30", "return=minimal, Wait = 5", "wait;x=1"] {
            assert!(applies_wait(value), "{value}");
        }
        for value in ["", "respond-async", "waiting=30", "x=wait"] {
            assert!(!applies_wait(value), "{value}");
        }
    }

    #[test]
    fn an_etag_is_one_or_none() {
        for etag in [r#""""#, r#""a-1""#, r#"W/"é""#] {
            assert_eq!(entity_tag(etag), Some(etag));
        }
        let long = format!("\"{}\"", "x".repeat(2_000));
        for no in [
            "",
            "a",
            "\"",
            "\"a",
            r#""a"b""#,
            r#"w/"a""#,
            r#""a", "b""#,
            &long,
        ] {
            assert_eq!(entity_tag(no), None, "{no}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_said_is_read(value in "\\PC{0,40}|[0-9]{0,30}|W?/?\"?[a-z]{0,10}\"?") {
            let wait = retry_after(&value, SystemTime::UNIX_EPOCH);
            proptest::prop_assert!(wait.is_none_or(|wait| wait <= LONGEST_RETRY_AFTER));
            let etag = entity_tag(&value);
            // It goes back as it came.
            proptest::prop_assert!(etag.is_none_or(|etag| http::HeaderValue::from_str(etag).is_ok()));
            applies_wait(&value);
        }
    }
}
