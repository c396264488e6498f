use std::collections::HashMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use super::Dialect;
use super::schema::SchemaName;

/// The statements of a store as its database takes them.
///
/// They are written once: `?` for a value, `{s}` before the name of each table, `INSERT {unless} …
/// {there}` for a row that may be there already. This puts the schema and the database's own words
/// in, and keeps the result.
pub(super) struct Statements {
    prefix: String,
    numbered: bool,
    unless_there: (&'static str, &'static str),
    rendered: RwLock<HashMap<&'static str, SqlStr>>,
}

impl Statements {
    pub(super) fn of<D: Dialect>(schema: Option<&SchemaName>) -> Self {
        Self {
            prefix: schema.map(SchemaName::prefix).unwrap_or_default(),
            numbered: D::NUMBERED_PLACEHOLDERS,
            unless_there: D::INSERT_UNLESS_THERE,
            rendered: RwLock::default(),
        }
    }

    pub(super) fn get(&self, statement: &'static str) -> SqlStr {
        let rendered = self.rendered.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(sql) = rendered.get(statement) {
            return sql.clone();
        }
        drop(rendered);
        // Made of constants and a name that was checked; values are bound.
        let sql = AssertSqlSafe(std::sync::Arc::<str>::from(self.render(statement))).into_sql_str();
        let mut rendered = self
            .rendered
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        rendered.insert(statement, sql.clone());
        sql
    }

    fn render(&self, statement: &str) -> String {
        let (unless, there) = self.unless_there;
        let statement = statement
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
}

impl fmt::Debug for Statements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statements")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_rendered_for_the_database() {
        let statement = "SELECT a FROM {s}t WHERE b = ? AND c IN (SELECT d FROM {s}u WHERE e > ?)";
        let schema = SchemaName::new("clinlims").unwrap();
        let plain = Statements::of::<sqlx::Sqlite>(None);
        assert_eq!(plain.get(statement).as_str(), statement.replace("{s}", ""));
        let mut numbered = Statements::of::<sqlx::Sqlite>(Some(&schema));
        numbered.numbered = true;
        for _again in 0..2 {
            assert_eq!(
                numbered.get(statement).as_str(),
                "SELECT a FROM clinlims.t WHERE b = $1 \
                 AND c IN (SELECT d FROM clinlims.u WHERE e > $2)"
            );
        }
    }
}
