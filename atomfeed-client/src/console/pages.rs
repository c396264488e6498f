//! The pages, and what stands on them.

use askama::Template;
use atomfeed_core::store::{FailureGroup, MinuteCounts, ParkedEvent};
use atomfeed_core::{Action, ActionKind, ActionState, Reason};
use chrono::{DateTime, TimeDelta, Utc};

use super::desk::{Feed, FeedState, is_behind};
use super::shown::{Content, When, count, span, visible};

/// What is around each page.
pub(super) struct Frame {
    pub(super) base: String,
    pub(super) user: Option<String>,
    pub(super) may_operate: bool,
    /// Whether the console has signed the user in, and can sign out.
    pub(super) has_session: bool,
    /// What ends the session, or calls something off.
    pub(super) token: String,
    /// Which of the pages it is.
    pub(super) here: &'static str,
}

#[derive(Template)]
#[template(path = "console/sign_in.html")]
pub(super) struct SignInPage {
    pub(super) frame: Frame,
    pub(super) next: String,
    pub(super) wrong: bool,
}

#[derive(Template)]
#[template(path = "console/said.html")]
pub(super) struct SaidPage {
    pub(super) frame: Frame,
    pub(super) heading: &'static str,
    pub(super) said: String,
}

#[derive(Template)]
#[template(path = "console/overview.html")]
pub(super) struct OverviewPage {
    pub(super) frame: Frame,
    pub(super) systems: Vec<SystemRow>,
    pub(super) now: When,
    /// Whether it is not to refresh itself.
    pub(super) stands_still: bool,
}

pub(super) struct SystemRow {
    pub(super) name: String,
    pub(super) away: Option<String>,
    pub(super) is_adopted: bool,
    pub(super) feeds: Vec<FeedRow>,
    pub(super) publishing: Option<PublishingRow>,
}

pub(super) struct FeedRow {
    pub(super) uri: String,
    pub(super) class: &'static str,
    pub(super) state: &'static str,
    pub(super) behind: String,
    pub(super) lag: String,
    pub(super) success: Option<When>,
    /// What is said where there was none.
    pub(super) no_success: &'static str,
    pub(super) parked: u64,
    pub(super) parked_shown: String,
    pub(super) dead: u64,
    pub(super) error: Option<String>,
    pub(super) bars: Vec<Bar>,
    pub(super) told: String,
}

/// Half an hour of a feed.
pub(super) struct Bar {
    pub(super) x: usize,
    pub(super) applied: u64,
    pub(super) failed: u64,
}

impl Bar {
    /// From where the upper part goes down to the lower one.
    pub(super) fn top(&self) -> u64 {
        HEIGHT - self.applied - self.failed
    }

    pub(super) fn applied_top(&self) -> u64 {
        HEIGHT - self.applied
    }
}

/// Of what shows the last day.
const HEIGHT: u64 = 24;
const BARS: usize = 48;

pub(super) struct PublishingRow {
    pub(super) newest: String,
    pub(super) newest_at: Option<When>,
    pub(super) queued: String,
    pub(super) set_aside: u64,
    pub(super) rows: Vec<(When, String, String, String)>,
}

/// What another program writes down nowhere.
const NOT_KNOWN: &str = "not known";

