//! What somebody asks for is carried out by the consumer that runs, once, and what came of it is written down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, CancellationToken, Event, EventWorker, FeedSource, FetchError, Handled,
    PageRequest, PageResponse, ProcessErrorKind, Schedule, StartPosition, WorkerError,
};
use atomfeed_core::store::conformance::{Harness, SqliteHarness};
use atomfeed_core::store::{
    ActionQuery, ConsoleStore, ConsumerStore, FailureFilter, FailureQuery, ParkedEvent,
};
use atomfeed_core::{
    Action, ActionKind, ActionProgress, ActionState, Clock, NewAction, Reason, SystemClock,
};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::feeds::{Emr, applied, feed_uri, on_every_store};

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What takes a moment.
const SLOW: u32 = 0;

const NEVER: Duration = Duration::from_secs(100_000);

on_every_store!(
    one_is_tried_again_edited_or_given_up,
    of_one_key_the_first_goes_first,
    many_are_tried_again_while_they_succeed,
    what_was_begun_is_ended_by_the_next,
    the_marker_is_moved_once_it_was_seen_where_to,
    with_a_lease_it_is_moved_once_too,
    whoever_is_first_wins_and_nothing_is_applied_twice,
    what_is_called_off_is_not_carried_out,
    many_are_gone_on_with_while_there_is_much_to_read,
    who_stands_by_for_a_schedule_is_asked_before_its_first_time,
);

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

async fn one_is_tried_again_edited_or_given_up<H: Harness + 'static>(harness: &Arc<H>) {
    let lab = Lab::new(harness).await;
    lab.emr.publish([1, 101, 102, 103, 104]).await;
    let running = lab.run();
    let parked = lab.until_parked(4).await;
    let [one, two, three, four] = parked.as_slice() else {
        unreachable!()
    };

    let outcome = lab.failed(ActionKind::Retry, Some(one), "").await;
    assert!(outcome.contains("order 101 is refused"), "{outcome}");
    assert_eq!(lab.parked().await[0].retries, 1);
    let outcome = lab.done(ActionKind::ResetRetries, Some(one), "").await;
    assert!(outcome.contains("as if for the first time"), "{outcome}");
    assert_eq!(lab.parked().await[0].retries, 0);
    lab.is_away.store(true, Ordering::Relaxed);
    let outcome = lab.failed(ActionKind::Retry, Some(one), "").await;
    assert!(outcome.contains("the lab is away"), "{outcome}");
    assert_eq!(lab.parked().await[0].retries, 0, "that counts for none");
    lab.is_away.store(false, Ordering::Relaxed);

    // Edited so that it goes through, and so that it does not.
    let outcome = lab
        .failed(ActionKind::Edit, Some(two), "nothing & all")
        .await;
    assert!(outcome.contains("the order has no patient"), "{outcome}");
    let id = lab.ask(ActionKind::Edit, Some(two), "12").await;
    assert_eq!(lab.ended(id).await.0, ActionState::Done);
    let edited = lab.action(id).await;
    assert_eq!(edited.progress.was.as_deref(), Some("nothing & all"));
    assert_eq!(edited.progress.succeeded, 1);
    let outcome = lab.failed(ActionKind::Edit, Some(two), "13").await;
    assert!(outcome.contains("not parked any more"), "{outcome}");

    let id = lab.ask(ActionKind::Skip, Some(three), "").await;
    assert_eq!(lab.ended(id).await.0, ActionState::Done);
    assert_eq!(lab.action(id).await.progress.was.as_deref(), Some("103"));
    for kind in [
        ActionKind::Retry,
        ActionKind::Skip,
        ActionKind::ResetRetries,
    ] {
        let outcome = lab.failed(kind, Some(three), "").await;
        assert!(outcome.contains("not parked any more"), "{outcome}");
    }
    lab.refuses.store(false, Ordering::Relaxed);
    lab.done(ActionKind::Retry, Some(four), "").await;
    running.end().await;
    assert_eq!(lab.applied().await, [1, 12, 104]);

    // All of it can be read afterwards.
    let mut work = lab.store.look().await.unwrap();
    let query = ActionQuery::newest(100).of_event(feed_uri(), two.id);
    let actions = work.actions(&query).await.unwrap();
    let kinds: Vec<_> = actions
        .iter()
        .map(|action| action.asked.detail.as_str())
        .collect();
    assert_eq!(kinds, ["13", "12", "nothing & all"]);
    assert_eq!(actions[2].progress.was.as_deref(), Some("102"));
}

