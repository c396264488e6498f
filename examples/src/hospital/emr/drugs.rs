use async_trait::async_trait;
use uuid::Uuid;

use super::answer::Refusal;
use super::checks::{filled, one_line, price};
use super::resources::Kept;
use crate::hospital::documents::Drug;
use crate::hospital::{Field, Sql};

/// Notes what it costs, unless it has cost that already.
const NOTE_PRICE: &str =
    "INSERT INTO prices (uuid, price) SELECT uuid, price FROM drugs WHERE uuid = $1
    ON CONFLICT (uuid, price) DO NOTHING";

#[async_trait]
impl Kept for Drug {
    const NAME: &'static str = "drug";
    const CATEGORY: &'static str = "drug";
    const TITLE: &'static str = "Drug";

    fn uuid(&self) -> Uuid {
        self.uuid
    }

    fn check(&self) -> Result<(), String> {
        filled("name", &self.name)?;
        one_line("form", &self.form)?;
        price(self.price)
    }

    async fn load<C: Sql + ?Sized>(uuid: Uuid, conn: &mut C) -> sqlx::Result<Option<Self>> {
        let select = "SELECT name, form, price FROM drugs WHERE uuid = $1";
        let row = conn.row(select, &[uuid.into()]).await?;
        Ok(row.map(|row| Self {
            uuid,
            name: row[0].text().to_owned(),
            form: row[1].text().to_owned(),
            price: row[2].number(),
        }))
    }

    async fn save<C: Sql + ?Sized>(&self, conn: &mut C) -> Result<bool, Refusal> {
        // What it cost before, too: nothing was noted by those who made the table without that of prices.
        conn.run(NOTE_PRICE, &[self.uuid.into()]).await?;
        let upsert = "INSERT INTO drugs (uuid, name, form, price) VALUES ($1, $2, $3, $4)
            ON CONFLICT (uuid) DO UPDATE SET name = excluded.name, form = excluded.form,
                price = excluded.price
            WHERE (drugs.name, drugs.form, drugs.price)
                <> (excluded.name, excluded.form, excluded.price)";
        let values = [
            Field::from(self.uuid),
            self.name.as_str().into(),
            self.form.as_str().into(),
            self.price.into(),
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
    use crate::hospital::emr::testing::{TestEmr, databases};

    async fn prices(emr: &TestEmr) -> [i64; 3] {
        let select =
            "SELECT COUNT(*), COALESCE(MIN(price), 0), COALESCE(MAX(price), 0) FROM prices";
        let row = emr.row(select, &[]).await;
        [0, 1, 2].map(|column| row[column].number())
    }

    #[tokio::test]
    async fn all_that_a_drug_has_cost_is_kept() {
        for database in databases("drug_prices") {
            let emr = TestEmr::on(&database).await;
            let mut drug = Drug {
                uuid: Uuid::from_u128(7),
                name: "Paracetamol 500mg".to_owned(),
                form: "Tablet".to_owned(),
                price: 1250,
            };
            emr.client.put_drug(&drug).await.unwrap();
            drug.name = "Paracetamol 650mg".to_owned();
            emr.client.put_drug(&drug).await.unwrap();
            assert_eq!(prices(&emr).await, [1, 1250, 1250]);
            // As where it was put before there was such a table.
            emr.run("DELETE FROM prices", &[]).await;
            drug.price = 1300;
            emr.client.put_drug(&drug).await.unwrap();
            assert_eq!(prices(&emr).await, [2, 1250, 1300]);
            drug.price = 1250;
            emr.client.put_drug(&drug).await.unwrap();
            assert_eq!(prices(&emr).await, [2, 1250, 1300]);
        }
    }
}
