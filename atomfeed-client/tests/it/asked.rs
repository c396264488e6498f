//! What a page is asked with besides its address, and what is made of the answer, by both sources.

use std::time::Duration;

use atomfeed_client::{
    FeedSource, FetchError, HttpFeedSource, HttpFeedSourceBuilder, InProcessFeedSource,
    PageRequest, PageResponse,
};
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::scripted_server::{Answer, ScriptedServer};

const ETAG: &str = "\"one\"";

fn source(server: &ScriptedServer) -> HttpFeedSourceBuilder {
    HttpFeedSource::builder(&server.url("/feed/recent").parse().unwrap())
}

fn request(server: &ScriptedServer, path: &str) -> PageRequest {
    PageRequest::new(server.url(path).parse().unwrap())
}

fn has_header(head: &str, header: &str) -> bool {
    head.to_ascii_lowercase().contains(&format!("\r\n{header}"))
}

#[tokio::test]
async fn a_page_that_is_the_same_is_not_sent_again() {
    let server = ScriptedServer::new().await;
    let source = source(&server).build().unwrap();
    let headers = format!("etag: {ETAG}\r\natomfeed-position: 7\r\n");
    server.answer("/feed/recent", Answer::with("200 OK", &headers, "page"));
    let page = request(&server, "/feed/recent");
    let first = source.fetch(&page).await.unwrap();
    assert_eq!(first.etag.as_deref(), Some(ETAG));
    assert_eq!(
        (first.position, first.waits, first.not_modified),
        (Some(7), false, false)
    );

    let headers = format!("{headers}preference-applied: wait\r\n");
    server.answer("/feed/recent", Answer::status("304 Not Modified", &headers));
    let page = page.with_etag(ETAG).waiting(Duration::from_millis(9_900));
    let second = source.fetch(&page).await.unwrap();
    assert!(second.not_modified && second.waits && second.body.is_empty());
    assert_eq!(
        (second.etag.as_deref(), second.position),
        (Some(ETAG), Some(7))
    );

    let heads = server.heads();
    for header in ["if-none-match: \"one\"\r\n", "prefer: wait=9\r\n"] {
        assert!(!has_header(&heads[0], header), "{heads:?}");
        assert!(has_header(&heads[1], header), "{heads:?}");
    }
}

