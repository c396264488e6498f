//! Who takes up what is asked for: whoever runs, or is first, or comes next, and nobody once it was called off.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use atomfeed_client::{CancellationToken, Schedule};
use atomfeed_core::store::ConsoleStore;
use atomfeed_core::store::conformance::Harness;
use atomfeed_core::{ActionKind, ActionState, Clock, SystemClock};

use super::Lab;
use crate::feeds::on_every_store;

on_every_store!(
    what_was_begun_is_ended_by_the_next,
    whoever_is_first_wins_and_nothing_is_applied_twice,
    what_is_called_off_is_not_carried_out,
    who_stands_by_for_a_schedule_is_asked_before_its_first_time,
);

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
            // What was begun and is held up is left alone for longer and longer.
            tokio::time::sleep(Duration::from_millis(50)).await;
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
