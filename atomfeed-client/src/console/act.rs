//! What somebody asks for, written down; and done at once where no consumer of ours would do it.

use atomfeed_core::store::{
    ActionQuery, FailedEventQuery, FailureFilter, FeedStatus, Records, StoreError, StoreErrorKind,
    StoreResult,
};
use atomfeed_core::{
    Action, ActionKind, ActionProgress, ActionState, EntryId, FailedEvent, FeedUri, Marker,
    NewAction, Rebase, Rebased,
};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::again::Again;
use super::desk::Desk;
use super::system::System;
use super::users::{ConsoleUser, Role};

/// How long the word of a consumer of ours holds: a feed that none has followed since is another program's,
/// where its tables are.
const OURS: TimeDelta = TimeDelta::hours(24);

/// Of tables of the original's earliest kind.
pub(super) const NO_RETRIES: &str = "the program that runs this feed counts no retries in its tables: it tries again what is \
                          parked whenever it does, and there is nothing here to set";

/// How long a reason may be, in bytes.
pub(super) const LONGEST_WHY: usize = 10_000;

/// How much a content may weigh.
pub(super) const LARGEST_CONTENT: usize = 16 << 20;

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) kind: ActionKind,
    pub(super) feed_uri: FeedUri,
    pub(super) failed_event_id: Option<i64>,
    pub(super) detail: String,
    pub(super) why: String,
    /// What whoever asks has seen, where that is to be what is there still: see [`seen`].
    pub(super) seen: Option<String>,
}

impl Wish {
    pub(super) fn action(
        self,
        user: &ConsoleUser,
        parked: Option<&FailedEvent>,
        at: DateTime<Utc>,
    ) -> NewAction {
        NewAction {
            feed_uri: self.feed_uri,
            kind: self.kind,
            failed_event_id: self.failed_event_id,
            event_id: parked.map(|parked| parked.event.id().clone()),
            detail: self.detail,
            by: user.name.clone(),
            why: self.why,
            at,
        }
    }
}

/// Names what a parked event is now.
pub(super) fn seen(parked: &FailedEvent) -> String {
    let event = &parked.event;
    let what = format!("{}\n{}", event.id(), event.content());
    Uuid::new_v5(&Uuid::NAMESPACE_OID, what.as_bytes()).to_string()
}

/// Why it cannot be asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unasked {
    #[error("{0} may look at everything and change nothing: have somebody do it who may")]
    NotAllowed(String),
    #[error("{0}")]
    Wrong(String),
    #[error("it is not parked any more: it has succeeded, or somebody else has dealt with it")]
    Gone,
    #[error(
        "{1} has asked already that it be edited or skipped, which is not done yet: see what comes of action {0}, \
         or call that off"
    )]
    Taken(i64, String),
    #[error("somebody else has changed it since you opened the form: look at it again")]
    Changed,
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for Unasked {
    fn from(error: StoreError) -> Self {
        match error.kind() {
            StoreErrorKind::NotParked => Self::Gone,
            StoreErrorKind::Refused => Self::Wrong(error.to_string()),
            _ => Self::Store(error),
        }
    }
}

impl Desk {
    /// Whether a feed is run by another program, which takes nothing up that is asked for here.
    pub(super) async fn is_foreign(
        &self,
        is_adopted: bool,
        work: &mut dyn Records,
        feed: &FeedUri,
    ) -> Result<bool, StoreError> {
        if !is_adopted {
            return Ok(false);
        }
        let statuses = work.statuses().await?;
        let own = statuses.iter().find(|status| status.feed_uri == *feed);
        Ok(own.is_none_or(|status| self.is_left(status)))
    }

    /// Whether no consumer of ours has given word of a feed for so long that it is none of theirs any more.
    fn is_left(&self, status: &FeedStatus) -> bool {
        let now = self.clock.now();
        status.seen_at.is_none_or(|seen| now - seen > OURS)
    }

    /// Writes down what is asked for, and says under which id.
    pub(super) async fn ask(
        &self,
        system: &System,
        user: &ConsoleUser,
        wish: Wish,
    ) -> Result<i64, Unasked> {
        let mut again = Again::new();
        loop {
            match self.ask_once(system, user, &wish).await {
                Err(Unasked::Store(error)) if again.after(&error) => {}
                asked => return asked,
            }
        }
    }

