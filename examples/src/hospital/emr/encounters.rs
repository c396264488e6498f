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

    fn check(&self) -> Result<(), String> {
        orders::check(&self.orders)
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
        if let Some(before) = hold(self.uuid, conn).await? {
            if before.says_the_same(self) {
                return Ok(false);
            }
            if before.patient_uuid != self.patient_uuid {
                let why = format!(
                    "encounter {} is of patient {} and stays so: cancel its orders, and begin another",
                    self.uuid, before.patient_uuid
                );
                return Err(Refusal::new(StatusCode::CONFLICT, why));
            }
            orders::check_change(&before, self, conn).await?;
            orders::note_renamed(&before, self, conn).await?;
        }
        let update = "UPDATE encounters SET patient_uuid = $2, encounter_datetime = $3
            WHERE uuid = $1";
        let begun = self.encounter_datetime;
        let begun = begun.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let values = [
            Field::from(self.uuid),
            self.patient_uuid.into(),
            begun.into(),
        ];
        conn.run(update, &values).await?;
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

/// Makes the row of an encounter, or takes hold of it, and gives what was there before. Nobody else changes that
/// until the transaction ends: PostgreSQL has them wait for the row.
async fn hold<C: Sql + ?Sized>(uuid: Uuid, conn: &mut C) -> sqlx::Result<Option<Encounter>> {
    let hold = "INSERT INTO encounters (uuid, patient_uuid, encounter_datetime)
        VALUES ($1, '', '')
        ON CONFLICT (uuid) DO UPDATE SET uuid = excluded.uuid
        RETURNING patient_uuid";
    let held = conn.row(hold, &[uuid.into()]).await?;
    match held.is_some_and(|row| row[0].text().is_empty()) {
        true => Ok(None),
        false => Encounter::load(uuid, conn).await,
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
mod tests;
