//! What somebody asks for is carried out by the consumer that runs, once, and what came of it is written down.

mod marker;
mod parked;
mod taken;
mod unreadable;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, CancellationToken, Event, EventWorker, Handled, Schedule, WorkerError,
};
use atomfeed_core::store::conformance::Harness;
use atomfeed_core::store::{ConsoleStore, FailureFilter, FailureQuery, ParkedEvent};
use atomfeed_core::{
    Action, ActionKind, ActionProgress, ActionState, Clock, NewAction, SystemClock,
};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::feeds::{Emr, applied, feed_uri};

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What takes a moment.
const SLOW: u32 = 0;

const NEVER: Duration = Duration::from_secs(100_000);

/// Applies what it is handed under its content, which is a number; others fail, and so do those from 100 on
/// while the target refuses them, or is away.
struct Target<H> {
    harness: Arc<H>,
    refuses: Arc<AtomicBool>,
    is_away: Arc<AtomicBool>,
    tried: Arc<AtomicU32>,
    is_one_patient: bool,
}

#[async_trait]
impl<H: Harness + 'static> EventWorker<H::Conn> for Target<H> {
    async fn process(&self, event: &Event, conn: &mut H::Conn) -> Result<Handled, WorkerError> {
        self.tried.fetch_add(1, Ordering::Relaxed);
        let content = event.content();
        self.harness.write(conn, content, content).await;
        let number: u32 = content
            .parse()
            .map_err(|_| WorkerError::new("the order has no patient"))?;
        if number >= 100 && self.is_away.load(Ordering::Relaxed) {
            return Err(WorkerError::transient("the lab is away"));
        }
        if number == SLOW {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        match number >= 100 && self.refuses.load(Ordering::Relaxed) {
            true => Err(WorkerError::new(format!("order {number} is refused"))),
            false => Ok(Handled::Applied),
        }
    }

    fn key(&self, event: &Event) -> Option<String> {
        match self.is_one_patient {
            true => Some("patient".to_owned()),
            false => Some(event.id().to_string()),
        }
    }
}

struct Lab<H: Harness + 'static> {
    harness: Arc<H>,
    store: H::Store,
    emr: Emr,
    refuses: Arc<AtomicBool>,
    is_away: Arc<AtomicBool>,
    tried: Arc<AtomicU32>,
    is_one_patient: bool,
    has_lease: bool,
    schedule: Option<Schedule>,
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

impl<H: Harness + 'static> Lab<H> {
    async fn new(harness: &Arc<H>) -> Self {
        Self {
            store: harness.store().await,
            harness: Arc::clone(harness),
            emr: Emr::new().await,
            refuses: Arc::new(AtomicBool::new(true)),
            is_away: Arc::default(),
            tried: Arc::default(),
            is_one_patient: false,
            has_lease: false,
            schedule: None,
        }
    }

    fn client(&self) -> AtomFeedClient<H::Conn> {
        let target = Target {
            harness: Arc::clone(&self.harness),
            refuses: Arc::clone(&self.refuses),
            is_away: Arc::clone(&self.is_away),
            tried: Arc::clone(&self.tried),
            is_one_patient: self.is_one_patient,
        };
        let mut client = self.emr.client();
        if self.has_lease {
            client = client.standby(Duration::from_secs(60));
        }
        client
            .schedule(self.schedule.clone().unwrap_or(Schedule::every(NEVER)))
            .wait_for_news(Duration::ZERO)
            .retry_delays(NEVER, NEVER)
            // By itself, nothing is tried again where there is no key.
            .max_retries(if self.is_one_patient { 5 } else { 0 })
            .look_for_actions(Duration::from_millis(5))
            .build(self.store.clone(), target)
    }

    fn run(&self) -> Running {
        let (client, stop) = (self.client(), CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move { client.run(stopped).await.unwrap() });
        Running { stop, task }
    }

    async fn ask(&self, kind: ActionKind, parked: Option<&ParkedEvent>, detail: &str) -> i64 {
        let now = SystemClock.now();
        let action = NewAction {
            feed_uri: feed_uri(),
            kind,
            failed_event_id: parked.map(|parked| parked.id),
            event_id: parked.map(|parked| parked.event_id.clone()),
            detail: detail.to_owned(),
            by: "asha".to_owned(),
            why: "a test".to_owned(),
            at: now,
        };
        let mut work = self.store.change().await.unwrap();
        let id = work
            .ask(&action, &ActionProgress::waiting(now))
            .await
            .unwrap();
        work.commit().await.unwrap();
        id
    }

    async fn action(&self, id: i64) -> Action {
        let mut work = self.store.look().await.unwrap();
        work.action(id).await.unwrap().unwrap()
    }

    /// What has become of an action in the end.
    async fn ended(&self, id: i64) -> (ActionState, String) {
        let begun = Instant::now();
        loop {
            let progress = self.action(id).await.progress;
            if !progress.state.is_open() {
                return (progress.state, progress.outcome.unwrap());
            }
            assert!(begun.elapsed() < PATIENCE, "{progress:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn done(&self, kind: ActionKind, parked: Option<&ParkedEvent>, detail: &str) -> String {
        let id = self.ask(kind, parked, detail).await;
        let (state, outcome) = self.ended(id).await;
        assert_eq!(state, ActionState::Done, "{outcome}");
        outcome
    }

    async fn failed(&self, kind: ActionKind, parked: Option<&ParkedEvent>, detail: &str) -> String {
        let id = self.ask(kind, parked, detail).await;
        let (state, outcome) = self.ended(id).await;
        assert_eq!(state, ActionState::Failed, "{outcome}");
        outcome
    }

    /// In the order in which they were parked.
    async fn parked(&self) -> Vec<ParkedEvent> {
        let mut work = self.store.look().await.unwrap();
        let query = FailureQuery::of(FailureFilter::default()).limit(10_000);
        let mut parked = work.failures(&query).await.unwrap().events;
        parked.reverse();
        parked
    }

    async fn until_parked(&self, count: usize) -> Vec<ParkedEvent> {
        let begun = Instant::now();
        loop {
            let parked = self.parked().await;
            if parked.len() == count {
                return parked;
            }
            assert!(begun.elapsed() < PATIENCE, "{} are parked", parked.len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn applied(&self) -> Vec<u32> {
        applied(self.harness.as_ref(), &self.store).await
    }
}
