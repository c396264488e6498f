//! What is asked for of the marker: to see where it would stand, and to move it there.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atomfeed_core::store::Claim;
use atomfeed_core::{Action, ActionState, Event, Marker};
use tokio_util::sync::CancellationToken;

use super::{Ended, done, failed, is_of_feed};
use crate::ProcessErrorKind;
use crate::client::pages::FetchedPage;
use crate::client::start::First;
use crate::client::{AtomFeedClient, StartPosition};

/// How long it is looked for a place in the feed, and for where the marker stands, to tell what lies between:
/// the feed does not go on meanwhile.
const SEARCH: Duration = Duration::from_secs(30);

impl<C: ?Sized + Send + 'static> AtomFeedClient<C> {
    /// Where the marker would stand, and what that would skip or replay.
    pub(super) async fn preview(&self, action: &mut Action) -> Result<Ended, ProcessErrorKind> {
        let Ok(position) = action.asked.detail.parse::<StartPosition>() else {
            return Ok(no_position(&action.asked.detail));
        };
        let from = self.store.marker(&self.feed).await?;
        // Where another search was broken off is no place to begin this one.
        self.begin_search_anew();
        let Ok(to) = tokio::time::timeout(SEARCH, self.find(&position)).await else {
            return Ok(failed(
                "it was not found within half a minute, and the feed has to go on: give the URL of the page on \
                 which it is, or see whether it is written as the feed has it",
            ));
        };
        let Some(to) = to? else {
            return Ok(done("the feed has nothing there yet"));
        };
        let (stands, position) = (self.marker_at(&to), reached(&to));
        // What is asked for next is to be this, whatever is published meanwhile.
        action.progress.was = match (stands.last_read_entry_id(), stands.page_uri()) {
            (Some(entry), _) => Some(format!("after:{entry}")),
            (None, page) => page.map(str::to_owned),
        };
        let lies_between = async {
            match position {
                Some(to) => {
                    let stood = match &from {
                        Some(marker) => self.stood(marker).await?,
                        None => Some(0),
                    };
                    match stood {
                        Some(from) => Ok(Some(to.cast_signed() - from.cast_signed())),
                        None => self.count_between(from.as_ref(), &stands).await,
                    }
                }
                None => self.count_between(from.as_ref(), &stands).await,
            }
        };
        // Far back in a long feed that takes long, and the feed does not go on meanwhile.
        let lies_between = tokio::time::timeout(SEARCH, lies_between).await;
        let effect = match lies_between {
            Ok(lies_between) => match lies_between? {
                Some(skipped @ 1..) => format!("{skipped} events would be skipped"),
                Some(0) => "nothing would be skipped or replayed".to_owned(),
                Some(replayed) => format!("{} events would be replayed", -replayed),
                None => "how many events lie between is not known, since the place of the marker is no more in the \
                         feed, or not to be had now"
                    .to_owned(),
            },
            Err(_) => {
                "how many events lie between was not to be counted within half a minute".to_owned()
            }
        };
        Ok(done(&format!(
            "{effect}; the marker would stand {}",
            told(&stands)
        )))
    }

    /// How many events of the feed there are up to where a marker stands.
    async fn stood(&self, marker: &Marker) -> Result<Option<u64>, ProcessErrorKind> {
        let first = match marker.last_read_entry_id() {
            Some(entry) => self.find(&StartPosition::After(entry.clone())).await,
            None => return Ok(None),
        };
        self.begin_search_anew();
        match first {
            Ok(first) => Ok(first.as_ref().and_then(reached)),
            Err(error) if is_of_feed(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many events lie between two markers, counted on the pages of a feed whose server says no positions:
    /// less than none where the second one stands before the first. `None` when the feed has no such place.
    async fn count_between(
        &self,
        from: Option<&Marker>,
        to: &Marker,
    ) -> Result<Option<i64>, ProcessErrorKind> {
        self.begin_search_anew();
        let places = [from, Some(to)];
        let counted = Mutex::new(Counted::default());
        let counting = || counted.lock().unwrap_or_else(PoisonError::into_inner);
        let sought = self.seek_back(|page| counting().go_on(page, places)).await;
        self.begin_search_anew();
        let is_at_the_beginning = match sought {
            Ok((_, found_both)) => !found_both,
            Err(error) if is_of_feed(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut counted = counting();
        // Who has no marker begins with the oldest page.
        if from.is_none() && is_at_the_beginning {
            counted.behind[0] = Some(counted.events);
        }
        let [from, to] = counted.behind;
        Ok(from.zip(to).map(|(from, to)| from - to))
    }

    /// In one transaction with what is said of it, so that it is done once.
    pub(super) async fn move_as_asked(
        &self,
        action: &mut Action,
        stop: &CancellationToken,
    ) -> Result<Option<Ended>, ProcessErrorKind> {
        let Ok(position) = action.asked.detail.parse::<StartPosition>() else {
            return Ok(Some(no_position(&action.asked.detail)));
        };
        self.begin_search_anew();
        let to = tokio::select! {
            to = self.position_of(&position) => to?,
            () = stop.cancelled() => return Ok(None),
            () = self.called_off(action.id) => return Ok(None),
        };
        let mut work = self.store.begin().await?;
        self.keep_claim(work.as_mut()).await?;
        // What others have in hand is of where it stood.
        let claim = work.claim(&self.feed).await?;
        let claim = Claim::after(claim.as_ref(), &self.claiming.consumer);
        work.put_claim(&self.feed, &claim).await?;
        let from = work.marker(&self.feed).await?;
        let completed = work.completed(&self.feed).await?;
        let completed: Vec<_> = completed.iter().collect();
        work.forget_completed(&self.feed, &completed).await?;
        work.move_marker(from.as_ref(), &to).await?;
        let said = format!("the marker stands {}", told(&to));
        let mut progress = self.then(&action.progress, ActionState::Done, &said);
        progress.was = from.as_ref().map(told);
        work.advance(action.id, ActionState::Running, &progress)
            .await?;
        work.commit().await?;
        self.claiming.hold(Some(claim));
        action.progress = progress;
        tracing::info!(feed = %self.feed, ?from, ?to, "the marker was moved as it was asked for");
        Ok(None)
    }
}

/// What was counted on the way from the newest page back.
#[derive(Default)]
struct Counted {
    events: i64,
    /// How many lie behind either place, once it was met.
    behind: [Option<i64>; 2],
    /// Those of the page that came last: on time chunks of the original one may be on two.
    last: Vec<Arc<Event>>,
}

impl Counted {
    /// Counts a page. Whether both places were met.
    fn go_on(&mut self, page: &FetchedPage, places: [Option<&Marker>; 2]) -> bool {
        let is_new = |event: &&Arc<Event>| !self.last.iter().any(|last| last.id() == event.id());
        for (place, behind) in places.into_iter().zip(&mut self.behind) {
            let unread = match place.map(|place| (place.last_read_entry_id(), place.page_uri())) {
                _ if behind.is_some() => continue,
                Some((Some(entry), _)) => page.events_behind(entry),
                Some((None, Some(uri))) if page.uri == uri => Some(page.events.clone()),
                _ => None,
            };
            *behind =
                unread.map(|unread| self.events + unread.iter().filter(is_new).count() as i64);
        }
        self.events += page.events.iter().filter(is_new).count() as i64;
        self.last.clone_from(&page.events);
        self.behind.iter().all(Option::is_some)
    }
}

fn no_position(given: &str) -> Ended {
    failed(&format!(
        "{given:?} is no position: give latest, beginning, page:URL, after:ENTRY or at:TIME"
    ))
}

/// How many events of the feed there are up to where one would begin, where the server says.
fn reached(first: &First) -> Option<u64> {
    let position = first.page.position?;
    Some(position.saturating_sub(first.unread.len() as u64))
}

fn told(marker: &Marker) -> String {
    let page = marker.page_uri().unwrap_or("no page");
    match marker.last_read_entry_id() {
        Some(entry) => format!("behind {entry} on {page}"),
        None => format!("at the beginning of {page}"),
    }
}
