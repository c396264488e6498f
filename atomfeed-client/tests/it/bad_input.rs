//! Whatever a server sends: a clear error, the marker where it was, and nothing lost once the server
//! has been mended.

use std::ops::RangeInclusive;

use atomfeed_client::ProcessErrorKind::{
    BadLink, BrokenChain, ContentType, Document, Fetch, MarkedEntryMissing, PageLoop,
};
use atomfeed_client::{FetchError as F, HttpFeedSource, HttpFeedSourceBuilder};
use atomfeed_core::atom::ReadError as R;
use atomfeed_core::store::ConsumerStore;
use atomfeed_core::{EntryId, Marker};

use crate::scripted_server::{Answer, OPEN, gzip};
use crate::two_pages::{Lab, SOON, assert_says, bad_second_pages, chain, fetch};

const NONE: RangeInclusive<u32> = RangeInclusive::new(1, 0);

macro_rules! document {
    ($why:ident) => {
        Document {
            source: R::$why { .. },
            ..
        }
    };
}

bad_second_pages! {
    malformed_xml: |_| Answer::page(format!("{OPEN}<entry></feed>"))
        => document!(Malformed), ["malformed at byte"];
    doctype: |_| Answer::page(format!("<!DOCTYPE a>{OPEN}</feed>"))
        => document!(Doctype), ["document type", "login"];
    depth_bomb: |_| Answer::page(format!("{OPEN}{}", "<a>".repeat(50_000)))
        => document!(TooDeep), ["nested more than 32"];
    unknown_entity: |_| Answer::page(format!("{OPEN}<title>&lol9;</title></feed>"))
        => document!(UnknownEntity), ["entity `lol9`", "publisher must"];
    too_many_entries: |_| Answer::page(format!(
        "{OPEN}{}</feed>", "<entry><id>1</id></entry>".repeat(10_001)))
        => document!(TooManyEntries), ["more than 10000", "raise the limit"];
    not_utf_8: |_| Answer::page([OPEN.as_bytes(), b"\xff\xff</feed>"].concat())
        => document!(NotUtf8), ["not UTF-8", "publisher must"];
    not_a_feed: |_| Answer::ok("text/xml", "<error/>")
        => document!(NotAFeed), ["`error`", "see whether the URL"];
    empty_body: |_| Answer::page("")
        => document!(Truncated), ["ends after 0 bytes", "fetched again"];
    truncated_document: |lab| Answer::page(&lab.page(2, 4..=6, None)[..250])
        => document!(Truncated), ["ends after 250 bytes", "fetched again"];
    truncated_body: |lab| Answer::page(lab.page(2, 4..=6, None)).cut_by(20)
        => fetch!(Body), ["fetching page", "broke off", "try again"];
    login_page: |_| Answer::ok("text/html;charset=utf-8", "<html>Sign in</html>")
        => ContentType { .. }, ["text/html", "login"];
    wrong_type: |lab| Answer::ok("application/json", lab.page(2, 4..=6, None))
        => ContentType { .. }, ["application/json", "allow any content type"];
    large_body: |_| Answer::large(2)
        => fetch!(TooLarge), ["larger than 1048576 bytes", "allow more"];
    body_of_100_mebibytes: |_| Answer::large(100)
        => fetch!(TooLarge), ["larger than 67108864 bytes", "allow more"],
        // With the usual limit.
        |lab, _| HttpFeedSource::builder(&lab.feed());
    endless_body: |_| Answer::endless()
        => fetch!(TooLarge), ["larger than 1048576 bytes", "allow more"];
    gzip_bomb: |_| Answer::gzip(&gzip(&vec![b' '; 32 << 20]))
        => fetch!(TooLarge), ["larger than 1048576 bytes", "allow more"];
    zstd_bomb: |_| Answer::zstd_of_mebibytes(65)
        => fetch!(TooLarge), ["larger than 67108864 bytes", "allow more"],
        |lab, _| HttpFeedSource::builder(&lab.feed());
    truncated_gzip: |lab| Answer::gzip(&gzip(lab.page(2, 4..=6, None).as_bytes())[..50])
        => fetch!(Body), ["fetching page", "broke off", "try again"];
    no_gzip: |lab| Answer::gzip(lab.page(2, 4..=6, None).as_bytes())
        => fetch!(Body), ["fetching page", "cannot be decoded"];
    silence: |_| Answer::Stalled(Vec::new())
        => fetch!(Timeout), ["within 2s", "allow more time"],
        |_, source| source.with_read_timeout(SOON);
    silence_halfway: |lab| Answer::page(lab.page(2, 4..=6, None)).cut_by(20).stalled()
        => fetch!(Timeout), ["within 2s", "allow more time"],
        |_, source| source.with_read_timeout(SOON);
    silence_in_all: |lab| Answer::page(lab.page(2, 4..=6, None)).cut_by(20).stalled()
        => fetch!(Timeout), ["within 2s", "allow more time"],
        |_, source| source.with_total_timeout(SOON);
    hung_up: |_| Answer::Raw(Vec::new())
        => fetch!(Connection), ["no answer came", "see whether it is up"];
    no_http: |_| Answer::Raw(b"SSH-2.0-OpenSSH\r\n".to_vec())
        => fetch!(Connection), ["no answer came", "its address is right"];
    connection_refused: |lab| lab.elsewhere_is("http://127.0.0.1:1/feed/2")
        => fetch!(Connection), ["127.0.0.1:1/", "see whether it is up"],
        |_, source| source.allow_origin(&"http://127.0.0.1:1/".parse().unwrap());
    unknown_host: |lab| lab.elsewhere_is("http://emr.invalid/feed/2")
        => fetch!(Connection), ["emr.invalid", "its address is right"],
        |_, source| source
            .with_connect_timeout(std::time::Duration::from_secs(60))
            .allow_origin(&"http://emr.invalid/".parse().unwrap());
    tls_where_there_is_none: |lab| lab.elsewhere_is(&https(&lab.elsewhere.url("/feed/2")))
        => fetch!(Connection), ["https://127", "its address is right"],
        |lab, source| source.allow_origin(&https(&lab.elsewhere.base).parse().unwrap());
    other_origin: |lab| lab.elsewhere_is(&lab.elsewhere.url("/feed/2"))
        => fetch!(ForeignOrigin), ["allow its origin", "public URL"];
    other_scheme: |lab| lab.elsewhere_is("file:///feed/2")
        => fetch!(ForeignOrigin), ["allow its origin", "public URL"];
    no_address: |lab| lab.elsewhere_is("http://[/feed/2")
        => BadLink { .. }, ["next-archive", "http://[/feed/2", "/feed/1", "no URL"];
    unauthorized: |_| Answer::status("401 Unauthorized", "")
        => fetch!(Status), ["401", "give user and password"];
    forbidden: |_| Answer::status("403 Forbidden", "") => fetch!(Status), ["403", "may not read"];
    not_found: |_| Answer::with("404 Not Found", "", "gone fishing")
        => fetch!(Status), ["404", "address", "gone fishing"];
    server_error: |_| Answer::status("500 Internal Server Error", "")
        => fetch!(Status), ["500", "its log"];
    server_error_at_length: |_| Answer::with("500 Oh", "", format!("no such table{}", " at x".repeat(2000)))
        => fetch!(Status), ["500", "its log", "no such table"];
    server_error_without_end: |_| Answer::with("500 Oh", "", "so sorry").cut_by(2).stalled()
        => fetch!(Status), ["500", "its log"],
        |_, source| source.with_read_timeout(SOON);
    redirect: |_| Answer::redirect("/moved")
        => fetch!(Redirect), ["/moved", "give that address", "allow redirects"];
    second_redirect: |lab| {
        lab.answer("/moved", Answer::redirect("/feed/2"));
        Answer::redirect("/moved")
    }
        => fetch!(Redirect), ["redirects to \"/feed/2\"", "give that address"],
        |_, source| source.follow_redirects();
    redirect_to_another_origin: |lab| Answer::redirect(&lab.elsewhere.url("/feed/2"))
        => fetch!(ForeignOrigin), ["allow its origin"],
        |_, source| source.follow_redirects();
    loop_to_itself: |lab| Answer::page(lab.page(2, NONE, Some("/feed/2")))
        => PageLoop { .. }, ["read already", "publisher to mend"];
    broken_chain: |lab| Answer::page(lab.page(2, 4..=6, None).replace("'/feed/1'", "'/feed/7'"))
        => BrokenChain { .. }, ["/feed/7", "as the one before it", "publisher to mend"];
}

