//! What becomes of patients, drugs and tests that are there already.

use super::names::{FAMILY, VILLAGES, after};
use super::stock::TESTS_LANE;
use super::{Document, LANES, Planner};

impl Planner {
    /// A patient moves, gets another name, or another card.
    pub(super) fn change_patient(&mut self) {
        let at = self.dice.roll(self.patients.len());
        let roll = self.dice.roll(3);
        self.changes += 1;
        let patient = &mut self.patients[at];
        match roll {
            0 => {
                let (given, family) = patient.name.split_once(' ').unwrap_or_default();
                patient.name = format!("{given} {}", after(&FAMILY, family));
            }
            1 => patient.identifier = format!("GAN{}-{:06}", self.wishes.before, self.changes),
            _ => patient.village = after(&VILLAGES, &patient.village).to_owned(),
        }
        let patient = patient.clone();
        self.take(at % LANES, 1, Document::Patient(patient));
    }

    /// A drug gets dearer. It is one that nobody orders in this day: a line of a sale order costs what the product
    /// did when the line was written, and whether that was before or after depends on who was faster.
    pub(super) fn change_price(&mut self) {
        let at = self.dice.roll(self.stock.not_ordered.len());
        let by = 1 + self.dice.roll(500) as i64;
        self.changes += 1;
        let (lane, drug) = &mut self.stock.not_ordered[at];
        drug.price += by;
        let (lane, drug) = (*lane, drug.clone());
        self.take(lane, 1, Document::Drug(drug));
    }

    /// A test or a panel is called otherwise.
    pub(super) fn rename_test(&mut self) {
        let at = self.dice.roll(self.stock.tests.len());
        self.changes += 1;
        let test = &mut self.stock.tests[at];
        let name = test.name.split(", method").next().unwrap_or_default();
        test.name = format!("{name}, method {}", self.changes);
        let test = test.clone();
        self.take(TESTS_LANE, 1, Document::LabTest(test));
    }
}
