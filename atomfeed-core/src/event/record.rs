use chrono::{DateTime, Utc};

use super::terms;
use crate::{EntryId, NewEvent};

/// An event as the server keeps it: a row of `event_records`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventRecord {
    /// Column `id`: rises in the order in which events become visible.
    pub id: i64,
    /// Column `uuid`; legacy tables hold texts that need be no uuid.
    pub uuid: String,
    /// Column `title`.
    pub title: Option<String>,
    /// Column `timestamp`: when the event was published; `atom:updated` and `atom:published`.
    pub timestamp: DateTime<Utc>,
    /// Column `uri`; not on the wire.
    pub uri: Option<String>,
    /// Column `object`: the content.
    pub content: Option<String>,
    /// Column `category`.
    pub category: Option<String>,
    /// Column `date_created`: when the event was raised; not on the wire.
    pub date_created: Option<DateTime<Utc>>,
    /// Column `tags`, joined by commas.
    pub tags: Option<String>,
}

impl EventRecord {
    /// A row with nothing in it but what every row has.
    pub fn new(id: i64, uuid: impl Into<String>, timestamp: DateTime<Utc>) -> Self {
        Self {
            id,
            uuid: uuid.into(),
            title: None,
            timestamp,
            uri: None,
            content: None,
            category: None,
            date_created: None,
            tags: None,
        }
    }

    /// The row that a store makes of a new event which it takes in under `id` at `timestamp`.
    pub fn of(event: &NewEvent, id: i64, timestamp: DateTime<Utc>) -> Self {
        Self {
            id,
            uuid: event.uuid().to_string(),
            title: event.title().map(Into::into),
            timestamp,
            uri: event.uri().map(Into::into),
            content: event.content().map(Into::into),
            category: event.category().map(Into::into),
            date_created: Some(event.raised().unwrap_or(timestamp)),
            tags: event.tags_column(),
        }
    }

    /// The event's identity on the wire.
    pub fn entry_id(&self) -> EntryId {
        EntryId::of_event(&self.uuid)
    }

    /// The distinct terms of category and tags, which are the entry's `atom:category` elements.
    pub fn terms(&self) -> Vec<&str> {
        terms(self.category.as_deref(), self.tags.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_distinct_and_never_empty() {
        let with = |category: Option<&str>, tags: Option<&str>| {
            let mut record = EventRecord::new(1, "u", DateTime::UNIX_EPOCH);
            record.category = category.map(Into::into);
            record.tags = tags.map(Into::into);
            record
                .terms()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(with(Some("lab"), Some("x,,y,")), ["lab", "x", "y"]);
        assert_eq!(with(Some("lab"), Some(" x , y ")), ["lab", " x ", " y "]);
        assert_eq!(with(Some("drug"), Some("Drug,drug,drug")), ["drug", "Drug"]);
        assert_eq!(with(Some(""), Some("")), Vec::<String>::new());
        assert_eq!(with(None, None), Vec::<String>::new());
    }
}