impl FeedRow {
    pub(super) fn of(feed: &Feed, now: DateTime<Utc>) -> Self {
        let state = feed.state(now);
        let status = feed.status.as_ref();
        let behind = status.and_then(|status| status.events_behind);
        let pages = status.and_then(|status| status.pages_behind);
        let behind = match (behind, pages) {
            (Some(events), _) => format!("{} events", count(events)),
            (None, Some(pages)) => format!("{} pages", count(pages)),
            (None, None) => NOT_KNOWN.to_owned(),
        };
        let (bars, told) = match status {
            Some(_) => bars(&feed.counts, now),
            None => (
                Vec::new(),
                "what was done in 24 hours is not known".to_owned(),
            ),
        };
        let success = status.and_then(|status| status.succeeded_at);
        let error = status.and_then(|status| status.error_message.as_deref());
        let silent = status.filter(|_| state == FeedState::Stalled).map(|status| {
            let since = status.seen_at.map(|seen| When::of(seen, now).ago);
            let since = since.map(|ago| format!(" since {ago}"));
            format!(
                "Its consumer was not heard of{}: see whether it runs, or whether another program has taken the feed \
                 over.",
                since.unwrap_or_default()
            )
        });
        Self {
            uri: visible(feed.uri.as_str()),
            class: match state {
                FeedState::Ok => "ok",
                FeedState::Behind | FeedState::Foreign => "note",
                FeedState::Parked | FeedState::Waiting => "warn",
                FeedState::Dead | FeedState::Stalled => "bad",
            },
            state: state.as_str(),
            behind,
            lag: match (feed.lag(now), status) {
                (Some(lag), _) => span(lag),
                (None, Some(status)) if !is_behind(status) => "none".to_owned(),
                (None, _) => NOT_KNOWN.to_owned(),
            },
            success: success.map(|at| When::of(at, now)),
            no_success: match status {
                Some(_) => "never",
                None => NOT_KNOWN,
            },
            parked: feed.failures.parked,
            parked_shown: count(feed.failures.parked),
            dead: feed.failures.dead,
            error: silent.or_else(|| error.map(visible)),
            bars,
            told,
        }
    }
}

fn bars(counts: &[MinuteCounts], now: DateTime<Utc>) -> (Vec<Bar>, String) {
    let begun = now - MinuteCounts::KEPT;
    let mut sums = [(0, 0); BARS];
    for counts in counts {
        let passed = (counts.minute - begun).max(TimeDelta::zero());
        let place = passed.num_minutes() as usize * BARS / (24 * 60);
        let (applied, failed) = &mut sums[place.min(BARS - 1)];
        *applied += counts.applied + counts.ignored;
        *failed += counts.failed + counts.held;
    }
    let most = sums.iter().map(|(applied, failed)| applied + failed).max();
    let most = most.unwrap_or(0).max(1);
    let height = |events: u64| (events * HEIGHT).div_ceil(most);
    let bars = sums.iter().enumerate().map(|(place, (applied, failed))| {
        let failed_height = height(*failed);
        Bar {
            x: place * 2,
            failed: failed_height,
            applied: height(*applied).min(HEIGHT - failed_height),
        }
    });
    let applied: u64 = sums.iter().map(|(applied, _)| applied).sum();
    let failed: u64 = sums.iter().map(|(_, failed)| failed).sum();
    let told = format!(
        "{} done, {} failed in 24 hours",
        count(applied),
        count(failed)
    );
    (bars.collect(), told)
}

#[derive(Template)]
#[template(path = "console/failed.html")]
pub(super) struct FailedPage {
    pub(super) frame: Frame,
    pub(super) systems: Vec<String>,
    pub(super) chosen: String,
    pub(super) asked: Asked,
    /// Where the page begins.
    pub(super) before: String,
    /// At how many events a page looks for a text.
    pub(super) looked_at: String,
    pub(super) sections: Vec<FailedSection>,
}

/// What the form of filters holds.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) feed: String,
    pub(super) reason: String,
    pub(super) state: String,
    pub(super) title: String,
    pub(super) tag: String,
    pub(super) key: String,
    pub(super) error: String,
    pub(super) since: String,
    pub(super) until: String,
    pub(super) feeds: Vec<String>,
}

pub(super) struct FailedSection {
    pub(super) system: String,
    pub(super) away: Option<String>,
    /// Whether what another program has parked is still being counted.
    pub(super) is_counting: bool,
    pub(super) total: String,
    pub(super) groups: Vec<GroupRow>,
    /// How many more there are.
    pub(super) more_groups: usize,
    pub(super) events: Vec<EventRow>,
    /// The filter, as a query.
    pub(super) query: String,
    /// The feeds of which all that are like these can be retried.
    pub(super) retry_of: Vec<String>,
    /// The ids of rows that nobody can read.
    pub(super) unreadable: Vec<String>,
    pub(super) next: Option<i64>,
    /// From which event on a search was not done yet, which is looked at a part at a time.
    pub(super) goes_on: Option<i64>,
}

