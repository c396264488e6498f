use chrono::{DateTime, Utc};

use crate::{EntryId, FeedUri};

/// What somebody asks to be done with a feed: a row of `atomfeed_actions`.
///
/// A consumer takes it up, within a second while it runs, and writes down what came of it. Rows stay: they
/// say who did what, when, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Action {
    /// Column `id`.
    pub id: i64,
    /// What is asked for.
    pub asked: NewAction,
    /// How far it has come (columns `state`, `changed_at`, `succeeded`, `failed`, `was`, `outcome`).
    pub progress: ActionProgress,
}

impl Action {
    /// A row with these values.
    pub fn new(id: i64, asked: NewAction, progress: ActionProgress) -> Self {
        Self {
            id,
            asked,
            progress,
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAction {
    /// Of which feed (column `feed_uri`).
    pub feed_uri: FeedUri,
    /// What (column `kind`).
    pub kind: ActionKind,
    /// With which parked event (column `failed_event_id`); `None` where it is with several, or none.
    pub failed_event_id: Option<i64>,
    /// The id of that event (column `event_id`).
    pub event_id: Option<EntryId>,
    /// What the [kind](ActionKind) needs besides (column `detail`).
    pub detail: String,
    /// Who asks (column `asked_by`).
    pub by: String,
    /// Why (column `why`).
    pub why: String,
    /// When (column `asked_at`).
    pub at: DateTime<Utc>,
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ActionKind {
    /// A parked event is to be tried again, whether it is due or not.
    Retry,
    /// Parked events are to be tried again, in batches that grow as long as they succeed. The detail says
    /// which, as [`FailureFilter`](crate::store::FailureFilter) writes it.
    RetryMany,
    /// A parked event is to be tried again as if it had not been yet: its retries are set to 0.
    ResetRetries,
    /// A parked event gets another content, which is the detail, and is tried again.
    Edit,
    /// A parked event is given up. What waits behind it goes on.
    Skip,
    /// Where the marker would stand is to be found out, for the position that is the detail.
    PreviewMarker,
    /// The marker is to be moved to the position that is the detail.
    MoveMarker,
    /// Another address is put in the place of one, in the whole store; the detail names both. It was done
    /// when it was written down.
    Rebase,
    /// Parked events of the feed were handed out; the detail says which, and in which format. It was done when it
    /// was written down.
    Export,
}

impl ActionKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Retry,
        Self::RetryMany,
        Self::ResetRetries,
        Self::Edit,
        Self::Skip,
        Self::PreviewMarker,
        Self::MoveMarker,
        Self::Rebase,
        Self::Export,
    ];

    /// As the column `kind` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::RetryMany => "retry-many",
            Self::ResetRetries => "reset-retries",
            Self::Edit => "edit",
            Self::Skip => "skip",
            Self::PreviewMarker => "preview-marker",
            Self::MoveMarker => "move-marker",
            Self::Rebase => "rebase",
            Self::Export => "export",
        }
    }

    /// The kind of a name in the column `kind`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// How far what was asked for has come.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActionProgress {
    /// In general.
    pub state: ActionState,
    /// Since when it is so.
    pub changed_at: DateTime<Utc>,
    /// Behind which parked event to go on, where it is with many.
    pub place: i64,
    /// How many were tried with success.
    pub succeeded: u64,
    /// How many were tried in vain.
    pub failed: u64,
    /// What there was before: the content that was replaced, or where the marker stood.
    pub was: Option<String>,
    /// What came of it, in words.
    pub outcome: Option<String>,
}

impl ActionProgress {
    /// Nobody has taken it up yet.
    pub fn waiting(at: DateTime<Utc>) -> Self {
        Self {
            state: ActionState::Waiting,
            changed_at: at,
            place: 0,
            succeeded: 0,
            failed: 0,
            was: None,
            outcome: None,
        }
    }

    /// The same in another state, with what is to be said of it.
    #[must_use]
    pub fn then(
        mut self,
        state: ActionState,
        at: DateTime<Utc>,
        outcome: impl Into<String>,
    ) -> Self {
        (self.state, self.changed_at) = (state, at);
        self.outcome = Some(outcome.into());
        self
    }
}

/// What has become of something that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ActionState {
    /// Nobody has taken it up yet.
    Waiting,
    /// A consumer is at it.
    Running,
    /// It was done.
    Done,
    /// It was tried and failed, or could not be done; the outcome says why.
    Failed,
    /// Whoever asked, or somebody else, has called it off.
    CalledOff,
}

impl ActionState {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Waiting,
        Self::Running,
        Self::Done,
        Self::Failed,
        Self::CalledOff,
    ];

    /// As the column `state` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::CalledOff => "called-off",
        }
    }

    /// The state of a name in the column `state`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether something is still to come.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Running)
    }
}
