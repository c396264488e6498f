//! The methods of models.

use serde_json::{Map, Value, json};

use super::domain::Domain;
use super::exception::Failure;
use super::reading::{Range, Work};
use super::tables::{Kind, Model, Place, Record, id, ids};
use super::values::{default, shown};
use super::writing::Values;
use crate::hospital::store::Field;

/// A call of a method of a model, as Python has it.
pub(super) struct Call {
    pub(super) model: String,
    pub(super) method: String,
    pub(super) args: Vec<Value>,
    pub(super) kwargs: Map<String, Value>,
}

impl Call {
    /// Whether it changes anything.
    pub(super) fn writes(&self) -> bool {
        matches!(self.method.as_str(), "create" | "write" | "unlink")
    }

    /// Does it, and gives what it gives.
    pub(super) async fn answer(&self, work: &mut Work<'_>) -> Result<Value, Failure> {
        let model = Model::of(&self.model)?;
        match self.method.as_str() {
            "create" => {
                let all = self.needed(0, "vals_list")?;
                let records = match all {
                    Value::Array(records) => records.iter().map(values).collect(),
                    one => values(one).map(|values| vec![values]),
                };
                let ids = work.create(model, &records?).await?;
                Ok(match (all, &ids[..]) {
                    (Value::Object(_), [id]) => json!(id),
                    _ => json!(ids),
                })
            }
            "write" => {
                let values = values(self.needed(1, "vals")?)?;
                work.write(model, &self.ids()?, &values).await?;
                Ok(json!(true))
            }
            "unlink" => {
                work.unlink(model, &self.ids()?).await?;
                Ok(json!(true))
            }
            "read" => {
                let records = work.records(model, &self.ids()?).await?;
                let fields = self.names(1, "fields")?;
                // Any other way to load gives bare ids.
                let load = self.argument(2, "load");
                let bare = load.is_some_and(|load| load != "_classic_read");
                let rows = work.read(model, &records, &fields, bare).await?;
                Ok(Value::Array(rows))
            }
            "search" => {
                let found = self.search(model, work, self.range(1, 2, 3)?).await?;
                Ok(found.iter().map(id).collect())
            }
            "search_read" => {
                let found = self.search(model, work, self.range(2, 3, 4)?).await?;
                let fields = self.names(1, "fields")?;
                let rows = work.read(model, &found, &fields, false).await?;
                Ok(Value::Array(rows))
            }
            "search_count" => {
                let found = self.search(model, work, Range::default()).await?;
                Ok(json!(found.len()))
            }
            "name_get" => {
                let records = work.records(model, &self.ids()?).await?;
                let named = |record: &Record| json!([id(record), model.display_name(record)]);
                Ok(records.iter().map(named).collect())
            }
            "fields_get" => fields(model, &self.names(0, "allfields")?),
            "default_get" => defaults(model, &self.names(0, "fields_list")?),
            unknown => Err(Failure::no_method(model.name, unknown)),
        }
    }

    async fn search(
        &self,
        model: &'static Model,
        work: &mut Work<'_>,
        range: Range,
    ) -> Result<Vec<Record>, Failure> {
        let everything = json!([]);
        let domain = self.argument(0, "domain");
        // Odoo before 17 says so.
        let domain = domain.or_else(|| self.kwargs.get("args"));
        let domain = domain.unwrap_or(&everything);
        let domain = Domain::of(model, domain)?;
        work.search(&domain, model, &range).await
    }

    /// An argument, by its place or by its name; none where it is None.
    fn argument(&self, at: usize, name: &str) -> Option<&Value> {
        let value = self.args.get(at).or_else(|| self.kwargs.get(name));
        value.filter(|value| !value.is_null())
    }

    fn needed(&self, at: usize, name: &str) -> Result<&Value, Failure> {
        self.argument(at, name).ok_or_else(|| {
            let method = &self.method;
            Failure::kind(format!("{method}() misses the argument '{name}'"))
        })
    }

    fn ids(&self) -> Result<Vec<i64>, Failure> {
        ids(self.needed(0, "ids")?)
    }

    /// Names of fields; none where nothing is said.
    fn names(&self, at: usize, name: &str) -> Result<Vec<String>, Failure> {
        let wrong = || Failure::kind(format!("the argument '{name}' is no list of fields"));
        match self.argument(at, name) {
            None | Some(Value::Bool(false)) => Ok(Vec::new()),
            Some(Value::Array(names)) => {
                let names = names.iter().map(|name| name.as_str().map(str::to_owned));
                names.collect::<Option<_>>().ok_or_else(wrong)
            }
            Some(_) => Err(wrong()),
        }
    }

    /// Which places the arguments have differs by method.
    fn range(&self, offset: usize, limit: usize, order: usize) -> Result<Range, Failure> {
        let number = |at, name| {
            let value = self.argument(at, name).filter(|value| *value != false);
            let number = value.map(|value| value.as_u64().and_then(|n| usize::try_from(n).ok()));
            match number {
                Some(None) => Err(Failure::kind(format!("the argument '{name}' is no number"))),
                Some(known) => Ok(known),
                None => Ok(None),
            }
        };
        let order = self.argument(order, "order").and_then(Value::as_str);
        Ok(Range {
            order: order.filter(|order| !order.is_empty()).map(str::to_owned),
            offset: number(offset, "offset")?.unwrap_or(0),
            // As in Odoo, 0 is no limit.
            limit: number(limit, "limit")?.filter(|limit| *limit != 0),
        })
    }
}

fn values(value: &Value) -> Result<Values, Failure> {
    let values = value.as_object().cloned();
    values.ok_or_else(|| Failure::kind(format!("{value} are no values of fields")))
}

/// What fields there are, and of which kind.
fn fields(model: &'static Model, names: &[String]) -> Result<Value, Failure> {
    let is_asked = |name: &&str| names.is_empty() || names.iter().any(|asked| asked == name);
    let mut fields = Map::new();
    for name in model.fields().into_iter().filter(is_asked) {
        fields.insert(name.to_owned(), field(model, name)?);
    }
    Ok(Value::Object(fields))
}

fn field(model: &'static Model, name: &str) -> Result<Value, Failure> {
    let about = |kind: &str, label: &str, is_written: bool| {
        json!({
            "type": kind,
            "string": label,
            "name": name,
            "required": false,
            "readonly": !is_written,
            "store": is_written,
            "searchable": true,
            "sortable": true,
        })
    };
    Ok(match model.place(name)? {
        Place::Id => about("integer", "ID", false),
        Place::DisplayName => about("char", "Display Name", false),
        Place::List(list) => {
            let mut field = about("one2many", list.label, true);
            field["relation"] = list.model.into();
            field["relation_field"] = list.by.into();
            field
        }
        Place::Column(at) => {
            let Some(column) = model.columns.get(at) else {
                return Err(Failure::no_field(model.name, name));
            };
            let mut field = about(column.kind.name(), column.label, true);
            field["required"] = column.is_required.into();
            match column.kind {
                Kind::Many2one(to) => field["relation"] = to.into(),
                Kind::Selection(options) => field["selection"] = json!(options),
                _ => {}
            }
            field
        }
    })
}

/// What a new record has where nothing is said.
fn defaults(model: &'static Model, names: &[String]) -> Result<Value, Failure> {
    let mut record = vec![Field::Number(0)];
    record.extend(model.columns.iter().map(default));
    let mut defaults = Map::new();
    for name in names {
        let place = model.place(name)?;
        if let Place::Column(_) = place {
            defaults.insert(name.clone(), shown(model, place, &record));
        }
    }
    Ok(Value::Object(defaults))
}
