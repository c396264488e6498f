use std::fmt;
use std::str::FromStr;

use url::Url;

/// Another address in the place of one: a host has got another name, or `http` has become `https`.
///
/// ```
/// use atomfeed_core::Rebase;
///
/// let rebase: Rebase = "http://emr:8050=https://emr.example.org".parse()?;
/// let page = rebase.apply("http://emr:8050/feed/patient/3");
/// assert_eq!(page.as_deref(), Some("https://emr.example.org/feed/patient/3"));
/// assert_eq!(rebase.apply("http://emr:80501/feed/patient/3"), None);
/// # Ok::<(), atomfeed_core::InvalidRebase>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebase {
    from: String,
    to: String,
}

impl Rebase {
    /// Addresses that begin with `from` are to begin with `to`. Both are absolute URLs, of hosts or of
    /// what lies in a folder there; query and fragment are left out. Rows hold addresses as they were
    /// spelled: to name such a spelling (`http://EMR:80`), read a rebase from a text.
    pub fn new(from: &Url, to: &Url) -> Self {
        let [from, to] = [from, to].map(|url| {
            let text = &url[..url::Position::AfterPath];
            text.trim_end_matches('/').to_owned()
        });
        Self { from, to }
    }

    /// An address as it is to be; `None` where it is to stay as it is.
    pub fn apply(&self, address: &str) -> Option<String> {
        let rest = address.strip_prefix(&self.from)?;
        // What goes on otherwise is another host, or another folder.
        let ends = rest.is_empty() || rest.starts_with(['/', '?', '#']);
        ends.then(|| format!("{}{rest}", self.to))
    }

    /// The error message of a failed event, which names its page, as it is to be.
    pub(crate) fn apply_to_message(&self, message: &str) -> String {
        let rest = message.strip_prefix(BEFORE_PAGE);
        let rebased = rest
            .and_then(|rest| rest.split_once(']'))
            .and_then(|(page, rest)| {
                let page = self.apply(page)?;
                Some(format!("{BEFORE_PAGE}{page}]{rest}"))
            });
        rebased.unwrap_or_else(|| message.to_owned())
    }
}

/// What stands before the address of the page in such a message.
const BEFORE_PAGE: &str = "Failed processing event in feed [";

impl fmt::Display for Rebase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.from, self.to)
    }
}

impl FromStr for Rebase {
    type Err = InvalidRebase;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidRebase {
            text: text.to_owned(),
        };
        // A URL may hold the sign itself; that of two URLs stands before a scheme.
        let halves = text.match_indices('=').find_map(|(at, _)| {
            let halves = [&text[..at], &text[at + 1..]];
            let is_url = |half: &&str| Url::parse(half).is_ok_and(|url| url.has_host());
            halves.iter().all(is_url).then_some(halves)
        });
        let [from, to] = halves.ok_or_else(invalid)?.map(|half| {
            // Spelled as they are given: rows hold addresses as somebody has spelled them.
            let end = half.find(['?', '#']).unwrap_or(half.len());
            half[..end].trim_end_matches('/').to_owned()
        });
        Ok(Self { from, to })
    }
}

/// A text that does not say which address is to take the place of which.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} names no two addresses: write FROM=TO, as http://emr:8050=https://emr.example.org"
)]
pub struct InvalidRebase {
    text: String,
}

/// What a [`Rebase`] has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Rebased {
    /// Markers.
    pub markers: u64,
    /// Failed events.
    pub failed_events: u64,
    /// Failed retries.
    pub retries: u64,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_are_replaced() {
        let rebase: Rebase = "http://emr:8050/feed/=https://emr/x/feed?a=b#c"
            .parse()
            .unwrap();
        assert_eq!(
            rebase.to_string(),
            "http://emr:8050/feed=https://emr/x/feed"
        );
        let cases = [
            ("http://emr:8050/feed", Some("https://emr/x/feed")),
            (
                "http://emr:8050/feed/1?v=full",
                Some("https://emr/x/feed/1?v=full"),
            ),
            ("http://emr:8050/feed#lab", Some("https://emr/x/feed#lab")),
            ("http://emr:8050/feeds/1", None),
            ("http://emr:8050/", None),
            ("https://emr:8050/feed/1", None),
        ];
        for (address, expected) in cases {
            assert_eq!(rebase.apply(address).as_deref(), expected, "{address}");
        }
    }

    #[test]
    fn what_names_no_two_addresses_is_refused() {
        for text in [
            "",
            "=",
            "http://emr",
            "http://emr=lab",
            "emr=lab",
            "http://emr=mailto:a@b",
        ] {
            assert!(text.parse::<Rebase>().is_err(), "{text}");
        }
        let spelled: Rebase = "http://EMR:80=https://emr:443".parse().unwrap();
        let moved = spelled.apply("http://EMR:80/feed/recent");
        assert_eq!(moved.as_deref(), Some("https://emr:443/feed/recent"));
        let with_sign: Rebase = "http://emr/a=b=http://lab/c".parse().unwrap();
        assert_eq!(
            with_sign.apply("http://emr/a=b/1").as_deref(),
            Some("http://lab/c/1")
        );
    }
}
