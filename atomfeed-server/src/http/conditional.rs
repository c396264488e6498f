//! Conditional requests (RFC 9110 §13).

use std::time::SystemTime;

use axum::http::HeaderMap;
use axum::http::header::{
    HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE,
};
use chrono::{DateTime, Utc};

use super::list::members;

/// Whether a request has conditions that a GET or HEAD has to be judged by.
pub(super) fn has_conditions(headers: &HeaderMap) -> bool {
    let conditions = [
        IF_NONE_MATCH,
        IF_MODIFIED_SINCE,
        IF_MATCH,
        IF_UNMODIFIED_SINCE,
    ];
    conditions.iter().any(|name| headers.contains_key(name))
}

/// What a request asks of what it would be answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is answered as if it asked nothing.
    Send,
    /// 304: the client has it already.
    NotModified,
    /// 412: it is not what the client wants.
    Failed,
}

/// What a representation is known by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Validators<'a> {
    /// The strong entity tag, in its quotes.
    pub(super) entity_tag: &'a str,
    pub(super) last_modified: Option<DateTime<Utc>>,
    /// Whether a later time stands for it, too: what never changes again. Of what does, an event may
    /// bring an earlier time than that of the one before it, so that no other time stands for it.
    pub(super) is_settled: bool,
}

impl Validators<'_> {
    /// Goes through the conditions of a GET or HEAD, in the order of RFC 9110 §13.2.2.
    pub(super) fn judge(&self, headers: &HeaderMap) -> Verdict {
        if headers.contains_key(IF_MATCH) {
            if !self.matches(headers, &IF_MATCH, Comparison::Strong) {
                return Verdict::Failed;
            }
        } else if let Some((asked, own)) = self.times(headers, &IF_UNMODIFIED_SINCE)
            && own > asked
        {
            return Verdict::Failed;
        }
        if headers.contains_key(IF_NONE_MATCH) {
            return match self.matches(headers, &IF_NONE_MATCH, Comparison::Weak) {
                true => Verdict::NotModified,
                false => Verdict::Send,
            };
        }
        match self.times(headers, &IF_MODIFIED_SINCE) {
            Some((asked, own)) if own == asked || self.is_settled && own < asked => {
                Verdict::NotModified
            }
            _ => Verdict::Send,
        }
    }

    /// Whether a list of entity tags has ours, or is `*`: there is something.
    fn matches(&self, headers: &HeaderMap, name: &HeaderName, comparison: Comparison) -> bool {
        members(headers, name).any(|member| {
            let tag = match (member.strip_prefix("W/"), comparison) {
                (Some(_), Comparison::Strong) => return false,
                (Some(opaque), Comparison::Weak) => opaque,
                (None, _) => member,
            };
            tag == "*" && member == "*" || tag == self.entity_tag
        })
    }

    /// The time that a field says and our own, in seconds since 1970, where there are both. A field that
    /// says no time, or several, says nothing (RFC 9110 §13.1.3, §13.1.4).
    fn times(&self, headers: &HeaderMap, name: &HeaderName) -> Option<(u64, u64)> {
        let own = u64::try_from(self.last_modified?.timestamp()).ok()?;
        let mut lines = headers.get_all(name).into_iter();
        let (line, None) = (lines.next()?, lines.next()) else {
            return None;
        };
        let asked = httpdate::parse_http_date(line.to_str().ok()?.trim()).ok()?;
        let asked = asked.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some((asked.as_secs(), own))
    }
}

