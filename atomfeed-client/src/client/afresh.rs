use std::sync::Arc;

use atomfeed_core::{Event, FailedEvent};
use url::Url;

use super::AtomFeedClient;
use super::pages::FetchedPage;
use super::start::status;
use crate::ProcessErrorKind;

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
}

impl Afresh {
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
        if event.page_uri().is_some() || !event.content().contains('&') {
            return Ok(None);
        }
        let Some(url) = page_in(failed.failure.message()) else {
            return Ok(None);
        };
        if self.page.as_ref().is_none_or(|(known, _)| *known != url) {
            match client.fetch(url.clone()).await {
                Ok(page) => self.page = Some((url, page)),
                Err(error) if matches!(status(&error), Some(404 | 410)) => return Ok(None),
                Err(error) => return Err(error),
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
