//! How fast events are published, sequenced and served from databases.
//!
//! `ATOMFEED_POSTGRES_URL` and `ATOMFEED_MYSQL_URL` name the servers (`bash .ci/databases start FOLDER`
//! starts throwaway ones); what has no server is left out. `ATOMFEED_BENCH_EVENTS` sets how many events
//! the feeds of the page figures have; else a million. Printed are:
//!
//! - `publish`: transactions a second of 16 connections, each with one `publish`, over those with a
//!   plain insert of the same row, which take turns: more is better, 1 is as fast;
//! - `drain`: events a second that a sequencer moves;
//! - `page`: the median time of a page at the start, in the middle and at the end of a feed, read from
//!   the database each time and rendered, with the tables adopted where they can be, and the slowest
//!   of the three over the fastest;
//! - `visible`: from the commit of a transaction until the feed shows its event.

use std::time::{Duration, Instant};

use atomfeed_core::store::conformance::{Harness, MySqlHarness, PostgresHarness, SqliteHarness};
use atomfeed_core::store::sql::{Dialect, SqlStore};
use atomfeed_core::store::{Adoption, ConsumerStore, FeedStore, MySqlStore, PostgresStore};
use atomfeed_core::{Category, Clock, FeedScope, NewEvent, SystemClock};
use atomfeed_server::{CancellationToken, EventFeedService, FeedConfig, Publisher, Sequencer};
use sqlx::{AssertSqlSafe, Executor, PgPool};
use uuid::Uuid;

#[tokio::main]
async fn main() {
    // Without `--bench`, as under `cargo test`, there is nothing to see.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    if let Some(harness) = PostgresHarness::from_env() {
        publish_ratio(&harness).await;
        drain("postgres", &harness, FILL_POSTGRES).await;
        visible("postgres", &harness).await;
    }
    if let Some(harness) = MySqlHarness::from_env() {
        drain("mariadb", &harness, FILL_MARIADB).await;
        visible("mariadb", &harness).await;
    }
    pages().await;
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

const FILL_POSTGRES: &str = "INSERT INTO event_records_queue (uuid, title, object, category)
    SELECT gen_random_uuid()::text, 'Event ' || n, '/openmrs/ws/rest/v1/patient/' || n || '?v=full',
     'patient' FROM generate_series(1, 100000) AS n";
const FILL_MARIADB: &str = "INSERT INTO event_records_queue (uuid, title, object, category)
    SELECT UUID(), CONCAT('Event ', seq), CONCAT('/openmrs/ws/rest/v1/patient/', seq, '?v=full'),
     'patient' FROM seq_1_to_100000";

/// Sixteen connections, for a while each way, by turns.
async fn publish_ratio(harness: &PostgresHarness) {
    let store = harness.store().await;
    let mut ratios = Vec::new();
    let mut rates = [Vec::new(), Vec::new()];
    for _round in 0..5 {
        let mut done = [0_u64; 2];
        for (ours, done) in [true, false].into_iter().zip(&mut done) {
            *done = transactions(&store, ours).await;
        }
        ratios.push(done[0] as f64 / done[1] as f64);
        rates[0].push(done[0]);
        rates[1].push(done[1]);
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "publish/postgres: ours/plain = {:.2} (median of {ratios:.2?}; transactions in 2 s: {rates:?})",
        ratios[2]
    );
}

async fn transactions(store: &PostgresStore, ours: bool) -> u64 {
    let until = Instant::now() + Duration::from_secs(2);
    let workers = (0..16).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let publisher = Publisher::new(store.clone());
            let mut done = 0;
            while Instant::now() < until {
                let event = NewEvent::new("Patient", "/openmrs/ws/rest/v1/patient/1?v=full")
                    .in_category("patient");
                let mut tx = store.pool().begin().await.expect("a transaction opens");
                if ours {
                    publisher.publish(&mut tx, &event).await.expect("published");
                } else {
                    plain_insert(&mut tx, &event).await;
                }
                tx.commit().await.expect("committed");
                done += 1;
            }
            done
        })
    });
    let mut done = 0;
    for worker in workers.collect::<Vec<_>>() {
        done += worker.await.expect("a worker ends");
    }
    done
}

