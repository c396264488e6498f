//! Whether a client takes Atom (RFC 9110 §12.5.1).

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

use super::list::{members, weighted};

/// Whether a client takes a feed document. One that says nothing takes all; one that takes XML of any
/// kind takes Atom, which is that.
pub(super) fn accepts_atom(headers: &HeaderMap) -> bool {
    if !headers.contains_key(ACCEPT) {
        return true;
    }
    let (mut how_exactly, mut is_taken) = (0, false);
    let mut says_something = false;
    for (range, weight) in members(headers, &ACCEPT).map(weighted) {
        says_something = true;
        let exactly = match range.to_ascii_lowercase().as_str() {
            "application/atom+xml" => 3,
            "application/xml" | "text/xml" | "application/rss+xml" => 2,
            "application/*" => 2,
            "*/*" => 1,
            _ => continue,
        };
        // The most exact one counts; of several of these, whether one of them takes it.
        if exactly > how_exactly {
            (how_exactly, is_taken) = (exactly, weight > 0);
        } else if exactly == how_exactly {
            is_taken |= weight > 0;
        }
    }
    is_taken || !says_something
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn who_takes_xml_takes_atom() {
        for (accept, takes) in [
            ("application/atom+xml", true),
            ("application/atom+xml;type=feed;q=0.1", true),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                true,
            ),
            ("text/xml", true),
            ("application/*", true),
            ("*/*", true),
            ("", true),
            ("application/json", false),
            ("text/html", false),
            ("application/atom+xml;q=0, */*", false),
            ("*/*;q=0", false),
            ("application/json, */*;q=0.1", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(accepts_atom(&headers), takes, "{accept}");
        }
        assert!(accepts_atom(&HeaderMap::new()));
    }
}
