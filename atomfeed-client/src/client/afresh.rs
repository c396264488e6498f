use std::sync::Arc;

use atomfeed_core::{Event, FailedEvent};
use url::Url;

use super::AtomFeedClient;
use super::pages::FetchedPage;
use super::start::status;
use crate::{FetchError, ProcessErrorKind};

/// What stands before the address of the page in the error message of a row of `failed_events`, and
/// after it.
const BEFORE_PAGE: &str = "Failed processing event in feed [";
const AFTER_PAGE: &str = "] ";

/// Gives events that the original library has parked the content that the feed says: it escapes `&` and
/// stores that, so that the address of a resource is another one.
#[derive(Default)]
pub(super) struct Afresh {
    /// Events are parked page by page.
    page: Option<(Url, FetchedPage)>,
    /// Whether pages cannot be had now: that is the same for the next one.
    pub(super) is_cut_off: bool,
}

impl Afresh {
    /// Whether an event's content is to be looked up on a page.
    pub(super) fn needs_page(failed: &FailedEvent) -> bool {
        let event = &failed.event;
        event.page_uri().is_none()
            && event.content().contains('&')
            && page_in(failed.failure.message()).is_some()
    }

    /// The event as its page has it. `Ok(None)` where nothing needs to be, or can be, looked up: the
    /// row was parked by us, holds nothing that would have been escaped, or its page is gone.
    ///
    /// # Errors
    ///
    /// When the page cannot be fetched now.
    pub(super) async fn event<C: ?Sized + Send + 'static>(
        &mut self,
        client: &AtomFeedClient<C>,
        failed: &FailedEvent,
    ) -> Result<Option<Event>, ProcessErrorKind> {
        let event = &failed.event;
        let page = page_in(failed.failure.message());
        let Some(url) = page.filter(|_| Self::needs_page(failed)) else {
            return Ok(None);
        };
        if self.page.as_ref().is_none_or(|(known, _)| *known != url) {
            match client.fetch(url.clone()).await {
                Ok(page) => self.page = Some((url, page)),
                Err(error) if matches!(status(&error), Some(404 | 410)) => return Ok(None),
                Err(error) => {
                    self.is_cut_off = error.fetching().is_some_and(FetchError::is_transient);
                    return Err(error);
                }
            }
        }
        let events = self.page.iter().flat_map(|(_, page)| &page.events);
        let mut same = events.filter(|found| found.id() == event.id());
        let found = same.next();
        Ok(found.map(|found| Event::clone(Arc::as_ref(found)).as_retry(true)))
    }
}

fn page_in(message: &str) -> Option<Url> {
    let (page, _) = message.strip_prefix(BEFORE_PAGE)?.split_once(AFTER_PAGE)?;
    Url::parse(page).ok()
}
