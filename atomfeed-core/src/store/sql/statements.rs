use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use super::Dialect;
use super::layout::Layout;
use super::matching::Matching;
use super::schema::SchemaName;
use super::value::Value;
use crate::FeedScope;

/// The statements of a store as its database and its tables take them.
///
/// They are written once:
///
/// | written | put in |
/// |---|---|
/// | `?` | a value |
/// | `{s}` | the schema, before the name of each table |
/// | `INSERT {unless} … {there}` | the words for a row that may be there already |
/// | `{?table.column:this|that}` | `this` where the table has the column, else `that` |
/// | `{listed}` | behind `event_records`, the list of ours of which category its rows are, if there is one |
/// | `{between}` | the condition that an event lies between two ids, which are the next values |
/// | `{id}` | the id of an event; in that list, if there is one |
/// | `{of_category}` | the condition that an event is of the category, which is the next value |
/// | `{spelled}` | the condition that a spelling, of ours, is one of the category, which is the next value |
/// | `{spelling}` | the category of an event as it is spelled |
/// | `{by_id}` | words that have rows found by their ids |
/// | `{same_feed}` | the condition that a row of ours is of the feed, which is the next value |
/// | `{shown}` | the condition that an event is shown, where not all of them are |
pub(super) struct Statements {
    prefix: String,
    numbered: bool,
    unless_there: (&'static str, &'static str),
    layout: Layout,
    matching: Matching,
    of_category: String,
    by_id: &'static str,
    spelling: &'static str,
    rendered: RwLock<HashMap<Key, SqlStr>>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Key {
    Text(&'static str),
    /// With so many spellings of a category.
    Spelled(&'static str, usize),
    /// With so many values in a list.
    Listed(&'static str, usize),
    Insert(&'static str, Form),
}

/// A row that is inserted: of these columns, those that the table has.
#[derive(Debug)]
pub(super) struct Insert {
    pub(super) table: &'static str,
    pub(super) columns: &'static [&'static str],
}

/// How a row, or several, are inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// So many rows.
    Rows(usize),
    /// One row, and its `id` is answered.
    AnsweringId,
    /// One row, unless one is there with the same key.
    UnlessThere,
    /// One row, unless an event record has its uuid, which is the last value.
    UnlessPublished,
    /// So many of the queue's rows, in their order, which are deleted there: PostgreSQL alone. Answers
    /// each category with how many were moved, and how many of them have times that cannot be read.
    FromQueue,
}

/// Conditions that all must hold, each a constant, and their values.
#[derive(Debug, Default)]
pub(super) struct Choice {
    conditions: Vec<String>,
    pub(super) values: Vec<Value>,
}

impl Choice {
    pub(super) fn and(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.conditions.push(condition.to_owned());
        self.values.extend(values);
    }

    /// From WHERE on; nothing where there is none.
    pub(super) fn condition(&self) -> String {
        match self.conditions.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", self.conditions.join(" AND ")),
        }
    }
}

impl Statements {
    pub(super) fn of<D: Dialect>(
        schema: Option<&SchemaName>,
        layout: Layout,
        matching: Matching,
    ) -> Self {
        let mut statements = Self {
            prefix: schema.map(SchemaName::prefix).unwrap_or_default(),
            numbered: D::NUMBERED_PLACEHOLDERS,
            unless_there: D::INSERT_UNLESS_THERE,
            layout,
            matching,
            of_category: String::new(),
            by_id: D::BY_ID,
            spelling: D::SPELLING,
            rendered: RwLock::default(),
        };
        statements.of_category = statements.condition(matching.condition::<D>());
        statements
    }

    /// The condition that an event is of a category, given that on the column.
    fn condition(&self, on_column: &str) -> String {
        if !self.layout.lists_categories() {
            return on_column.to_owned();
        }
        "spelling IN (SELECT category FROM {s}atomfeed_categories WHERE {spelled})".to_owned()
    }

    /// The condition that a spelling is one of a category, which is what [`Matching::values`] gives.
    fn spelling_condition(&self) -> String {
        match (self.matching, self.collation()) {
            (Matching::Folded, _) => "folded = ?".to_owned(),
            (Matching::Collation, Some((charset, collation))) => format!(
                "CONVERT(category USING {charset}) COLLATE {collation} = CONVERT(? USING {charset})"
            ),
            (Matching::Collation | Matching::Exact, _) => "category = ?".to_owned(),
            (Matching::ExactBytes, _) => "category = ? AND BINARY category = BINARY ?".to_owned(),
        }
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn matching(&self) -> Matching {
        self.matching
    }

    pub(super) fn get(&self, statement: &'static str) -> SqlStr {
        self.cached(Key::Text(statement), || statement.to_owned())
    }

    /// The same, with so many values in the place of the one that `{of_category}` takes.
    pub(super) fn spelled(&self, statement: &'static str, spellings: usize) -> SqlStr {
        self.cached(Key::Spelled(statement, spellings), || {
            let marks = vec!["?"; spellings].join(", ");
            let column = match self.layout.lists_categories() {
                true => "spelling",
                false => "category",
            };
            statement.replace("{of_category}", &format!("{column} IN ({marks})"))
        })
    }

    /// The same, with so many values in the place of `{list}`.
    pub(super) fn listed(&self, statement: &'static str, values: usize) -> SqlStr {
        self.cached(Key::Listed(statement, values), || {
            statement.replace("{list}", &vec!["?"; values].join(", "))
        })
    }

    /// A statement that was put together of constants, rendered for this time.
    pub(super) fn chosen(&self, statement: &str) -> SqlStr {
        AssertSqlSafe(self.render(statement)).into_sql_str()
    }

    pub(super) fn insert(&self, insert: &Insert, form: Form) -> SqlStr {
        self.cached(Key::Insert(insert.table, form), || {
            let table = insert.table;
            let columns: Vec<_> = self.columns(insert).collect();
            let row = vec!["?"; columns.len()].join(", ");
            let columns = columns.join(", ");
            let into = format!("INSERT INTO {{s}}{table} ({columns})");
            match form {
                Form::Rows(rows) => {
                    let rows = vec![format!("({row})"); rows].join(", ");
                    format!("{into} VALUES {rows}")
                }
                Form::AnsweringId => format!("{into} VALUES ({row}) RETURNING id"),
                Form::UnlessThere => format!("{into} VALUES ({row}) ON CONFLICT DO NOTHING"),
                Form::UnlessPublished => format!(
                    "{into} SELECT {row}
                    WHERE NOT EXISTS (SELECT 1 FROM {{s}}event_records WHERE uuid = ?)
                    ON CONFLICT DO NOTHING"
                ),
                Form::FromQueue => {
                    let queued =
                        columns.replace("date_created", "COALESCE(date_created, timestamp)");
                    format!(
                        "WITH queued AS (DELETE FROM {{s}}event_records_queue WHERE id = ANY (ARRAY
                      (SELECT id FROM {{s}}event_records_queue ORDER BY id LIMIT ?)) RETURNING *),
                     moved AS ({into} SELECT {queued} FROM queued ORDER BY id
                      RETURNING category, timestamp, date_created)
                    SELECT category, COUNT(*), COUNT(*) FILTER (WHERE
                      NOT (timestamp >= '0001-01-01Z' AND timestamp < '10000-01-01Z')
                      OR NOT (date_created >= '0001-01-01Z' AND date_created < '10000-01-01Z'))
                    FROM moved GROUP BY category"
                    )
                }
            }
        })
    }

    /// The columns of an insert that the table has.
    pub(super) fn columns(&self, insert: &Insert) -> impl Iterator<Item = &'static str> {
        let columns = insert.columns.iter().copied();
        columns.filter(|column| self.layout.has(insert.table, column))
    }

