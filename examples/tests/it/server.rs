//! What feed-server serves, and what it refuses.

#![allow(clippy::unwrap_used)]

use chrono::{DateTime, DurationRound, SecondsFormat, TimeDelta, Utc};
use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use crate::emr::{Emr, entry_id, event, ndjson, sqlite, uuid};
use crate::programs::Program;

#[tokio::test]
async fn says_once_where_it_listens_and_ends_well_when_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let emr = Emr::start(&sqlite(folder.path(), "emr.db"), &[]);
    assert!(!emr.url("").ends_with(":0"), "{}", emr.url(""));
    let page = emr.page("/feed/recent").await;
    assert_eq!(
        (page.link("via"), page.entries.len()),
        (Some(&*emr.url("/feed/0")), 0)
    );

    let finished = emr.stop();
    finished.assert_status(0);
    assert_eq!(finished.stdout.len(), 1, "{finished:#?}");
}

/// A supervisor may take the line as its word that the server can be stopped.
#[test]
fn ends_well_when_asked_to_as_soon_as_it_listens() {
    for _again in 0..20 {
        let options = ["--database", "memory:", "--listen", "127.0.0.1:0"];
        Program::terminated_at_its_first_line("feed-server", &options).assert_status(0);
    }
}

#[tokio::test]
async fn ends_well_while_a_reader_keeps_its_connection() {
    let emr = Emr::start("memory:", &[]);
    let _silent = std::net::TcpStream::connect(emr.url("").trim_start_matches("http://")).unwrap();
    // The client keeps this connection open.
    emr.page("/feed/recent").await;
    emr.stop().assert_status(0);
}

/// Caches hold sealed pages for ever: who changes what is on them is told to empty those.
/// One that opens all the connections it can, and waits on each, is not let wait by all of them.
#[tokio::test]
async fn who_waits_keeps_nobody_out_where_few_files_can_be_opened() {
    let emr = Emr::with_files(400, "memory:", &[]);
    let server: std::net::SocketAddr = emr.url("").replace("http://", "").parse().unwrap();
    let request = format!(
        "GET /feed/recent HTTP/1.1\r\nHost: {server}\r\nIf-None-Match: *\r\nPrefer: wait=30\r\n\r\n"
    );
    let mut greedy = Vec::new();
    for _ in 0..400 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut connection = socket.connect(server).await.unwrap();
        // Those that the server has closed by then take nothing.
        let _ = connection.write_all(request.as_bytes()).await;
        greedy.push(connection);
    }
    for time in 0..50 {
        let modest = reqwest::Client::new();
        let answer = modest.get(emr.url("/feed/recent")).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("the {time}. time: {error:?}"));
        assert_eq!(answer.status(), 200);
    }
    drop(greedy);
}

#[tokio::test]
async fn a_change_of_what_is_on_every_page_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let database = sqlite(folder.path(), "emr.db");
    let [here, there] = ["http://emr.example.org/", "http://lab.example.org/"];
    for (public_url, title, said) in [
        (here, "Patients", None),
        (here, "Patients", None),
        (here, "All patients", Some("rendered otherwise")),
        (here, "All patients", None),
        (there, "All patients", Some("another public URL")),
        (there, "All patients", None),
    ] {
        let options = ["--public-url", public_url, "--title", title];
        let log = Emr::start(&database, &options).stop().stderr.join("\n");
        assert_eq!(
            log.contains("empty the caches"),
            said.is_some(),
            "{title}: {log}"
        );
        assert!(log.contains(said.unwrap_or_default()), "{title}: {log}");
    }
}

#[tokio::test]
async fn what_it_is_told_stands_on_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=25).map(event));
    let public = "https://emr.example.org:8443/openmrs/ws/atomfeed/";
    let options = [
        ["--import", &file],
        ["--page-size", "10"],
        ["--mount", "/ws/atomfeed"],
        ["--public-url", public],
        ["--title", "Ganiyari & more"],
        ["--author", "Bahmni <team>"],
        ["--id-prefix", "urn:emr"],
        ["--generator", "A generator"],
        ["--generator-uri", "https://example.org/generator?a=1&b=2"],
    ];
    let emr = Emr::start("memory:", options.as_flattened());
    let page = emr.page("/ws/atomfeed/2").await;
    assert_eq!(page.title, "Ganiyari & more");
    assert_eq!(page.author.as_deref(), Some("Bahmni <team>"));
    assert_eq!(page.id, "urn:emr+2");
    assert_eq!(page.generator.as_deref(), Some("A generator"));
    assert_eq!(
        page.generator_uri.as_deref(),
        Some("https://example.org/generator?a=1&b=2")
    );
    let links: Vec<_> = page
        .links
        .iter()
        .map(|link| (&*link.rel, &*link.href))
        .collect();
    let base = public.trim_end_matches('/');
    let expected = [
        ("self", "2"),
        ("via", "2"),
        ("next-archive", "3"),
        ("prev-archive", "1"),
        ("current", "recent"),
        ("first", "first"),
    ];
    let expected = expected.map(|(rel, number)| (rel, format!("{base}/{number}")));
    assert_eq!(
        links,
        expected.each_ref().map(|(rel, href)| (*rel, &**href))
    );
    let ids: Vec<_> = page.entries.iter().map(|entry| entry.id.clone()).collect();
    assert_eq!(ids, (11..=20).map(entry_id).collect::<Vec<_>>());
    assert_eq!(
        emr.get("/feed/recent").await.0,
        404,
        "it is mounted elsewhere"
    );
}