    async fn ask_once(
        &self,
        system: &System,
        user: &ConsoleUser,
        wish: &Wish,
    ) -> Result<i64, Unasked> {
        if user.role < Role::Operate {
            return Err(Unasked::NotAllowed(user.name.clone()));
        }
        self.check(wish)?;
        let store = system.store().await?;
        let counts_retries = store.counts_retries();
        let mut work = system.change().await?;
        let is_foreign = self
            .is_foreign(store.is_adopted(), work.as_mut(), &wish.feed_uri)
            .await?;
        if is_foreign && wish.kind == ActionKind::RetryMany {
            if !counts_retries {
                return Err(Unasked::Wrong(NO_RETRIES.to_owned()));
            }
            return self.reset_many(system, user, work, wish.clone()).await;
        }
        let is_of_a_feed = wish.failed_event_id.is_none() && wish.kind != ActionKind::Rebase;
        if is_of_a_feed && !is_foreign && !is_known(work.as_mut(), &wish.feed_uri).await? {
            return Err(Unasked::Wrong(format!(
                "nobody follows {} here: see how the feed is written among the markers, or start its consumer",
                wish.feed_uri
            )));
        }
        let is_exclusive = |kind| matches!(kind, ActionKind::Edit | ActionKind::Skip);
        let parked = match wish.failed_event_id {
            None => None,
            Some(id) => {
                let mut parked = work.parked_event(id).await?;
                if let Some(there) = parked.as_ref().filter(|_| is_exclusive(wish.kind)) {
                    // Of two who ask at once, the second one sees what the first has asked, and done.
                    work.hold(there).await?;
                    parked = work.parked_event(id).await?;
                }
                let parked = parked.filter(|parked| *parked.event.feed_uri() == wish.feed_uri);
                Some(parked.ok_or(Unasked::Gone)?)
            }
        };
        if let (Some(parked), Some(before)) = (&parked, &wish.seen)
            && seen(parked) != *before
        {
            return Err(Unasked::Changed);
        }
        if let Some(parked) = parked.as_ref().filter(|_| is_exclusive(wish.kind)) {
            let others = ActionQuery::newest(50).of_event(parked.id, &parked.event);
            let others = work.actions(&others).await?;
            let open = others
                .iter()
                .find(|other| other.progress.state.is_open() && is_exclusive(other.asked.kind));
            if let Some(open) = open {
                return Err(Unasked::Taken(open.id, open.asked.by.clone()));
            }
        }
        let now = self.clock.now();
        let action = wish.clone().action(user, parked.as_ref(), now);
        let waiting = ActionProgress::waiting(now);
        let progress = match action.kind {
            ActionKind::Rebase => {
                let rebase = rebase(&action.detail)?;
                let done = work.rebase(&rebase).await?;
                waiting.then(ActionState::Done, now, told(&done))
            }
            _ if is_foreign => {
                let parked = parked.as_ref();
                let done = self.carry_out(work.as_mut(), &action, parked, waiting, counts_retries);
                done.await?
            }
            _ => waiting,
        };
        let id = work.ask(&action, &progress).await?;
        work.commit().await?;
        tracing::info!(
            system = system.name(),
            action = id,
            kind = action.kind.as_str(),
            by = action.by,
            why = action.why,
            "something was asked for in the console"
        );
        Ok(id)
    }

    fn check(&self, wish: &Wish) -> Result<(), Unasked> {
        let wrong = |said: &str| Err(Unasked::Wrong(said.to_owned()));
        if wish.why.trim().is_empty() {
            return wrong("say why: it is written down beside what is done");
        }
        if wish.why.len() > LONGEST_WHY || wish.detail.len() > LARGEST_CONTENT {
            return wrong(
                "that is too long to be kept: give a reason of 10,000 bytes, and a content of 16 MiB, at the most",
            );
        }
        if wish.kind == ActionKind::Export {
            return wrong("what is parked is exported where it is shown, and by GET …/export/csv");
        }
        let takes_event = matches!(
            wish.kind,
            ActionKind::Retry | ActionKind::ResetRetries | ActionKind::Edit | ActionKind::Skip
        );
        if takes_event != wish.failed_event_id.is_some() {
            return wrong(
                "say of which parked event, where it is one, and of none where it is not",
            );
        }
        if wish.kind == ActionKind::RetryMany
            && let Err(error) = wish.detail.parse::<FailureFilter>()
        {
            return wrong(&error.to_string());
        }
        if wish.kind == ActionKind::Edit && wish.detail.contains('\0') {
            return wrong(
                "the content holds a NUL character, which no database keeps: take it out",
            );
        }
        Ok(())
    }

