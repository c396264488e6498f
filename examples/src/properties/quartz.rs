use std::fmt;
use std::ptr;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use atomfeed_core::store::SchemaName;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, PgConnection, SqliteConnection};

use super::names;

/// The table in which the original's programs keep most of their schedules.
pub(super) const TABLE: &str = "quartz_cron_scheduler";

/// A row of it.
#[derive(Debug, Clone)]
pub struct QuartzJob {
    pub(super) name: String,
    pub(super) enabled: bool,
    pub(super) cron: Option<String>,
    pub(super) start_delay: Option<Duration>,
}

/// Name, `cron_statement`, `enabled` and `start_delay`, all as texts.
type Cells = (String, Option<String>, Option<String>, Option<String>);

/// The rows of `quartz_cron_scheduler` in a database, in a schema or where the connection looks. Nothing is
/// written. There are none where there is no such table, or one of the same name that is for something else,
/// as in OpenELIS.
///
/// # Errors
///
/// When the database cannot be reached or read.
pub async fn quartz_jobs(
    database: &str,
    schema: Option<&SchemaName>,
) -> anyhow::Result<Vec<QuartzJob>> {
    let read = match database.split_once(':') {
        Some(("memory", "")) => return Ok(Vec::new()),
        Some(("sqlite", _)) => in_sqlite(database).await,
        Some(("postgres" | "postgresql", _)) => in_postgres(database, schema).await,
        Some(("mysql" | "mariadb", _)) => in_mysql(database, schema).await,
        _ => bail!("--database: give sqlite:FILE, postgres://…, mysql://… or memory:"),
    };
    let rows = read.with_context(|| {
        format!(
            "looking for schedules in the table {TABLE}: see whether the database is up, and its \
             address, user and password are right (jdbc.* in the file, or --database)"
        )
    })?;
    Ok(rows.into_iter().map(QuartzJob::of).collect())
}

/// The rows for a job, which the original may have several jobs for.
#[derive(Debug)]
pub(super) struct RowsOf<'a> {
    /// The one that counts: the first that is enabled and says when, or is enabled, if any is, so that nothing
    /// stands still that ran.
    pub(super) counts: &'a QuartzJob,
    all: Vec<&'a QuartzJob>,
}

/// The rows for a job whose names fit it best, if there are any.
pub(super) fn rows_of<'a>(rows: &'a [QuartzJob], job: &str) -> Option<RowsOf<'a>> {
    let best = rows
        .iter()
        .filter_map(|row| names::fit(&row.name, job))
        .min()?;
    let fits = |row: &&QuartzJob| names::fit(&row.name, job) == Some(best);
    let all: Vec<_> = rows.iter().filter(fits).collect();
    let enabled = || all.iter().filter(|row| row.enabled);
    let timed = enabled().find(|row| row.cron.is_some());
    let counts: &QuartzJob = timed.or(enabled().next()).or(all.first())?;
    Some(RowsOf { counts, all })
}

impl RowsOf<'_> {
    /// Those that say something else than the one that counts.
    pub(super) fn others(&self) -> impl Iterator<Item = &QuartzJob> {
        let says = |row: &QuartzJob| (row.enabled, row.cron.clone(), row.start_delay);
        let rows = self.all.iter().copied();
        rows.filter(move |row| says(row) != says(self.counts))
    }

    /// What they are called.
    pub(super) fn names(&self) -> Vec<&str> {
        self.all.iter().map(|row| row.name.as_str()).collect()
    }

    pub(super) fn has(&self, row: &QuartzJob) -> bool {
        self.all.iter().any(|one| ptr::eq(*one, row))
    }
}

/// As it is said of one that does not count.
impl fmt::Display for QuartzJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cron = self.cron.as_deref().unwrap_or("no schedule");
        match (self.enabled, self.start_delay) {
            (false, _) => write!(f, "{} (not enabled)", self.name),
            (true, None) => write!(f, "{} ({cron})", self.name),
            (true, Some(delay)) => write!(f, "{} ({cron}, after {delay:?})", self.name),
        }
    }
}

impl QuartzJob {
    fn of((name, cron, enabled, start_delay): Cells) -> Self {
        // As a bit, it is a character. NULL is false to the original, too.
        let is_true = |text: &str| matches!(text.trim(), "true" | "t" | "1" | "\u{1}");
        let delay = start_delay.and_then(|millis| millis.trim().parse().ok());
        Self {
            name,
            enabled: enabled.as_deref().is_some_and(is_true),
            cron: cron.filter(|expression| !expression.trim().is_empty()),
            start_delay: delay.map(Duration::from_millis),
        }
    }
}

