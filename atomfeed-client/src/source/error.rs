use std::error::Error;
#[cfg(feature = "http")]
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::headers::retry_after_of;
#[cfg(feature = "http")]
use super::login::LoginError;

/// Why a page could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The server answered, but not with a page.
    #[error("the server answered {status}: {hint}{}", said(.body))]
    Status {
        /// The HTTP status.
        status: u16,
        /// What that usually means here.
        hint: &'static str,
        /// How the answer begins.
        body: String,
        /// How long it asks to be left alone (`Retry-After`, RFC 9110 §10.2.3); an hour at most.
        retry_after: Option<Duration>,
    },
    /// The server did not answer in time.
    #[error("the server did not answer within {limit:?}: see whether it is up, or allow more time")]
    Timeout {
        /// How long it was given.
        limit: Duration,
    },
    /// No connection came about, or it broke.
    #[error("no answer came from the server: see whether it is up and its address is right")]
    Connection(#[source] Box<dyn Error + Send + Sync>),
    /// The answer broke off, or its encoding is not what it says.
    #[error(
        "the body of the answer broke off or cannot be decoded: try again; if it stays so, see what \
         stands between here and the server"
    )]
    Body(#[source] Box<dyn Error + Send + Sync>),
    /// The body has an encoding that was not asked for, or several.
    #[error(
        "the body is encoded as {coding:?}, and gzip or zstd was asked for: see what stands between here and \
         the server"
    )]
    Coding {
        /// What the server says (`Content-Encoding`, RFC 9110 §8.4).
        coding: String,
    },
    /// What came is larger than allowed.
    #[error("the answer is larger than {limit} bytes: allow more, if it is what was asked for")]
    TooLarge {
        /// How large it may be.
        limit: usize,
    },
    /// It lies where nothing must be fetched from for this feed.
    #[error(
        "{url} is not at {feed_origin}, where the feed is: allow its origin, map it to that one, or correct the \
         server's public URL"
    )]
    ForeignOrigin {
        /// Where it lies.
        url: String,
        /// Where the feed lies.
        feed_origin: String,
    },
    /// The server sends elsewhere, and that is not followed.
    #[error("the server redirects to {location:?}: give that address, or allow redirects")]
    Redirect {
        /// Where to.
        location: String,
    },
    /// The host has an address in a private network, and those are refused.
    #[error(
        "{host} is in a private network, where nothing is to be asked: take another feed, or allow such addresses"
    )]
    PrivateAddress {
        /// The host.
        host: String,
    },
    /// Logging in has failed: now, or so lately that it is not tried again yet.
    #[cfg(feature = "http")]
    #[error(
        "logging in at {origin} has failed, and is tried again in {retry_in:?} at the earliest"
    )]
    Login {
        /// Where.
        origin: String,
        /// How long nobody tries.
        retry_in: Duration,
        /// Why. Those who waited for the same login share it.
        source: Arc<LoginError>,
    },
    /// The server shows its login page instead of what was asked for, also after a login.
    #[cfg(feature = "http")]
    #[error(
        "the server shows a login instead of {url}, also after one: see whether this user may read that"
    )]
    LoginPage {
        /// What was asked for.
        url: String,
    },
    /// The server refused who is logged in, and that may be so for all that is asked for, and pass: the
    /// password was changed, say, or the server starts. Where it is seen to let in for other things, a refusal
    /// comes as [`Status`](Self::Status) or [`LoginPage`](Self::LoginPage) itself.
    #[cfg(feature = "http")]
    #[error(
        "the server of {url} does not let this user in, there and maybe nowhere: see whether user and password \
         are still right, and the account is not locked"
    )]
    NotLetIn {
        /// What was asked for.
        url: String,
        /// How it was refused.
        source: Box<FetchError>,
    },
    /// TLS cannot be set up.
    #[error("setting up TLS: see that the system has CA certificates (package ca-certificates)")]
    Tls(#[source] Box<dyn Error + Send + Sync>),
    /// The source itself failed.
    #[error("the source of the feed failed")]
    Source(#[source] Box<dyn Error + Send + Sync>),
}

/// How much of an address elsewhere is shown.
const LONGEST_LOCATION: usize = 500;

impl FetchError {
    /// Whether trying again soon may help: no connection came about or it broke, time ran out, the body
    /// broke off, logging in failed, nobody may be let in, or the server says that it is busy or that what
    /// stands behind it is away (408, 429, 502, 503, 504).
    ///
    /// Not so for 500, with which servers of this family also answer what they can never give: where a
    /// resource is concerned, that is an affair of its event.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Connection(_) | Self::Body(_) => true,
            #[cfg(feature = "http")]
            Self::Login { .. } | Self::NotLetIn { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 429 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// How long the server asks to be left alone (`Retry-After`, RFC 9110 §10.2.3), an hour at most; or how
    /// long nobody logs in.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            #[cfg(feature = "http")]
            Self::Login { retry_in, .. } => Some(*retry_in),
            #[cfg(feature = "http")]
            Self::NotLetIn { source, .. } => source.retry_after(),
            _ => None,
        }
    }

    pub(crate) fn redirect(location: &str) -> Self {
        Self::Redirect {
            location: location.chars().take(LONGEST_LOCATION).collect(),
        }
    }

    pub(crate) fn status(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let hint = match status {
            304 => "it says that the page has not changed, and was not asked that",
            401 => "it wants a login; give user and password",
            403 => "this login may not read it",
            404 => "there is no such thing; see whether the address is right",
            410 => {
                "it is gone: pages are pruned, or lost, and a feed is read from a later one then"
            }
            429 => "it is asked too often; it is asked less often for a while",
            500..600 => "it has a problem of its own; its log says which",
            _ => "this is not what was asked for",
        };
        let mut body: String = String::from_utf8_lossy(body).chars().take(200).collect();
        body.retain(|character| !character.is_control());
        Self::Status {
            status,
            hint,
            body,
            retry_after: retry_after_of(headers),
        }
    }
}

fn said(body: &str) -> String {
    match body.trim() {
        "" => String::new(),
        body => format!(" (it says {body:?})"),
    }
}
