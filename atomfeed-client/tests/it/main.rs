//! The client against what it promises, over the real server.

#![allow(clippy::unwrap_used)]

mod bad_input;
mod batches;
mod broken;
mod content;
mod crashes;
mod disturbed;
mod feeds;
mod gone;
mod handover;
mod loss;
mod order;
mod outages;
mod preparing;
mod real_feeds;
mod running;
mod scripted_server;
mod tables;