async fn of_one_key_the_first_goes_first<H: Harness + 'static>(harness: &Arc<H>) {
    let mut lab = Lab::new(harness).await;
    lab.is_one_patient = true;
    lab.emr.publish([101, 2, 3]).await;
    let running = lab.run();
    let parked = lab.until_parked(3).await;
    let outcome = lab.failed(ActionKind::Retry, Some(&parked[2]), "").await;
    assert!(outcome.contains(parked[0].event_id.as_str()), "{outcome}");
    // What waits behind one that is given up goes on by itself.
    lab.done(ActionKind::Skip, Some(&parked[0]), "").await;
    lab.until_parked(0).await;
    running.end().await;
    assert_eq!(lab.applied().await, [2, 3]);
}

async fn many_are_tried_again_while_they_succeed<H: Harness + 'static>(harness: &Arc<H>) {
    let lab = Lab::new(harness).await;
    lab.emr.publish(101..=140).await;
    let running = lab.run();
    let parked = lab.until_parked(40).await;
    let tried = || lab.tried.load(Ordering::Relaxed);
    let filter = FailureFilter::default().with_reason(Reason::of("order 1 is refused").key());
    let many = filter.to_string();
    let before = tried();
    // While the target refuses them, or is away, one is tried.
    let outcome = lab.failed(ActionKind::RetryMany, None, &many).await;
    assert!(
        outcome.contains("stopped") && outcome.contains("is refused"),
        "{outcome}"
    );
    assert_eq!(tried(), before + 1);
    lab.is_away.store(true, Ordering::Relaxed);
    let outcome = lab.failed(ActionKind::RetryMany, None, &many).await;
    assert!(outcome.contains("the lab is away"), "{outcome}");
    assert_eq!(tried(), before + 2);
    lab.is_away.store(false, Ordering::Relaxed);
    let outcome = lab.failed(ActionKind::RetryMany, None, "colour=red").await;
    assert!(outcome.contains("colour"), "{outcome}");

    lab.refuses.store(false, Ordering::Relaxed);
    let id = lab.ask(ActionKind::RetryMany, None, &many).await;
    let (state, outcome) = lab.ended(id).await;
    assert_eq!(state, ActionState::Done, "{outcome}");
    assert_eq!(lab.action(id).await.progress.succeeded, parked.len() as u64);
    lab.until_parked(0).await;
    running.end().await;
    assert_eq!(lab.applied().await, (101..=140).collect::<Vec<_>>());
}

/// What comes in takes many times as long to apply as the batches are apart.
async fn many_are_gone_on_with_while_there_is_much_to_read<H: Harness + 'static>(harness: &Arc<H>) {
    let lab = Lab::new(harness).await;
    lab.emr.publish(101..=110).await;
    lab.client().process_events().await.unwrap();
    lab.refuses.store(false, Ordering::Relaxed);
    lab.emr.publish(std::iter::repeat_n(SLOW, 500)).await;
    let before = lab.tried.load(Ordering::Relaxed);
    let id = lab.ask(ActionKind::RetryMany, None, "").await;
    let running = lab.run();
    let (state, outcome) = lab.ended(id).await;
    assert_eq!(state, ActionState::Done, "{outcome}");
    let tried = lab.tried.load(Ordering::Relaxed) - before;
    assert!(tried < 510, "all that was there to read was read first");
    running.end().await;
}

