//! What comes from outside, thrown at what reads it: `bash .ci/fuzz SECONDS`.
//!
//! Each target is a function here that takes any bytes and panics where a promise is broken:
//!
//! | target | reads | promises |
//! |---|---|---|
//! | [`atom_reader`] | `read_feed`, with narrow limits and with the usual ones | ends, within its limits; what it read, written and read again, is the same |
//! | [`atom_writer`] | `FeedWriter`, given any text | what it wrote is read, and is the text that was given |
//! | [`links`] | `FeedUri`, `EntryId`, `Rebase`, `Category` | text that passes means the same when it is read again |
//! | [`forwarded`] | `Forwarded` and `X-Forwarded-For` | a trusted proxy is never less than itself, and nobody else is believed |
//! | [`asked`] | `Accept`, `Accept-Encoding`, `Prefer` and the conditions of a request | a page that is named is not sent again, and one that is not is not withheld |
//! | [`answered`] | what a server says in its headers, and where its links lead | times, waits and cookies are bounded; nothing leads beyond the origins that are allowed |
//! | [`credentials`] | `Authorization` | who is admitted has sent credentials |
//!
//! To add one: a function here with its line in the table, a `[[bin]]` in Cargo.toml, a file of three
//! lines in `fuzz_targets`, a seed or two in `corpus/NAME`, and words of the format in `words.dict`. What
//! a crate shows to nobody else it shows here, in its module `fuzzing`, which is there under
//! `cfg(fuzzing)`: cargo-fuzz sets it.

mod answers;
mod conditions;
mod links;
mod pages;
mod requests;

pub use answers::answered;
pub use conditions::asked;
pub use links::links;
pub use pages::{atom_reader, atom_writer};
pub use requests::{credentials, forwarded};