#[tokio::test]
async fn says_what_the_original_says_when_it_is_told_nothing() {
    let emr = Emr::start("memory:", &[]);
    let page = emr.page("/feed/recent").await;
    assert_eq!(
        (&*page.title, page.author.as_deref()),
        ("Event feed", Some("Atomfeed"))
    );
    assert_eq!(
        (&*page.id, page.generator.as_deref()),
        ("+0", Some("Atomfeed"))
    );
    assert_eq!(page.link("self"), Some(&*emr.recent()));
}

#[tokio::test]
async fn a_public_url_without_a_path_gets_the_mount_and_the_root_is_a_mount() {
    for (mount, base) in [
        ("/ws/", "http://emr.example.org/ws"),
        ("/", "http://emr.example.org"),
    ] {
        let options = ["--public-url", "http://emr.example.org", "--mount", mount];
        let emr = Emr::start("memory:", &options);
        let page = emr
            .page(&format!("{}/recent", mount.trim_end_matches('/')))
            .await;
        assert_eq!(page.link("self"), Some(&*format!("{base}/recent")));
    }
}

#[tokio::test]
async fn answers_to_every_kind_of_page_url() {
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=7).map(event));
    let emr = Emr::start("memory:", &["--page-size", "5", "--import", &file]);
    let not_above_0 =
        "AtomFeedRuntimeException: feedId must not be null and must be greater than 0";
    let does_not_exist = "AtomFeedRuntimeException: feed does not exist";
    for (path, expected_status, words) in [
        ("/feed/0", 400, not_above_0),
        ("/feed/-1", 400, not_above_0),
        ("/feed/abc", 400, not_above_0),
        ("/feed/patient/0", 400, not_above_0),
        ("/feed/patient/-1", 400, not_above_0),
        ("/feed/1000000000000", 404, does_not_exist),
        ("/feed/99999999999999999999999999", 404, does_not_exist),
        ("/feed/3", 404, does_not_exist),
        ("/feed/patient/2", 404, does_not_exist),
        ("/feed/nobody/1", 404, does_not_exist),
    ] {
        let (status, body) = emr.get(path).await;
        assert_eq!(status, expected_status, "{path}: {body}");
        assert!(body.contains(words), "{path}: {body}");
    }
    let unknown = emr.page("/feed/nobody/recent").await;
    assert_eq!(unknown.link("via"), Some(&*emr.url("/feed/nobody/0")));
    assert_eq!(unknown.entries.len(), 0);
    // In whatever case; the links are spelled as asked.
    let category = emr.page("/feed/PATIENT/recent").await;
    let ids: Vec<_> = category
        .entries
        .iter()
        .map(|entry| entry.id.clone())
        .collect();
    assert_eq!(ids, [2, 4, 6].map(entry_id));
    assert_eq!(category.link("via"), Some(&*emr.url("/feed/PATIENT/1")));
}

#[tokio::test]
async fn slash_and_query_are_tolerated_and_never_get_into_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=7).map(event));
    let emr = Emr::start("memory:", &["--page-size", "5", "--import", &file]);
    for path in [
        "/feed/1",
        "/feed/recent",
        "/feed/patient/recent",
        "/feed/encounter/1",
    ] {
        let (status, plain) = emr.get(path).await;
        assert_eq!(status, 200, "{plain}");
        for suffix in ["/", "?secret=1&page=3", "/?secret=1"] {
            let (status, body) = emr.get(&format!("{path}{suffix}")).await;
            assert_eq!((status, body), (200, plain.clone()), "{path}{suffix}");
        }
        // Nor does another host that is asked for.
        let request = emr
            .request(Method::GET, path)
            .header("host", "evil.example.org");
        assert_eq!(request.send().await.unwrap().text().await.unwrap(), plain);
    }
}

#[tokio::test]
async fn head_has_no_body_and_post_is_not_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=3).map(event));
    let emr = Emr::start("memory:", &["--import", &file]);
    let (_, body) = emr.get("/feed/recent").await;
    let head = emr
        .request(Method::HEAD, "/feed/recent")
        .send()
        .await
        .unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(
        head.headers()["content-type"],
        "application/atom+xml; charset=utf-8"
    );
    assert_eq!(head.headers()["content-length"], *body.len().to_string());
    assert_eq!(head.text().await.unwrap(), "");
    for path in ["/feed/recent", "/feed/1", "/feed/patient/recent"] {
        for method in [Method::POST, Method::PUT, Method::DELETE] {
            let response = emr.request(method, path).body("x").send().await.unwrap();
            assert_eq!(response.status(), 405, "{path}");
        }
    }
}

