//! The client against what it promises, over the real server.

#![allow(clippy::unwrap_used)]

mod actions;
mod asked;
mod bad_input;
mod batches;
mod broken;
mod closed_server;
mod console;
mod content;
mod crashes;
mod disturbed;
mod ended;
mod faulty;
mod feeds;
mod gone;
mod handover;
mod hostile_server;
mod lanes;
mod left_alone;
mod logins;
mod loss;
mod network;
mod news;
mod order;
mod origins;
mod outages;
mod positions;
mod preparing;
mod real_feeds;
mod resources;
mod routing;
mod running;
mod scheduled;
mod schedules;
mod scripted_server;
mod sessions;
mod standby;
mod stopping;
mod tables;
mod two_pages;
mod watching;
