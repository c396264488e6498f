use std::borrow::Cow;

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migrate, Migration, MigrationType, Migrator};

use crate::store::{StoreError, StoreErrorKind, StoreResult};

/// The table in which the migrator keeps what it has run, apart from the application's own.
pub(super) const TABLE: &str = "atomfeed_migrations";

/// A file of `migrations/`: version, description, statements.
pub(super) type File = (i64, &'static str, &'static str);

/// Runs those files that were not run yet. The caller sees to it that nobody else does meanwhile.
pub(super) async fn run(conn: &mut impl Migrate, files: &'static [File]) -> StoreResult<()> {
    let migrations = files.iter().map(|&(version, description, sql)| {
        let kind = MigrationType::Simple;
        Migration::new(
            version,
            Cow::Borrowed(description),
            kind,
            sql.into_sql_str(),
            false,
        )
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.set_locking(false).dangerous_set_table_name(TABLE);
    migrator.run_direct(None, conn, false).await.map_err(|error| {
        let context = "making the tables of the feed: see whether tables of these names are there \
                       already, and whether this user may make tables";
        StoreError::new(StoreErrorKind::Database, context).caused_by(error)
    })
}
