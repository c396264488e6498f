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
    /// The page was pruned: its events were old.
    #[error(
        "page {asked} of the feed of {scope} was pruned, since its events were old; the oldest page is \
         {first}: begin there, once what the pages before it told has reached you otherwise"
    )]
    Pruned {
        /// The feed.
        scope: FeedScope,
        /// What was asked for.
        asked: String,
        /// The oldest page that is kept.
        first: u64,
    },
    /// The page was lost with the database it was in, and nothing of it is left. One of which something
    /// is left is served.
    #[error(
        "page {asked} of the feed of {scope} was lost when the database was restored from a backup; the \
         last page before it is {before}, and the feed goes on with page {next}: find out which of the \
         lost events you have applied, then begin there"
    )]
    Lost {
        /// The feed.
        scope: FeedScope,
        /// What was asked for.
        asked: String,
        /// The last page before what was lost; 0 when there is none.
        before: u64,
        /// The page with which the feed goes on.
        next: u64,
    },
    /// The store failed.
    #[error("reading the feed from its store")]
    Store(#[from] StoreError),
    /// A page could not be compressed.
    #[error(
        "compressing a page of the feed; without that it can be had (Accept-Encoding: identity)"
    )]
    Coding(#[source] std::io::Error),
}

impl FeedError {
    /// The words of the original library, which clients in the field look for in the body.
    pub fn original_text(&self) -> Option<&'static str> {
        match self {
            Self::NotAPageNumber { .. } => {
                Some("AtomFeedRuntimeException: feedId must not be null and must be greater than 0")
            }
            Self::NoSuchPage { .. } | Self::Pruned { .. } | Self::Lost { .. } => {
                Some("AtomFeedRuntimeException: feed does not exist")
            }
            Self::Store(_) | Self::Coding(_) => None,
        }
    }
}
