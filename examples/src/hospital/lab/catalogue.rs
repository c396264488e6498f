//! The lab's tests and panels, from the EMR's feed `lab`.

use async_trait::async_trait;
use atomfeed_client::{Event, FetchContent, Handled, PreparingWorker, Resources, WorkerError};
use uuid::Uuid;

use crate::hospital::documents::LabTest;
use crate::hospital::{Field, Sql};

const WRITE: &str = "INSERT INTO tests (uuid, name, unit, members) VALUES ($1, $2, $3, $4)
    ON CONFLICT (uuid) DO UPDATE SET name = excluded.name, unit = excluded.unit, members = excluded.members";

/// Writes each test and panel as the EMR has it. A panel may come before its tests: it is written all the
/// same, and what is ordered of it waits until they have come.
#[derive(Debug)]
pub struct Catalogue {
    emr: Resources,
}

impl Catalogue {
    /// Fetches tests from there.
    pub fn new(emr: Resources) -> Self {
        Self { emr }
    }
}

#[async_trait]
impl<C: Sql + 'static> PreparingWorker<C> for Catalogue {
    type Prepared = LabTest;

    async fn prepare(&self, event: &Event) -> Result<LabTest, WorkerError> {
        Ok(event.fetch(&self.emr).await?.json()?)
    }

    async fn process(
        &self,
        _event: &Event,
        test: &LabTest,
        conn: &mut C,
    ) -> Result<Handled, WorkerError> {
        let members: Vec<_> = test.members.iter().map(Uuid::to_string).collect();
        let values: [Field; 4] = [
            test.uuid.into(),
            test.name.as_str().into(),
            test.unit.as_str().into(),
            members.join(",").into(),
        ];
        conn.run(WRITE, &values).await?;
        Ok(Handled::Applied)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::hospital::lab::fixture::{Lab, panel, resources, test, uuid};

    #[tokio::test]
    async fn a_panel_is_written_before_its_tests_are_known() {
        let lab = Lab::new().await;
        let worker = Catalogue::new(resources());
        let blood_count = panel(10, "Blood count", &[11, 12]);
        for _ in 0..2 {
            lab.apply(&worker, &blood_count).await.unwrap();
        }
        lab.apply(&worker, &test(11, "Haemoglobin")).await.unwrap();
        let rows = lab
            .rows("SELECT name, unit, members FROM tests ORDER BY name")
            .await;
        let members = format!("Blood count  {},{}", uuid(11), uuid(12));
        assert_eq!(rows, [members.as_str(), "Haemoglobin g/dl "]);
    }
}
