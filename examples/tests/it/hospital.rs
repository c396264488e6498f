//! The hospital as a whole: every system a process, in step with the others whatever happens to them.

#![allow(clippy::unwrap_used)]

mod damage;
mod own;
mod program;
mod run;

use std::path::Path;
use std::time::Duration;

use atomfeed_core::store::SqliteStore;
use sqlx::{Connection, Executor, PgConnection};
use uuid::Uuid;

use self::run::{Approver, Run, is_full, one_at_a_time};
use crate::emr::sqlite;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn count(folder: &Path, database: &str, select: &'static str) -> i64 {
    let store = SqliteStore::connect(&sqlite(folder, database)).await;
    let store = store.unwrap();
    let count = sqlx::query_scalar(select).fetch_one(store.pool()).await;
    store.pool().close().await;
    count.unwrap()
}

async fn events(folder: &Path) -> i64 {
    let select = "SELECT COUNT(*) FROM event_records";
    count(folder, "emr.db", select).await + count(folder, "lab.db", select).await
}

#[tokio::test]
async fn all_agree_from_an_empty_start_and_from_one_in_the_middle() {
    let _alone = one_at_a_time().await;
    let folder = tempfile::tempdir().unwrap();
    for day in 1..=2 {
        // On other ports the second time: the markers follow.
        let run = Run::start(&["--load", "200", "--data", text(folder.path())]);
        run.until_it_ends().assert_agrees(200);
        assert_eq!(events(folder.path()).await, 200 * day);
    }
    let results = "SELECT COUNT(*) FROM results";
    assert!(count(folder.path(), "emr.db", results).await > 0);
    let lines = "SELECT COUNT(*) FROM sale_order_line";
    assert!(count(folder.path(), "erp.db", lines).await > 0);
    let studies = "SELECT COUNT(*) FROM studies";
    assert!(count(folder.path(), "imaging.db", studies).await > 0);
}

#[tokio::test]
async fn what_is_different_is_named_and_it_ends_with_1() {
    let _alone = one_at_a_time().await;
    let folder = tempfile::tempdir().unwrap();
    let data = ["--data", text(folder.path())];
    let run = Run::start(&[&["--load", "40"], &data[..]].concat());
    run.until_it_ends().assert_agrees(40);

    let lab = SqliteStore::connect(&sqlite(folder.path(), "lab.db")).await;
    let lab = lab.unwrap();
    let (patient, name): (String, String) =
        sqlx::query_as("SELECT uuid, name FROM patients ORDER BY uuid LIMIT 1")
            .fetch_one(lab.pool())
            .await
            .unwrap();
    let update = sqlx::query("UPDATE patients SET name = 'Somebody Else' WHERE uuid = ?");
    update.bind(&patient).execute(lab.pool()).await.unwrap();
    let forgotten: String = sqlx::query_scalar(
        "DELETE FROM applied WHERE event_id = (SELECT MAX(event_id) FROM applied)
        RETURNING event_id",
    )
    .fetch_one(lab.pool())
    .await
    .unwrap();
    lab.pool().close().await;

    let run = Run::start(&[&["--load", "0", "--patience", "3"], &data[..]].concat());
    let finished = run.until_it_ends();
    finished.assert_status(1);
    let last = finished.stdout.last().unwrap();
    assert_eq!(last, "not in agreement: 0 events, 2 differences");
    let renamed =
        format!("patients: different: {patient}: name is {name} in EMR, Somebody Else in lab");
    assert!(finished.stdout.contains(&renamed), "{finished:#?}");
    let (_, forgotten) = forgotten.rsplit_once(':').unwrap();
    let is_missing = |line: &String| {
        line.starts_with("events: ") && line.contains("missing in lab") && line.contains(forgotten)
    };
    assert!(finished.stdout.iter().any(is_missing), "{finished:#?}");
}