async fn plain_insert(conn: &mut sqlx::PgConnection, event: &NewEvent) {
    let now = SystemClock.now();
    let insert = sqlx::query(
        "INSERT INTO event_records_queue
         (uuid, title, timestamp, uri, object, category, date_created, tags)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    );
    let insert = insert
        .bind(event.uuid().to_string())
        .bind(event.title())
        .bind(now)
        .bind(event.uri())
        .bind(event.content())
        .bind(event.category())
        .bind(now)
        .bind(event.tags_column());
    insert.execute(conn).await.expect("inserted");
}

async fn drain<D, H>(name: &str, harness: &H, fill: &'static str)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>>,
{
    let mut rates = Vec::new();
    for _round in 0..3 {
        let store = harness.store().await;
        let mut conn = store.pool().acquire().await.expect("a connection");
        let fill = sqlx::SqlSafeStr::into_sql_str(fill);
        D::execute(&mut conn, fill, vec![]).await.expect("filled");
        let begun = Instant::now();
        let sequenced = Sequencer::new(store).drain().await.expect("drained");
        assert_eq!(sequenced.moved, 100_000);
        rates.push((100_000.0 / begun.elapsed().as_secs_f64()).round());
    }
    println!("drain/{name}: {rates:?} events/s");
}

/// One process; a sequencer that hears of the commit, and one that has to look.
async fn visible<D, H>(name: &str, harness: &H)
where
    D: Dialect,
    H: Harness<Store = SqlStore<D>, Conn = D::Connection>,
{
    for (hears, rounds) in [(true, 300), (false, 20)] {
        let store = harness.store().await;
        let sequencer = Sequencer::new(store.clone());
        let publisher = Publisher::new(store.clone());
        let publisher = match hears {
            true => publisher.waking(&sequencer),
            false => publisher,
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn(sequencer.run(stop.clone()));
        let mut times = Vec::new();
        for round in 1..=rounds {
            let mut work = store.begin().await.expect("a transaction opens");
            let event = NewEvent::new("Patient", "/patient/1");
            publisher
                .publish(work.conn(), &event)
                .await
                .expect("published");
            work.commit().await.expect("committed");
            let begun = Instant::now();
            while store.newest_id().await.expect("read") < round {
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
            times.push(begun.elapsed());
        }
        stop.cancel();
        running.await.expect("it ends");
        times.sort_unstable();
        let how = if hears { "hinted" } else { "by looking" };
        println!(
            "visible/{name}, {how}: median {:?}, 99th percentile {:?}",
            times[times.len() / 2],
            times[times.len() * 99 / 100]
        );
    }
}

async fn pages() {
    let events: u64 = std::env::var("ATOMFEED_BENCH_EVENTS")
        .ok()
        .and_then(|events| events.parse().ok())
        .unwrap_or(1_000_000);
    let harness = SqliteHarness::default();
    let store = harness.store().await;
    let fill = format!(
        "INSERT INTO event_records (uuid, title, timestamp, object, category)
         WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {events})
         SELECT printf('%032d', n), 'Event ' || n, '2024-03-01 08:00:00.000000',
          '/openmrs/ws/rest/v1/patient/' || n || '?v=full', {CATEGORY} FROM numbers"
    );
    store
        .pool()
        .execute(AssertSqlSafe(fill))
        .await
        .expect("filled");
    let learn = "INSERT INTO atomfeed_categories (category, folded)
        VALUES ('patient', 'patient'), ('rare', 'rare')";
    store.pool().execute(learn).await.expect("filled");
    time_pages("sqlite", &store, events).await;

    if let Some(harness) = PostgresHarness::openelis() {
        let (pool, schema) = harness.foreign().await;
        fill_postgres(&pool, events).await;
        let store = PostgresStore::over(pool, Some(&schema));
        let store = store
            .adopt(&Adoption::of_publisher())
            .await
            .expect("adopted");
        time_pages("postgres", &store, events).await;
    }
    let openmrs = [
        ("mariadb", MySqlHarness::openmrs()),
        // Which has no index on the category.
        ("mariadb, sync 2", MySqlHarness::openmrs_sync2()),
    ];
    for (name, harness) in openmrs {
        let Some(harness) = harness else { continue };
        let (pool, schema) = harness.foreign().await;
        let fill = format!(
            "INSERT INTO event_records (uuid, title, object, category)
             SELECT UUID(), CONCAT('Event ', n), CONCAT('/openmrs/ws/rest/v1/patient/', n, '?v=full'),
              {CATEGORY} FROM (SELECT seq AS n FROM seq_1_to_{events}) AS numbers ORDER BY n"
        );
        // So that ids have no gaps, which several rows a statement may leave.
        pool.execute("SET GLOBAL innodb_autoinc_lock_mode = 1")
            .await
            .ok();
        pool.execute(AssertSqlSafe(fill)).await.expect("filled");
        let store = MySqlStore::over(pool, Some(&schema));
        let store = store
            .adopt(&Adoption::of_publisher())
            .await
            .expect("adopted");
        time_pages(name, &store, events).await;
    }
}

/// One event in a hundred thousand is rare.
const CATEGORY: &str = "CASE WHEN n % 100000 = 1 THEN 'rare' ELSE 'patient' END";

async fn fill_postgres(pool: &PgPool, events: u64) {
    let fill = format!(
        "INSERT INTO event_records (uuid, title, object, category)
         SELECT gen_random_uuid()::text, 'Event ' || n,
          '/openmrs/ws/rest/v1/patient/' || n || '?v=full', {CATEGORY}
         FROM generate_series(1, {events}) AS n"
    );
    pool.execute(AssertSqlSafe(fill)).await.expect("filled");
    pool.execute("ANALYZE event_records")
        .await
        .expect("analysed");
}

async fn time_pages<D: Dialect>(name: &str, store: &SqlStore<D>, events: u64) {
    let address = format!("http://127.0.0.1:8080/{}", Uuid::nil());
    let config = FeedConfig::new(address.parse().expect("a URL"));
    for size in [5, 100] {
        // Pages of another length; the positions that are kept stay right.
        let forget = sqlx::SqlSafeStr::into_sql_str("DELETE FROM chunking_history");
        let mut conn = store.pool().acquire().await.expect("a connection");
        D::execute(&mut conn, forget, vec![])
            .await
            .expect("forgotten");
        drop(conn);
        let service = EventFeedService::open(store.clone(), config.clone().with_page_size(size));
        let service = service.await.expect("opened");
        let category = |name| FeedScope::Category(Category::new(name).expect("a category"));
        for (scope, what) in [(FeedScope::All, "all"), (category("patient"), "patient")] {
            let newest = service.recent(&scope).await.expect("served").number;
            let mut medians = Vec::new();
            for number in [1, newest / 2, newest] {
                let mut times = Vec::new();
                for _ in 0..201 {
                    let begun = Instant::now();
                    service.page(&scope, number).await.expect("served");
                    times.push(begun.elapsed());
                }
                medians.push(median(times));
            }
            let mut recent = Vec::new();
            for _ in 0..201 {
                let begun = Instant::now();
                service.recent(&scope).await.expect("served");
                recent.push(begun.elapsed());
            }
            let (least, most) = (medians.iter().min(), medians.iter().max());
            let ratio = most.zip(least).map_or(0.0, |(most, least)| {
                most.as_secs_f64() / least.as_secs_f64()
            });
            println!(
                "page/{name}/{size}/{what} of {events}: start, middle, end {medians:?}, \
                 slowest/fastest = {ratio:.2}; recent {:?}",
                median(recent)
            );
        }
        let begun = Instant::now();
        service.recent(&category("rare")).await.expect("served");
        println!(
            "page/{name}/{size}/rare of {events}: recent {:?}",
            begun.elapsed()
        );
    }
}
