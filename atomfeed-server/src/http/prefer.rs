//! `Prefer: wait=N` (RFC 7240 §4.3).

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};

use super::list::{members, split_outside_quotes};

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// For how long a client prefers to wait for an answer, in whole seconds; `None` when it does not say, or
/// not how long. Said more than once, the first counts.
pub(super) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let preference = members(headers, &PREFER).find_map(|member| {
        let preference = split_outside_quotes(member, ';').next()?;
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        let is_wait = name.trim().eq_ignore_ascii_case("wait");
        is_wait.then(|| value.trim().trim_matches('"'))
    })?;
    if preference.is_empty() || !preference.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Longer than anybody waits.
    let seconds = preference.parse().unwrap_or(u64::from(u32::MAX));
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_first_wait_counts() {
        for (lines, seconds) in [
            (&["wait=10"][..], Some(10)),
            (&["respond-async, WAIT = \"7\"; x=1"], Some(7)),
            (&["wait=1", "wait=2"], Some(1)),
            (&["wait=0"], Some(0)),
            (&["wait=99999999999999999999"], Some(u64::from(u32::MAX))),
            (&["wait"], None),
            (&["wait=-1"], None),
            (&["wait=1.5"], None),
            (&["x=\"wait=3\""], None),
            (&[""], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(PREFER, HeaderValue::from_static(line));
            }
            assert_eq!(
                wait(&headers),
                seconds.map(Duration::from_secs),
                "{lines:?}"
            );
        }
    }
}
