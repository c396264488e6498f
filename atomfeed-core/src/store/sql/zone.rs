use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, LocalResult, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use crate::store::{StoreError, StoreErrorKind};

/// The zone of the times in columns of somebody else's tables that name none: that of the server
/// which writes them. UTC unless given.
///
/// ```
/// use atomfeed_core::store::TableZone;
///
/// let zone: TableZone = "Asia/Kathmandu".parse()?;
/// assert!("Kathmandu time".parse::<TableZone>().is_err());
/// # Ok::<(), atomfeed_core::store::StoreError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableZone(Tz);

impl Default for TableZone {
    fn default() -> Self {
        Self(Tz::UTC)
    }
}

impl TableZone {
    /// The time on the wall.
    pub(super) fn to_local(self, time: DateTime<Utc>) -> NaiveDateTime {
        time.with_timezone(&self.0).naive_local()
    }

    /// The time that the wall showed. Of an hour that comes twice, the first; in an hour that is left
    /// out, the time that the clock would have shown had it not been put forward.
    pub(super) fn read_local(self, local: NaiveDateTime) -> DateTime<Utc> {
        match self.0.from_local_datetime(&local) {
            LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => time.to_utc(),
            LocalResult::None => {
                let before = local - TimeDelta::hours(3);
                let before = self.0.from_local_datetime(&before).earliest();
                before.map_or_else(
                    || local.and_utc(),
                    |before| before.to_utc() + TimeDelta::hours(3),
                )
            }
        }
    }
}

impl FromStr for TableZone {
    type Err = StoreError;

    /// Takes a name of the IANA time zone database.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Refused`] when there is no zone of this name.
    fn from_str(name: &str) -> Result<Self, StoreError> {
        let zone = name.parse().map(Self);
        zone.map_err(|_| {
            let context = format!(
                "taking {name:?} as a time zone: there is none of this name; give one as \
                 Asia/Kathmandu or UTC"
            );
            StoreError::new(StoreErrorKind::Refused, context)
        })
    }
}

impl fmt::Display for TableZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_on_the_wall() {
        for (zone, local, utc) in [
            ("UTC", "2024-03-01T08:01:00", "2024-03-01T08:01:00Z"),
            (
                "Asia/Kathmandu",
                "2024-03-01T13:46:00",
                "2024-03-01T08:01:00Z",
            ),
            // Twice.
            (
                "Europe/Berlin",
                "2024-10-27T02:30:00",
                "2024-10-27T00:30:00Z",
            ),
            // Never.
            (
                "Europe/Berlin",
                "2024-03-31T02:30:00",
                "2024-03-31T01:30:00Z",
            ),
        ] {
            let table: TableZone = zone.parse().unwrap();
            let time = table.read_local(local.parse().unwrap());
            assert_eq!(
                time,
                utc.parse::<DateTime<Utc>>().unwrap(),
                "{zone} {local}"
            );
        }
        let kathmandu: TableZone = "Asia/Kathmandu".parse().unwrap();
        let time = "2024-03-01T08:01:00Z".parse().unwrap();
        assert_eq!(kathmandu.read_local(kathmandu.to_local(time)), time);
    }
}