fn https(url: &str) -> String {
    url.replacen("http:", "https:", 1)
}

/// What makes a bomb is its size alone.
#[tokio::test]
async fn compressed_pages_are_read() {
    let lab = Lab::new().await;
    let page = gzip(lab.page(2, 4..=6, None).as_bytes());
    lab.answer("/feed/2", Answer::gzip(&page));
    assert_eq!(lab.reads().await, 6);
    let heads = lab.server.heads_of("/feed/2").concat();
    assert!(heads.contains("gzip"), "{heads}");
    lab.assert_stands_at(6).await;
}

/// Without a marker there is none afterwards, either.
#[tokio::test]
async fn a_feed_that_cannot_be_had_at_all() {
    let lab = Lab::new().await;
    for path in ["/feed/recent", "/feed/1"] {
        lab.mend();
        lab.answer(path, Answer::status("503 Oh", ""));
        let error = lab.fails().await;
        assert_says(&error, &["fetching page", path, "503", "its log"]);
        assert_eq!(lab.store.marker(&lab.feed()).await.unwrap(), None);
    }
    lab.mend();
    assert_eq!(lab.reads().await, 6);
    lab.assert_stands_at(6).await;
}

/// Nothing is applied again, not even by a consumer that starts anew in the middle of the loop.
#[tokio::test]
async fn a_longer_loop() {
    let lab = Lab::new().await;
    let second = lab.page(2, 4..=6, Some("/feed/1"));
    lab.answer("/feed/2", Answer::page(second));
    let error = lab.fails().await;
    assert!(matches!(error.kind(), PageLoop { .. }), "{error:?}");
    assert_says(&error, &["/feed/1", "read already", "publisher to mend"]);
    lab.assert_stands_at(6).await;

    let error = lab.fails().await;
    assert!(matches!(error.kind(), PageLoop { .. }), "{error:?}");
    assert_says(&error, &["/feed/1", "read already", "publisher to mend"]);
    lab.assert_stands_at(6).await;
}

