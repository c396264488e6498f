//! A day in the hospital as a plan: who is registered, and what is ordered for whom, in which order. It follows
//! from a few numbers alone, and makes so many events, no more and no fewer.

mod changes;
mod dice;
mod names;
mod orders;
mod stock;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use self::dice::Dice;
use self::names::{EXAMINATIONS, FAMILY, GIVEN, SERVICES, VILLAGES};
use self::orders::{concept, known, revise, takes};
use self::stock::Stock;
use crate::hospital::documents::{
    Concept, Drug, Encounter, LabTest, Order, OrderAction, OrderKind, Patient,
};
use crate::hospital::erp::standin::LIMIT;

/// So many steps are taken at once. All that is of one patient is in one lane, in order, and so is all that is of
/// one drug or test.
pub(super) const LANES: usize = 4;

/// From so many events on, a day can have an order of an unknown test.
pub(super) const WITH_UNKNOWN_TEST: usize = 8;

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
    /// So many encounters have a sale over the limit.
    pub(super) over_limit: usize,
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
            over_limit: planner.over_limit,
        }
    }
}

/// A day that is being planned.
struct Planner {
    wishes: Wishes,
    dice: Dice,
    left: usize,
    steps: Vec<Step>,
    stock: Stock,
    /// As the EMR was told last.
    patients: Vec<Patient>,
    /// Encounters of which orders may be changed, and their lanes.
    open: Vec<(usize, Encounter)>,
    encounters: usize,
    over_limit: usize,
    orders: usize,
    /// So many patients, drugs and tests were changed.
    changes: usize,
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
            stock: Stock::default(),
            patients: Vec::new(),
            open: Vec::new(),
            encounters: 0,
            over_limit: 0,
            orders: 0,
            changes: 0,
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

    fn go_on(&mut self) {
        if self.patients.is_empty() {
            return self.register();
        }
        let has_stock = !self.stock.is_empty();
        let roll = self.dice.roll(100);
        match roll {
            0..26 => self.register(),
            26..31 => self.change_patient(),
            31..50 if has_stock => self.see(OrderKind::Drug),
            50..53 if has_stock => self.change_price(),
            53..60 if has_stock && self.left >= 3 => self.see(OrderKind::Lab),
            60..62 if has_stock => self.take_back(),
            62..64 if has_stock => self.rename_test(),
            64..74 => self.see(OrderKind::Radiology),
            74..93 => {
                let action = match roll {
                    74..85 => OrderAction::Revise,
                    _ => OrderAction::Discontinue,
                };
                if !self.change_order(action) {
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
        self.patients.push(patient.clone());
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
        let is_over_limit = self.is_over_limit() && !self.stock.is_empty();
        self.over_limit += usize::from(is_over_limit);
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

    /// The lab is to do something, and it is cancelled before the EMR tells anybody: there is no result.
    fn take_back(&mut self) {
        let patient = self.dice.roll(self.patients.len());
        let mut order = self.order_of(OrderKind::Lab, false);
        order.action = OrderAction::Discontinue;
        let (lane, encounter) = self.encounter(patient, vec![order]);
        self.take(lane, 1, Document::Encounter(encounter));
    }

    /// Whether the next encounter is to have a sale over the limit: they are spread evenly.
    fn is_over_limit(&self) -> bool {
        let percent = self.wishes.over_limit.min(100);
        self.over_limit < ((self.encounters + 1) * percent + 50) / 100
    }

    fn order_of(&mut self, kind: OrderKind, is_over_limit: bool) -> Order {
        let (concept, quantity) = match kind {
            OrderKind::Drug => {
                let drug = self.dice.of(&self.stock.to_order);
                let quantity = match is_over_limit {
                    true => LIMIT / drug.price + 1,
                    false => 1 + self.dice.roll(30) as i64,
                };
                (concept(drug.uuid, &drug.name), quantity)
            }
            OrderKind::Lab => {
                let test = self.dice.of(&self.stock.tests);
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
            patient_uuid: self.patients[patient].uuid,
            encounter_datetime: DateTime::<Utc>::UNIX_EPOCH
                + TimeDelta::seconds(MORNING + number as i64),
            orders,
            results: Vec::new(),
        };
        (patient % LANES, encounter)
    }

    /// Changes or cancels an order of one of the last encounters, if there is one to be changed.
    fn change_order(&mut self, action: OrderAction) -> bool {
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
