//! The models that the stand-in has, their fields, and the statements that keep them.

use std::sync::LazyLock;

use serde_json::Value;

use super::exception::Failure;
use super::virtual_models;
use crate::hospital::erp::{APPROVED, EXTERNAL_REF};
use crate::hospital::store::Field;

/// A row: the id, and a value for each column.
pub(super) type Record = Vec<Field>;

/// A model, which Odoo names with dots.
pub(super) struct Model {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) columns: Vec<Column>,
    pub(super) list: Option<List>,
    pub(super) source: Source,
}

/// Where the records of a model are.
pub(super) enum Source {
    Table(Statements),
    /// Nobody writes them.
    Made(fn() -> Vec<Record>),
}

/// A field that has a value in each row.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) kind: Kind,
    pub(super) is_required: bool,
    pub(super) is_unique: bool,
}

/// The field that has the records of another model that name this one.
pub(super) struct List {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) model: &'static str,
    /// The field of the other model.
    pub(super) by: &'static str,
}

/// What a value is. In the table, the first three are texts, and NULL where there is none; all others are
/// numbers, and 0 where there is none.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Char,
    Datetime,
    /// Values and what people see of them; the first is that of a new record.
    Selection(&'static [(&'static str, &'static str)]),
    Boolean,
    Integer,
    /// Of paise; rupees as a float on the wire.
    Money,
    /// Of whole things; a float on the wire.
    Quantity,
    /// The id of a record of a model.
    Many2one(&'static str),
}

/// A field of a model, and where its value comes from.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Id,
    DisplayName,
    Column(usize),
    List(&'static List),
}

impl Kind {
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Char | Self::Datetime | Self::Selection(_))
    }

    /// What Odoo calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Char => "char",
            Self::Datetime => "datetime",
            Self::Selection(_) => "selection",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Money | Self::Quantity => "float",
            Self::Many2one(_) => "many2one",
        }
    }
}

impl Column {
    pub(super) fn new(name: &'static str, label: &'static str, kind: Kind) -> Self {
        Self {
            name,
            label,
            kind,
            is_required: false,
            is_unique: false,
        }
    }

    fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    fn unique(mut self) -> Self {
        self.is_unique = true;
        self
    }

    fn is_looked_up(&self) -> bool {
        self.is_unique || matches!(self.kind, Kind::Many2one(_))
    }

    fn sql_type(&self) -> &'static str {
        match (self.kind.is_text(), self.is_unique) {
            (true, true) => "TEXT UNIQUE",
            (true, false) => "TEXT",
            (false, _) => "BIGINT NOT NULL",
        }
    }
}

/// The statements of a table, made once for each process.
pub(super) struct Statements {
    /// Table and indexes, where they are missing.
    pub(super) make: Vec<&'static str>,
    pub(super) all: &'static str,
    /// By column, the rows that have the value `$1`.
    by: Vec<(&'static str, &'static str)>,
    /// The row of the id `$1`, locked until the end of the transaction.
    pub(super) lock: &'static str,
    /// Id and columns are the values, here and below.
    pub(super) insert: &'static str,
    pub(super) update: &'static str,
    /// The id is the value.
    pub(super) delete: &'static str,
}