/// Its first round is never.
async fn who_stands_by_for_a_schedule_is_asked_before_its_first_time<H: Harness + 'static>(
    harness: &Arc<H>,
) {
    let mut lab = Lab::new(harness).await;
    lab.emr.publish([101]).await;
    lab.has_lease = true;
    let before = lab.run();
    let parked = lab.until_parked(1).await;
    before.end().await;
    lab.schedule = Some(Schedule::cron("0 0 0 29 2 ?").unwrap());
    let running = lab.run();
    let outcome = lab.done(ActionKind::Skip, Some(&parked[0]), "").await;
    assert!(outcome.contains("given up"), "{outcome}");
    running.end().await;
}

/// Nothing else is kept waiting by a place that nobody finds.
#[tokio::test]
async fn who_looks_for_a_place_can_be_called_off() {
    struct Silent;

    #[async_trait]
    impl FeedSource for Silent {
        async fn fetch(&self, _: &PageRequest) -> Result<PageResponse, FetchError> {
            std::future::pending().await
        }
    }

    let harness = Arc::new(SqliteHarness::default());
    let lab = Lab::new(&harness).await;
    lab.emr.publish([101]).await;
    lab.client().process_events().await.unwrap();
    let parked = lab.parked().await;
    let worker = Target {
        harness: Arc::clone(&harness),
        refuses: Arc::clone(&lab.refuses),
        is_away: Arc::default(),
        tried: Arc::default(),
        is_one_patient: false,
    };
    let client = AtomFeedClient::builder(feed_uri(), Silent)
        .look_for_actions(Duration::from_millis(5))
        .build(lab.store.clone(), worker);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let running = tokio::spawn(async move { client.run(stopped).await.unwrap() });
    for kind in [ActionKind::PreviewMarker, ActionKind::MoveMarker] {
        let id = lab.ask(kind, None, "after:tag:nowhere").await;
        let begun = Instant::now();
        while lab.action(id).await.progress.state == ActionState::Waiting {
            assert!(begun.elapsed() < PATIENCE, "it is not begun");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut work = lab.store.change().await.unwrap();
        let off = work.call_off(id, "not now", SystemClock.now()).await;
        assert!(off.unwrap());
        work.commit().await.unwrap();
        lab.done(ActionKind::ResetRetries, Some(&parked[0]), "")
            .await;
        let ended = lab.action(id).await.progress;
        assert_eq!(ended.state, ActionState::CalledOff, "{ended:?}");
    }
    stop.cancel();
    running.await.unwrap();
}

/// Who was at it has ended in the middle: before it edited, after that, and after the event was applied.
async fn what_was_begun_is_ended_by_the_next<H: Harness + 'static>(harness: &Arc<H>) {
    let lab = Lab::new(harness).await;
    lab.emr.publish([101, 102, 103]).await;
    lab.client().process_events().await.unwrap();
    let parked = lab.parked().await;
    let mut ids = Vec::new();
    for (step, parked) in parked.iter().enumerate() {
        let id = lab
            .ask(ActionKind::Edit, Some(parked), &format!("{step}"))
            .await;
        ids.push(id);
        let mut progress = lab.action(id).await.progress;
        let mut work = lab.store.change().await.unwrap();
        progress.state = ActionState::Running;
        // Nothing was heard of it since.
        progress.changed_at -= chrono::TimeDelta::minutes(1);
        let failed = work.parked_event(parked.id).await.unwrap().unwrap();
        if step > 0 {
            work.edit_content(&failed, &format!("{step}"))
                .await
                .unwrap();
            progress.was = Some("as it was".to_owned());
        }
        work.advance(id, ActionState::Waiting, &progress)
            .await
            .unwrap();
        if step > 1 {
            work.remove_failed_event(&failed).await.unwrap();
        }
        work.commit().await.unwrap();
    }
    let running = lab.run();
    for (step, id) in ids.into_iter().enumerate() {
        let (state, outcome) = lab.ended(id).await;
        assert_eq!(state, ActionState::Done, "{outcome}");
        let was = ["101", "as it was", "as it was"][step];
        assert_eq!(lab.action(id).await.progress.was.as_deref(), Some(was));
    }
    running.end().await;
    assert_eq!(lab.applied().await, [0, 1]);
}

