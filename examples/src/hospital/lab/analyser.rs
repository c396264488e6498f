//! The lab's machines: they find something for whatever is ordered, and the lab publishes it.

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use atomfeed_client::CancellationToken;
use atomfeed_core::NewEvent;
use atomfeed_core::store::sql::SqlStore;
use atomfeed_server::Publisher;
use sqlx::Database;
use tokio::sync::Notify;
use tokio::time::timeout;
use uuid::Uuid;

use crate::hospital::{Engine, Field, Sql};

/// So many encounters share a transaction.
const BATCH: i64 = 50;

/// How often it is looked for orders of which nothing was heard.
const LOOK_EVERY: Duration = Duration::from_secs(1);

const WAITING: &str = "SELECT DISTINCT encounter_uuid FROM orders
    WHERE state = 'ordered' AND encounter_uuid > $1 ORDER BY encounter_uuid LIMIT $2";

const ORDERED: &str = "SELECT uuid, test_uuid, patient_uuid FROM orders
    WHERE encounter_uuid = $1 AND state = 'ordered' ORDER BY position, uuid";

const TEST: &str = "SELECT unit, members FROM tests WHERE uuid = $1";

// Not what was changed or cancelled since it was read.
const TAKE: &str = "UPDATE orders SET state = 'resulted'
    WHERE uuid = $1 AND test_uuid = $2 AND state = 'ordered'";

const WRITE_RESULT: &str =
    "INSERT INTO results (order_uuid, test_uuid, value, unit, accession_uuid, position)
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (order_uuid, test_uuid) DO NOTHING";

const WRITE_ACCESSION: &str =
    "INSERT INTO accessions (uuid, encounter_uuid, patient_uuid) VALUES ($1, $2, $3)";

/// Analyses what is ordered: results, the state of the orders, the accession and its event are written in
/// one transaction.
pub(super) struct Analyser<D: Engine> {
    store: SqlStore<D>,
    publisher: Publisher<SqlStore<D>>,
    ordered: Arc<Notify>,
}

/// What is to be measured for an order.
struct Sample {
    order: Field,
    ordered_test: Field,
    patient: Field,
    measured: Vec<Measured>,
}

/// A test that gives a value.
struct Measured {
    test: Field,
    unit: Field,
}

impl<D: Engine> Analyser<D> {
    /// Analyses the orders of a store, also as soon as it is told that there are some.
    pub(super) fn new(
        store: SqlStore<D>,
        publisher: Publisher<SqlStore<D>>,
        ordered: Arc<Notify>,
    ) -> Self {
        Self {
            store,
            publisher,
            ordered,
        }
    }

    /// Works until it is to stop.
    pub(super) async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.run_for_ever()).await;
    }

    async fn run_for_ever(&self) {
        loop {
            if let Err(error) = self.analyse_all().await {
                tracing::warn!("orders were not analysed, and are looked at again: {error:#}");
            }
            let _ = timeout(LOOK_EVERY, self.ordered.notified()).await;
        }
    }

    /// Analyses all that can be, and says how many accessions that made.
    pub(super) async fn analyse_all(&self) -> anyhow::Result<usize> {
        let (mut made, mut last) = (0, String::new());
        loop {
            let encounters = self.waiting(&last).await?;
            let Some(furthest) = encounters.last() else {
                return Ok(made);
            };
            last.clone_from(furthest);
            made += self.analyse_batch(&encounters).await?;
        }
    }

    /// The next encounters with orders to analyse, also such as cannot be analysed yet.
    async fn waiting(&self, after: &str) -> anyhow::Result<Vec<String>> {
        let mut conn = self.store.pool().acquire().await?;
        let found = conn.rows(WAITING, &[after.into(), BATCH.into()]).await;
        let rows = found.context("looking for orders to analyse")?;
        Ok(rows.iter().map(|row| row[0].text().to_owned()).collect())
    }

    async fn analyse_batch(&self, encounters: &[String]) -> anyhow::Result<usize> {
        let begun = self.store.pool().begin_with(D::BEGIN).await;
        let mut transaction = begun.context("beginning to write results")?;
        let mut made = 0;
        for encounter in encounters {
            let analysed = self.analyse(encounter, &mut transaction).await;
            let analysed = analysed.with_context(|| format!("analysing encounter {encounter}"))?;
            made += usize::from(analysed);
        }
        // Else nothing was written, and the transaction is given up.
        if made > 0 {
            self.publisher.commit(transaction).await?;
        }
        Ok(made)
    }

    /// Writes the results of an encounter, and says whether there were any.
    async fn analyse(
        &self,
        encounter: &str,
        conn: &mut <D as Database>::Connection,
    ) -> anyhow::Result<bool> {
        let Some(samples) = samples(encounter, conn).await? else {
            return Ok(false);
        };
        let accession = Uuid::new_v4();
        let mut patient = None;
        let mut position = 0_i64;
        for sample in samples {
            let taken = [sample.order.clone(), sample.ordered_test];
            if conn.run(TAKE, &taken).await? == 0 {
                continue;
            }
            for Measured { test, unit } in sample.measured {
                let value = value(sample.order.text(), test.text(), unit.text());
                let result = [
                    sample.order.clone(),
                    test,
                    value.into(),
                    unit,
                    accession.into(),
                    position.into(),
                ];
                conn.run(WRITE_RESULT, &result).await?;
                position += 1;
            }
            patient = Some(sample.patient);
        }
        let Some(patient) = patient else {
            return Ok(false);
        };
        let values = [accession.into(), encounter.into(), patient];
        conn.run(WRITE_ACCESSION, &values).await?;
        let content = format!("/openelis/ws/rest/accession/{accession}");
        let event = NewEvent::new("accession", content).in_category("patient");
        self.publisher.publish(conn, &event).await?;
        Ok(true)
    }
}

