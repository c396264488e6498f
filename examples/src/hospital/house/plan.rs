//! A day in the hospital as a plan: who is registered, and what is ordered for whom, in which order. It follows
//! from a few numbers alone, and makes so many events, no more and no fewer.

mod dice;
mod names;
mod orders;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use uuid::Uuid;

use self::dice::Dice;
use self::names::{DRUGS, EXAMINATIONS, FAMILY, GIVEN, SERVICES, STRENGTHS, TESTS, VILLAGES};
use self::orders::{concept, known, revise, takes};
use crate::hospital::documents::{
    Concept, Drug, Encounter, LabTest, Order, OrderAction, OrderKind, Patient,
};

/// So many steps are taken at once. All that is of one patient is in one lane, in order.
pub(super) const LANES: usize = 4;

/// From so many events on, a day has drugs and tests.
const WITH_STOCK: usize = 10;

/// From so many events on, a day can have an order of an unknown test.
pub(super) const WITH_UNKNOWN_TEST: usize = 8;

/// A sale of more than so many paise is over the limit of the ERP.
const LIMIT: i64 = 10_000_000;

/// When the first patient of a day is seen, in seconds since 1970.
const MORNING: i64 = 1_767_583_800;

/// What a day is to be like.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wishes {
    /// So many events, in the EMR and the lab together.
    pub(super) events: usize,
    /// So many there were before. What a day makes has names that no day before it has given.
    pub(super) before: i64,
    /// So many percent of the encounters have a sale over the limit.
    pub(super) over_limit: usize,
    /// Whether one order is of a test that the EMR has told nobody of; only in a day of
    /// [`WITH_UNKNOWN_TEST`] events.
    pub(super) with_unknown_test: bool,
}

/// What is done in a day.
#[derive(Debug)]
pub(super) struct Plan {
    /// Drugs and tests, which are there before anybody comes.
    pub(super) stock: Vec<Step>,
    /// What then happens.
    pub(super) steps: Vec<Step>,
    /// The test that was not told of; to do so makes an event, too.
    pub(super) unknown_test: Option<LabTest>,
}

/// Something that the EMR is told.
#[derive(Debug)]
pub(super) struct Step {
    /// What.
    pub(super) document: Document,
    /// After which other steps.
    pub(super) lane: usize,
    /// So many events come of it.
    pub(super) events: usize,
}

/// A resource of the EMR.
#[derive(Debug)]
pub(super) enum Document {
    Drug(Drug),
    LabTest(LabTest),
    Patient(Patient),
    Encounter(Encounter),
}

impl Plan {
    pub(super) fn of(wishes: Wishes) -> Self {
        let mut planner = Planner::new(wishes);
        planner.take_stock();
        let stock = std::mem::take(&mut planner.steps);
        while planner.left > 0 {
            planner.go_on();
        }
        Self {
            stock,
            steps: planner.steps,
            unknown_test: planner.unknown_test,
        }
    }
}

/// A day that is being planned.
struct Planner {
    wishes: Wishes,
    dice: Dice,
    left: usize,
    steps: Vec<Step>,
    drugs: Vec<Drug>,
    tests: Vec<LabTest>,
    patients: Vec<Uuid>,
    /// Encounters of which orders may be changed, and their lanes.
    open: Vec<(usize, Encounter)>,
    encounters: usize,
    orders: usize,
    unknown_test: Option<LabTest>,
}

impl Planner {
    fn new(wishes: Wishes) -> Self {
        let dice = Dice::new(wishes.before);
        let unknown_test = wishes.with_unknown_test.then(|| LabTest {
            uuid: dice.uuid("unknown test", 0),
            name: "Vitamin D".to_owned(),
            unit: "ng/ml".to_owned(),
            price: 90_000,
            members: Vec::new(),
        });
        // The encounter, its accession, its results, and the test in the end.
        let for_unknown = if unknown_test.is_some() { 4 } else { 0 };
        Self {
            wishes,
            dice,
            left: wishes.events.saturating_sub(for_unknown),
            steps: Vec::new(),
            drugs: Vec::new(),
            tests: Vec::new(),
            patients: Vec::new(),
            open: Vec::new(),
            encounters: 0,
            orders: 0,
            unknown_test,
        }
    }

