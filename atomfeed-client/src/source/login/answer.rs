use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use url::Url;

use crate::source::{headers, links};

/// The head of an answer, for an [`Authenticator`](super::Authenticator) to see whether it is one to a
/// stranger.
#[derive(Debug)]
pub struct AnswerHead<'a> {
    url: &'a Url,
    status: StatusCode,
    headers: &'a HeaderMap,
}

impl<'a> AnswerHead<'a> {
    pub(crate) fn new(url: &'a Url, status: StatusCode, headers: &'a HeaderMap) -> Self {
        Self {
            url,
            status,
            headers,
        }
    }

    /// What was asked for.
    pub fn url(&self) -> &Url {
        self.url
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.headers
    }

    /// Whether it is 401 or 403.
    pub fn is_denied(&self) -> bool {
        matches!(
            self.status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        )
    }

    /// Whether it is a page for people (HTML), with status 200: for a feed or a resource, often a login.
    pub fn is_page_for_people(&self) -> bool {
        let content_type = self.headers.get(CONTENT_TYPE);
        let content_type = content_type
            .map(|value| value.as_bytes())
            .unwrap_or_default();
        let starts_with = |kind: &[u8]| {
            let start = content_type.get(..kind.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(kind))
        };
        let is_html = starts_with(b"text/html") || starts_with(b"application/xhtml");
        self.status == StatusCode::OK && is_html
    }

    /// Where it sends to, if it is a redirect.
    pub fn redirects_to(&self) -> Option<Url> {
        let location = headers::location(self.headers);
        let target = links::redirected(self.url, &location);
        target.filter(|_| headers::is_redirect(self.status))
    }

    /// Whether it sends to a page whose path has this in it, in whatever case.
    pub fn redirects_to_path_with(&self, part: &str) -> bool {
        let target = self.redirects_to();
        target.is_some_and(|target| {
            let path = target.path().to_ascii_lowercase();
            path.contains(&part.to_ascii_lowercase())
        })
    }
}