/// The same for each SQL database, which differ in types and in where they say what columns there are.
macro_rules! rows {
    ($database:ty, $connecting:expr, $schema:expr, $columns:literal, $text:literal) => {{
        let mut conn = $connecting.await?;
        let columns = sqlx::query_scalar::<$database, String>($columns)
            .bind($schema.map(SchemaName::as_str))
            .fetch_all(&mut conn)
            .await?;
        let mut rows: Vec<Cells> = Vec::new();
        if let Some(select) = select(&columns, $schema, $text) {
            rows = sqlx::query_as::<$database, Cells>(AssertSqlSafe(select))
                .fetch_all(&mut conn)
                .await?;
        }
        conn.close().await?;
        Ok(rows)
    }};
}

async fn in_postgres(url: &str, schema: Option<&SchemaName>) -> sqlx::Result<Vec<Cells>> {
    rows!(
        sqlx::Postgres,
        PgConnection::connect(url),
        schema,
        "SELECT column_name::text FROM information_schema.columns
         WHERE table_schema = COALESCE($1, current_schema())
         AND table_name = 'quartz_cron_scheduler'",
        "text"
    )
}

async fn in_mysql(url: &str, schema: Option<&SchemaName>) -> sqlx::Result<Vec<Cells>> {
    rows!(
        sqlx::MySql,
        MySqlConnection::connect(url),
        schema,
        "SELECT column_name FROM information_schema.columns
         WHERE table_schema = COALESCE(?, DATABASE())
         AND table_name = 'quartz_cron_scheduler'",
        "CHAR"
    )
}

async fn in_sqlite(url: &str) -> sqlx::Result<Vec<Cells>> {
    let options = SqliteConnectOptions::from_str(url)?.create_if_missing(false);
    if !options.get_filename().exists() {
        return Ok(Vec::new());
    }
    let no_schema: Option<&SchemaName> = None;
    rows!(
        sqlx::Sqlite,
        SqliteConnection::connect_with(&options),
        no_schema,
        "SELECT name FROM pragma_table_info('quartz_cron_scheduler') WHERE ? IS NULL",
        "TEXT"
    )
}

/// What reads the rows, as far as the table has the columns.
fn select(columns: &[String], schema: Option<&SchemaName>, text: &str) -> Option<String> {
    let has = |name: &str| {
        columns
            .iter()
            .any(|column| column.eq_ignore_ascii_case(name))
    };
    if !["name", "cron_statement", "enabled"].into_iter().all(has) {
        return None;
    }
    let delay = if has("start_delay") {
        "start_delay"
    } else {
        "NULL"
    };
    let order = if has("id") { " ORDER BY id" } else { "" };
    let schema = schema
        .map(|schema| format!("{schema}."))
        .unwrap_or_default();
    Some(format!(
        "SELECT CAST(name AS {text}), CAST(cron_statement AS {text}), CAST(enabled AS {text}), \
         CAST({delay} AS {text}) FROM {schema}{TABLE} WHERE name IS NOT NULL{order}"
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn rows(statements: &'static str) -> Vec<QuartzJob> {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("erp.db").display());
        assert!(quartz_jobs(&url, None).await.unwrap().is_empty());
        assert!(!folder.path().join("erp.db").exists(), "nothing is made");
        let options = SqliteConnectOptions::from_str(&url).unwrap();
        let options = options.create_if_missing(true);
        let mut conn = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::raw_sql(statements).execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
        quartz_jobs(&url, None).await.unwrap()
    }

    #[tokio::test]
    async fn rows_are_read_as_they_are() {
        let rows = rows(
            "CREATE TABLE quartz_cron_scheduler
              (id INT, name TEXT, cron_statement TEXT, start_delay INT, enabled BOOLEAN);
             INSERT INTO quartz_cron_scheduler VALUES
              (3, 'labFeedJobTrigger', '', NULL, NULL),
              (2, 'customerFeedJobTrigger', '0/30 * * * * ?', 5000, FALSE),
              (1, 'saleOrderFeedJobTrigger', '0/15 * * * * ?', 0, TRUE)",
        )
        .await;
        let row_of = |job| rows_of(&rows, job).map(|rows| rows.counts);
        let order = row_of("saleorder").unwrap();
        assert_eq!(order.cron.as_deref(), Some("0/15 * * * * ?"));
        assert_eq!(
            (order.enabled, order.start_delay),
            (true, Some(Duration::ZERO))
        );
        let customer = row_of("customer").unwrap();
        let delay = Some(Duration::from_secs(5));
        assert_eq!((customer.enabled, customer.start_delay), (false, delay));
        let lab = row_of("lab").unwrap();
        assert!(!lab.enabled && lab.cron.is_none() && lab.start_delay.is_none());
        assert!(row_of("drug").is_none());
    }

    #[tokio::test]
    async fn a_table_of_the_same_name_may_be_for_something_else() {
        let rows = rows(
            "CREATE TABLE quartz_cron_scheduler
              (id INT, cron_statement TEXT, active BOOLEAN, name TEXT, job_name TEXT);
             INSERT INTO quartz_cron_scheduler VALUES (1, 'never', TRUE, 'lab', 'lab')",
        )
        .await;
        assert!(rows.is_empty());
    }
}
