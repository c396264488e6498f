use atomfeed_core::FeedScope;
use atomfeed_core::store::StoreError;

/// Why a page cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// The page number is not above 0.
    #[error("page {asked} of the feed of {scope}: pages are numbered from 1; ask for recent")]
    NotAPageNumber {
        /// The feed.
        scope: FeedScope,
        /// What was asked for.
        asked: String,
    },
    /// There is no such page, or not yet.
    #[error("page {asked} of the feed of {scope} does not exist; ask for recent")]
    NoSuchPage {
        /// The feed.
        scope: FeedScope,
        /// What was asked for.
        asked: String,
    },
    /// The store failed.
    #[error("reading the feed from its store")]
    Store(#[from] StoreError),
}

impl FeedError {
    /// The words of the original library, which clients in the field look for in the body.
    pub fn original_text(&self) -> Option<&'static str> {
        match self {
            Self::NotAPageNumber { .. } => {
                Some("AtomFeedRuntimeException: feedId must not be null and must be greater than 0")
            }
            Self::NoSuchPage { .. } => Some("AtomFeedRuntimeException: feed does not exist"),
            Self::Store(_) => None,
        }
    }
}
