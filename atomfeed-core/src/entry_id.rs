use std::fmt;

/// The prefix of the `atom:id` of every entry that the feeds of this family publish.
const TAG: &str = "tag:atomfeed.ict4h.org:";

/// The identity of an event on the wire and in a consumer's tables:
/// `tag:atomfeed.ict4h.org:{uuid}`.
///
/// `atom:id` of an entry (RFC 4287 §4.2.6); columns `markers.last_read_entry_id` and
/// `failed_events.event_id`. A feed of another family may use ids of another shape; they are kept
/// as they are. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(String);

impl EntryId {
    /// Takes an id as it stands in an entry or a table; `None` when it is empty.
    pub fn new(id: impl Into<String>) -> Option<Self> {
        let id = id.into();
        (!id.is_empty()).then_some(Self(id))
    }

    /// The id of the event with this uuid (column `event_records.uuid`).
    pub fn of_event(uuid: impl fmt::Display) -> Self {
        Self(format!("{TAG}{uuid}"))
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The event's uuid, when the id is of this family.
    pub fn uuid(&self) -> Option<&str> {
        self.0.strip_prefix(TAG)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
