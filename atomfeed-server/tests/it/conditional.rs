//! Conditional requests as RFC 9110 §13 has them, method by method, over a sealed page, the newest page
//! and one that is not there.

use atomfeed_core::NewEvent;
use atomfeed_core::store::MemoryStore;
use atomfeed_core::store::conformance::MemoryHarness;
use atomfeed_server::EventFeedService;
use axum::Router;
use chrono::{DateTime, Utc};

use crate::feeds::{ask, ask_with, config, mounted, publish};

const FIRST: &str = "2024-03-01T08:00:00Z";

fn event(minute: u32) -> NewEvent {
    let first: DateTime<Utc> = FIRST.parse().unwrap();
    NewEvent::new(minute.to_string(), "/patient/1")
        .published_at(first + chrono::TimeDelta::minutes(minute.into()))
}

async fn feed() -> (MemoryStore, Router) {
    let store = MemoryStore::new();
    publish::<MemoryHarness>(&store, (0..8).map(event)).await;
    let service = EventFeedService::open(store.clone(), config().with_page_size(5));
    (store, mounted(service.await.unwrap()))
}

/// What a request asks for: validators are those of the page in the coding that it accepts.
#[derive(Debug, Clone, Copy)]
enum Asks {
    Nothing,
    NoneMatchOurs,
    NoneMatchWeak,
    NoneMatchListed,
    NoneMatchAny,
    NoneMatchOther,
    NoneMatchOtherCoding,
    MatchOurs,
    MatchWeak,
    MatchAny,
    MatchOther,
    ModifiedSinceOurs,
    ModifiedSinceEarlier,
    ModifiedSinceNonsense,
    UnmodifiedSinceOurs,
    UnmodifiedSinceEarlier,
    OtherTagAndOurTime,
    OurTagAndEarlierTime,
    MatchOtherAndNoneMatchOurs,
    MatchOursAndUnmodifiedEarlier,
    RangeIfOurs,
}

const ALL: [Asks; 21] = [
    Asks::Nothing,
    Asks::NoneMatchOurs,
    Asks::NoneMatchWeak,
    Asks::NoneMatchListed,
    Asks::NoneMatchAny,
    Asks::NoneMatchOther,
    Asks::NoneMatchOtherCoding,
    Asks::MatchOurs,
    Asks::MatchWeak,
    Asks::MatchAny,
    Asks::MatchOther,
    Asks::ModifiedSinceOurs,
    Asks::ModifiedSinceEarlier,
    Asks::ModifiedSinceNonsense,
    Asks::UnmodifiedSinceOurs,
    Asks::UnmodifiedSinceEarlier,
    Asks::OtherTagAndOurTime,
    Asks::OurTagAndEarlierTime,
    Asks::MatchOtherAndNoneMatchOurs,
    Asks::MatchOursAndUnmodifiedEarlier,
    Asks::RangeIfOurs,
];

impl Asks {
    fn headers(self, tag: &str, other_coding: &str, time: &str) -> Vec<(&'static str, String)> {
        let earlier = "Fri, 01 Mar 2024 07:59:59 GMT".to_owned();
        let [other, weak] = ["\"other\"".to_owned(), format!("W/{tag}")];
        let (tag, time) = (tag.to_owned(), time.to_owned());
        match self {
            Self::Nothing => vec![],
            Self::NoneMatchOurs => vec![("if-none-match", tag)],
            Self::NoneMatchWeak => vec![("if-none-match", weak)],
            Self::NoneMatchListed => vec![("if-none-match", format!("\"x,\", {tag} , \"y\""))],
            Self::NoneMatchAny => vec![("if-none-match", "*".to_owned())],
            Self::NoneMatchOther => vec![("if-none-match", other)],
            Self::NoneMatchOtherCoding => vec![("if-none-match", other_coding.to_owned())],
            Self::MatchOurs => vec![("if-match", tag)],
            Self::MatchWeak => vec![("if-match", weak)],
            Self::MatchAny => vec![("if-match", "*".to_owned())],
            Self::MatchOther => vec![("if-match", other)],
            Self::ModifiedSinceOurs => vec![("if-modified-since", time)],
            Self::ModifiedSinceEarlier => vec![("if-modified-since", earlier)],
            Self::ModifiedSinceNonsense => vec![("if-modified-since", "now".to_owned())],
            Self::UnmodifiedSinceOurs => vec![("if-unmodified-since", time)],
            Self::UnmodifiedSinceEarlier => vec![("if-unmodified-since", earlier)],
            Self::OtherTagAndOurTime => vec![("if-none-match", other), ("if-modified-since", time)],
            Self::OurTagAndEarlierTime => {
                vec![("if-none-match", tag), ("if-modified-since", earlier)]
            }
            Self::MatchOtherAndNoneMatchOurs => vec![("if-match", other), ("if-none-match", tag)],
            Self::MatchOursAndUnmodifiedEarlier => {
                vec![("if-match", tag), ("if-unmodified-since", earlier)]
            }
            Self::RangeIfOurs => vec![("range", "bytes=0-9".to_owned()), ("if-range", tag)],
        }
    }

