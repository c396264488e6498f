//! Two consumers of one feed in one database: one is at work, the other stands by.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, CancellationToken, Event, EventWorker, Handled, ProcessErrorKind, WorkerError,
};
use atomfeed_core::store::conformance::{Harness, MemoryHarness};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_util::task::AbortOnDropHandle;

use crate::feeds::{Apply, Emr, applied, full, on_every_store};
use crate::watching::status;

on_every_store!(
    who_is_killed_is_followed_by_who_stands_by,
    who_stops_gives_the_feed_back_at_once,
    who_stands_by_does_nothing,
    who_stands_by_leaves_the_status_to_who_is_at_work,
);

/// Who was handed which event, in the order in which they were.
type Log = Arc<Mutex<Vec<(usize, u32)>>>;

struct Logs<H> {
    apply: Apply<H>,
    who: usize,
    log: Log,
}

#[async_trait]
impl<H: Harness + 'static> EventWorker<H::Conn> for Logs<H> {
    async fn process(&self, event: &Event, conn: &mut H::Conn) -> Result<Handled, WorkerError> {
        let number = event.content().parse().unwrap();
        self.log.lock().unwrap().push((self.who, number));
        self.apply.process(event, conn).await
    }
}

/// For how long at a time nothing went on, whatever held it up.
struct Stillness {
    longest: watch::Receiver<Duration>,
    _watching: AbortOnDropHandle<()>,
}

impl Stillness {
    fn watch() -> Self {
        let (told, longest) = watch::channel(Duration::ZERO);
        let watching = tokio::spawn(async move {
            let mut last = Instant::now();
            loop {
                tokio::time::sleep(Duration::from_millis(10)).await;
                let now = Instant::now();
                told.send_modify(|longest| *longest = now.duration_since(last).max(*longest));
                last = now;
            }
        });
        Self {
            longest,
            _watching: AbortOnDropHandle::new(watching),
        }
    }

    fn longest(&self) -> Duration {
        *self.longest.borrow()
    }
}

fn client<H: Harness + 'static>(
    harness: &Arc<H>,
    emr: &Emr,
    store: &H::Store,
    (who, log): (usize, &Log),
    lease: Duration,
) -> AtomFeedClient<H::Conn> {
    let worker = Logs {
        apply: Apply::all(harness),
        who,
        log: Arc::clone(log),
    };
    let client = emr.client().interval(Duration::from_millis(5)).batch(3);
    client.standby(lease).build(store.clone(), worker)
}

fn start<C: ?Sized + Send + 'static>(client: AtomFeedClient<C>) -> AbortHandle {
    let running = tokio::spawn(async move { client.run(CancellationToken::new()).await });
    running.abort_handle()
}

