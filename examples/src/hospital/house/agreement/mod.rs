//! Whether all systems agree: what each of them keeps is compared row by row, and so is, for every feed, what
//! was published with what was applied.

mod erp;
mod flows;
mod imaging;
mod lab;
mod row;

use std::fmt;

use self::row::{Row, write_table};
use super::databases::Databases;
use crate::hospital::system::System;

pub(super) use self::flows::{FOLLOWED, Flow, category_of};

/// So many differences of a kind are shown.
const SHOWN: usize = 20;

/// What was compared.
#[derive(Debug)]
pub(super) struct Agreement {
    rows: Vec<Row>,
    flows: Vec<Flow>,
    /// Systems that are real ones, into which nobody looks here.
    left_out: Vec<System>,
}

impl Agreement {
    /// Reads and compares everything. So many events are to be there, of which so many are.
    pub(super) async fn read(
        databases: &Databases,
        expected: usize,
        there: usize,
    ) -> anyhow::Result<Self> {
        let emr = &databases.emr;
        let mut left_out = Vec::new();
        let mut rows = lab::compared(databases).await?;
        match &databases.erp {
            Some(erp) => rows.extend(erp::compared(emr, erp).await?),
            None => left_out.push(System::Erp),
        }
        match &databases.imaging {
            Some(imaging) => rows.push(imaging::STUDIES.read(emr, imaging).await?),
            None => left_out.push(System::Imaging),
        }
        let flows = Flow::all(databases).await?;
        rows.extend(flows.iter().map(Flow::row));
        rows.push(Row::of_count(expected, there));
        Ok(Self {
            rows,
            flows,
            left_out,
        })
    }

    /// How many differences there are in all.
    pub(super) fn count(&self) -> usize {
        self.rows.iter().map(Row::count).sum()
    }

    /// What they are, of each kind the first few.
    pub(super) fn differences(&self) -> Vec<String> {
        let mut all = Vec::new();
        for row in &self.rows {
            all.extend(row.differences().take(SHOWN));
            let more = row.count().saturating_sub(SHOWN);
            if more > 0 {
                all.push(format!("… and {more} more of this kind"));
            }
        }
        all
    }

    /// What was published, and applied.
    pub(super) fn flows(&self) -> &[Flow] {
        &self.flows
    }

    /// The last line: whether all agree, after so many events.
    pub(super) fn verdict(&self, events: usize) -> String {
        let left_out: Vec<_> = self.left_out.iter().map(System::to_string).collect();
        match (self.count(), left_out.is_empty()) {
            (0, true) => format!("all systems agree: {events} events, 0 differences"),
            (0, false) => format!(
                "all that was compared agrees: {events} events, 0 differences (not compared: {})",
                left_out.join(", ")
            ),
            (differences, _) => {
                format!("not in agreement: {events} events, {differences} differences")
            }
        }
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_table(&self.rows, f)?;
        for system in &self.left_out {
            writeln!(
                f,
                "(the {system} is a real one: what it keeps is not compared)"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
