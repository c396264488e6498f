use std::fmt;

/// Something that a consumer must never do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// It was published, and the consumer has passed it, but it was neither applied nor parked nor
    /// ignored.
    Lost {
        /// The event.
        event: String,
        /// Its key.
        key: Option<String>,
    },
    /// Something has become of an event that was never published.
    Phantom {
        /// The event.
        event: String,
        /// What has become of it.
        fate: Fate,
    },
    /// It was applied or parked, and then applied or parked again.
    Doubled {
        /// The event.
        event: String,
        /// What has become of it, twice.
        fates: [Fate; 2],
    },
    /// Two events of one key were applied, or are to be tried again, in the other order than they were
    /// published.
    OutOfOrder {
        /// The event that comes too late.
        event: String,
        /// A later one that comes before it.
        after: String,
        /// Their key.
        key: String,
    },
    /// It was applied though an earlier event of its key is still parked.
    Overtook {
        /// The event.
        event: String,
        /// The first one of its key that is parked.
        parked: String,
        /// Their key.
        key: String,
    },
    /// The marker stood behind an event, and then behind an earlier one.
    MarkerWentBack {
        /// Where it stood.
        from: String,
        /// Where it stood next.
        to: String,
    },
}

/// What has become of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// The worker's effect is there.
    Applied,
    /// It has failed, or waits behind one that has, and is to be tried again.
    Parked,
    /// The worker had nothing to do for it.
    Ignored,
    /// The marker stood behind it.
    Marked,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost {
                event,
                key: Some(key),
            } => write!(
                f,
                "{event} of {key} is lost: neither applied nor parked nor ignored"
            ),
            Self::Lost { event, key: None } => {
                write!(f, "{event} is lost: neither applied nor parked nor ignored")
            }
            Self::Phantom { event, fate } => {
                write!(f, "{event} was never published, and was {fate}")
            }
            Self::Doubled {
                event,
                fates: [first, second],
            } => write!(f, "{event} was {first}, and then {second} as well"),
            Self::OutOfOrder { event, after, key } => write!(
                f,
                "{event} of {key} comes after {after}, which was published after it"
            ),
            Self::Overtook { event, parked, key } => write!(
                f,
                "{event} of {key} was applied, though {parked}, which comes before it, is still parked"
            ),
            Self::MarkerWentBack { from, to } => {
                write!(f, "the marker went back from {from} to {to}")
            }
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Applied => "applied",
            Self::Parked => "parked",
            Self::Ignored => "ignored",
            Self::Marked => "marked",
        })
    }
}
