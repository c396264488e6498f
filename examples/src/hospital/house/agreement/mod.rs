//! Whether all systems agree: what each of them keeps is compared row by row, and so is, for every feed, what
//! was published with what was applied.

mod flows;
mod row;

use std::collections::BTreeSet;
use std::fmt;

use self::row::{Comparison, Row, write_table};
use super::databases::{Databases, Rows, rows};
use crate::hospital::{Field, HospitalStore};

pub(super) use self::flows::{FOLLOWED, Flow, category_of};

/// So many differences of a kind are shown.
const SHOWN: usize = 20;

const PATIENTS: &str = "SELECT uuid, identifier, name, gender, birthdate, village FROM patients";

const CUSTOMERS_OF: &str = "SELECT uuid, name FROM patients";
const CUSTOMERS: &str = "SELECT ref, name FROM res_partner WHERE ref IS NOT NULL";

const PRODUCTS_OF: &str = "SELECT uuid, name, price FROM drugs
    UNION ALL SELECT uuid, name, price FROM lab_tests";
const PRODUCTS: &str = "SELECT default_code, name, list_price FROM product_product
    WHERE default_code IS NOT NULL";
// They have a price in the ERP alone.
const SERVICES_OF: &str = "SELECT DISTINCT concept_uuid, concept_name FROM orders
    WHERE kind = 'service'";

const TESTS_OF: &str = "SELECT uuid, name, unit, members FROM lab_tests";
const TESTS: &str = "SELECT uuid, name, unit, members FROM tests";

const LAB_ORDERS_OF: &str = "SELECT o.uuid, o.encounter_uuid, e.patient_uuid, o.order_number,
     o.concept_uuid, CASE WHEN o.action = 'DISCONTINUE' THEN 'cancelled' ELSE 'ordered' END
    FROM orders o JOIN encounters e ON e.uuid = o.encounter_uuid WHERE o.kind = 'lab'";
const LAB_ORDERS: &str = "SELECT uuid, encounter_uuid, patient_uuid, order_number, test_uuid,
     CASE WHEN state = 'cancelled' THEN 'cancelled' ELSE 'ordered' END FROM orders";

const RESULTS_OF: &str =
    "SELECT r.order_uuid || ' ' || r.test_uuid, o.encounter_uuid, r.value, r.unit
    FROM results r LEFT JOIN orders o ON o.uuid = r.order_uuid";
const RESULTS: &str =
    "SELECT order_uuid || ' ' || test_uuid, encounter_uuid, value, unit FROM results";

const SALES_OF: &str = "SELECT o.uuid, o.encounter_uuid, e.patient_uuid, o.concept_uuid,
     CASE WHEN o.action = 'DISCONTINUE' THEN 0 ELSE o.quantity END
    FROM orders o JOIN encounters e ON e.uuid = o.encounter_uuid WHERE o.kind <> 'radiology'";
const SALES: &str = "SELECT l.x_external_ref, o.client_order_ref, c.ref, p.default_code,
     l.product_uom_qty
    FROM sale_order_line l LEFT JOIN sale_order o ON o.id = l.order_id
    LEFT JOIN res_partner c ON c.id = o.partner_id
    LEFT JOIN product_product p ON p.id = l.product_id WHERE l.x_external_ref IS NOT NULL";

// Whether an order was new or changed when it was told last, nobody can tell from how it is now.
const STUDIES_OF: &str = "SELECT o.order_number, p.identifier, o.concept_uuid, o.concept_name,
     CASE WHEN o.action = 'DISCONTINUE' THEN 'CA' ELSE 'NW or XO' END
    FROM orders o JOIN encounters e ON e.uuid = o.encounter_uuid
    JOIN patients p ON p.uuid = e.patient_uuid WHERE o.kind = 'radiology'";
const STUDIES: &str = "SELECT order_number, patient_identifier, concept_uuid, concept_name,
     CASE WHEN state IN ('NW', 'XO') THEN 'NW or XO' ELSE state END FROM studies";

/// What was compared.
#[derive(Debug)]
pub(super) struct Agreement {
    rows: Vec<Row>,
    flows: Vec<Flow>,
    left_out: Vec<&'static str>,
}

impl Agreement {
    /// Reads and compares everything. So many events are to be there, of which so many are.
    pub(super) async fn read(
        databases: &Databases,
        expected: usize,
        there: usize,
    ) -> anyhow::Result<Self> {
        let mut compared = Vec::new();
        let mut left_out = Vec::new();
        of_lab(databases, &mut compared).await?;
        match &databases.erp {
            Some(erp) => of_erp(&databases.emr, erp, &mut compared).await?,
            None => left_out.push("the ERP is a real one: what it keeps is not compared"),
        }
        match &databases.imaging {
            Some(imaging) => {
                let (from, to) = (
                    rows(&databases.emr, STUDIES_OF).await?,
                    rows(imaging, STUDIES).await?,
                );
                compared.push(RADIOLOGY.of(from, to));
            }
            None => left_out.push("imaging is real: what it keeps is not compared"),
        }
        let flows = Flow::all(databases).await?;
        compared.extend(flows.iter().map(Flow::row));
        compared.push(Row::of_count(expected, there));
        Ok(Self {
            rows: compared,
            flows,
            left_out,
        })
    }