/// Whoever has nothing cannot go on with that.
#[tokio::test]
async fn not_modified_is_no_answer_to_one_who_has_nothing() {
    let server = ScriptedServer::new().await;
    server.answer("/feed/recent", Answer::status("304 Not Modified", ""));
    let source = source(&server).build().unwrap();
    let error = source
        .fetch(&request(&server, "/feed/recent"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, FetchError::Status { status: 304, .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("was not asked"), "{error}");
}

/// The server is left time to answer before the source loses patience.
#[tokio::test]
async fn a_wait_stays_below_the_time_limits() {
    let server = ScriptedServer::new().await;
    server.answer("/feed/recent", Answer::page("page"));
    let page = request(&server, "/feed/recent").with_etag(ETAG);
    let page = page.waiting(Duration::from_secs(3_600));
    let seconds = Duration::from_secs;
    for (read, total, expected) in [
        (20, 300, Some(15)),
        (300, 20, Some(15)),
        (2, 300, Some(1)),
        (1, 300, None),
    ] {
        let source = source(&server).with_read_timeout(seconds(read));
        let source = source.with_total_timeout(seconds(total)).build().unwrap();
        // Patience may end, too, where a machine stands still: then it is asked again.
        let mut tries = 0;
        while let Err(error) = source.fetch(&page).await {
            tries += 1;
            assert!(tries < 10, "{error}");
        }
        let heads = server.heads();
        let head = heads.last().unwrap();
        match expected {
            Some(wait) => assert!(
                has_header(head, &format!("prefer: wait={wait}\r\n")),
                "{head}"
            ),
            None => assert!(!has_header(head, "prefer"), "{head}"),
        }
    }
}

/// Where the first page is found by a redirect, that one is followed, and no other.
#[tokio::test]
async fn a_redirect_is_followed_for_one_request() {
    let server = ScriptedServer::new().await;
    server.answer("/feed/first", Answer::redirect("/feed/12"));
    server.answer("/feed/12", Answer::page("page"));
    let source = source(&server).build().unwrap();
    let page = request(&server, "/feed/first");
    let error = source.fetch(&page).await.unwrap_err();
    assert!(matches!(error, FetchError::Redirect { .. }), "{error:?}");
    let first = source
        .fetch(&page.clone().following_redirect())
        .await
        .unwrap();
    assert_eq!(first.url, Some(server.url("/feed/12").parse().unwrap()));
    let direct = source.fetch(&request(&server, "/feed/12")).await.unwrap();
    assert_eq!(direct.url, None);

    server.answer("/feed/12", Answer::redirect("/feed/first"));
    let error = source.fetch(&page.following_redirect()).await.unwrap_err();
    assert!(matches!(error, FetchError::Redirect { .. }), "{error:?}");
}

async fn recent(headers: HeaderMap) -> impl IntoResponse {
    let asked = |name| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let shown = format!("{:?}", asked("prefer"));
    let applied = [("etag", ETAG), ("preference-applied", "wait=5")];
    match asked("if-none-match").as_deref() == Some(ETAG) {
        true => (StatusCode::NOT_MODIFIED, applied, String::new()),
        false => (StatusCode::OK, applied, shown),
    }
}

#[tokio::test]
async fn the_same_in_one_process() {
    let first = || async {
        (
            StatusCode::FOUND,
            [("location", "http://feed/recent?first")],
            "",
        )
    };
    let router = Router::new()
        .route("/recent", get(recent))
        .route("/first", get(first));
    let source = InProcessFeedSource::new(router);
    let request = |path: &str| PageRequest::new(format!("http://feed{path}").parse().unwrap());

    let page = request("/recent").waiting(Duration::from_secs(3_600));
    let first: PageResponse = source.fetch(&page).await.unwrap();
    assert_eq!(first.body, "Some(\"wait=3600\")");
    assert!(first.waits && !first.not_modified);
    let second = source
        .fetch(&page.with_etag(first.etag.unwrap()))
        .await
        .unwrap();
    assert!(second.not_modified && second.body.is_empty());

    let error = source.fetch(&request("/first")).await.unwrap_err();
    assert!(
        matches!(error, FetchError::Status { status: 302, .. }),
        "{error:?}"
    );
    let first = source
        .fetch(&request("/first").following_redirect())
        .await
        .unwrap();
    assert_eq!(first.url, Some("http://feed/recent?first".parse().unwrap()));
    assert_eq!(first.body, "None");
}

#[tokio::test]
async fn a_busy_server_says_for_how_long() {
    let server = ScriptedServer::new().await;
    let source = source(&server).build().unwrap();
    for (status, transient) in [
        ("429 Oh", true),
        ("502 Oh", true),
        ("503 Oh", true),
        ("504 Oh", true),
        ("500 Oh", false),
        ("404 Oh", false),
    ] {
        server.answer("/feed/recent", Answer::status(status, "retry-after: 7\r\n"));
        let error = source
            .fetch(&request(&server, "/feed/recent"))
            .await
            .unwrap_err();
        assert_eq!(
            error.retry_after(),
            Some(Duration::from_secs(7)),
            "{error:?}"
        );
        assert_eq!(error.is_transient(), transient, "{error:?}");
    }
    server.answer("/feed/recent", Answer::Raw(Vec::new()));
    let error = source
        .fetch(&request(&server, "/feed/recent"))
        .await
        .unwrap_err();
    assert!(
        error.is_transient() && error.retry_after().is_none(),
        "{error:?}"
    );
}
