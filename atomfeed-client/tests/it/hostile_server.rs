//! A server that means harm: the client ends in bounded time and memory with a clear error, its marker is
//! untouched, and nobody else is asked for anything, let alone told a secret. (What a server may also
//! send by mistake stands in `bad_input`.)

use std::time::Duration;

use atomfeed_client::ProcessErrorKind::{Document, Fetch};
use atomfeed_client::{
    BasicAuth, FeedSource, FeedUri, FetchError as F, HttpFeedSource, HttpFeedSourceBuilder,
    PageRequest,
};

use crate::scripted_server::{Answer, ScriptedServer, header};
use crate::two_pages::{Lab, SOON, assert_says, bad_second_pages, chain, fetch};

/// A head of 200, with these headers.
fn head(headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\n{headers}").into_bytes()
}

fn raw(headers: &str, body: &str) -> Answer {
    Answer::Raw([head(headers).as_slice(), b"\r\n", body.as_bytes()].concat())
}

/// Logs in, and follows redirects.
fn trusting(_: &Lab, source: HttpFeedSourceBuilder) -> HttpFeedSourceBuilder {
    let source = source.with_basic_auth("atomfeed", "hunter2");
    source.follow_redirects()
}

/// The same, and gives up soon.
fn impatient(lab: &Lab, source: HttpFeedSourceBuilder) -> HttpFeedSourceBuilder {
    trusting(lab, source).with_total_timeout(SOON)
}

bad_second_pages! {
    sent_to_another_host: |lab| Answer::redirect(&lab.elsewhere.url("/feed/2"))
        => fetch!(ForeignOrigin), ["allow its origin"], trusting;
    sent_to_the_metadata_of_a_cloud: |_| Answer::redirect("http://169.254.169.254/latest/meta-data/")
        => fetch!(ForeignOrigin), ["169.254.169.254", "allow its origin"], trusting;
    linked_to_the_metadata_of_a_cloud: |lab| lab.elsewhere_is("http://169.254.169.254/feed/2")
        => fetch!(ForeignOrigin), ["169.254.169.254", "allow its origin"], trusting;
    sent_to_another_scheme: |_| Answer::redirect("file:///etc/passwd")
        => fetch!(ForeignOrigin), ["file:///etc/passwd"], trusting;
    sent_to_a_long_address: |lab| Answer::redirect(&lab.server.url(&format!("/{}", "x".repeat(9_000))))
        => fetch!(Redirect), ["give that address"], trusting;
    sent_nowhere: |_| Answer::status("302 Found", "")
        => fetch!(Redirect), ["give that address"], trusting;
    sent_in_a_circle: |_| Answer::redirect("/feed/2")
        => fetch!(Redirect), ["/feed/2", "give that address"], trusting;
    a_name_and_another_host: |lab| {
        let host = lab.elsewhere.base.replace("http://", "");
        Answer::redirect(&format!("http://emr@{host}/feed/2"))
    }
        => fetch!(ForeignOrigin), ["allow its origin"], trusting;
    a_slash_and_another_host: |lab| {
        Answer::redirect(&lab.elsewhere.url("/feed/2").replace("http:", ""))
    }
        => fetch!(ForeignOrigin), ["allow its origin"], trusting;
    a_body_in_drips: |_| Answer::slow()
        => fetch!(Timeout), ["within 2s", "allow more time"], impatient;
    a_head_in_drips: |_| Answer::Dripping(b"HTTP/1.1 200 OK\r\nx: y".to_vec())
        => fetch!(Timeout), ["within 2s", "allow more time"], impatient;
    an_error_in_drips: |_| {
        Answer::Dripping(b"HTTP/1.1 500 Oh\r\n\r\nso sorry".to_vec())
    }
        => fetch!(Status), ["500", "its log"],
        |_, source| source.with_read_timeout(SOON);
    interim_answers_without_end: |_| {
        Answer::Repeated(Vec::new(), b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(100), usize::MAX)
    }
        => fetch!(Timeout), ["within 2s"], impatient;
    ten_thousand_headers: |_| {
        let headers: String = (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect();
        raw(&headers, "")
    }
        => fetch!(Connection), ["message head is too large"];
    a_header_of_a_mebibyte: |_| raw(&format!("x: {}\r\n", "y".repeat(1 << 20)), "")
        => fetch!(Connection), ["message head is too large"];
    headers_without_end: |_| Answer::Repeated(head(""), b"x: y\r\n".repeat(100), usize::MAX)
        => fetch!(Connection), ["message head is too large"];
    a_header_without_end: |_| Answer::Repeated(head("x: "), b"y".repeat(1 << 16), usize::MAX)
        => fetch!(Connection), ["message head is too large"];
    trailers_without_end: |_| Answer::Repeated(
        [head("transfer-encoding: chunked\r\n\r\n"), b"1\r\n \r\n0\r\n".to_vec()].concat(),
        b"x: y\r\n".repeat(100), usize::MAX)
        => fetch!(Body), ["broke off"];
    a_chunk_of_any_size: |_| raw("transfer-encoding: chunked\r\n", "fffffffffffffffff\r\n")
        => fetch!(Body), ["broke off"];
    a_chunk_extension_without_end: |_| Answer::Repeated(
        head("transfer-encoding: chunked\r\n\r\n1;"), b"x".repeat(1 << 16), usize::MAX)
        => fetch!(Body), ["broke off"];
    less_than_its_length: |lab| Answer::page(lab.page(2, 4..=6, None)).cut_by(1)
        => fetch!(Body), ["broke off"];
    more_than_its_length: |lab| {
        let page = lab.page(2, 4..=6, None);
        raw(&format!("content-length: {}\r\n", page.len() - 20), &page)
    }
        => Document { .. }, ["ends after"];
    two_lengths: |_| raw("content-length: 1\r\ncontent-length: 20\r\n", "<feed/>")
        => fetch!(Connection), ["no answer came"];
    a_length_that_is_none: |_| raw("content-length: -1\r\n", "<feed/>")
        => fetch!(Connection), ["no answer came"];
    a_length_beyond_all: |_| raw("content-length: 18446744073709551616\r\n", "<feed/>")
        => fetch!(Connection), ["no answer came"];
    one_coding_in_another: |_| raw("content-encoding: gzip, zstd\r\n", "x")
        => fetch!(Coding), ["\"gzip, zstd\"", "gzip or zstd"];
    one_coding_after_another: |_| raw("content-encoding: gzip\r\ncontent-encoding: zstd\r\n", "x")
        => fetch!(Coding), ["\"gzip, zstd\"", "gzip or zstd"];
    a_coding_that_was_not_asked_for: |_| raw("content-encoding: br\r\n", "x")
        => fetch!(Coding), ["\"br\"", "gzip or zstd"];
    zstd_that_is_gzip: |lab| {
        let page = crate::scripted_server::gzip(lab.page(2, 4..=6, None).as_bytes());
        Answer::with("200 OK", "content-encoding: zstd\r\n", page)
    }
        => fetch!(Body), ["cannot be decoded"];
    // Whoever looks back 128 MiB keeps as much.
    zstd_that_wants_memory: |_| {
        let frame = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x88, 0x03, 0x08, 0x00, b' '];
        Answer::with("200 OK", "content-encoding: zstd\r\n", frame)
    }
        => fetch!(Body), ["cannot be decoded"];
    one_bomb_after_another: |_| Answer::gzip(&crate::scripted_server::gzip(&[b' '; 1 << 16]).repeat(1_000))
        => fetch!(TooLarge), ["larger than 1048576 bytes"];
}

