//! Which system follows which feed, and what it has applied of it.

use std::collections::BTreeMap;

use url::Url;

use super::row::Row;
use crate::hospital::house::databases::{self, Databases, Rows};
use crate::hospital::system::System;

/// Who follows which feeds of whom.
pub(crate) const FOLLOWED: [(System, System, &[&str]); 4] = [
    (System::Emr, System::Lab, &["patient", "lab", "encounter"]),
    (
        System::Emr,
        System::Erp,
        &["patient", "drug", "lab", "encounter"],
    ),
    (System::Emr, System::Imaging, &["patient", "encounter"]),
    (System::Lab, System::Emr, &["patient"]),
];

/// An event, and when something became of it, in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    event: String,
    at: i64,
}

/// A feed that a system follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flow {
    between: [System; 2],
    category: String,
    published: Vec<Moment>,
    applied: Vec<Moment>,
}

impl Flow {
    /// All of them, as they are now.
    pub(super) async fn all(databases: &Databases) -> anyhow::Result<Vec<Self>> {
        let emr = by_category(databases::published(&databases.emr).await?);
        let lab = by_category(databases::published(&databases.lab).await?);
        let mut flows = Vec::new();
        for (source, target, categories) in FOLLOWED {
            let select = "SELECT event_id, feed, applied_at FROM applied";
            let applied = databases::rows(databases.of_consumer(target), select).await?;
            let mut applied = by_feed(applied);
            let published = match source {
                System::Lab => &lab,
                _ => &emr,
            };
            let between = [source, target];
            for category in categories {
                flows.push(Self {
                    between,
                    category: (*category).to_owned(),
                    published: published.get(*category).cloned().unwrap_or_default(),
                    applied: applied.remove(*category).unwrap_or_default(),
                });
            }
            // Of a feed that nobody follows here: none of it was published for this system.
            flows.extend(applied.into_iter().map(|(category, applied)| Self {
                between,
                category,
                published: Vec::new(),
                applied,
            }));
        }
        Ok(flows)
    }

    /// Whether each event was applied once.
    pub(super) fn row(&self) -> Row {
        Row::of_events(
            &self.category,
            self.between,
            self.published.iter().map(|moment| moment.event.as_str()),
            self.applied.iter().map(|moment| moment.event.as_str()),
        )
    }

    /// From where to where, and what.
    pub(crate) fn name(&self) -> String {
        let [source, target] = self.between;
        format!("{source} → {target}, {}", self.category)
    }

    /// How long it took until each event was applied that was published from then on, the shortest first; in
    /// milliseconds.
    pub(crate) fn lags(&self, since: i64) -> Vec<i64> {
        let published = self.published.iter();
        let published: BTreeMap<&str, i64> = published
            .filter(|moment| moment.at >= since)
            .map(|moment| (moment.event.as_str(), moment.at))
            .collect();
        let lags = self.applied.iter().filter_map(|moment| {
            let published = published.get(moment.event.as_str())?;
            Some((moment.at - published).max(0))
        });
        let mut lags: Vec<_> = lags.collect();
        lags.sort_unstable();
        lags
    }

    /// When the last event was applied.
    pub(crate) fn last_applied(&self) -> Option<i64> {
        self.applied.iter().map(|moment| moment.at).max()
    }
}

/// Rows of event, category and time.
fn by_category(rows: Rows) -> BTreeMap<String, Vec<Moment>> {
    let mut all: BTreeMap<String, Vec<Moment>> = BTreeMap::new();
    for row in rows {
        let [event, category, at] = &row[..] else {
            continue;
        };
        let moments = all.entry(category.text().to_owned()).or_default();
        moments.push(Moment {
            event: uuid_of(event.text()).to_owned(),
            at: at.number(),
        });
    }
    all
}

/// The same, where the address of the feed stands in the place of the category.
fn by_feed(rows: Rows) -> BTreeMap<String, Vec<Moment>> {
    let rows = rows.into_iter().map(|mut row| {
        if let Some(feed) = row.get_mut(1) {
            *feed = category_of(feed.text()).into();
        }
        row
    });
    by_category(rows.collect())
}

/// The uuid in the id of an event.
fn uuid_of(event: &str) -> &str {
    event
        .strip_prefix("tag:atomfeed.ict4h.org:")
        .unwrap_or(event)
}

/// The category of a feed: `encounter` of `http://127.0.0.1:8050/openmrs/ws/atomfeed/encounter/recent`; of what is
/// no such address, all of it.
pub(crate) fn category_of(feed: &str) -> String {
    let url = Url::parse(feed).ok();
    let mut path = url.as_ref().and_then(Url::path_segments);
    let category = path.as_mut().and_then(|path| path.nth_back(1));
    category.unwrap_or(feed).to_owned()
}

#[cfg(test)]
pub(super) fn flow(published: &[(&str, i64)], applied: &[(&str, i64)]) -> Flow {
    let moments = |moments: &[(&str, i64)]| {
        let moment = |(event, at): &(&str, i64)| Moment {
            event: (*event).to_owned(),
            at: *at,
        };
        moments.iter().map(moment).collect()
    };
    Flow {
        between: [System::Emr, System::Lab],
        category: "patient".to_owned(),
        published: moments(published),
        applied: moments(applied),
    }
}
