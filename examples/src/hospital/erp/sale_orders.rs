//! Feed `encounter` → sale orders (`sale.order`): one for an encounter, with a line for each drug, test and
//! service that was ordered.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use atomfeed_client::{Event, FetchContent, Handled, PreparingWorker, Resources, WorkerError};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use url::Url;
use uuid::Uuid;

use super::answer::id_of;
use super::order_lines::{Line, commands};
use super::{APPROVED, EXTERNAL_REF, Odoo, OdooError};
use crate::hospital::documents::{Encounter, Order, OrderAction, OrderKind};

/// Sells what an encounter orders, and keeps the sale order as the EMR has it.
#[derive(Debug)]
pub struct SaleOrders {
    odoo: Odoo,
    emr: Resources,
    /// Held while a service is looked for and made a product: two encounters may have the same new one.
    services: Mutex<()>,
}

/// An encounter that sells something, and what Odoo knows of it.
#[derive(Debug)]
pub struct Sale {
    encounter: Encounter,
    partner: i64,
    /// By the uuid of what is ordered. Services that nobody has ordered before are not among them.
    products: HashMap<Uuid, i64>,
}

impl Sale {
    /// Cancelled ones, too.
    fn orders(&self) -> impl Iterator<Item = &Order> {
        sold(&self.encounter)
    }
}

fn sold(encounter: &Encounter) -> impl Iterator<Item = &Order> {
    let orders = encounter.orders.iter();
    orders.filter(|order| order.kind.is_sold())
}

impl SaleOrders {
    /// Sale orders of an Odoo, from an EMR.
    pub fn new(odoo: Odoo, emr: Resources) -> Self {
        Self {
            odoo,
            emr,
            services: Mutex::default(),
        }
    }

    /// Looks for customer and products, which stay the same whatever becomes of the encounter; `None` where
    /// nothing is sold. Two calls.
    ///
    /// # Errors
    ///
    /// When Odoo does not know the patient, or a drug or test: these come by feeds of their own, and the
    /// encounter is sold once they have come. Else as Odoo has it.
    pub async fn look_up(&self, encounter: Encounter) -> Result<Option<Sale>, WorkerError> {
        if sold(&encounter).next().is_none() {
            return Ok(None);
        }
        let patient = encounter.patient_uuid;
        let domain = json!([["ref", "=", patient]]);
        let partners = self.odoo.search_read("res.partner", domain, &["ref"]);
        let partners = partners.await?;
        let Some(partner) = partners.first() else {
            return Err(WorkerError::new(format!(
                "Odoo has no customer for the patient {patient} yet: the encounter is sold once the patient \
                 has come by its feed"
            )));
        };
        let partner = id_of(partner)?;
        let concepts = sold(&encounter).map(|order| order.concept.uuid);
        let products = products(&self.odoo, concepts.collect()).await?;
        let unknown: Vec<_> = sold(&encounter)
            .filter(|order| order.kind != OrderKind::Service)
            .filter(|order| !products.contains_key(&order.concept.uuid))
            .map(|order| format!("{} ({})", order.concept.name, order.concept.uuid))
            .collect();
        if !unknown.is_empty() {
            return Err(WorkerError::new(format!(
                "Odoo has no product for {} yet: the encounter is sold once that has come by its feed",
                unknown.join(", ")
            )));
        }
        Ok(Some(Sale {
            encounter,
            partner,
            products,
        }))
    }

    /// Writes the sale order, in the [time](Odoo::for_an_event) that there is for an event. Two calls for a new
    /// one, two or three for one that is there. Where it has services that were not there yet, up to two more
    /// make them.
    ///
    /// # Errors
    ///
    /// As Odoo has it.
    pub async fn sell(&self, sale: &Sale, is_approved: bool) -> Result<Handled, WorkerError> {
        let odoo = self.odoo.for_an_event();
        let lines = self.lines(&odoo, sale).await?;
        let encounter = &sale.encounter;
        let domain = json!([["client_order_ref", "=", encounter.uuid]]);
        let fields = ["partner_id", APPROVED];
        let orders = odoo.search_read("sale.order", domain, &fields).await?;
        match orders.first() {
            Some(order) => revise(&odoo, order, sale.partner, &lines, is_approved).await?,
            None => {
                let lines = lines.iter().map(|line| json!([0, 0, line.values()]));
                let mut order = json!({
                    "client_order_ref": encounter.uuid,
                    "partner_id": sale.partner,
                    "date_order": encounter.encounter_datetime.format("%Y-%m-%d %H:%M:%S").to_string(),
                    "order_line": lines.collect::<Vec<_>>(),
                });
                if is_approved {
                    order[APPROVED] = true.into();
                }
                odoo.create("sale.order", &[order]).await?;
            }
        }
        Ok(Handled::Applied)
    }

    async fn lines(&self, odoo: &Odoo, sale: &Sale) -> Result<Vec<Line>, OdooError> {
        let made = self.services(odoo, sale).await?;
        let line = |order: &Order| -> Result<Line, OdooError> {
            let uuid = order.concept.uuid;
            let product = sale.products.get(&uuid).or_else(|| made.get(&uuid));
            let product = product.ok_or_else(|| OdooError::strange("a product", &json!(uuid)))?;
            Ok(Line {
                reference: order.uuid.to_string(),
                product: *product,
                quantity: match order.action {
                    OrderAction::New | OrderAction::Revise => order.quantity,
                    OrderAction::Discontinue => 0,
                },
            })
        };
        sale.orders().map(line).collect()
    }

