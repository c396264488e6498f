use std::error::Error;

use atomfeed_core::FeedScope;
use atomfeed_core::store::StoreError;

use crate::FeedError;

/// Why pages cannot be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The prefix is no path in an object store.
    #[error("the prefix {prefix:?} of an archive: give names with / between them, such as ws/feed")]
    Prefix {
        /// What was given.
        prefix: String,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The archive holds pages that are rendered otherwise than those of this feed.
    #[error(
        "the archive under {under} holds pages of {public_url} that are rendered otherwise than this \
         feed is now: its public URL, title, author, generator, id prefix or line ends were changed, or \
         the version of the library was; configure the feed as it was, or remove all that is under \
         {under}, empty the caches that have such pages, and export again"
    )]
    OtherConfiguration {
        /// What the archive lies under.
        under: String,
        /// The public URL of the feed that was exported there.
        public_url: String,
    },
    /// The pages of the archive were exported for everyone, and those of the feed are not for everyone.
    #[error(
        "pages under {under} were exported for everyone, with Cache-Control: {cache_control}, and are for those \
         who are let in now: see that what serves them lets nobody else in; set their Cache-Control anew where \
         the object store keeps one, and empty the caches that may have them; then remove {configuration}, and \
         export again"
    )]
    WereForEveryone {
        /// What the archive lies under.
        under: String,
        /// What its pages carry.
        cache_control: String,
        /// Where it is written down.
        configuration: String,
    },
    /// The archive has another page than the feed.
    #[error(
        "page {page} of the feed of {scope} is another one in the archive ({path}) than in the feed: the \
         database was restored from a backup, or another one is exported to the same place; if the feed \
         is right, remove its pages from this one on from the archive, empty the caches that have them, \
         and export again"
    )]
    AnotherPage {
        /// The feed.
        scope: FeedScope,
        /// The number of the page.
        page: u64,
        /// Where it lies.
        path: String,
    },
    /// A page of the feed cannot be read.
    #[error("exporting page {page} of the feed of {scope}")]
    Feed {
        /// The feed.
        scope: FeedScope,
        /// The number of the page.
        page: u64,
        /// What was the matter.
        source: FeedError,
    },
    /// It cannot be read which pages there are.
    #[error("reading which feeds there are to export")]
    Store(#[from] StoreError),
    /// The object store failed.
    #[error(
        "{doing} {path:?}, an object of the archive; what is exported stays, the rest can follow"
    )]
    Objects {
        /// What was being done.
        doing: &'static str,
        /// The object.
        path: String,
        /// What the store says.
        source: Box<dyn Error + Send + Sync>,
    },
}
