//! Events of which many are of one patient, and some fail: what is to become of them.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use atomfeed_core::history::History;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::emr::{self, entry_id};

/// Matches the contents that fail: of ten patients of fifty every fourth event or so, from the 170th
/// event on, and some that are of no patient.
pub(crate) const FAILING: &str = r"rev=\d*[13579]7\d$|note \d*5$";

fn fails(number: u32) -> bool {
    match key(number) {
        Some(_) => number / 10 % 10 == 7 && number / 100 % 2 == 1,
        None => number % 10 == 5,
    }
}

/// An event whose every field follows from its number.
pub(crate) fn event(number: u32) -> Value {
    let mut event = emr::event(number);
    event["content"] = json!(content(number));
    event
}

pub(crate) fn content(number: u32) -> String {
    match key(number) {
        Some(path) => format!("{path}?rev={number}"),
        None => format!("note {number}"),
    }
}

/// The number of an event.
pub(crate) fn number(entry_id: &str) -> u32 {
    let (_, uuid) = entry_id.rsplit_once(':').unwrap();
    uuid.parse::<Uuid>().unwrap().as_u128() as u32
}

/// The resource that its content names, if it does.
fn key(number: u32) -> Option<String> {
    (!number.is_multiple_of(11)).then(|| format!("/rest/patient/{}", number % 50))
}

/// A number below `bound`.
pub(crate) fn random(bound: usize) -> usize {
    (Uuid::new_v4().as_u128() % bound as u128) as usize
}

/// Those of these, published in this order, that are parked once all were read: what fails, and what comes
/// after it and is of the same patient.
pub(crate) fn parked(numbers: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut held = HashSet::new();
    let mut parked = Vec::new();
    for number in numbers {
        let key = key(number);
        if fails(number) || key.as_ref().is_some_and(|key| held.contains(key)) {
            held.extend(key);
            parked.push(number);
        }
    }
    parked
}

/// A history in which these were published, in this order.
pub(crate) fn published(numbers: impl IntoIterator<Item = u32>) -> History {
    let numbers = numbers.into_iter();
    History::new().published(numbers.map(|number| (entry_id(number), key(number))))
}