/// Who was handed an event, once somebody was.
async fn until_handled(log: &Log, event: u32) -> usize {
    let patience = Duration::from_secs(60);
    let handled = async {
        loop {
            let log = log.lock().unwrap().clone();
            if let Some((who, _)) = log.iter().find(|(_, number)| *number == event) {
                return *who;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let handled = tokio::time::timeout(patience, handled).await;
    handled.unwrap_or_else(|_| panic!("nobody takes event {event}: {:?}", log.lock().unwrap()))
}

async fn who_is_killed_is_followed_by_who_stands_by<H: Harness + 'static>(harness: &Arc<H>) {
    let rounds = if full() { 50 } else { 5 };
    let stillness = Stillness::watch();
    // Longer than a commit takes.
    let lease = Duration::from_secs(1);
    let emr = Emr::new().await;
    let store = harness.store().await;
    let log = Log::default();
    let mut running = Vec::new();
    for who in 0..2 {
        let client = client(harness, &emr, &store, (who, &log), lease);
        running.push((who, start(client)));
    }
    let mut published = 0;
    for round in 0..rounds {
        emr.publish(published + 1..=published + 7).await;
        let at_work = until_handled(&log, published + 7).await;
        published += 7;
        // Before, in or behind a transaction.
        let active = running.iter().position(|(who, _)| *who == at_work).unwrap();
        let (_, killed) = running.swap_remove(active);
        killed.abort();
        let who = round + 2;
        let client = client(harness, &emr, &store, (who, &log), lease);
        running.push((who, start(client)));
    }
    emr.publish(published + 1..=published + 1).await;
    until_handled(&log, published + 1).await;
    published += 1;
    let all = async {
        while applied(harness.as_ref(), &store).await.len() < published as usize {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let all = tokio::time::timeout(Duration::from_secs(60), all).await;
    all.expect("everything is applied");
    for (_, running) in running {
        running.abort();
    }
    let written = applied(harness.as_ref(), &store).await;
    assert_eq!(written, (1..=published).collect::<Vec<_>>());
    let mut turns: Vec<_> = log.lock().unwrap().iter().map(|(who, _)| *who).collect();
    turns.dedup();
    let mut distinct = turns.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert!(turns.len() > rounds, "{turns:?}");
    // Never two at once: who has been followed is not heard of again. Who has stood still for a lease is followed
    // without having been killed.
    if stillness.longest() < lease / 2 {
        assert_eq!(turns.len(), distinct.len(), "{turns:?}");
        assert_eq!(turns.len(), rounds + 1, "{turns:?}");
    }
}

/// So long that nobody ever waits for it to be over.
const HOUR: Duration = Duration::from_secs(3_600);

async fn who_stops_gives_the_feed_back_at_once<H: Harness + 'static>(harness: &Arc<H>) {
    let emr = Emr::with_events(2).await;
    let store = harness.store().await;
    let log = Log::default();
    let first = client(harness, &emr, &store, (0, &log), HOUR);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let running = tokio::spawn(async move { first.run(stopped).await });
    assert_eq!(until_handled(&log, 2).await, 0);
    let second = start(client(harness, &emr, &store, (1, &log), HOUR));
    emr.publish(3..=3).await;
    assert_eq!(until_handled(&log, 3).await, 0);
    stop.cancel();
    running.await.unwrap().unwrap();
    emr.publish(4..=4).await;
    assert_eq!(until_handled(&log, 4).await, 1);
    second.abort();
}

async fn who_stands_by_does_nothing<H: Harness + 'static>(harness: &Arc<H>) {
    let emr = Emr::with_events(2).await;
    let store = harness.store().await;
    let log = Log::default();
    let first = client(harness, &emr, &store, (0, &log), HOUR);
    let second = client(harness, &emr, &store, (1, &log), HOUR);
    assert_eq!(first.process_events().await.unwrap().applied, 2);
    emr.publish(3..=3).await;
    for _ in 0..3 {
        for ended in [
            second.process_events().await,
            second.process_failed_events().await,
        ] {
            let error = ended.unwrap_err();
            match error.kind() {
                ProcessErrorKind::StandingBy { consumer } => {
                    assert!(
                        consumer.contains(&std::process::id().to_string()),
                        "{error}"
                    );
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(first.process_events().await.unwrap().applied, 1);
    assert!(log.lock().unwrap().iter().all(|(who, _)| *who == 0));
}

async fn who_stands_by_leaves_the_status_to_who_is_at_work<H: Harness + 'static>(harness: &Arc<H>) {
    let emr = Emr::with_events(2).await;
    let store = harness.store().await;
    let log = Log::default();
    let first = client(harness, &emr, &store, (0, &log), HOUR);
    let second = client(harness, &emr, &store, (1, &log), HOUR);
    first.process_events().await.unwrap();
    let written = status(&store).await;
    assert_eq!(written.events_behind, Some(0), "{written:?}");
    emr.publish(3..=3).await;
    for _ in 0..2 {
        for ended in [
            second.process_events().await,
            second.process_failed_events().await,
            second.retry_all_failed_events().await,
        ] {
            ended.unwrap_err();
            assert_eq!(status(&store).await, written);
        }
    }
    // The first gives the feed back.
    let stop = CancellationToken::new();
    stop.cancel();
    first.run(stop).await.unwrap();
    assert_eq!(second.process_events().await.unwrap().applied, 1);
    assert_ne!(status(&store).await, written);
}

/// Nor does it say that the feed is followed, as who is at work does while it pauses for long.
#[tokio::test(start_paused = true)]
async fn who_stands_by_for_an_hour_leaves_the_status_alone() {
    let harness = Arc::new(MemoryHarness);
    let emr = Emr::with_events(2).await;
    let store = harness.store().await;
    let log = Log::default();
    let first = client(&harness, &emr, &store, (0, &log), HOUR);
    first.process_events().await.unwrap();
    let written = status(&store).await;
    emr.publish(3..=3).await;
    let minute = Duration::from_secs(60);
    let second = emr.client().interval(5 * minute).standby(HOUR);
    let second = second.build(store.clone(), Apply::all(&harness));
    let run_for = async |time| {
        let running = second.run(CancellationToken::new());
        let ended = tokio::time::timeout(time, running).await;
        ended.expect_err("it runs until it is stopped");
    };
    run_for(HOUR - minute).await;
    assert_eq!(status(&store).await, written);
    // Nothing was heard of the first one for an hour.
    run_for(10 * minute).await;
    assert_eq!(applied(harness.as_ref(), &store).await, [1, 2, 3]);
    assert_ne!(status(&store).await, written);
}