/// The original's concurrent publishers write an event twice. Whoever stands behind the first of them
/// has not read what is between them.
#[tokio::test]
async fn an_event_that_is_twice_on_a_page() {
    let lab = Lab::new().await;
    lab.answer("/feed/2", Answer::page(lab.page(2, 4..=4, None)));
    assert_eq!(lab.reads().await, 4);
    let fourth = "<entry><id>tag:4</id><content>4</content></entry></feed>";
    let twice = lab.page(2, 4..=6, None).replace("</feed>", fourth);
    lab.answer("/feed/2", Answer::page(twice));
    assert_eq!(lab.reads().await, 2);
    lab.assert_stands_at(6).await;
    assert_eq!(lab.reads().await, 0);
}

/// On the original's time chunks an event on the border is on both pages, and not always first.
#[tokio::test]
async fn an_event_of_the_page_before() {
    let lab = Lab::new().await;
    let third = "<entry><id>tag:3</id><content>3</content></entry>";
    let page = lab.page(2, 4..=6, None);
    let fifth = page.find("<entry><id>tag:5").unwrap();
    let both = [&page[..fifth], third, &page[fifth..]].concat();
    lab.answer("/feed/2", Answer::page(both));
    assert_eq!(lab.reads().await, 6);
    lab.assert_stands_at(6).await;
}

/// Two pages, each of which says that it follows the other, in a feed that was read to its end.
#[tokio::test]
async fn a_circle() {
    let lab = Lab::new().await;
    assert_eq!(lab.reads().await, 6);
    let back = format!("{OPEN}<link rel='prev-archive' href='/feed/2'/>");
    let first = lab.page(1, 1..=3, Some("/feed/2")).replace(OPEN, &back);
    let second = lab.page(2, 4..=6, Some("/feed/1"));
    lab.answer("/feed/1", Answer::page(first));
    lab.answer("/feed/2", Answer::page(second));
    for _ in 0..2 {
        let error = lab.fails().await;
        assert_says(&error, &["publisher to mend"]);
        lab.assert_stands_at(6).await;
    }
}

/// The message names the entry, the page, and what to do; and once the entry is back, so is the
/// consumer.
#[tokio::test]
async fn a_marker_whose_entry_is_gone() {
    let lab = Lab::new().await;
    assert_eq!(lab.reads().await, 6);
    for events in [4..=5, 4..=4, 7..=9, NONE] {
        let restored = lab.page(2, events, None);
        lab.answer("/feed/2", Answer::page(restored));
        let error = lab.fails().await;
        assert!(
            matches!(error.kind(), MarkedEntryMissing { .. }),
            "{error:?}"
        );
        let page = lab.server.url("/feed/2");
        assert_says(&error, &["marker", "entry tag:6 ", &page, "set the marker"]);
        lab.assert_stands_at(6).await;
    }
    let whole = lab.page(2, 4..=6, Some("/feed/3"));
    lab.answer("/feed/2", Answer::page(whole));
    let third = lab.page(3, 7..=9, None);
    lab.answer("/feed/3", Answer::page(third));
    assert_eq!(lab.reads().await, 3);
    lab.assert_stands_at(9).await;
}

/// A marker that somebody set by hand to something that is no address.
#[tokio::test]
async fn a_marker_that_is_no_address() {
    let lab = Lab::new().await;
    let mut work = lab.store.begin().await.unwrap();
    let marker = Marker::new(lab.feed()).after(EntryId::new("tag:1").unwrap());
    let marker = marker.on_page("page one");
    work.move_marker(None, &marker).await.unwrap();
    work.commit().await.unwrap();
    let error = lab.fails().await;
    assert_says(&error, &["the marker", "page one", "no URL"]);
    assert_eq!(lab.store.marker(&lab.feed()).await.unwrap(), Some(marker));
    assert!(lab.order.lock().unwrap().is_empty());
}

