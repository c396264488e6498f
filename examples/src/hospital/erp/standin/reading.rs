//! The work of one call on the tables: what is read.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::domain::Domain;
use super::exception::Failure;
use super::tables::{Kind, Model, Place, Record, Source, id};
use super::values::shown;
use crate::hospital::store::{Field, Sql};

/// The work of one call, in the one transaction that it has.
pub(super) struct Work<'c> {
    pub(super) conn: &'c mut dyn Sql,
    /// Sale orders of which something was written: what they cost is not looked at yet.
    pub(super) touched: BTreeSet<i64>,
    /// What people see of records, by model and id.
    names: HashMap<(&'static str, i64), String>,
}

/// In which order, and how many.
#[derive(Default)]
pub(super) struct Range {
    /// `name desc, id`
    pub(super) order: Option<String>,
    pub(super) offset: usize,
    pub(super) limit: Option<usize>,
}

impl<'c> Work<'c> {
    pub(super) fn on(conn: &'c mut dyn Sql) -> Self {
        Self {
            conn,
            touched: BTreeSet::new(),
            names: HashMap::new(),
        }
    }

    /// The records that a domain means.
    pub(super) async fn search(
        &mut self,
        domain: &Domain,
        model: &'static Model,
        range: &Range,
    ) -> Result<Vec<Record>, Failure> {
        let mut found = self.candidates(domain, model).await?;
        found.retain(|record| domain.means(record));
        if let Some(order) = &range.order {
            sort(model, &mut found, order)?;
        }
        let found = found.into_iter().skip(range.offset);
        Ok(found.take(range.limit.unwrap_or(usize::MAX)).collect())
    }

    /// Those among which they are: few, where the domain needs a value of a column that has an index.
    async fn candidates(
        &mut self,
        domain: &Domain,
        model: &'static Model,
    ) -> Result<Vec<Record>, Failure> {
        let statements = match &model.source {
            Source::Made(records) => return Ok(records()),
            Source::Table(statements) => statements,
        };
        for (column, values) in domain.needs() {
            let Some(sql) = statements.by(column) else {
                continue;
            };
            let mut found = BTreeMap::new();
            for value in values {
                let rows = self.conn.rows(sql, &[value]).await?;
                found.extend(rows.into_iter().map(|record| (id(&record), record)));
            }
            return Ok(found.into_values().collect());
        }
        Ok(self.conn.rows(statements.all, &[]).await?)
    }

    /// The records of which a column has a value.
    pub(super) async fn of(
        &mut self,
        model: &'static Model,
        column: &str,
        value: Field,
    ) -> Result<Vec<Record>, Failure> {
        match &model.source {
            Source::Table(statements) => match statements.by(column) {
                Some(sql) => Ok(self.conn.rows(sql, &[value]).await?),
                None => Err(Failure::no_field(model.name, column)),
            },
            Source::Made(records) => {
                let mut records = records();
                records.retain(|record| match column {
                    "id" => record.first() == Some(&value),
                    _ => *model.value(record, column) == value,
                });
                Ok(records)
            }
        }
    }

    /// The record of an id, if there is one.
    pub(super) async fn get(
        &mut self,
        model: &'static Model,
        id: i64,
    ) -> Result<Option<Record>, Failure> {
        let found = self.of(model, "id", id.into()).await?;
        Ok(found.into_iter().next())
    }

    /// The records of ids that there are.
    pub(super) async fn records(
        &mut self,
        model: &'static Model,
        ids: &[i64],
    ) -> Result<Vec<Record>, Failure> {
        let mut records = Vec::with_capacity(ids.len());
        for id in ids {
            let record = self.get(model, *id).await?;
            records.push(record.ok_or_else(|| Failure::missing(model.name, *id))?);
        }
        Ok(records)
    }

    /// Fields of records: all of them where none is named. A record that is named by another comes with what
    /// people see of it, unless `bare` ids are asked for.
    pub(super) async fn read(
        &mut self,
        model: &'static Model,
        records: &[Record],
        fields: &[String],
        bare: bool,
    ) -> Result<Vec<Value>, Failure> {
        let names: Vec<&str> = match fields {
            [] => model.fields(),
            _ => fields.iter().map(String::as_str).collect(),
        };
        let mut places = Vec::with_capacity(names.len());
        for name in names {
            places.push((name, model.place(name)?));
        }
        let mut rows = Vec::with_capacity(records.len());
        for record in records {
            let mut row = Map::new();
            row.insert("id".to_owned(), id(record).into());
            for (name, place) in &places {
                let value = self.value(model, record, *place, bare).await?;
                row.insert((*name).to_owned(), value);
            }
            rows.push(Value::Object(row));
        }
        Ok(rows)
    }

    async fn value(
        &mut self,
        model: &'static Model,
        record: &Record,
        place: Place,
        bare: bool,
    ) -> Result<Value, Failure> {
        let value = shown(model, place, record);
        match place {
            Place::List(list) => {
                let other = Model::of(list.model)?;
                let records = self.of(other, list.by, id(record).into()).await?;
                Ok(records.iter().map(id).collect())
            }
            Place::Column(at) if !bare => {
                let kind = model.columns.get(at).map(|column| column.kind);
                match (kind, value.as_i64()) {
                    (Some(Kind::Many2one(to)), Some(id)) => {
                        let name = self.name(Model::of(to)?, id).await?;
                        Ok(Value::Array(vec![id.into(), name.into()]))
                    }
                    _ => Ok(value),
                }
            }
            Place::Id | Place::DisplayName | Place::Column(_) => Ok(value),
        }
    }

    /// What people see of a record.
    async fn name(&mut self, model: &'static Model, id: i64) -> Result<String, Failure> {
        if let Some(name) = self.names.get(&(model.name, id)) {
            return Ok(name.clone());
        }
        let record = self.get(model, id).await?;
        let name = record.map_or_else(String::new, |record| model.display_name(&record));
        self.names.insert((model.name, id), name.clone());
        Ok(name)
    }
}

fn sort(model: &'static Model, records: &mut [Record], order: &str) -> Result<(), Failure> {
    let mut keys = Vec::new();
    for part in order.split(',') {
        let mut words = part.split_whitespace();
        let (name, direction) = (words.next().unwrap_or_default(), words.next());
        let descends = direction.is_some_and(|word| word.eq_ignore_ascii_case("desc"));
        keys.push((model.place(name)?, descends));
    }
    let key = |place: Place, record: &Record| match place {
        Place::Id => Field::Number(id(record)),
        Place::DisplayName => model.display_name(record).into(),
        Place::Column(at) => record.get(at + 1).cloned().unwrap_or(Field::Null),
        Place::List(_) => Field::Null,
    };
    records.sort_by(|left, right| {
        let each = keys.iter().map(|(place, descends)| {
            let order = key(*place, left).cmp(&key(*place, right));
            match descends {
                true => order.reverse(),
                false => order,
            }
        });
        each.fold(Ordering::Equal, Ordering::then)
    });
    Ok(())
}
