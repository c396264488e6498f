#![allow(clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::*;

/// What was seen of a day so far.
#[derive(Default)]
struct Seen {
    patients: HashMap<Uuid, (usize, Patient)>,
    drugs: HashMap<Uuid, (usize, Drug)>,
    tests: HashMap<Uuid, (usize, LabTest)>,
    encounters: HashMap<Uuid, (usize, Encounter)>,
    names: HashSet<String>,
    ordered: HashSet<Uuid>,
    /// What was changed, and of what.
    changed: HashSet<(&'static str, Uuid)>,
    events: usize,
    over_limit: usize,
    cancelled_at_once: usize,
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
        assert_eq!(seen.over_limit, plan.over_limit);
        seen
    }

    fn names(&mut self, name: String) {
        assert!(!self.names.contains(&name), "{name} is given again");
        self.names.insert(name);
    }

    fn step(&mut self, step: &Step) {
        self.events += 1;
        match &step.document {
            Document::Drug(drug) => self.drug(drug, step.lane),
            Document::LabTest(test) => self.test(test, step.lane),
            Document::Patient(patient) => self.patient(patient, step.lane),
            Document::Encounter(encounter) => self.encounter(encounter, step.lane),
        }
    }

    fn drug(&mut self, drug: &Drug, lane: usize) {
        assert!(drug.price > 0);
        let Some((there, before)) = self.drugs.insert(drug.uuid, (lane, drug.clone())) else {
            return self.names(drug.uuid.to_string());
        };
        assert_eq!(there, lane, "it may come before {before:?}");
        assert_ne!(before.price, drug.price, "nothing would be published");
        self.changed.insert(("price", drug.uuid));
    }

    fn test(&mut self, test: &LabTest, lane: usize) {
        let knows = |member: &Uuid| self.tests.contains_key(member);
        assert!(test.members.iter().all(knows), "{test:?}");
        assert_eq!(test.unit.is_empty(), test.members.len() == 2, "{test:?}");
        let Some((there, before)) = self.tests.insert(test.uuid, (lane, test.clone())) else {
            return self.names(test.uuid.to_string());
        };
        assert_eq!(there, lane, "it may come before {before:?}");
        assert_ne!(before.name, test.name, "nothing would be published");
        assert_eq!(before.price, test.price, "a sale has the one or the other");
        self.changed.insert(("test", test.uuid));
    }

    fn patient(&mut self, patient: &Patient, lane: usize) {
        let uuid = patient.uuid;
        let Some((there, before)) = self.patients.insert(uuid, (lane, patient.clone())) else {
            self.names(uuid.to_string());
            return self.names(patient.identifier.clone());
        };
        assert_eq!(there, lane, "it may come before {before:?}");
        assert_ne!(before, *patient, "nothing would be published");
        if before.identifier != patient.identifier {
            self.names(patient.identifier.clone());
        }
        for (what, is_changed) in [
            ("name", before.name != patient.name),
            ("identifier", before.identifier != patient.identifier),
            ("village", before.village != patient.village),
        ] {
            if is_changed {
                self.changed.insert((what, uuid));
            }
        }
    }

    fn encounter(&mut self, encounter: &Encounter, lane: usize) {
        assert_eq!(self.patients[&encounter.patient_uuid].0, lane);
        let has = |kind| encounter.orders.iter().any(|order| order.kind == kind);
        let known = (lane, encounter.clone());
        if let Some(before) = self.encounters.insert(encounter.uuid, known) {
            assert_ne!(before.1, *encounter, "nothing would be published");
            assert!(!has(OrderKind::Lab), "the lab may be at work on it");
            for (before, now) in before.1.orders.iter().zip(&encounter.orders) {
                assert!(!is_cancelled(before) || before == now, "{encounter:?}");
            }
            return;
        }
        for order in &encounter.orders {
            self.names(order.uuid.to_string());
            self.names(order.order_number.clone());
            self.ordered.insert(order.concept.uuid);
        }
        match encounter.orders.iter().any(is_cancelled) {
            true => {
                assert!(encounter.orders.iter().all(is_cancelled), "{encounter:?}");
                self.cancelled_at_once += 1;
            }
            // The accession, and the encounter with its results.
            false if has(OrderKind::Lab) => self.events += 2,
            false => {}
        }
        if encounter.orders.iter().any(|order| order.quantity > 30) {
            self.over_limit += 1;
        }
    }

    /// Of how many something was changed.
    fn changed(&self, what: &str) -> usize {
        self.changed.iter().filter(|(of, _)| *of == what).count()
    }
}

fn is_cancelled(order: &Order) -> bool {
    order.action == OrderAction::Discontinue
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
        events: 500,
        over_limit: 1,
        ..Wishes::default()
    };
    let plan = Plan::of(wishes);
    let seen = Seen::all(&plan);
    assert_eq!(seen.over_limit, (seen.encounters.len() + 50) / 100);
    assert!(seen.over_limit > 0, "{}", seen.encounters.len());
    assert!(seen.cancelled_at_once > 0);
    for what in ["name", "identifier", "village", "price", "test"] {
        assert!(seen.changed(what) > 0, "{what}");
    }
    let mut kinds = HashSet::new();
    for step in &plan.steps {
        if let Document::Encounter(encounter) = &step.document {
            let orders = encounter.orders.iter();
            kinds.extend(orders.map(|order| (order.kind, order.action)));
        }
    }
    for (kind, can_be_revised) in [
        (OrderKind::Drug, true),
        (OrderKind::Lab, false),
        (OrderKind::Radiology, true),
        (OrderKind::Service, false),
    ] {
        assert!(kinds.contains(&(kind, OrderAction::New)), "{kind:?}");
        let is_cancelled = kinds.contains(&(kind, OrderAction::Discontinue));
        assert!(is_cancelled, "{kind:?}");
        let is_revised = kinds.contains(&(kind, OrderAction::Revise));
        assert_eq!(is_revised, can_be_revised, "{kind:?}");
    }
}

/// What a line of a sale order costs depends on when it was written.
#[test]
fn a_drug_whose_price_changes_is_not_ordered_in_that_day() {
    for events in [60, 500, 5_000] {
        let wishes = Wishes {
            events,
            ..Wishes::default()
        };
        let seen = Seen::all(&Plan::of(wishes));
        assert!(seen.changed("price") > 0);
        for (what, uuid) in &seen.changed {
            assert!(*what != "price" || !seen.ordered.contains(uuid), "{uuid}");
        }
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
