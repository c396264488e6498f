//! What the EMR and imaging both know.

use super::row::Comparison;

/// Whether an order was new or changed when imaging was told of it last, nobody can tell from how it is now. One
/// that is cancelled keeps what was said then of the patient, of what and how many: imaging is told of no change any
/// more.
pub(super) const STUDIES: Comparison = Comparison {
    what: "radiology orders",
    between: ["EMR", "imaging"],
    columns: &[
        "order number",
        "patient",
        "patient's name",
        "birth date",
        "gender",
        "quantity",
        "concept",
        "concept's name",
        "state",
    ],
    selects: [
        "SELECT o.order_number, CASE WHEN o.action = 'DISCONTINUE' THEN NULL ELSE p.identifier END,
         CASE WHEN o.action = 'DISCONTINUE' THEN NULL ELSE p.name END,
         CASE WHEN o.action = 'DISCONTINUE' THEN NULL ELSE REPLACE(p.birthdate, '-', '') END,
         CASE WHEN o.action = 'DISCONTINUE' THEN NULL ELSE p.gender END,
         CASE WHEN o.action = 'DISCONTINUE' THEN NULL ELSE o.quantity END,
         CASE WHEN o.action = 'DISCONTINUE' THEN NULL ELSE o.concept_uuid END,
         CASE WHEN o.action = 'DISCONTINUE' THEN NULL ELSE o.concept_name END,
         CASE WHEN o.action = 'DISCONTINUE' THEN 'CA' ELSE 'NW or XO' END
        FROM orders o JOIN encounters e ON e.uuid = o.encounter_uuid
        JOIN patients p ON p.uuid = e.patient_uuid WHERE o.kind = 'radiology'",
        "SELECT order_number, patient_identifier, patient_name, patient_birthdate, patient_gender,
         quantity, concept_uuid, concept_name,
         CASE WHEN state IN ('NW', 'XO') THEN 'NW or XO' ELSE state END FROM studies",
    ],
};
