//! The server against what it promises: golden pages, sealed pages, time chunks, HTTP.

#![allow(clippy::unwrap_used)]

mod feeds;
mod golden;
mod http;
mod meanwhile;
mod sealed;
mod time_chunks;
mod upkeep;
