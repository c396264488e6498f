//! Rounds begin when the schedule says, one after the other.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_client::core::Clock;
use atomfeed_client::{
    CancellationToken, Event, EventWorker, FailureExt, Handled, Schedule, WorkerError,
};
use atomfeed_core::store::{MemoryConnection, MemoryStore};
use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::{Instant, sleep};

use crate::feeds::Emr;

/// Shows 00:00:05 at first, and then goes with the time of the runtime.
#[derive(Debug, Clone)]
struct Wall(Instant);

impl Clock for Wall {
    fn now(&self) -> DateTime<Utc> {
        let begun: DateTime<Utc> = "2026-01-01T00:00:05Z".parse().unwrap();
        begun + TimeDelta::from_std(self.0.elapsed()).unwrap()
    }
}

/// Notes at what time it was handed which event; some take long, some fail in passing.
#[derive(Clone)]
struct Timed {
    clock: Wall,
    handed: Arc<Mutex<Vec<String>>>,
    takes: Duration,
    is_down_for: Arc<Mutex<u32>>,
}

#[async_trait]
impl EventWorker<MemoryConnection> for Timed {
    async fn process(
        &self,
        event: &Event,
        _conn: &mut MemoryConnection,
    ) -> Result<Handled, WorkerError> {
        let time = self.clock.now().format("%T");
        let handed = format!("{time} {}", event.content());
        self.handed.lock().unwrap().push(handed);
        sleep(self.takes).await;
        let mut is_down_for = self.is_down_for.lock().unwrap();
        if *is_down_for > 0 {
            *is_down_for -= 1;
            return Err(WorkerError::new("the ERP is down")).transient();
        }
        Ok(Handled::Applied)
    }
}

/// Runs a consumer for so many seconds, in which an event is published every 6, from the start on.
async fn run_for(seconds: u64, takes: Duration, down: u32, schedule: Schedule) -> Vec<String> {
    let emr = Emr::new().await;
    let worker = Timed {
        clock: Wall(Instant::now()),
        handed: Arc::default(),
        takes,
        is_down_for: Arc::new(Mutex::new(down)),
    };
    let client = emr
        .client()
        .batch(1)
        .clock(worker.clock.clone())
        .schedule(schedule)
        // By the schedule alone.
        .wait_for_news(Duration::ZERO)
        .build(MemoryStore::new(), worker.clone());
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let begun = Instant::now();
    emr.publish([0]).await;
    let running = tokio::spawn(async move { client.run(stopped).await });
    for number in 1.. {
        if begun.elapsed() + Duration::from_secs(6) > Duration::from_secs(seconds) {
            break;
        }
        sleep(Duration::from_secs(6)).await;
        emr.publish([number]).await;
    }
    stop.cancel();
    running.await.unwrap().unwrap();
    let handed = worker.handed.lock().unwrap();
    handed.clone()
}

fn each_20_seconds() -> Schedule {
    let schedule = Schedule::cron("0/20 * * * * ?").unwrap();
    schedule.in_zone("UTC").unwrap()
}

#[tokio::test(start_paused = true)]
async fn rounds_begin_at_the_times_of_an_expression() {
    let handed = run_for(60, Duration::ZERO, 0, each_20_seconds()).await;
    assert_eq!(
        handed,
        [
            // Published at 5, 11 and 17 seconds.
            "00:00:20 0",
            "00:00:20 1",
            "00:00:20 2",
            "00:00:40 3",
            "00:00:40 4",
            "00:00:40 5",
            "00:01:00 6",
            "00:01:00 7",
            "00:01:00 8",
            "00:01:00 9",
        ]
    );
}

/// The time that comes while a round goes on is left out.
#[tokio::test(start_paused = true)]
async fn a_round_that_takes_long_is_not_overlapped() {
    let handed = run_for(84, Duration::from_secs(8), 0, each_20_seconds()).await;
    assert_eq!(
        handed,
        [
            // Until 44 seconds, beyond the 40 at which the next round was to begin.
            "00:00:20 0",
            "00:00:28 1",
            "00:00:36 2",
            "00:01:00 3",
            "00:01:08 4",
            "00:01:16 5",
            "00:01:24 6",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_waited_for_is_tried_before_the_next_time() {
    let daily = Schedule::cron("20 0 0 * * ?").unwrap();
    let daily = daily.in_zone("UTC").unwrap();
    let handed = run_for(60, Duration::ZERO, 3, daily).await;
    let tries = handed.iter().filter(|handed| handed.ends_with(" 0"));
    let tries: Vec<_> = tries.collect();
    assert_eq!(tries.len(), 4, "{handed:?}");
    assert_eq!(tries[0], "00:00:20 0");
    assert!(tries[3] < &"00:01:00".to_owned(), "{handed:?}");
}

#[tokio::test(start_paused = true)]
async fn an_interval_begins_at_once() {
    let every = Schedule::every(Duration::from_secs(60));
    let handed = run_for(12, Duration::ZERO, 0, every).await;
    assert_eq!(handed, ["00:00:05 0"]);
}

/// However far the next time is.
#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_wait() {
    let far = Schedule::cron("0 0 0 1 1 ? 2099").unwrap();
    assert!(run_for(12, Duration::ZERO, 0, far).await.is_empty());
    let over = Schedule::cron("0 0 0 1 1 ? 2025").unwrap();
    assert!(run_for(12, Duration::ZERO, 0, over).await.is_empty());
}
