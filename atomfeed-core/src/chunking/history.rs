use super::{ChunkingStrategy, MINUTE};

/// A row of `chunking_history`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkingHistoryEntry {
    /// Column `chunk_length`: events a page, or milliseconds a page.
    pub chunk_length: i64,
    /// Column `start`: the first position, or the first millisecond since 1970, for which it holds.
    pub start: i64,
}

/// One page's share of the sequence: `start` is on it, `end` is on the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// The page's number; the first is 1.
    pub number: u64,
    /// The first position, or the first millisecond.
    pub start: i64,
    /// The position, or the millisecond, with which the next page begins.
    pub end: i64,
}

/// The rows of `chunking_history` in the order of their ids, checked.
///
/// ```
/// use atomfeed_core::chunking::{ChunkingHistory, ChunkingHistoryEntry, ChunkingStrategy};
///
/// let history = ChunkingHistory::new(
///     ChunkingStrategy::Number,
///     vec![
///         ChunkingHistoryEntry { chunk_length: 5, start: 1 },
///         ChunkingHistoryEntry { chunk_length: 100, start: 13 },
///     ],
/// )?;
/// let third = history.chunk(3).expect("pages have no end");
/// assert_eq!((third.start, third.end), (11, 13), "cut short by the second row");
/// assert_eq!(history.number_of(13), Some(4));
/// # Ok::<(), atomfeed_core::chunking::InvalidChunkingHistory>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkingHistory {
    strategy: ChunkingStrategy,
    /// Never empty; starts ascend strictly; lengths are at least 1 (a minute).
    entries: Vec<ChunkingHistoryEntry>,
}

impl ChunkingHistory {
    /// Checks rows. Starts and lengths of time chunks are cut to whole minutes.
    ///
    /// # Errors
    ///
    /// When there is no row, a length is not positive, a start is not above the one before it, or
    /// number chunks do not begin with position 1.
    pub fn new(
        strategy: ChunkingStrategy,
        mut entries: Vec<ChunkingHistoryEntry>,
    ) -> Result<Self, InvalidChunkingHistory> {
        if strategy == ChunkingStrategy::Time {
            for entry in &mut entries {
                entry.start -= entry.start.rem_euclid(MINUTE);
                entry.chunk_length -= entry.chunk_length.rem_euclid(MINUTE);
            }
        }
        let Some(first) = entries.first() else {
            return Err(InvalidChunkingHistory::Empty);
        };
        if strategy == ChunkingStrategy::Number && first.start != 1 {
            return Err(InvalidChunkingHistory::FirstStart { start: first.start });
        }
        if let Some(row) = entries.iter().position(|entry| entry.chunk_length < 1) {
            return Err(InvalidChunkingHistory::Length { row: row + 1 });
        }
        if let Some(row) = entries
            .windows(2)
            .position(|pair| pair[0].start >= pair[1].start)
        {
            return Err(InvalidChunkingHistory::Order { row: row + 2 });
        }
        Ok(Self { strategy, entries })
    }

    /// What the rows count.
    pub fn strategy(&self) -> ChunkingStrategy {
        self.strategy
    }

    /// The rows.
    pub fn entries(&self) -> &[ChunkingHistoryEntry] {
        &self.entries
    }

    /// The chunk that page `number` stands for; `None` for page 0 and for numbers beyond what can
    /// be counted.
    pub fn chunk(&self, number: u64) -> Option<Chunk> {
        let mut before = 0_u64;
        for (entry, close) in self.segments() {
            let pages = close.map(|close| pages_between(entry, close));
            if pages.is_none_or(|pages| number <= before + pages) {
                let nth = i64::try_from(number.checked_sub(before + 1)?).ok()?;
                let start = nth
                    .checked_mul(entry.chunk_length)?
                    .checked_add(entry.start)?;
                let end = start.checked_add(entry.chunk_length)?;
                return Some(Chunk {
                    number,
                    start,
                    end: close.map_or(end, |close| end.min(close)),
                });
            }
            before += pages.unwrap_or_default();
        }
        None
    }

    /// The number of the page that holds a position or a millisecond; `None` for what lies before
    /// the first row.
    pub fn number_of(&self, point: i64) -> Option<u64> {
        let mut before = 0_u64;
        for (entry, close) in self.segments() {
            if point < entry.start {
                return None;
            }
            match close {
                Some(close) if point >= close => before += pages_between(entry, close),
                _ => {
                    let nth = point.checked_sub(entry.start)? / entry.chunk_length;
                    return Some(before + u64::try_from(nth).ok()? + 1);
                }
            }
        }
        None
    }