async fn the_marker_is_moved_once_it_was_seen_where_to<H: Harness + 'static>(harness: &Arc<H>) {
    let lab = Lab::new(harness).await;
    lab.emr.publish(1..=12).await;
    let running = lab.run();
    let begun = Instant::now();
    while lab.applied().await.len() < 12 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let page = "http://127.0.0.1:8080/feed/2";
    for (position, effect) in [
        ("latest", "nothing would be skipped or replayed"),
        ("beginning", "12 events would be replayed"),
        (page, "7 events would be replayed"),
    ] {
        let outcome = lab.done(ActionKind::PreviewMarker, None, position).await;
        assert!(outcome.starts_with(effect), "{position}: {outcome}");
        assert_eq!(
            position.parse::<StartPosition>().unwrap().to_string(),
            position
        );
    }
    for position in ["nowhere", "after:", "at:5"] {
        let outcome = lab.failed(ActionKind::PreviewMarker, None, position).await;
        assert!(outcome.contains("is no position"), "{outcome}");
    }
    let nowhere = "http://127.0.0.1:8080/feed/99";
    let outcome = lab.failed(ActionKind::MoveMarker, None, nowhere).await;
    assert!(outcome.contains("feed/99"), "{outcome}");
    let before = lab.store.marker(&feed_uri()).await.unwrap().unwrap();
    assert_eq!(lab.tried.load(Ordering::Relaxed), 12);

    let id = lab.ask(ActionKind::MoveMarker, None, page).await;
    assert_eq!(lab.ended(id).await.0, ActionState::Done);
    let was = lab.action(id).await.progress.was.unwrap();
    let entry = before.last_read_entry_id().unwrap();
    assert!(was.contains(entry.as_str()), "{was}");
    // The consumer goes on from there: seven once more.
    let begun = Instant::now();
    while lab.tried.load(Ordering::Relaxed) < 19 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.end().await;
    assert_eq!(lab.store.marker(&feed_uri()).await.unwrap(), Some(before));
}

async fn with_a_lease_it_is_moved_once_too<H: Harness + 'static>(harness: &Arc<H>) {
    let mut lab = Lab::new(harness).await;
    lab.has_lease = true;
    lab.emr.publish(1..=12).await;
    let running = lab.run();
    let begun = Instant::now();
    while lab.tried.load(Ordering::Relaxed) < 12 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let outcome = lab.done(ActionKind::MoveMarker, None, "beginning").await;
    assert!(outcome.contains("at the beginning of"), "{outcome}");
    while lab.tried.load(Ordering::Relaxed) < 24 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // What is asked for afterwards is done, too, and nothing was read a third time.
    lab.done(ActionKind::PreviewMarker, None, "latest").await;
    running.end().await;
    assert_eq!(lab.tried.load(Ordering::Relaxed), 24);
}

