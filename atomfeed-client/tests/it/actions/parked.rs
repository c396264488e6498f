//! Parked events are tried again, one or many, edited, or given up.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_client::{
    CancellationToken, Event, EventWorker, Handled, ProcessErrorKind, WorkerError,
};
use atomfeed_core::store::conformance::{Harness, MemoryHarness, SqliteHarness};
use atomfeed_core::store::{ActionQuery, ConsoleStore, FailureFilter};
use atomfeed_core::{ActionKind, ActionState, Reason};
use tokio::time::Instant;

use super::{Lab, NEVER, PATIENCE, SLOW};
use crate::feeds::on_every_store;

on_every_store!(
    one_is_tried_again_edited_or_given_up,
    of_one_key_the_first_goes_first,
    many_are_tried_again_while_they_succeed,
    many_are_gone_on_with_while_there_is_much_to_read,
);

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
    assert!(outcome.contains("tried too often"), "{outcome}");
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
    let query = ActionQuery::newest(100).of_event(
        two.id,
        &Event::new(two.event_id.clone(), two.feed_uri.clone()),
    );
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

/// Twenty a second, by a clock that only goes on while nobody has anything to do.
#[tokio::test(start_paused = true)]
async fn many_are_tried_again_at_a_bearable_pace() {
    let lab = Lab::new(&Arc::new(MemoryHarness)).await;
    lab.emr.publish(101..=300).await;
    lab.client().process_events().await.unwrap();
    lab.refuses.store(false, Ordering::Relaxed);
    let id = lab.ask(ActionKind::RetryMany, None, "").await;
    let begun = Instant::now();
    let running = lab.run();
    let (state, outcome) = lab.ended(id).await;
    let took = begun.elapsed();
    assert_eq!(state, ActionState::Done, "{outcome}");
    assert!(took >= Duration::from_secs(10), "{took:?}");
    running.end().await;
    assert_eq!(lab.applied().await, (101..=300).collect::<Vec<_>>());
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