    /// The status of a page that is there (RFC 9110 §13.2.2).
    fn expected(self) -> u16 {
        match self {
            Self::NoneMatchOurs
            | Self::NoneMatchWeak
            | Self::NoneMatchListed
            | Self::NoneMatchAny
            | Self::ModifiedSinceOurs
            | Self::OurTagAndEarlierTime => 304,
            Self::MatchWeak
            | Self::MatchOther
            | Self::UnmodifiedSinceEarlier
            | Self::MatchOtherAndNoneMatchOurs => 412,
            // Ranges are not offered: the whole page.
            _ => 200,
        }
    }
}

#[tokio::test]
async fn the_matrix_of_rfc_9110() {
    let (_, feed) = feed().await;
    let mut checked = 0;
    for page in ["/feed/1", "/feed/recent", "/feed/9", "/feed/abc"] {
        for coding in ["identity", "gzip", "zstd"] {
            let plain = ask(&feed, page, &[("accept-encoding", coding)]).await;
            let is_there = plain.status == 200;
            let other = if coding == "gzip" { "zstd" } else { "gzip" };
            let other = ask(&feed, page, &[("accept-encoding", other)]).await;
            // Of a page that is not there, validators that could be those of one.
            let (tag, time) = match is_there {
                true => (plain.header("etag"), plain.header("last-modified")),
                false => ("\"x\"", "Fri, 01 Mar 2024 08:07:00 GMT"),
            };
            assert!(!time.is_empty() && !tag.is_empty(), "{page}");
            for asks in ALL {
                let mut headers = asks.headers(tag, other.header("etag"), time);
                headers.push(("accept-encoding", coding.to_owned()));
                let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
                for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"] {
                    let answer = ask_with(&feed, method, page, &headers).await;
                    let at = format!("{method} {page} {coding} {asks:?}");
                    checked += 1;
                    if !matches!(method, "GET" | "HEAD") {
                        // Conditions come after what the resource allows at all.
                        assert_eq!(answer.status, 405, "{at}");
                        assert_eq!(answer.header("allow"), "GET,HEAD", "{at}");
                        continue;
                    }
                    let expected = if is_there {
                        asks.expected()
                    } else {
                        plain.status
                    };
                    assert_eq!(answer.status, expected, "{at}");
                    match answer.status {
                        200 => {
                            let body = if method == "GET" {
                                plain.body.as_ref()
                            } else {
                                &[]
                            };
                            assert_eq!(answer.body, body, "{at}");
                            for name in ["etag", "last-modified", "content-encoding", "vary"] {
                                assert_eq!(answer.header(name), plain.header(name), "{at}");
                            }
                            let length = plain.body.len().to_string();
                            assert_eq!(answer.header("content-length"), length, "{at}");
                        }
                        304 => {
                            assert!(answer.body.is_empty(), "{at}");
                            assert_eq!(answer.header("content-type"), "", "{at}");
                            // RFC 9110 §15.4.5
                            for name in ["etag", "cache-control", "vary"] {
                                assert_eq!(answer.header(name), plain.header(name), "{at}");
                            }
                        }
                        _ => {
                            assert_eq!(answer.header("etag"), "", "{at}");
                            assert_eq!(answer.header("cache-control"), "no-store", "{at}");
                        }
                    }
                }
            }
        }
    }
    assert_eq!(checked, 4 * 3 * 21 * 6);
}

