//! Good histories pass, and each kind of bug, put into a good history, is found: that one, and nothing
//! else.

use std::collections::{HashMap, VecDeque};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{Fate, History, Violation};

const KEYS: u8 = 4;

/// The key of an event, whether it is ignored, whether it is parked for good, and its turn.
type Seed = (Option<u8>, bool, bool, u32);

/// What may happen: of each key, all is parked from the first event on that stays parked; the others are
/// ignored, or applied in any order that keeps that of their key.
fn good() -> impl Strategy<Value = History> {
    let key = option::weighted(0.8, 0..KEYS);
    let event = (
        key,
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.1),
        0..1_000_u32,
    );
    (vec(event, 1..80), vec(any::<Index>(), 0..20)).prop_map(|(events, seen)| run(&events, seen))
}

fn run(events: &[Seed], seen: Vec<Index>) -> History {
    let mut history = History::new();
    let mut is_held = [false; KEYS as usize];
    let mut applied = Vec::new();
    for (number, (key, is_ignored, is_parked, turn)) in events.iter().enumerate() {
        let event = number.to_string();
        history = history.published([(event.clone(), key.map(|key| format!("/patient/{key}")))]);
        let mut alone = false;
        let is_held = key.map_or(&mut alone, |key| &mut is_held[usize::from(key)]);
        *is_held |= *is_parked;
        match (*is_held, is_ignored) {
            (true, _) => history = history.parked([event]),
            (false, true) => history = history.ignored([event]),
            (false, false) => applied.push((*turn, number, *key)),
        }
    }
    // Each key has the turns that it got, in its own order.
    let mut queues = HashMap::<_, VecDeque<_>>::new();
    for (_, number, key) in &applied {
        queues.entry(*key).or_default().push_back(*number);
    }
    applied.sort_unstable();
    for (_, _, key) in &applied {
        let next = queues.get_mut(key).and_then(VecDeque::pop_front);
        history = history.applied(next.map(|number| number.to_string()));
    }
    let mut markers: Vec<_> = seen.iter().map(|index| index.index(events.len())).collect();
    markers.sort_unstable();
    history.markers(markers.iter().map(ToString::to_string))
}

fn key_of(history: &History, event: &str) -> Option<String> {
    history.published[event.parse::<usize>().expect("a number")]
        .1
        .clone()
}

/// Two events of one key that stand one after the other among these, the n-th such pair.
fn pair_of_one_key(
    history: &History,
    events: &[String],
    n: Index,
) -> Option<(usize, usize, String)> {
    let pairs: Vec<_> = (0..events.len())
        .filter_map(|first| {
            let key = key_of(history, &events[first])?;
            let rest = (first + 1..events.len()).find(|second| {
                key_of(history, &events[*second]).as_deref() == Some(key.as_str())
            })?;
            Some((first, rest, key))
        })
        .collect();
    (!pairs.is_empty()).then(|| n.get(&pairs).clone())
}