/// What is to be measured for an encounter; `None` as long as one of the tests is unknown.
async fn samples<C: Sql>(encounter: &str, conn: &mut C) -> sqlx::Result<Option<Vec<Sample>>> {
    let mut samples = Vec::new();
    for row in conn.rows(ORDERED, &[encounter.into()]).await? {
        let Some(measured) = measured(&row[1], conn).await? else {
            return Ok(None);
        };
        samples.push(Sample {
            order: row[0].clone(),
            ordered_test: row[1].clone(),
            patient: row[2].clone(),
            measured,
        });
    }
    Ok(Some(samples))
}

/// The test, or those of the panel; `None` as long as one is unknown.
async fn measured<C: Sql>(ordered: &Field, conn: &mut C) -> sqlx::Result<Option<Vec<Measured>>> {
    let Some(row) = conn.row(TEST, slice::from_ref(ordered)).await? else {
        return Ok(None);
    };
    let members = row[1].text();
    if members.is_empty() {
        let test = ordered.clone();
        let unit = row[0].clone();
        return Ok(Some(vec![Measured { test, unit }]));
    }
    let mut measured = Vec::new();
    for member in members.split(',') {
        let test = Field::from(member);
        let Some(row) = conn.row(TEST, slice::from_ref(&test)).await? else {
            return Ok(None);
        };
        let unit = row[0].clone();
        measured.push(Measured { test, unit });
    }
    Ok(Some(measured))
}

