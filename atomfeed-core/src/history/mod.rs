//! Judges what a consumer has done: nothing lost, nothing doubled, everything in its order.
//!
//! A test lets a consumer run, with whatever disturbs it, and tells a [`History`] what was published and
//! what has become of it.
//!
//! ```
//! use atomfeed_core::history::{History, Violation};
//!
//! let history = History::new()
//!     .published([("1", Some("/patient/1")), ("2", Some("/patient/2")), ("3", Some("/patient/1"))])
//!     .applied(["2", "3"])
//!     .parked(["1"]);
//! let violations = history.violations();
//! assert!(matches!(&violations[..], [Violation::Overtook { event, .. }] if event == "3"));
//! assert_eq!(
//!     violations[0].to_string(),
//!     "3 of /patient/1 was applied, though 1, which comes before it, is still parked"
//! );
//! ```

#[cfg(test)]
mod tests;
mod violation;

use std::collections::{HashMap, HashSet};

pub use violation::{Fate, Violation};

/// What was published, and what one consumer of it has done: judged by [`violations`](Self::violations).
///
/// Events are named by their ids. Each method adds to what was told before.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct History {
    published: Vec<(String, Option<String>)>,
    applied: Vec<String>,
    parked: Vec<String>,
    ignored: Vec<String>,
    markers: Vec<String>,
    is_under_way: bool,
}

impl History {
    /// A history of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Events that were published and committed, in the order of the feed: each with the key by which it
    /// is kept in order, if it has one.
    pub fn published<E, K>(mut self, events: impl IntoIterator<Item = (E, Option<K>)>) -> Self
    where
        E: Into<String>,
        K: Into<String>,
    {
        let events = events.into_iter();
        self.published
            .extend(events.map(|(event, key)| (event.into(), key.map(Into::into))));
        self
    }

    /// Events that were applied, in the order in which they were: one for each effect that is there, so
    /// that an event which was applied twice is named twice.
    pub fn applied<E: Into<String>>(mut self, events: impl IntoIterator<Item = E>) -> Self {
        self.applied.extend(events.into_iter().map(Into::into));
        self
    }

    /// Events that are parked in the end, in the order in which they are to be tried again.
    pub fn parked<E: Into<String>>(mut self, events: impl IntoIterator<Item = E>) -> Self {
        self.parked.extend(events.into_iter().map(Into::into));
        self
    }

    /// Events that the worker ignored. It may have been asked several times: that leaves nothing behind.
    pub fn ignored<E: Into<String>>(mut self, events: impl IntoIterator<Item = E>) -> Self {
        self.ignored.extend(events.into_iter().map(Into::into));
        self
    }

    /// Events behind which the marker was seen to stand, in the order in which that was seen.
    pub fn markers<E: Into<String>>(mut self, events: impl IntoIterator<Item = E>) -> Self {
        self.markers.extend(events.into_iter().map(Into::into));
        self
    }

    /// Says that the consumer has not read everything yet: what comes after the marker that was seen last
    /// is not lost. Unless this is said, each event that was published must have become something.
    pub fn under_way(mut self) -> Self {
        self.is_under_way = true;
        self
    }

    /// Everything that is wrong with it; nothing if all is well.
    pub fn violations(&self) -> Vec<Violation> {
        let mut judge = Judge::new(self);
        judge.phantoms();
        judge.lost();
        judge.doubled();
        judge.out_of_order(&self.applied);
        judge.out_of_order(&self.parked);
        judge.overtook();
        judge.marker_went_back();
        judge.violations
    }

    /// That nothing is wrong with it.
    ///
    /// # Panics
    ///
    /// When something is: the message says what, of the first few.
    #[track_caller]
    pub fn assert_holds(&self) {
        let violations = self.violations();
        let said: Vec<_> = violations
            .iter()
            .take(20)
            .map(ToString::to_string)
            .collect();
        assert!(
            violations.is_empty(),
            "{} violations among {} events:\n{}",
            violations.len(),
            self.published.len(),
            said.join("\n")
        );
    }
}

struct Judge<'a> {
    history: &'a History,
    /// Where in the feed an event stands. Of two with the same id, the first counts.
    places: HashMap<&'a str, usize>,
    violations: Vec<Violation>,
}

