//! What the stand-in says to calls, as Odoo would.

use atomfeed_core::store::sql::SqlStore;
use atomfeed_examples::hospital::Engine;
use atomfeed_examples::hospital::documents::OrderKind;
use atomfeed_examples::hospital::erp::OdooError;
use serde_json::{Value, json};
use uuid::Uuid;

use super::erp::{drug, encounter, on_a_file, on_postgres, order, patient};
use super::{sell, stocked};

async fn nonsense_is_an_exception<D: Engine>(store: SqlStore<D>) {
    let erp = stocked(store).await;
    let before = erp.all_rows().await;
    let patient = json!(patient().uuid);
    let line = json!({ "product_id": 1, "product_uom_qty": 1 });
    let order = |lines: Value| json!({ "partner_id": 1, "order_line": lines });
    for (model, method, args, exception) in [
        ("res.country", "search", json!([[]]), "UserError"),
        ("res.partner", "explode", json!([]), "AttributeError"),
        ("res.partner", "create", json!([]), "TypeError"),
        ("res.partner", "create", json!([7]), "TypeError"),
        ("res.partner", "create", json!([{}]), "ValidationError"),
        (
            "res.partner",
            "create",
            json!([{ "name": "A", "x": 1 }]),
            "ValueError",
        ),
        (
            "res.partner",
            "create",
            json!([{ "name": ["A"] }]),
            "ValueError",
        ),
        (
            "res.partner",
            "create",
            json!([{ "name": "A", "ref": patient }]),
            "ValidationError",
        ),
        // All of a call, or nothing.
        (
            "res.partner",
            "create",
            json!([[{ "name": "A" }, { "name": "" }]]),
            "ValidationError",
        ),
        (
            "res.partner",
            "write",
            json!([[9], { "name": "A" }]),
            "MissingError",
        ),
        ("res.partner", "read", json!([[9]]), "MissingError"),
        (
            "res.partner",
            "read",
            json!([[1], ["nothing"]]),
            "ValueError",
        ),
        (
            "res.partner",
            "search",
            json!([[["nothing", "=", 1]]]),
            "ValueError",
        ),
        ("res.partner", "search", json!([["&"]]), "ValueError"),
        ("res.partner", "search", json!([[], "three"]), "TypeError"),
        (
            "res.users",
            "write",
            json!([[2], { "name": "A" }]),
            "NotImplementedError",
        ),
        (
            "product.product",
            "create",
            json!([{ "name": "A", "type": "drug" }]),
            "ValueError",
        ),
        (
            "sale.order",
            "create",
            json!([{ "partner_id": 9 }]),
            "MissingError",
        ),
        (
            "sale.order",
            "create",
            json!([order(json!([[0, 0, { "product_id": 9 }]]))]),
            "MissingError",
        ),
        (
            "sale.order",
            "create",
            json!([order(json!([[0, 0, line], [7]]))]),
            "NotImplementedError",
        ),
        (
            "sale.order",
            "create",
            json!([order(json!([[1, 9, {}]]))]),
            "MissingError",
        ),
        (
            "sale.order",
            "create",
            json!([order(json!("line"))]),
            "ValueError",
        ),
        (
            "sale.order",
            "create",
            json!([order(json!([[0, 0]]))]),
            "TypeError",
        ),
    ] {
        let answer = erp.odoo.execute_kw(model, method, args.clone(), json!({}));
        match answer.await {
            Err(OdooError::Exception { name, .. }) if name.ends_with(exception) => {}
            other => panic!("{model}.{method}{args} is no {exception} but {other:?}"),
        }
    }
    assert_eq!(erp.all_rows().await, before);
}

#[tokio::test]
async fn what_makes_no_sense_is_an_exception_of_odoo() {
    let (_folder, store) = on_a_file().await;
    nonsense_is_an_exception(store).await;
    if let Some(store) = on_postgres().await {
        nonsense_is_an_exception(store).await;
    }
}

async fn records_are_found<D: Engine>(store: SqlStore<D>) {
    let erp = stocked(store).await;
    sell(&erp, &encounter(&[order(1, OrderKind::Drug, 2)]))
        .await
        .unwrap();
    let names = ["Meena", "Ravi", "Sunita"].map(|name| json!({ "name": name, "city": "Ganiyari" }));
    let ids = erp.odoo.create("res.partner", &names).await.unwrap();
    assert_eq!(ids, [2, 3, 4]);
    for (model, method, args, kwargs, expected) in [
        (
            "res.partner",
            "search",
            json!([[]]),
            json!({}),
            json!([1, 2, 3, 4]),
        ),
        (
            "res.partner",
            "search",
            json!([]),
            json!({ "domain": [["city", "=", "Ganiyari"]], "order": "name desc", "offset": 1, "limit": 2 }),
            json!([3, 2]),
        ),
        (
            "res.partner",
            "search_count",
            json!([[["ref", "=", false]]]),
            json!({}),
            json!(3),
        ),
        (
            "res.partner",
            "name_get",
            json!([[2]]),
            json!({}),
            json!([[2, "Meena"]]),
        ),
        (
            "sale.order.line",
            "search_read",
            json!([
                [["order_id", "=", 1]],
                ["order_id", "product_id", "product_uom_qty"]
            ]),
            json!({}),
            json!([{
                "id": 1,
                "order_id": [1, "S00001"],
                "product_id": [1, format!("[{}] Paracetamol 500mg", drug().uuid)],
                "product_uom_qty": 2.0,
            }]),
        ),
        (
            "sale.order",
            "read",
            json!([[1], ["partner_id", "order_line", "state"]]),
            json!({ "load": "_classic_write" }),
            json!([{ "id": 1, "partner_id": 1, "order_line": [1], "state": "draft" }]),
        ),
        ("sale.order", "unlink", json!([[1]]), json!({}), json!(true)),
        (
            "sale.order.line",
            "search",
            json!([[]]),
            json!({}),
            json!([]),
        ),
        (
            "res.partner",
            "unlink",
            json!([[1]]),
            json!({}),
            json!(true),
        ),
    ] {
        let answer = erp
            .odoo
            .execute_kw(model, method, args.clone(), kwargs)
            .await;
        assert_eq!(answer.unwrap(), expected, "{model}.{method}{args}");
    }
    // A unique value may be given again once nobody has it.
    erp.workers.partners.apply(&patient()).await.unwrap();
    let found = json!([["ref", "=", Uuid::from_u128(1)]]);
    let found = erp.odoo.search_read("res.partner", found, &["ref"]).await;
    assert_eq!(found.unwrap()[0]["id"], 5);
}

#[tokio::test]
async fn records_are_found_and_read_as_in_odoo() {
    let (_folder, store) = on_a_file().await;
    records_are_found(store).await;
    if let Some(store) = on_postgres().await {
        records_are_found(store).await;
    }
}
