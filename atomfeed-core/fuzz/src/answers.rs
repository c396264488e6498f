use std::time::{Duration, SystemTime};

use atomfeed_client::fuzzing;
use axum::http::{HeaderMap, HeaderValue, header};
use url::Url;

/// Reads any lines as what a server says: in the fields of an answer, and as links.
pub fn answered(input: &[u8]) {
    let feed: Url = "http://emr:8050/feed/recent".parse().expect("a URL");
    let other: Url = "https://other/".parse().expect("a URL");
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        if let Ok(cookie) = HeaderValue::from_bytes(line) {
            headers.append(header::SET_COOKIE, cookie);
        }
        let Ok(line) = std::str::from_utf8(line) else {
            continue;
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let wait = fuzzing::retry_after(line, now);
        assert!(
            wait.is_none_or(|wait| wait <= Duration::from_secs(3_600)),
            "{line:?}"
        );
        fuzzing::applies_wait(line);
        fuzzing::is_coding_understood(line);
        let tag = fuzzing::entity_tag(line);
        assert!(tag.is_none_or(|tag| line.contains(tag)), "{line:?}");
        let led = [
            fuzzing::redirected(&feed, line),
            fuzzing::joined(&feed, false, line),
            fuzzing::joined(&feed, true, line),
        ];
        for url in led.into_iter().flatten() {
            let reached = fuzzing::reached(&feed, &[other.clone()], &[], &url);
            let is_allowed = |url: &Url| [feed.origin(), other.origin()].contains(&url.origin());
            assert!(reached.is_none_or(|reached| is_allowed(&reached)), "{url}");
        }
    }
    let cookies = fuzzing::cookies(&feed, &headers);
    assert!(cookies.is_none_or(|cookies| cookies.len() <= 64 << 10));
}