proptest! {
    #[test]
    fn good_histories_pass(history in good()) {
        prop_assert_eq!(history.violations(), []);
        prop_assert_eq!(history.clone().under_way().violations(), []);
        history.assert_holds();
    }

    #[test]
    fn an_event_that_is_dropped_is_found(mut history in good(), n: Index) {
        prop_assume!(!history.applied.is_empty());
        let event = history.applied.remove(n.index(history.applied.len()));
        let key = key_of(&history, &event);
        prop_assert_eq!(history.violations(), [Violation::Lost { event, key }]);
    }

    #[test]
    fn a_parked_event_that_is_dropped_is_found(mut history in good(), n: Index) {
        prop_assume!(!history.parked.is_empty());
        let event = history.parked.remove(n.index(history.parked.len()));
        let key = key_of(&history, &event);
        prop_assert_eq!(history.violations(), [Violation::Lost { event, key }]);
    }

    #[test]
    fn an_event_behind_the_marker_is_lost_and_one_in_front_of_it_is_not(
        mut history in good(), n: Index
    ) {
        prop_assume!(!history.applied.is_empty() && !history.markers.is_empty());
        let event = history.applied.remove(n.index(history.applied.len()));
        let place: usize = event.parse().expect("a number");
        let marker: usize = history.markers.last().expect("a marker").parse().expect("a number");
        let violations = history.clone().under_way().violations();
        prop_assert_eq!(violations.len(), usize::from(place <= marker));
    }

    #[test]
    fn an_event_that_is_applied_twice_is_found(mut history in good(), n: Index, at: Index) {
        prop_assume!(!history.applied.is_empty());
        let event = n.get(&history.applied).clone();
        // At any later time.
        let first = history.applied.iter().position(|other| *other == event).expect("it is there");
        let at = first + 1 + at.index(history.applied.len() - first);
        history.applied.insert(at, event.clone());
        let fates = [Fate::Applied; 2];
        prop_assert_eq!(history.violations(), [Violation::Doubled { event, fates }]);
    }

    #[test]
    fn an_event_that_is_applied_and_stays_parked_is_found(mut history in good(), n: Index) {
        prop_assume!(!history.parked.is_empty());
        let event = n.get(&history.parked).clone();
        // The first of its key, so that it overtakes nothing.
        let key = key_of(&history, &event);
        let is_of_key = |other: &&String| key.is_some() && key_of(&history, other) == key;
        let event = history.parked.iter().find(is_of_key).unwrap_or(&event).clone();
        history.applied.push(event.clone());
        let fates = [Fate::Applied, Fate::Parked];
        prop_assert_eq!(history.violations(), [Violation::Doubled { event, fates }]);
    }

    #[test]
    fn two_of_a_key_that_are_applied_in_the_wrong_order_are_found(mut history in good(), n: Index) {
        let pair = pair_of_one_key(&history, &history.applied, n);
        prop_assume!(pair.is_some());
        let (first, second, key) = pair.expect("there is one");
        let (event, after) = (history.applied[first].clone(), history.applied[second].clone());
        history.applied.swap(first, second);
        prop_assert_eq!(history.violations(), [Violation::OutOfOrder { event, after, key }]);
    }

    #[test]
    fn two_of_a_key_that_are_parked_in_the_wrong_order_are_found(mut history in good(), n: Index) {
        let pair = pair_of_one_key(&history, &history.parked, n);
        prop_assume!(pair.is_some());
        let (first, second, key) = pair.expect("there is one");
        let (event, after) = (history.parked[first].clone(), history.parked[second].clone());
        history.parked.swap(first, second);
        prop_assert_eq!(history.violations(), [Violation::OutOfOrder { event, after, key }]);
    }

    #[test]
    fn an_event_from_nowhere_is_found(history in good(), fate in 0..4_usize) {
        let event = "nowhere".to_owned();
        let (history, fate) = match fate {
            0 => (history.applied([event.clone()]), Fate::Applied),
            1 => (history.parked([event.clone()]), Fate::Parked),
            2 => (history.ignored([event.clone()]), Fate::Ignored),
            _ => (history.markers([event.clone()]), Fate::Marked),
        };
        prop_assert_eq!(history.violations(), [Violation::Phantom { event, fate }]);
    }

    #[test]
    fn an_event_that_overtakes_a_parked_one_is_found(mut history in good(), n: Index) {
        let pair = pair_of_one_key(&history, &history.parked, n);
        prop_assume!(pair.is_some());
        let (_, second, key) = pair.expect("there is one");
        let event = history.parked.remove(second);
        let is_of_key = |other: &&String| key_of(&history, other).as_ref() == Some(&key);
        let parked = history.parked.iter().find(is_of_key).expect("the first").clone();
        history.applied.push(event.clone());
        prop_assert_eq!(history.violations(), [Violation::Overtook { event, parked, key }]);
    }

    #[test]
    fn a_marker_that_goes_back_is_found(mut history in good(), n: Index) {
        let markers = &history.markers;
        let rising: Vec<_> = (1..markers.len()).filter(|n| markers[*n] != markers[n - 1]).collect();
        prop_assume!(!rising.is_empty());
        let at = *n.get(&rising);
        let (from, to) = (markers[at].clone(), markers[at - 1].clone());
        history.markers.insert(at + 1, to.clone());
        prop_assert_eq!(history.violations(), [Violation::MarkerWentBack { from, to }]);
    }
}

#[test]
fn several_bugs_are_all_found() {
    let published = (1..=6).map(|n| (n.to_string(), Some(format!("/patient/{}", n % 2))));
    let history = History::new()
        .published(published)
        .applied(["3", "1", "4", "4", "7"])
        .parked(["2"])
        .markers(["4", "3"]);
    let said: Vec<_> = history
        .violations()
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = [
        "7 was never published, and was applied",
        "5 of /patient/1 is lost: neither applied nor parked nor ignored",
        "6 of /patient/0 is lost: neither applied nor parked nor ignored",
        "4 was applied, and then applied as well",
        "1 of /patient/1 comes after 3, which was published after it",
        "4 of /patient/0 was applied, though 2, which comes before it, is still parked",
        "4 of /patient/0 was applied, though 2, which comes before it, is still parked",
        "the marker went back from 4 to 3",
    ];
    assert_eq!(said, expected);
}

#[test]
#[should_panic(expected = "1 of /patient/1 is lost")]
fn an_assertion_says_what_is_wrong() {
    History::new()
        .published([("1", Some("/patient/1"))])
        .assert_holds();
}
