//! Who may keep an answer, and for how long (RFC 9111, RFC 8246).

use std::time::Duration;

use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::{HeaderMap, HeaderValue};

/// Who may see a feed, and so whose caches may keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Audience {
    /// Whoever the application lets through to the router: answers are `private`, and no cache between
    /// keeps them for others.
    #[default]
    WhoIsLetIn,
    /// Everybody; or the cache in front asks who somebody is, and lets only those through who may see
    /// the feed. Answers are `public`, but for requests that carry `Authorization` or `Cookie`.
    Everyone,
}

impl Audience {
    /// `Cache-Control` of a page that never changes, for a request that says nothing of who makes it.
    #[cfg(feature = "archive")]
    pub(crate) fn of_sealed_pages(self) -> String {
        let whose = match self {
            Self::WhoIsLetIn => "private",
            Self::Everyone => "public",
        };
        sealed(whose)
    }
}

/// As long as sealed pages may be kept, in seconds: a year, which stands for ever.
const FOR_EVER: u64 = 31_536_000;

fn sealed(whose: &str) -> String {
    format!("{whose}, max-age={FOR_EVER}, immutable")
}

/// `Cache-Control` of answers, made beforehand.
#[derive(Debug, Clone)]
pub(super) struct CacheControl {
    audience: Audience,
    private: Lifetimes,
    public: Lifetimes,
}

#[derive(Debug, Clone)]
struct Lifetimes {
    sealed: HeaderValue,
    changing: HeaderValue,
}

impl CacheControl {
    pub(super) fn new(audience: Audience, freshness: Duration) -> Self {
        Self {
            audience,
            private: Lifetimes::of("private", freshness),
            public: Lifetimes::of("public", freshness),
        }
    }

    /// Of a page, as a request may have it kept.
    pub(super) fn of(&self, headers: &HeaderMap, is_sealed: bool) -> HeaderValue {
        let is_personal = headers.contains_key(AUTHORIZATION) || headers.contains_key(COOKIE);
        let lifetimes = match self.audience {
            Audience::Everyone if !is_personal => &self.public,
            _ => &self.private,
        };
        match is_sealed {
            true => lifetimes.sealed.clone(),
            false => lifetimes.changing.clone(),
        }
    }
}

impl Lifetimes {
    fn of(whose: &str, freshness: Duration) -> Self {
        let seconds = freshness.as_secs();
        let changing = match seconds {
            // Kept, and asked for each time whether it is still so.
            0 => format!("{whose}, no-cache"),
            _ => format!("{whose}, max-age={seconds}, must-revalidate"),
        };
        // Both consist of letters, digits and punctuation.
        let value = |text: String| {
            HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("no-store"))
        };
        Self {
            sealed: value(sealed(whose)),
            changing: value(changing),
        }
    }
}
