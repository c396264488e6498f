//! The lab's patients, from the EMR's feed `patient`.

use async_trait::async_trait;
use atomfeed_client::{Event, FetchContent, Handled, PreparingWorker, Resources, WorkerError};

use crate::hospital::documents::Patient;
use crate::hospital::{Field, Sql};

const WRITE: &str = "INSERT INTO patients (uuid, identifier, name, gender, birthdate, village)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (uuid) DO UPDATE SET identifier = excluded.identifier, name = excluded.name,
        gender = excluded.gender, birthdate = excluded.birthdate, village = excluded.village";

/// Writes each patient as the EMR has it, under the uuid that both know: to do so twice does no harm.
#[derive(Debug)]
pub struct Patients {
    emr: Resources,
}

impl Patients {
    /// Fetches patients from there.
    pub fn new(emr: Resources) -> Self {
        Self { emr }
    }
}

#[async_trait]
impl<C: Sql + 'static> PreparingWorker<C> for Patients {
    type Prepared = Patient;

    async fn prepare(&self, event: &Event) -> Result<Patient, WorkerError> {
        Ok(event.fetch(&self.emr).await?.json()?)
    }

    async fn process(
        &self,
        _event: &Event,
        patient: &Patient,
        conn: &mut C,
    ) -> Result<Handled, WorkerError> {
        let values: [Field; 6] = [
            patient.uuid.into(),
            patient.identifier.as_str().into(),
            patient.name.as_str().into(),
            patient.gender.as_str().into(),
            patient.birthdate.to_string().into(),
            patient.village.as_str().into(),
        ];
        conn.run(WRITE, &values).await?;
        Ok(Handled::Applied)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::hospital::lab::fixture::{Lab, asha, resources};

    #[tokio::test]
    async fn a_patient_is_written_as_it_came_last() {
        let lab = Lab::new().await;
        let worker = Patients::new(resources());
        for _ in 0..2 {
            let handled = lab.apply(&worker, &asha()).await.unwrap();
            assert_eq!(handled, Handled::Applied);
        }
        let moved = Patient {
            village: "Dhamtari".to_owned(),
            ..asha()
        };
        lab.apply(&worker, &moved).await.unwrap();
        let rows = lab
            .rows("SELECT identifier, name, gender, birthdate, village FROM patients")
            .await;
        assert_eq!(rows, ["GAN200001 Asha Verma F 1984-03-09 Dhamtari"]);
    }
}
