//! Jobs that run: as the unchanged files name them, when their schedules say it, and in the database that they
//! name.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use atomfeed_core::store::conformance::PostgresHarness;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor};
use tokio::net::TcpListener;

use super::door::{Door, Guarded};
use super::{ODOO, PACS, copied, line, run};
use crate::emr::{entry_id, event, sqlite};
use crate::programs::{PATIENCE, Program};

const EMR: &str = "/openmrs/ws/atomfeed";
const PATIENTS: &str = "/openmrs/ws/atomfeed/patient/";
const ENCOUNTERS: &str = "/openmrs/ws/atomfeed/encounter/";
const DRUGS: &str = "/openmrs/ws/atomfeed/drug/";

fn in_category(category: &str, number: u32) -> Value {
    let mut event = event(number);
    event["category"] = category.into();
    event
}

/// Where the files look for a server; `None` where somebody else is there, who must not be where
/// `ATOMFEED_PORTS` is set.
async fn at_port(port: u16) -> Option<TcpListener> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await;
    if let Err(error) = &listener {
        let may_be_taken = std::env::var_os("ATOMFEED_PORTS").is_none();
        assert!(may_be_taken, "127.0.0.1:{port}: {error}");
        println!("127.0.0.1:{port}: {error}; the files are not started");
    }
    listener.ok()
}

