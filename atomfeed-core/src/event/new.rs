use chrono::{DateTime, Datelike, Utc};
use uuid::Uuid;

use crate::Category;
use crate::atom::find_illegal;
use crate::category::excessive_length;
use crate::clock::to_micros;

/// An event as its publisher raises it.
///
/// ```
/// use atomfeed_core::NewEvent;
///
/// let event = NewEvent::new("Patient", "/openmrs/ws/rest/v1/patient/0120a4f9?v=full")
///     .in_category("patient")
///     .with_tags(["registration"]);
/// assert!(event.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    uuid: Uuid,
    /// Whether the uuid was given, and not drawn at random.
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres", feature = "mysql")),
        allow(dead_code)
    )]
    uuid_is_given: bool,
    title: Option<String>,
    content: Option<String>,
    category: Option<String>,
    tags: Vec<String>,
    uri: Option<String>,
    raised: Option<DateTime<Utc>>,
    published: Option<DateTime<Utc>>,
}

impl NewEvent {
    /// An event with a title and a content: a relative URL, JSON, or a whole document.
    ///
    /// It gets a random uuid, which becomes its [`EntryId`](crate::EntryId).
    pub fn new(title: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            title: Some(title.into()),
            content: Some(content.into()),
            ..Self::blank()
        }
    }

    /// An event without title and content.
    pub fn blank() -> Self {
        Self {
            uuid: Uuid::new_v4(),
            uuid_is_given: false,
            title: None,
            content: None,
            category: None,
            tags: Vec::new(),
            uri: None,
            raised: None,
            published: None,
        }
    }

    /// Sets the uuid (column `uuid`); an event with a uuid that is there already is refused when it
    /// is published.
    #[must_use]
    pub fn with_uuid(mut self, uuid: Uuid) -> Self {
        self.uuid = uuid;
        self.uuid_is_given = true;
        self
    }

    /// Sets the title (column `title`, `atom:title`).
    #[must_use]
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Sets the content (column `object`, `atom:content`).
    #[must_use]
    pub fn with_content(mut self, content: impl Into<String>) -> Self {
        self.content = Some(content.into());
        self
    }

    /// Sets the category (column `category`), the feed that carries the event besides the feed of
    /// all events. An empty category is none.
    #[must_use]
    pub fn in_category(mut self, category: impl Into<String>) -> Self {
        let category = category.into();
        self.category = (!category.is_empty()).then_some(category);
        self
    }

    /// Adds tags (column `tags`, where they stand joined by commas; on the wire further
    /// `atom:category` terms).
    #[must_use]
    pub fn with_tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// Sets the address of what the event is about (column `uri`), which is not on the wire.
    #[must_use]
    pub fn with_uri(mut self, uri: impl Into<String>) -> Self {
        self.uri = Some(uri.into());
        self
    }

    /// Sets when the event was raised (column `date_created`), which is not on the wire; without
    /// it, the time of publishing. Kept in whole microseconds.
    #[must_use]
    pub fn raised_at(mut self, time: DateTime<Utc>) -> Self {
        self.raised = Some(to_micros(time));
        self
    }

    /// Sets when the event was published (column `timestamp`, `atom:updated`), for imports of a
    /// past; without it, the time at which the store takes it in. Kept in whole microseconds.
    #[must_use]
    pub fn published_at(mut self, time: DateTime<Utc>) -> Self {
        self.published = Some(to_micros(time));
        self
    }

    /// Whether the uuid was given: another event may have it. One that was drawn at random nobody has.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
    pub(crate) fn uuid_is_given(&self) -> bool {
        self.uuid_is_given
    }

    /// The event's uuid.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// The title.
    pub fn title(&self) -> Option<&str> {
        self.title.as_deref()
    }

    /// The content.
    pub fn content(&self) -> Option<&str> {
        self.content.as_deref()
    }

    /// The category.
    pub fn category(&self) -> Option<&str> {
        self.category.as_deref()
    }

    /// The tags as their column holds them: joined by commas; `None` when there are none.
    pub fn tags_column(&self) -> Option<String> {
        (!self.tags.is_empty()).then(|| self.tags.join(","))
    }

    /// The address of what the event is about.
    pub fn uri(&self) -> Option<&str> {
        self.uri.as_deref()
    }

    /// When the event was raised, if that was set.
    pub fn raised(&self) -> Option<DateTime<Utc>> {
        self.raised
    }

    /// When the event was published, if that was set.
    pub fn published(&self) -> Option<DateTime<Utc>> {
        self.published
    }

    /// Checks what no page could carry: stores call this before they write anything.
    ///
    /// # Errors
    ///
    /// When a field holds a character that XML 1.0 does not have, the category is longer than
    /// [`Category::MAX_LENGTH`], a tag holds a comma, or a time lies outside the years 1 to 9999.
    pub fn validate(&self) -> Result<(), InvalidEvent> {
        let fields = [
            ("title", self.title()),
            ("content", self.content()),
            ("category", self.category()),
            ("uri", self.uri()),
        ];
        let tags = self.tags.iter().map(|tag| ("tags", Some(tag.as_str())));
        for (field, text) in fields.into_iter().chain(tags) {
            if let Some((offset, character)) = text.and_then(find_illegal) {
                return Err(InvalidEvent::Character {
                    field,
                    offset,
                    character,
                });
            }
        }
        if let Some(length) = self.category().and_then(excessive_length) {
            return Err(InvalidEvent::LongCategory { length });
        }
        if let Some(tag) = self.tags.iter().find(|tag| tag.contains(',')) {
            return Err(InvalidEvent::CommaInTag { tag: tag.clone() });
        }
        for (field, time) in [("raised", self.raised), ("published", self.published)] {
            if let Some(time) = time.filter(|time| !(1..=9_999).contains(&time.year())) {
                return Err(InvalidEvent::Year { field, time });
            }
        }
        Ok(())
    }
}

