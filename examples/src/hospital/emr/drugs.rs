use async_trait::async_trait;
use uuid::Uuid;

use super::answer::Refusal;
use super::checks::{filled, one_line, price};
use super::resources::Kept;
use crate::hospital::documents::Drug;
use crate::hospital::{Field, Sql};

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
        Ok(conn.run(upsert, &values).await? > 0)
    }
}
