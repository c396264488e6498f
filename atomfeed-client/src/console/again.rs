//! What is done once more, because another transaction was in the way and went first.

use atomfeed_core::store::{StoreError, StoreErrorKind};

/// How often something is done once more: whoever waits for it has waited a second for each deadlock.
const TIMES: u32 = 4;

/// The times that are left.
pub(super) struct Again(u32);

impl Again {
    pub(super) fn new() -> Self {
        Self(TIMES)
    }

    /// Whether it is to be done once more after this error. Nothing lasts of what the transaction has done: the
    /// database has ended it, to let another one go on (a deadlock), or it was not committed, since it had met
    /// what another one had written meanwhile.
    pub(super) fn after(&mut self, error: &StoreError) -> bool {
        let is_due = error.kind() == StoreErrorKind::Conflict && self.0 > 0;
        if is_due {
            self.0 -= 1;
            let error = error as &dyn std::error::Error;
            tracing::debug!(error, "another transaction was in the way: once more");
        }
        is_due
    }
}
