//! What there is to be ordered: drugs and tests, which are there before anybody comes.

use super::names::{DRUGS, STRENGTHS, TESTS};
use super::{Document, LANES, Planner};
use crate::hospital::documents::{Drug, LabTest};

/// From so many events on, a day has drugs and tests.
const WITH_STOCK: usize = 10;

/// Each third drug is one that nobody orders.
const NOT_ORDERED: usize = 3;

/// Drugs and tests, as the EMR was told last.
#[derive(Default)]
pub(super) struct Stock {
    pub(super) to_order: Vec<Drug>,
    /// Their lanes, too.
    pub(super) not_ordered: Vec<(usize, Drug)>,
    pub(super) tests: Vec<LabTest>,
}

impl Stock {
    pub(super) fn is_empty(&self) -> bool {
        self.to_order.is_empty()
    }
}

impl Planner {
    /// Fills the shelves.
    pub(super) fn take_stock(&mut self) {
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
            let lane = number % LANES;
            match number % NOT_ORDERED {
                1 => self.stock.not_ordered.push((lane, drug.clone())),
                _ => self.stock.to_order.push(drug.clone()),
            }
            self.take(lane, 1, Document::Drug(drug));
        }
        for number in 0..(events / 40).clamp(3, 20) {
            let (name, unit) = TESTS[number % TESTS.len()];
            // Each fourth is a panel of the two before it.
            let is_panel = number % 4 == 2;
            let members = self.stock.tests.iter().rev().take(2).map(|test| test.uuid);
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
            self.stock.tests.push(test.clone());
            self.take(TESTS_LANE, 1, Document::LabTest(test));
        }
    }
}

/// All tests are in one lane: a panel comes after its tests.
pub(super) const TESTS_LANE: usize = 0;
