//! How long each page of the console takes with 100,000 failed events.
//!
//! `ATOMFEED_POSTGRES_URL` and `ATOMFEED_MYSQL_URL` name the servers (`bash .ci/databases start FOLDER` starts
//! throwaway ones); what has no server is left out. `ATOMFEED_BENCH_FAILED` sets another number of events. Printed
//! are, for each page, the median and the longest of twenty answers, from the request to the last byte, by the
//! router itself, and how many bytes it has.

use std::time::{Duration, Instant};

use atomfeed_client::console::{Console, ConsoleUser, Role};
use atomfeed_client::{Event, FeedUri};
use atomfeed_core::store::conformance::{Harness, MySqlHarness, PostgresHarness, SqliteHarness};
use atomfeed_core::store::{ConsoleStore, ConsumerStore, FailureFilter, UnitOfWork};
use atomfeed_core::{EntryId, Failure, Marker, Place};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use chrono::{TimeDelta, Utc};
use tower_service::Service;

const TIMES: usize = 20;

fn main() {
    // Without `--bench`, as under `cargo test`, there is nothing to see.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let events = std::env::var("ATOMFEED_BENCH_FAILED").ok();
    let events = events.map_or(100_000, |events| events.parse().expect("a number"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        if let Some(harness) = PostgresHarness::from_env() {
            measure("postgres", &harness, events).await;
        }
        if let Some(harness) = MySqlHarness::from_env() {
            measure("mysql", &harness, events).await;
        }
        measure("sqlite", &SqliteHarness::default(), events).await;
    });
}

fn feed(number: u32) -> FeedUri {
    let feed = format!("http://emr:8050/openmrs/ws/atomfeed/feed{number}/recent");
    feed.parse().expect("an address")
}

/// Parks events of five feeds, which fail for a hundred reasons, each with a stack trace; a tenth of them wait
/// for others.
async fn fill<H: Harness>(store: &H::Store, events: u32) {
    let now = Utc::now() - TimeDelta::days(1);
    let trace = "\tat org.example.Worker.process(Worker.java:17)\n".repeat(20);
    for first in (0..events).step_by(1_000) {
        let mut work: Box<dyn UnitOfWork<Conn = H::Conn>> = store.begin().await.expect("opened");
        for number in first..(first + 1_000).min(events) {
            let feed = feed(number % 5);
            let event = Event::new(EntryId::of_event(uuid::Uuid::new_v4()), feed.clone())
                .with_text(
                    format!("Title {}", number % 50),
                    format!("/openmrs/ws/rest/v1/patient/{number}?v=full"),
                )
                .with_tags_column("Patient,urgent")
                .on_page(Some(format!("http://emr:8050/feed/{}", number / 100)));
            let message = format!(
                "Failed processing event in feed [http://emr:8050/feed/{}] \nreason {}: no patient {}\n{trace}",
                number / 100,
                ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"][(number / 5 % 10) as usize],
                "x".repeat((number % 10) as usize),
            );
            let at = now + TimeDelta::milliseconds(number.into());
            let id = work.park(&event, &Failure::new(message, at)).await;
            let place = Place {
                key: Some(format!(
                    "patient {}",
                    number - number % 10 + number % 10 / 9 * 9
                )),
                due_at: Some(now + TimeDelta::days(30)),
            };
            let id = id.expect("parked");
            work.place(&feed, id, &place).await.expect("placed");
        }
        work.commit().await.expect("committed");
    }
    let mut work = store.begin().await.expect("opened");
    for number in 0..5 {
        let marker = Marker::new(feed(number)).on_page("http://emr:8050/feed/1000");
        work.move_marker(None, &marker).await.expect("made");
    }
    work.commit().await.expect("committed");
}

async fn measure<H: Harness>(name: &str, harness: &H, events: u32)
where
    H::Store: ConsoleStore + Clone,
{
    let store = harness.store().await;
    let begun = Instant::now();
    fill::<H>(&store, events).await;
    println!(
        "{name}: {events} failed events, parked within {:.1?}",
        begun.elapsed()
    );
    let mut work = store.look().await.expect("opened");
    let groups = work.failure_groups(&FailureFilter::default(), 1).await;
    let groups = groups.expect("read");
    let (reason, some) = (&groups[0].reason, groups[0].first_id);
    drop(work);
    let console = Console::host_authenticates(|_| Some(ConsoleUser::new("bench", Role::Operate)));
    let mut app = console.with_system("Lab", store).into_router("/");
    let feed = feed(3);
    let middle = i64::from(events / 2);
    for path in [
        "/".to_owned(),
        "/failed".to_owned(),
        format!("/failed?system=Lab&before={middle}"),
        "/failed?system=Lab&before=200".to_owned(),
        format!("/failed?system=Lab&feed={feed}"),
        format!("/failed?system=Lab&feed={feed}&reason={reason}"),
        "/failed?system=Lab&state=dead".to_owned(),
        "/failed?system=Lab&state=waits".to_owned(),
        "/failed?system=Lab&title=title+17".to_owned(),
        "/failed?system=Lab&title=nothing+like+it".to_owned(),
        "/failed?system=Lab&tag=urgent".to_owned(),
        format!("/failed?system=Lab&key=patient+{middle}"),
        "/failed?system=Lab&error=no+such+words".to_owned(),
        "/failed?system=Lab&error=reason+c".to_owned(),
        format!("/failed?system=Lab&error=no+such+words&before={middle}"),
        "/failed?system=Lab&since=2024-03-01T08:00".to_owned(),
        format!("/systems/Lab/failed/{some}"),
        format!("/systems/Lab/failed/{some}/edit"),
        format!("/systems/Lab/retry?feed={feed}&reason={reason}"),
        format!("/systems/Lab/retry?feed={feed}&error=no+such+words"),
        "/markers".to_owned(),
        format!("/systems/Lab/marker?feed={feed}"),
        format!("/systems/Lab/marker?feed={feed}&position=latest"),
        "/systems/Lab/rebase?from=http://emr:8050&to=https://emr.example.org".to_owned(),
        format!("/systems/Lab/failed/{some}/skip"),
        format!("/systems/Lab/export?feed={feed}"),
        "/failed?system=Lab&reasons=all".to_owned(),
        "/actions".to_owned(),
        "/api/systems".to_owned(),
        format!("/api/systems/Lab/failed?feed={feed}"),
        "/api/systems/Lab/reasons".to_owned(),
        format!("/api/systems/Lab/failed/{some}"),
        "/api/systems/Lab/actions".to_owned(),
        "/apps/Lab/feedStatus".to_owned(),
    ] {
        let mut taken = Vec::with_capacity(TIMES);
        let mut bytes = 0;
        for _ in 0..TIMES {
            let begun = Instant::now();
            bytes = get(&mut app, &path).await;
            taken.push(begun.elapsed());
        }
        taken.sort_unstable();
        let over = if taken[TIMES / 2] >= Duration::from_millis(100) {
            "  OVER"
        } else {
            ""
        };
        println!(
            "{name}: median {:>9.1?}, longest {:>9.1?}, {bytes:>7} bytes  {path}{over}",
            taken[TIMES / 2],
            taken[TIMES - 1]
        );
    }
}

async fn get(app: &mut Router, path: &str) -> usize {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let response = app.call(request).await.expect("an answer");
    assert_eq!(response.status(), 200, "{path}");
    let body = to_bytes(response.into_body(), usize::MAX).await;
    body.expect("a body").len()
}
