use std::time::Duration;

use atomfeed_core::FeedUri;
use atomfeed_core::atom::ReadError;
use atomfeed_core::store::StoreError;

use crate::outcome::Processed;
use crate::source::FetchError;

/// Why a feed was not processed to its end, and how far it was.
#[derive(Debug, thiserror::Error)]
#[error("processing the feed {feed}")]
pub struct ProcessError {
    feed: FeedUri,
    processed: Processed,
    #[source]
    kind: ProcessErrorKind,
}

impl ProcessError {
    pub(crate) fn new(feed: &FeedUri, processed: Processed, kind: ProcessErrorKind) -> Self {
        Self {
            feed: feed.clone(),
            processed,
            kind,
        }
    }

    /// The feed.
    pub fn feed(&self) -> &FeedUri {
        &self.feed
    }

    /// What was done before; it stays so.
    pub fn processed(&self) -> Processed {
        self.processed
    }

    /// What went wrong.
    pub fn kind(&self) -> &ProcessErrorKind {
        &self.kind
    }
}

impl ProcessErrorKind {
    /// Why a page could not be fetched, if it is that.
    pub(crate) fn fetching(&self) -> Option<&FetchError> {
        match self {
            Self::Fetch { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// What went wrong while a feed was processed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessErrorKind {
    /// A page could not be fetched.
    #[error("fetching page {page}")]
    Fetch {
        /// The page.
        page: String,
        /// Why.
        source: FetchError,
    },
    /// A page says it is something else than a feed.
    #[error(
        "page {page} is {content_type:?}, not a feed: see whether the address is right and needs \
         no login, or allow any content type"
    )]
    ContentType {
        /// The page.
        page: String,
        /// What it says it is.
        content_type: String,
    },
    /// A page is no Atom document that can be read.
    #[error("reading page {page}")]
    Document {
        /// The page.
        page: String,
        /// Why.
        source: ReadError,
    },
    /// A page links to something that is no address.
    #[error("following {rel} of {page} to {href:?}: that is no URL")]
    BadLink {
        /// The page.
        page: String,
        /// Which link.
        rel: &'static str,
        /// What it says.
        href: String,
        /// Why it is no URL.
        source: url::ParseError,
    },
    /// Following the links led to a page that was read already: in this walk, or, as its number
    /// shows, before it.
    #[error(
        "the links of the feed lead back to page {page}, which was read already: this is for the \
         publisher to mend; nothing of it was applied again"
    )]
    PageLoop {
        /// The page.
        page: String,
    },
    /// The page that is linked as the next one does not say that it follows.
    #[error(
        "page {page} links to {next} as the one after it, which names {previous} as the one before \
         it: the links of the feed are broken, and this is for the publisher to mend; nothing of \
         {next} was applied"
    )]
    BrokenChain {
        /// The page.
        page: String,
        /// What it links to as `next-archive`.
        next: String,
        /// What that one links to as `prev-archive`.
        previous: String,
    },
    /// The feed has not come as far as the marker.
    #[error(
        "the marker stands on page {page}, and the newest page of the feed is {newest}: the publisher \
         has gone back, to a backup perhaps, and may give other events the numbers of pages that were \
         read; nothing is applied until the publisher goes on above what it has lost (continue_after, \
         feed-server --continue-after), or the marker (table markers) is set anew"
    )]
    MarkerAhead {
        /// The page that the marker names.
        page: String,
        /// The newest page there is.
        newest: String,
    },
    /// The marker's entry is not on the marker's page any more.
    #[error(
        "the marker names entry {entry} as the last one read, on page {page}, and it is not there, nor \
         on the pages around it: the feed was restored, renumbered or replaced; find out up to where \
         its events were applied, and set the marker there (set_marker, or the table markers), or say \
         where to go on (when_lost)"
    )]
    MarkedEntryMissing {
        /// The entry that was sought.
        entry: String,
        /// The page it was sought on.
        page: String,
    },
    /// The entry behind which to begin is on no page.
    #[error(
        "entry {entry} is on no page of the feed, from the newest back to {oldest}: see whether the id is \
         right, or begin elsewhere"
    )]
    EntryNotFound {
        /// The entry that was sought.
        entry: String,
        /// The oldest page there is.
        oldest: String,
    },
    /// Something that the worker needs is down; nothing was parked, and the feed goes on with this
    /// event.
    #[error(
        "event {event} cannot be applied for now ({error}): it is tried again in {retry_in:.1?}, and the \
         events behind it wait"
    )]
    Waiting {
        /// The event.
        event: String,
        /// What the worker said.
        error: String,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// Another consumer of the feed is at work, or has been until lately; this one stands by.
    #[error(
        "another consumer of this feed is at work, or was until lately: {consumer}; this one stands by, and \
         takes over when that gives no sign of life"
    )]
    StandingBy {
        /// Which one.
        consumer: String,
    },
    /// The feed has got another address, and its marker stands there.
    #[error(
        "this feed has got another address, {to}, where its marker stands: follow it there; under the old \
         address it would be read from the beginning"
    )]
    FeedMoved {
        /// The address.
        to: String,
    },
    /// More events are parked than is allowed.
    #[error(
        "{parked} events of the feed are parked, and it is to stop at {limit}: mend what they fail on and \
         have them tried again (retry_all_failed_events), or allow more (max_failed_events)"
    )]
    TooManyFailed {
        /// How many are parked.
        parked: u64,
        /// At how many it stops.
        limit: u64,
    },
    /// The worker has ended the transaction that it was lent.
    #[error(
        "the worker {worker} has ended its transaction, so that it is in doubt whether {} were applied: see \
         in its tables what stands there, and undo it, or set the marker behind it where everything before \
         was applied, too; the marker has not moved; a worker must not commit, roll back, or run what \
         commits on its own (DDL on MariaDB), and must return the errors of its database",
        .events.join(", ")
    )]
    BrokenTransaction {
        /// The type of the worker.
        worker: String,
        /// The events that were handed over in it.
        events: Vec<String>,
        /// How that was seen.
        source: StoreError,
    },
    /// The store failed, or somebody else moved the marker.
    #[error("reading or writing how far the feed was read, or what failed of it")]
    Store(#[from] StoreError),
}
