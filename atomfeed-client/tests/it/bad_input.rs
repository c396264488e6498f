//! Whatever a server sends: a clear error, the marker where it was, and nothing lost once the server
//! has been mended.

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use atomfeed_client::{
    AtomFeedClient, FetchError, HttpFeedSource, HttpFeedSourceBuilder, ProcessError,
    ProcessErrorKind,
};
use atomfeed_core::store::conformance::{Harness, SqliteHarness};
use atomfeed_core::store::{ConsumerStore, SqliteStore};
use atomfeed_core::{EntryId, Marker};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::feeds::{Apply, applied};
use crate::scripted_server::{Answer, ScriptedServer};

/// A feed of two pages: three good events, and a second page that is as the case has it.
struct Lab {
    server: ScriptedServer,
    harness: Arc<SqliteHarness>,
    store: SqliteStore,
}

impl Lab {
    async fn new() -> Self {
        let server = ScriptedServer::new().await;
        let harness = Arc::new(SqliteHarness::default());
        let store = harness.store().await;
        let lab = Self {
            server,
            harness,
            store,
        };
        lab.server
            .answer("/feed/1", Answer::page(lab.page(1, 1..=3, Some("/feed/2"))));
        lab.server
            .answer("/feed/recent", Answer::page(lab.page(2, 4..=6, None)));
        lab
    }

    /// A page with these events; `next` is the path of the next page.
    fn page(
        &self,
        number: u32,
        events: std::ops::RangeInclusive<u32>,
        next: Option<&str>,
    ) -> String {
        let base = &self.server.base;
        let next = next.map(|path| format!("<link rel='next-archive' href='{base}{path}'/>"));
        let entries: String = events
            .map(|n| format!("<entry><id>tag:{n}</id><content>{n}</content></entry>"))
            .collect();
        let previous = match number {
            2 => format!("<link rel='prev-archive' href='{base}/feed/1'/>"),
            _ => String::new(),
        };
        format!(
            "<feed xmlns='http://www.w3.org/2005/Atom'><link rel='via' \
             href='{base}/feed/{number}'/>{}{previous}{entries}</feed>",
            next.unwrap_or_default()
        )
    }

    fn source(&self) -> HttpFeedSourceBuilder {
        let feed = format!("{}/feed/recent", self.server.base).parse().unwrap();
        HttpFeedSource::builder(&feed).with_max_bytes(1 << 20)
    }

    async fn process(&self, source: HttpFeedSourceBuilder) -> Result<u64, ProcessError> {
        let feed = format!("{}/feed/recent", self.server.base).parse().unwrap();
        let client = AtomFeedClient::builder(feed, source.build().unwrap())
            .build(self.store.clone(), Apply::all(&self.harness));
        let processing = client.process_events();
        let processed = tokio::time::timeout(Duration::from_secs(60), processing).await;
        processed
            .expect("it ends")
            .map(|processed| processed.applied)
    }

    /// Page 2 is bad: what was on page 1 is applied, the error is clear, and once page 2 is good,
    /// its events are applied too.
    async fn check(&self, source: HttpFeedSourceBuilder, words: &[&str]) {
        let error = self.process(source).await.expect_err("page 2 is bad");
        let chain = chain(&error);
        for word in words
            .iter()
            .copied()
            .chain(["/feed/2", "processing the feed"])
        {
            assert!(chain.contains(word), "{word:?} is not in {chain:?}");
        }
        assert_eq!(error.processed().applied, 3);
        self.assert_stands_at(3).await;
        self.server
            .answer("/feed/2", Answer::page(self.page(2, 4..=6, None)));
        assert_eq!(self.process(self.source()).await.unwrap(), 3);
        self.assert_stands_at(6).await;
    }

    async fn assert_stands_at(&self, number: u32) {
        let expected: Vec<_> = (1..=number).collect();
        assert_eq!(applied(self.harness.as_ref(), &self.store).await, expected);
        let feed = format!("{}/feed/recent", self.server.base).parse().unwrap();
        let marker = self.store.marker(&feed).await.unwrap().unwrap();
        let entry = marker.last_read_entry_id().map(EntryId::as_str);
        assert_eq!(entry, Some(format!("tag:{number}").as_str()));
    }
}

fn chain(error: &dyn Error) -> String {
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        chain = format!("{chain}: {cause}");
        source = cause.source();
    }
    chain
}

macro_rules! bad_second_pages {
    ($($name:ident: $answer:expr => [$($word:literal),+];)+) => {
        $(#[tokio::test]
        async fn $name() {
            let lab = Lab::new().await;
            let answer: fn(&Lab) -> Answer = $answer;
            lab.server.answer("/feed/2", answer(&lab));
            let source = lab.source().with_read_timeout(Duration::from_millis(300));
            lab.check(source, &[$($word),+]).await;
        })+
    };
}

const OPEN: &str = "<feed xmlns='http://www.w3.org/2005/Atom'>";

