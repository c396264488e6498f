//! Damages of what the EMR and imaging both know.

use super::Damages;
use super::databases::Thing;

const STUDIES: Thing = Thing {
    what: "radiology orders",
    from: "EMR",
    to: "imaging",
    database: "imaging",
    table: "studies",
    name: "order_number",
};

impl Damages {
    pub(super) async fn in_imaging(&mut self) {
        let select = "SELECT order_number FROM studies WHERE state <> 'CA' ORDER BY 1";
        let [lost, doubled, spoilt, kept, cancelled] = self.databases.some("imaging", select).await;
        self.lose(&STUDIES, &lost).await;
        self.double(&STUDIES, &doubled).await;
        let columns = [
            ("patient", "patient_identifier", "'wrong'"),
            ("patient's name", "patient_name", "'wrong'"),
            ("birth date", "patient_birthdate", "'wrong'"),
            ("gender", "patient_gender", "'wrong'"),
            ("quantity", "quantity", "-1"),
            ("concept", "concept_uuid", "'wrong'"),
            ("concept's name", "concept_name", "'wrong'"),
        ];
        self.spoil(&STUDIES, &spoilt, &columns).await;

        self.cancel("order_number", &kept).await;
        // Of what, was said before.
        let update =
            format!("UPDATE orders SET concept_uuid = 'other' WHERE order_number = '{kept}'");
        self.databases.change("emr", &update).await;
        let state = ("state", "CA".to_owned(), "NW or XO".to_owned());
        self.said.push(STUDIES.different(&kept, &[state]));
        self.cancel("order_number", &cancelled).await;
        self.lose(&STUDIES, &cancelled).await;
    }
}
