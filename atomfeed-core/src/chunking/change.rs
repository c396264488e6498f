use super::{ChunkingHistory, ChunkingHistoryEntry, ChunkingStrategy, MINUTE};
use crate::store::{StoreError, StoreErrorKind};

/// The greatest length and start: far beyond use, and far from where sums overflow.
const GREATEST: i64 = 1 << 53;

/// A new chunk length, from some point in the future of the feed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkingChange {
    length: i64,
    start: Option<i64>,
}

impl ChunkingChange {
    /// A new length, in events or in milliseconds, from the next page on.
    pub fn to(length: i64) -> Self {
        Self {
            length,
            start: None,
        }
    }

    /// Sets the position, or the millisecond since 1970, from which the new length holds; the page
    /// before it may be cut short.
    #[must_use]
    pub fn from(mut self, start: i64) -> Self {
        self.start = Some(start);
        self
    }

    /// The row that makes this change, where everything up to and including `reached` is already
    /// spoken for: the last position, or the millisecond of the clock.
    ///
    /// Stores call this under the lock that keeps `reached` from moving.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Refused`] when the length is not positive, length or start are beyond
    /// 2<sup>53</sup>, or the start is already past; the message names the first start that is
    /// allowed.
    pub fn plan(
        self,
        history: &ChunkingHistory,
        reached: i64,
    ) -> Result<ChunkingHistoryEntry, StoreError> {
        let (unit, refuse) = match history.strategy() {
            ChunkingStrategy::Number => (1, "events"),
            ChunkingStrategy::Time => (MINUTE, "milliseconds"),
        };
        for (what, number) in [("length", Some(self.length)), ("start", self.start)] {
            if let Some(number) = number.filter(|number| *number > GREATEST) {
                let context = format!(
                    "changing how the feed is chunked: the {what} {number} is too great; {GREATEST} \
                     is the greatest"
                );
                return Err(StoreError::new(StoreErrorKind::Refused, context));
            }
        }
        if self.length < unit || self.length % unit != 0 {
            return Err(StoreError::new(
                StoreErrorKind::Refused,
                format!(
                    "changing the chunk length to {} {refuse}: it must be a multiple of {unit}",
                    self.length
                ),
            ));
        }
        let last_start = history.entries().last().map_or(0, |entry| entry.start);
        let first_allowed = next_multiple(reached.saturating_add(1), unit).max(last_start + unit);
        let start = match self.start {
            Some(start) if start < first_allowed || start % unit != 0 => {
                return Err(StoreError::new(
                    StoreErrorKind::Refused,
                    format!(
                        "changing the chunk length from {start} on: pages up to there are \
                         published; the first start allowed is {first_allowed}"
                    ),
                ));
            }
            Some(start) => start,
            None => next_boundary(history, first_allowed),
        };
        Ok(ChunkingHistoryEntry {
            chunk_length: self.length,
            start,
        })
    }
}

/// The first point at or after `point` with which a page begins.
fn next_boundary(history: &ChunkingHistory, point: i64) -> i64 {
    match history
        .number_of(point)
        .and_then(|number| history.chunk(number))
    {
        Some(chunk) if chunk.start < point => chunk.end,
        _ => point,
    }
}

fn next_multiple(point: i64, unit: i64) -> i64 {
    match point.rem_euclid(unit) {
        0 => point,
        over => point.saturating_add(unit - over),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn fives() -> ChunkingHistory {
        let rows = vec![ChunkingHistoryEntry {
            chunk_length: 5,
            start: 1,
        }];
        ChunkingHistory::new(ChunkingStrategy::Number, rows).unwrap()
    }

    #[test]
    fn takes_effect_at_the_next_page() {
        for (count, start) in [(0, 6), (1, 6), (4, 6), (5, 6), (6, 11), (10, 11)] {
            let planned = ChunkingChange::to(3).plan(&fives(), count).unwrap();
            assert_eq!(
                planned,
                ChunkingHistoryEntry {
                    chunk_length: 3,
                    start
                },
                "after {count}"
            );
        }
    }

    #[test]
    fn names_the_first_start_that_is_allowed() {
        let refused = ChunkingChange::to(3)
            .from(12)
            .plan(&fives(), 12)
            .unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Refused);
        assert!(
            refused.to_string().contains("first start allowed is 13"),
            "{refused}"
        );
        assert_eq!(
            ChunkingChange::to(3)
                .from(13)
                .plan(&fives(), 12)
                .unwrap()
                .start,
            13
        );
        assert!(ChunkingChange::to(0).plan(&fives(), 12).is_err());
        assert!(ChunkingChange::to(i64::MAX).plan(&fives(), 12).is_err());
        let far = ChunkingChange::to(3).from(i64::MAX);
        assert!(far.plan(&fives(), 12).is_err());
        assert!(ChunkingChange::to(1 << 53).plan(&fives(), 12).is_ok());
    }

    #[test]
    fn time_changes_at_whole_minutes() {
        let rows = vec![ChunkingHistoryEntry {
            chunk_length: 60 * MINUTE,
            start: 0,
        }];
        let hours = ChunkingHistory::new(ChunkingStrategy::Time, rows).unwrap();
        let at = |change: ChunkingChange| change.plan(&hours, 90 * MINUTE + 5).map(|row| row.start);
        assert_eq!(at(ChunkingChange::to(MINUTE)).unwrap(), 120 * MINUTE);
        assert_eq!(
            at(ChunkingChange::to(MINUTE).from(91 * MINUTE)).unwrap(),
            91 * MINUTE
        );
        assert!(at(ChunkingChange::to(MINUTE).from(90 * MINUTE)).is_err());
        assert!(at(ChunkingChange::to(1_000)).is_err());
    }
}