bad_second_pages! {
    malformed_xml: |_| Answer::page(format!("{OPEN}<entry></feed>")) => ["malformed"];
    doctype: |_| Answer::page(format!("<!DOCTYPE a>{OPEN}</feed>")) => ["document type", "login"];
    depth_bomb: |_| Answer::page(format!("{OPEN}{}", "<a>".repeat(50_000))) => ["nested more than 32"];
    unknown_entity: |_| Answer::page(format!("{OPEN}<title>&lol;</title></feed>")) => ["entity `lol`"];
    too_many_entries: |_| Answer::page(format!(
        "{OPEN}{}</feed>", "<entry><id>1</id></entry>".repeat(10_001))) => ["more than 10000 entries"];
    not_utf_8: |_| Answer::page([OPEN.as_bytes(), b"\xff\xff</feed>"].concat()) => ["not UTF-8"];
    empty_body: |_| Answer::page("") => ["ends after 0 bytes"];
    truncated_document: |lab| Answer::page(&lab.page(2, 4..=6, None)[..300]) => ["ends after 300 bytes"];
    truncated_body: |lab| {
        let Answer::Raw(mut whole) = Answer::page(lab.page(2, 4..=6, None)) else { unreachable!() };
        whole.truncate(whole.len() - 20);
        Answer::Raw(whole)
    } => ["no answer came"];
    login_page: |_| Answer::ok("text/html", "<html>Sign in</html>") => ["text/html", "login"];
    wrong_type: |lab| Answer::ok("application/json", lab.page(2, 4..=6, None)) => ["application/json"];
    large_body: |_| Answer::page(vec![b' '; 2 << 20]) => ["larger than 1048576 bytes"];
    endless_body: |_| Answer::Endless(vec![b' '; 1 << 16]) => ["larger than 1048576 bytes"];
    silence: |_| Answer::Silence => ["did not answer within 300ms"];
    hung_up: |_| Answer::Raw(Vec::new()) => ["no answer came"];
    no_http: |_| Answer::Raw(b"SSH-2.0-OpenSSH\r\n".to_vec()) => ["no answer came"];
    unauthorized: |_| Answer::status("401 Unauthorized", "", "") => ["401", "user and password"];
    forbidden: |_| Answer::status("403 Forbidden", "", "") => ["403", "may not read"];
    not_found: |_| Answer::status("404 Not Found", "", "gone fishing") => ["404", "gone fishing"];
    server_error: |_| Answer::status("500 Internal Server Error", "", "") => ["500", "log"];
    redirect: |_| Answer::status("302 Found", "location: /feed/3\r\n", "") => ["/feed/3", "allow redirects"];
    loop_to_itself: |lab| Answer::page(lab.page(2, std::ops::RangeInclusive::new(1, 0), Some("/feed/2"))) => ["read already"];
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/atom+xml\r\n\
                 content-encoding: gzip\r\n\r\n";
    [head.as_slice(), &encoder.finish().unwrap()].concat()
}

/// Compressed pages are read, and a small one that swells beyond the limit is not.
#[tokio::test]
async fn gzip_is_understood_and_bounded() {
    let lab = Lab::new().await;
    let bomb = gzip(&vec![b' '; 32 << 20]);
    assert!(bomb.len() < 64 << 10);
    lab.server.answer("/feed/2", Answer::Raw(bomb));
    let error = lab.process(lab.source()).await.unwrap_err();
    assert!(
        chain(&error).contains("larger than 1048576 bytes"),
        "{}",
        chain(&error)
    );
    lab.server.answer(
        "/feed/2",
        Answer::Raw(gzip(lab.page(2, 4..=6, None).as_bytes())),
    );
    assert_eq!(lab.process(lab.source()).await.unwrap(), 3);
    assert!(
        lab.server.heads()[0].contains("accept-encoding"),
        "{:?}",
        lab.server.heads()
    );
    lab.assert_stands_at(6).await;
}

/// With the usual limit, a body of 100 MiB is not read to its end.
#[tokio::test]
async fn a_body_of_100_mebibytes() {
    let lab = Lab::new().await;
    lab.server
        .answer("/feed/2", Answer::page(vec![b' '; 100 << 20]));
    let source = lab.source().with_max_bytes(64 << 20);
    lab.check(source, &["larger than 67108864 bytes"]).await;
}

/// Nothing is applied again, not even by a consumer that starts anew in the middle of the loop.
#[tokio::test]
async fn a_longer_loop() {
    let lab = Lab::new().await;
    lab.server
        .answer("/feed/2", Answer::page(lab.page(2, 4..=6, Some("/feed/1"))));
    for _ in 0..2 {
        let error = lab.process(lab.source()).await.unwrap_err();
        match error.kind() {
            ProcessErrorKind::PageLoop { .. } | ProcessErrorKind::BrokenChain { .. } => {}
            other => panic!("{other:?}"),
        }
        lab.assert_stands_at(6).await;
    }
}

/// A next page that says it follows another one is somewhere else in the feed.
#[tokio::test]
async fn a_broken_chain() {
    let lab = Lab::new().await;
    let base = &lab.server.base;
    let elsewhere = lab
        .page(2, 4..=6, None)
        .replace(&format!("{base}/feed/1"), "/feed/7");
    lab.server.answer("/feed/2", Answer::page(elsewhere));
    lab.check(lab.source(), &["/feed/7", "as the one before it"])
        .await;
}