/// Actions on events that another consumer of the same database tries again all the time.
async fn whoever_is_first_wins_and_nothing_is_applied_twice<H: Harness + 'static>(
    harness: &Arc<H>,
) {
    let lab = Lab::new(harness).await;
    lab.emr.publish(101..=160).await;
    let running = lab.run();
    let parked = lab.until_parked(60).await;
    lab.refuses.store(false, Ordering::Relaxed);
    let other = lab.client();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let other = tokio::spawn(async move {
        while !stopped.is_cancelled() {
            // The other one takes the feed meanwhile: then it is tried again.
            let _ = other.retry_all_failed_events().await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let mut asked = Vec::new();
    for (n, parked) in parked.iter().enumerate().rev() {
        let kinds = [ActionKind::Skip, ActionKind::Edit, ActionKind::Retry];
        let detail = format!("{}", 1_001 + n);
        asked.push((
            n,
            kinds[n % 3],
            lab.ask(kinds[n % 3], Some(parked), &detail).await,
        ));
    }
    let mut done = 0;
    let mut outcomes = Vec::new();
    for (n, kind, id) in asked {
        let (state, outcome) = lab.ended(id).await;
        done += usize::from(state == ActionState::Done);
        outcomes.push((n as u32, kind, state, outcome));
    }
    lab.until_parked(0).await;
    stop.cancel();
    other.await.unwrap();
    running.end().await;
    let applied = lab.applied().await;
    for (n, kind, state, outcome) in outcomes {
        let count = |number| applied.iter().filter(|applied| **applied == number).count();
        let (plain, edited) = (count(101 + n), count(1_001 + n));
        match (kind, state) {
            (ActionKind::Skip, ActionState::Done) => {
                assert_eq!((plain, edited), (0, 0), "{outcome}")
            }
            (ActionKind::Edit, ActionState::Done) => {
                assert_eq!((plain, edited), (0, 1), "{outcome}")
            }
            (_, ActionState::Done) => assert_eq!((plain, edited), (1, 0), "{outcome}"),
            _ => {
                assert!(outcome.contains("not parked any more"), "{outcome}");
                assert_eq!(plain + edited, 1, "{kind:?} {n}: {outcome}");
            }
        }
    }
    println!("{done} of 60 actions were first");
}

/// Who breaks its transaction is not tried again and again.
#[tokio::test]
async fn a_worker_in_doubt_ends_the_consumer_here_too() {
    struct Commits;

    #[async_trait]
    impl EventWorker<sqlx::SqliteConnection> for Commits {
        async fn process(
            &self,
            event: &Event,
            conn: &mut sqlx::SqliteConnection,
        ) -> Result<Handled, WorkerError> {
            if !event.is_retry() {
                return Err(WorkerError::new("not yet"));
            }
            sqlx::raw_sql("COMMIT").execute(conn).await?;
            Ok(Handled::Applied)
        }
    }

    let harness = Arc::new(SqliteHarness::default());
    let lab = Lab::new(&harness).await;
    lab.emr.publish([1]).await;
    let client = lab.emr.client().max_retries(0).interval(NEVER);
    let client = client.look_for_actions(Duration::from_millis(5));
    let client = client.build(lab.store.clone(), Commits);
    let running = tokio::spawn(async move { client.run(CancellationToken::new()).await });
    let parked = lab.until_parked(1).await;
    let id = lab.ask(ActionKind::Retry, Some(&parked[0]), "").await;
    let error = tokio::time::timeout(PATIENCE, running)
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert!(
        matches!(error.kind(), ProcessErrorKind::BrokenTransaction { .. }),
        "{error:?}"
    );
    let (state, outcome) = lab.ended(id).await;
    assert_eq!(state, ActionState::Failed, "{outcome}");
}

async fn what_is_called_off_is_not_carried_out<H: Harness + 'static>(harness: &Arc<H>) {
    let lab = Lab::new(harness).await;
    lab.emr.publish([101, 102]).await;
    lab.client().process_events().await.unwrap();
    let parked = lab.parked().await;
    let id = lab.ask(ActionKind::Skip, Some(&parked[0]), "").await;
    let mut work = lab.store.change().await.unwrap();
    let waiting = work.action(id).await.unwrap().unwrap().progress;
    let off = waiting.then(ActionState::CalledOff, SystemClock.now(), "not now");
    work.advance(id, ActionState::Waiting, &off).await.unwrap();
    work.commit().await.unwrap();
    let running = lab.run();
    // What was asked for later is done.
    lab.done(ActionKind::Skip, Some(&parked[1]), "").await;
    assert_eq!(lab.parked().await.len(), 1);
    assert_eq!(lab.action(id).await.progress.state, ActionState::CalledOff);
    running.end().await;
}
