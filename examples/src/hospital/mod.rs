//! A hospital: an EMR, a lab, an ERP and imaging, each with its own database, kept in step by feeds.
//!
//! ```text
//!                      patient, lab, encounter
//!            ┌───────────────────────────────────────────▶  lab      (OpenELIS)
//!            │   ◀──────────────────── patient ──────────   results
//!   EMR ─────┤
//! (OpenMRS)  ├─ patient, drug, lab, encounter ──▶ ERP       JSON-RPC ──▶ (Odoo)
//!            │
//!            └─ encounter ──────────────────────▶ imaging   HL7, MLLP ─▶ (PACS)
//! ```
//!
//! Each flow is a file with a worker that can be copied into a project of one's own.

pub mod documents;
pub mod emr;
pub mod erp;
pub mod feeds;
pub mod house;
pub mod imaging;
pub mod lab;
mod store;
pub mod system;

pub use store::{Data, Engine, Field, HospitalStore, Sql, make_tables};
