//! Customers, products and sale orders in what stands in for Odoo: how a client reads them that we did not write,
//! and what becomes of documents that come again, late, too early, or that somebody has to approve.

#![allow(clippy::unwrap_used)]

mod away;
mod calls;
mod early;
mod emr;
mod erp;
mod python;

use atomfeed_client::{Handled, WorkerError};
use atomfeed_core::store::sql::SqlStore;
use atomfeed_examples::hospital::documents::{Drug, Encounter, OrderAction, OrderKind, Patient};
use atomfeed_examples::hospital::erp::Put;
use atomfeed_examples::hospital::{Engine, Field};
use serde_json::json;

use self::erp::{
    Erp, Workers, drug, encounter, lab_test, line, on_a_file, on_postgres, order, patient,
};

/// With what every sale needs.
async fn stocked<D: Engine>(store: SqlStore<D>) -> Erp<D> {
    let erp = Erp::of(store).await;
    erp.workers.partners.apply(&patient()).await.unwrap();
    erp.workers.drugs.apply(&drug()).await.unwrap();
    erp.workers.tests.apply(&lab_test()).await.unwrap();
    erp.take_asked();
    erp
}

/// Looks up, then sells, as the worker does between fetching the encounter and moving the marker.
async fn sell<D: Engine>(erp: &Erp<D>, encounter: &Encounter) -> Result<Handled, WorkerError> {
    sell_by(&erp.workers, encounter, false).await
}

/// The same, where somebody has approved.
async fn sell_approved<D: Engine>(erp: &Erp<D>, encounter: &Encounter) {
    let sold = sell_by(&erp.workers, encounter, true).await;
    assert_eq!(sold.unwrap(), Handled::Applied);
}

async fn sell_by(
    workers: &Workers,
    encounter: &Encounter,
    is_approved: bool,
) -> Result<Handled, WorkerError> {
    match workers.orders.look_up(encounter.clone()).await? {
        Some(sale) => workers.orders.sell(&sale, is_approved).await,
        None => Ok(Handled::Ignored),
    }
}

async fn what_comes_again_writes_nothing<D: Engine>(store: SqlStore<D>) {
    let erp = Erp::of(store).await;
    let Workers {
        partners,
        drugs,
        tests,
        ..
    } = &erp.workers;
    for expected in [Put::Created, Put::Unchanged] {
        assert_eq!(partners.apply(&patient()).await.unwrap(), expected);
        assert_eq!(drugs.apply(&drug()).await.unwrap(), expected);
        assert_eq!(tests.apply(&lab_test()).await.unwrap(), expected);
    }
    erp.take_asked();

    let orders = [
        order(1, OrderKind::Drug, 10),
        order(2, OrderKind::Lab, 1),
        order(3, OrderKind::Radiology, 1),
        order(4, OrderKind::Service, 2),
    ];
    let encounter = encounter(&orders);
    assert_eq!(sell(&erp, &encounter).await.unwrap(), Handled::Applied);
    let asked = [
        "res.partner.search_read",
        "product.product.search_read",
        // The service is new.
        "product.product.search_read",
        "product.product.create",
        "sale.order.search_read",
        "sale.order.create",
    ];
    assert_eq!(erp.take_asked(), asked);
    let [drug, test, _, service] = &orders;
    let lines = [line(drug, 10), line(test, 1), line(service, 2)];
    assert_eq!(erp.lines().await, lines);

    let written = erp.all_rows().await;
    assert_eq!(sell(&erp, &encounter).await.unwrap(), Handled::Applied);
    let asked = [
        "res.partner.search_read",
        "product.product.search_read",
        "sale.order.search_read",
        "sale.order.line.search_read",
    ];
    assert_eq!(erp.take_asked(), asked);
    assert_eq!(erp.all_rows().await, written);
}

#[tokio::test]
async fn what_comes_a_second_time_writes_nothing() {
    let (_folder, store) = on_a_file().await;
    what_comes_again_writes_nothing(store).await;
    if let Some(store) = on_postgres().await {
        what_comes_again_writes_nothing(store).await;
    }
}

async fn changes_are_written<D: Engine>(store: SqlStore<D>) {
    let erp = stocked(store).await;
    let moved = Patient {
        village: "Dhamtari".to_owned(),
        ..patient()
    };
    let put = erp.workers.partners.apply(&moved).await.unwrap();
    assert_eq!(put, Put::Written);
    let dearer = Drug {
        price: 1299,
        ..drug()
    };
    let put = erp.workers.drugs.apply(&dearer).await.unwrap();
    assert_eq!(put, Put::Written);
    let [partners, products, ..] = erp.all_rows().await;
    assert_eq!(partners[0][4], Field::from("Dhamtari"));
    assert_eq!(products[0][3], Field::from(1299));

    let mut orders = vec![order(1, OrderKind::Drug, 10), order(2, OrderKind::Lab, 1)];
    sell(&erp, &encounter(&orders)).await.unwrap();
    orders[0].action = OrderAction::Revise;
    orders[0].quantity = 15;
    orders[1].action = OrderAction::Discontinue;
    orders.push(order(3, OrderKind::Lab, 1));
    // Cancelled before it came.
    orders.push(order(4, OrderKind::Drug, 3));
    orders[3].action = OrderAction::Discontinue;
    erp.take_asked();
    sell(&erp, &encounter(&orders)).await.unwrap();
    let asked = erp.take_asked();
    assert_eq!(asked.len(), 5, "{asked:?}");
    assert_eq!(asked.last().unwrap(), "sale.order.write");
    let lines = [
        line(&orders[0], 15),
        line(&orders[1], 0),
        line(&orders[2], 1),
        line(&orders[3], 0),
    ];
    assert_eq!(erp.lines().await, lines);
    let [_, _, sold, _] = erp.all_rows().await;
    assert_eq!(sold.len(), 1);
    assert_eq!(sold[0][4], Field::from(15 * 1299 + 8000), "what it costs");
}

