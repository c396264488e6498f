//! Pages as Atom documents (RFC 4287, RFC 5005): [`FeedWriter`] writes them, [`read_feed`] reads
//! them.
//!
//! Both know the wire format and nothing else: no event, no store, no URL. The writer produces what
//! consumers of the ICT4H atomfeed 1.x library rely on; the reader takes any Atom feed, and nothing
//! that is not one.
//!
//! ```
//! use atomfeed_core::atom::{self, EntryRef, FeedHead, FeedWriter, LineEnds, Link, ReadLimits};
//! use chrono::{DateTime, Utc};
//!
//! let time: DateTime<Utc> = "2024-03-01T08:01:00Z".parse()?;
//! let url = "http://localhost/feed/patient/1";
//! let head = FeedHead {
//!     id: "+1",
//!     title: "Patients",
//!     author: "Clinic",
//!     generator: "Atomfeed",
//!     generator_uri: "https://github.com/ICT4H/atomfeed",
//!     updated: time,
//!     links: &[Link {
//!         rel: "via".to_owned(),
//!         href: url.to_owned(),
//!         media_type: Some(atom::FEED_MEDIA_TYPE.to_owned()),
//!     }],
//!     archive: false,
//! };
//! let mut page = FeedWriter::new(&head, LineEnds::AsXml, 4096);
//! page.entry(&EntryRef {
//!     id: "tag:atomfeed.ict4h.org:0120a4f9-196a-5f9e-b9f5-23f31f914da7",
//!     title: Some("Patient"),
//!     terms: &["patient"],
//!     updated: time,
//!     published: time,
//!     content: Some("/patient/1?v=full&lang=en"),
//! });
//! let document = page.finish();
//!
//! let feed = atom::read_feed(&document, &ReadLimits::default())?;
//! assert_eq!(feed.link("via"), Some(url));
//! assert_eq!(feed.entries[0].content, "/patient/1?v=full&lang=en");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod chars;
mod document;
mod encoding;
mod error;
mod limits;
mod names;
mod read;
mod time;
mod tokens;
mod write;

#[cfg(test)]
mod tests;

pub use chars::{find_illegal, is_xml_char, replace_illegal};
pub use document::{Entry, Feed, Link};
pub use error::ReadError;
pub use limits::ReadLimits;
pub use read::read_feed;
pub use write::{EntryRef, FeedHead, FeedWriter, LineEnds};

/// The media type of a feed document (RFC 4287 §7), and of what its links lead to.
pub const FEED_MEDIA_TYPE: &str = "application/atom+xml";

/// The `type` of every entry's content (RFC 4287 §4.1.3.1). Consumers of the original look for it.
pub const ENTRY_CONTENT_TYPE: &str = "application/vnd.atomfeed+xml";

/// The namespace of Atom (RFC 4287 §1.2).
const ATOM_NAMESPACE: &str = "http://www.w3.org/2005/Atom";

/// The namespace of feed history (RFC 5005 §1).
const HISTORY_NAMESPACE: &str = "http://purl.org/syndication/history/1.0";