    fn cached(&self, key: Key, statement: impl FnOnce() -> String) -> SqlStr {
        let rendered = self.rendered.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(sql) = rendered.get(&key) {
            return sql.clone();
        }
        drop(rendered);
        // Made of constants and a name that was checked; values are bound.
        let sql = AssertSqlSafe(Arc::<str>::from(self.render(&statement()))).into_sql_str();
        let mut rendered = self
            .rendered
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        rendered.insert(key, sql.clone());
        sql
    }

    fn render(&self, statement: &str) -> String {
        let (unless, there) = self.unless_there;
        let goes_by_list = self.layout.lists_categories() && statement.contains("{listed}");
        let (listed, between, id) = match goes_by_list {
            true => (LISTED, BETWEEN_IN_BOTH, "listed_id"),
            false => ("", "id > ? AND id <= ?", "id"),
        };
        let statement = self
            .choose(statement)
            .replace("{listed}", listed)
            .replace("{between}", between)
            .replace("{id}", id)
            .replace("{of_category}", &self.of_category)
            .replace("{spelled}", &self.spelling_condition())
            .replace("{spelling}", self.spelling)
            .replace("{by_id}", self.by_id)
            .replace("{same_feed}", &self.same_feed_condition())
            .replace("{shown}", if self.layout.is_adopted() { SHOWN } else { "" })
            .replace("{s}", &self.prefix)
            .replace("{unless}", unless)
            .replace("{there}", there);
        if !self.numbered {
            return statement;
        }
        let mut pieces = statement.split('?');
        let mut sql = pieces.next().unwrap_or_default().to_owned();
        for (number, piece) in (1..).zip(pieces) {
            sql.push_str(&format!("${number}{piece}"));
        }
        sql
    }