fn url(text: &str) -> url::Url {
    text.parse().unwrap()
}

/// A host is that with its port; cookies know nothing of ports, and names of hosts may be the same.
#[tokio::test]
async fn cookies_go_to_nobody_else() {
    let lab = Lab::new().await;
    let sets = |server: &ScriptedServer, value: &str, page: String| {
        let host = server.base.trim_start_matches("http://");
        let host = host.split(':').next().unwrap();
        let cookies = format!(
            "content-type: text/xml\r\nset-cookie: plain={value}; Path=/\r\n\
             set-cookie: wide={value}; Path=/; Domain={host}\r\n\
             set-cookie: foreign={value}; Path=/; Domain=evil.example.org\r\n"
        );
        Answer::with("200 OK", &cookies, page)
    };
    let away = lab.elsewhere.url("/feed/2");
    let first = lab.page(1, 1..=3, Some(&away));
    lab.answer("/feed/1", sets(&lab.server, "ours", first));
    let second = lab.page(2, 4..=6, None);
    let second = second.replace("'/feed/1'", &format!("'{}'", lab.server.url("/feed/1")));
    lab.elsewhere
        .answer("/feed/2", sets(&lab.elsewhere, "theirs", second));
    let source = || {
        lab.source()
            .allow_origin(&url(&lab.elsewhere.base))
            .build()
            .unwrap()
    };
    let source = source();
    assert_eq!(lab.process(source.clone()).await.unwrap(), 6);
    // Once more each, with what was set before.
    for server in [&lab.server, &lab.elsewhere] {
        let page = PageRequest::new(url(&server.url("/feed/2")));
        source.fetch(&page).await.unwrap();
    }
    for (server, own, other) in [
        (&lab.server, "ours", "theirs"),
        (&lab.elsewhere, "theirs", "ours"),
    ] {
        let heads = server.heads();
        let cookies = header(heads.last().unwrap(), "cookie").unwrap();
        assert!(cookies.contains(&format!("plain={own}")), "{cookies}");
        assert!(!heads.concat().contains(&format!("={other}")), "{heads:?}");
        assert!(!heads.concat().contains("foreign="), "{heads:?}");
    }
}

