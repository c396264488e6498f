//! Imaging: tells a PACS of every radiology order that the EMR publishes, as HL7 v2.5 (ORM^O01) over MLLP.
//!
//! [`orders`] is the worker, [`messages`] what it sends and gets back. [`hl7`] and [`mllp`](self::mllp) are how
//! that is written and sent. [`receiver`] stands in for the PACS.

pub mod hl7;
pub mod messages;
pub mod mllp;
pub mod orders;
pub mod receiver;

use atomfeed_client::{AtomFeedClients, CancellationToken};
use atomfeed_core::store::sql::SqlStore;
use url::Url;

use self::mllp::Sender;
use self::orders::{MAKE_SENT, RadiologyOrders};
use super::feeds::{Feeds, make_applied};
use super::{Engine, make_tables};

/// Where the others are.
#[derive(Debug, Clone)]
pub struct Options {
    /// The EMR: `http://127.0.0.1:8050`.
    pub emr: Url,
    /// The PACS, `HOST:PORT` of MLLP: `127.0.0.1:2575`.
    pub modality: String,
}

/// Follows the encounters of the EMR until `stop` is cancelled.
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
    make_tables(&store, &[MAKE_SENT]).await?;
    let feeds = Feeds::of_emr(&options.emr)?;
    let worker = RadiologyOrders::new(feeds.resources(), Sender::new(options.modality));
    let mut clients = AtomFeedClients::new(1);
    feeds.follow("encounter", &store, worker, &mut clients)?;
    clients.run(stop).await;
    Ok(())
}
