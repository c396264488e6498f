//! A running feed-server, and what is published through it.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use atomfeed_core::atom::{Feed, ReadLimits, read_feed};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::programs::{Finished, PATIENCE, Program};

pub(crate) struct Emr {
    pub(crate) program: Program,
    address: String,
    http: reqwest::Client,
}

impl Emr {
    /// Starts a server on a free port, and waits until it says that it serves.
    pub(crate) fn start(database: &str, arguments: &[&str]) -> Self {
        Self::of(Program::start(
            "feed-server",
            &with_defaults(database, arguments),
        ))
    }

    /// Starts a server that may open so many files.
    pub(crate) fn with_files(files: u32, database: &str, arguments: &[&str]) -> Self {
        let arguments = with_defaults(database, arguments);
        Self::of(Program::with_files(files, "feed-server", &arguments))
    }

    fn of(program: Program) -> Self {
        let address = program.stdout.wait_for("listening on", |lines| {
            let address = lines.first()?.strip_prefix("listening on http://");
            Some(
                address
                    .expect("the first line says where it listens")
                    .to_owned(),
            )
        });
        // Fails when there is one already, and that is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            program,
            address,
            http: reqwest::Client::new(),
        }
    }

    /// Runs a server that is to refuse its options.
    pub(crate) fn refused(database: &str, arguments: &[&str]) -> Finished {
        Program::start("feed-server", &with_defaults(database, arguments)).finish()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn recent(&self) -> String {
        self.url("/feed/recent")
    }

    pub(crate) fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.url(path)).timeout(PATIENCE)
    }

    /// Status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let response = self
            .request(reqwest::Method::GET, path)
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// A page that is there.
    pub(crate) async fn page(&self, path: &str) -> Feed {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        read_feed(body.as_bytes(), &ReadLimits::default()).unwrap()
    }

    /// Writes events to standard input, and waits until the feed shows the last of them.
    pub(crate) async fn publish(&mut self, numbers: impl IntoIterator<Item = u32>) {
        let mut last = String::new();
        for number in numbers {
            self.program.write(&format!("{}\n", event(number)));
            last = entry_id(number);
        }
        self.wait_until_shown(&last).await;
    }

    pub(crate) async fn wait_until_shown(&self, entry_id: &str) -> Feed {
        let begun = Instant::now();
        loop {
            let page = self.page("/feed/recent").await;
            if page.entries.iter().any(|entry| entry.id == entry_id) {
                return page;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{entry_id} is never shown: {page:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(self) -> Finished {
        self.program.terminate();
        self.program.finish()
    }
}

fn with_defaults<'a>(database: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["--database", database];
    if !arguments.contains(&"--listen") {
        all.extend(["--listen", "127.0.0.1:0"]);
    }
    all.extend(arguments);
    all
}

/// An event whose every field follows from its number.
pub(crate) fn event(number: u32) -> Value {
    json!({
        "uuid": uuid(number),
        "title": format!("Event {number}"),
        "content": content(number),
        "category": category(number),
        "tags": ["imported"],
        "timestamp": "2024-03-01T08:01:00Z",
    })
}

pub(crate) fn uuid(number: u32) -> Uuid {
    Uuid::from_u128(number.into())
}

pub(crate) fn entry_id(number: u32) -> String {
    format!("tag:atomfeed.ict4h.org:{}", uuid(number))
}

pub(crate) fn content(number: u32) -> String {
    format!("/rest/{}/{number}?v=full&a=<b>", category(number))
}

pub(crate) fn category(number: u32) -> &'static str {
    match number % 2 {
        0 => "patient",
        _ => "encounter",
    }
}

/// A file with a line for each event.
pub(crate) fn ndjson(folder: &Path, events: impl IntoIterator<Item = Value>) -> String {
    let lines: String = events
        .into_iter()
        .map(|event| format!("{event}\n"))
        .collect();
    import_file(folder, &lines)
}

pub(crate) fn import_file(folder: &Path, lines: &str) -> String {
    let file = folder.join("events.ndjson");
    std::fs::write(&file, lines).unwrap();
    file.to_str().unwrap().to_owned()
}

/// The URL of an SQLite file.
pub(crate) fn sqlite(folder: &Path, name: &str) -> String {
    format!("sqlite:{}", folder.join(name).display())
}
