use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::response::Parts;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use tower_service::Service;
use url::Url;

use super::headers::{is_redirect, location};
use super::{FeedSource, FetchError, MAX_PAGE, PageRequest, PageResponse};

/// Fetches pages from an HTTP service in the same process, an `axum::Router` for one, without a
/// socket.
///
/// The service is asked by path and query; the host is the same by nature.
#[derive(Clone)]
pub struct InProcessFeedSource<S> {
    service: S,
    max_bytes: usize,
}

impl<S> InProcessFeedSource<S> {
    /// Pages of a service.
    pub fn new(service: S) -> Self {
        Self {
            service,
            max_bytes: MAX_PAGE,
        }
    }

    /// Sets how large a page may be, in bytes; else 64 MiB.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }
}

impl<S> fmt::Debug for InProcessFeedSource<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcessFeedSource")
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<S, B> FeedSource for InProcessFeedSource<S>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send,
{
    async fn fetch(&self, page: &PageRequest) -> Result<PageResponse, FetchError> {
        let (mut head, mut body) = self.get(page, &page.url).await?;
        let mut redirected = None;
        if page.follow_redirect && is_redirect(head.status) {
            let location = location(&head.headers);
            let target = page.url.join(&location);
            let target = target.map_err(|_| FetchError::redirect(&location))?;
            (head, body) = self.get(page, &target).await?;
            redirected = Some(target);
        }
        let response = match head.status {
            StatusCode::NOT_MODIFIED if page.etag.is_some() => PageResponse::not_modified(),
            status if status.is_success() => {
                let content_type = head.headers.get(CONTENT_TYPE);
                let content_type = content_type.and_then(|value| value.to_str().ok());
                PageResponse::new(content_type.map(str::to_owned), body)
            }
            status => return Err(FetchError::status(status.as_u16(), &head.headers, &body)),
        };
        let response = response.with_headers(&head.headers);
        Ok(match redirected {
            Some(url) => response.redirected_to(url),
            None => response,
        })
    }
}

impl<S> InProcessFeedSource<S> {
    async fn get<B>(&self, page: &PageRequest, url: &Url) -> Result<(Parts, Bytes), FetchError>
    where
        S: Service<Request<Empty<Bytes>>, Response = Response<B>, Future: Send>
            + Clone
            + Send
            + Sync,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send,
    {
        let mut request = Request::get(&url[url::Position::BeforePath..url::Position::AfterQuery])
            .header(ACCEPT, atomfeed_core::atom::FEED_MEDIA_TYPE)
            .body(Empty::new())
            .map_err(|error| FetchError::Source(error.into()))?;
        // However long it takes, nobody here loses patience.
        request.headers_mut().extend(page.headers(Duration::MAX));
        let mut service = self.service.clone();
        let failed = |error: S::Error| FetchError::Source(error.into());
        poll_fn(|context| service.poll_ready(context))
            .await
            .map_err(failed)?;
        let response = service.call(request).await.map_err(failed)?;

        let (head, body) = response.into_parts();
        let body = match Limited::new(body, self.max_bytes).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(FetchError::TooLarge {
                    limit: self.max_bytes,
                });
            }
            Err(error) => return Err(FetchError::Source(error)),
        };
        Ok((head, body))
    }
}