#[tokio::test]
async fn all_agree_when_each_system_was_killed_in_turn() {
    let _alone = one_at_a_time().await;
    let events = if is_full() { 20_000 } else { 2_000 };
    let run = Run::start(&["--load", &events.to_string(), "--kill"]);
    let finished = run.until_it_ends();
    finished.assert_agrees(events);
    for system in ["EMR", "lab", "ERP", "imaging"] {
        let killed = format!("the {system} is killed; ");
        let kills = finished.stdout.iter();
        let kills = kills.filter(|line| line.starts_with(&killed)).count();
        assert_eq!(kills, 2, "{system}: {finished:#?}");
    }
}

#[tokio::test]
async fn all_agree_whichever_system_was_down() {
    let _alone = one_at_a_time().await;
    for (system, name) in [("lab", "lab"), ("emr", "EMR"), ("imaging", "imaging")] {
        let run = Run::start(&["--load", "60", "--break", system]);
        let finished = run.until_it_ends();
        finished.assert_agrees(60);
        for said in ["is down; ", "comes back; "] {
            let said = format!("the {name} {said}");
            let mut lines = finished.stdout.iter();
            assert!(
                lines.any(|line| line.starts_with(&said)),
                "{said}: {finished:#?}"
            );
        }
    }
}

/// The ERP refuses some, a person approves of them in the console, and they are tried again.
#[tokio::test]
async fn all_agree_once_refused_sales_are_approved_of_in_the_console() {
    let _alone = one_at_a_time().await;
    let folder = tempfile::tempdir().unwrap();
    let data = text(folder.path());
    let run = Run::start(&["--load", "400", "--over-limit", "1", "--data", data]);
    let approver = Approver::of(&run);
    while !run.has_verdict() {
        // Fails when the console has been closed meanwhile.
        let _ = approver.approve_all().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    run.until_it_ends().assert_agrees(400);
    let approved = approver.answered();
    assert!(approved > 0);
    let edited = "SELECT COUNT(*) FROM atomfeed_actions WHERE kind = 'edit'";
    assert_eq!(count(folder.path(), "erp_feeds.db", edited).await, approved);
    let parked = "SELECT COUNT(*) FROM failed_events";
    assert_eq!(count(folder.path(), "erp_feeds.db", parked).await, 0);
}

#[tokio::test]
async fn all_agree_once_an_unknown_test_is_known() {
    let _alone = one_at_a_time().await;
    let mut run = Run::start(&["--load", "30", "--break", "order"]);
    let approver = Approver::of(&run);
    run.say("what to do", |line| {
        line.contains("a line to standard input")
    });
    while approver.parked("Lab").await.unwrap() == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!run.has_verdict(), "an unknown test is taken");
    }
    run.enter();
    run.until_it_ends().assert_agrees(30);
}

#[tokio::test]
async fn without_a_load_it_goes_on_until_it_is_asked_to_end() {
    let _alone = one_at_a_time().await;
    let run = Run::start(&["--rate", "30", "--break", "erp"]);
    for said in [
        "the ERP is down",
        "the ERP comes back",
        "all systems agree: 60 events, 0 differences",
        "the hospital goes on until Ctrl-C",
    ] {
        run.say(said, |line| line.starts_with(said));
    }
    run.terminate().assert_status(0);
}

#[tokio::test]
async fn all_agree_on_postgres() {
    let Ok(url) = std::env::var("ATOMFEED_POSTGRES_URL") else {
        return;
    };
    let _alone = one_at_a_time().await;
    let mut conn = PgConnection::connect(&url).await.unwrap();
    let clear = "DROP SCHEMA IF EXISTS hospital_emr, hospital_lab, hospital_erp,
        hospital_erp_feeds, hospital_imaging, hospital_imaging_feeds CASCADE";
    conn.execute(clear).await.unwrap();
    let run = Run::start(&["--load", "200", "--postgres", &url]);
    run.until_it_ends().assert_agrees(200);
    conn.execute(clear).await.unwrap();
}

/// What is said of rows that are bad in each of the ways below.
const WHY: [&str; 8] = [
    "the uuid",
    "the name is empty",
    "is negative",
    "is too high",
    "the price \"cheap\" is none",
    "2 fields, and not 4",
    "not UTF-8",
    "a quote is left open",
];

