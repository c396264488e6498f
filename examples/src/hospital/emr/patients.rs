use async_trait::async_trait;
use uuid::Uuid;

use super::answer::Refusal;
use super::checks::{filled, number, one_line, shown};
use super::resources::{Kept, parsed};
use crate::hospital::documents::Patient;
use crate::hospital::{Field, Sql};

#[async_trait]
impl Kept for Patient {
    const NAME: &'static str = "patient";
    const CATEGORY: &'static str = "patient";
    const TITLE: &'static str = "Patient";

    fn uuid(&self) -> Uuid {
        self.uuid
    }

    fn check(&self) -> Result<(), String> {
        number("identifier", &self.identifier)?;
        filled("name", &self.name)?;
        one_line("village", &self.village)?;
        match self.gender.as_str() {
            "F" | "M" | "O" => Ok(()),
            other => Err(format!(
                "the gender {} is none: give F, M or O",
                shown(other)
            )),
        }
    }

    async fn load<C: Sql + ?Sized>(uuid: Uuid, conn: &mut C) -> sqlx::Result<Option<Self>> {
        let select =
            "SELECT identifier, name, gender, birthdate, village FROM patients WHERE uuid = $1";
        let Some(row) = conn.row(select, &[uuid.into()]).await? else {
            return Ok(None);
        };
        Ok(Some(Self {
            uuid,
            identifier: row[0].text().to_owned(),
            name: row[1].text().to_owned(),
            gender: row[2].text().to_owned(),
            birthdate: parsed(&row[3])?,
            village: row[4].text().to_owned(),
        }))
    }

    async fn save<C: Sql + ?Sized>(&self, conn: &mut C) -> Result<bool, Refusal> {
        let upsert = "INSERT INTO patients (uuid, identifier, name, gender, birthdate, village)
            VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (uuid) DO UPDATE SET identifier = excluded.identifier,
                name = excluded.name, gender = excluded.gender, birthdate = excluded.birthdate,
                village = excluded.village
            WHERE (patients.identifier, patients.name, patients.gender, patients.birthdate,
                    patients.village)
                <> (excluded.identifier, excluded.name, excluded.gender, excluded.birthdate,
                    excluded.village)";
        let values = [
            Field::from(self.uuid),
            self.identifier.as_str().into(),
            self.name.as_str().into(),
            self.gender.as_str().into(),
            self.birthdate.to_string().into(),
            self.village.as_str().into(),
        ];
        Ok(conn.run(upsert, &values).await? > 0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::hospital::emr::testing::{TestEmr, databases, patient};

    #[tokio::test]
    async fn what_is_put_again_is_no_news_and_what_is_changed_is() {
        for database in databases("patient_again") {
            let emr = TestEmr::on(&database).await;
            let mut asha = patient(1);
            assert!(emr.client.put_patient(&asha).await.unwrap());
            assert!(!emr.client.put_patient(&asha).await.unwrap());
            assert_eq!(emr.events("patient").await, 1);

            asha.village = "Dhamtari".to_owned();
            assert!(emr.client.put_patient(&asha).await.unwrap());
            assert_eq!(emr.events("patient").await, 2);

            let path = format!(
                "/openmrs/ws/rest/v1/patient/{}?v=full&approved=yes",
                asha.uuid
            );
            let (status, shown) = emr.get(&path).await;
            assert_eq!(status, 200);
            assert_eq!(shown, serde_json::to_value(&asha).unwrap());
        }
    }

    #[tokio::test]
    async fn the_event_names_the_resource() {
        for database in databases("patient_event") {
            let emr = TestEmr::on(&database).await;
            let asha = patient(1);
            emr.client.put_patient(&asha).await.unwrap();
            // From the queue, a sequencer moves it on.
            let select = "SELECT title, object FROM event_records
                UNION ALL SELECT title, object FROM event_records_queue";
            let row = emr.row(select, &[]).await;
            assert_eq!(row[0].text(), "Patient");
            let path = format!("/openmrs/ws/rest/v1/patient/{}?v=full", asha.uuid);
            assert_eq!(row[1].text(), path);
        }
    }

    #[tokio::test]
    async fn what_is_not_there_is_404_and_what_makes_no_sense_is_400() {
        for database in databases("patient_senseless") {
            let emr = TestEmr::on(&database).await;
            let (asha, ravi) = (patient(1), patient(2));
            let path = format!("/openmrs/ws/rest/v1/patient/{}", asha.uuid);
            assert_eq!(emr.get(&path).await.0, 404);
            let (status, _) = emr.put(&path, &serde_json::to_value(&ravi).unwrap()).await;
            assert_eq!(status, 400);
            let (status, said) = emr
                .put(&path, &serde_json::json!({ "uuid": asha.uuid }))
                .await;
            assert_eq!(status, 400);
            assert!(
                said["error"].as_str().unwrap().contains("identifier"),
                "{said}"
            );
            assert_eq!(emr.events("patient").await, 0);
        }
    }
}
