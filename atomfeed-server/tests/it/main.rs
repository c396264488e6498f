//! The server against what it promises: golden pages, sealed pages, time chunks, HTTP.

#![allow(clippy::unwrap_used)]

mod cached;
mod conditional;
mod feeds;
mod golden;
mod history;
mod http;
mod meanwhile;
mod sealed;
mod stepped;
mod time_chunks;
mod upkeep;
mod waiting;
