//! Imaging: tells a PACS of every radiology order that the EMR publishes, and of whom it is for, as HL7 v2.5
//! (ORM^O01) over MLLP.
//!
//! [`orders`] and [`patients`] are the workers of the feeds `encounter` and `patient`, [`messages`] what they send
//! and get back. [`hl7`] and [`mllp`] are how that is written and sent. [`receiver`] stands in for
//! the PACS.

pub mod hl7;
pub mod messages;
pub mod mllp;
pub mod orders;
pub mod patients;
pub mod receiver;
mod sent;

use std::sync::Arc;

use atomfeed_client::{AtomFeedClients, CancellationToken};
use atomfeed_core::store::sql::SqlStore;
use url::Url;

use self::mllp::Sender;
use self::orders::RadiologyOrders;
use self::patients::PatientsOfOrders;
use super::feeds::{Feeds, make_applied};
use super::{Engine, make_tables};

/// Statements that make the tables of both workers.
pub const TABLES: &[&str] = &[sent::MAKE, sent::MAKE_INDEX, patients::MAKE];

/// Where the others are.
#[derive(Debug, Clone)]
pub struct Options {
    /// The EMR: `http://127.0.0.1:8050`.
    pub emr: Url,
    /// The PACS, `HOST:PORT` of MLLP: `127.0.0.1:2575`.
    pub modality: String,
}

/// Follows the encounters and the patients of the EMR until `stop` is cancelled.
///
/// # Errors
///
/// When its tables cannot be made, or the EMR's address is none.
pub async fn run<D: Engine>(
    store: SqlStore<D>,
    options: Options,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    make_applied(&store).await?;
    make_tables(&store, TABLES).await?;
    let feeds = Feeds::of_emr(&options.emr)?;
    let pacs = Arc::new(Sender::new(options.modality));
    // One at a time: both send over the same connection, with a transaction open.
    let mut clients = AtomFeedClients::new(1);
    let orders = RadiologyOrders::new(feeds.resources(), Arc::clone(&pacs));
    feeds.follow("encounter", &store, orders, &mut clients)?;
    let patients = PatientsOfOrders::new(feeds.resources(), pacs);
    feeds.follow("patient", &store, patients, &mut clients)?;
    clients.run(stop).await;
    Ok(())
}