impl Statements {
    fn of(table: &'static str, columns: &[Column]) -> Self {
        let kept = |sql: String| -> &'static str { sql.leak() };
        let each = |show: &dyn Fn(usize, &Column) -> String| -> String {
            let columns = columns.iter().enumerate();
            columns.map(|(at, column)| show(at + 2, column)).collect()
        };
        let names = each(&|_, column| format!(", {}", column.name));
        let types = each(&|_, column| format!(", {} {}", column.name, column.sql_type()));
        let values = each(&|at, _| format!(", ${at}"));
        let set = each(&|at, column| format!(", {} = ${at}", column.name));
        let made = format!("CREATE TABLE IF NOT EXISTS {table} (id BIGINT PRIMARY KEY{types})");
        let mut make = vec![kept(made)];
        let select = |column: &'static str| {
            let rows = format!("SELECT id{names} FROM {table} WHERE {column} = $1 ORDER BY id");
            (column, kept(rows))
        };
        let mut by = vec![select("id")];
        for column in columns.iter().filter(|column| column.is_looked_up()) {
            let name = column.name;
            by.push(select(name));
            if !column.is_unique {
                let index =
                    format!("CREATE INDEX IF NOT EXISTS {table}_{name} ON {table} ({name})");
                make.push(kept(index));
            }
        }
        Self {
            make,
            all: kept(format!("SELECT id{names} FROM {table} ORDER BY id")),
            by,
            // A write that changes nothing.
            lock: kept(format!(
                "UPDATE {table} SET id = id WHERE id = $1 RETURNING id{names}"
            )),
            insert: kept(format!(
                "INSERT INTO {table} (id{names}) VALUES ($1{values})"
            )),
            update: kept(format!("UPDATE {table} SET id = $1{set} WHERE id = $1")),
            delete: kept(format!("DELETE FROM {table} WHERE id = $1")),
        }
    }

    /// Where rows are found by a column without reading all of them.
    pub(super) fn by(&self, column: &str) -> Option<&'static str> {
        let mut statements = self.by.iter();
        statements.find_map(|(name, sql)| (*name == column).then_some(*sql))
    }
}

/// Gives the next id of a model.
pub(super) const NEXT_ID: &str = "INSERT INTO ir_sequence (model, last_id) VALUES ($1, 1)
    ON CONFLICT (model) DO UPDATE SET last_id = ir_sequence.last_id + 1 RETURNING last_id";

const MAKE_SEQUENCE: &str =
    "CREATE TABLE IF NOT EXISTS ir_sequence (model TEXT PRIMARY KEY, last_id BIGINT NOT NULL)";

/// What makes all tables.
pub(super) fn statements() -> Vec<&'static str> {
    let tables = MODELS.iter().filter_map(|model| match &model.source {
        Source::Table(statements) => Some(&statements.make),
        Source::Made(_) => None,
    });
    let tables = tables.flatten().copied();
    tables.chain([MAKE_SEQUENCE]).collect()
}

/// All models.
pub(super) static MODELS: LazyLock<Vec<Model>> = LazyLock::new(|| {
    let mut models = vec![partner(), product(), sale_order(), sale_order_line()];
    models.extend(virtual_models::all());
    models
});

fn partner() -> Model {
    let columns = vec![
        Column::new("ref", "Reference", Kind::Char).unique(),
        Column::new("name", "Name", Kind::Char).required(),
        Column::new("barcode", "Barcode", Kind::Char),
        Column::new("city", "City", Kind::Char),
        Column::new("email", "Email", Kind::Char),
        Column::new("customer_rank", "Customer Rank", Kind::Integer),
    ];
    Model::kept("res.partner", "Contact", "res_partner", columns)
}

fn product() -> Model {
    let kinds = Kind::Selection(&[("consu", "Consumable"), ("service", "Service")]);
    let columns = vec![
        Column::new("default_code", "Internal Reference", Kind::Char).unique(),
        Column::new("name", "Name", Kind::Char).required(),
        Column::new("list_price", "Sales Price", Kind::Money),
        Column::new("type", "Product Type", kinds),
    ];
    Model::kept("product.product", "Product", "product_product", columns)
}

fn sale_order() -> Model {
    let states = Kind::Selection(&[
        ("draft", "Quotation"),
        ("sent", "Quotation Sent"),
        ("sale", "Sales Order"),
        ("cancel", "Cancelled"),
    ]);
    let customer = Kind::Many2one("res.partner");
    let columns = vec![
        Column::new("name", "Order Reference", Kind::Char),
        Column::new("client_order_ref", "Customer Reference", Kind::Char).unique(),
        Column::new("partner_id", "Customer", customer).required(),
        Column::new("date_order", "Order Date", Kind::Datetime),
        Column::new("state", "Status", states),
        Column::new("amount_total", "Total", Kind::Money),
        Column::new(APPROVED, "Approved", Kind::Boolean),
    ];
    let mut model = Model::kept("sale.order", "Sales Order", "sale_order", columns);
    model.list = Some(List {
        name: "order_line",
        label: "Order Lines",
        model: "sale.order.line",
        by: "order_id",
    });
    model
}

