//! How the fields of a request are understood, for fuzz targets to see.

use axum::http::HeaderMap;
use chrono::DateTime;

use super::coding::Coding;
use super::conditional::{Validators, Verdict};
use super::{accept, prefer};

/// What a request asks for, as it is understood.
#[derive(Debug)]
pub struct Understood {
    /// The name of the coding, if it takes one.
    pub coding: Option<&'static str>,
    /// Whether it takes Atom.
    pub takes_atom: bool,
    /// For how many seconds it would wait.
    pub wait: Option<u64>,
    /// What its conditions make of a page that is there.
    pub status: u16,
}

/// Reads the fields of a request for a sealed page with a tag, as of a time in seconds since 1970.
pub fn asked(headers: &HeaderMap, tag: &str, seconds: i64) -> Understood {
    let coding = Coding::of(headers);
    let validators = Validators {
        entity_tag: &coding.unwrap_or(Coding::Identity).entity_tag(tag),
        last_modified: DateTime::from_timestamp(seconds, 0),
        is_settled: true,
    };
    Understood {
        coding: coding.map(name),
        takes_atom: accept::accepts_atom(headers),
        wait: prefer::wait(headers).map(|wait| wait.as_secs()),
        status: match validators.judge(headers) {
            Verdict::Send => 200,
            Verdict::NotModified => 304,
            Verdict::Failed => 412,
        },
    }
}

/// The entity tag of a page in a coding.
pub fn entity_tag(coding: &str, tag: &str) -> String {
    let codings = [Coding::Gzip, Coding::Zstd, Coding::Identity];
    let coding = codings.into_iter().find(|known| name(*known) == coding);
    coding.unwrap_or(Coding::Identity).entity_tag(tag)
}

fn name(coding: Coding) -> &'static str {
    match coding {
        Coding::Identity => "identity",
        Coding::Gzip => "gzip",
        Coding::Zstd => "zstd",
    }
}