    fn take(&mut self, lane: usize, events: usize, document: Document) {
        self.left -= events;
        self.steps.push(Step {
            document,
            lane,
            events,
        });
    }

    fn take_stock(&mut self) {
        let events = self.wishes.events;
        if events < WITH_STOCK {
            return;
        }
        for number in 0..(events / 40).clamp(2, 50) {
            let (name, form) = DRUGS[number % DRUGS.len()];
            let strength = STRENGTHS[(number + number / DRUGS.len()) % STRENGTHS.len()];
            let drug = Drug {
                uuid: self.dice.uuid("drug", number),
                name: format!("{name} {strength}"),
                form: form.to_owned(),
                price: 50 + self.dice.roll(9_950) as i64,
            };
            self.drugs.push(drug.clone());
            self.take(number % LANES, 1, Document::Drug(drug));
        }
        for number in 0..(events / 40).clamp(3, 20) {
            let (name, unit) = TESTS[number % TESTS.len()];
            // Each fourth is a panel of the two before it.
            let is_panel = number % 4 == 2;
            let members = self.tests.iter().rev().take(2).map(|test| test.uuid);
            let test = LabTest {
                members: if is_panel {
                    members.collect()
                } else {
                    Vec::new()
                },
                uuid: self.dice.uuid("test", number),
                name: match is_panel {
                    true => format!("Panel {}", number / 4 + 1),
                    false => name.to_owned(),
                },
                unit: match is_panel {
                    true => String::new(),
                    false => unit.to_owned(),
                },
                price: 5_000 + self.dice.roll(150_000) as i64,
            };
            self.tests.push(test.clone());
            // In one lane: a panel comes after its tests.
            self.take(0, 1, Document::LabTest(test));
        }
    }

    fn go_on(&mut self) {
        if self.patients.is_empty() {
            return self.register();
        }
        let has_stock = !self.drugs.is_empty();
        let roll = self.dice.roll(100);
        match roll {
            0..30 => self.register(),
            30..52 if has_stock => self.see(OrderKind::Drug),
            52..60 if has_stock && self.left >= 3 => self.see(OrderKind::Lab),
            60..72 => self.see(OrderKind::Radiology),
            72..92 => {
                let action = match roll {
                    72..84 => OrderAction::Revise,
                    _ => OrderAction::Discontinue,
                };
                if !self.change(action) {
                    self.see(OrderKind::Service);
                }
            }
            _ => self.see(OrderKind::Service),
        }
    }

    fn register(&mut self) {
        let number = self.patients.len();
        let (given, gender) = *self.dice.of(&GIVEN);
        let family = self.dice.of(&FAMILY);
        let [year, month, day] = [80, 12, 28].map(|bound| self.dice.roll(bound) as u32);
        let birthdate = NaiveDate::from_ymd_opt(1945 + year as i32, 1 + month, 1 + day);
        let patient = Patient {
            uuid: self.dice.uuid("patient", number),
            identifier: format!("GAN{}{number:06}", self.wishes.before),
            name: format!("{given} {family}"),
            gender: gender.to_owned(),
            birthdate: birthdate.unwrap_or_default(),
            village: (*self.dice.of(&VILLAGES)).to_owned(),
        };
        self.patients.push(patient.uuid);
        self.take(number % LANES, 1, Document::Patient(patient));
        if number == 0
            && let Some(test) = self.unknown_test.clone()
        {
            let order = self.order(OrderKind::Lab, concept(test.uuid, &test.name), 1);
            let (_, encounter) = self.encounter(number, vec![order]);
            let lane = number % LANES;
            self.left += 3; // set aside in the beginning
            self.take(lane, 3, Document::Encounter(encounter));
        }
    }

