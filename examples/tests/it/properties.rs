//! feeds-from-properties, with the files of the original's programs as they are.

#![allow(clippy::unwrap_used)]

mod door;
mod running;

use std::path::Path;

use atomfeed_core::store::conformance::{MySqlHarness, PostgresHarness};
use axum::http::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor};

use self::door::{Door, Guarded, Heard};
use crate::emr::{Emr, content, entry_id, sqlite};
use crate::programs::{Finished, Program};

const ODOO: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/config/erp-atomfeed.properties"
);
const PACS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/config/pacs-atomfeed.properties"
);

fn run(file: &str, options: &[&str]) -> Finished {
    Program::start("feeds-from-properties", &[&[file], options].concat()).finish()
}

/// What it would do, and that it keeps the passwords to itself.
#[track_caller]
fn plan(file: &str, options: &[&str]) -> Vec<String> {
    let planned = run(file, &[options, &["--plan"]].concat());
    planned.assert_status(0);
    assert_eq!(planned.stdout, [""; 0]);
    let said = planned.stderr.join("\n");
    assert!(
        !said.contains("made-up") && !said.contains("odoo:"),
        "{said}"
    );
    planned.stderr
}

#[track_caller]
fn assert_has(lines: &[String], expected: &[&str]) {
    for line in expected {
        assert!(lines.iter().any(|had| had == line), "{line}: {lines:#?}");
    }
}

#[test]
fn the_plan_names_jobs_and_keys_that_are_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let database = sqlite(folder.path(), "erp.db");
    let options = ["--database", &database, "--cron", "0/15 * * * * ?"];
    let lines = plan(ODOO, &options);
    assert_has(
        &lines,
        &[
            "job customer: http://127.0.0.1:8050/openmrs/ws/atomfeed/patient/recent, \
             0/15 * * * * ? (from --cron), beginning 60s after the start",
            "job saleorder: http://127.0.0.1:8050/openmrs/ws/atomfeed/encounter/recent, \
             0/30 * * * * ? (from the file), beginning 60s after the start",
            "job openelis.saleorder: http://127.0.0.1:8052/openelis/ws/feed/patient/recent, \
             0/15 * * * * ? (from --cron), beginning 60s after the start",
            "not used: openerp.host: of the worker that would call Odoo",
            "not used: openerp.password: of the worker that would call Odoo",
            "not used: jdbc.password: --database is given instead",
        ],
    );
    let jobs = lines.iter().filter(|line| line.starts_with("job "));
    assert_eq!(jobs.count(), 7, "{lines:#?}");
    assert!(!folder.path().join("erp.db").exists(), "nothing is made");

    let zone = [&options[..], &["--time-zone", "Asia/Kolkata"]].concat();
    assert_has(
        &plan(PACS, &zone),
        &[
            "job openmrs.encounter: http://127.0.0.1:8050/openmrs/ws/atomfeed/encounter/recent, \
             0/15 * * * * ? in Asia/Kolkata (from --cron)",
            "not used: feed.author: of a feed that is published; this program reads feeds",
        ],
    );
}

#[test]
fn what_is_missing_is_named() {
    let memory = ["--database", "memory:"];
    for (file, options, words) in [
        (
            PACS,
            &[][..],
            &["pacs-atomfeed.properties", "--database"][..],
        ),
        (PACS, &memory, &["openmrs.encounter", "--cron"]),
        (ODOO, &memory, &["customer, drug, lab", "--cron"]),
        (
            ODOO,
            &["--database", "memory:", "--only", "stock"],
            &["--only stock", "saleorder"],
        ),
        (ODOO, &["--database", "oracle:x"], &["--database"]),
        ("no/such.properties", &memory, &["no/such.properties"]),
    ] {
        run(file, options).assert_refused(words);
    }
    // This one has its schedule in the file.
    let only = ["--database", "memory:", "--only", "saleorder"];
    assert_has(
        &plan(ODOO, &only),
        &[
            "job drug: http://127.0.0.1:8050/openmrs/ws/atomfeed/drug/recent, \
           does not run: left out by --only",
        ],
    );
}