#[tokio::test]
async fn a_server_that_is_not_there() {
    let lab = Lab::new().await;
    let feed = "http://127.0.0.1:1/feed/recent".parse().unwrap();
    let source = HttpFeedSource::new(&feed).unwrap();
    let client =
        AtomFeedClient::builder(feed, source).build(lab.store.clone(), Apply::all(&lab.harness));
    let error = client.process_events().await.unwrap_err();
    assert!(
        chain(&error).contains("see whether it is up"),
        "{}",
        chain(&error)
    );
}

/// The message names the entry, the page, and what to do.
#[tokio::test]
async fn a_marker_whose_entry_is_gone() {
    let lab = Lab::new().await;
    lab.server
        .answer("/feed/2", Answer::page(lab.page(2, 4..=6, None)));
    assert_eq!(lab.process(lab.source()).await.unwrap(), 6);
    lab.server
        .answer("/feed/2", Answer::page(lab.page(2, 4..=5, None)));
    let error = lab.process(lab.source()).await.unwrap_err();
    let chain = chain(&error);
    for word in ["tag:6", "/feed/2", "set the marker"] {
        assert!(chain.contains(word), "{word:?} is not in {chain:?}");
    }
    lab.assert_stands_at(6).await;
}

/// Pages of another server are fetched only where that is allowed, and then without credentials.
#[tokio::test]
async fn credentials_stay_at_home() {
    let elsewhere = ScriptedServer::new().await;
    let lab = Lab::new().await;
    let first = lab.page(1, 1..=3, Some("/feed/2"));
    let away = first.replace(
        &format!("{}/feed/2", lab.server.base),
        &format!("{}/feed/2", elsewhere.base),
    );
    lab.server.answer("/feed/1", Answer::page(&away));
    elsewhere.answer("/feed/2", Answer::page(lab.page(2, 4..=6, None)));

    let source = lab.source().with_basic_auth("atomfeed", "hunter2");
    assert!(!format!("{source:?}").contains("hunter2"));
    let error = lab.process(source.clone()).await.unwrap_err();
    match error.kind() {
        ProcessErrorKind::Fetch {
            source: FetchError::ForeignOrigin { .. },
            ..
        } => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(elsewhere.heads(), Vec::<String>::new());
    assert!(
        lab.server
            .heads()
            .iter()
            .all(|head| head.contains("authorization: basic"))
    );

    let allowed = source.allow_origin(&elsewhere.base.parse().unwrap());
    assert_eq!(lab.process(allowed).await.unwrap(), 3);
    assert_eq!(elsewhere.heads().len(), 1);
    assert!(
        !elsewhere.heads()[0].contains("authorization"),
        "{:?}",
        elsewhere.heads()
    );
}

/// Once, and only where it is allowed; cookies that the feed's server sets come back to it.
#[tokio::test]
async fn redirects_and_cookies() {
    let lab = Lab::new().await;
    let set = "location: /moved\r\nset-cookie: JSESSIONID=abc; Path=/\r\n";
    lab.server
        .answer("/feed/2", Answer::status("303 See Other", set, ""));
    lab.server
        .answer("/moved", Answer::page(lab.page(2, 4..=6, None)));
    assert_eq!(
        lab.process(lab.source().follow_redirects()).await.unwrap(),
        6
    );
    let heads = lab.server.heads();
    assert!(
        heads.last().unwrap().contains("cookie: jsessionid=abc"),
        "{heads:?}"
    );

    let lab = Lab::new().await;
    lab.server.answer(
        "/feed/2",
        Answer::status("302 Found", "location: /moved\r\n", ""),
    );
    lab.server.answer(
        "/moved",
        Answer::status("302 Found", "location: /feed/2\r\n", ""),
    );
    let source = lab.source().follow_redirects();
    lab.check(source, &["redirects to"]).await;

    let lab = Lab::new().await;
    let away = "location: http://127.0.0.1:1/feed/2\r\n";
    lab.server
        .answer("/feed/2", Answer::status("302 Found", away, ""));
    let source = lab.source().follow_redirects();
    lab.check(source, &["127.0.0.1:1", "allow its origin"])
        .await;
}

/// A marker that somebody set by hand to something that is no address.
#[tokio::test]
async fn a_marker_that_is_no_address() {
    let lab = Lab::new().await;
    let feed: atomfeed_client::FeedUri =
        format!("{}/feed/recent", lab.server.base).parse().unwrap();
    let mut work = lab.store.begin().await.unwrap();
    let marker = Marker::new(feed)
        .after(EntryId::new("tag:1").unwrap())
        .on_page("page one");
    work.move_marker(None, &marker).await.unwrap();
    work.commit().await.unwrap();
    let error = lab.process(lab.source()).await.unwrap_err();
    assert!(chain(&error).contains("page one"), "{}", chain(&error));
}
