//! Where pages come from.

mod error;
pub(crate) mod headers;
#[cfg(feature = "http")]
mod http;
mod in_process;
#[cfg(feature = "http")]
pub(crate) mod links;
#[cfg(feature = "http")]
mod login;
mod page;
#[cfg(feature = "http")]
mod resources;

use async_trait::async_trait;

#[cfg(feature = "http")]
pub use self::http::{HttpFeedSource, HttpFeedSourceBuilder};
#[cfg(feature = "fuzzing")]
pub(crate) use self::http::{is_private, read_coding, read_cookies};
pub use error::FetchError;
pub use in_process::InProcessFeedSource;
#[cfg(feature = "http")]
pub use login::{
    AnswerHead, Authenticator, BasicAuth, BearerToken, FixedHeaders, FormLogin, LoginDoor,
    LoginError, OpenMrsSession,
};
pub use page::{PageRequest, PageResponse};
#[cfg(feature = "http")]
pub use resources::{FetchContent, Resource, ResourceError, Resources};

/// Fetches pages: over HTTP, from the same process, or from wherever they are kept.
#[async_trait]
pub trait FeedSource: Send + Sync + 'static {
    /// Fetches a page.
    ///
    /// # Errors
    ///
    /// When the page cannot be had, or must not be asked for.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    async fn fetch(&self, page: &PageRequest) -> Result<PageResponse, FetchError>;
}

/// The header in which a server of this family says how many events its feed has up to the last one of
/// the page. On the newest page, it is all there are.
pub const POSITION_HEADER: &str = "atomfeed-position";

/// How large a page may be, in bytes, after decompression: large enough for a hundred documents of
/// half a megabyte.
const MAX_PAGE: usize = 64 << 20;
