//! The work of one call on the tables: what is written, and the rules that it keeps.

use serde_json::{Map, Value};

use super::exception::Failure;
use super::reading::Work;
use super::tables::{Kind, List, MODELS, Model, NEXT_ID, Place, Record, id};
use super::values::{default, stored};
use crate::hospital::erp::APPROVED;
use crate::hospital::store::Field;

/// The values of fields, by their names.
pub(super) type Values = Map<String, Value>;

/// What an order may cost, in paise, unless somebody has agreed to it: a lakh of rupees.
pub(in crate::hospital) const LIMIT: i64 = 100_000 * 100;

impl Work<'_> {
    /// Creates records, each with what its list has, and gives their ids.
    pub(super) async fn create(
        &mut self,
        model: &'static Model,
        all: &[Values],
    ) -> Result<Vec<i64>, Failure> {
        let mut ids = Vec::with_capacity(all.len());
        for values in all {
            let id = self.insert(model, values).await?;
            self.write_list(model, id, values).await?;
            ids.push(id);
        }
        self.settle().await?;
        Ok(ids)
    }

    /// Writes the same values to records.
    pub(super) async fn write(
        &mut self,
        model: &'static Model,
        ids: &[i64],
        values: &Values,
    ) -> Result<(), Failure> {
        for id in ids {
            let record = self.locked(model, *id).await?;
            self.update(model, record, values).await?;
            self.write_list(model, *id, values).await?;
        }
        self.settle().await
    }

    /// Deletes records, an order with its lines; not what others name.
    pub(super) async fn unlink(
        &mut self,
        model: &'static Model,
        ids: &[i64],
    ) -> Result<(), Failure> {
        for id in ids {
            if let Some(list) = &model.list {
                let lines = Model::of(list.model)?;
                for line in self.of(lines, list.by, Field::Number(*id)).await? {
                    self.delete(lines, line).await?;
                }
            }
            let record = self.locked(model, *id).await?;
            self.delete(model, record).await?;
        }
        self.settle().await
    }

    async fn insert(&mut self, model: &'static Model, values: &Values) -> Result<i64, Failure> {
        let statements = model.statements()?;
        let mut record = vec![Field::Number(0)];
        record.extend(model.columns.iter().map(default));
        apply(model, &mut record, values)?;
        let next = self.conn.row(NEXT_ID, &[model.name.into()]).await?;
        let id = next.as_ref().map_or(0, id);
        record[0] = Field::Number(id);
        self.complete(model, &mut record, values).await?;
        self.check(model, &record).await?;
        self.conn.run(statements.insert, &record).await?;
        self.touch(model, &record);
        Ok(id)
    }

    async fn update(
        &mut self,
        model: &'static Model,
        mut record: Record,
        values: &Values,
    ) -> Result<(), Failure> {
        self.touch(model, &record);
        apply(model, &mut record, values)?;
        self.complete(model, &mut record, values).await?;
        self.check(model, &record).await?;
        self.conn.run(model.statements()?.update, &record).await?;
        self.touch(model, &record);
        Ok(())
    }

    async fn delete(&mut self, model: &'static Model, record: Record) -> Result<(), Failure> {
        for other in MODELS.iter() {
            let mut columns = other.columns.iter();
            let named = columns.find(|column| match column.kind {
                Kind::Many2one(to) => to == model.name,
                _ => false,
            });
            let Some(column) = named else { continue };
            let value = Field::Number(id(&record));
            if !self.of(other, column.name, value).await?.is_empty() {
                return Err(Failure::validation(format!(
                    "The operation cannot be completed: {} is still named by a record of {}",
                    model.display_name(&record),
                    other.name
                )));
            }
        }
        let sql = model.statements()?.delete;
        self.conn.run(sql, &[Field::Number(id(&record))]).await?;
        self.touch(model, &record);
        Ok(())
    }

    /// A record that nobody else writes until the end of the transaction.
    async fn locked(&mut self, model: &'static Model, id: i64) -> Result<Record, Failure> {
        let lock = model.statements()?.lock;
        let record = self.conn.row(lock, &[id.into()]).await?;
        record.ok_or_else(|| Failure::missing(model.name, id))
    }

    /// What is written to a list: `(0, 0, values)` adds a record to it, `(1, id, values)` writes one, `(2, id)`
    /// deletes one.
    async fn write_list(
        &mut self,
        model: &'static Model,
        parent: i64,
        values: &Values,
    ) -> Result<(), Failure> {
        let Some(list) = &model.list else {
            return Ok(());
        };
        let commands = match values.get(list.name) {
            None | Some(Value::Null | Value::Bool(false)) => return Ok(()),
            Some(Value::Array(commands)) => commands,
            Some(other) => {
                let field = format!("{}.{}", model.name, list.name);
                return Err(Failure::value(format!("Wrong value for {field}: {other}")));
            }
        };
        for command in commands {
            self.obey(list, parent, command).await?;
        }
        Ok(())
    }

    async fn obey(
        &mut self,
        list: &'static List,
        parent: i64,
        command: &Value,
    ) -> Result<(), Failure> {
        let model = Model::of(list.model)?;
        let values = || {
            let values = command.get(2).and_then(Value::as_object);
            values.ok_or_else(|| Failure::kind(format!("{command} has no values")))
        };
        match (command[0].as_i64(), command[1].as_i64()) {
            (Some(0), _) => {
                let mut values = values()?.clone();
                values.insert(list.by.to_owned(), parent.into());
                self.insert(model, &values).await?;
                Ok(())
            }
            (Some(1), Some(id)) => {
                let record = self.listed(list, model, parent, id).await?;
                self.update(model, record, values()?).await
            }
            (Some(2), Some(id)) => {
                let record = self.listed(list, model, parent, id).await?;
                self.delete(model, record).await
            }
            _ => Err(Failure::not_spoken(format!("the command {command}"))),
        }
    }

    /// A record of the list of another.
    async fn listed(
        &mut self,
        list: &'static List,
        model: &'static Model,
        parent: i64,
        id: i64,
    ) -> Result<Record, Failure> {
        let record = self.locked(model, id).await?;
        match *model.value(&record, list.by) == Field::Number(parent) {
            true => Ok(record),
            false => Err(Failure::missing(model.name, id)),
        }
    }

    /// What Odoo computes of what is given: the name of an order, and what a line has of its product.
    async fn complete(
        &mut self,
        model: &'static Model,
        record: &mut Record,
        given: &Values,
    ) -> Result<(), Failure> {
        if model.name == "sale.order" && model.value(record, "name").text().is_empty() {
            let name = format!("S{:05}", id(record));
            model.set(record, "name", name);
        }
        if model.name == "sale.order.line" && given.contains_key("product_id") {
            let products = Model::of("product.product")?;
            let product = model.value(record, "product_id").number();
            let Some(product) = self.get(products, product).await? else {
                return Ok(());
            };
            if !given.contains_key("price_unit") {
                let price = products.value(&product, "list_price").number();
                model.set(record, "price_unit", price);
            }
            if !given.contains_key("name") {
                model.set(record, "name", products.display_name(&product));
            }
        }
        Ok(())
    }

    /// That a record has what it needs, names what there is, and has for itself what is unique.
    async fn check(&mut self, model: &'static Model, record: &Record) -> Result<(), Failure> {
        for column in &model.columns {
            let value = model.value(record, column.name);
            let is_nothing = value.text().is_empty() && value.number() == 0;
            if is_nothing && column.is_required {
                return Err(Failure::validation(format!(
                    "Missing required value for the field '{}' ({}.{})",
                    column.label, model.name, column.name
                )));
            }
            if is_nothing {
                continue;
            }
            if let Kind::Many2one(to) = column.kind {
                let named = self.get(Model::of(to)?, value.number()).await?;
                named.ok_or_else(|| Failure::missing(to, value.number()))?;
            }
            if column.is_unique {
                let same = self.of(model, column.name, value.clone()).await?;
                if let Some(other) = same.iter().find(|other| id(other) != id(record)) {
                    return Err(Failure::validation(format!(
                        "The operation cannot be completed: {} must be unique, and {} has the {} {} already",
                        column.name,
                        model.display_name(other),
                        column.label,
                        value.text()
                    )));
                }
            }
        }
        Ok(())
    }

    fn touch(&mut self, model: &Model, record: &Record) {
        match model.name {
            "sale.order" => self.touched.insert(id(record)),
            "sale.order.line" => {
                let order = model.value(record, "order_id").number();
                self.touched.insert(order)
            }
            _ => false,
        };
    }

    /// Adds up what orders cost of which something was written, and refuses what is too much.
    async fn settle(&mut self) -> Result<(), Failure> {
        let orders = Model::of("sale.order")?;
        let lines = Model::of("sale.order.line")?;
        for order in std::mem::take(&mut self.touched) {
            let statements = orders.statements()?;
            let record = self.conn.row(statements.lock, &[order.into()]).await?;
            // It may be deleted.
            let Some(mut record) = record else { continue };
            let lines_of = self.of(lines, "order_id", order.into()).await?;
            let costs = lines_of.iter().map(|line| {
                let quantity = lines.value(line, "product_uom_qty").number();
                quantity.saturating_mul(lines.value(line, "price_unit").number())
            });
            let total = costs.fold(0, i64::saturating_add);
            let is_approved = orders.value(&record, APPROVED).number() != 0;
            if total > LIMIT && !is_approved {
                return Err(self.too_much(orders, &record, total).await?);
            }
            if orders.value(&record, "amount_total").number() != total {
                orders.set(&mut record, "amount_total", total);
                self.conn.run(statements.update, &record).await?;
            }
        }
        Ok(())
    }

    async fn too_much(
        &mut self,
        orders: &Model,
        order: &Record,
        total: i64,
    ) -> Result<Failure, Failure> {
        let partners = Model::of("res.partner")?;
        let partner = orders.value(order, "partner_id").number();
        let partner = self.get(partners, partner).await?;
        let rupees = |paise: i64| format!("{}.{:02}", paise / 100, paise % 100);
        Ok(Failure::validation(format!(
            "{} of {} comes to {}, which exceeds the limit of {} for one order: have it approved",
            orders.display_name(order),
            partner.map_or_else(String::new, |partner| partners.display_name(&partner)),
            rupees(total),
            rupees(LIMIT)
        )))
    }
}

fn apply(model: &'static Model, record: &mut Record, values: &Values) -> Result<(), Failure> {
    for (name, value) in values {
        // Lists are written once the record is there, and what Odoo makes itself it passes over.
        if let Place::Column(at) = model.place(name)?
            && let Some(column) = model.columns.get(at)
        {
            model.set(record, column.name, stored(model, column, value)?);
        }
    }
    Ok(())
}
