use atomfeed_core::{Event, Failure};

/// How many events were dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Processed {
    /// Those that were applied.
    pub applied: u64,
    /// Those that the worker ignored.
    pub ignored: u64,
    /// Those that failed: they are parked, or stay parked.
    pub failed: u64,
    /// Those that were parked unprocessed, behind one of the same key that has failed.
    pub held: u64,
}

impl Processed {
    /// How many events it were, in whatever way they were dealt with.
    pub fn events(&self) -> u64 {
        self.applied + self.ignored + self.failed + self.held
    }

    pub(crate) fn add(&mut self, more: Self) {
        self.applied += more.applied;
        self.ignored += more.ignored;
        self.failed += more.failed;
        self.held += more.held;
    }
}

/// What became of an event, once that is committed.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Outcome<'a> {
    /// It was applied.
    Applied {
        /// The event.
        event: &'a Event,
    },
    /// The worker has nothing to do with it.
    Ignored {
        /// The event.
        event: &'a Event,
    },
    /// The worker could not apply it; it is kept with its error.
    Parked {
        /// The event.
        event: &'a Event,
        /// What the worker said.
        failure: &'a Failure,
    },
    /// An earlier event of the same key is parked: it waits behind that, unprocessed.
    Held {
        /// The event.
        event: &'a Event,
        /// The key.
        key: &'a str,
    },
    /// It was parked, was tried again, and was applied, or ignored.
    Retried {
        /// The event.
        event: &'a Event,
    },
    /// It was parked, was tried again, and stays parked.
    RetryFailed {
        /// The event.
        event: &'a Event,
        /// What the worker said this time.
        failure: &'a Failure,
        /// How often it was tried again by now.
        retries: u32,
        /// Whether that is as often as is allowed: it is left to a person, and holds back its own key.
        is_last: bool,
    },
}
