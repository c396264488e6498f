//! A hospital: an EMR, a lab, an ERP and imaging, each with its own database, kept in step by feeds.
//!
//! ```text
//!                      patient, lab, encounter
//!            ┌───────────────────────────────────────────▶  lab      (OpenELIS)
//!            │   ◀──────────────────── patient ──────────   results
//!   EMR ─────┤
//! (OpenMRS)  ├─ patient, drug, lab, encounter ──▶ ERP       JSON-RPC ──▶ (Odoo)
//!            │
//!            └─ patient, encounter ─────────────▶ imaging   HL7, MLLP ─▶ (PACS)
//! ```
//!
//! Each flow is a file with a worker that can be copied into a project of one's own. What goes along with it:
//!
//! - what its files use of their own folder: the client of Odoo, HL7 and MLLP;
//! - of `documents.rs`, the documents that it reads;
//! - of `feeds.rs`, how one signs in and follows ([`feeds::Feeds`]); the table `applied` there is for the proof
//!   that all systems agree, and can be left out;
//! - of `store.rs`, [`Sql`] and [`Field`]: they are there since this hospital runs on SQLite and on PostgreSQL
//!   alike. With one database in a project, a worker needs neither: it is a `PreparingWorker` of sqlx's own
//!   connection (`sqlx::PgConnection`), and runs `sqlx::query` on that, as the example `own-integration` shows.

pub mod documents;
pub mod emr;
pub mod erp;
pub mod feeds;
pub mod house;
pub mod imaging;
pub mod lab;
mod sessions;
mod store;
pub mod system;

pub use store::{Data, Engine, Field, HospitalStore, Sql, make_tables};