    /// Whether two spellings name one feed is for the column to say that holds the events' categories.
    fn collation(&self) -> Option<&(String, String)> {
        let collates = self.matching == Matching::Collation;
        self.layout.collation().filter(|_| collates)
    }

    fn same_feed_condition(&self) -> String {
        match self.collation() {
            Some((charset, collation)) => format!(
                "feed <> '' AND CONVERT(category USING {charset}) COLLATE {collation}
                 = CONVERT(? USING {charset})"
            ),
            None => "feed = ?".to_owned(),
        }
    }

    /// What the condition `{same_feed}` is given for the feed of a category.
    pub(super) fn same_feed(&self, scope: &FeedScope) -> String {
        match (self.collation(), scope.category()) {
            (Some(_), Some(category)) => category.as_str().to_owned(),
            _ => self.matching.key(scope),
        }
    }

    /// Puts in what the table has a column for, or what stands for it. What is no such choice stays.
    fn choose(&self, statement: &str) -> String {
        let mut pieces = statement.split("{?");
        let mut chosen = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let parts = piece.split_once('}').and_then(|(choice, rest)| {
                let (column, either) = choice.split_once(':')?;
                let (table, column) = column.split_once('.')?;
                let (this, that) = either.split_once('|')?;
                let has = self.layout.has(table, column);
                Some((if has { this } else { that }, rest))
            });
            match parts {
                Some((choice, rest)) => chosen.extend([choice, rest]),
                None => chosen.extend(["{?", piece]),
            }
        }
        chosen
    }
}

/// The ids of events with their spellings, in names that no table of events has. Joined, and not asked
/// for in a condition, so that a range of ids is one of the list, too: PostgreSQL draws no such conclusion.
const LISTED: &str = " JOIN (SELECT event_id AS listed_id, category AS spelling
     FROM {s}atomfeed_event_categories) AS listed ON listed_id = event_records.id";

/// Wherever a database begins, it begins where the range does.
const BETWEEN_IN_BOTH: &str = "listed_id > ? AND listed_id <= ? AND id > ? AND id <= ?";

/// Beside foreign publishers: not below an id up to which everything that was there was shown.
const SHOWN: &str = "AND id > COALESCE((SELECT last_id FROM {s}atomfeed_gaps
    WHERE first_id <= event_records.id ORDER BY first_id DESC LIMIT 1), -1)";

impl fmt::Debug for Statements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statements")
            .field("prefix", &self.prefix)
            .field("layout", &self.layout)
            .field("matching", &self.matching)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::TableZone;
    use super::super::layout::Column;
    use super::*;

    fn of(schema: Option<&SchemaName>, layout: Layout) -> Statements {
        Statements::of::<sqlx::Sqlite>(schema, layout, Matching::default())
    }

    #[test]
    fn statements_are_rendered_for_the_database() {
        let statement = "SELECT a FROM {s}t WHERE b = ? AND c IN (SELECT d FROM {s}u WHERE e > ?)";
        let schema = SchemaName::new("clinlims").unwrap();
        let plain = of(None, Layout::default());
        assert_eq!(plain.get(statement).as_str(), statement.replace("{s}", ""));
        let mut numbered = of(Some(&schema), Layout::default());
        numbered.numbered = true;
        for _again in 0..2 {
            assert_eq!(
                numbered.get(statement).as_str(),
                "SELECT a FROM clinlims.t WHERE b = $1 \
                 AND c IN (SELECT d FROM clinlims.u WHERE e > $2)"
            );
        }
    }

    #[test]
    fn statements_are_rendered_for_the_tables() {
        let found = vec![("t".to_owned(), "a".to_owned(), Column::Other)];
        let adopted = of(None, Layout::adopted(TableZone::default(), found));
        let managed = of(None, Layout::default());
        let statement = "SELECT {?t.a:a|NULL}, {?t.b:b|NULL AS b} FROM {s}t";
        assert_eq!(
            adopted.get(statement).as_str(),
            "SELECT a, NULL AS b FROM t"
        );
        assert_eq!(managed.get(statement).as_str(), "SELECT a, b FROM t");
        let insert = Insert {
            table: "t",
            columns: &["a", "b"],
        };
        let rendered =
            |statements: &Statements, form| statements.insert(&insert, form).as_str().to_owned();
        assert_eq!(
            rendered(&adopted, Form::Rows(2)),
            "INSERT INTO t (a) VALUES (?), (?)"
        );
        assert_eq!(
            rendered(&managed, Form::AnsweringId),
            "INSERT INTO t (a, b) VALUES (?, ?) RETURNING id"
        );
    }
}