macro_rules! schedules_of_the_table {
    ($($name:ident: $harness:expr, $url:literal;)+) => {
        $(#[tokio::test]
        async fn $name() {
            let Some(harness) = $harness else { return };
            let (pool, schema) = harness.foreign().await;
            let url = std::env::var($url).unwrap();
            let tables = ["--database", &url, "--schema", schema.as_str(), "--adopt"];
            let make = "CREATE TABLE quartz_cron_scheduler (id INT PRIMARY KEY,
                name VARCHAR(255) NOT NULL, enabled BOOLEAN, cron_statement VARCHAR(32),
                start_delay INT)";
            pool.execute(make).await.unwrap();
            let insert = "INSERT INTO quartz_cron_scheduler VALUES
                (1, 'openMRSEncounterFeedJob', TRUE, '0/15 * * * * ?', 0),
                (2, 'openMRSEncounterFailedFeedJob', FALSE, '0/20 * * * * ?', 0),
                (3, 'customerFeedJobTrigger', TRUE, '0/10 * * * * ?', 5000),
                (4, 'openerpDrugFeedQuartzJobTrigger', FALSE, '0/10 * * * * ?', 0),
                (5, 'openerpLabTestFeedJobTrigger', FALSE, '0/10 * * * * ?', 0),
                (6, 'openerpLabPanelFeedJobTrigger', TRUE, '0/25 * * * * ?', 0),
                (7, 'openerpRadiologyTestFeedJobTrigger', TRUE, '0/25 * * * * ?', 0)";
            pool.execute(insert).await.unwrap();
            assert_has(
                &plan(PACS, &tables),
                &["job openmrs.encounter: \
                   http://127.0.0.1:8050/openmrs/ws/atomfeed/encounter/recent, \
                   0/15 * * * * ? (from quartz_cron_scheduler, openMRSEncounterFeedJob)"],
            );
            let lines = plan(ODOO, &[&tables[..], &["--cron", "0 * * * * ?"]].concat());
            assert_has(
                &lines,
                &[
                    "job customer: http://127.0.0.1:8050/openmrs/ws/atomfeed/patient/recent, \
                     0/10 * * * * ? (from quartz_cron_scheduler, customerFeedJobTrigger), \
                     beginning 5s after the start",
                    "job saleorder: http://127.0.0.1:8050/openmrs/ws/atomfeed/encounter/recent, \
                     0/30 * * * * ? (from the file), beginning 60s after the start",
                    "job drug: http://127.0.0.1:8050/openmrs/ws/atomfeed/drug/recent, does not \
                     run: openerpDrugFeedQuartzJobTrigger is not enabled in quartz_cron_scheduler",
                    "job lab: http://127.0.0.1:8050/openmrs/ws/atomfeed/lab/recent, \
                     0/25 * * * * ? (from quartz_cron_scheduler, openerpLabPanelFeedJobTrigger; not by \
                     openerpLabTestFeedJobTrigger (not enabled) of the same feed)",
                    "job saleable: http://127.0.0.1:8050/openmrs/ws/atomfeed/saleable/recent, \
                     0 * * * * ? (from --cron), beginning 60s after the start",
                    "not used: openMRSEncounterFailedFeedJob in quartz_cron_scheduler: what is parked is tried \
                     again after each reading, and takes its own time",
                    "not used: openMRSEncounterFeedJob in quartz_cron_scheduler: no feed of this file is called so",
                ],
            );
            let ours = format!(
                "SELECT COUNT(*) FROM information_schema.tables
                 WHERE table_schema = '{schema}' AND table_name LIKE 'atomfeed%'"
            );
            let ours: i64 = sqlx::query_scalar(AssertSqlSafe(ours)).fetch_one(&pool).await.unwrap();
            assert_eq!(ours, 0, "nothing is made");
        })+
    };
}

schedules_of_the_table! {
    schedules_stand_in_postgresql: PostgresHarness::odoo(), "ATOMFEED_POSTGRES_URL";
    schedules_stand_in_mariadb: MySqlHarness::openmrs(), "ATOMFEED_MYSQL_URL";
}

/// A copy of a file with these in the place of others, in ISO 8859-1.
fn copied(folder: &Path, file: &str, others: &[(&str, &str)]) -> String {
    let mut text = std::fs::read_to_string(file).unwrap();
    for (this, other) in others {
        assert!(text.contains(this), "{this} is not in {file}");
        text = text.replace(this, other);
    }
    let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(c).unwrap()).collect();
    let copy = folder.join(Path::new(file).file_name().unwrap());
    std::fs::write(&copy, bytes).unwrap();
    copy.to_str().unwrap().to_owned()
}

fn line(job: &str, number: u32) -> Value {
    json!({
        "job": job,
        "event_id": entry_id(number),
        "title": format!("Event {number}"),
        "content": content(number),
    })
}

