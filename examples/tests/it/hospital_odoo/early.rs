//! An encounter that comes before its patient, by the feeds, with their consumers at work.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atomfeed_client::{
    AtomFeedClient, AtomFeedClientBuilder, AtomFeedClients, CancellationToken, HttpFeedSource,
    Outcome,
};
use atomfeed_core::store::MemoryStore;
use atomfeed_examples::hospital::documents::{OrderAction, OrderKind};
use atomfeed_examples::hospital::erp::{Partners, SaleOrders};
use serde_json::json;

use super::emr::Emr;
use super::erp::{Erp, drug, encounter, line, on_a_file, order, patient};
use crate::programs::PATIENCE;

/// What became of events, by their contents.
type Outcomes = Arc<Mutex<Vec<(&'static str, String)>>>;

/// Looks every moment, and tries again for as long as a test may take.
fn impatient(client: AtomFeedClientBuilder) -> AtomFeedClientBuilder {
    client
        .interval(Duration::from_millis(50))
        .wait_for_news(Duration::ZERO)
        .retry_delays(Duration::from_millis(50), Duration::from_secs(1))
        .max_retries(10_000)
}

/// Writes down what becomes of events; not of those that are tried again in vain.
fn write_down(outcomes: Outcomes) -> impl Fn(&Outcome<'_>) + Send + Sync + 'static {
    move |outcome: &Outcome<'_>| {
        let (what, event) = match outcome {
            Outcome::Applied { event } => ("applied", event),
            Outcome::Parked { event, .. } => ("parked", event),
            Outcome::Held { event, .. } => ("held", event),
            Outcome::Retried { event } => ("applied in the end", event),
            _ => return,
        };
        let content = event.content().to_owned();
        outcomes.lock().unwrap().push((what, content));
    }
}

/// Polls until so much has become of events.
async fn wait_for(outcomes: &Outcomes, count: usize) -> Vec<(&'static str, String)> {
    let begun = Instant::now();
    loop {
        let seen = outcomes.lock().unwrap().clone();
        if seen.len() >= count {
            return seen;
        }
        assert!(begun.elapsed() < PATIENCE, "that is all: {seen:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_encounter_that_comes_before_its_patient_is_sold_in_the_end_and_in_order() {
    let (_folder, store) = on_a_file().await;
    let erp = Erp::of(store).await;
    erp.workers.drugs.apply(&drug()).await.unwrap();
    erp.take_asked();

    let emr = Emr::start().await;
    let source = HttpFeedSource::new(&emr.feed("encounter")).unwrap();
    let sales = SaleOrders::new(erp.odoo.clone(), source.resources());
    let customers = Partners::new(erp.odoo.clone(), source.resources());
    let client = |category| {
        let client = AtomFeedClient::builder(emr.feed(category), source.clone());
        impatient(client)
    };
    let outcomes = Outcomes::default();
    let markers = MemoryStore::new();
    let mut clients = AtomFeedClients::new(1);
    let encounters = client("encounter").on_outcome(write_down(Arc::clone(&outcomes)));
    clients.add(encounters.build(markers.clone(), sales));
    clients.add(client("patient").build(markers, customers));
    let stop = CancellationToken::new();
    let running = tokio::spawn(clients.run(stop.clone()));

    let ordered = encounter(&[order(1, OrderKind::Drug, 10)]);
    let mut changed = ordered.clone();
    changed.orders[0].action = OrderAction::Revise;
    changed.orders[0].quantity = 15;
    let path = format!("/openmrs/ws/rest/v1/encounter/{}", ordered.uuid);
    let [first, second] = ["1", "2"].map(|version| format!("{path}?v=full&version={version}"));
    emr.publishes("encounter", &first, &json!(ordered)).await;
    emr.publishes("encounter", &second, &json!(changed)).await;
    let waiting = [("parked", first.clone()), ("held", second.clone())];
    assert_eq!(wait_for(&outcomes, 2).await, waiting);

    let whose = format!("/openmrs/ws/rest/v1/patient/{}?v=full", patient().uuid);
    emr.publishes("patient", &whose, &json!(patient())).await;
    wait_for(&outcomes, 4).await;
    stop.cancel();
    running.await.unwrap();
    let sold = ["applied in the end"; 2].into_iter().zip([first, second]);
    let all: Vec<_> = waiting.into_iter().chain(sold).collect();
    assert_eq!(*outcomes.lock().unwrap(), all, "once each, in order");

    let written = erp.take_asked().into_iter();
    let written: Vec<_> = written
        .filter(|call| call.ends_with(".create") || call.ends_with(".write"))
        .collect();
    let expected = [
        "res.partner.create",
        "sale.order.create",
        "sale.order.write",
    ];
    assert_eq!(written, expected);
    assert_eq!(erp.lines().await, [line(&changed.orders[0], 15)]);
}
