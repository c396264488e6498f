//! The EMR, which stands in for OpenMRS. It publishes: each change of a patient, an encounter, a drug or a
//! lab test is an event in the transaction of the change, on the feeds `patient`, `encounter`, `drug` and
//! `lab` under `/openmrs/ws/atomfeed`. And it consumes: the results that the lab sends become those of the
//! encounter, which is an event of the EMR again.
//!
//! | what | where |
//! |---|---|
//! | a login as that of OpenMRS | `GET /openmrs/ws/rest/v1/session` |
//! | a resource, which a PUT makes or replaces | `/openmrs/ws/rest/v1/{patient,encounter,drug,labtest}/{uuid}` |
//! | many drugs, as CSV | `POST /openmrs/ws/rest/v1/drug/upload` |
//! | the feeds | `/openmrs/ws/atomfeed/{category}/recent` |

mod answer;
mod checks;
mod client;
mod drug_file;
mod drugs;
mod encounters;
mod lab_tests;
mod orders;
mod patients;
mod resources;
mod results;
mod sending;
mod session;
mod tables;
#[cfg(test)]
mod testing;
mod upload;

use std::sync::Arc;

use anyhow::Context;
use atomfeed_client::{AtomFeedClients, CancellationToken};
use atomfeed_core::store::sql::SqlStore;
use atomfeed_server::{
    EventFeedService, FeedConfig, FeedRouter, FeedServer, Publisher, Sequencer, ServerLimits,
};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use url::Url;

use super::documents::{Drug, Encounter, LabTest, Patient};
use super::feeds::{Feeds, make_applied};
use super::{Engine, make_tables};
use resources::{Emr, put, show};
use results::Results;
use session::behind_login;
use upload::upload;

pub use client::EmrClient;
pub use upload::{Rejected, Uploaded};

/// Where the EMR is, and what it follows.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where readers reach it: `http://127.0.0.1:8050`. The links of its feeds begin so.
    pub public: Url,
    /// The lab, whose results it takes in.
    pub lab: Url,
}

/// Serves feeds and resources on a listener, and follows the lab, until it is to stop.
///
/// # Errors
///
/// When its tables cannot be made or read, or an address makes no feed.
pub async fn run<D: Engine>(
    store: SqlStore<D>,
    listener: TcpListener,
    options: Options,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    make_tables(&store, tables::TABLES).await?;
    make_applied(&store).await?;
    let sequencer = Sequencer::new(store.clone());
    let publisher = Publisher::new(store.clone()).waking(&sequencer);

    let address = options.public.join("/openmrs/ws/atomfeed")?;
    let config = FeedConfig::new(address).with_title("OpenMRS");
    let service = EventFeedService::open(store.clone(), config)
        .await
        .context("opening the feeds of the EMR")?
        .hearing(&sequencer);
    let feeds = FeedRouter::new(service).until(stop.clone()).into_router();
    let emr = Arc::new(Emr::new(store.clone(), publisher.clone()));
    let limits = ServerLimits::default().with_body_bytes(upload::LARGEST);
    let server = FeedServer::new(behind_login(app(emr, feeds))?).with_limits(limits);

    let lab = Feeds::of_lab(&options.lab).context("following the lab")?;
    let mut clients = AtomFeedClients::new(4);
    let results = Results::new(lab.resources(), publisher);
    lab.follow("patient", &store, results, &mut clients)?;

    tokio::join!(
        server.run(listener, stop.clone()),
        sequencer.run(stop.clone()),
        clients.run(stop),
    );
    Ok(())
}

/// What the EMR answers, for those whom it lets in.
fn app<D: Engine>(emr: Arc<Emr<D>>, feeds: Router) -> Router {
    let uploading = post(upload::<D>).layer(DefaultBodyLimit::max(upload::LARGEST));
    Router::new()
        .route(
            "/openmrs/ws/rest/v1/patient/{uuid}",
            get(show::<D, Patient>).put(put::<D, Patient>),
        )
        .route(
            "/openmrs/ws/rest/v1/encounter/{uuid}",
            get(show::<D, Encounter>).put(put::<D, Encounter>),
        )
        .route(
            "/openmrs/ws/rest/v1/drug/{uuid}",
            get(show::<D, Drug>).put(put::<D, Drug>),
        )
        .route(
            "/openmrs/ws/rest/v1/labtest/{uuid}",
            get(show::<D, LabTest>).put(put::<D, LabTest>),
        )
        .route("/openmrs/ws/rest/v1/drug/upload", uploading)
        .with_state(emr)
        .nest("/openmrs/ws/atomfeed", feeds)
}