    /// How many differences there are in all.
    pub(super) fn count(&self) -> usize {
        self.rows.iter().map(Row::count).sum()
    }

    /// What they are, of each kind the first few.
    pub(super) fn differences(&self) -> Vec<String> {
        let mut all = Vec::new();
        for row in &self.rows {
            all.extend(row.differences().take(SHOWN));
            let more = row.count().saturating_sub(SHOWN);
            if more > 0 {
                all.push(format!("… and {more} more of this kind"));
            }
        }
        all
    }

    /// What was published, and applied.
    pub(super) fn flows(&self) -> &[Flow] {
        &self.flows
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_table(&self.rows, f)?;
        for said in &self.left_out {
            writeln!(f, "({said})")?;
        }
        Ok(())
    }
}

async fn of_lab(databases: &Databases, compared: &mut Vec<Row>) -> anyhow::Result<()> {
    let Databases { emr, lab, .. } = databases;
    for (comparison, of_emr, of_lab) in [
        (PATIENTS_IN_LAB, PATIENTS, PATIENTS),
        (TESTS_IN_LAB, TESTS_OF, TESTS),
        (ORDERS_IN_LAB, LAB_ORDERS_OF, LAB_ORDERS),
    ] {
        let (from, to) = (rows(emr, of_emr).await?, rows(lab, of_lab).await?);
        compared.push(comparison.of(from, to));
    }
    let (from, to) = (rows(lab, RESULTS_OF).await?, rows(emr, RESULTS).await?);
    compared.push(RESULTS_IN_EMR.of(from, to));
    Ok(())
}

async fn of_erp(
    emr: &HospitalStore,
    erp: &HospitalStore,
    compared: &mut Vec<Row>,
) -> anyhow::Result<()> {
    let (from, to) = (rows(emr, CUSTOMERS_OF).await?, rows(erp, CUSTOMERS).await?);
    compared.push(CUSTOMERS_IN_ERP.of(from, to));
    let services = rows(emr, SERVICES_OF).await?;
    let (sold, served) = apart(rows(erp, PRODUCTS).await?, &services);
    compared.push(PRODUCTS_IN_ERP.of(rows(emr, PRODUCTS_OF).await?, sold));
    compared.push(SERVICES_IN_ERP.of(services, served));
    let (from, to) = (rows(emr, SALES_OF).await?, rows(erp, SALES).await?);
    compared.push(SALES_IN_ERP.of(from, to));
    Ok(())
}

/// Products that are no services, and those that are, without what they cost.
fn apart(products: Rows, services: &Rows) -> (Rows, Rows) {
    let services: BTreeSet<&Field> = services.iter().filter_map(|row| row.first()).collect();
    let is_service = |row: &Vec<Field>| row.first().is_some_and(|code| services.contains(code));
    let (mut served, sold): (Rows, Rows) = products.into_iter().partition(is_service);
    for row in &mut served {
        row.truncate(2);
    }
    (sold, served)
}

const NEVER: fn(&[Field]) -> bool = |_| false;

/// What was cancelled before the other system came for it has never been there.
const UNLESS_CANCELLED: fn(&[Field]) -> bool = |row| match row.last() {
    Some(Field::Text(state)) => matches!(state.as_str(), "cancelled" | "CA"),
    Some(Field::Number(quantity)) => *quantity == 0,
    Some(Field::Null) | None => false,
};

const PATIENTS_IN_LAB: Comparison = Comparison {
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
    may_be_missing: NEVER,
};

const TESTS_IN_LAB: Comparison = Comparison {
    what: "tests and panels",
    between: ["EMR", "lab"],
    columns: &["uuid", "name", "unit", "members"],
    may_be_missing: NEVER,
};

const ORDERS_IN_LAB: Comparison = Comparison {
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
    may_be_missing: UNLESS_CANCELLED,
};

const RESULTS_IN_EMR: Comparison = Comparison {
    what: "results",
    between: ["lab", "EMR"],
    columns: &["order and test", "encounter", "value", "unit"],
    may_be_missing: NEVER,
};

const CUSTOMERS_IN_ERP: Comparison = Comparison {
    what: "customers",
    between: ["EMR", "ERP"],
    columns: &["patient", "name"],
    may_be_missing: NEVER,
};

const PRODUCTS_IN_ERP: Comparison = Comparison {
    what: "products",
    between: ["EMR", "ERP"],
    columns: &["code", "name", "price"],
    may_be_missing: NEVER,
};

/// One is there once an order of it was sold: an order that was cancelled before may have been its only one.
const SERVICES_IN_ERP: Comparison = Comparison {
    what: "services",
    between: ["EMR", "ERP"],
    columns: &["code", "name"],
    may_be_missing: |_| true,
};

const SALES_IN_ERP: Comparison = Comparison {
    what: "sale order lines",
    between: ["EMR", "ERP"],
    columns: &["order", "encounter", "patient", "product", "quantity"],
    may_be_missing: UNLESS_CANCELLED,
};

const RADIOLOGY: Comparison = Comparison {
    what: "radiology orders",
    between: ["EMR", "imaging"],
    columns: &["order number", "patient", "concept", "name", "state"],
    may_be_missing: UNLESS_CANCELLED,
};

#[cfg(test)]
mod tests;
