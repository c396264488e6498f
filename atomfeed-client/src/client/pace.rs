use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long the events of late took, in nanoseconds an event; 0 while that is not known.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU64);

impl Pace {
    /// So many events took so long.
    pub(super) fn measured(&self, events: usize, took: Duration) {
        let each = took.as_nanos() / (events as u128).max(1);
        let each = u64::try_from(each).unwrap_or(u64::MAX).max(1);
        let before = self.0.load(Ordering::Relaxed);
        // Slower at once, faster little by little.
        let now = match before {
            0 => each,
            before => each.max(before - before / 4),
        };
        self.0.store(now, Ordering::Relaxed);
    }

    /// How many events take so long: from 1 to `most`.
    pub(super) fn within(&self, time: Duration, most: usize) -> usize {
        match self.0.load(Ordering::Relaxed) {
            0 => most,
            each => {
                let events = time.as_nanos() / u128::from(each);
                usize::try_from(events)
                    .unwrap_or(most)
                    .clamp(1, most.max(1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_as_large_as_time_allows() {
        let pace = Pace::default();
        let second = Duration::from_secs(1);
        assert_eq!(pace.within(second, 100), 100);
        pace.measured(10, second);
        assert_eq!(pace.within(second, 100), 10);
        pace.measured(1, 2 * second);
        assert_eq!(pace.within(second, 100), 1);
        for _ in 0..100 {
            pace.measured(100, Duration::from_millis(1));
        }
        assert_eq!(pace.within(second, 100), 100);
    }
}
