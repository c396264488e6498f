//! Events, pages, markers, failures and their storage, for *atom feed synchronisation*: the ground
//! on which [`atomfeed-server`] publishes and [`atomfeed-client`] consumes.
//!
//! A system that changes something writes an event in the same database transaction, serves its
//! events as a paged, archived Atom feed, and every other system reads that feed from its own
//! marker. This crate knows what an event, a page, a marker and a failure *is*, how they are kept,
//! and how they stand in an Atom document. It knows no HTTP and no runtime; applications embed the
//! other two crates.
//!
//! ```
//! use atomfeed_core::store::{ConsumerStore, MemoryStore, OutboxStore, UnitOfWork};
//! use atomfeed_core::{Clock, EntryId, Marker, NewEvent, SystemClock};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryStore::new();
//!
//! // The publisher's side: an event lasts when the transaction does.
//! let event = NewEvent::new("Patient", "/patient/1").in_category("patient");
//! let mut transaction = store.transaction().await;
//! transaction.put("patients", "1", "Asha");
//! store.publish(&mut transaction, &event, SystemClock.now()).await?;
//! transaction.commit();
//!
//! // The consumer's side: the worker's row and the marker move together.
//! let feed = "http://localhost/feed/patient/recent".parse()?;
//! let mut work = store.begin().await?;
//! work.conn().put("seen", "1", "Asha");
//! let marker = Marker::new(feed).after(EntryId::of_event(event.uuid()));
//! work.move_marker(None, &marker).await?;
//! work.commit().await?;
//! assert_eq!(store.rows("seen").len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! | feature | what it adds |
//! |---|---|
//! | `sqlite` | `SqliteStore`, through sqlx |
//! | `postgres` | `PostgresStore` |
//! | `mysql` | `MySqlStore`, for MariaDB |
//! | `testing` | the conformance suite for stores, and a judge of what consumers have done |
//!
//! [`atomfeed-server`]: https://docs.rs/atomfeed-server
//! [`atomfeed-client`]: https://docs.rs/atomfeed-client

#![cfg_attr(docsrs, feature(doc_cfg))]

mod action;
pub mod atom;
mod category;
pub mod chunking;
mod clock;
mod entry_id;
mod event;
mod failure;
mod feed_uri;
#[cfg(feature = "testing")]
pub mod history;
mod marker;
mod reason;
mod rebase;
pub mod store;

pub use action::{Action, ActionKind, ActionProgress, ActionState, NewAction};
pub use category::{Category, FeedScope, InvalidCategory};
pub use clock::{Clock, SystemClock};
pub use entry_id::EntryId;
pub use event::{Event, EventRecord, InvalidEvent, NewEvent};
pub use failure::{FailedEvent, FailedEventRetryLog, Failure, MAX_ERROR_MESSAGE, Place};
pub use feed_uri::{FeedUri, InvalidFeedUri};
pub use marker::Marker;
pub use reason::Reason;
pub use rebase::{InvalidRebase, Rebase, Rebased};
