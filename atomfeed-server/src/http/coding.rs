//! Content codings: which of them a client takes (RFC 9110 §12.5.3), and how a page is put into one.

use std::io::Write;

use axum::http::header::ACCEPT_ENCODING;
use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::list::{members, weighted};

/// How the bytes of a page are coded on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Zstd,
}

/// What is larger is compressed on a thread of its own, so that it holds up nobody else, in bytes.
const MUCH: usize = 128 << 10;

/// As dense as costs no more than it saves, on a page.
const ZSTD_LEVEL: i32 = 6;

impl Coding {
    /// None, if a client takes that, or else the best that it takes.
    pub(super) fn least(headers: &HeaderMap) -> Option<Self> {
        let [mut identity, mut others] = [None; 2];
        for (name, weight) in members(headers, &ACCEPT_ENCODING).map(weighted) {
            match name {
                "*" => others.get_or_insert(weight),
                _ if name.eq_ignore_ascii_case("identity") => identity.get_or_insert(weight),
                _ => continue,
            };
        }
        match identity.or(others) {
            Some(0) => Self::of(headers),
            _ => Some(Self::Identity),
        }
    }

    /// The best that a client takes; `None` when it takes none, not even the page as it is.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let [mut gzip, mut zstd, mut identity, mut others] = [None; 4];
        for (name, weight) in members(headers, &ACCEPT_ENCODING).map(weighted) {
            let coding = match name.to_ascii_lowercase().as_str() {
                "gzip" | "x-gzip" => &mut gzip,
                "zstd" => &mut zstd,
                "identity" => &mut identity,
                "*" => &mut others,
                _ => continue,
            };
            // What stands first counts.
            coding.get_or_insert(weight);
        }
        let zstd = zstd.or(others).unwrap_or(0);
        let gzip = gzip.or(others).unwrap_or(0);
        let coded = match zstd >= gzip {
            true => (zstd, Self::Zstd),
            false => (gzip, Self::Gzip),
        };
        match identity {
            Some(weight) if weight > coded.0 => Some(Self::Identity),
            _ if coded.0 > 0 => Some(coded.1),
            Some(0) => None,
            None if others == Some(0) => None,
            _ => Some(Self::Identity),
        }
    }

    /// `Content-Encoding`.
    pub(super) fn name(self) -> Option<HeaderValue> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some(HeaderValue::from_static("gzip")),
            Self::Zstd => Some(HeaderValue::from_static("zstd")),
        }
    }

    /// The strong entity tag of a page in this coding (RFC 9110 §8.8.3).
    pub(super) fn entity_tag(self, tag: &str) -> String {
        match self {
            Self::Identity => format!("\"{tag}\""),
            Self::Gzip => format!("\"{tag}-gzip\""),
            Self::Zstd => format!("\"{tag}-zstd\""),
        }
    }

    /// Codes a page.
    pub(super) async fn encode(self, body: Bytes) -> std::io::Result<Bytes> {
        match self {
            Self::Identity => Ok(body),
            coding if body.len() < MUCH => coding.encode_now(&body),
            coding => {
                let encoding = tokio::task::spawn_blocking(move || coding.encode_now(&body));
                encoding.await.map_err(std::io::Error::other)?
            }
        }
    }

    fn encode_now(self, body: &[u8]) -> std::io::Result<Bytes> {
        match self {
            Self::Identity => Ok(Bytes::copy_from_slice(body)),
            Self::Gzip => {
                let coded = Vec::with_capacity(body.len() / 4);
                let mut encoder = GzEncoder::new(coded, Compression::default());
                encoder.write_all(body)?;
                encoder.finish().map(Bytes::from)
            }
            Self::Zstd => zstd::bulk::compress(body, ZSTD_LEVEL).map(Bytes::from),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn negotiated(lines: &[&'static str]) -> Option<Coding> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_static(line));
        }
        Coding::of(&headers)
    }

    #[test]
    fn the_best_coding_that_a_client_takes() {
        use Coding::{Gzip, Identity, Zstd};

        for (accepted, coding) in [
            (&[][..], Some(Identity)),
            (&[""], Some(Identity)),
            (&["br"], Some(Identity)),
            (&["gzip"], Some(Gzip)),
            (&["X-GZIP"], Some(Gzip)),
            (&["gzip, deflate, br, zstd"], Some(Zstd)),
            (&["gzip", "zstd;q=0.5"], Some(Gzip)),
            (&["gzip;q=0"], Some(Identity)),
            (&["gzip;q=0.5, identity"], Some(Identity)),
            (&["gzip;q=0.5, identity;q=0.5"], Some(Gzip)),
            (&["*"], Some(Zstd)),
            (&["*;q=0"], None),
            (&["*;q=0, identity;q=0.1"], Some(Identity)),
            (&["*;q=0, gzip;q=0.1"], Some(Gzip)),
            (&["zstd;q=0, *"], Some(Gzip)),
            (&["identity;q=0"], None),
            (&["identity;q=0, br"], None),
            (&["identity;q=0, gzip;q=0.001"], Some(Gzip)),
            (&["gzip;q=nonsense"], Some(Identity)),
        ] {
            assert_eq!(negotiated(accepted), coding, "{accepted:?}");
        }
    }
}