#[tokio::test]
async fn pages_of_time_hold_what_was_published_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let hour = Utc::now().duration_trunc(TimeDelta::hours(1)).unwrap();
    let at = |hours: i64, minutes: i64| -> DateTime<Utc> {
        hour - TimeDelta::hours(hours) + TimeDelta::minutes(minutes)
    };
    let events = [at(3, 10), at(3, 40), at(2, 5), at(2, 59)]
        .into_iter()
        .zip(1..)
        .map(|(timestamp, number)| {
            let timestamp = timestamp.to_rfc3339_opts(SecondsFormat::Secs, true);
            json!({ "title": null, "content": null, "uuid": uuid(number), "timestamp": timestamp })
        });
    let file = ndjson(folder.path(), events);
    for (options, expected) in [
        (&[][..], [vec![1, 2], vec![3, 4], vec![]]),
        (&["--page-size", "1800000"][..], [vec![1], vec![2], vec![3]]),
    ] {
        let mut all = vec!["--chunking", "time", "--import", &file];
        all.extend(options);
        let emr = Emr::start("memory:", &all);
        for (expected, number) in expected.into_iter().zip(1..) {
            let page = emr.page(&format!("/feed/{number}")).await;
            let ids: Vec<_> = page.entries.into_iter().map(|entry| entry.id).collect();
            let expected: Vec<_> = expected.into_iter().map(entry_id).collect();
            assert_eq!(ids, expected, "page {number} with {options:?}");
        }
    }
}

#[tokio::test]
async fn sealed_pages_stay_the_same_across_restarts_and_a_change_of_page_size() {
    let folder = tempfile::tempdir().unwrap();
    let database = sqlite(folder.path(), "emr.db");
    let file = ndjson(folder.path(), (1..=25).map(event));
    let url = ["--public-url", "http://emr.example.org/feed"];
    let sealed = ["/feed/1", "/feed/2", "/feed/patient/1"];
    let mut first = Vec::new();
    for (options, recent) in [
        (&["--page-size", "10", "--import", &file][..], "3"),
        (&[], "3"),
        // From the next page on.
        (&["--page-size", "7"], "3"),
    ] {
        let emr = Emr::start(&database, &[&url[..], options].concat());
        let mut pages = Vec::new();
        for path in sealed {
            let (status, body) = emr.get(path).await;
            assert_eq!(status, 200, "{path}: {body}");
            assert!(body.contains("next-archive"), "{path} is sealed: {body}");
            pages.push(body);
        }
        let newest = emr.page("/feed/recent").await;
        assert_eq!(newest.link("via"), Some(&*format!("{}/{recent}", url[1])));
        assert_eq!(newest.entries.len(), 5);
        match first.is_empty() {
            true => first = pages,
            false => assert_eq!(pages, first, "with {options:?}"),
        }
        emr.stop().assert_status(0);
    }
    // 26 to 30 fill page 3; page 4 is the first of seven.
    let file = ndjson(folder.path(), (26..=40).map(event));
    let emr = Emr::start(&database, &[&url[..], &["--import", &file]].concat());
    for (path, expected) in sealed.iter().zip(&first) {
        assert_eq!(emr.get(path).await.1, *expected, "{path}, with more events");
    }
    for (path, length) in [("/feed/3", 10), ("/feed/4", 7), ("/feed/5", 3)] {
        assert_eq!(emr.page(path).await.entries.len(), length, "{path}");
    }
}

#[test]
fn wrong_options_are_refused_by_name() {
    for (options, words) in [
        (&["--listen", "nowhere"][..], &["--listen"][..]),
        (&["--public-url", "not a url"], &["--public-url"]),
        (&["--mount", "feed"], &["--mount", "begin it with /"]),
        (&["--chunking", "weekly"], &["--chunking"]),
        (&["--page-size", "many"], &["--page-size"]),
        (&["--page-size", "0"], &["--page-size"]),
        (
            &["--chunking", "time", "--page-size", "1000"],
            &["--page-size", "milliseconds"],
        ),
        (
            &["--import", "/nowhere/events.ndjson"],
            &["/nowhere/events.ndjson"],
        ),
        (&["--no-such-option"], &["--no-such-option"]),
    ] {
        Emr::refused("memory:", options).assert_refused(words);
    }
    for database in [
        "nonsense",
        "memory:x",
        "oracle://localhost/x",
        "sqlite::memory:",
    ] {
        Emr::refused(database, &[]).assert_refused(&["--database"]);
    }
    Program::start("feed-server", &[])
        .finish()
        .assert_refused(&["--database"]);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    Emr::refused("memory:", &["--listen", &address]).assert_refused(&["listening on", &address]);
}

#[tokio::test]
async fn a_feed_of_numbers_is_not_made_one_of_time() {
    let folder = tempfile::tempdir().unwrap();
    let database = sqlite(folder.path(), "emr.db");
    Emr::start(&database, &[]).stop().assert_status(0);
    Emr::refused(&database, &["--chunking", "time"]).assert_refused(&["number"]);
    let emr = Emr::start(&database, &[]);
    assert_eq!(emr.page("/feed/recent").await.entries.len(), 0);
}
