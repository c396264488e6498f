//! Clients that mean harm, while an honest one goes on being served the same bytes.

use std::time::{Duration, Instant};

use atomfeed_core::NewEvent;
use atomfeed_core::store::MemoryStore;
use atomfeed_core::store::conformance::{Harness, MemoryHarness};
use atomfeed_server::{EventFeedService, FeedServer, ServerLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use crate::feeds::{config, mounted, publish};
use crate::served::{Answer, Client, PATIENCE, Served, serve, serve_app};

const SEALED: &str = "/feed/1";
const HEAD: &str = "/feed/recent";

async fn app() -> axum::Router {
    let store: MemoryStore = MemoryHarness.store().await;
    let events = (0..12).map(|n| NewEvent::new(n.to_string(), "").in_category("lab"));
    publish::<MemoryHarness>(&store, events).await;
    let config = config().with_page_size(5);
    mounted(EventFeedService::open(store, config).await.unwrap())
}

/// One who asks for pages again and again, each time over a new connection and over an old one.
struct Honest {
    kept: Client,
    pages: Vec<(&'static str, Answer)>,
}

impl Honest {
    async fn of(served: &Served) -> Self {
        let mut kept = served.connect_from("127.0.0.9").await;
        let mut pages = Vec::new();
        for page in [SEALED, HEAD, "/feed/lab/2"] {
            let answer = kept.get(page).await;
            assert_eq!(answer.status, 200);
            pages.push((page, answer));
        }
        Self { kept, pages }
    }

    async fn is_served(&mut self, served: &Served) {
        for (page, expected) in &self.pages {
            let mut new = served.connect_from("127.0.0.9").await;
            // First the one that is waited for, by the time of a head.
            for client in [&mut new, &mut self.kept] {
                assert_same(&client.get(page).await, expected, page);
            }
        }
    }
}

#[track_caller]
fn assert_same(found: &Answer, expected: &Answer, what: &str) {
    assert_eq!(found.lasting_head(), expected.lasting_head(), "{what}");
    assert!(found.body == expected.body, "{what}: {}", found.text());
}

/// They are of one client and of many, more than the server takes in all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_send_nothing_keep_nobody_out() {
    let wanted = if std::env::var_os("ATOMFEED_FULL").is_some() {
        10_000
    } else {
        1_000
    };
    // All of their own ends stay open, and half of the server's.
    let files = rlimit::increase_nofile_limit(wanted * 3 / 2 + 1_000).unwrap();
    let number = wanted.min(files.saturating_sub(1_000) * 2 / 3);
    println!("{number} connections of {wanted}: the process may open {files} files");
    assert!(number > 0, "too few files to open");
    let limits = ServerLimits::default()
        .with_connections(number as usize / 2)
        .with_connections_a_client(number as usize / 4);
    let served = serve(FeedServer::new(app().await).with_limits(limits)).await;
    let mut honest = Honest::of(&served).await;
    let mut silent = Vec::new();
    for one in 0..number {
        // Half of them from one address, which is the honest one's, too.
        let address = match one % 2 {
            0 => "127.0.0.9".to_owned(),
            _ => format!("127.0.{}.{}", 1 + one / 250, 1 + one % 250),
        };
        silent.push(served.connect_from(&address).await);
        if one % (number / 20).max(1) == 0 {
            let mut new = served.connect_from("127.0.0.9").await;
            assert_same(&new.get(SEALED).await, &honest.pages[0].1, "in between");
        }
    }
    // The old connection was the one that had been idle longest.
    honest.kept = served.connect_from("127.0.0.9").await;
    honest.is_served(&served).await;
}

#[tokio::test]
async fn headers_without_end_are_cut_off() {
    let served = serve_app(app().await).await;
    let mut honest = Honest::of(&served).await;
    for line in [
        "A: b\r\n".repeat(100),
        format!("A: {}\r\n", "b".repeat(60_000)),
    ] {
        let mut client = served.connect().await;
        client.send("GET /feed/1 HTTP/1.1\r\nHost: emr\r\n").await;
        let flood = async { while client.0.write_all(line.as_bytes()).await.is_ok() {} };
        timeout(PATIENCE, flood).await.expect("it is cut off");
        honest.is_served(&served).await;
    }
}

#[tokio::test]
async fn a_mebibyte_of_header_and_ten_thousand_lines_are_refused() {
    let served = serve_app(app().await).await;
    let mut honest = Honest::of(&served).await;
    for lines in [
        "A: b\r\n".repeat(10_000),
        format!("A: {}\r\n", "b".repeat(1 << 20)),
    ] {
        let mut client = served.connect().await;
        client
            .send(format!("GET /feed/1 HTTP/1.1\r\nHost: emr\r\n{lines}\r\n"))
            .await;
        assert_eq!(client.answer().await.status, 431);
        honest.is_served(&served).await;
    }
}

#[tokio::test]
async fn paths_lead_nowhere_but_to_pages() {
    let served = serve_app(app().await).await;
    let mut honest = Honest::of(&served).await;
    for path in [
        "/feed/../../etc/passwd",
        "/../../../etc/passwd",
        "/feed/..%2f..%2fetc%2fpasswd",
        "/feed/%2e%2e/%2e%2e/etc/passwd",
        "/feed/%2e%2e%2f%2e%2e%2fetc%2fpasswd/1",
        "/feed/..\\..\\etc\\passwd",
        "/feed/....//....//etc/passwd",
        "/feed/%252e%252e%252fetc%252fpasswd",
        "/feed/%00",
        "/feed/%00/recent",
        "/feed/1%00.xml",
        "/feed/lab%00/recent",
        "/feed/%FF/recent",
        "/feed/%C3%28/recent",
        "/feed/%ED%A0%80/recent",
        "/feed/%",
        "/feed/%zz",
        "//evil.example/feed/1/x",
        "http://evil.example/etc/passwd",
    ] {
        let answer = served.get(path).await;
        assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
        let text = answer.text();
        for inside in ["root:", "src/", "panicked", "/home", "sqlite", "rust"] {
            assert!(!text.contains(inside), "{path}: {text}");
        }
    }
    // A category of any name is an empty feed: what it is called leads nowhere.
    let climbing = served.get("/feed/..%2f..%2fetc%2fpasswd/recent").await;
    assert_eq!(climbing.status, 200);
    assert!(!climbing.text().contains("root:"));
    let mut client = served.connect().await;
    client
        .send(b"GET /feed/\xff\xfe/recent HTTP/1.1\r\nHost: emr\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status, 400);
    honest.is_served(&served).await;
}

#[tokio::test]
async fn forged_names_change_nothing_on_a_page() {
    let served = serve_app(app().await).await;
    let mut honest = Honest::of(&served).await;
    for (page, expected) in honest.pages.clone() {
        for forged in [
            "Host: evil.example",
            "Host: evil.example:1\r\nX-Forwarded-Host: evil.example",
            "Host: \"><script>",
            "Host: emr\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: gopher",
            "Host: emr\r\nX-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6",
            "Host: emr\r\nForwarded: for=6.6.6.6;host=evil.example;proto=gopher",
            "Host: emr\r\nX-Forwarded-Prefix: /evil\r\nX-Forwarded-Port: 1",
            "Host: emr\r\nX-Original-URL: /feed/2\r\nX-Rewrite-URL: /feed/2",
            "Host: emr\r\nX-HTTP-Method-Override: DELETE",
        ] {
            let mut client = served.connect().await;
            client
                .send(format!("GET {page} HTTP/1.1\r\n{forged}\r\n\r\n"))
                .await;
            assert_same(&client.answer().await, &expected, forged);
            honest.is_served(&served).await;
        }
        let mut client = served.connect().await;
        client
            .send(format!(
                "GET http://evil.example{page} HTTP/1.1\r\nHost: evil.example\r\n\r\n"
            ))
            .await;
        assert_same(&client.answer().await, &expected, "an absolute target");
    }
    for hosts in ["", "Host: a\r\nHost: b\r\n"] {
        let mut client = served.connect().await;
        client
            .send(format!("GET /feed/1 HTTP/1.1\r\n{hosts}\r\n"))
            .await;
        assert_eq!(client.answer().await.status, 400, "{hosts:?}");
    }
}

/// What one server takes for the end of a request and another does not.
#[tokio::test]
async fn no_request_is_hidden_in_another() {
    let served = serve_app(app().await).await;
    let mut honest = Honest::of(&served).await;
    let hidden = "GET /feed/2 HTTP/1.1\r\nHost: emr\r\n\r\n";
    let length = hidden.len();
    for (header, body) in [
        // Read by its length, the hidden request is the body; by its chunks, the next request.
        (
            format!(
                "Content-Length: {}\r\nTransfer-Encoding: chunked",
                length + 5
            ),
            format!("0\r\n\r\n{hidden}"),
        ),
        (
            format!(
                "Transfer-Encoding: chunked\r\nContent-Length: {}",
                length + 5
            ),
            format!("0\r\n\r\n{hidden}"),
        ),
        (
            format!("Content-Length: 0\r\nContent-Length: {length}"),
            hidden.to_owned(),
        ),
        (format!("Content-Length: +{length}"), hidden.to_owned()),
        (format!("Content-Length: {length}, 0"), hidden.to_owned()),
        (
            "Transfer-Encoding: xchunked".to_owned(),
            format!("0\r\n\r\n{hidden}"),
        ),
        (
            "Transfer-Encoding: chunked, identity".to_owned(),
            format!("0\r\n\r\n{hidden}"),
        ),
        (
            "Transfer-Encoding : chunked".to_owned(),
            format!("0\r\n\r\n{hidden}"),
        ),
        (
            "Transfer-Encoding: chunked".to_owned(),
            format!("zz\r\n{hidden}"),
        ),
        (
            "Transfer-Encoding: chunked".to_owned(),
            format!("fffffffffffffffff\r\n{hidden}"),
        ),
        (
            "Transfer-Encoding: chunked".to_owned(),
            format!("1;\nx\r\n0\r\n\r\n{hidden}"),
        ),
    ] {
        let mut client = served.connect().await;
        client
            .send(format!(
                "POST /feed/1 HTTP/1.1\r\nHost: emr\r\n{header}\r\n\r\n{body}"
            ))
            .await;
        let mut answers = Vec::new();
        while let Some(answer) = client.try_answer().await {
            answers.push(answer.status);
        }
        assert!(
            answers.iter().all(|status| *status >= 400),
            "{header:?} {body:?}: {answers:?}"
        );
        honest.is_served(&served).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_writers_and_deaf_readers_hold_nobody_up() {
    let soon = Duration::from_secs(1);
    let limits = ServerLimits::default()
        .with_header_time(5 * soon)
        .with_write_time(soon);
    let served = serve(FeedServer::new(app().await).with_limits(limits)).await;
    let mut honest = Honest::of(&served).await;

    let mut slow = served.connect().await;
    let dripping = tokio::spawn(async move {
        while slow.0.write_all(b"G").await.is_ok() {
            sleep(soon / 10).await;
        }
    });
    // Asks, again and again, and never reads.
    let mut deaf = served.connect().await;
    let asking = tokio::spawn(async move {
        let request = format!("GET {SEALED} HTTP/1.1\r\nHost: emr\r\n\r\n").repeat(100);
        while deaf.0.write_all(request.as_bytes()).await.is_ok() {}
    });
    let begun = Instant::now();
    while !(dripping.is_finished() && asking.is_finished()) {
        honest.is_served(&served).await;
        assert!(begun.elapsed() < PATIENCE, "both are closed");
    }
}

#[tokio::test]
async fn junk_is_refused() {
    let served = serve_app(app().await).await;
    let mut honest = Honest::of(&served).await;
    for junk in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\0\0\0\0\0\0\r\n\r\n",
        b"GET /feed/1\r\n\r\n",
        b"GET /feed/1 HTTP/9.9\r\nHost: emr\r\n\r\n",
        b"GET /feed/1 HTTP/1.1\r\nHost: emr\r\n folded: x\r\n\r\n",
        b"GET /feed/1 HTTP/1.1\r\nHost: emr\r\nA\x00: b\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\njunk instead of frames, and some more of it",
    ] {
        let mut client = served.connect().await;
        client.send(junk).await;
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, client.0.read_to_end(&mut answer)).await;
        let _ = read.expect("it is refused, or closed");
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.contains("HTTP/1.1 2"), "{junk:?}: {text}");
        honest.is_served(&served).await;
    }
}
