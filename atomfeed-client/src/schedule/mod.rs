//! When a consumer begins its rounds.

mod quartz;
mod wait;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Local, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::Cron;

/// When [`run`](crate::AtomFeedClient::run) begins its rounds: so long after each other, or at the times
/// of a cron expression. Rounds never overlap: a time that comes while one goes on is left out.
///
/// Expressions are those of Quartz, as the properties of the original library have them: six fields or
/// seven for second, minute, hour, day of the month, month, day of the week, and year if it is given.
/// Of the two days, one is `?`. Days of the week count from `1` for Sunday to `7` for Saturday; the names
/// `SUN` and `JAN` stand for numbers. Lists (`1,15`), ranges (`8-18`, also round: `22-2`), steps (`0/15`),
/// `L`, `LW`, `15W`, `6L` and `6#3` are known; `L-3` is not.
///
/// ```
/// use atomfeed_client::Schedule;
///
/// let schedule = Schedule::cron("0 30 2 ? * MON-FRI")?.in_zone("Africa/Nairobi")?;
/// let friday = "2026-01-02T00:00:00Z".parse().unwrap(); // 3 o'clock in Nairobi
/// let monday = "2026-01-04T23:30:00Z".parse().unwrap();
/// assert_eq!(schedule.next_after(friday), Some(monday));
///
/// let error = Schedule::cron("*/15 * * * *").unwrap_err();
/// assert!(error.to_string().contains("it has 5 fields"));
/// # Ok::<(), atomfeed_client::InvalidSchedule>(())
/// ```
#[derive(Clone)]
pub struct Schedule(Kind);

#[derive(Clone)]
enum Kind {
    Every(Duration),
    Adaptive {
        soonest: Duration,
        latest: Duration,
    },
    Cron {
        expression: String,
        cron: Arc<Cron>,
        /// The machine's where none is given.
        zone: Option<Tz>,
    },
}

impl Schedule {
    /// A round at once, and then each so long after the end of the one before.
    pub fn every(interval: Duration) -> Self {
        Self(Kind::Every(interval))
    }

    /// A round at once, and then each `soonest` after one that had events, and after one that had none
    /// twice as long after it as that was after the one before, up to `latest`: where something happens,
    /// more is likely to.
    pub fn adaptive(soonest: Duration, latest: Duration) -> Self {
        Self(Kind::Adaptive {
            soonest: soonest.min(latest),
            latest,
        })
    }

    /// Whether rounds follow each other whenever there is something to do, and not at set times.
    pub(crate) fn is_interval(&self) -> bool {
        matches!(self.0, Kind::Every(_) | Kind::Adaptive { .. })
    }

    /// Rounds at the times of a Quartz expression, in the time zone of the machine unless there is
    /// [another](Self::in_zone).
    ///
    /// A single time of the day that the clock leaves out when summer begins comes with the next one that
    /// it shows; one that it shows twice when summer ends comes once.
    ///
    /// # Errors
    ///
    /// When it is no such expression, or names a day that there never is.
    pub fn cron(expression: &str) -> Result<Self, InvalidSchedule> {
        let invalid = |problem| InvalidSchedule::Expression {
            expression: expression.to_owned(),
            problem,
        };
        let cron = quartz::parse(expression).map_err(invalid)?;
        let from_the_first = cron.find_next_occurrence(&DateTime::UNIX_EPOCH, true);
        if from_the_first.is_err() {
            let problem = "no such day comes ever: see day, month and year".to_owned();
            return Err(invalid(problem));
        }
        Ok(Self(Kind::Cron {
            expression: expression.trim().to_owned(),
            cron: Arc::new(cron),
            zone: None,
        }))
    }

    /// Reads the times of the expression in this zone of the tz database (`Asia/Kolkata`). An interval is
    /// the same in each.
    ///
    /// # Errors
    ///
    /// When there is no zone of that name.
    pub fn in_zone(mut self, name: &str) -> Result<Self, InvalidSchedule> {
        let known = Tz::from_str(name).map_err(|_| InvalidSchedule::Zone {
            name: name.to_owned(),
        })?;
        if let Kind::Cron { zone, .. } = &mut self.0 {
            *zone = Some(known);
        }
        Ok(self)
    }

    /// When the next round begins at the latest, if the one before has ended at `now`. `None` when none follows: all
    /// years of the expression are over.
    pub fn next_after(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let next = match &self.0 {
            Kind::Every(interval)
            | Kind::Adaptive {
                latest: interval, ..
            } => {
                return now.checked_add_signed(TimeDelta::from_std(*interval).ok()?);
            }
            Kind::Cron { cron, zone, .. } => match zone {
                Some(zone) => {
                    let next = cron.find_next_occurrence(&now.with_timezone(zone), false);
                    next.map(|time| time.to_utc())
                }
                None => {
                    let next = cron.find_next_occurrence(&now.with_timezone(&Local), false);
                    next.map(|time| time.to_utc())
                }
            },
        };
        next.ok()
    }
}