/// Base64 of the user and the password below.
const LOGIN: &str = "authorization: Basic YXRvbWZlZWQ6aHVudGVyMg==\r\n";

/// Pages of another server are fetched where that is allowed, whatever leads there, and without
/// credentials.
#[tokio::test]
async fn credentials_stay_at_home() {
    for redirected in [false, true] {
        let lab = Lab::new().await;
        let away = lab.elsewhere.url("/feed/2");
        match redirected {
            true => lab.answer("/feed/2", Answer::redirect(&away)),
            false => lab.lead_to(&away),
        }
        // Elsewhere, it is the first server that is another one.
        let page = lab.page(2, 4..=6, None);
        let page = page.replace("'/feed/1'", &format!("'{}'", lab.server.url("/feed/1")));
        lab.elsewhere.answer("/feed/2", Answer::page(page));

        let source = lab.source().with_basic_auth("atomfeed", "hunter2");
        let source = source.follow_redirects();
        let allowed = source.allow_origin(&lab.elsewhere.base.parse().unwrap());
        assert_eq!(lab.process(allowed.build().unwrap()).await.unwrap(), 6);
        for head in lab.server.heads() {
            assert!(head.contains(LOGIN), "{head}");
        }
        let heads = lab.elsewhere.heads();
        assert_eq!(heads.len(), 1);
        let head = heads[0].to_ascii_lowercase();
        assert!(!head.contains("authorization"), "{head}");
        lab.assert_stands_at(6).await;
    }
}

/// Neither what a source looks like nor an error shows a password or a session.
#[tokio::test]
async fn secrets_are_not_shown() {
    let lab = Lab::new().await;
    let cookie = "set-cookie: JSESSIONID=c0ffee; Path=/\r\n";
    lab.answer("/feed/2", Answer::status("401 Oh", cookie));
    let builder = lab.source().with_basic_auth("atomfeed", "hunter2");
    let source = builder.clone().build().unwrap();
    let error = lab.process(source.clone()).await.unwrap_err();
    for shown in [
        format!("{builder:?}"),
        format!("{source:#?}"),
        format!("{error:?}"),
        chain(&error),
    ] {
        for secret in ["hunter2", "YXRvbWZlZWQ6aHVudGVyMg", "c0ffee"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

/// Cookies come back to the server that set them, whether with a page or with a redirect.
#[tokio::test]
async fn cookies_come_back() {
    let lab = Lab::new().await;
    let newest = lab.page(2, 4..=6, None);
    let cookie = "content-type: text/xml\r\nset-cookie: JSESSIONID=c0ffee; Path=/\r\n";
    let newest = Answer::with("200 OK", cookie, newest);
    lab.answer("/feed/recent", newest);
    let moved = "location: /moved\r\nset-cookie: node=n1; Path=/moved\r\n";
    lab.answer("/feed/2", Answer::status("303 See Other", moved));
    lab.answer("/moved", Answer::page(lab.page(2, 4..=6, None)));
    let source = lab.source().follow_redirects().build().unwrap();
    assert_eq!(lab.process(source).await.unwrap(), 6);

    let heads = lab.server.heads();
    assert!(!heads[0].contains("\r\ncookie: "), "{heads:?}");
    for head in &heads[1..] {
        assert!(head.contains("JSESSIONID=c0ffee"), "{head}");
    }
    let moved = lab.server.heads_of("/moved").concat();
    assert!(moved.contains("node=n1"), "{moved}");
    lab.assert_stands_at(6).await;
}

/// What is not allowed is not even asked for.
#[tokio::test]
async fn redirects_are_followed_once_and_where_that_is_allowed() {
    let lab = Lab::new().await;
    lab.answer("/feed/2", Answer::redirect("/moved"));
    lab.answer("/moved", Answer::redirect("/moved/again"));
    for (source, asked) in [(lab.source(), 0), (lab.source().follow_redirects(), 1)] {
        lab.process(source.build().unwrap()).await.unwrap_err();
        assert_eq!(lab.server.heads_of("/moved").len(), asked);
        assert_eq!(lab.server.heads_of("/moved/again").len(), 0);
    }
}

/// Every message says what can be done about it.
#[tokio::test]
async fn what_can_be_done_is_said() {
    for page in [
        format!("{OPEN}<entry></feed>"),
        format!("{OPEN}{}", "<a>".repeat(40)),
    ] {
        let lab = Lab::new().await;
        lab.answer("/feed/2", Answer::page(page));
        let error = lab.fails().await;
        assert_says(&error, &["publisher"]);
    }
}