/// How entity tags are compared (RFC 9110 §8.8.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const AT: &str = "Fri, 01 Mar 2024 08:01:00 GMT";
    const BEFORE: &str = "Fri, 01 Mar 2024 08:00:59 GMT";
    const AFTER: &str = "Fri, 01 Mar 2024 08:01:01 GMT";

    fn judged(asked: &[(HeaderName, &'static str)], is_settled: bool) -> Verdict {
        let mut headers = HeaderMap::new();
        for (name, value) in asked {
            headers.append(name, HeaderValue::from_static(value));
        }
        let validators = Validators {
            entity_tag: "\"a,b\"",
            last_modified: Some("2024-03-01T08:01:00.9Z".parse().unwrap()),
            is_settled,
        };
        validators.judge(&headers)
    }

    /// The conditions alone and in company, as RFC 9110 §13.2.2 orders them.
    #[test]
    fn conditions_go_in_their_order() {
        use Verdict::{Failed, NotModified, Send};

        let [ours, other, weak, any] = ["\"a,b\"", "\"x\"", "W/\"a,b\"", "*"];
        for (asked, verdict) in [
            (&[][..], Send),
            (&[(IF_NONE_MATCH, ours)], NotModified),
            (&[(IF_NONE_MATCH, weak)], NotModified),
            (&[(IF_NONE_MATCH, any)], NotModified),
            (&[(IF_NONE_MATCH, other)], Send),
            (&[(IF_NONE_MATCH, "\"x\", W/\"a,b\" ,\"y\"")], NotModified),
            (
                &[(IF_NONE_MATCH, other), (IF_NONE_MATCH, ours)],
                NotModified,
            ),
            (&[(IF_NONE_MATCH, "a,b")], Send),
            (&[(IF_NONE_MATCH, "")], Send),
            (&[(IF_NONE_MATCH, "w/\"a,b\"")], Send),
            (&[(IF_NONE_MATCH, "W/*")], Send),
            (&[(IF_MATCH, ours)], Send),
            (&[(IF_MATCH, any)], Send),
            (&[(IF_MATCH, weak)], Failed),
            (&[(IF_MATCH, other)], Failed),
            (&[(IF_MODIFIED_SINCE, AT)], NotModified),
            (&[(IF_MODIFIED_SINCE, AFTER)], NotModified),
            (&[(IF_MODIFIED_SINCE, BEFORE)], Send),
            (&[(IF_MODIFIED_SINCE, "yesterday")], Send),
            (&[(IF_MODIFIED_SINCE, AT), (IF_MODIFIED_SINCE, AT)], Send),
            (&[(IF_UNMODIFIED_SINCE, AT)], Send),
            (&[(IF_UNMODIFIED_SINCE, AFTER)], Send),
            (&[(IF_UNMODIFIED_SINCE, BEFORE)], Failed),
            (&[(IF_UNMODIFIED_SINCE, "yesterday")], Send),
            // An entity tag goes before a time, and If-Match before If-None-Match.
            (&[(IF_NONE_MATCH, other), (IF_MODIFIED_SINCE, AT)], Send),
            (
                &[(IF_NONE_MATCH, ours), (IF_MODIFIED_SINCE, BEFORE)],
                NotModified,
            ),
            (&[(IF_MATCH, ours), (IF_UNMODIFIED_SINCE, BEFORE)], Send),
            (&[(IF_MATCH, other), (IF_NONE_MATCH, ours)], Failed),
            (&[(IF_MATCH, ours), (IF_NONE_MATCH, ours)], NotModified),
            (
                &[(IF_UNMODIFIED_SINCE, BEFORE), (IF_NONE_MATCH, ours)],
                Failed,
            ),
            (
                &[(IF_UNMODIFIED_SINCE, AT), (IF_NONE_MATCH, ours)],
                NotModified,
            ),
        ] {
            assert_eq!(judged(asked, true), verdict, "{asked:?}");
        }
    }

    /// What may change has a time of its own, and no other stands for it.
    #[test]
    fn a_later_time_stands_only_for_what_is_settled() {
        assert_eq!(
            judged(&[(IF_MODIFIED_SINCE, AT)], false),
            Verdict::NotModified
        );
        assert_eq!(judged(&[(IF_MODIFIED_SINCE, AFTER)], false), Verdict::Send);
    }
}
