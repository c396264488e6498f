use async_trait::async_trait;
use uuid::Uuid;

use super::answer::Refusal;
use super::checks::{filled, one_line, price};
use super::resources::{Kept, parsed};
use crate::hospital::documents::LabTest;
use crate::hospital::{Field, Sql};

/// Notes what it costs, unless it has cost that already.
const NOTE_PRICE: &str =
    "INSERT INTO prices (uuid, price) SELECT uuid, price FROM lab_tests WHERE uuid = $1
    ON CONFLICT (uuid, price) DO NOTHING";

#[async_trait]
impl Kept for LabTest {
    const NAME: &'static str = "labtest";
    const CATEGORY: &'static str = "lab";
    const TITLE: &'static str = "Lab Test";

    fn uuid(&self) -> Uuid {
        self.uuid
    }

    fn check(&self) -> Result<(), String> {
        filled("name", &self.name)?;
        one_line("unit", &self.unit)?;
        price(self.price)
    }

    async fn load<C: Sql + ?Sized>(uuid: Uuid, conn: &mut C) -> sqlx::Result<Option<Self>> {
        let select = "SELECT name, unit, price, members FROM lab_tests WHERE uuid = $1";
        let Some(row) = conn.row(select, &[uuid.into()]).await? else {
            return Ok(None);
        };
        let members = row[3].text().split(',').filter(|member| !member.is_empty());
        let members = members.map(|member| parsed(&Field::from(member)));
        Ok(Some(Self {
            uuid,
            name: row[0].text().to_owned(),
            unit: row[1].text().to_owned(),
            price: row[2].number(),
            members: members.collect::<sqlx::Result<_>>()?,
        }))
    }

    async fn save<C: Sql + ?Sized>(&self, conn: &mut C) -> Result<bool, Refusal> {
        // What it cost before, too: nothing was noted by those who made the table without that of prices.
        conn.run(NOTE_PRICE, &[self.uuid.into()]).await?;
        let upsert = "INSERT INTO lab_tests (uuid, name, unit, price, members)
            VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (uuid) DO UPDATE SET name = excluded.name, unit = excluded.unit,
                price = excluded.price, members = excluded.members
            WHERE (lab_tests.name, lab_tests.unit, lab_tests.price, lab_tests.members)
                <> (excluded.name, excluded.unit, excluded.price, excluded.members)";
        let members: Vec<String> = self.members.iter().map(Uuid::to_string).collect();
        let values = [
            Field::from(self.uuid),
            self.name.as_str().into(),
            self.unit.as_str().into(),
            self.price.into(),
            members.join(",").into(),
        ];
        let is_changed = conn.run(upsert, &values).await? > 0;
        conn.run(NOTE_PRICE, &[self.uuid.into()]).await?;
        Ok(is_changed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::hospital::emr::testing::TestEmr;

    #[tokio::test]
    async fn a_panel_keeps_its_tests() {
        let emr = TestEmr::start().await;
        let mut panel = LabTest {
            uuid: Uuid::from_u128(7),
            name: "Blood count".to_owned(),
            unit: String::new(),
            price: 25_000,
            members: vec![Uuid::from_u128(9), Uuid::from_u128(8)],
        };
        assert!(emr.client.put_lab_test(&panel).await.unwrap());
        assert!(!emr.client.put_lab_test(&panel).await.unwrap());
        let path = format!("/openmrs/ws/rest/v1/labtest/{}", panel.uuid);
        let shown = emr.get(&path).await;
        assert_eq!(shown, (200, serde_json::to_value(&panel).unwrap()));

        panel.members.clear();
        assert!(emr.client.put_lab_test(&panel).await.unwrap());
        let shown = emr.get(&path).await;
        assert_eq!(shown, (200, serde_json::to_value(&panel).unwrap()));
        assert_eq!(emr.events("lab").await, 2);
    }
}
