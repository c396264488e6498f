//! Models that nobody writes: what there is, and who uses it.

use super::tables::{Column, Kind, MODELS, Model, Record, Source};
use super::{UID, USER};
use crate::hospital::store::Field;

pub(super) fn all() -> Vec<Model> {
    let char = |name, label| Column::new(name, label, Kind::Char);
    let users = vec![char("login", "Login"), char("name", "Name")];
    let models = vec![char("model", "Model"), char("name", "Model Description")];
    let fields = vec![
        char("model", "Model Name"),
        char("name", "Field Name"),
        char("field_description", "Field Label"),
        char("ttype", "Field Type"),
        char("relation", "Related Model"),
    ];
    vec![
        made("res.users", "User", users, user),
        made("ir.model", "Models", models, known_models),
        made("ir.model.fields", "Fields", fields, known_fields),
    ]
}

fn made(
    name: &'static str,
    label: &'static str,
    columns: Vec<Column>,
    records: fn() -> Vec<Record>,
) -> Model {
    Model {
        name,
        label,
        columns,
        list: None,
        source: Source::Made(records),
    }
}

fn user() -> Vec<Record> {
    let name = Field::from("Administrator");
    vec![vec![Field::from(UID), Field::from(USER), name]]
}

fn known_models() -> Vec<Record> {
    let mut models = Vec::new();
    for (id, model) in (1..).zip(MODELS.iter()) {
        let names = [model.name, model.label].map(Field::from);
        models.push([vec![Field::Number(id)], names.to_vec()].concat());
    }
    models
}

fn known_fields() -> Vec<Record> {
    let mut fields = Vec::new();
    for model in MODELS.iter() {
        for column in &model.columns {
            let relation = match column.kind {
                Kind::Many2one(to) => Field::from(to),
                _ => Field::Null,
            };
            let kind = column.kind.name();
            fields.push(([model.name, column.name, column.label, kind], relation));
        }
        if let Some(list) = &model.list {
            let relation = Field::from(list.model);
            fields.push(([model.name, list.name, list.label, "one2many"], relation));
        }
    }
    let mut records = Vec::new();
    for (id, (texts, relation)) in (1..).zip(fields) {
        let mut record = vec![Field::Number(id)];
        record.extend(texts.map(Field::from));
        record.push(relation);
        records.push(record);
    }
    records
}