pub(super) struct GroupRow {
    pub(super) feed: String,
    pub(super) reason: String,
    pub(super) text: String,
    pub(super) count: String,
    pub(super) first: When,
    pub(super) last: When,
}

impl GroupRow {
    pub(super) fn of(group: &FailureGroup, now: DateTime<Utc>) -> Self {
        Self {
            feed: group.feed_uri.as_str().to_owned(),
            reason: group.reason.clone(),
            text: match group.text.as_str() {
                "" => "(nothing was said)".to_owned(),
                text => visible(text),
            },
            count: count(group.count),
            first: When::of(group.first_at, now),
            last: When::of(group.last_at, now),
        }
    }
}

pub(super) struct EventRow {
    pub(super) id: i64,
    pub(super) title: String,
    pub(super) tags: String,
    pub(super) feed: String,
    pub(super) error: String,
    pub(super) failed: When,
    pub(super) retries: u32,
    pub(super) state: &'static str,
    pub(super) class: &'static str,
}

impl EventRow {
    pub(super) fn of(parked: &ParkedEvent, dead_at: u32, now: DateTime<Utc>) -> Self {
        let (state, class) = match (parked.waits, parked.retries >= dead_at) {
            (true, _) => ("waits", "note"),
            (false, true) => ("dead", "bad"),
            (false, false) => ("parked", "warn"),
        };
        let error = visible(Reason::line(&parked.error));
        Self {
            id: parked.id,
            title: titled(&parked.title),
            tags: visible(&parked.tags),
            feed: visible(parked.feed_uri.as_str()),
            error: match error.is_empty() {
                true => "(nothing was said)".to_owned(),
                false => error,
            },
            failed: When::of(parked.failed_at, now),
            retries: parked.retries,
            state,
            class,
        }
    }
}

pub(super) fn titled(title: &str) -> String {
    match title.trim() {
        "" => "(no title)".to_owned(),
        title => visible(title),
    }
}

#[derive(Template)]
#[template(path = "console/event.html")]
pub(super) struct EventPage {
    pub(super) frame: Frame,
    pub(super) system: String,
    pub(super) row: EventRow,
    pub(super) event_id: String,
    /// As it is, and as it is shown.
    pub(super) key: Option<(String, String)>,
    pub(super) parked: When,
    pub(super) due: Option<String>,
    pub(super) is_foreign: bool,
    /// Whether a retry can be asked for at all.
    pub(super) may_retry: bool,
    /// Whether its retries that failed are kept anywhere.
    pub(super) keeps_retries: bool,
    pub(super) error: String,
    pub(super) content: Content,
    pub(super) original: Option<Content>,
    pub(super) retries: Vec<(When, String)>,
    pub(super) first: Option<i64>,
    pub(super) behind: Vec<EventRow>,
    pub(super) has_more_behind: bool,
    pub(super) actions: Vec<ActionRow>,
}

#[derive(Template)]
#[template(path = "console/form.html")]
pub(super) struct FormPage {
    pub(super) frame: Frame,
    /// What it gives back once.
    pub(super) token: String,
    pub(super) heading: &'static str,
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) explains: String,
    pub(super) path: String,
    /// What goes along with it.
    pub(super) hidden: Vec<(&'static str, String)>,
    /// A text to be edited.
    pub(super) text: Option<String>,
    /// Where a marker is to be.
    pub(super) position: Option<String>,
    pub(super) is_by_hand: bool,
    /// Two addresses.
    pub(super) addresses: bool,
    /// Whether it is to be chosen in which format.
    pub(super) formats: bool,
    /// Whether it is to be said why.
    pub(super) asks_why: bool,
    pub(super) does: &'static str,
    pub(super) is_grave: bool,
    pub(super) back: String,
}

