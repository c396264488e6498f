//! What is asked for of the marker: to see where it would stand, and to move it there.

use std::time::Duration;

use atomfeed_core::store::Claim;
use atomfeed_core::{Action, ActionState, Marker};
use tokio_util::sync::CancellationToken;

use super::{Ended, done, failed, is_of_feed};
use crate::ProcessErrorKind;
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
        let stood = match &from {
            // Far back in a long feed that takes long, and the feed does not go on meanwhile.
            Some(marker) => match tokio::time::timeout(SEARCH, self.stood(marker)).await {
                Ok(stood) => stood?,
                Err(_) => None,
            },
            None => Some(0),
        };
        let effect = match stood.zip(position) {
            Some((from, to)) if from < to => format!("{} events would be skipped", to - from),
            Some((from, to)) if from > to => format!("{} events would be replayed", from - to),
            Some(_) => "nothing would be skipped or replayed".to_owned(),
            None => "how many events lie between, the server does not say, or not soon".to_owned(),
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