/// Every 27th row is bad, in one of several ways, until 37 are; the second line of the file has the first row.
fn drugs(rows: usize) -> (Vec<u8>, Vec<usize>) {
    let mut csv = b"uuid,name,form,price\n".to_vec();
    let mut bad = Vec::new();
    for row in 0..rows {
        let uuid = Uuid::new_v4();
        // Behind an open quote there are quotes now, and then none.
        let name = match row / (27 * WHY.len()) % 2 {
            0 => format!("\"Drug {row}\""),
            _ => format!("Drug {row}"),
        };
        let good = format!("{uuid},{name},Tablet,{}.{:02}", row % 500, row % 100);
        let is_bad = row % 27 == 13 && bad.len() < 37;
        let line = match bad.len() % WHY.len() {
            _ if !is_bad => good.into_bytes(),
            0 => format!("no-uuid-{row},Drug {row},Tablet,1.00").into_bytes(),
            1 => format!("{uuid},,Tablet,1.00").into_bytes(),
            2 => format!("{uuid},Drug {row},Tablet,-1.00").into_bytes(),
            3 => format!("{uuid},Drug {row},Tablet,99999999999.00").into_bytes(),
            4 => format!("{uuid},Drug {row},Tablet,cheap").into_bytes(),
            5 => format!("{uuid},Drug {row}").into_bytes(),
            6 => [
                uuid.to_string().as_bytes(),
                b",Comprim\xe9,Tablet,1.00".as_slice(),
            ]
            .concat(),
            _ => format!("{uuid},\"Drug {row},Tablet,1.00").into_bytes(),
        };
        if is_bad {
            bad.push(row + 2);
        }
        csv.extend(line);
        csv.push(b'\n');
    }
    (csv, bad)
}

#[tokio::test]
async fn bad_rows_of_a_file_of_drugs_are_said_and_left_out() {
    let _alone = one_at_a_time().await;
    let rows = if is_full() { 10_000 } else { 1_000 };
    let (csv, bad) = drugs(rows);
    assert_eq!(bad.len(), 37);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("drugs.csv");
    std::fs::write(&file, csv).unwrap();
    let data = ["--data", text(folder.path())];
    let run = Run::start(&[&["--load", "0", "--drugs", text(&file)], &data[..]].concat());
    let finished = run.until_it_ends();
    let good = rows - 37;
    finished.assert_agrees(good);

    let said = finished.stdout.iter().filter_map(|line| {
        let (line, reason) = line.strip_prefix("line ")?.split_once(": ")?;
        Some((line.parse::<usize>().ok()?, reason))
    });
    let said: Vec<_> = said.collect();
    assert_eq!(said.iter().map(|(line, _)| *line).collect::<Vec<_>>(), bad);
    for ((line, reason), why) in said.iter().zip(WHY.iter().cycle()) {
        assert!(reason.contains(why), "line {line}, {why}: {reason}");
    }
    let good = good as i64;
    let drugs = "SELECT COUNT(*) FROM drugs";
    assert_eq!(count(folder.path(), "emr.db", drugs).await, good);
    assert_eq!(events(folder.path()).await, good);
    let products = "SELECT COUNT(*) FROM product_product WHERE default_code IS NOT NULL";
    assert_eq!(count(folder.path(), "erp.db", products).await, good);
}

#[tokio::test]
async fn what_makes_no_hospital_is_refused() {
    let _alone = one_at_a_time().await;
    for (arguments, words) in [
        (&["--rate", "0"][..], "0.001"),
        (&["--over-limit", "101"], "--over-limit"),
        (&["--break", "everything"], "everything"),
        (&["--odoo", "http://127.0.0.1:9"], "--odoo-password"),
        (&["--console", "0.0.0.0:0"], "127.0.0.1:9080"),
    ] {
        Run::start(arguments).finish().assert_refused(&[words]);
    }
}
