use chrono::{DateTime, Utc};

use crate::clock::to_micros;
use crate::{EntryId, Event, FeedUri};

/// How much of an error message is kept, in UTF-16 units, as deployed tables and programs count.
pub const MAX_ERROR_MESSAGE: usize = 4_000;

/// One failure of a worker: what it said, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    message: String,
    at: DateTime<Utc>,
}

impl Failure {
    /// A failure; of the message, the first [`MAX_ERROR_MESSAGE`] UTF-16 units are kept.
    pub fn new(message: impl Into<String>, at: DateTime<Utc>) -> Self {
        Self {
            message: cut(message.into()),
            at: to_micros(at),
        }
    }

    /// What the worker said (column `error_message`).
    pub fn message(&self) -> &str {
        &self.message
    }

    /// When it failed (column `failed_at`), in whole microseconds.
    pub fn at(&self) -> DateTime<Utc> {
        self.at
    }

    /// `String.hashCode()` of the message as Java computes it (column `error_hash_code`): kept for
    /// the programs that read the tables; it groups nothing, since the message names the page.
    pub fn hash_code(&self) -> i32 {
        self.message.encode_utf16().fold(0_i32, |hash, unit| {
            hash.wrapping_mul(31).wrapping_add(i32::from(unit))
        })
    }
}

fn cut(mut message: String) -> String {
    // A text has at most as many UTF-16 units as bytes, so that short ones need no counting.
    if message.len() <= MAX_ERROR_MESSAGE {
        return message;
    }
    let mut units = 0;
    let end = message.char_indices().find_map(|(offset, character)| {
        units += character.len_utf16();
        (units > MAX_ERROR_MESSAGE).then_some(offset)
    });
    if let Some(end) = end {
        message.truncate(end);
    }
    message
}

/// An event that failed and waits to be tried again: a row of `failed_events`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedEvent {
    /// Column `id`: rises in the order in which events were parked.
    pub id: i64,
    /// The event (columns `feed_uri`, `event_id`, `event_content`, `title`, `tags`).
    pub event: Event,
    /// Its first failure (columns `error_message`, `error_hash_code`, `failed_at`).
    pub failure: Failure,
    /// How often it was tried again since, in vain (column `retries`).
    pub retries: u32,
    /// Its place among those that are parked; `None` while nobody has given it one, as where another
    /// program has parked it.
    pub place: Option<Place>,
}

/// What a parked event holds back, and when it is to be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// While it is parked, later events of its feed with the same key wait behind it; `None` holds none
    /// back, and waits for none.
    pub key: Option<String>,
    /// Not before this; `None` is as soon as nothing of its key is parked before it.
    pub due_at: Option<DateTime<Utc>>,
}

impl FailedEvent {
    /// A row with these values.
    pub fn new(id: i64, event: Event, failure: Failure, retries: u32) -> Self {
        Self {
            id,
            event,
            failure,
            retries,
            place: None,
        }
    }
}

/// One retry that failed: a row of `failed_event_retry_log`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedEventRetryLog {
    /// Column `id`.
    pub id: i64,
    /// Column `feed_uri`.
    pub feed_uri: FeedUri,
    /// Column `event_id`.
    pub event_id: EntryId,
    /// Column `event_content`.
    pub event_content: String,
    /// What failed this time (columns `error_message`, `error_hash_code`, `failed_at`).
    pub failure: Failure,
}

impl FailedEventRetryLog {
    /// A row with these values.
    pub fn new(id: i64, event: &Event, failure: Failure) -> Self {
        Self {
            id,
            feed_uri: event.feed_uri().clone(),
            event_id: event.id().clone(),
            event_content: event.content().to_owned(),
            failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(message: impl Into<String>) -> Failure {
        Failure::new(message, DateTime::UNIX_EPOCH)
    }

    #[test]
    fn hashes_as_java_does() {
        assert_eq!(failure("").hash_code(), 0);
        assert_eq!(failure("hello").hash_code(), 99_162_322);
        assert_eq!(failure("Aa").hash_code(), failure("BB").hash_code());
        assert_eq!(
            failure("😀").hash_code(),
            1_772_899,
            "two UTF-16 units: 0xd83d, 0xde00"
        );
    }

    #[test]
    fn cuts_between_characters() {
        assert_eq!(failure("x".repeat(4_001)).message(), "x".repeat(4_000));
        assert_eq!(failure("é".repeat(3_000)).message(), "é".repeat(3_000));
        let cut = failure(format!("x{}", "😀".repeat(2_000)));
        assert_eq!(cut.message(), format!("x{}", "😀".repeat(1_999)));
    }
}
