//! A page is the same, byte for byte, from whichever server, in whatever way it is asked for.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Read;

use reqwest::Version;

use crate::databases::{Empty, Kind};
use crate::emr::{Emr, event, ndjson};
use crate::nginx::Front;

/// Each way in which a page is asked for.
fn clients() -> [(Version, reqwest::Client); 2] {
    let plain = reqwest::Client::builder;
    [
        (Version::HTTP_11, plain().http1_only().build().unwrap()),
        (
            Version::HTTP_2,
            plain().http2_prior_knowledge().build().unwrap(),
        ),
    ]
}

const CODINGS: [&str; 3] = ["identity", "gzip", "zstd"];

fn decoded(coding: &str, bytes: &[u8]) -> Vec<u8> {
    match coding {
        "zstd" => zstd::decode_all(bytes).unwrap(),
        "gzip" => {
            let mut decoded = Vec::new();
            let mut decoder = flate2::read::GzDecoder::new(bytes);
            decoder.read_to_end(&mut decoded).unwrap();
            decoded
        }
        _ => bytes.to_vec(),
    }
}

/// What each page was, by its path.
#[derive(Default)]
struct Seen {
    pages: BTreeMap<String, Vec<u8>>,
    /// The entity tag and the bytes on the way, by path and coding.
    coded: BTreeMap<(String, &'static str), (String, Vec<u8>)>,
}

impl Seen {
    /// Asks for a page in every coding, and compares.
    async fn ask(&mut self, client: &reqwest::Client, version: Version, url: &str, path: &str) {
        for coding in CODINGS {
            let request = client.get(format!("{url}{path}"));
            let request = request.header("accept-encoding", coding);
            let answer = request.send().await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
            let header = |name: &str| {
                let value = answer.headers().get(name);
                value.map_or("", |value| value.to_str().unwrap()).to_owned()
            };
            let (got, tag) = (header("content-encoding"), header("etag"));
            // Under another spelling than its own, a page is made anew, and not compressed.
            let coded = if path.contains("PATIENT") {
                "identity"
            } else {
                coding
            };
            assert_eq!(got, coded.replace("identity", ""), "{url}{path}");
            let bytes = answer.bytes().await.unwrap().to_vec();
            let page = decoded(coded, &bytes);
            assert!(page.starts_with(b"<?xml"));
            let same = self.pages.entry(path.to_owned()).or_insert(page.clone());
            assert!(*same == page, "{url}{path} in {coding} is another page");
            let same = self.coded.entry((path.to_owned(), coding));
            let same = same.or_insert((tag.clone(), bytes.clone()));
            assert_eq!(same.0, tag, "{url}{path} in {coding}");
            assert!(same.1 == bytes, "{url}{path} in {coding} has other bytes");
        }
    }
}

#[tokio::test]
async fn over_every_protocol_and_coding_from_every_server_fresh_or_kept() {
    let Some(database) = Empty::of(Kind::Postgres).await else {
        println!("nothing is tested: ATOMFEED_POSTGRES_URL names no server");
        return;
    };
    // Without nginx, the rest is tested all the same.
    let front = Front::new();
    let folder = tempfile::tempdir().unwrap();
    let public = match &front {
        Some(front) => front.url("/"),
        None => "http://emr.example.org/".to_owned(),
    };
    let options = [
        &[
            "--page-size",
            "20",
            "--open-to-all",
            "--public-url",
            &public,
        ],
        &database.schema_options()[..],
    ];
    let options = options.concat();
    let file = ndjson(folder.path(), (1..=130).map(event));
    let filling = [&options[..], &["--import", &file]].concat();
    Emr::start(database.url(), &filling).stop().assert_status(0);

    let mut servers: Vec<_> = (0..3)
        .map(|_| Emr::start(database.url(), &options))
        .collect();
    let paths = [
        "/feed/1",
        "/feed/6",
        "/feed/patient/2",
        "/feed/PATIENT/2",
        "/feed/recent",
        "/feed/7",
    ];
    let mut seen = Seen::default();
    for restarted in [false, true] {
        if restarted {
            servers.remove(0).program.kill();
            servers.push(Emr::start(database.url(), &options));
        }
        for _again in 0..2 {
            for server in &servers {
                for (version, client) in &clients() {
                    for path in paths {
                        seen.ask(client, *version, &server.url(""), path).await;
                    }
                }
            }
        }
    }
    let Some(front) = front else { return };
    let addresses: Vec<_> = servers
        .iter()
        .map(|server| server.url("").replace("http://", ""))
        .collect();
    let nginx = front.before(&addresses);
    let [(version, client), _] = &clients();
    for _again in 0..4 {
        for path in paths {
            seen.ask(client, *version, &nginx.url(""), path).await;
        }
    }
    let log = nginx.log().await;
    let reached = log.iter().filter(|request| request.reached_us);
    let sealed = reached.filter(|request| request.path == "/feed/1").count();
    assert_eq!(sealed, CODINGS.len(), "the others came from its cache");
}