/// An origin that is allowed but was given nothing to be logged in with asks for it in vain.
#[tokio::test]
async fn credentials_are_not_given_to_who_asks() {
    let lab = Lab::new().await;
    lab.elsewhere_is(&lab.elsewhere.url("/feed/2"));
    let challenge = "www-authenticate: Basic realm=\"emr\"\r\n";
    lab.elsewhere
        .answer("/feed/2", Answer::status("401 Unauthorized", challenge));
    let source = lab.source().with_basic_auth("atomfeed", "hunter2");
    let source = source
        .allow_origin(&url(&lab.elsewhere.base))
        .build()
        .unwrap();
    let error = lab.process(source).await.unwrap_err();
    assert_says(&error, &["401", "give user and password"]);
    let heads = lab.elsewhere.heads();
    assert_eq!(heads.len(), 1);
    assert_eq!(header(&heads[0], "authorization"), None, "{heads:?}");
    lab.assert_stands_at(3).await;
}

/// Who writes a name and a password into a link would be them.
#[tokio::test]
async fn a_link_logs_nobody_in() {
    let login = BasicAuth::new("atomfeed", "hunter2");
    for (login, sent) in [
        (None, None),
        (Some(login), Some("Basic YXRvbWZlZWQ6aHVudGVyMg==")),
    ] {
        let lab = Lab::new().await;
        let host = lab.server.base.replace("http://", "");
        lab.lead_to(&format!("http://mallory:pw@{host}/feed/2"));
        let source = match login {
            Some(login) => lab.source().with_login(login),
            None => lab.source(),
        };
        assert_eq!(lab.process(source.build().unwrap()).await.unwrap(), 6);
        assert_eq!(lab.server.heads_of("/feed/2").len(), 1);
        for head in lab.server.heads() {
            assert_eq!(header(&head, "authorization"), sent, "{head}");
        }
    }
}

/// Nor are they told to the log, by whatever becomes of the link.
#[tokio::test]
async fn a_password_in_a_link_is_not_repeated() {
    let lab = Lab::new().await;
    let host = lab.server.base.replace("http://", "");
    for link in [
        "http://mallory:swordfish@evil.invalid/feed/2".to_owned(),
        format!("http://mallory:swordfish@{host}/gone"),
    ] {
        lab.lead_to(&link);
        let error = lab
            .process(lab.source().build().unwrap())
            .await
            .unwrap_err();
        let shown = format!("{} {error:?}", chain(&error));
        assert!(!shown.contains("swordfish"), "{shown}");
        assert!(!shown.contains("mallory"), "{shown}");
    }
}

/// By number or by name: where those are refused, nobody there is asked, be it the feed itself.
#[tokio::test]
async fn private_addresses_are_not_asked() {
    let lab = Lab::new().await;
    let port = url(&lab.server.base).port().unwrap();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
    ] {
        let feed: FeedUri = format!("http://{host}:{port}/feed/recent").parse().unwrap();
        let source = HttpFeedSource::builder(&feed)
            .refuse_private_addresses()
            .build()
            .unwrap();
        let error = source
            .fetch(&PageRequest::new(feed.url().clone()))
            .await
            .unwrap_err();
        assert!(
            matches!(error, F::PrivateAddress { .. }),
            "{host}: {error:?}"
        );
        assert_says(&error, &["private network", "allow such addresses"]);
        assert!(!error.is_transient());
    }
    // One that nothing answers at would take its time.
    let feed: FeedUri = "http://169.254.169.254/latest".parse().unwrap();
    let source = HttpFeedSource::builder(&feed).refuse_private_addresses();
    let source = source.with_connect_timeout(Duration::MAX).build().unwrap();
    let error = source
        .fetch(&PageRequest::new(feed.url().clone()))
        .await
        .unwrap_err();
    assert!(matches!(error, F::PrivateAddress { .. }), "{error:?}");
    assert_eq!(lab.server.heads(), Vec::<String>::new());
}
