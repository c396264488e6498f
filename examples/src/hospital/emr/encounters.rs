use async_trait::async_trait;
use axum::http::StatusCode;
use chrono::SecondsFormat;
use uuid::Uuid;

use super::answer::Refusal;
use super::orders;
use super::resources::{Kept, parsed};
use crate::hospital::documents::{Encounter, TestResult};
use crate::hospital::{Field, Sql};

/// Results are shown and not taken: they come from the lab.
#[async_trait]
impl Kept for Encounter {
    const NAME: &'static str = "encounter";
    const CATEGORY: &'static str = "encounter";
    const TITLE: &'static str = "Encounter";

    fn uuid(&self) -> Uuid {
        self.uuid
    }

    async fn load<C: Sql + ?Sized>(uuid: Uuid, conn: &mut C) -> sqlx::Result<Option<Self>> {
        let select = "SELECT patient_uuid, encounter_datetime FROM encounters WHERE uuid = $1";
        let Some(row) = conn.row(select, &[uuid.into()]).await? else {
            return Ok(None);
        };
        Ok(Some(Self {
            uuid,
            patient_uuid: parsed(&row[0])?,
            encounter_datetime: parsed(&row[1])?,
            orders: orders::load(uuid, conn).await?,
            results: results(uuid, conn).await?,
        }))
    }

    async fn save<C: Sql + ?Sized>(&self, conn: &mut C) -> Result<bool, Refusal> {
        let patient = "SELECT uuid FROM patients WHERE uuid = $1";
        if conn
            .row(patient, &[self.patient_uuid.into()])
            .await?
            .is_none()
        {
            let why = format!(
                "the EMR has no patient {}: register the patient first",
                self.patient_uuid
            );
            return Err(Refusal::new(StatusCode::CONFLICT, why));
        }
        let before = Self::load(self.uuid, conn).await?;
        if before.is_some_and(|before| before.says_the_same(self)) {
            return Ok(false);
        }
        // First the row of the encounter itself: on PostgreSQL, who writes it holds back others who do.
        let upsert = "INSERT INTO encounters (uuid, patient_uuid, encounter_datetime)
            VALUES ($1, $2, $3)
            ON CONFLICT (uuid) DO UPDATE SET patient_uuid = excluded.patient_uuid,
                encounter_datetime = excluded.encounter_datetime";
        let begun = self.encounter_datetime;
        let begun = begun.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let values = [
            Field::from(self.uuid),
            self.patient_uuid.into(),
            begun.into(),
        ];
        conn.run(upsert, &values).await?;
        orders::replace(self.uuid, &self.orders, conn).await?;
        Ok(true)
    }
}

impl Encounter {
    /// Whether all but the results is the same.
    fn says_the_same(&self, other: &Self) -> bool {
        let of = |it: &Self| (it.patient_uuid, it.encounter_datetime);
        of(self) == of(other) && self.orders == other.orders
    }
}

async fn results<C: Sql + ?Sized>(encounter: Uuid, conn: &mut C) -> sqlx::Result<Vec<TestResult>> {
    let select = "SELECT order_uuid, test_uuid, value, unit FROM results
        WHERE encounter_uuid = $1 ORDER BY order_uuid, test_uuid";
    let rows = conn.rows(select, &[encounter.into()]).await?;
    rows.iter().map(|row| result(row)).collect()
}

fn result(row: &[Field]) -> sqlx::Result<TestResult> {
    Ok(TestResult {
        order_uuid: parsed(&row[0])?,
        test_uuid: parsed(&row[1])?,
        value: row[2].text().to_owned(),
        unit: row[3].text().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::to_value;

    use super::*;
    use crate::hospital::documents::OrderAction;
    use crate::hospital::emr::testing::{TestEmr, encounter, patient};

    fn path(of: &Encounter) -> String {
        format!("/openmrs/ws/rest/v1/encounter/{}", of.uuid)
    }

    #[tokio::test]
    async fn an_encounter_of_a_patient_who_is_not_there_is_refused() {
        let emr = TestEmr::start().await;
        let seen = encounter(5, 1);
        let (status, said) = emr.put(&path(&seen), &to_value(&seen).unwrap()).await;
        assert_eq!(status, 409);
        let said = said["error"].as_str().unwrap().to_owned();
        assert!(said.contains(&seen.patient_uuid.to_string()), "{said}");
        assert_eq!(emr.get(&path(&seen)).await.0, 404);
        assert_eq!(emr.events("encounter").await, 0);

        emr.client.put_patient(&patient(1)).await.unwrap();
        assert!(emr.client.put_encounter(&seen).await.unwrap());
        assert_eq!(emr.get(&path(&seen)).await, (200, to_value(&seen).unwrap()));
    }

    #[tokio::test]
    async fn orders_are_replaced_and_the_same_ones_are_no_news() {
        let emr = TestEmr::start().await;
        emr.client.put_patient(&patient(1)).await.unwrap();
        let mut seen = encounter(5, 1);
        assert!(emr.client.put_encounter(&seen).await.unwrap());
        assert!(!emr.client.put_encounter(&seen).await.unwrap());
        assert_eq!(emr.events("encounter").await, 1);

        seen.orders[1].action = OrderAction::Discontinue;
        seen.orders.swap(0, 1);
        assert!(emr.client.put_encounter(&seen).await.unwrap());
        assert_eq!(emr.get(&path(&seen)).await, (200, to_value(&seen).unwrap()));
        assert_eq!(emr.events("encounter").await, 2);
    }

    #[tokio::test]
    async fn nothing_is_left_of_an_encounter_with_an_order_of_another() {
        let emr = TestEmr::start().await;
        emr.client.put_patient(&patient(1)).await.unwrap();
        let first = encounter(5, 1);
        emr.client.put_encounter(&first).await.unwrap();
        let mut second = encounter(6, 1);
        second.orders[1].uuid = first.orders[0].uuid;
        let (status, _) = emr.put(&path(&second), &to_value(&second).unwrap()).await;
        assert_eq!(status, 409);
        assert_eq!(emr.get(&path(&second)).await.0, 404);
        assert_eq!(emr.get(&path(&first)).await.1, to_value(&first).unwrap());
        assert_eq!(emr.events("encounter").await, 1);
    }

    #[tokio::test]
    async fn results_are_the_labs_and_stay_when_an_encounter_is_put() {
        let emr = TestEmr::start().await;
        emr.client.put_patient(&patient(1)).await.unwrap();
        let mut seen = encounter(5, 1);
        emr.client.put_encounter(&seen).await.unwrap();
        let insert = "INSERT INTO results (order_uuid, test_uuid, value, unit, encounter_uuid)
            VALUES ($1, $2, '11.2', 'g/dl', $3)";
        let order = &seen.orders[0];
        let values = [
            Field::from(order.uuid),
            order.concept.uuid.into(),
            seen.uuid.into(),
        ];
        emr.run(insert, &values).await;

        assert!(!emr.client.put_encounter(&seen).await.unwrap());
        seen.orders[0].quantity = 2;
        assert!(emr.client.put_encounter(&seen).await.unwrap());
        let (_, shown) = emr.get(&path(&seen)).await;
        assert_eq!(shown["results"][0]["value"], "11.2");
        assert_eq!(shown["orders"][0]["quantity"], 2);
    }
}
