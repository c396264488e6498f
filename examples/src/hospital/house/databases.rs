//! The databases of all systems, opened once: for the console, and to see whether all agree.

use std::collections::BTreeSet;

use anyhow::Context;
use atomfeed_core::Rebase;
use atomfeed_core::store::ConsoleStore;
use atomfeed_core::store::sql::SqlStore;
use url::Url;

use crate::hospital::system::{Addresses, RealSystems, System};
use crate::hospital::{Data, Engine, Field, HospitalStore, Sql};
use crate::with_store;

/// Rows of a query.
pub(super) type Rows = Vec<Vec<Field>>;

/// One of each; none where there is something real in the place of a stand-in.
#[derive(Debug, Clone)]
pub(super) struct Databases {
    pub(super) emr: HospitalStore,
    pub(super) lab: HospitalStore,
    pub(super) erp: Option<HospitalStore>,
    pub(super) erp_feeds: HospitalStore,
    pub(super) imaging: Option<HospitalStore>,
    pub(super) imaging_feeds: HospitalStore,
}

impl Databases {
    /// Opens all of them, with the tables of feeds.
    pub(super) async fn open(data: &Data, real: &RealSystems) -> anyhow::Result<Self> {
        Ok(Self {
            emr: data.open("emr").await?,
            lab: data.open("lab").await?,
            erp: match real.odoo {
                None => Some(data.open("erp").await?),
                Some(_) => None,
            },
            erp_feeds: data.open("erp_feeds").await?,
            imaging: match real.modality {
                None => Some(data.open("imaging").await?),
                Some(_) => None,
            },
            imaging_feeds: data.open("imaging_feeds").await?,
        })
    }

    /// The database in which a system keeps how far it has read.
    pub(super) fn of_consumer(&self, system: System) -> &HospitalStore {
        match system {
            System::Emr => &self.emr,
            System::Lab => &self.lab,
            System::Erp => &self.erp_feeds,
            System::Imaging => &self.imaging_feeds,
        }
    }

    /// Has the markers follow systems that had other addresses when these databases were used last: a feed is
    /// known by its address, and one that is not known is read from its beginning.
    pub(super) async fn follow(&self, addresses: &Addresses) -> anyhow::Result<()> {
        for system in System::ALL {
            let source = match system {
                System::Emr => System::Lab,
                _ => System::Emr,
            };
            let source = addresses.url(source)?;
            let moved =
                with_store!(self.of_consumer(system), store => rebase(store, &source).await);
            moved.with_context(|| format!("having the {system} find its feeds at {source}"))?;
        }
        Ok(())
    }

    /// How many events there are in the EMR and the lab.
    pub(super) async fn events(&self) -> anyhow::Result<i64> {
        let count = "SELECT (SELECT COUNT(*) FROM event_records)
            + (SELECT COUNT(*) FROM event_records_queue)";
        let mut events = 0;
        for publisher in [&self.emr, &self.lab] {
            events += number(publisher, count).await?;
        }
        Ok(events)
    }
}

async fn rebase(store: &dyn ConsoleStore, source: &Url) -> anyhow::Result<()> {
    let mut work = store.change().await?;
    let markers = work.markers().await?;
    let roots = markers.iter().map(|marker| {
        let feed = Url::parse(marker.feed_uri().as_str())?;
        feed.join("/")
    });
    let roots: BTreeSet<Url> = roots.collect::<Result<_, _>>()?;
    for root in roots.iter().filter(|root| *root != source) {
        work.rebase(&Rebase::new(root, source)).await?;
    }
    work.commit().await?;
    Ok(())
}

/// The rows of a query, which is the same for both kinds of databases.
pub(super) async fn rows(store: &HospitalStore, sql: &'static str) -> anyhow::Result<Rows> {
    with_store!(store, store => read(store, sql).await)
}

/// The number that a query answers.
pub(super) async fn number(store: &HospitalStore, sql: &'static str) -> anyhow::Result<i64> {
    let rows = rows(store, sql).await?;
    let first = rows.first().and_then(|row| row.first());
    Ok(first.map_or(0, Field::number))
}

/// Uuid, category and time of every event that was published, oldest first.
pub(super) async fn published(store: &HospitalStore) -> anyhow::Result<Rows> {
    with_store!(store, store => read(store, all_of(store)).await)
}

fn all_of<D: Engine>(_store: &SqlStore<D>) -> &'static str {
    D::PUBLISHED
}

async fn read<D: Engine>(store: &SqlStore<D>, sql: &'static str) -> anyhow::Result<Rows> {
    let mut conn = store.pool().acquire().await?;
    let rows = conn.rows(sql, &[]).await;
    rows.with_context(|| format!("reading {sql}"))
}
