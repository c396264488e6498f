//! Feeds that not everybody may read.

#![allow(clippy::unwrap_used)]

use atomfeed_core::atom::{ReadLimits, read_feed};
use reqwest::header::{COOKIE, SET_COOKIE};
use reqwest::{Client, RequestBuilder};

use crate::emr::Emr;
use crate::programs::Program;

/// The status, and where the page says that it is.
async fn sent(request: RequestBuilder) -> (u16, Option<String>) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let body = response.bytes().await.unwrap();
    let page = read_feed(&body, &ReadLimits::default());
    (
        status,
        page.ok().map(|page| page.link("self").unwrap().to_owned()),
    )
}

#[tokio::test]
async fn a_feed_is_guarded_by_the_host_or_by_credentials() {
    let program = Program::start("guarded-feed", &["127.0.0.1:0"]);
    let origin = program.stdout.wait_for("listening on", |lines| {
        Some(lines.first()?.strip_prefix("listening on ")?.to_owned())
    });
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = Client::new();
    let feed = format!("{origin}/feed/recent");
    let partners = format!("{origin}/partners/feed/recent");

    let wrong = http.post(format!("{origin}/login")).body("guess");
    assert_eq!(sent(wrong).await.0, 403);
    let right = http.post(format!("{origin}/login")).body("a password");
    let welcome = right.send().await.unwrap();
    let cookie = welcome.headers()[SET_COOKIE].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let shown = (200, Some(feed.clone()));
    assert_eq!(sent(http.get(&feed).header(COOKIE, cookie)).await, shown);
    assert_eq!(sent(http.get(&feed)).await, (401, None));
    let forged = http.get(&feed).header(COOKIE, "session=1");
    assert_eq!(sent(forged).await, (401, None));
    let of_partners = http.get(&feed).bearer_auth("a-token");
    assert_eq!(sent(of_partners).await, (401, None));

    let shown = (200, Some(partners.clone()));
    let by_password = http.get(&partners).basic_auth("lab", Some("lab password"));
    assert_eq!(sent(by_password).await, shown);
    assert_eq!(
        sent(http.get(&partners).bearer_auth("a-token")).await,
        shown
    );
    assert_eq!(sent(http.get(&partners)).await, (401, None));
    let of_the_host = http.get(&partners).header(COOKIE, cookie);
    assert_eq!(sent(of_the_host).await, (401, None));

    program.terminate();
    program.finish().assert_status(0);
}

#[tokio::test]
async fn feed_server_admits_whom_it_is_told_to() {
    let options = ["--user", "lab", "--password", "secret", "--token", "abc"];
    let emr = Emr::start("memory:", &options);
    let http = Client::new();
    let feed = emr.recent();
    let by_password = http.get(&feed).basic_auth("lab", Some("secret"));
    assert_eq!(sent(by_password).await, (200, Some(feed.clone())));
    let by_token = http.get(&feed).bearer_auth("abc");
    assert_eq!(sent(by_token).await, (200, Some(feed.clone())));
    for wrong in [
        http.get(&feed),
        http.get(&feed).basic_auth("lab", Some("abc")),
        http.get(&feed).bearer_auth("secret"),
    ] {
        assert_eq!(sent(wrong).await, (401, None));
    }
    emr.stop().assert_status(0);
}

#[test]
fn credentials_and_proxies_that_cannot_be_are_refused() {
    for (options, words) in [
        (&["--user", "lab"][..], &["--password"][..]),
        (&["--password", "secret"], &["--user"]),
        (&["--user", "a:b", "--password", "c"], &["colon"]),
        (
            &["--user", "lab", "--password", ""],
            &["--password", "not empty"],
        ),
        (&["--token", "a b"], &["--token", "letters"]),
        (&["--trust-proxy", "10.0.0.0/33"], &["--trust-proxy"]),
    ] {
        Emr::refused("memory:", options).assert_refused(words);
    }
    let proxies = ["--trust-proxy", "10.0.0.0/8", "--trust-proxy", "::1/128"];
    Emr::start("memory:", &proxies).stop().assert_status(0);
}
