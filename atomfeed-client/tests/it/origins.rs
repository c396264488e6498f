//! A feed whose links name another origin than it is reached by, and several that are logged in at.

use atomfeed_client::{BasicAuth, FeedSource, PageRequest};
use atomfeed_core::store::ConsumerStore;

use crate::scripted_server::{Answer, header};
use crate::two_pages::Lab;

/// Base64 of `atomfeed:hunter2`, and of `other:swordfish`.
const OURS: &str = "Basic YXRvbWZlZWQ6aHVudGVyMg==";
const THEIRS: &str = "Basic b3RoZXI6c3dvcmRmaXNo";

const INTERNAL: &str = "http://emr.internal:8080";

/// The links, `via` among them, are those of the server's own name: the marker keeps them, and whoever
/// goes on after it finds the page by them.
#[tokio::test]
async fn a_server_goes_by_another_name_among_its_own() {
    let lab = Lab::new().await;
    let internal = |page: String| {
        let page = page.replace(&lab.server.base, INTERNAL);
        page.replace("href='/feed", &format!("href='{INTERNAL}/feed"))
    };
    let first = internal(lab.page(1, 1..=3, Some("/feed/2")));
    let second = internal(lab.page(2, 4..=6, None));
    lab.answer("/feed/1", Answer::page(first));
    lab.answer("/feed/2", Answer::page(&second));
    lab.answer(
        "/feed/recent",
        Answer::redirect(&format!("{INTERNAL}/feed/2")),
    );
    let base = lab.server.base.parse().unwrap();
    let source = lab
        .source()
        .with_basic_auth("atomfeed", "hunter2")
        .follow_redirects();
    let source = source
        .map_origin(&INTERNAL.parse().unwrap(), &base)
        .build()
        .unwrap();
    let recent = PageRequest::new(lab.feed().url().clone());
    let redirected = source.fetch(&recent).await.unwrap();
    assert_eq!(
        redirected.url.unwrap().as_str(),
        format!("{INTERNAL}/feed/2")
    );
    lab.answer("/feed/recent", Answer::page(&second));

    assert_eq!(lab.process(source.clone()).await.unwrap(), 6);
    let marker = lab.store.marker(&lab.feed()).await.unwrap().unwrap();
    assert_eq!(
        marker.page_uri(),
        Some(format!("{INTERNAL}/feed/2").as_str())
    );
    assert_eq!(lab.process(source).await.unwrap(), 0);
    for head in lab.server.heads() {
        assert_eq!(header(&head, "authorization"), Some(OURS));
        assert_eq!(
            header(&head, "host"),
            Some(lab.server.base.trim_start_matches("http://"))
        );
    }
}

#[tokio::test]
async fn each_origin_is_logged_in_at_by_its_own() {
    let lab = Lab::new().await;
    let away = lab.elsewhere.url("/feed/2");
    lab.lead_to(&away);
    let second = lab.page(2, 4..=6, None);
    let second = second.replace("'/feed/1'", &format!("'{}'", lab.server.url("/feed/1")));
    lab.elsewhere.answer("/feed/2", Answer::page(second));
    let source = lab.source().with_basic_auth("atomfeed", "hunter2");
    let other = BasicAuth::new("other", "swordfish");
    let source = source.with_login_at(&lab.elsewhere.base.parse().unwrap(), other);
    assert_eq!(lab.process(source.build().unwrap()).await.unwrap(), 6);
    let logins = |heads: Vec<String>| {
        let logins = heads
            .into_iter()
            .map(|head| header(&head, "authorization").map(str::to_owned));
        logins.collect::<Vec<_>>()
    };
    for login in logins(lab.server.heads()) {
        assert_eq!(login.as_deref(), Some(OURS));
    }
    assert_eq!(logins(lab.elsewhere.heads()), [Some(THEIRS.to_owned())]);
}
