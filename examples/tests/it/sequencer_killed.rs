//! The process that sequences is killed again and again, on the databases that need one, while others
//! publish: nothing is lost or doubled, order is kept, and no page that was read ever changes.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use atomfeed_core::NewEvent;
use atomfeed_core::store::sql::{Dialect, SqlStore};
use atomfeed_core::store::{MySqlStore, PostgresStore, SchemaName};
use atomfeed_server::Publisher;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection};
use uuid::Uuid;

use crate::emr::Emr;

const WRITERS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres() {
    let Ok(url) = std::env::var("ATOMFEED_POSTGRES_URL") else {
        return;
    };
    let schema = schema();
    let store = PostgresStore::connect(&url, Some(&schema)).await.unwrap();
    killed_at_any_moment(store, &url, &schema).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_mysql() {
    let Ok(url) = std::env::var("ATOMFEED_MYSQL_URL") else {
        return;
    };
    let schema = schema();
    let mut conn = MySqlConnection::connect(&url).await.unwrap();
    let make = sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {schema}")));
    make.execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    let store = MySqlStore::connect(&url, Some(&schema)).await.unwrap();
    killed_at_any_moment(store, &url, &schema).await;
}

fn schema() -> SchemaName {
    SchemaName::new(format!("k{}", Uuid::new_v4().simple())).unwrap()
}

async fn killed_at_any_moment<D: Dialect>(store: SqlStore<D>, url: &str, schema: &SchemaName) {
    let full = std::env::var("ATOMFEED_FULL").is_ok_and(|value| value == "1");
    let kills = if full { 100 } else { 10 };
    let start = || {
        let options = [
            "--schema",
            schema.as_str(),
            "--public-url",
            "http://emr.test/feed",
        ];
        Emr::start(url, &[&options[..], &["--page-size", "10"]].concat())
    };
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| tokio::spawn(write(store.clone(), Arc::clone(&stop))))
        .collect();

    let mut pages = BTreeMap::new();
    for _ in 0..kills {
        let emr = start();
        read_sealed(&emr, &mut pages, 5).await;
        // At any moment in what it does then.
        thread::sleep(Duration::from_micros(
            (Uuid::new_v4().as_u128() % 20_000) as u64,
        ));
        emr.program.kill();
    }
    stop.store(true, Ordering::Release);
    let mut committed = Vec::new();
    for writer in writers {
        committed.push(writer.await.unwrap());
    }

    let emr = start();
    let last_of_each = committed.iter().filter_map(|uuids| uuids.last());
    let total = committed.iter().map(Vec::len).sum::<usize>();
    assert!(total > kills, "too few events to prove anything: {total}");
    let mut seen = walk(&emr).await;
    for _ in 0..600 {
        if last_of_each.clone().all(|uuid| seen.contains(uuid)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        seen = walk(&emr).await;
    }
    read_sealed(&emr, &mut pages, u64::MAX).await;
    assert!(
        pages.len() > 3,
        "too few pages to prove anything: {}",
        pages.len()
    );
    // Each writer's events come in its order: one had committed before the next began.
    for uuids in &committed {
        let of_this_writer: Vec<_> = seen.iter().filter(|uuid| uuids.contains(uuid)).collect();
        assert_eq!(of_this_writer, uuids.iter().collect::<Vec<_>>());
    }
    assert_eq!(seen.len(), total, "an event came twice, or from nowhere");
}

/// Publishes one after the other until told to stop; what committed, in order.
async fn write<D: Dialect>(store: SqlStore<D>, stop: Arc<AtomicBool>) -> Vec<Uuid> {
    let publisher = Publisher::new(store.clone());
    let mut committed = Vec::new();
    while !stop.load(Ordering::Acquire) {
        let uuid = Uuid::new_v4();
        let mut transaction = store.pool().begin().await.unwrap();
        let event = NewEvent::new("killed", "").with_uuid(uuid);
        publisher.publish(&mut transaction, &event).await.unwrap();
        // Not as fast as it can: thousands of events would have to be compared.
        tokio::time::sleep(Duration::from_millis(10)).await;
        transaction.commit().await.unwrap();
        committed.push(uuid);
    }
    committed
}

/// Reads sealed pages, the newest few; those that were read before are as they were.
async fn read_sealed(emr: &Emr, pages: &mut BTreeMap<u64, String>, newest: u64) {
    let recent = emr.page("/feed/recent").await;
    let Some((_, number)) = recent.id.rsplit_once('+') else {
        panic!("{}", recent.id)
    };
    let number: u64 = number.parse().unwrap();
    for sealed in number.saturating_sub(newest).max(1)..number {
        let (status, body) = emr.get(&format!("/feed/{sealed}")).await;
        assert_eq!(status, 200);
        let before = pages.entry(sealed).or_insert_with(|| body.clone());
        assert_eq!(*before, body, "page {sealed} has changed");
    }
}

/// Every event of the feed, in its order.
async fn walk(emr: &Emr) -> Vec<Uuid> {
    let mut seen = Vec::new();
    for number in 1.. {
        let (status, body) = emr.get(&format!("/feed/{number}")).await;
        if status == 404 {
            return seen;
        }
        let page = atomfeed_core::atom::read_feed(body.as_bytes(), &Default::default()).unwrap();
        let uuids = page
            .entries
            .iter()
            .map(|entry| entry.id.rsplit_once(':').unwrap().1);
        seen.extend(uuids.map(|uuid| uuid.parse::<Uuid>().unwrap()));
    }
    seen
}
