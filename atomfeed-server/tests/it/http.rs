//! The feed over HTTP: what is answered to odd requests.

use atomfeed_core::NewEvent;
use atomfeed_core::store::MemoryStore;
use atomfeed_core::store::conformance::{Harness, MemoryHarness};
use atomfeed_server::EventFeedService;
use axum::Router;
use axum::http::header::{ALLOW, CONTENT_TYPE};

use crate::feeds::{config, get, mounted, publish, send};

async fn feed() -> Router {
    let store: MemoryStore = MemoryHarness.store().await;
    let events = (0..12).map(|n| NewEvent::new(n.to_string(), "").in_category("Lab Result/é"));
    publish::<MemoryHarness>(&store, events).await;
    mounted(
        EventFeedService::open(store, config().with_page_size(5))
            .await
            .unwrap(),
    )
}

#[tokio::test]
async fn pages_that_cannot_be_are_refused_in_the_words_clients_look_for() {
    let feed = feed().await;
    let not_above_0 =
        "AtomFeedRuntimeException: feedId must not be null and must be greater than 0";
    let does_not_exist = "AtomFeedRuntimeException: feed does not exist";
    for prefix in ["/feed", "/feed/Lab%20Result%2F%C3%A9", "/feed/unknown"] {
        for (page, status, text) in [
            ("0", 400, not_above_0),
            ("-1", 400, not_above_0),
            ("abc", 400, not_above_0),
            ("1.5", 400, not_above_0),
            ("4", 404, does_not_exist),
            ("1000000000000", 404, does_not_exist),
            ("99999999999999999999999999", 404, does_not_exist),
        ] {
            let (found, body) = get(&feed, &format!("{prefix}/{page}")).await;
            assert_eq!(found, status, "{prefix}/{page}");
            assert!(body.contains(text), "{prefix}/{page}: {body}");
        }
    }
    for (path, status) in [
        ("/feed", 404),
        ("/feed/a/b/c", 404),
        ("/feed/%FF/recent", 400),
        ("/feed/%00/recent", 400),
    ] {
        assert_eq!(get(&feed, path).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn an_unknown_category_is_an_empty_feed() {
    let (status, body) = get(&feed().await, "/feed/unknown/recent").await;
    assert_eq!(status, 200);
    assert!(
        body.contains("href=\"http://127.0.0.1:8080/feed/unknown/0\""),
        "{body}"
    );
    assert!(!body.contains("<entry>"));
}

#[tokio::test]
async fn queries_slashes_and_hosts_never_get_into_a_page() {
    let feed = feed().await;
    for page in ["/feed/1", "/feed/recent", "/feed/lab%20result%2F%C3%89/2"] {
        let (status, plain) = get(&feed, page).await;
        assert_eq!(status, 200);
        for odd in [
            format!("{page}/"),
            format!("{page}?a=1&b=%3C"),
            format!("{page}/?x"),
        ] {
            assert_eq!(get(&feed, &odd).await, (status, plain.clone()), "{odd}");
        }
    }
    let (_, page) = get(&feed, "/feed/LAB%20result%2F%C3%89/2").await;
    assert!(
        page.contains("/feed/LAB%20result%2F%C3%89/3\""),
        "spelled as asked, encoded: {page}"
    );
}

#[tokio::test]
async fn methods_and_types_are_as_http_has_them() {
    let feed = feed().await;
    let head = send(&feed, "HEAD", "/feed/1").await;
    assert_eq!(head.status(), 200);
    assert_eq!(
        head.headers()[CONTENT_TYPE],
        "application/atom+xml; charset=utf-8"
    );
    let post = send(&feed, "POST", "/feed/1").await;
    assert_eq!(post.status(), 405);
    assert_eq!(post.headers()[ALLOW], "GET,HEAD");
}
