//! Each row of the table can fail: whatever is damaged in the databases is said, and nothing else is.

mod databases;
mod erp;
mod imaging;
mod lab;
mod table;

use std::path::Path;

use tempfile::TempDir;

use self::databases::{Databases, Thing};
use self::table::{FLOWS, counted, printed};
use super::run::{Run, one_at_a_time};
use super::text;

#[tokio::test]
async fn each_row_of_the_table_can_fail() {
    let _alone = one_at_a_time().await;
    let folder = tempfile::tempdir().unwrap();
    let data = ["--data", text(folder.path())];
    let run = Run::start(&[&["--load", "120"], &data[..]].concat());
    let good = run.until_it_ends();
    good.assert_agrees(120);
    let same = copied(folder.path());

    let databases = Databases::open(folder.path()).await;
    assert_eq!(printed(&good.stdout), counted(&databases).await);
    let mut damages = Damages {
        databases,
        said: Vec::new(),
    };
    damages.in_the_lab().await;
    damages.of_results().await;
    damages.of_customers().await;
    damages.of_products().await;
    damages.of_sales().await;
    damages.in_imaging().await;
    damages.of_events().await;
    let Damages { databases, said } = damages;
    databases.close().await;

    let run = Run::start(&[&["--load", "0", "--patience", "3"], &data[..]].concat());
    let bad = run.until_it_ends();
    bad.assert_status(1);
    let unsaid = said.iter().filter(|line| !bad.stdout.contains(line));
    let unsaid: Vec<_> = unsaid.collect();
    assert!(unsaid.is_empty(), "{unsaid:#?} of {bad:#?}");
    let last = format!("not in agreement: 0 events, {} differences", said.len());
    assert_eq!(bad.stdout.last(), Some(&last), "{said:#?} and {bad:#?}");

    what_is_published_twice_is_one_too_many(same.path()).await;
}

/// A day begins with what an earlier one has left, and that is none of its own: an order that the lab has still to
/// analyse. Of the day's own events one is published twice.
async fn what_is_published_twice_is_one_too_many(folder: &Path) {
    let databases = Databases::open(folder).await;
    let select = "SELECT order_uuid FROM results GROUP BY 1 HAVING COUNT(*) = 1 ORDER BY 1";
    let left = databases.text("lab", select).await;
    let results = format!("DELETE FROM results WHERE order_uuid = '{left}'");
    databases.change("lab", &results).await;
    databases.change("emr", &results).await;
    let order = format!("UPDATE orders SET state = 'ordered' WHERE uuid = '{left}'");
    databases.change("lab", &order).await;
    let twice = "CREATE TRIGGER twice AFTER INSERT ON event_records
        WHEN NEW.title = 'Patient' AND NOT EXISTS (SELECT 1 FROM event_records
            WHERE uuid = '00000000-0000-0000-0000-000000000001')
        BEGIN
            INSERT INTO event_records (uuid, title, timestamp, object, category, date_created)
            VALUES ('00000000-0000-0000-0000-000000000001', NEW.title, NEW.timestamp, NEW.object,
                NEW.category, NEW.date_created);
        END";
    databases.run("emr", twice).await;
    databases.close().await;

    let run = Run::start(&["--load", "12", "--data", text(folder)]);
    let bad = run.until_it_ends();
    bad.assert_status(1);
    let last = bad.stdout.last().unwrap();
    assert_eq!(
        last, "not in agreement: 13 events, 1 differences",
        "{bad:#?}"
    );
    let said = "events, all: in EMR and lab and not in the day: event 1 of 1";
    assert!(bad.stdout.iter().any(|line| line == said), "{bad:#?}");
    let row = printed(&bad.stdout).pop().unwrap();
    let expected = ["the day", "12", "EMR and lab", "13", "0", "1", "0"];
    assert_eq!(row[1..], expected);
}

/// Nobody has the databases open.
fn copied(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

/// What is done to databases, and what is to be said of it. Each damage is done to rows that no other has.
struct Damages {
    databases: Databases,
    said: Vec<String>,
}

impl Damages {
    async fn lose(&mut self, thing: &Thing, name: &str) {
        let delete = format!("DELETE FROM {} WHERE {}", thing.table, thing.is(name));
        self.databases.change(thing.database, &delete).await;
        self.said.push(thing.missing(name));
    }

    /// Adds one that is like another, but for a column.
    async fn copy(&self, thing: &Thing, name: &str, column: &str, value: &str) {
        let (table, is_it) = (thing.table, thing.is(name));
        let others = [(column, value)];
        self.databases
            .copy(thing.database, table, &is_it, &others)
            .await;
    }

    async fn double(&mut self, thing: &Thing, name: &str) {
        self.copy(thing, name, thing.name, "'another'").await;
        self.said.push(thing.unexpected("another"));
    }

    /// Changes columns: as they are called in what is said, as they are in the database, and to what.
    async fn spoil(&mut self, thing: &Thing, name: &str, columns: &[(&str, &str, &str)]) {
        let (table, is_it) = (thing.table, thing.is(name));
        let (mut said, mut set) = (Vec::new(), Vec::new());
        for (called, column, value) in columns {
            let [was, is] = [column, value].map(|value| {
                format!(
                    "SELECT COALESCE(NULLIF(CAST({value} AS TEXT), ''), 'nothing')
                    FROM {table} WHERE {is_it}"
                )
            });
            let was = self.databases.text(thing.database, &was).await;
            let is = self.databases.text(thing.database, &is).await;
            said.push((*called, was, is));
            set.push(format!("{column} = {value}"));
        }
        let update = format!("UPDATE {table} SET {} WHERE {is_it}", set.join(", "));
        self.databases.change(thing.database, &update).await;
        self.said.push(thing.different(name, &said));
    }

    /// The EMR cancels an order, and tells nobody.
    async fn cancel(&self, column: &str, order: &str) {
        let update = format!("UPDATE orders SET action = 'DISCONTINUE' WHERE {column} = '{order}'");
        self.databases.change("emr", &update).await;
    }

    /// Of each feed one event was not applied, one was twice, and one that nobody has published.
    async fn of_events(&mut self) {
        let unknown = format!("'{EVENT}unknown'");
        for ([source, _], [target, database], category) in FLOWS {
            let feed = format!("feed LIKE '%/{category}/recent'");
            let select = format!("SELECT event_id FROM applied WHERE {feed} ORDER BY 1");
            let [lost, twice] = self.databases.some(database, &select).await;
            let delete = format!("DELETE FROM applied WHERE {feed} AND event_id = '{lost}'");
            self.databases.change(database, &delete).await;
            let is_it = format!("{feed} AND event_id = '{twice}'");
            let others = [("event_id", unknown.as_str())];
            for others in [&others[..], &[]] {
                self.databases
                    .copy(database, "applied", &is_it, others)
                    .await;
            }
            let [lost, twice] = [&lost, &twice].map(|event| event.strip_prefix(EVENT).unwrap());
            let unexpected = format!("events: {category}: in {target} and not in {source}");
            self.said.extend([
                format!("events: {category}: missing in {target}: {lost}: it was not applied"),
                format!("{unexpected}: {twice}: it was applied 2 times"),
                format!("{unexpected}: unknown: it was never published"),
            ]);
        }
    }
}

/// What stands before the uuid in the id of an event.
const EVENT: &str = "tag:atomfeed.ict4h.org:";