impl<'a> Judge<'a> {
    fn new(history: &'a History) -> Self {
        let mut places = HashMap::with_capacity(history.published.len());
        for (place, (event, _)) in history.published.iter().enumerate() {
            places.entry(event.as_str()).or_insert(place);
        }
        Self {
            history,
            places,
            violations: Vec::new(),
        }
    }

    fn phantoms(&mut self) {
        let History {
            applied,
            parked,
            ignored,
            markers,
            ..
        } = self.history;
        let all = [
            (applied, Fate::Applied),
            (parked, Fate::Parked),
            (ignored, Fate::Ignored),
            (markers, Fate::Marked),
        ];
        for (events, fate) in all {
            let unknown = events.iter().filter(|event| self.place(event).is_none());
            let phantoms = unknown.map(|event| Violation::Phantom {
                event: event.clone(),
                fate,
            });
            self.violations.extend(phantoms.collect::<Vec<_>>());
        }
    }

    fn lost(&mut self) {
        let History {
            published,
            applied,
            parked,
            ignored,
            markers,
            is_under_way,
        } = self.history;
        let marked = markers.last().and_then(|event| self.place(event));
        let end = match is_under_way {
            false => published.len(),
            true => marked.map_or(0, |place| place + 1),
        };
        let known = applied.iter().chain(parked).chain(ignored);
        let known: HashSet<_> = known.map(String::as_str).collect();
        for (event, key) in &published[..end] {
            if !known.contains(event.as_str()) {
                let (event, key) = (event.clone(), key.clone());
                self.violations.push(Violation::Lost { event, key });
            }
        }
    }

    fn doubled(&mut self) {
        let applied = self.history.applied.iter();
        let parked = self.history.parked.iter();
        let all = applied
            .map(|event| (event, Fate::Applied))
            .chain(parked.map(|event| (event, Fate::Parked)));
        let mut before = HashMap::new();
        for (event, fate) in all {
            if let Some(first) = before.insert(event, fate) {
                let (event, fates) = (event.clone(), [first, fate]);
                self.violations.push(Violation::Doubled { event, fates });
            }
        }
    }

    /// Each event that comes after a later one of its key; only where it comes first, since it is not out
    /// of order for being there twice.
    fn out_of_order(&mut self, events: &'a [String]) {
        let mut seen = HashSet::new();
        let mut latest = HashMap::<&str, usize>::new();
        for event in events.iter().filter(|event| seen.insert(event.as_str())) {
            let Some((place, key)) = self.place_and_key(event) else {
                continue;
            };
            let latest = latest.entry(key).or_insert(place);
            if *latest > place {
                self.violations.push(Violation::OutOfOrder {
                    event: event.clone(),
                    after: self.history.published[*latest].0.clone(),
                    key: key.to_owned(),
                });
            }
            *latest = place.max(*latest);
        }
    }

    fn overtook(&mut self) {
        let mut first = HashMap::<&str, usize>::new();
        for event in &self.history.parked {
            if let Some((place, key)) = self.place_and_key(event) {
                let first = first.entry(key).or_insert(place);
                *first = place.min(*first);
            }
        }
        for event in &self.history.applied {
            let Some((place, key)) = self.place_and_key(event) else {
                continue;
            };
            let held_by = first.get(key).filter(|parked| **parked < place);
            if let Some(parked) = held_by {
                self.violations.push(Violation::Overtook {
                    event: event.clone(),
                    parked: self.history.published[*parked].0.clone(),
                    key: key.to_owned(),
                });
            }
        }
    }

    fn marker_went_back(&mut self) {
        let markers = self.history.markers.iter();
        let known: Vec<_> = markers.filter_map(|event| self.place(event)).collect();
        let back = known.windows(2).filter(|pair| pair[1] < pair[0]);
        let published = |place: usize| self.history.published[place].0.clone();
        let violations = back.map(|pair| Violation::MarkerWentBack {
            from: published(pair[0]),
            to: published(pair[1]),
        });
        self.violations.extend(violations);
    }

    fn place(&self, event: &str) -> Option<usize> {
        self.places.get(event).copied()
    }

    /// Of an event that has a key.
    fn place_and_key(&self, event: &str) -> Option<(usize, &'a str)> {
        let place = self.place(event)?;
        Some((place, self.history.published[place].1.as_deref()?))
    }
}
