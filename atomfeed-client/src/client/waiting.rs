use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::AtomFeedClient;
use super::head::Head;
use super::pages::Fetched;
use crate::ProcessErrorKind;

/// How long a server that does not wait is not asked to.
const ASKS_AGAIN: Duration = Duration::from_secs(600);

/// Who says sooner that there is nothing new has not waited.
const AT_ONCE: Duration = Duration::from_millis(500);

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
    /// Whether there is something new behind what was read: asks the server, and has it wait for that. False
    /// when it does not wait, or could not be asked.
    ///
    /// Cancel safe: nothing is lost but the wait.
    pub(super) async fn news(&self) -> bool {
        let Some(wait) = self.settings.wait.filter(|_| self.waits.may_be_asked()) else {
            return false;
        };
        match self.wait_for_news(wait).await {
            Ok(is_news) => {
                if !is_news {
                    *self.waits.known() = Known::Not(Instant::now() + ASKS_AGAIN);
                }
                is_news
            }
            Err(error) => {
                // The next round meets it, too, and says so.
                *self.waits.known() = Known::Nothing;
                tracing::debug!(feed = %self.feed, %error, "the server could not be asked to wait");
                false
            }
        }
    }

    /// True when there is something new; false when the server does not wait.
    async fn wait_for_news(&self, wait: Duration) -> Result<bool, ProcessErrorKind> {
        let head: &Head = &self.pages.head;
        loop {
            let begun = Instant::now();
            let Some(known) = head.recent() else {
                // Its ETag is not known as yet.
                let page = self.newest_page().await?;
                if !head.ends_there(&page) {
                    head.keep(page);
                    return Ok(true);
                }
                if head.recent().is_none() {
                    return Ok(false);
                }
                continue;
            };
            let waited = self.pages.wait(&known, wait).await?;
            let was_held = begun.elapsed() >= AT_ONCE;
            if was_held {
                *self.waits.known() = Known::ItDoes;
            }
            let has_waited = match waited {
                Fetched::Unchanged { waits } => waits,
                Fetched::Page(page) if !head.ends_there(&page) => {
                    head.keep(*page);
                    return Ok(true);
                }
                // Another page, and nothing new on it: a title was changed, say.
                Fetched::Page(_) => true,
            };
            if !has_waited || !was_held {
                return Ok(false);
            }
        }
    }
}
