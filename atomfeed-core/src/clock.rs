use std::fmt;

use chrono::{DateTime, SubsecRound, Utc};

/// Where the time comes from. Hosts use [`SystemClock`]; tests bring a clock of their own.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time, in whole microseconds: what every database here can keep.
    fn now(&self) -> DateTime<Utc>;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        to_micros(Utc::now())
    }
}

/// Cuts a time to the microseconds that databases keep, so that what is read back is equal.
pub(crate) fn to_micros(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(6)
}
