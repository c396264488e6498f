//! The resources that the events of the EMR and of the lab name, as JSON. They stand in for those of
//! OpenMRS and OpenELIS, and have what the flows need of these.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// `/openmrs/ws/rest/v1/patient/{uuid}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Patient {
    /// Known to every system.
    pub uuid: Uuid,
    /// What stands on the card: `GAN200001`.
    pub identifier: String,
    /// Given and family name: `Asha Verma`.
    pub name: String,
    /// `F`, `M` or `O`.
    pub gender: String,
    /// The day of birth.
    pub birthdate: NaiveDate,
    /// Where the patient lives.
    pub village: String,
}

/// `/openmrs/ws/rest/v1/drug/{uuid}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drug {
    /// Known to every system.
    pub uuid: Uuid,
    /// `Paracetamol 500mg`.
    pub name: String,
    /// `Tablet`.
    pub form: String,
    /// The price of one, in paise.
    pub price: i64,
}

/// `/openmrs/ws/rest/v1/labtest/{uuid}`: a test of the lab, or a panel of tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabTest {
    /// Known to every system.
    pub uuid: Uuid,
    /// `Haemoglobin`.
    pub name: String,
    /// `g/dl`; empty for a panel.
    pub unit: String,
    /// The price, in paise.
    pub price: i64,
    /// The tests of a panel; none for a test.
    #[serde(default)]
    pub members: Vec<Uuid>,
}

/// `/openmrs/ws/rest/v1/encounter/{uuid}`: what was ordered when a patient was seen, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Encounter {
    /// Known to every system.
    pub uuid: Uuid,
    /// Whose.
    pub patient_uuid: Uuid,
    /// When it began.
    pub encounter_datetime: DateTime<Utc>,
    /// All orders, cancelled ones, too, oldest first.
    pub orders: Vec<Order>,
    /// The results that the lab has sent.
    #[serde(default)]
    pub results: Vec<TestResult>,
}

/// One order of an encounter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Stays when the order is changed or cancelled.
    pub uuid: Uuid,
    /// `ORD-17`, which people see.
    pub order_number: String,
    /// What kind of thing is ordered.
    pub kind: OrderKind,
    /// What was done last.
    pub action: OrderAction,
    /// The drug, test, panel, examination or service.
    pub concept: Concept,
    /// How many, 1 at least.
    pub quantity: i64,
}

/// What is ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concept {
    /// Of a [`Drug`], a [`LabTest`], an examination or a service.
    pub uuid: Uuid,
    /// For people.
    pub name: String,
}

/// Who an order is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderKind {
    /// The pharmacy; sold.
    Drug,
    /// The lab; sold.
    Lab,
    /// Imaging; not sold.
    Radiology,
    /// Nobody in particular; sold.
    Service,
}

impl OrderKind {
    /// Whether the ERP bills it.
    pub fn is_sold(self) -> bool {
        self != Self::Radiology
    }
}

/// What was done to an order last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum OrderAction {
    /// It was made.
    New,
    /// It was changed.
    Revise,
    /// It was cancelled.
    Discontinue,
}

/// The result of one test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TestResult {
    /// Of the order of a test, or of a panel that the test is of.
    pub order_uuid: Uuid,
    /// The test.
    pub test_uuid: Uuid,
    /// `11.2`.
    pub value: String,
    /// `g/dl`.
    pub unit: String,
}

/// `/openelis/ws/rest/accession/{uuid}`: what the lab has found for the orders of an encounter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accession {
    /// The lab's own.
    pub uuid: Uuid,
    /// Of which encounter the orders are.
    pub encounter_uuid: Uuid,
    /// Whose.
    pub patient_uuid: Uuid,
    /// All results, in the order of the orders.
    pub results: Vec<TestResult>,
}
