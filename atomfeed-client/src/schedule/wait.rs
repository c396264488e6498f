use std::time::Duration;

use atomfeed_core::Clock;

use super::{Kind, Schedule};

/// After this long, the clock is looked at again: somebody may have set it.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

impl Schedule {
    /// Waits for the first round.
    ///
    /// Cancel safe: nothing is lost but the wait.
    pub(crate) async fn wait_at_first(&self, clock: &dyn Clock) {
        if let Kind::Cron { .. } = &self.0 {
            self.wait(clock, 0).await;
        }
    }

    /// Waits for the next round, when one has ended, after so many that had no events.
    ///
    /// Cancel safe: nothing is lost but the wait.
    pub(crate) async fn wait(&self, clock: &dyn Clock, idle_rounds: u32) {
        match &self.0 {
            Kind::Every(interval) => return tokio::time::sleep(*interval).await,
            Kind::Adaptive { soonest, latest } => {
                let times = 1_u32.checked_shl(idle_rounds).unwrap_or(u32::MAX);
                return tokio::time::sleep(soonest.saturating_mul(times).min(*latest)).await;
            }
            Kind::Cron { .. } => {}
        }
        let Some(mut due) = self.next_after(clock.now()) else {
            tracing::warn!(
                schedule = %self,
                "the years of the schedule are over: nothing is processed any more"
            );
            return std::future::pending().await;
        };
        loop {
            let now = clock.now();
            let Some(left) = (due - now).to_std().ok().filter(|left| !left.is_zero()) else {
                return;
            };
            tokio::time::sleep(left.min(LOOK_AGAIN)).await;
            // A clock that was set back has times before the one that was the next.
            if let Some(next) = self.next_after(now) {
                due = due.min(next);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::{Arc, Mutex};

    use chrono::{DateTime, TimeDelta, Utc};

    use super::*;

    fn at(time: &str) -> DateTime<Utc> {
        time.parse().unwrap()
    }

    /// Goes with the time of the runtime, from a start that can be set anew.
    #[derive(Debug, Clone)]
    struct Wall(Arc<Mutex<(DateTime<Utc>, tokio::time::Instant)>>);

    impl Wall {
        fn set(time: &str) -> Self {
            let now = tokio::time::Instant::now();
            Self(Arc::new(Mutex::new((at(time), now))))
        }

        fn set_back(&self, by: TimeDelta) {
            self.0.lock().unwrap().0 -= by;
        }
    }

    impl Clock for Wall {
        fn now(&self) -> DateTime<Utc> {
            let (time, since) = *self.0.lock().unwrap();
            time + TimeDelta::from_std(since.elapsed()).unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waits_until_the_clock_shows_the_time() {
        let clock = Wall::set("2026-01-01T20:59:59.7Z");
        let schedule = Schedule::cron("0 0 2 * * ?").unwrap();
        let schedule = schedule.in_zone("UTC").unwrap();
        for due in ["2026-01-02T02:00:00Z", "2026-01-03T02:00:00Z"] {
            schedule.wait(&clock, 0).await;
            let late = clock.now() - at(due);
            let second = TimeDelta::seconds(1);
            assert!(late >= TimeDelta::zero() && late < second, "{late}");
        }
    }

    /// Otherwise a consumer that looks every 15 seconds would stand still for the hour.
    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_delays_it_by_little() {
        let clock = Wall::set("2026-01-01T00:00:00Z");
        let schedule = Schedule::cron("0/15 * * * * ?").unwrap();
        let begun = tokio::time::Instant::now();
        let waiting = schedule.wait(&clock, 0);
        let setting = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            clock.set_back(TimeDelta::hours(1));
        };
        tokio::join!(waiting, setting);
        assert!(begun.elapsed() < Duration::from_secs(120));
    }
}
