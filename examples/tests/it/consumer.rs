//! What feed-consumer says when it cannot do what it is told to.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpSocket;

use crate::emr::{Emr, event, ndjson};
use crate::lab::Lab;
use crate::programs::Program;

const ANYWHERE: &str = "http://127.0.0.1:1/feed/recent";

#[tokio::test]
async fn a_server_that_is_down_is_named_with_what_to_do() {
    // Bound and not listening: nobody else can have the port meanwhile.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let feed = format!("http://{}/feed/recent", socket.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let finished = Lab::new(folder.path(), &*feed).run(&["--once", "--apply"]);
    finished.assert_status(1);
    assert_eq!((finished.summary(), finished.stdout.len()), ((0, 0), 0));
    let said = finished.stderr.join("\n");
    for words in [
        "error",
        &feed,
        "see whether it is up and its address is right",
    ] {
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test]
async fn a_feed_that_breaks_off_keeps_what_was_applied_and_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=20).map(event));
    // Its pages say that they are elsewhere.
    let elsewhere = [
        "--public-url",
        "http://emr.example.org/feed",
        "--page-size",
        "10",
    ];
    let emr = Emr::start("memory:", &[&elsewhere[..], &["--import", &file]].concat());
    let lab = Lab::new(folder.path(), emr.recent());
    let finished = lab.run(&["--once", "--start", &emr.url("/feed/1"), "--apply"]);
    finished.assert_status(1);
    assert_eq!((finished.summary(), finished.events().len()), ((10, 0), 10));
    let said = finished.stderr.join("\n");
    assert!(said.contains("correct the server's public URL"), "{said}");
    assert_eq!(lab.count("applied").await, 10);
}

#[tokio::test]
async fn a_wrong_address_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let emr = Emr::start("memory:", &[]);
    for path in ["/nowhere/recent", "/feed/17"] {
        let finished = Lab::new(folder.path(), emr.url(path)).run(&["--once"]);
        finished.assert_status(1);
        assert_eq!((finished.summary(), finished.stdout.len()), ((0, 0), 0));
        let said = finished.stderr.join("\n");
        for words in ["404", path, "see whether the address is right"] {
            assert!(said.contains(words), "{said}");
        }
    }
}

/// A feed without events for whoever logs in as `lab` with `s3cret:`.
async fn guarded_feed() -> SocketAddr {
    async fn page(headers: HeaderMap) -> Response {
        const LAB: &str = "Basic bGFiOnMzY3JldDo=";
        if headers
            .get("authorization")
            .is_none_or(|given| given != LAB)
        {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        let page = r#"<feed xmlns="http://www.w3.org/2005/Atom"><id>+0</id></feed>"#;
        ([("content-type", "application/atom+xml")], page).into_response()
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().fallback(page);
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn user_and_password_open_a_feed_that_wants_them() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::new(
        folder.path(),
        format!("http://{}/recent", guarded_feed().await),
    );
    for login in [&[][..], &["--user", "lab", "--password", "guessed"]] {
        let finished = lab.run(&[&["--once"], login].concat());
        finished.assert_status(1);
        let said = finished.stderr.join("\n");
        assert!(
            said.contains("401") && said.contains("user and password"),
            "{said}"
        );
        assert!(!said.contains("guessed"), "{said}");
    }
    lab.catch_up(&["--user", "lab", "--password", "s3cret:"], 0, 0);
}

#[test]
fn wrong_values_are_refused_by_the_name_of_their_option() {
    let folder = tempfile::tempdir().unwrap();
    for (options, word) in [
        (&["--start", "nowhere"][..], "--start"),
        (&["--start", ""], "--start"),
        (&["--fail-matching", "("], "--fail-matching"),
        (&["--poll", "often"], "--poll"),
        (&["--user", "lab"], "--password"),
        (&["--password", "s3cret"], "--user"),
        (&["--once", "--follow"], "--follow"),
        (&["--no-such-option"], "--no-such-option"),
    ] {
        let finished = Lab::new(folder.path(), ANYWHERE).run(options);
        finished.assert_refused(&[word]);
        assert_eq!(
            finished.status.code(),
            Some(2),
            "a usage error: {finished:#?}"
        );
    }
    for feed in ["nonsense", "/feed/recent", "mailto:lab@example.org"] {
        Lab::new(folder.path(), feed)
            .run(&[])
            .assert_refused(&["--feed", feed]);
    }
    for database in [
        "nonsense",
        "memory:x",
        "oracle://localhost/x",
        "sqlite::memory:",
    ] {
        let options = ["--feed", ANYWHERE, "--database", database];
        Program::start("feed-consumer", &options)
            .finish()
            .assert_refused(&["--database"]);
    }
    for options in [&["--feed", ANYWHERE][..], &["--database", "memory:"]] {
        let missing = Program::start("feed-consumer", options).finish();
        missing.assert_refused(&["required"]);
        assert_eq!(missing.status.code(), Some(2));
    }
}

#[test]
fn a_wait_that_cannot_be_is_refused_by_the_name_of_its_option() {
    let folder = tempfile::tempdir().unwrap();
    for poll in ["--poll=-1", "--poll=NaN", "--poll=inf", "--poll=1e300"] {
        let finished = Lab::new(folder.path(), ANYWHERE).run(&[poll]);
        finished.assert_refused(&["--poll"]);
        assert_eq!(
            finished.status.code(),
            Some(2),
            "a usage error: {finished:#?}"
        );
    }
}

#[tokio::test]
async fn a_consumer_in_memory_begins_anew_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=5).map(event));
    let emr = Emr::start("memory:", &["--import", &file]);
    for _again in 0..2 {
        let feed = emr.recent();
        let options = [
            "--feed",
            &feed,
            "--database",
            "memory:",
            "--once",
            "--apply",
        ];
        let finished = Program::start("feed-consumer", &options).finish();
        finished.assert_status(0);
        assert_eq!((finished.summary(), finished.events().len()), ((5, 0), 5));
    }
}