pub(super) struct ActionRow {
    pub(super) id: i64,
    pub(super) system: String,
    pub(super) kind: &'static str,
    pub(super) feed: String,
    pub(super) feed_uri: String,
    pub(super) event: Option<(i64, String)>,
    pub(super) detail: String,
    pub(super) by: String,
    pub(super) why: String,
    pub(super) asked: When,
    pub(super) state: &'static str,
    pub(super) class: &'static str,
    pub(super) is_open: bool,
    pub(super) changed: When,
    pub(super) tried: Option<String>,
    pub(super) was: Option<String>,
    pub(super) outcome: String,
    /// To where a marker was seen that can be moved now.
    pub(super) may_move_to: Option<String>,
}

pub(super) fn kind_shown(kind: ActionKind) -> &'static str {
    match kind {
        ActionKind::Retry => "retry",
        ActionKind::RetryMany => "retry many",
        ActionKind::ResetRetries => "reset retries",
        ActionKind::Edit => "edit and retry",
        ActionKind::Skip => "skip",
        ActionKind::PreviewMarker => "preview of a marker",
        ActionKind::MoveMarker => "move the marker",
        ActionKind::Rebase => "another address",
        ActionKind::Export => "export",
        _ => "something newer",
    }
}

impl ActionRow {
    pub(super) fn of(action: &Action, system: &str, now: DateTime<Utc>) -> Self {
        let (asked, progress) = (&action.asked, &action.progress);
        let (state, class) = match progress.state {
            ActionState::Waiting => ("waiting for the consumer", "note"),
            ActionState::Running => ("running", "note"),
            ActionState::Done => ("done", "ok"),
            ActionState::Failed => ("failed", "bad"),
            _ => ("called off", "warn"),
        };
        let event = asked.failed_event_id.zip(asked.event_id.as_ref());
        let short = |text: &str| -> String {
            let mut short: String = text.chars().take(2_000).collect();
            if short.len() < text.len() {
                short.push('…');
            }
            visible(&short)
        };
        let is_many = asked.kind == ActionKind::RetryMany;
        let is_preview = asked.kind == ActionKind::PreviewMarker;
        Self {
            id: action.id,
            system: system.to_owned(),
            kind: kind_shown(asked.kind),
            feed: visible(asked.feed_uri.as_str()),
            feed_uri: asked.feed_uri.as_str().to_owned(),
            event: event.map(|(id, event)| (id, visible(event.as_str()))),
            detail: short(&asked.detail),
            by: visible(&asked.by),
            why: visible(&asked.why),
            asked: When::of(asked.at, now),
            state,
            class,
            is_open: progress.state.is_open(),
            changed: When::of(progress.changed_at, now),
            tried: is_many.then(|| {
                let (done, failed) = (count(progress.succeeded), count(progress.failed));
                format!("{done} succeeded, {failed} failed again")
            }),
            was: progress.was.as_deref().filter(|_| !is_preview).map(short),
            outcome: visible(progress.outcome.as_deref().unwrap_or_default()),
            may_move_to: (is_preview && progress.state == ActionState::Done)
                .then(|| progress.was.clone().unwrap_or_else(|| asked.detail.clone())),
        }
    }
}

#[derive(Template)]
#[template(path = "console/action.html")]
pub(super) struct ActionPage {
    pub(super) frame: Frame,
    /// That nobody is there to take it up.
    pub(super) unheard: Option<String>,
    pub(super) row: ActionRow,
}

#[derive(Template)]
#[template(path = "console/actions.html")]
pub(super) struct ActionsPage {
    pub(super) frame: Frame,
    pub(super) sections: Vec<ActionsOf>,
}

pub(super) struct ActionsOf {
    pub(super) system: String,
    pub(super) away: Option<String>,
    pub(super) rows: Vec<ActionRow>,
    pub(super) next: Option<i64>,
}

#[derive(Template)]
#[template(path = "console/markers.html")]
pub(super) struct MarkersPage {
    pub(super) frame: Frame,
    pub(super) systems: Vec<MarkersOf>,
}

pub(super) struct MarkersOf {
    pub(super) name: String,
    pub(super) away: Option<String>,
    /// Feed as it is, as it is shown, page, and entry.
    pub(super) rows: Vec<(String, String, String, String)>,
}