    /// Does what the tables of another program can carry, as far as no worker is needed.
    async fn carry_out(
        &self,
        work: &mut dyn Records,
        action: &NewAction,
        parked: Option<&FailedEvent>,
        mut progress: ActionProgress,
        counts_retries: bool,
    ) -> Result<ActionProgress, Unasked> {
        const THEIRS: &str =
            "the program that runs this feed tries it again by itself: its retries are 0";
        let now = self.clock.now();
        let said = match (action.kind, parked) {
            (ActionKind::Retry | ActionKind::ResetRetries, _) if !counts_retries => {
                return Err(Unasked::Wrong(NO_RETRIES.to_owned()));
            }
            (ActionKind::Retry | ActionKind::ResetRetries, Some(parked)) => {
                if !work.reset_retries(parked).await? {
                    return Err(Unasked::Gone);
                }
                THEIRS.to_owned()
            }
            (ActionKind::Edit, Some(parked)) => {
                work.edit_content(parked, &action.detail).await?;
                work.reset_retries(parked).await?;
                progress.was = Some(parked.event.content().to_owned());
                match counts_retries {
                    true => THEIRS,
                    false => {
                        "the program that runs this feed tries it again by itself, whenever it does"
                    }
                }
                .to_owned()
            }
            (ActionKind::Skip, Some(parked)) => {
                work.remove_failed_event(parked).await?;
                progress.was = Some(parked.event.content().to_owned());
                "given up: it is parked no longer".to_owned()
            }
            (ActionKind::PreviewMarker, _) => {
                let to = placed(&action.feed_uri, &action.detail)?;
                format!(
                    "what lies between, only the program that runs this feed can tell; the marker would stand {}",
                    stands(&to)
                )
            }
            (ActionKind::MoveMarker, _) => {
                let to = placed(&action.feed_uri, &action.detail)?;
                let from = work.marker(&action.feed_uri).await?;
                let completed = work.completed(&action.feed_uri).await?;
                let completed: Vec<_> = completed.iter().collect();
                work.forget_completed(&action.feed_uri, &completed).await?;
                work.move_marker(from.as_ref(), &to).await?;
                progress.was = from.as_ref().map(stands);
                format!("the marker stands {}", stands(&to))
            }
            _ => return Err(Unasked::Wrong("a program of its own runs this feed, and its tables cannot carry this: do it there".to_owned())),
        };
        Ok(progress.then(ActionState::Done, now, said))
    }

    /// Does what waits for a consumer of ours that has left the feed to another program since; what the console
    /// cannot do waits on.
    pub(super) async fn take_over(&self, system: &System, action: &Action) -> StoreResult<()> {
        let store = system.store().await?;
        let feed = &action.asked.feed_uri;
        let mut work = system.look().await?;
        let is_adopted = store.is_adopted();
        if !self.is_foreign(is_adopted, work.as_mut(), feed).await? {
            return Ok(());
        }
        drop(work);
        let mut work = system.change().await?;
        // Somebody else may have looked at it, too.
        let Some(action) = work.action(action.id).await? else {
            return Ok(());
        };
        let (asked, progress) = (&action.asked, action.progress.clone());
        if progress.state != ActionState::Waiting {
            return Ok(());
        }
        let now = self.clock.now();
        let counts_retries = store.counts_retries();
        if asked.kind == ActionKind::RetryMany && counts_retries {
            let begun = progress.then(ActionState::Running, now, "");
            work.advance(action.id, ActionState::Waiting, &begun)
                .await?;
            work.commit().await?;
            self.begin_resetting(system, store, action.id);
            return Ok(());
        }
        let parked = match asked.failed_event_id {
            Some(id) => work.parked_event(id).await?,
            None => None,
        };
        let parked = parked.filter(|parked| Some(parked.event.id()) == asked.event_id.as_ref());
        let waits = progress.clone();
        let carried = self.carry_out(work.as_mut(), asked, parked.as_ref(), waits, counts_retries);
        let ended = match carried.await {
            Ok(done) => done,
            Err(Unasked::Store(error)) => return Err(error),
            Err(why) if asked.failed_event_id.is_some() && parked.is_none() => {
                let said = Unasked::Gone.to_string();
                tracing::debug!(action = action.id, %why, "there is nothing left to do");
                progress.then(ActionState::Failed, now, said)
            }
            // It waits on for a consumer that can.
            Err(why) => {
                tracing::debug!(action = action.id, %why, "it is none of the console's");
                return Ok(());
            }
        };
        work.advance(action.id, ActionState::Waiting, &ended)
            .await?;
        work.commit().await
    }