#[tokio::test]
async fn what_changes_is_written_and_what_is_cancelled_sells_nothing() {
    let (_folder, store) = on_a_file().await;
    changes_are_written(store).await;
    if let Some(store) = on_postgres().await {
        changes_are_written(store).await;
    }
}

async fn too_much_is_refused<D: Engine>(store: SqlStore<D>) {
    let erp = stocked(store).await;
    let just_so = encounter(&[order(1, OrderKind::Drug, 8000)]);
    let too_much = encounter(&[order(1, OrderKind::Drug, 8001)]);
    let before = erp.all_rows().await;
    let error = sell(&erp, &too_much).await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
    let said = error.to_string();
    for part in [
        "of Asha Verma comes to 100012.50",
        "exceeds the limit of 100000.00 for one order: have it approved",
        "odoo.exceptions.ValidationError",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(erp.all_rows().await, before);

    sell(&erp, &just_so).await.unwrap();
    let before = erp.all_rows().await;
    assert!(sell(&erp, &too_much).await.is_err());
    assert_eq!(erp.all_rows().await, before);

    sell_approved(&erp, &too_much).await;
    let [_, _, sold, lines] = erp.all_rows().await;
    assert_eq!(sold[0][5], Field::from(1), "it is approved");
    assert_eq!(lines[0][4], Field::from(8001));
    // What comes later of the same encounter needs nobody's word any more.
    sell(&erp, &encounter(&[order(1, OrderKind::Drug, 9000)]))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_costs_too_much_is_refused_until_somebody_approves() {
    let (_folder, store) = on_a_file().await;
    too_much_is_refused(store).await;
    if let Some(store) = on_postgres().await {
        too_much_is_refused(store).await;
    }
}

#[tokio::test]
async fn what_is_dear_from_the_start_is_sold_once_it_is_approved() {
    let (_folder, store) = on_a_file().await;
    let erp = stocked(store).await;
    let dear = encounter(&[order(1, OrderKind::Drug, 9000)]);
    assert!(sell(&erp, &dear).await.is_err());
    sell_approved(&erp, &dear).await;
    assert_eq!(erp.lines().await, [line(&dear.orders[0], 9000)]);
}

#[tokio::test]
async fn what_comes_too_early_is_permanent_and_is_sold_later() {
    let (_folder, store) = on_a_file().await;
    let erp = Erp::of(store).await;
    let early = encounter(&[order(1, OrderKind::Drug, 1), order(2, OrderKind::Lab, 1)]);
    let refused = async |missing: &str| {
        let error = sell(&erp, &early).await.unwrap_err();
        assert!(!error.is_transient(), "{error}");
        assert!(error.to_string().contains(missing), "{error}");
    };
    refused(&format!("patient {} yet", patient().uuid)).await;
    erp.workers.partners.apply(&patient()).await.unwrap();
    refused("product for Paracetamol 500mg").await;
    refused("Haemoglobin").await;
    erp.workers.drugs.apply(&drug()).await.unwrap();
    refused("product for Haemoglobin").await;
    assert!(erp.lines().await.is_empty());
    erp.workers.tests.apply(&lab_test()).await.unwrap();
    assert_eq!(sell(&erp, &early).await.unwrap(), Handled::Applied);
    assert_eq!(erp.lines().await.len(), 2);
}

#[tokio::test]
async fn an_encounter_that_sells_nothing_is_ignored() {
    let (_folder, store) = on_a_file().await;
    let erp = stocked(store).await;
    for orders in [vec![], vec![order(1, OrderKind::Radiology, 1)]] {
        let handled = sell(&erp, &encounter(&orders)).await.unwrap();
        assert_eq!(handled, Handled::Ignored);
    }
    assert_eq!(erp.take_asked(), [""; 0]);
}

#[tokio::test]
async fn a_line_that_somebody_added_in_odoo_stays() {
    let (_folder, store) = on_a_file().await;
    let erp = stocked(store).await;
    let drug = order(1, OrderKind::Drug, 1);
    let gone = order(2, OrderKind::Lab, 1);
    sell(&erp, &encounter(&[drug.clone(), gone.clone()]))
        .await
        .unwrap();
    let by_hand = json!({ "order_id": 1, "product_id": 2, "product_uom_qty": 7 });
    erp.odoo
        .create("sale.order.line", &[by_hand])
        .await
        .unwrap();
    sell(&erp, &encounter(std::slice::from_ref(&drug)))
        .await
        .unwrap();
    let mut lines = erp.lines().await;
    lines.sort();
    let by_hand = (String::new(), lab_test().name, 7);
    assert_eq!(lines, [by_hand, line(&drug, 1), line(&gone, 0)]);
}