/// Each coding has an entity tag of its own; undone, all of them are the same bytes.
#[tokio::test]
async fn codings_are_apart_and_the_same_beneath() {
    use std::io::Read;

    let (_, feed) = feed().await;
    for page in ["/feed/1", "/feed/recent"] {
        let plain = ask(&feed, page, &[]).await;
        let gzip = ask(&feed, page, &[("accept-encoding", "gzip;q=0.5")]).await;
        let zstd = ask(&feed, page, &[("accept-encoding", "br, zstd")]).await;
        let mut undone = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(gzip.body.as_ref());
        decoder.read_to_end(&mut undone).unwrap();
        assert_eq!(undone, plain.body);
        assert_eq!(zstd::decode_all(zstd.body.as_ref()).unwrap(), plain.body);
        assert!(gzip.body.len() < plain.body.len() && zstd.body.len() < plain.body.len());
        let named = [&plain, &gzip, &zstd].map(|answer| answer.header("content-encoding"));
        assert_eq!(named, ["", "gzip", "zstd"]);
        let tags = [&plain, &gzip, &zstd].map(|answer| answer.header("etag").to_owned());
        assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2]);
        for answer in [plain, gzip, zstd] {
            assert_eq!(answer.header("vary"), "accept-encoding");
            let tag = answer.header("etag");
            assert!(tag.starts_with('"') && tag.ends_with('"'), "strong: {tag}");
        }
        for (accept, encoding) in [("text/html", ""), ("*/*", "identity;q=0"), ("*/*", "*;q=0")] {
            let headers = [("accept", accept), ("accept-encoding", encoding)];
            let refused = ask(&feed, page, &headers).await;
            assert_eq!(refused.status, 406, "{accept} {encoding}");
            assert_eq!(refused.header("cache-control"), "no-store");
            assert!(refused.text().contains("application/atom+xml"));
        }
    }
}

/// The time of the newest page tells it from what it was before, or there is none.
#[tokio::test]
async fn times_never_hide_an_event() {
    let (store, feed) = feed().await;
    // Page 2 has 5, 6 and 7; 8 comes in the same second as 7 did.
    let before = ask(&feed, "/feed/recent", &[]).await;
    let time = before.header("last-modified");
    assert_eq!(time, "Fri, 01 Mar 2024 08:07:00 GMT");
    let since = [("if-modified-since", time)];
    assert_eq!(ask(&feed, "/feed/recent", &since).await.status, 304);
    publish::<MemoryHarness>(&store, [event(7)]).await;
    let after = ask(&feed, "/feed/recent", &since).await;
    assert_eq!((after.status, after.header("last-modified")), (200, ""));
    // An event of an earlier time, and the first on a page.
    publish::<MemoryHarness>(&store, [event(3)]).await;
    assert_eq!(ask(&feed, "/feed/recent", &since).await.status, 200);
    publish::<MemoryHarness>(&store, [event(7)]).await;
    assert_eq!(ask(&feed, "/feed/recent", &since).await.status, 200);
    // A page by its number gets a successor without getting an event: it has no time until then.
    publish::<MemoryHarness>(&store, (20..24).map(event)).await;
    let full = ask(&feed, "/feed/3", &[]).await;
    assert_eq!(full.header("last-modified"), "");
    publish::<MemoryHarness>(&store, [event(30)]).await;
    let sealed = ask(&feed, "/feed/3", &[]).await;
    assert_eq!(
        sealed.header("last-modified"),
        "Fri, 01 Mar 2024 08:23:00 GMT"
    );
    assert_ne!(sealed.header("etag"), full.header("etag"));
}
