//! What the EMR and the lab both know.

use super::row::{Comparison, Row};
use crate::hospital::house::databases::{Databases, Rows, rows};

/// Compares all of it.
pub(super) async fn compared(databases: &Databases) -> anyhow::Result<Vec<Row>> {
    let Databases { emr, lab, .. } = databases;
    let [of_emr, of_lab] = ORDERED_RESULTS.selects;
    let ordered = expected(rows(emr, of_emr).await?);
    Ok(vec![
        PATIENTS.read(emr, lab).await?,
        TESTS.read(emr, lab).await?,
        ORDERS.read(emr, lab).await?,
        ORDERED_RESULTS.of(ordered, rows(lab, of_lab).await?),
        RESULTS.read(lab, emr).await?,
    ])
}

pub(super) const PATIENTS: Comparison = Comparison {
    what: "patients",
    between: ["EMR", "lab"],
    columns: &[
        "uuid",
        "identifier",
        "name",
        "gender",
        "birthdate",
        "village",
    ],
    selects: ["SELECT uuid, identifier, name, gender, birthdate, village FROM patients"; 2],
};

pub(super) const TESTS: Comparison = Comparison {
    what: "tests and panels",
    between: ["EMR", "lab"],
    columns: &["uuid", "name", "unit", "members"],
    selects: [
        "SELECT uuid, name, unit, members FROM lab_tests",
        "SELECT uuid, name, unit, members FROM tests",
    ],
};

/// Whether one has its result, the results tell.
pub(super) const ORDERS: Comparison = Comparison {
    what: "lab orders",
    between: ["EMR", "lab"],
    columns: &[
        "uuid",
        "encounter",
        "patient",
        "order number",
        "test",
        "state",
    ],
    selects: [
        "SELECT o.uuid, o.encounter_uuid, e.patient_uuid, o.order_number, o.concept_uuid,
         CASE WHEN o.action = 'DISCONTINUE' THEN 'cancelled' ELSE 'ordered' END
        FROM orders o JOIN encounters e ON e.uuid = o.encounter_uuid WHERE o.kind = 'lab'",
        "SELECT uuid, encounter_uuid, patient_uuid, order_number, test_uuid,
         CASE WHEN state = 'cancelled' THEN 'cancelled' ELSE 'ordered' END FROM orders",
    ],
};

/// What is ordered and not cancelled has its results, and nothing else has. What they say, the lab alone knows.
pub(super) const ORDERED_RESULTS: Comparison = Comparison {
    what: "results ordered",
    between: ["EMR", "lab"],
    columns: &["order and test", "encounter", "patient"],
    selects: [
        "SELECT o.uuid, o.concept_uuid, t.members, o.encounter_uuid, e.patient_uuid
        FROM orders o JOIN encounters e ON e.uuid = o.encounter_uuid
        LEFT JOIN lab_tests t ON t.uuid = o.concept_uuid
        WHERE o.kind = 'lab' AND o.action <> 'DISCONTINUE'",
        "SELECT r.order_uuid || ' ' || r.test_uuid, a.encounter_uuid, a.patient_uuid
        FROM results r LEFT JOIN accessions a ON a.uuid = r.accession_uuid",
    ],
};

/// The results that orders are to have: one for the test, or one for each member of the panel, as that is now.
pub(super) fn expected(orders: Rows) -> Rows {
    let mut expected = Rows::new();
    for order in &orders {
        let [uuid, test, members, encounter, patient] = &order[..] else {
            continue;
        };
        let tests = match members.text() {
            "" => test.text(),
            members => members,
        };
        for test in tests.split(',') {
            let name = format!("{} {test}", uuid.text());
            expected.push(vec![name.into(), encounter.clone(), patient.clone()]);
        }
    }
    expected
}

pub(super) const RESULTS: Comparison = Comparison {
    what: "results",
    between: ["lab", "EMR"],
    columns: &["order and test", "encounter", "value", "unit"],
    selects: [
        "SELECT r.order_uuid || ' ' || r.test_uuid, COALESCE(a.encounter_uuid, ''), r.value, r.unit
        FROM results r LEFT JOIN accessions a ON a.uuid = r.accession_uuid",
        "SELECT order_uuid || ' ' || test_uuid, encounter_uuid, value, unit FROM results",
    ],
};
