//! What feed-server writes into a folder while it serves.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use crate::emr::{Emr, event, ndjson};
use crate::programs::PATIENCE;

#[tokio::test]
async fn pages_that_do_not_change_any_more_are_files_soon() {
    let folder = tempfile::tempdir().unwrap();
    let file = ndjson(folder.path(), (1..=45).map(event));
    let archive = folder.path().join("archive");
    let options = [
        ["--import", &file],
        ["--page-size", "10"],
        ["--archive", archive.to_str().unwrap()],
        ["--public-url", "http://emr.example.org/ws/feed"],
    ];
    let emr = Emr::start("memory:", options.as_flattened());
    for page in ["1", "4", "patient/2", "encounter/2"] {
        let exported = archive.join("ws/feed").join(page);
        let begun = Instant::now();
        while !exported.exists() {
            assert!(begun.elapsed() < PATIENCE, "page {page} is not exported");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (status, served) = emr.get(&format!("/feed/{page}")).await;
        assert_eq!(status, 200);
        assert_eq!(std::fs::read_to_string(exported).unwrap(), served);
    }
    assert!(!archive.join("ws/feed/5").exists(), "it is not sealed");
    emr.stop().assert_status(0);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let archive = file.join("archive");
    let refused = Emr::refused("memory:", &["--archive", archive.to_str().unwrap()]);
    refused.assert_refused(&["archive", archive.to_str().unwrap()]);
}
