//! What the EMR and the ERP both know. Customers and products without a reference a person has made in the ERP,
//! and they are its own affair; what is sold comes from the EMR, all of it.

use std::collections::BTreeSet;

use super::row::{Comparison, Row};
use crate::hospital::house::databases::{Rows, rows};
use crate::hospital::{Field, HospitalStore};

/// Compares all of it.
pub(super) async fn compared(emr: &HospitalStore, erp: &HospitalStore) -> anyhow::Result<Vec<Row>> {
    let [of_emr, of_erp] = PRODUCTS.selects;
    let services = rows(emr, SERVICES.selects[0]).await?;
    let (mut sold, served) = apart(rows(erp, of_erp).await?, &services);
    // What was a service, and is ordered no more, stays a product of the ERP.
    let gone = rows(emr, "SELECT uuid FROM renamed_services").await?;
    let gone: BTreeSet<&Field> = gone.iter().filter_map(|row| row.first()).collect();
    sold.retain(|row| row.first().is_none_or(|code| !gone.contains(code)));
    Ok(vec![
        CUSTOMERS.read(emr, erp).await?,
        PRODUCTS.of(rows(emr, of_emr).await?, sold),
        SERVICES.of(services, served),
        ORDERS.read(emr, erp).await?,
        LINES.read(emr, erp).await?,
        TOTALS.read(erp, erp).await?,
    ])
}

/// Products that are no services, and those that are, without what they cost.
pub(super) fn apart(products: Rows, services: &Rows) -> (Rows, Rows) {
    let services: BTreeSet<&Field> = services.iter().filter_map(|row| row.first()).collect();
    let is_service = |row: &Vec<Field>| row.first().is_some_and(|code| services.contains(code));
    let (mut served, sold): (Rows, Rows) = products.into_iter().partition(is_service);
    for row in &mut served {
        row.truncate(2);
    }
    (sold, served)
}

pub(super) const CUSTOMERS: Comparison = Comparison {
    what: "customers",
    between: ["EMR", "ERP"],
    columns: &["patient", "identifier", "name", "village"],
    selects: [
        "SELECT uuid, identifier, name, village FROM patients",
        "SELECT ref, COALESCE(barcode, ''), name, COALESCE(city, '') FROM res_partner
        WHERE ref IS NOT NULL",
    ],
};

pub(super) const PRODUCTS: Comparison = Comparison {
    what: "products",
    between: ["EMR", "ERP"],
    columns: &["code", "name", "price"],
    selects: [
        "SELECT uuid, name, price FROM drugs UNION ALL SELECT uuid, name, price FROM lab_tests",
        "SELECT default_code, name, list_price FROM product_product
        WHERE default_code IS NOT NULL",
    ],
};

/// They have a price in the ERP alone. One that was ordered under several names keeps there the one that came first,
/// and nobody can tell which that was.
pub(super) const SERVICES: Comparison = Comparison {
    what: "services",
    between: ["EMR", "ERP"],
    columns: &["code", "name"],
    selects: [
        "SELECT concept_uuid, CASE WHEN COUNT(DISTINCT concept_name) = 1
         AND concept_uuid NOT IN (SELECT uuid FROM renamed_services) THEN MIN(concept_name) END
        FROM orders WHERE kind = 'service' GROUP BY concept_uuid",
        PRODUCTS.selects[1],
    ],
};

/// The ERP may confirm one; to cancel it is for the EMR, which cancels what is ordered.
pub(super) const ORDERS: Comparison = Comparison {
    what: "sale orders",
    between: ["EMR", "ERP"],
    columns: &["encounter", "patient", "state"],
    selects: [
        "SELECT DISTINCT e.uuid, e.patient_uuid, 'not cancelled'
        FROM encounters e JOIN orders o ON o.encounter_uuid = e.uuid WHERE o.kind <> 'radiology'",
        "SELECT COALESCE(o.client_order_ref, 'id ' || CAST(o.id AS TEXT) || ', without a reference'),
         c.ref, CASE WHEN o.state IN ('draft', 'sent', 'sale') THEN 'not cancelled' ELSE o.state END
        FROM sale_order o LEFT JOIN res_partner c ON c.id = o.partner_id",
    ],
};

/// A line costs what the product did when it was written. So it costs what the EMR says as long as the drug or test
/// has never cost anything else: else the line may be from before or after, and its price is not compared; nor is
/// that of a service.
pub(super) const LINES: Comparison = Comparison {
    what: "sale order lines",
    between: ["EMR", "ERP"],
    columns: &[
        "order",
        "encounter",
        "patient",
        "product",
        "quantity",
        "price",
    ],
    selects: [
        "SELECT o.uuid, o.encounter_uuid, e.patient_uuid, o.concept_uuid,
         CASE WHEN o.action = 'DISCONTINUE' THEN 0 ELSE o.quantity END, once.price
        FROM orders o JOIN encounters e ON e.uuid = o.encounter_uuid
        LEFT JOIN (SELECT uuid, MIN(price) AS price FROM prices GROUP BY uuid
          HAVING COUNT(*) = 1 AND MIN(price) >= 0) once
         ON once.uuid = o.concept_uuid
        WHERE o.kind <> 'radiology'",
        "SELECT COALESCE(l.x_external_ref, 'id ' || CAST(l.id AS TEXT) || ', without a reference'),
         o.client_order_ref, c.ref, p.default_code, l.product_uom_qty, l.price_unit
        FROM sale_order_line l LEFT JOIN sale_order o ON o.id = l.order_id
        LEFT JOIN res_partner c ON c.id = o.partner_id
        LEFT JOIN product_product p ON p.id = l.product_id",
    ],
};

/// What orders come to, whatever their lines cost.
pub(super) const TOTALS: Comparison = Comparison {
    what: "totals",
    between: ["ERP lines", "ERP orders"],
    columns: &["encounter", "total"],
    selects: [
        "SELECT COALESCE(o.client_order_ref, 'id ' || CAST(o.id AS TEXT) || ', without a reference'),
         CAST(COALESCE(SUM(l.product_uom_qty * l.price_unit), 0) AS BIGINT)
        FROM sale_order o LEFT JOIN sale_order_line l ON l.order_id = o.id
        GROUP BY o.id, o.client_order_ref",
        "SELECT COALESCE(client_order_ref, 'id ' || CAST(id AS TEXT) || ', without a reference'),
         amount_total FROM sale_order",
    ],
};
