//! EMR → ERP: customers from patients, products from drugs and lab tests, sale orders from what is ordered,
//! by Odoo's JSON-RPC.
//!
//! | feed | worker | in Odoo | found by |
//! |---|---|---|---|
//! | `patient` | [`Partners`] | `res.partner` | `ref`: uuid of the patient |
//! | `drug` | [`Drugs`] | `product.product` | `default_code`: uuid of the drug |
//! | `lab` | [`LabTests`] | `product.product` | `default_code`: uuid of the test or panel |
//! | `encounter` | [`SaleOrders`] | `sale.order` | `client_order_ref`: uuid of the encounter |
//! | | | `sale.order.line` | [`EXTERNAL_REF`]: uuid of the order |
//! | | | `product.product`, of services | `default_code`: uuid of the service |
//!
//! What is written to Odoo is not undone with the transaction of the marker, so that an event may come a
//! second time. Each worker therefore searches by a uuid that both sides know, and creates or writes what is
//! missing or different ([`Odoo::put`]); the second time it finds nothing to do.
//!
//! # A real Odoo
//!
//! This is written for `/jsonrpc` as Odoo 16, 17 and 18 have it. Odoo 19 still has it, and warns with each call
//! that it is deprecated: its services `common` and `object` are to go with Odoo 22. What takes its place is
//! JSON-2, `POST /json/2/{model}/{method}` with an API key as bearer token and arguments by their names; that
//! changes [`Odoo`] and what it reads, and no worker.
//!
//! Give its address, database, user and password (or API key) as [`OdooAddress`]. The user needs the rights
//! "Sales: Administrator" and "Contact Creation". Odoo has no [`EXTERNAL_REF`] and no [`APPROVED`]: add both,
//! under Settings → Technical → Fields (in developer mode), or with a module:
//!
//! ```python
//! class SaleOrder(models.Model):
//!     _inherit = "sale.order"
//!     x_approved = fields.Boolean("Approved", copy=False)
//!
//! class SaleOrderLine(models.Model):
//!     _inherit = "sale.order.line"
//!     x_external_ref = fields.Char("Order in the EMR", copy=False, index=True)
//!     # Up to Odoo 18; Odoo 19 makes no constraint of it, and leaves it at a warning in its log.
//!     _sql_constraints = [("x_external_ref_once", "UNIQUE(x_external_ref)", "This order is sold already")]
//!     # From Odoo 19 on, in its place:
//!     _x_external_ref_once = models.Constraint("UNIQUE(x_external_ref)", "This order is sold already")
//! ```
//!
//! Odoo lets several records have the same `ref`, `default_code` or `client_order_ref`. With a unique
//! constraint on each, as the [stand-in](standin) has them, two integrations that are at work at once, by
//! mistake, make no second customer. It can be made only while no two records are the same: see in the log, or
//! in the database, that it is there.
//!
//! # A slow Odoo
//!
//! Odoo is called while the transaction of the marker is open. All calls for an event together have 20 s
//! ([`Odoo::with_time_for_an_event`]); then it is undone, and the feed waits. On SQLite nobody else can write
//! meanwhile, and who has waited for 30 s is told that the database is locked. So the four feeds take turns
//! there, and wait for these instead. Who writes there besides has no turn, though: the console, and each feed
//! with its signs of life. When Odoo is often that slow, keep the markers in PostgreSQL, where the feeds are
//! worked at the same time and nobody waits for the calls of another.

mod answer;
mod odoo;
mod order_lines;
mod partners;
mod products;
mod put;
mod sale_orders;
pub mod standin;

use anyhow::Context;
use atomfeed_client::{AtomFeedClients, CancellationToken};
use atomfeed_core::store::ConsumerStore;
use atomfeed_core::store::sql::SqlStore;
use url::Url;

pub use answer::OdooError;
pub use odoo::{Odoo, OdooAddress};
pub use partners::Partners;
pub use products::{Drugs, LabTests};
pub use put::Put;
pub use sale_orders::{Sale, SaleOrders};

use super::feeds::{self, Feeds};
use super::store::Engine;

/// The field of `sale.order.line` in which the uuid of the EMR's order stands; none of Odoo's own.
pub const EXTERNAL_REF: &str = "x_external_ref";
/// The field of `sale.order` that says that somebody has agreed to what it costs; none of Odoo's own.
pub const APPROVED: &str = "x_approved";

/// What the ERP follows, and where Odoo is.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the EMR is.
    pub emr: Url,
    /// Where Odoo is, or what stands in for it.
    pub odoo: OdooAddress,
}

/// Keeps Odoo in step with the EMR until it is stopped. The store has the markers; what is sold is Odoo's.
///
/// # Errors
///
/// When it cannot begin: an address that is none, or a store that lets no table be made.
pub async fn run<D: Engine>(
    store: SqlStore<D>,
    options: Options,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    feeds::make_applied(&store).await?;
    let emr = Feeds::of_emr(&options.emr).context("reading the address of the EMR")?;
    let odoo = Odoo::new(options.odoo)?;
    // Where one transaction writes at a time, it is better to wait for a turn than for the database.
    let at_once = match store.writes_one_at_a_time() {
        true => 1,
        false => 4,
    };
    let mut clients = AtomFeedClients::new(at_once);
    let partners = Partners::new(odoo.clone(), emr.resources());
    emr.follow("patient", &store, partners, &mut clients)?;
    let drugs = Drugs::new(odoo.clone(), emr.resources());
    emr.follow("drug", &store, drugs, &mut clients)?;
    let tests = LabTests::new(odoo.clone(), emr.resources());
    emr.follow("lab", &store, tests, &mut clients)?;
    let orders = SaleOrders::new(odoo, emr.resources());
    emr.follow("encounter", &store, orders, &mut clients)?;
    clients.run(stop).await;
    Ok(())
}