/// Something that a machine may well find: always the same for an order and a test.
fn value(order: &str, test: &str, unit: &str) -> String {
    let both = format!("{order} {test}");
    let chance = Uuid::new_v5(&Uuid::NAMESPACE_OID, both.as_bytes()).as_u128();
    let (low, high) = match unit.to_ascii_lowercase().as_str() {
        "" => {
            return match chance % 10 {
                0 => "Positive".to_owned(),
                _ => "Negative".to_owned(),
            };
        }
        "g/dl" => (80, 165),
        "mg/dl" => (600, 1_800),
        "mmol/l" => (35, 95),
        "%" => (200, 550),
        _ => (10, 1_000),
    };
    let tenths = low + chance % (high - low);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::hospital::documents::Order;
    use crate::hospital::documents::OrderAction::{Discontinue, New};
    use crate::hospital::lab::fixture::{
        BLOOD_COUNT, ESR, HAEMOGLOBIN, Lab, encounter, on_both, order, panel, resources, test,
    };
    use crate::hospital::lab::{Catalogue, Orders};

    on_both! {
        a_panel_yields_the_results_of_its_members
        an_encounter_has_one_accession_for_what_is_ordered
        a_panel_waits_for_its_members_and_holds_up_nobody_else
    }

    fn analyser<D: Engine>(lab: &Lab<D>) -> Analyser<D> {
        let publisher = Publisher::new(lab.store.clone());
        Analyser::new(lab.store.clone(), publisher, Arc::default())
    }

    async fn see<D: Engine>(lab: &Lab<D>, number: u128, orders: Vec<Order>) {
        let worker = Orders::new(resources(), Arc::default());
        let encounter = encounter(number, orders);
        lab.apply(&worker, &encounter).await.unwrap();
    }

    async fn a_panel_yields_the_results_of_its_members<D: Engine>(lab: Lab<D>) {
        let lab = lab.with_catalogue().await;
        let orders = vec![order(1, New, ESR), order(2, New, BLOOD_COUNT)];
        see(&lab, 1, orders).await;
        assert_eq!(analyser(&lab).analyse_all().await.unwrap(), 1);
        let results = lab
            .rows(
                "SELECT orders.order_number, tests.name, results.unit
                FROM results JOIN orders ON orders.uuid = results.order_uuid
                 JOIN tests ON tests.uuid = results.test_uuid ORDER BY results.position",
            )
            .await;
        let expected = [
            "ORD-1 ESR g/dl",
            "ORD-2 Haemoglobin g/dl",
            "ORD-2 Platelets g/dl",
        ];
        assert_eq!(results, expected);
    }

    async fn an_encounter_has_one_accession_for_what_is_ordered<D: Engine>(lab: Lab<D>) {
        let lab = lab.with_catalogue().await;
        let mut orders = vec![
            order(1, New, HAEMOGLOBIN),
            order(2, New, BLOOD_COUNT),
            order(3, Discontinue, ESR),
        ];
        see(&lab, 1, orders.clone()).await;
        see(&lab, 2, vec![order(4, New, ESR)]).await;
        let analyser = analyser(&lab);
        assert_eq!(analyser.analyse_all().await.unwrap(), 2);
        assert_eq!(analyser.analyse_all().await.unwrap(), 0);

        let states = "SELECT order_number, state FROM orders ORDER BY order_number";
        let expected = [
            "ORD-1 resulted",
            "ORD-2 resulted",
            "ORD-3 cancelled",
            "ORD-4 resulted",
        ];
        assert_eq!(lab.rows(states).await, expected);
        // On PostgreSQL they wait for the sequencer, which does not run here.
        let events = "SELECT title, category, object FROM event_records
            UNION ALL SELECT title, category, object FROM event_records_queue ORDER BY 3";
        let accessions = "SELECT 'accession', 'patient', '/openelis/ws/rest/accession/' || uuid
            FROM accessions ORDER BY uuid";
        assert_eq!(lab.rows(events).await.len(), 2);
        assert_eq!(lab.rows(events).await, lab.rows(accessions).await);

        // What is ordered later is found later.
        orders.push(order(5, New, ESR));
        see(&lab, 1, orders).await;
        assert_eq!(analyser.analyse_all().await.unwrap(), 1);
        assert_eq!(lab.rows(events).await.len(), 3);
        let counted = "SELECT (SELECT COUNT(*) FROM accessions), (SELECT COUNT(*) FROM results)";
        assert_eq!(lab.rows(counted).await, ["3 5"]);
    }

    async fn a_panel_waits_for_its_members_and_holds_up_nobody_else<D: Engine>(lab: Lab<D>) {
        let lab = lab.with_catalogue().await;
        let catalogue = Catalogue::new(resources());
        let unknown = panel(20, "Iron", &[HAEMOGLOBIN, 21]);
        lab.apply(&catalogue, &unknown).await.unwrap();
        // As many as fill a batch, and stand before the one that can be analysed.
        let waiting = u128::try_from(BATCH).unwrap();
        for number in 1..=waiting {
            see(&lab, number, vec![order(number, New, 20)]).await;
        }
        see(&lab, waiting + 1, vec![order(waiting + 1, New, ESR)]).await;
        let analyser = analyser(&lab);
        assert_eq!(analyser.analyse_all().await.unwrap(), 1);
        assert_eq!(analyser.analyse_all().await.unwrap(), 0);

        lab.apply(&catalogue, &test(21, "Ferritin")).await.unwrap();
        let made = analyser.analyse_all().await.unwrap();
        assert_eq!(u128::try_from(made).unwrap(), waiting);
    }

    #[test]
    fn a_value_is_the_same_each_time_and_looks_like_one() {
        for unit in ["g/dl", "mg/dl", "%", "mmol/l", "cells"] {
            let found = value("order", "test", unit);
            assert_eq!(found, value("order", "test", unit));
            assert!(found.parse::<f64>().unwrap() >= 1.0, "{found} {unit}");
        }
        let found: Vec<_> = (0..100)
            .map(|order: u32| value(&order.to_string(), "test", ""))
            .collect();
        for outcome in ["Positive", "Negative"] {
            assert!(found.iter().any(|found| found == outcome), "{outcome}");
        }
    }
}
