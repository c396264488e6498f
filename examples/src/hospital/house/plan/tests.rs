#![allow(clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};

use super::*;

/// What was seen of a day so far.
#[derive(Default)]
struct Seen {
    patients: HashMap<Uuid, usize>,
    concepts: HashSet<Uuid>,
    encounters: HashMap<Uuid, (usize, Encounter)>,
    names: HashSet<String>,
    events: usize,
    over_limit: usize,
}

impl Seen {
    fn all(plan: &Plan) -> Self {
        let mut seen = Self::default();
        for step in plan.stock.iter().chain(&plan.steps) {
            let before = seen.events;
            seen.step(step);
            assert_eq!(seen.events - before, step.events, "{step:?}");
        }
        seen.events += usize::from(plan.unknown_test.is_some());
        seen
    }

    fn names(&mut self, name: String) {
        assert!(!self.names.contains(&name), "{name} is given again");
        self.names.insert(name);
    }

    fn step(&mut self, step: &Step) {
        self.events += 1;
        match &step.document {
            Document::Drug(drug) => {
                assert!(drug.price > 0);
                self.names(drug.uuid.to_string());
                self.concepts.insert(drug.uuid);
            }
            Document::LabTest(test) => {
                self.names(test.uuid.to_string());
                let knows = |member: &Uuid| self.concepts.contains(member);
                assert!(test.members.iter().all(knows), "{test:?}");
                assert_eq!(test.unit.is_empty(), test.members.len() == 2, "{test:?}");
                self.concepts.insert(test.uuid);
            }
            Document::Patient(patient) => {
                self.names(patient.uuid.to_string());
                self.names(patient.identifier.clone());
                self.patients.insert(patient.uuid, step.lane);
            }
            Document::Encounter(encounter) => self.encounter(encounter, step.lane),
        }
    }

    fn encounter(&mut self, encounter: &Encounter, lane: usize) {
        assert_eq!(self.patients[&encounter.patient_uuid], lane);
        let known = (lane, encounter.clone());
        if let Some(before) = self.encounters.insert(encounter.uuid, known) {
            assert_ne!(before.1, *encounter, "nothing would be published");
            let is_done = |order: &Order| order.action == OrderAction::Discontinue;
            for (before, now) in before.1.orders.iter().zip(&encounter.orders) {
                assert!(!is_done(before) || before == now, "{encounter:?}");
            }
            return;
        }
        for order in &encounter.orders {
            self.names(order.uuid.to_string());
            self.names(order.order_number.clone());
        }
        let has = |kind| encounter.orders.iter().any(|order| order.kind == kind);
        if has(OrderKind::Lab) {
            self.events += 2;
        }
        if encounter.orders.iter().any(|order| order.quantity > 30) {
            self.over_limit += 1;
        }
    }
}

#[test]
fn a_day_has_as_many_events_as_are_asked_for() {
    for events in (0..200).chain([1_000, 5_000]) {
        for with_unknown_test in [false, true] {
            let with_unknown_test = with_unknown_test && events >= WITH_UNKNOWN_TEST;
            let wishes = Wishes {
                events,
                with_unknown_test,
                ..Wishes::default()
            };
            let seen = Seen::all(&Plan::of(wishes));
            assert_eq!(seen.events, events, "{wishes:?}");
        }
    }
}

#[test]
fn a_day_of_some_size_has_everything_in_it() {
    let wishes = Wishes {
        events: 200,
        over_limit: 1,
        ..Wishes::default()
    };
    let plan = Plan::of(wishes);
    let seen = Seen::all(&plan);
    assert_eq!(seen.over_limit, (seen.encounters.len() + 50) / 100);
    assert!(seen.over_limit > 0, "{}", seen.encounters.len());
    let mut kinds = HashSet::new();
    for step in &plan.steps {
        if let Document::Encounter(encounter) = &step.document {
            let orders = encounter.orders.iter();
            kinds.extend(orders.map(|order| (order.kind, order.action)));
        }
    }
    let missing = (OrderKind::Lab, OrderKind::Service);
    for kind in [
        OrderKind::Drug,
        OrderKind::Lab,
        OrderKind::Radiology,
        OrderKind::Service,
    ] {
        assert!(kinds.contains(&(kind, OrderAction::New)), "{kind:?}");
        let is_cancelled = kinds.contains(&(kind, OrderAction::Discontinue));
        assert_eq!(is_cancelled, kind != missing.0, "{kind:?}");
        let is_revised = kinds.contains(&(kind, OrderAction::Revise));
        let can_be_revised = kind != missing.0 && kind != missing.1;
        assert_eq!(is_revised, can_be_revised, "{kind:?}");
    }
}

#[test]
fn a_day_is_the_same_each_time_and_no_two_days_share_a_name() {
    let day = |before| Wishes {
        events: 500,
        before,
        ..Wishes::default()
    };
    let text = |before| format!("{:?}", Plan::of(day(before)));
    assert_eq!(text(0), text(0));
    let [first, second] = [0, 500].map(|before| Seen::all(&Plan::of(day(before))));
    assert!(first.names.is_disjoint(&second.names));
}
