//! One thing that two systems both know, and whether they know the same of it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::hospital::house::databases::{Rows, rows};
use crate::hospital::system::System;
use crate::hospital::{Field, HospitalStore};

/// What two systems know of one kind of thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    what: String,
    from: Side,
    to: Side,
    missing: Vec<String>,
    unexpected: Vec<String>,
    different: Vec<String>,
}

/// A system, and how many it has.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Side {
    name: String,
    count: usize,
}

/// How things are compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Comparison {
    /// What they are.
    pub(super) what: &'static str,
    /// Where they come from, and where they went.
    pub(super) between: [&'static str; 2],
    /// What the columns are; the first is the name of the thing.
    pub(super) columns: &'static [&'static str],
    /// How they are read, there and there.
    pub(super) selects: [&'static str; 2],
}

impl Comparison {
    /// Reads what is there and what went, and compares both.
    pub(super) async fn read(
        &self,
        source: &HospitalStore,
        target: &HospitalStore,
    ) -> anyhow::Result<Row> {
        let [of_source, of_target] = self.selects;
        let from = rows(source, of_source).await?;
        Ok(self.of(from, rows(target, of_target).await?))
    }

    /// Compares what is there with what went. A column of which the source says nothing (NULL) may be anything.
    pub(super) fn of(&self, from: Rows, to: Rows) -> Row {
        let [source, target] = self.between;
        let mut row = Row::new(self.what, (source, from.len()), (target, to.len()));
        let mut there: BTreeMap<Field, Vec<Field>> = BTreeMap::new();
        for values in to {
            let name = values.first().cloned().unwrap_or(Field::Null);
            if let Some(other) = there.insert(name, values) {
                let name = shown(other.first());
                row.unexpected
                    .push(format!("{name}: it is there several times"));
            }
        }
        for values in from {
            let name = values.first().cloned().unwrap_or(Field::Null);
            let Some(other) = there.remove(&name) else {
                row.missing.push(shown(Some(&name)));
                continue;
            };
            let differences = self.differences(&values, &other);
            if !differences.is_empty() {
                let name = shown(Some(&name));
                row.different.push(format!("{name}: {differences}"));
            }
        }
        let rest = there.keys().map(|name| shown(Some(name)));
        row.unexpected.extend(rest);
        row
    }

    /// What is different between two rows, in words; nothing where they are the same.
    fn differences(&self, values: &[Field], others: &[Field]) -> String {
        let [source, target] = self.between;
        let columns = self.columns.iter().zip(values.iter().zip(others));
        let differences = columns.filter(|(_, (value, other))| match value {
            Field::Null => false,
            Field::Text(_) | Field::Number(_) => value != other,
        });
        let differences: Vec<_> = differences
            .map(|(column, (value, other))| {
                let (value, other) = (shown(Some(value)), shown(Some(other)));
                format!("{column} is {value} in {source}, {other} in {target}")
            })
            .collect();
        differences.join("; ")
    }
}

fn shown(field: Option<&Field>) -> String {
    match field {
        Some(Field::Text(text)) if !text.is_empty() => text.clone(),
        Some(Field::Number(number)) => number.to_string(),
        Some(Field::Text(_) | Field::Null) | None => "nothing".to_owned(),
    }
}

impl Row {
    fn new<N: Into<String>>(what: impl Into<String>, from: (N, usize), to: (N, usize)) -> Self {
        let side = |(name, count): (N, usize)| Side {
            name: name.into(),
            count,
        };
        Self {
            what: what.into(),
            from: side(from),
            to: side(to),
            missing: Vec::new(),
            unexpected: Vec::new(),
            different: Vec::new(),
        }
    }

    /// Compares the events that were published with those that were applied: each is to be there once.
    pub(super) fn of_events<'a>(
        category: &str,
        between: [System; 2],
        published: impl ExactSizeIterator<Item = &'a str>,
        applied: impl ExactSizeIterator<Item = &'a str>,
    ) -> Self {
        let [source, target] = between.map(|system| system.to_string());
        let what = format!("events: {category}");
        let mut row = Self::new(what, (source, published.len()), (target, applied.len()));
        let mut times: HashMap<&str, usize> = HashMap::new();
        let mut order = Vec::new();
        for event in applied {
            let times = times.entry(event).or_default();
            *times += 1;
            if *times == 1 {
                order.push(event);
            }
        }
        let mut left = times.clone();
        for event in published {
            if left.remove(event).is_none() {
                row.missing.push(format!("{event}: it was not applied"));
            }
        }
        for event in order {
            let times = times[event];
            if times > 1 {
                row.unexpected
                    .push(format!("{event}: it was applied {times} times"));
            }
            if left.contains_key(event) {
                row.unexpected
                    .push(format!("{event}: it was never published"));
            }
        }
        row
    }

    /// Compares how many events were to come with how many there are.
    pub(super) fn of_count(expected: usize, there: usize) -> Self {
        let (day, hospital) = (("the day", expected), ("EMR and lab", there));
        let mut row = Self::new("events, all", day, hospital);
        let numbered = |count: usize| (1..=count).map(move |n| format!("event {n} of {count}"));
        row.missing.extend(numbered(expected.saturating_sub(there)));
        row.unexpected
            .extend(numbered(there.saturating_sub(expected)));
        row
    }

    /// How many differences there are.
    pub(crate) fn count(&self) -> usize {
        self.missing.len() + self.unexpected.len() + self.different.len()
    }

    /// Each difference, in words.
    pub(crate) fn differences(&self) -> impl Iterator<Item = String> {
        let Self { what, from, to, .. } = self;
        let missing = self
            .missing
            .iter()
            .map(move |name| format!("{what}: missing in {}: {name}", to.name));
        let unexpected = self
            .unexpected
            .iter()
            .map(move |name| format!("{what}: in {} and not in {}: {name}", to.name, from.name));
        let different = self
            .different
            .iter()
            .map(move |said| format!("{what}: different: {said}"));
        missing.chain(unexpected).chain(different)
    }

    /// What stands above the columns.
    const HEAD: [&'static str; 8] = [
        "what",
        "in",
        "rows",
        "in",
        "rows",
        "missing",
        "unexpected",
        "different",
    ];

    fn cells(&self) -> [String; 8] {
        [
            self.what.clone(),
            self.from.name.clone(),
            self.from.count.to_string(),
            self.to.name.clone(),
            self.to.count.to_string(),
            self.missing.len().to_string(),
            self.unexpected.len().to_string(),
            self.different.len().to_string(),
        ]
    }
}

/// Rows as a table: texts to the left, numbers to the right.
pub(super) fn write_table(rows: &[Row], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let head = Row::HEAD.map(str::to_owned);
    let lines: Vec<_> = std::iter::once(head)
        .chain(rows.iter().map(Row::cells))
        .collect();
    let widths: [usize; 8] = std::array::from_fn(|column| {
        let widths = lines.iter().map(|line| line[column].chars().count());
        widths.max().unwrap_or(0)
    });
    for line in &lines {
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            match column {
                0 => write!(f, "{cell:<width$}")?,
                1 | 3 => write!(f, "  {cell:<width$}")?,
                _ => write!(f, "  {cell:>width$}")?,
            }
        }
        writeln!(f)?;
    }
    Ok(())
}