/// Waits until a feed was read a few times more.
async fn is_read_again_and_again(emr: &Guarded, path: &str) {
    let (before, begun) = (emr.asked_for(path), Instant::now());
    while emr.asked_for(path) < before + 3 {
        assert!(begun.elapsed() < PATIENCE, "{:#?}", emr.heard());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unchanged_files_start_the_jobs_that_they_name() {
    let (Some(emr), Some(lab)) = (at_port(8050).await, at_port(8052).await) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let events = vec![
        event(1),
        event(2),
        in_category("drug", 3),
        in_category("lab", 4),
        in_category("saleable", 5),
    ];
    let published = [(EMR, events), ("/reference-data/ws/feed", vec![event(201)])];
    let emr_folder = folder.path().join("emr");
    let emr = Guarded::at(
        emr,
        &emr_folder,
        &published,
        Door::of_openmrs,
        "JSESSIONID=emr",
    );
    let published = [("/openelis/ws/feed", vec![event(102)])];
    let lab_folder = folder.path().join("lab");
    let lab = Guarded::at(
        lab,
        &lab_folder,
        &published,
        Door::of_openelis,
        "JSESSIONID=lab",
    );

    let database = sqlite(folder.path(), "erp.db");
    let read = run(ODOO, &["--database", &database, "--once"]);
    read.assert_status(0);
    let expected = [
        ("customer", 2),
        ("saleorder", 1),
        ("drug", 3),
        ("lab", 4),
        ("saleable", 5),
        ("openelis.saleorder", 102),
        ("referencedata", 201),
    ];
    assert_eq!(
        read.events(),
        expected.map(|(job, number)| line(job, number))
    );
    assert_eq!(emr.asked_for("/openmrs/ws/rest/v1/session"), 1);
    assert!(lab.asked_for("/openelis/ws/feed/patient/") > 0);

    let database = sqlite(folder.path(), "pacs.db");
    let options = [PACS, "--database", &database, "--cron", "* * * * * ?"];
    let following = Program::start("feeds-from-properties", &options);
    let has_come = |lines: &[String]| (!lines.is_empty()).then_some(());
    following.stdout.wait_for("the encounter", has_come);
    is_read_again_and_again(&emr, ENCOUNTERS).await;
    following.terminate();
    let followed = following.finish();
    followed.assert_status(0);
    assert_eq!(followed.events(), [line("openmrs.encounter", 1)]);
}

/// Of two feeds, one is read each second, and one in a year that none of us sees.
#[tokio::test(flavor = "multi_thread")]
async fn rounds_follow_the_cron_expressions() {
    let folder = tempfile::tempdir().unwrap();
    let emr_folder = folder.path().join("emr");
    let emr = Guarded::start(&emr_folder, EMR, 1..=6, Door::of_openmrs, "JSESSIONID=emr").await;
    let others = [
        ("127.0.0.1:8050", emr.address.as_str()),
        ("initial.delay=60000", "initial.delay=0"),
        ("expression=0/30 * * * * ?", "expression=0 0 0 1 1 ? 2099"),
    ];
    let copy = copied(folder.path(), ODOO, &others);
    let database = sqlite(folder.path(), "erp.db");
    let each_second = ["--database", &database, "--cron", "* * * * * ?"];
    let only = ["--only", "customer", "--only", "saleorder"];
    let options = [&[copy.as_str()], &each_second[..], &only[..]].concat();
    let following = Program::start("feeds-from-properties", &options);
    let have_come = |lines: &[String]| (lines.len() >= 3).then_some(());
    following.stdout.wait_for("three patients", have_come);
    is_read_again_and_again(&emr, PATIENTS).await;
    following.terminate();
    let followed = following.finish();
    followed.assert_status(0);
    assert_eq!(emr.asked_for(ENCOUNTERS), 0, "{:#?}", emr.heard());
    let patients = [2, 4, 6].map(|number| line("customer", number));
    assert_eq!(followed.events(), patients);
}

/// One begins after a moment, though the file says a minute, and one after a day.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_begins_when_its_row_in_the_table_says() {
    let Some(harness) = PostgresHarness::odoo() else {
        return;
    };
    let (pool, schema) = harness.foreign().await;
    for statement in [
        "CREATE TABLE quartz_cron_scheduler (id INT PRIMARY KEY, name VARCHAR(255) NOT NULL,
            enabled BOOLEAN, cron_statement VARCHAR(32), start_delay INT)",
        "INSERT INTO quartz_cron_scheduler VALUES
            (1, 'customerFeedJobTrigger', TRUE, '* * * * * ?', 500),
            (2, 'openerpDrugFeedQuartzJobTrigger', TRUE, '* * * * * ?', 86400000)",
    ] {
        pool.execute(statement).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let events = vec![event(2), in_category("drug", 3)];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let emr_folder = folder.path().join("emr");
    let published = [(EMR, events)];
    let emr = Guarded::at(
        listener,
        &emr_folder,
        &published,
        Door::of_openmrs,
        "JSESSIONID=emr",
    );
    let host = [("127.0.0.1:8050", emr.address.as_str())];
    let copy = copied(folder.path(), ODOO, &host);
    let url = std::env::var("ATOMFEED_POSTGRES_URL").unwrap();
    let tables = ["--database", &url, "--schema", schema.as_str(), "--adopt"];
    let only = ["--only", "customer", "--only", "drug"];
    let options = [&[copy.as_str()], &tables[..], &only[..]].concat();
    let following = Program::start("feeds-from-properties", &options);
    let has_come = |lines: &[String]| (!lines.is_empty()).then_some(());
    following.stdout.wait_for("the patient", has_come);
    is_read_again_and_again(&emr, PATIENTS).await;
    following.terminate();
    let followed = following.finish();
    followed.assert_status(0);
    assert_eq!(emr.asked_for(DRUGS), 0, "{:#?}", emr.heard());
    assert_eq!(followed.events(), [line("customer", 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_sets_no_limits_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let emr_folder = folder.path().join("emr");
    let emr = Guarded::start(&emr_folder, EMR, 1..=2, Door::of_openmrs, "JSESSIONID=emr").await;
    let others = [
        ("127.0.0.1:8050", emr.address.as_str()),
        ("InMilliseconds=10000", "InMilliseconds=0"),
        ("InMilliseconds=20000", "InMilliseconds=0"),
    ];
    let copy = copied(folder.path(), PACS, &others);
    let read = run(&copy, &["--database", "memory:", "--once"]);
    read.assert_status(0);
    assert_eq!(read.events(), [line("openmrs.encounter", 1)]);
}

/// With user, password and schema of the file, of which the password is not all ASCII.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_database_of_the_file_is_used() {
    use std::str::FromStr;

    use sqlx::postgres::PgConnectOptions;

    let Some(harness) = PostgresHarness::odoo() else {
        return;
    };
    let (pool, like) = harness.foreign().await;
    let name = &like.as_str()[like.as_str().len() - 12..];
    let (user, schema) = (format!("u{name}"), format!("s{name}"));
    for statement in [
        format!("CREATE ROLE {user} LOGIN PASSWORD 'p%4/:@\u{e9}'"),
        format!("CREATE SCHEMA {schema} AUTHORIZATION {user}"),
    ] {
        pool.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    let url = std::env::var("ATOMFEED_POSTGRES_URL").unwrap();
    let server = PgConnectOptions::from_str(&url).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let emr_folder = folder.path().join("emr");
    let emr = Guarded::start(&emr_folder, EMR, 1..=6, Door::of_openmrs, "JSESSIONID=emr").await;
    let at = format!(
        "{}/{}",
        by_tcp(&server).await,
        server.get_database().unwrap()
    );
    let as_user = format!("jdbc.username={user}");
    let in_schema = format!("default_schema={schema}");
    let others = [
        ("127.0.0.1:8050", emr.address.as_str()),
        ("127.0.0.1:5432/odoo", at.as_str()),
        ("jdbc.username=odoo", as_user.as_str()),
        ("jdbc.password=odoo", "jdbc.password=p%4/:@\u{e9}"),
        ("default_schema=public", in_schema.as_str()),
    ];
    let copy = copied(folder.path(), ODOO, &others);
    let read = run(&copy, &["--once", "--only", "customer"]);
    read.assert_status(0);
    let patients = [2, 4, 6].map(|number| line("customer", number));
    assert_eq!(read.events(), patients);
    let markers = format!("SELECT last_read_entry_id FROM {schema}.markers");
    let markers = sqlx::query_scalar(AssertSqlSafe(markers)).fetch_all(&pool);
    let markers: Vec<String> = markers.await.unwrap();
    assert_eq!(markers, [entry_id(6)]);
    for statement in [format!("DROP OWNED BY {user}"), format!("DROP ROLE {user}")] {
        pool.execute(AssertSqlSafe(statement)).await.unwrap();
    }
}

/// Where a server of PostgreSQL is reached as a `jdbc:` URL can say it, which names no sockets of Unix.
#[cfg(unix)]
async fn by_tcp(server: &sqlx::postgres::PgConnectOptions) -> String {
    let (host, port) = (server.get_host(), server.get_port());
    let Some(folder) = server.get_socket() else {
        return format!("{host}:{port}");
    };
    let socket = folder.join(format!(".s.PGSQL.{port}"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = tokio::net::UnixStream::connect(&socket).await.unwrap();
            tokio::spawn(async move {
                // Either may go away, and that is fine.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    address.to_string()
}