    /// Each row with the start of the one that closes it.
    fn segments(&self) -> impl Iterator<Item = (&ChunkingHistoryEntry, Option<i64>)> {
        let closes = self.entries.iter().skip(1).map(|next| Some(next.start));
        self.entries.iter().zip(closes.chain([None]))
    }
}

fn pages_between(entry: &ChunkingHistoryEntry, close: i64) -> u64 {
    // Both are differences of ascending starts, and so not negative.
    close
        .abs_diff(entry.start)
        .div_ceil(entry.chunk_length.unsigned_abs())
}

/// Why rows of `chunking_history` make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidChunkingHistory {
    /// There is no row.
    #[error("chunking_history has no row: insert the first chunk length, with start 1")]
    Empty,
    /// Number chunks do not begin at the first event.
    #[error("the first row of chunking_history has start {start}: pages of numbers begin with 1")]
    FirstStart {
        /// Its start.
        start: i64,
    },
    /// A chunk length is missing or not positive, or a time chunk is shorter than a minute.
    #[error("row {row} of chunking_history has no usable chunk_length: set at least 1 (60000 ms)")]
    Length {
        /// The row, in the order of ids, from 1.
        row: usize,
    },
    /// A row begins before the one it follows.
    #[error("row {row} of chunking_history does not start after the row before it: remove it")]
    Order {
        /// The row, in the order of ids, from 1.
        row: usize,
    },
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn history(strategy: ChunkingStrategy, rows: &[(i64, i64)]) -> ChunkingHistory {
        let entries = rows
            .iter()
            .map(|&(chunk_length, start)| ChunkingHistoryEntry {
                chunk_length,
                start,
            })
            .collect();
        ChunkingHistory::new(strategy, entries).unwrap()
    }

    #[test]
    fn every_point_is_on_the_page_that_says_so() {
        let numbers = history(
            ChunkingStrategy::Number,
            &[(5, 1), (3, 13), (10, 25), (1, 26)],
        );
        let mut expected_start = 1;
        for number in 1..200 {
            let chunk = numbers.chunk(number).unwrap();
            assert_eq!(
                chunk.start, expected_start,
                "pages join without gap at {number}"
            );
            assert!(chunk.end > chunk.start);
            for point in chunk.start..chunk.end {
                assert_eq!(numbers.number_of(point), Some(number));
            }
            expected_start = chunk.end;
        }
        assert_eq!(numbers.chunk(0), None);
        assert_eq!(numbers.chunk(u64::MAX), None);
        assert_eq!(numbers.number_of(0), None);
    }

    #[test]
    fn time_chunks_are_cut_to_minutes() {
        let hour = 3_600_000;
        let times = history(
            ChunkingStrategy::Time,
            &[(hour + 59_999, hour + 1), (hour, 4 * hour)],
        );
        assert_eq!(
            times.chunk(1),
            Some(Chunk {
                number: 1,
                start: hour,
                end: 2 * hour
            })
        );
        assert_eq!(
            times.chunk(3),
            Some(Chunk {
                number: 3,
                start: 3 * hour,
                end: 4 * hour
            })
        );
        assert_eq!(
            times.number_of(4 * hour),
            Some(4),
            "a boundary is on the later page"
        );
        assert_eq!(times.number_of(4 * hour - 1), Some(3));
    }

    #[test]
    fn refuses_rows_that_make_no_sense() {
        let refused = |rows: &[(i64, i64)]| {
            let entries = rows
                .iter()
                .map(|&(chunk_length, start)| ChunkingHistoryEntry {
                    chunk_length,
                    start,
                })
                .collect();
            ChunkingHistory::new(ChunkingStrategy::Number, entries).unwrap_err()
        };
        assert_eq!(refused(&[]), InvalidChunkingHistory::Empty);
        assert_eq!(
            refused(&[(5, 0)]),
            InvalidChunkingHistory::FirstStart { start: 0 }
        );
        assert_eq!(
            refused(&[(5, 1), (0, 6)]),
            InvalidChunkingHistory::Length { row: 2 }
        );
        assert_eq!(
            refused(&[(5, 1), (5, 9), (5, 9)]),
            InvalidChunkingHistory::Order { row: 3 }
        );
    }
}