    /// A patient is seen, and something is ordered.
    fn see(&mut self, kind: OrderKind) {
        let is_over_limit = self.is_over_limit() && !self.drugs.is_empty();
        let kind = match is_over_limit {
            true => OrderKind::Drug,
            false => kind,
        };
        let patient = self.dice.roll(self.patients.len());
        let most = match kind {
            OrderKind::Drug => 3,
            OrderKind::Lab => 2,
            OrderKind::Radiology | OrderKind::Service => 1,
        };
        let count = 1 + self.dice.roll(most);
        let orders = (0..count).map(|number| self.order_of(kind, is_over_limit && number == 0));
        let orders = orders.collect();
        let (lane, encounter) = self.encounter(patient, orders);
        let events = match kind {
            OrderKind::Lab => 3,
            OrderKind::Drug | OrderKind::Radiology | OrderKind::Service => 1,
        };
        // What the lab works on is left alone, and so is what a person has to approve.
        if kind != OrderKind::Lab && !is_over_limit {
            self.open.push((lane, encounter.clone()));
        }
        self.take(lane, events, Document::Encounter(encounter));
    }

    /// Whether the next encounter is to have a sale over the limit: they are spread evenly.
    fn is_over_limit(&self) -> bool {
        let by = |encounters: usize| (encounters * self.wishes.over_limit.min(100) + 50) / 100;
        by(self.encounters + 1) > by(self.encounters)
    }

    fn order_of(&mut self, kind: OrderKind, is_over_limit: bool) -> Order {
        let (concept, quantity) = match kind {
            OrderKind::Drug => {
                let drug = self.dice.of(&self.drugs);
                let quantity = match is_over_limit {
                    true => LIMIT / drug.price + 1,
                    false => 1 + self.dice.roll(30) as i64,
                };
                (concept(drug.uuid, &drug.name), quantity)
            }
            OrderKind::Lab => {
                let test = self.dice.of(&self.tests);
                (concept(test.uuid, &test.name), 1)
            }
            OrderKind::Radiology => (known(self.dice.of::<&str>(&EXAMINATIONS)), 1),
            OrderKind::Service => (known(self.dice.of::<&str>(&SERVICES)), 1),
        };
        self.order(kind, concept, quantity)
    }

    fn order(&mut self, kind: OrderKind, concept: Concept, quantity: i64) -> Order {
        let number = self.orders;
        self.orders += 1;
        Order {
            uuid: self.dice.uuid("order", number),
            order_number: format!("ORD-{}{number:06}", self.wishes.before),
            kind,
            action: OrderAction::New,
            concept,
            quantity,
        }
    }

    fn encounter(&mut self, patient: usize, orders: Vec<Order>) -> (usize, Encounter) {
        let number = self.encounters;
        self.encounters += 1;
        let encounter = Encounter {
            uuid: self.dice.uuid("encounter", number),
            patient_uuid: self.patients[patient],
            encounter_datetime: DateTime::<Utc>::UNIX_EPOCH
                + TimeDelta::seconds(MORNING + number as i64),
            orders,
            results: Vec::new(),
        };
        (patient % LANES, encounter)
    }

    /// Changes or cancels an order of one of the last encounters, if there is one to be changed.
    fn change(&mut self, action: OrderAction) -> bool {
        let recent = self.open.len().min(100);
        let from = self.open.len() - recent;
        for _try in 0..recent.min(5) {
            let at = from + self.dice.roll(recent);
            let (lane, encounter) = &mut self.open[at];
            let mut orders = encounter.orders.iter_mut();
            let Some(order) = orders.find(|order| takes(order, action)) else {
                continue;
            };
            order.action = action;
            if action == OrderAction::Revise {
                revise(order);
            }
            let (lane, encounter) = (*lane, encounter.clone());
            self.take(lane, 1, Document::Encounter(encounter));
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests;
