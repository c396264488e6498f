use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use tokio::io::{AsyncBufRead, AsyncRead};

use crate::FetchError;

/// What is understood (RFC 9110 §12.5.3).
pub(super) const ACCEPTED: &str = "gzip, zstd";

/// The memory that zstd may ask for to look back in: 8 MiB, as a power of two (RFC 9659 §3).
const ZSTD_WINDOW: u32 = 23;

/// How much of a coding that is not understood is shown.
const LONGEST_SHOWN: usize = 100;

/// How a body is encoded (RFC 9110 §8.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Zstd,
}

impl Coding {
    /// The one that the headers name.
    ///
    /// # Errors
    ///
    /// When that is another than was asked for, or more than one: a body of one coding in another is how
    /// little becomes endless twice.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, FetchError> {
        let values = headers.get_all(CONTENT_ENCODING).iter();
        let values: Vec<_> = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        named(&values.join(",")).ok_or_else(|| FetchError::Coding {
            coding: values.join(", ").chars().take(LONGEST_SHOWN).collect(),
        })
    }

    /// What is in the body.
    pub(super) fn decode<'a>(
        self,
        body: impl AsyncBufRead + Send + Unpin + 'a,
    ) -> Box<dyn AsyncRead + Send + Unpin + 'a> {
        match self {
            Self::Identity => Box::new(body),
            Self::Gzip => {
                let mut decoder = GzipDecoder::new(body);
                decoder.multiple_members(true);
                Box::new(decoder)
            }
            Self::Zstd => {
                let window = DParameter::window_log_max(ZSTD_WINDOW);
                let mut decoder = ZstdDecoder::with_params(body, &[window]);
                decoder.multiple_members(true);
                Box::new(decoder)
            }
        }
    }
}

/// The coding that a value of `Content-Encoding` names, if that is one that was asked for.
pub(super) fn named(value: &str) -> Option<Coding> {
    let codings = value.split(',').map(str::trim);
    let mut codings =
        codings.filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"));
    let coding = match codings.next() {
        None => Coding::Identity,
        Some(coding)
            if ["gzip", "x-gzip"]
                .iter()
                .any(|gzip| coding.eq_ignore_ascii_case(gzip)) =>
        {
            Coding::Gzip
        }
        Some(coding) if coding.eq_ignore_ascii_case("zstd") => Coding::Zstd,
        Some(_) => return None,
    };
    codings.next().is_none().then_some(coding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_coding_is_understood_at_a_time() {
        for (value, expected) in [
            ("", Some(Coding::Identity)),
            ("identity", Some(Coding::Identity)),
            ("GZip", Some(Coding::Gzip)),
            ("x-gzip", Some(Coding::Gzip)),
            ("identity, zstd,", Some(Coding::Zstd)),
            ("gzip, zstd", None),
            ("gzip, gzip", None),
            ("br", None),
            ("gzip;q=1", None),
        ] {
            assert_eq!(named(value), expected, "{value}");
        }
    }
}