/// A cron expression.
impl FromStr for Schedule {
    type Err = InvalidSchedule;

    fn from_str(expression: &str) -> Result<Self, InvalidSchedule> {
        Self::cron(expression)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Every(interval) => write!(f, "every {interval:?}"),
            Kind::Adaptive { soonest, latest } => write!(f, "every {soonest:?} to {latest:?}"),
            Kind::Cron {
                expression, zone, ..
            } => {
                f.write_str(expression)?;
                match zone {
                    Some(zone) => write!(f, " in {zone}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schedule").field(&self.to_string()).finish()
    }
}

/// Why something is no [`Schedule`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSchedule {
    /// The expression cannot be read, or never comes true.
    #[error("reading the schedule {expression:?}: {problem}")]
    Expression {
        /// The expression.
        expression: String,
        /// What is wrong with it, and what to write instead.
        problem: String,
    },
    /// The time zone is not known.
    #[error(
        "reading the times of a schedule in the zone {name:?}: there is none of that name in the tz \
         database; write it as Europe/Berlin or UTC"
    )]
    Zone {
        /// The name of the zone.
        name: String,
    },
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(time: &str) -> DateTime<Utc> {
        time.parse().unwrap()
    }

    /// The next times in UTC, from then on.
    fn next(expression: &str, from: &str, times: usize) -> Vec<String> {
        next_in("UTC", expression, from, times)
    }

    fn next_in(zone: &str, expression: &str, from: &str, times: usize) -> Vec<String> {
        let schedule = Schedule::cron(expression).unwrap().in_zone(zone).unwrap();
        let after = |time: &DateTime<Utc>| schedule.next_after(*time);
        let all = std::iter::successors(after(&at(from)), after);
        let all = all.take(times).map(|time| time.format("%F %T").to_string());
        all.collect()
    }

    const NEW_YEAR: &str = "2026-01-01T00:00:00Z"; // a Thursday

    #[test]
    fn knows_the_expressions_of_the_original() {
        assert_eq!(
            next("0/15 * * * * ?", NEW_YEAR, 4),
            [
                "2026-01-01 00:00:15",
                "2026-01-01 00:00:30",
                "2026-01-01 00:00:45",
                "2026-01-01 00:01:00"
            ]
        );
        assert_eq!(
            next("0 0/5 * * * ?", "2026-01-01T00:54:59.5Z", 3),
            [
                "2026-01-01 00:55:00",
                "2026-01-01 01:00:00",
                "2026-01-01 01:05:00"
            ]
        );
    }

    #[test]
    fn counts_days_of_the_week_from_sunday_as_1() {
        let workdays = ["2026-01-01", "2026-01-02", "2026-01-05", "2026-01-06"];
        let workdays = workdays.map(|day| format!("{day} 02:00:00"));
        for days in ["2-6", "MON-FRI", "mon-6", "2,3,4-6", "2/1,FRI,2-5"] {
            // From Saturday's 7 it would be on Saturday, too: said with 2/1.
            let expression = format!("0 0 2 ? * {days}");
            let found = next(&expression, NEW_YEAR, 4);
            match days {
                "2/1,FRI,2-5" => assert_eq!(found[2], "2026-01-03 02:00:00"),
                _ => assert_eq!(found, workdays, "{days}"),
            }
        }
        let sundays = ["2026-01-04 02:00:00", "2026-01-11 02:00:00"];
        assert_eq!(next("0 0 2 ? * 1", NEW_YEAR, 2), sundays);
        assert_eq!(next("0 0 2 ? * SUN", NEW_YEAR, 2), sundays);
        let saturdays = ["2026-01-03 02:00:00", "2026-01-10 02:00:00"];
        assert_eq!(next("0 0 2 ? * 7", NEW_YEAR, 2), saturdays);
        assert_eq!(next("0 0 2 ? * L", NEW_YEAR, 2), saturdays, "as Quartz");
        let round = [
            "2026-01-02 02:00:00",
            "2026-01-03 02:00:00",
            "2026-01-04 02:00:00",
        ];
        assert_eq!(next("0 0 2 ? * FRI-SUN", NEW_YEAR, 3), round);
        assert_eq!(
            next("0 0 2 ? * */6", NEW_YEAR, 2),
            [saturdays[0], sundays[0]]
        );
    }

    #[test]
    fn knows_days_by_their_place_in_the_month() {
        let of = |expression: &str, times| next(expression, NEW_YEAR, times);
        assert_eq!(
            of("0 0 12 L * ?", 2),
            ["2026-01-31 12:00:00", "2026-02-28 12:00:00"]
        );
        // The third Friday, and the last one.
        assert_eq!(
            of("0 15 10 ? * 6#3", 2),
            ["2026-01-16 10:15:00", "2026-02-20 10:15:00"]
        );
        assert_eq!(of("0 15 10 ? * FRI#3", 1), ["2026-01-16 10:15:00"]);
        for last_friday in ["6L", "FRIL"] {
            let expression = format!("0 15 10 ? * {last_friday}");
            assert_eq!(
                of(&expression, 2),
                ["2026-01-30 10:15:00", "2026-02-27 10:15:00"]
            );
        }
        assert_eq!(
            of("0 0 0 31W * ?", 2),
            ["2026-01-30 00:00:00", "2026-03-31 00:00:00"]
        );
        assert_eq!(
            of("0 0 0 LW * ?", 2),
            ["2026-01-30 00:00:00", "2026-02-27 00:00:00"]
        );
        assert_eq!(
            of("0 0 0 1,15 JUL ?", 2),
            ["2026-07-01 00:00:00", "2026-07-15 00:00:00"]
        );
        assert_eq!(of("0 0 22-0 1/31 NOV-JAN ? *", 1), ["2026-01-01 22:00:00"]);
    }

    #[test]
    fn a_year_comes_and_is_over() {
        assert_eq!(
            next("0 0 0 1 1 ? 2028-2030/2", NEW_YEAR, 9),
            ["2028-01-01 00:00:00", "2030-01-01 00:00:00"]
        );
    }

    #[test]
    fn summer_time_does_not_stop_it() {
        // Berlin goes from 2 to 3 o'clock on 29 March, and from 3 to 2 on 25 October.
        let nightly = |from| next_in("Europe/Berlin", "0 30 2 * * ?", from, 3);
        assert_eq!(
            nightly("2026-03-28T00:00:00Z"),
            [
                "2026-03-28 01:30:00",
                "2026-03-29 01:00:00",
                "2026-03-30 00:30:00"
            ]
        );
        assert_eq!(
            nightly("2026-10-24T00:00:00Z"),
            [
                "2026-10-24 00:30:00",
                "2026-10-25 00:30:00",
                "2026-10-26 01:30:00"
            ]
        );
        // Midnight itself is left out in Cairo on 24 April.
        assert_eq!(
            next_in("Africa/Cairo", "0 0 0 * * ?", "2026-04-23T12:00:00Z", 2),
            ["2026-04-23 22:00:00", "2026-04-24 21:00:00"]
        );
        for from in ["2026-03-28T23:00:00Z", "2026-10-24T22:00:00Z"] {
            let schedule = Schedule::cron("0/15 * * * * ?").unwrap();
            let schedule = schedule.in_zone("Europe/Berlin").unwrap();
            let mut time = at(from);
            for _ in 0..4 * 60 * 5 {
                let next = schedule.next_after(time).unwrap();
                assert_eq!(next - time, TimeDelta::seconds(15), "{time}");
                time = next;
            }
        }
    }

    #[test]
    fn the_zone_of_the_machine_is_one_of_them() {
        let schedule: Schedule = "0 0 12 * * ?".parse().unwrap();
        let next = schedule.next_after(at(NEW_YEAR)).unwrap();
        let local = next.with_timezone(&Local);
        assert_eq!(local.format("%T").to_string(), "12:00:00");
    }

    #[test]
    fn names_are_what_was_written() {
        let schedule = Schedule::cron(" 0 0 2 ? * 2-6 ").unwrap();
        assert_eq!(schedule.to_string(), "0 0 2 ? * 2-6");
        let schedule = schedule.in_zone("Asia/Kolkata").unwrap();
        assert_eq!(schedule.to_string(), "0 0 2 ? * 2-6 in Asia/Kolkata");
        let every = Schedule::every(Duration::from_secs(15));
        assert_eq!(format!("{every:?}"), r#"Schedule("every 15s")"#);
        let unknown = every.in_zone("Berlin").unwrap_err();
        assert!(unknown.to_string().contains(r#""Berlin""#), "{unknown}");
    }

    #[test]
    fn a_day_that_never_comes_is_refused() {
        for never in ["0 0 0 30 2 ?", "0 0 0 31 2,4,6,9,11 ?", "0 0 0 29 2 ? 2026"] {
            let error = Schedule::cron(never).unwrap_err();
            assert!(error.to_string().contains("no such day"), "{error}");
            assert!(error.to_string().contains(never), "{error}");
        }
        Schedule::cron("0 0 0 29 2 ? 2028").unwrap();
    }
}