    /// Makes products of services that are ordered for the first time, since no feed brings them; their price
    /// is set in Odoo.
    async fn services(&self, odoo: &Odoo, sale: &Sale) -> Result<HashMap<Uuid, i64>, OdooError> {
        let orders = sale.orders();
        let new = orders.filter(|order| !sale.products.contains_key(&order.concept.uuid));
        let names: HashMap<_, _> = new
            .map(|order| (order.concept.uuid, order.concept.name.as_str()))
            .collect();
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        let _alone = self.services.lock().await;
        // Another encounter may have brought them meanwhile.
        let mut known = products(odoo, names.keys().copied().collect()).await?;
        let (mut uuids, mut records) = (Vec::new(), Vec::new());
        for (uuid, name) in names {
            if !known.contains_key(&uuid) {
                uuids.push(uuid);
                records.push(json!({
                    "default_code": uuid, "name": name, "type": "service", "list_price": 0.0,
                }));
            }
        }
        if !records.is_empty() {
            let ids = odoo.create("product.product", &records).await?;
            known.extend(uuids.into_iter().zip(ids));
        }
        Ok(known)
    }
}

/// Writes what is different, all of it in one call. The date is Odoo's own once the order is there: it becomes
/// that of the confirmation.
async fn revise(
    odoo: &Odoo,
    order: &Value,
    partner: i64,
    lines: &[Line],
    is_approved: bool,
) -> Result<(), OdooError> {
    let id = id_of(order)?;
    let domain = json!([["order_id", "=", id]]);
    let fields = [EXTERNAL_REF, "product_id", "product_uom_qty"];
    let rows = odoo.search_read("sale.order.line", domain, &fields);
    let commands = commands(lines, &rows.await?)?;
    let mut changed = Map::new();
    if !commands.is_empty() {
        changed.insert("order_line".to_owned(), commands.into());
    }
    if order["partner_id"][0] != partner {
        changed.insert("partner_id".to_owned(), partner.into());
    }
    if is_approved && order[APPROVED] != true {
        changed.insert(APPROVED.to_owned(), true.into());
    }
    if changed.is_empty() {
        return Ok(());
    }
    odoo.write("sale.order", &[id], changed.into()).await
}

/// The products that there are, by the uuids of what they are of.
async fn products(odoo: &Odoo, concepts: HashSet<Uuid>) -> Result<HashMap<Uuid, i64>, OdooError> {
    let domain = json!([["default_code", "in", concepts]]);
    let rows = odoo.search_read("product.product", domain, &["default_code"]);
    let product = |row: &Value| {
        let uuid = row["default_code"].as_str()?.parse::<Uuid>().ok()?;
        Some(id_of(row).map(|id| (uuid, id)))
    };
    rows.await?.iter().filter_map(product).collect()
}

/// Whether a person has edited the event to say that what it costs is fine: `…/encounter/…?v=full&approved=yes`.
fn is_approved(event: &Event) -> bool {
    let nowhere = Url::parse("http://localhost/").ok();
    let url = nowhere.and_then(|nowhere| nowhere.join(event.content().trim()).ok());
    url.is_some_and(|url| {
        url.query_pairs()
            .any(|(name, value)| name == "approved" && value == "yes")
    })
}

// The key is the one that the trait gives: the path of the encounter, by whose uuid the sale order is searched.
#[async_trait]
impl<C: ?Sized + Send + 'static> PreparingWorker<C> for SaleOrders {
    type Prepared = Option<Sale>;

    // Customer and products are looked for here, with no transaction open and for several encounters at a
    // time: once they are there, they keep their ids. What belongs to the encounter itself would be out of
    // date by its turn.
    async fn prepare(&self, event: &Event) -> Result<Option<Sale>, WorkerError> {
        let encounter = event.fetch(&self.emr).await?.json()?;
        self.look_up(encounter).await
    }

    // Written is in the event's turn, so that an older state never comes after a newer one, and an event that
    // is parked behind another does not overtake it. The transaction of the marker is open meanwhile: it is on
    // a database of our own that Odoo does not wait for, and there is a limit to what all calls take together.
    async fn process(
        &self,
        event: &Event,
        sale: &Option<Sale>,
        _conn: &mut C,
    ) -> Result<Handled, WorkerError> {
        match sale {
            Some(sale) => self.sell(sale, is_approved(event)).await,
            None => Ok(Handled::Ignored),
        }
    }

    fn has_other_effects(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use atomfeed_client::core::EntryId;

    use super::*;

    #[test]
    fn a_person_approves_in_the_content() {
        let is_approved = |content: &str| {
            let feed = "http://emr/feed/recent".parse().unwrap();
            let event = Event::new(EntryId::of_event("1"), feed);
            is_approved(&event.with_text("Encounter", content))
        };
        assert!(is_approved(
            "/openmrs/ws/rest/v1/encounter/1?v=full&approved=yes"
        ));
        assert!(!is_approved("/openmrs/ws/rest/v1/encounter/1?v=full"));
        assert!(!is_approved("/encounter/1?approved=no"));
        assert!(!is_approved("approved=yes"));
    }
}