/// Why an event cannot be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEvent {
    /// A field holds a character that no XML 1.0 document can carry (XML 1.0 §2.2).
    #[error(
        "the {field} of the event holds {character:?} at byte {offset}, which XML 1.0 cannot \
         carry: remove or encode it"
    )]
    Character {
        /// The field: `title`, `content`, `category`, `tags` or `uri`.
        field: &'static str,
        /// Where the character begins in the field, in bytes.
        offset: usize,
        /// The character.
        character: char,
    },
    /// The category is longer than [`Category::MAX_LENGTH`].
    #[error(
        "the category of the event has {length} characters, as it is spelled or in lower case, where \
         {} fit: shorten it",
        Category::MAX_LENGTH
    )]
    LongCategory {
        /// How many characters it has.
        length: usize,
    },
    /// A tag holds a comma, which separates tags in their column.
    #[error("the tag {tag:?} of the event holds a comma, which separates tags: give two tags")]
    CommaInTag {
        /// The tag.
        tag: String,
    },
    /// A time lies where no feed can show it (RFC 3339 has four digits for the year).
    #[error("the event is {field} at {time}: give a time in the years 1 to 9999")]
    Year {
        /// Which time: `raised` or `published`.
        field: &'static str,
        /// The time.
        time: DateTime<Utc>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_field_and_the_character() {
        let refused = |event: NewEvent| event.validate();
        for (field, event) in [
            ("title", NewEvent::new("a\u{1}", "")),
            ("content", NewEvent::new("", "a\u{1}")),
            ("category", NewEvent::blank().in_category("a\u{1}")),
            ("tags", NewEvent::blank().with_tags(["fine", "a\u{1}"])),
            ("uri", NewEvent::blank().with_uri("a\u{1}")),
        ] {
            let expected = InvalidEvent::Character {
                field,
                offset: 1,
                character: '\u{1}',
            };
            assert_eq!(refused(event), Err(expected));
        }
        assert!(refused(NewEvent::new("a\t\r\n", "\u{fffd}😀")).is_ok());
        assert!(refused(NewEvent::new("", "\u{ffff}")).is_err());
    }

    #[test]
    fn refuses_years_that_no_feed_shows() {
        for (year, fits) in [(0, false), (1, true), (9_999, true), (10_000, false)] {
            let time = DateTime::UNIX_EPOCH.with_year(year).unwrap_or_default();
            let published = NewEvent::blank().published_at(time);
            assert_eq!(published.validate().is_ok(), fits, "{year}");
            assert_eq!(NewEvent::blank().raised_at(time).validate().is_ok(), fits);
        }
    }

    #[test]
    fn refuses_a_comma_in_a_tag() {
        let event = NewEvent::blank().with_tags(["a,b"]);
        assert_eq!(
            event.validate(),
            Err(InvalidEvent::CommaInTag { tag: "a,b".into() })
        );
    }
}
