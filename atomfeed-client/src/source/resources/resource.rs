use bytes::Bytes;
use serde::de::DeserializeOwned;
use url::Url;

use super::ResourceError;

/// What an event names, as it came.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Resource {
    url: Url,
    bytes: Bytes,
    content_type: Option<String>,
    etag: Option<String>,
}

impl Resource {
    /// A resource of this content: for tests of workers.
    pub fn new(
        url: Url,
        bytes: impl Into<Bytes>,
        content_type: Option<String>,
        etag: Option<String>,
    ) -> Self {
        Self {
            url,
            bytes: bytes.into(),
            content_type,
            etag,
        }
    }

    /// Where it came from.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Its bytes, with content codings taken off.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What it says it is (RFC 9110 §8.3), if it does.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// By what it is told from what it was or will be (RFC 9110 §8.8.3), where the server says.
    pub fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// What it is as JSON.
    ///
    /// # Errors
    ///
    /// When it is none, or not of this kind.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ResourceError> {
        serde_json::from_slice(&self.bytes).map_err(|source| ResourceError::Json {
            url: self.url.to_string(),
            content_type: self.content_type.clone(),
            source: source.into(),
        })
    }

    /// What it is as text.
    ///
    /// # Errors
    ///
    /// When it is not UTF-8.
    pub fn text(&self) -> Result<&str, ResourceError> {
        std::str::from_utf8(&self.bytes).map_err(|source| ResourceError::Text {
            url: self.url.to_string(),
            source,
        })
    }
}
