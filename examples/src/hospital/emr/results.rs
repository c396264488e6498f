//! The lab's results become those of the EMR's encounters.

use async_trait::async_trait;
use atomfeed_client::{Event, FetchContent, Handled, PreparingWorker, Resources, WorkerError};
use atomfeed_core::store::sql::SqlStore;
use atomfeed_server::Publisher;

use super::resources::event;
use crate::hospital::documents::{Accession, Encounter};
use crate::hospital::{Engine, Field, Sql};

/// Writes the results that an event of the lab names, and publishes that the encounter has changed. Both are
/// in the transaction of the marker: there is one event for each change, however often the lab's event comes.
/// Results that are there already are no news, which ends the loop of two systems that follow each other.
pub(super) struct Results<D: Engine> {
    lab: Resources,
    publisher: Publisher<SqlStore<D>>,
}

impl<D: Engine> Results<D> {
    pub(super) fn new(lab: Resources, publisher: Publisher<SqlStore<D>>) -> Self {
        Self { lab, publisher }
    }
}

#[async_trait]
impl<D: Engine> PreparingWorker<D::Connection> for Results<D> {
    type Prepared = Option<Accession>;

    async fn prepare(&self, event: &Event) -> Result<Option<Accession>, WorkerError> {
        match event.title() {
            "accession" => Ok(Some(event.fetch(&self.lab).await?.json()?)),
            // The lab's own patients.
            _ => Ok(None),
        }
    }

    async fn process(
        &self,
        _event: &Event,
        accession: &Option<Accession>,
        conn: &mut D::Connection,
    ) -> Result<Handled, WorkerError> {
        let Some(accession) = accession else {
            return Ok(Handled::Ignored);
        };
        let encounter = accession.encounter_uuid;
        // Whoever changes the encounter waits for this row, and then finds the results.
        let hold = "UPDATE encounters SET uuid = uuid WHERE uuid = $1";
        if conn.run(hold, &[encounter.into()]).await? == 0 {
            return Err(WorkerError::new(format!(
                "the EMR has no encounter {encounter}, which the results of accession {} are for: \
                 they are taken in when it has come",
                accession.uuid
            )));
        }
        if write(accession, conn).await? {
            // The sequencer looks for it from now on, and finds it once the client has committed.
            let news = event::<Encounter>(encounter);
            self.publisher.publish(conn, &news).await?;
        }
        Ok(Handled::Applied)
    }
}

/// Whether any of the results was not there, or another.
async fn write<C: Sql + ?Sized>(accession: &Accession, conn: &mut C) -> sqlx::Result<bool> {
    let upsert = "INSERT INTO results (order_uuid, test_uuid, value, unit, encounter_uuid)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (order_uuid, test_uuid) DO UPDATE SET value = excluded.value,
            unit = excluded.unit, encounter_uuid = excluded.encounter_uuid
        WHERE (results.value, results.unit, results.encounter_uuid)
            <> (excluded.value, excluded.unit, excluded.encounter_uuid)";
    let mut changed = 0;
    for result in &accession.results {
        let values = [
            Field::from(result.order_uuid),
            result.test_uuid.into(),
            result.value.as_str().into(),
            result.unit.as_str().into(),
            accession.encounter_uuid.into(),
        ];
        changed += conn.run(upsert, &values).await?;
    }
    Ok(changed > 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use atomfeed_core::EntryId;
    use sqlx::Transaction;
    use uuid::Uuid;

    use super::*;
    use crate::hospital::documents::TestResult;
    use crate::hospital::emr::testing::{TestEmr, databases, encounter, patient};
    use crate::hospital::feeds::Feeds;
    use crate::with_store;

    fn event_of_the_lab(title: &str) -> Event {
        let feed = "http://127.0.0.1:9/openelis/ws/feed/patient/recent";
        let event = Event::new(EntryId::of_event("1"), feed.parse().unwrap());
        event.with_text(title, "/openelis/ws/rest/accession/1")
    }

    fn worker<D: Engine>(store: &SqlStore<D>) -> Results<D> {
        let lab = Feeds::of_lab(&"http://127.0.0.1:9".parse().unwrap()).unwrap();
        Results::new(lab.resources(), Publisher::new(store.clone()))
    }

    fn haemoglobin(value: &str) -> Accession {
        let seen = encounter(5, 1);
        Accession {
            uuid: Uuid::from_u128(70),
            encounter_uuid: seen.uuid,
            patient_uuid: seen.patient_uuid,
            results: vec![TestResult {
                order_uuid: seen.orders[0].uuid,
                test_uuid: seen.orders[0].concept.uuid,
                value: value.to_owned(),
                unit: "g/dl".to_owned(),
            }],
        }
    }

    async fn process(emr: &TestEmr, accession: Option<Accession>) -> Result<Handled, WorkerError> {
        with_store!(&emr.store, store => process_on(store, accession).await)
    }

    /// Hands it over as the client does, and commits what is no error.
    async fn process_on<D: Engine>(
        store: &SqlStore<D>,
        accession: Option<Accession>,
    ) -> Result<Handled, WorkerError> {
        let begun = store.pool().begin_with(D::BEGIN).await;
        let mut transaction: Transaction<'static, D> = begun?;
        let event = event_of_the_lab("accession");
        let worker = worker(store);
        let handled = worker.process(&event, &accession, &mut *transaction);
        let handled = handled.await?;
        transaction.commit().await?;
        Ok(handled)
    }

    #[tokio::test]
    async fn results_that_come_twice_are_one_event_of_the_encounter() {
        for database in databases("results_twice") {
            let emr = TestEmr::on(&database).await;
            emr.client.put_patient(&patient(1)).await.unwrap();
            emr.client.put_encounter(&encounter(5, 1)).await.unwrap();
            for _ in 0..2 {
                let handled = process(&emr, Some(haemoglobin("11.2"))).await.unwrap();
                assert_eq!(handled, Handled::Applied);
            }
            assert_eq!(emr.events("encounter").await, 2);

            process(&emr, Some(haemoglobin("11.4"))).await.unwrap();
            assert_eq!(emr.events("encounter").await, 3);
            let path = format!("/openmrs/ws/rest/v1/encounter/{}", encounter(5, 1).uuid);
            let (_, shown) = emr.get(&path).await;
            let expected = serde_json::to_value(haemoglobin("11.4").results).unwrap();
            assert_eq!(shown["results"], expected);
        }
    }

    #[tokio::test]
    async fn results_without_their_encounter_are_parked_and_leave_nothing() {
        for database in databases("results_alone") {
            let emr = TestEmr::on(&database).await;
            emr.client.put_patient(&patient(1)).await.unwrap();
            let error = process(&emr, Some(haemoglobin("11.2"))).await.unwrap_err();
            assert!(!error.is_transient());
            let missing = encounter(5, 1).uuid.to_string();
            assert!(error.to_string().contains(&missing), "{error}");
            let count = emr.row("SELECT COUNT(*) FROM results", &[]).await;
            assert_eq!(count[0].number(), 0);
            assert_eq!(emr.events("encounter").await, 0);
        }
    }

    #[tokio::test]
    async fn what_else_is_on_the_feed_is_ignored() {
        for database in databases("results_else") {
            let emr = TestEmr::on(&database).await;
            emr.client.put_patient(&patient(1)).await.unwrap();
            let event = event_of_the_lab("patient");
            let prepared = with_store!(&emr.store, store => worker(store).prepare(&event).await);
            assert!(prepared.unwrap().is_none());
            let handled = process(&emr, None).await.unwrap();
            assert_eq!(handled, Handled::Ignored);
        }
    }
}
