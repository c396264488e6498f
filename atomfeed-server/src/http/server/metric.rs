//! What a server counts, as the table at `FeedServer::run` has it.

use metrics::{counter, gauge};

use super::connection::Overdue;

pub(super) fn connections(open: usize) {
    gauge!("atomfeed_http_connections").set(open as f64);
}

pub(super) fn refused(reason: &'static str) {
    refused_many(reason, 1);
}

pub(super) fn refused_many(reason: &'static str, number: usize) {
    counter!("atomfeed_http_refused_total", "reason" => reason).increment(number as u64);
}

pub(super) fn overdue(why: Overdue) {
    match why {
        Overdue::Header => refused("header_time"),
        Overdue::Write => refused("write_time"),
        Overdue::Response => refused("response_time"),
        // Nobody wanted anything.
        Overdue::Idle => {}
    }
}
