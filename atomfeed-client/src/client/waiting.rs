use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::AtomFeedClient;
use super::head::{Ends, Head};
use super::pages::Fetched;
use crate::{FetchError, ProcessErrorKind};

/// How long a server that does not wait is not asked to.
const ASKS_AGAIN: Duration = Duration::from_secs(600);

/// Who says sooner that there is nothing new has not waited.
const AT_ONCE: Duration = Duration::from_secs(1);

/// So often a server may answer at once, or with something that is older than what was read, and is asked
/// again.
const PATIENCE: usize = 3;

/// What came of asking for news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// There is something new.
    Some,
    /// The server does not wait, or could not be asked.
    Unknown,
    /// The server asks to be left alone for so long.
    LeaveAlone(Duration),
}

/// Whether the server of the feed waits for news when it is asked to (RFC 7240 §4.3).
#[derive(Debug, Default)]
pub(super) struct Waits(Mutex<Known>);

#[derive(Debug, Clone, Copy, Default)]
enum Known {
    #[default]
    Nothing,
    ItDoes,
    /// It does not, and until then it is not asked to.
    Not(Instant),
}

impl Waits {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is known that it does.
    pub(super) fn is_known(&self) -> bool {
        matches!(*self.known(), Known::ItDoes)
    }

    fn may_be_asked(&self) -> bool {
        match *self.known() {
            Known::Not(until) => Instant::now() >= until,
            Known::Nothing | Known::ItDoes => true,
        }
    }
}

impl<C: ?Sized + Send + 'static> AtomFeedClient<C> {
    /// Whether there is something new behind what was read: asks the server, and has it wait for that.
    ///
    /// Cancel safe: nothing is lost but the wait.
    pub(super) async fn news(&self) -> News {
        let Some(wait) = self.settings.wait.filter(|_| self.waits.may_be_asked()) else {
            return News::Unknown;
        };
        match self.wait_for_news(wait).await {
            Ok(true) => News::Some,
            Ok(false) => {
                *self.waits.known() = Known::Not(Instant::now() + ASKS_AGAIN);
                News::Unknown
            }
            Err(error) => {
                tracing::debug!(feed = %self.feed, %error, "the server could not be asked to wait");
                *self.waits.known() = Known::Nothing;
                match error.fetching().and_then(FetchError::retry_after) {
                    Some(asked) => News::LeaveAlone(asked),
                    // The next round meets it, too, and says so.
                    None => News::Unknown,
                }
            }
        }
    }

    /// True when there is something new; false when the server does not wait.
    async fn wait_for_news(&self, wait: Duration) -> Result<bool, ProcessErrorKind> {
        let head: &Head = &self.pages.head;
        let mut hasty = 0;
        while hasty < PATIENCE {
            let Some(known) = head.recent() else {
                // Its ETag is not known as yet.
                let page = self.pages.fetch_fresh(self.feed.url().clone()).await?;
                match head.ends(&page) {
                    Ends::Beyond => {
                        head.keep(page);
                        return Ok(true);
                    }
                    Ends::There if head.recent().is_none() => return Ok(false),
                    Ends::There => {}
                    Ends::Before => {
                        hasty += 1;
                        tokio::time::sleep(AT_ONCE).await;
                    }
                }
                continue;
            };
            let begun = Instant::now();
            let waits = match self.pages.wait(&known, wait).await? {
                Fetched::Unchanged { waits } => waits,
                Fetched::Page { page, .. } if head.ends(&page) == Ends::Beyond => {
                    head.keep(*page);
                    return Ok(true);
                }
                // Nothing new is on it: a title was changed, say.
                Fetched::Page { waits, .. } => waits,
            };
            if !waits {
                return Ok(false);
            }
            match begun.elapsed() >= AT_ONCE {
                true => *self.waits.known() = Known::ItDoes,
                false => hasty += 1,
            }
        }
        Ok(false)
    }
}
