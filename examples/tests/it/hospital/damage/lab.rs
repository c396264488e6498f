//! Damages of what the EMR and the lab both know.

use super::Damages;
use super::databases::Thing;

const PATIENTS: Thing = Thing {
    what: "patients",
    from: "EMR",
    to: "lab",
    database: "lab",
    table: "patients",
    name: "uuid",
};

const TESTS: Thing = Thing {
    what: "tests and panels",
    table: "tests",
    ..PATIENTS
};

const ORDERS: Thing = Thing {
    what: "lab orders",
    table: "orders",
    ..PATIENTS
};

const ORDERED: Thing = Thing {
    what: "results ordered",
    table: "results",
    name: "order_uuid || ' ' || test_uuid",
    ..PATIENTS
};

const RESULTS: Thing = Thing {
    what: "results",
    from: "lab",
    to: "EMR",
    database: "emr",
    ..ORDERED
};

/// One for each order; first those that are the only ones of their accession.
const EACH_RESULT: &str = "SELECT order_uuid || ' ' || test_uuid FROM results r
    WHERE test_uuid = (SELECT MIN(test_uuid) FROM results s WHERE s.order_uuid = r.order_uuid)
    ORDER BY (SELECT COUNT(*) FROM results s WHERE s.accession_uuid = r.accession_uuid), 1";

impl Damages {
    pub(super) async fn in_the_lab(&mut self) {
        let select = "SELECT uuid FROM patients ORDER BY 1";
        let [lost, doubled, spoilt] = self.databases.some("lab", select).await;
        self.lose(&PATIENTS, &lost).await;
        self.double(&PATIENTS, &doubled).await;
        let columns = ["identifier", "name", "gender", "birthdate", "village"];
        let columns = columns.map(|column| (column, column, "'wrong'"));
        self.spoil(&PATIENTS, &spoilt, &columns).await;

        let select = "SELECT uuid FROM tests ORDER BY 1";
        let [lost, doubled, spoilt] = self.databases.some("lab", select).await;
        self.lose(&TESTS, &lost).await;
        self.double(&TESTS, &doubled).await;
        let columns = ["name", "unit", "members"].map(|column| (column, column, "'wrong'"));
        self.spoil(&TESTS, &spoilt, &columns).await;

        let select = "SELECT uuid FROM orders WHERE state = 'resulted' ORDER BY 1";
        let [lost, doubled, spoilt, cancelled] = self.databases.some("lab", select).await;
        self.lose(&ORDERS, &lost).await;
        self.double(&ORDERS, &doubled).await;
        let columns = [
            ("encounter", "encounter_uuid", "'wrong'"),
            ("patient", "patient_uuid", "'wrong'"),
            ("order number", "order_number", "'wrong'"),
            ("test", "test_uuid", "'wrong'"),
        ];
        self.spoil(&ORDERS, &spoilt, &columns).await;
        let update = format!("UPDATE orders SET state = 'cancelled' WHERE uuid = '{cancelled}'");
        self.databases.change("lab", &update).await;
        let state = ("state", "ordered".to_owned(), "cancelled".to_owned());
        self.said.push(ORDERS.different(&cancelled, &[state]));
    }

    /// In the EMR, in the lab, and in both.
    pub(super) async fn of_results(&mut self) {
        let [moved, lost, doubled, spoilt, lost_in_both, doubled_in_both] =
            self.databases.some("lab", EACH_RESULT).await;
        self.lose(&RESULTS, &lost).await;
        let another = self.add_result(&RESULTS, &doubled).await;
        self.said.push(RESULTS.unexpected(&another));
        let columns = [
            ("encounter", "encounter_uuid", "'wrong'"),
            ("value", "value", "'wrong'"),
            ("unit", "unit", "'wrong'"),
        ];
        self.spoil(&RESULTS, &spoilt, &columns).await;

        self.lose(&ORDERED, &lost_in_both).await;
        let delete = format!("DELETE FROM results WHERE {}", RESULTS.is(&lost_in_both));
        self.databases.change("emr", &delete).await;
        self.add_result(&RESULTS, &doubled_in_both).await;
        let another = self.add_result(&ORDERED, &doubled_in_both).await;
        self.said.push(ORDERED.unexpected(&another));
        self.move_accession(&moved).await;
    }

    /// Adds the result of another test to an order, and says what it is called.
    async fn add_result(&self, thing: &Thing, name: &str) -> String {
        self.copy(thing, name, "test_uuid", "'another'").await;
        let (order, _test) = name.split_once(' ').unwrap();
        format!("{order} another")
    }

    /// Has what was found be of another encounter and another patient, and the EMR agree.
    async fn move_accession(&mut self, result: &str) {
        let is_it = format!(
            "uuid = (SELECT accession_uuid FROM results WHERE {})",
            ORDERED.is(result)
        );
        let mut said = Vec::new();
        for (called, column) in [("encounter", "encounter_uuid"), ("patient", "patient_uuid")] {
            let select = format!("SELECT {column} FROM accessions WHERE {is_it}");
            let was = self.databases.text("lab", &select).await;
            said.push((called, was, "wrong".to_owned()));
            let update = format!("UPDATE accessions SET {column} = 'wrong' WHERE {is_it}");
            self.databases.change("lab", &update).await;
        }
        self.said.push(ORDERED.different(result, &said));
        let is_it = RESULTS.is(result);
        let update = format!("UPDATE results SET encounter_uuid = 'wrong' WHERE {is_it}");
        self.databases.change("emr", &update).await;
    }
}
