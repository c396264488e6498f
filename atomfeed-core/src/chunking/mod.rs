//! How a sequence of events is cut into pages.
//!
//! Rows of `chunking_history` say from which point on which chunk length holds. Two strategies read
//! the same rows: *number* chunking counts positions in a feed's sequence (the first event has
//! position 1), *time* chunking counts milliseconds since 1970-01-01T00:00Z. The arithmetic is one:
//! each row closes the one before it, a chunk that is cut by this is a short page, pages are
//! numbered through from 1.

mod change;
mod history;
mod strategy;

pub use change::ChunkingChange;
pub use history::{Chunk, ChunkingHistory, ChunkingHistoryEntry, InvalidChunkingHistory};
pub use strategy::{ChunkingStrategy, UnknownChunkingStrategy};

/// Milliseconds of a minute: time chunks begin and end with whole minutes.
const MINUTE: i64 = 60_000;