/// Reads three feeds of the file, of which only the hosts are others, into a database.
async fn reads_the_feeds_of_the_file(tables: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let emr = Guarded::start(
        &folder.path().join("emr"),
        "/openmrs/ws/atomfeed",
        1..=6,
        Door::of_openmrs,
        "JSESSIONID=emr",
    )
    .await;
    let lab = Guarded::start(
        &folder.path().join("lab"),
        "/openelis/ws/feed",
        101..=104,
        Door::of_openelis,
        "JSESSIONID=lab",
    )
    .await;
    let hosts = [
        ("127.0.0.1:8050", emr.address.as_str()),
        ("127.0.0.1:8052", lab.address.as_str()),
    ];
    let copy = copied(folder.path(), ODOO, &hosts);
    let jobs = ["customer", "saleorder", "openelis.saleorder"];
    let only = jobs.iter().flat_map(|job| ["--only", *job]);
    let options: Vec<_> = tables
        .iter()
        .copied()
        .chain(["--once"])
        .chain(only)
        .collect();

    let read = run(&copy, &options);
    read.assert_status(0);
    let said = read.stderr.join("\n");
    assert!(!said.contains("made-up"), "{said}");
    let expected = [
        line("customer", 2),
        line("customer", 4),
        line("customer", 6),
        line("saleorder", 1),
        line("saleorder", 3),
        line("saleorder", 5),
        line("openelis.saleorder", 102),
        line("openelis.saleorder", 104),
    ];
    assert_eq!(read.events(), expected);
    assert_has(&read.stderr, &["job customer: 3 events applied, 0 parked"]);

    // Logged in once at each server, and nothing of one is told to the other.
    let (of_emr, of_lab) = (emr.heard(), lab.heard());
    let logins = of_emr
        .iter()
        .filter(|heard| !heard.authorization.is_empty());
    assert_eq!(logins.count(), 1, "{of_emr:#?}");
    let logins = of_lab.iter().filter(|heard| heard.method == Method::POST);
    assert_eq!(logins.count(), 1, "{of_lab:#?}");
    let is_its_own = |heard: &Heard| heard.body.is_empty() && !heard.cookie.contains("lab");
    assert!(of_emr.iter().all(is_its_own), "{of_emr:#?}");
    let is_its_own =
        |heard: &Heard| heard.authorization.is_empty() && !heard.cookie.contains("emr");
    assert!(of_lab.iter().all(is_its_own), "{of_lab:#?}");

    // Each feed has its marker, and is not read anew.
    let markers = Program::start("feed-consumer", &[tables, &["--show-markers"]].concat()).finish();
    markers.assert_status(0);
    let mut markers: Vec<_> = markers
        .events()
        .iter()
        .map(|marker| {
            let text = |key: &str| marker[key].as_str().unwrap().to_owned();
            (text("feed_uri"), text("last_read_entry_id"))
        })
        .collect();
    markers.sort();
    let (of_emr, of_lab) = (&emr.address, &lab.address);
    let mut expected = [
        (
            format!("http://{of_emr}/openmrs/ws/atomfeed/patient/recent"),
            6,
        ),
        (
            format!("http://{of_emr}/openmrs/ws/atomfeed/encounter/recent"),
            5,
        ),
        (
            format!("http://{of_lab}/openelis/ws/feed/patient/recent"),
            104,
        ),
    ]
    .map(|(feed, last)| (feed, entry_id(last)));
    expected.sort();
    assert_eq!(markers, expected);
    let again = run(&copy, &options);
    again.assert_status(0);
    assert!(again.events().is_empty(), "{again:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn feeds_of_the_file_are_read_into_tables_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    let database = sqlite(folder.path(), "erp.db");
    reads_the_feeds_of_the_file(&["--database", &database]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn feeds_of_the_file_are_read_into_the_tables_of_odoo() {
    let Some(harness) = PostgresHarness::odoo() else {
        return;
    };
    let (pool, schema) = harness.foreign().await;
    let url = std::env::var("ATOMFEED_POSTGRES_URL").unwrap();
    let tables = ["--database", &url, "--schema", schema.as_str()];
    reads_the_feeds_of_the_file(&[&tables[..], &["--adopt"]].concat()).await;
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM markers WHERE feed_uri LIKE 'http://%'");
    let markers: i64 = count.fetch_one(&pool).await.unwrap();
    assert_eq!(markers, 3);
}

#[tokio::test]
async fn json_says_the_same_and_feeds_are_followed_until_it_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let mut emr = Emr::start("memory:", &["--import", "-"]);
    emr.publish(1..=2).await;
    let file = folder.path().join("feeds.json");
    let job = |name: &str| {
        let feed = emr.url(&format!("/feed/{name}/recent"));
        json!({ "name": name, "feed": feed, "cron": "* * * * * ?" })
    };
    let feeds = json!({
        "database": sqlite(folder.path(), "lab.db"),
        "max_failed_events": 1000,
        "jobs": [job("patient"), job("encounter")],
    });
    std::fs::write(&file, feeds.to_string()).unwrap();
    let following = Program::start("feeds-from-properties", &[file.to_str().unwrap()]);
    following
        .stdout
        .wait_for("two events", |lines| (lines.len() == 2).then_some(()));
    emr.publish(3..=4).await;
    following
        .stdout
        .wait_for("two more", |lines| (lines.len() == 4).then_some(()));
    following.terminate();
    let followed = following.finish();
    followed.assert_status(0);
    let events = followed.events();
    for (job, number) in [
        ("encounter", 1),
        ("patient", 2),
        ("encounter", 3),
        ("patient", 4),
    ] {
        assert!(
            events.contains(&line(job, number)),
            "{job} {number}: {events:#?}"
        );
    }
}

#[test]
fn who_is_stopped_before_the_first_round_ends_cleanly() {
    let options = ["--database", "memory:", "--only", "saleorder"];
    let waiting = Program::start("feeds-from-properties", &[&[ODOO], &options[..]].concat());
    waiting.stderr.wait_for("what is not used", |lines| {
        let last = lines
            .iter()
            .find(|line| line.contains("update.atomfeed.marker"));
        last.map(|_| ())
    });
    waiting.terminate();
    waiting.finish().assert_status(0);
}