fn sale_order_line() -> Model {
    let order = Kind::Many2one("sale.order");
    let product = Kind::Many2one("product.product");
    let columns = vec![
        Column::new("order_id", "Order Reference", order).required(),
        Column::new(EXTERNAL_REF, "Order in the EMR", Kind::Char).unique(),
        Column::new("product_id", "Product", product).required(),
        Column::new("name", "Description", Kind::Char),
        Column::new("product_uom_qty", "Quantity", Kind::Quantity),
        Column::new("price_unit", "Unit Price", Kind::Money),
    ];
    Model::kept(
        "sale.order.line",
        "Sales Order Line",
        "sale_order_line",
        columns,
    )
}

impl Model {
    fn kept(
        name: &'static str,
        label: &'static str,
        table: &'static str,
        columns: Vec<Column>,
    ) -> Self {
        let statements = Statements::of(table, &columns);
        Self {
            name,
            label,
            columns,
            list: None,
            source: Source::Table(statements),
        }
    }

    /// The model of a name.
    pub(super) fn of(name: &str) -> Result<&'static Self, Failure> {
        let model = MODELS.iter().find(|model| model.name == name);
        model.ok_or_else(|| Failure::user(format!("Object {name} doesn't exist")))
    }

    /// Its statements, where it can be written.
    pub(super) fn statements(&'static self) -> Result<&'static Statements, Failure> {
        match &self.source {
            Source::Table(statements) => Ok(statements),
            Source::Made(_) => Err(Failure::not_spoken(format!("changes of {}", self.name))),
        }
    }

    /// Where the value of a field comes from.
    pub(super) fn place(&'static self, field: &str) -> Result<Place, Failure> {
        let place = match field {
            "id" => Some(Place::Id),
            "display_name" => Some(Place::DisplayName),
            _ => {
                let mut columns = self.columns.iter();
                let column = columns.position(|column| column.name == field);
                let list = self.list.as_ref().filter(|list| list.name == field);
                column.map(Place::Column).or(list.map(Place::List))
            }
        };
        place.ok_or_else(|| Failure::no_field(self.name, field))
    }

    /// All fields, by their names.
    pub(super) fn fields(&'static self) -> Vec<&'static str> {
        let columns = self.columns.iter().map(|column| column.name);
        let list = self.list.iter().map(|list| list.name);
        let own = ["id", "display_name"].into_iter();
        own.chain(columns).chain(list).collect()
    }

    /// The value of a column that there is, by its name.
    pub(super) fn value<'r>(&self, record: &'r Record, column: &str) -> &'r Field {
        static NOTHING: Field = Field::Null;
        let at = self.columns.iter().position(|known| known.name == column);
        at.and_then(|at| record.get(at + 1)).unwrap_or(&NOTHING)
    }

    /// Sets it.
    pub(super) fn set(&self, record: &mut Record, column: &str, value: impl Into<Field>) {
        let at = self.columns.iter().position(|known| known.name == column);
        if let Some(place) = at.and_then(|at| record.get_mut(at + 1)) {
            *place = value.into();
        }
    }

    /// What people see of a record.
    pub(super) fn display_name(&self, record: &Record) -> String {
        let name = self.value(record, "name").text();
        match self.value(record, "default_code").text() {
            "" => name.to_owned(),
            code => format!("[{code}] {name}"),
        }
    }
}

/// The id of a record.
pub(super) fn id(record: &Record) -> i64 {
    record.first().map_or(0, Field::number)
}

/// Ids as Odoo takes them: one, or a list of them.
pub(super) fn ids(value: &Value) -> Result<Vec<i64>, Failure> {
    let one = std::slice::from_ref(value);
    let all = value.as_array().map_or(one, Vec::as_slice);
    let ids: Option<Vec<_>> = all.iter().map(Value::as_i64).collect();
    ids.ok_or_else(|| Failure::kind(format!("{value} are no ids of records")))
}