    /// Calls off what is not done.
    pub(super) async fn call_off(
        &self,
        system: &System,
        user: &ConsoleUser,
        id: i64,
    ) -> Result<(), Unasked> {
        let mut again = Again::new();
        loop {
            match self.call_off_once(system, user, id).await {
                Err(Unasked::Store(error)) if again.after(&error) => {}
                called_off => return called_off,
            }
        }
    }

    async fn call_off_once(
        &self,
        system: &System,
        user: &ConsoleUser,
        id: i64,
    ) -> Result<(), Unasked> {
        if user.role < Role::Operate {
            return Err(Unasked::NotAllowed(user.name.clone()));
        }
        let mut work = system.change().await?;
        if work.action(id).await?.is_none() {
            return Err(Unasked::Wrong(
                "there is no such action: look among those of this system".to_owned(),
            ));
        }
        let said = format!("called off by {}", user.name);
        if !work.call_off(id, &said, self.clock.now()).await? {
            return Err(Unasked::Wrong(
                "it is over already: look at what came of it".to_owned(),
            ));
        }
        work.commit().await?;
        Ok(())
    }

    /// What putting another address in the place of one would change.
    pub(super) async fn preview_rebase(
        &self,
        system: &System,
        detail: &str,
    ) -> Result<Rebased, Unasked> {
        let rebase = rebase(detail)?;
        let mut work = system.look().await?;
        Ok(work.would_rebase(&rebase).await?)
    }
}

/// Whether anything is kept of a feed: whoever follows it leaves a marker, a status or what is parked.
async fn is_known(work: &mut dyn Records, feed: &FeedUri) -> StoreResult<bool> {
    if work.marker(feed).await?.is_some() {
        return Ok(true);
    }
    let statuses = work.statuses().await?;
    if statuses.iter().any(|status| status.feed_uri == *feed) {
        return Ok(true);
    }
    let parked = FailedEventQuery::of(feed.clone()).limit(1);
    Ok(!work.failed_events(&parked).await?.is_empty())
}

fn rebase(detail: &str) -> Result<Rebase, Unasked> {
    let parsed: Result<Rebase, _> = detail.parse();
    parsed.map_err(|error| {
        Unasked::Wrong(format!(
            "{error}: give FROM=TO, such as http://emr=https://emr.example.org"
        ))
    })
}

pub(super) fn told(rebased: &Rebased) -> String {
    format!(
        "{} markers, {} parked events and {} rows of the retry log",
        rebased.markers, rebased.failed_events, rebased.retries
    )
}

/// A marker by hand: the URL of a page, and, behind a blank, the id of an entry on it.
fn placed(feed: &FeedUri, detail: &str) -> Result<Marker, Unasked> {
    let (page, entry) = detail.split_once(' ').unwrap_or((detail, ""));
    let is_page = url::Url::parse(page)
        .is_ok_and(|page| matches!(page.scheme(), "http" | "https") && page.has_host());
    if !is_page {
        return Err(Unasked::Wrong(
            "the program that runs this feed is another one, and so the place is given by hand: the URL of a \
             page, a blank, and the id of the last entry that is not to be read again"
                .to_owned(),
        ));
    }
    let marker = Marker::new(feed.clone()).on_page(page);
    Ok(match EntryId::new(entry.trim()) {
        Some(entry) => marker.after(entry),
        None => marker,
    })
}

pub(super) fn stands(marker: &Marker) -> String {
    let page = marker.page_uri().unwrap_or("no page");
    match marker.last_read_entry_id() {
        Some(entry) => format!("behind {entry} on {page}"),
        None => format!("at the beginning of {page}"),
    }
}
