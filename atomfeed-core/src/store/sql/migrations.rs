use std::borrow::Cow;

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migrate, Migration, MigrationType, Migrator};

use super::{Dialect, SqlStore};
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
    // The version after ours may have run more.
    migrator
        .set_locking(false)
        .set_ignore_missing(true)
        .dangerous_set_table_name(TABLE);
    migrator.run_direct(None, conn, false).await.map_err(|error| {
        let context = "making the tables of the feed: see whether tables of these names are there \
                       already, and whether this user may make tables";
        StoreError::new(StoreErrorKind::Database, context).caused_by(error)
    })
}

/// Writes down whose the tables of the feed are, between those beside them and themselves. The caller
/// sees to it that nobody else does meanwhile.
///
/// # Errors
///
/// [`StoreErrorKind::Refused`] when they are the other's.
pub(super) async fn claim<D: Dialect>(
    store: &SqlStore<D>,
    conn: &mut D::Connection,
    adopts: bool,
) -> StoreResult<()> {
    let doing = || "finding out whose the tables of the feed are";
    let owner = if adopts { "adopted" } else { "managed" };
    let select = "SELECT owner FROM {s}atomfeed_feed_state WHERE id = 1";
    let rows = store.fetch(conn, doing, select, Vec::new()).await?;
    let known = rows.into_iter().next().map(|mut row| row.text());
    let refuse = |why: &str| {
        let context = format!("opening the tables of the feed: {why}");
        Err(StoreError::new(StoreErrorKind::Refused, context))
    };
    match known.transpose()?.flatten().as_deref() {
        Some(known) if known == owner => return Ok(()),
        Some("managed") => {
            return refuse(
                "this library made them and may change them: open them without adopting",
            );
        }
        Some(_) => return refuse("they were adopted from another program: open them so again"),
        None if adopts => {}
        None => {
            if !store.columns(conn).await?.is_empty() {
                return refuse(
                    "there are tables of these names already that this library did not make: adopt \
                     them, or name another schema",
                );
            }
        }
    }
    let update = "UPDATE {s}atomfeed_feed_state SET owner = ? WHERE id = 1";
    store
        .execute(conn, doing, update, vec![owner.into()])
        .await
        .map(drop)
}
