//! Feeds `drug` and `lab` → products (`product.product`).

use async_trait::async_trait;
use atomfeed_client::{Event, FetchContent, Handled, PreparingWorker, Resources, WorkerError};
use serde_json::json;
use uuid::Uuid;

use super::{Odoo, OdooError, Put};
use crate::hospital::documents::{Drug, LabTest};

/// Makes a product of each drug, and keeps it as the EMR has it.
#[derive(Debug)]
pub struct Drugs {
    odoo: Odoo,
    emr: Resources,
}

/// Makes a product of each lab test and panel, and keeps it as the EMR has it.
#[derive(Debug)]
pub struct LabTests {
    odoo: Odoo,
    emr: Resources,
}

impl Drugs {
    /// Products of an Odoo, from an EMR.
    pub fn new(odoo: Odoo, emr: Resources) -> Self {
        Self { odoo, emr }
    }

    /// Sees to it that a drug is a product: goods.
    ///
    /// # Errors
    ///
    /// As Odoo has it.
    pub async fn apply(&self, drug: &Drug) -> Result<Put, OdooError> {
        put(&self.odoo, drug.uuid, &drug.name, drug.price, "consu").await
    }
}

impl LabTests {
    /// Products of an Odoo, from an EMR.
    pub fn new(odoo: Odoo, emr: Resources) -> Self {
        Self { odoo, emr }
    }

    /// Sees to it that a test or panel is a product: a service.
    ///
    /// # Errors
    ///
    /// As Odoo has it.
    pub async fn apply(&self, test: &LabTest) -> Result<Put, OdooError> {
        put(&self.odoo, test.uuid, &test.name, test.price, "service").await
    }
}

/// A product, at a price in paise; Odoo counts in rupees. In the time that there is for an event.
async fn put(
    odoo: &Odoo,
    uuid: Uuid,
    name: &str,
    price: i64,
    kind: &str,
) -> Result<Put, OdooError> {
    let reference = uuid.to_string();
    let values = json!({ "name": name, "list_price": price as f64 / 100.0 });
    // Somebody in the pharmacy may decide later to count what is in stock.
    let at_first = json!({ "type": kind });
    let key = ("default_code", reference.as_str());
    let odoo = odoo.for_an_event();
    odoo.put("product.product", key, values, at_first).await
}

#[async_trait]
impl<C: ?Sized + Send + 'static> PreparingWorker<C> for Drugs {
    type Prepared = Drug;

    async fn prepare(&self, event: &Event) -> Result<Drug, WorkerError> {
        Ok(event.fetch(&self.emr).await?.json()?)
    }

    // Here and not in `prepare`, which runs ahead of the event's turn, and by the key that the trait gives: see
    // the customers.
    async fn process(
        &self,
        _event: &Event,
        drug: &Drug,
        _conn: &mut C,
    ) -> Result<Handled, WorkerError> {
        self.apply(drug).await?;
        Ok(Handled::Applied)
    }

    fn has_other_effects(&self) -> bool {
        true
    }
}

#[async_trait]
impl<C: ?Sized + Send + 'static> PreparingWorker<C> for LabTests {
    type Prepared = LabTest;

    async fn prepare(&self, event: &Event) -> Result<LabTest, WorkerError> {
        Ok(event.fetch(&self.emr).await?.json()?)
    }

    async fn process(
        &self,
        _event: &Event,
        test: &LabTest,
        _conn: &mut C,
    ) -> Result<Handled, WorkerError> {
        self.apply(test).await?;
        Ok(Handled::Applied)
    }

    fn has_other_effects(&self) -> bool {
        true
    }
}
