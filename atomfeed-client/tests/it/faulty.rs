//! A store whose n-th call fails, or is where the process is killed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use atomfeed_client::Event;
use atomfeed_core::store::{
    ActionQuery, ActionStore, Claim, ClaimStore, ConsumerStore, FailedEventQuery, FailedEventStore,
    FailureFilter, FailureGroup, FailureQuery, FailureStore, FeedFailures, FeedStatus, MarkerStore,
    MinuteCounts, ParkedPage, StatusStore, StoreError, StoreErrorKind, StoreResult, UnitOfWork,
};
use atomfeed_core::{
    Action, ActionProgress, ActionState, EntryId, FailedEvent, FailedEventRetryLog, Failure,
    FeedUri, Marker, NewAction, Place, Rebase, Rebased,
};
use chrono::{DateTime, Utc};
use tokio::sync::Notify;

/// What happens at the n-th call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails, and has done nothing.
    FailBefore,
    /// It does its work, and then fails: the answer was lost.
    FailAfter,
    /// It fails since another transaction went first, and has done nothing.
    Conflict,
    /// The process is killed before it.
    KillBefore,
    /// The process is killed after it took effect.
    KillAfter,
}

pub(crate) const FAULTS: [Fault; 5] = [
    Fault::FailBefore,
    Fault::FailAfter,
    Fault::Conflict,
    Fault::KillBefore,
    Fault::KillAfter,
];

/// Strikes once, at the n-th call.
#[derive(Debug)]
pub(crate) struct Plan {
    fault: Fault,
    at: usize,
    calls: AtomicUsize,
    pub(crate) killed: Notify,
}

impl Plan {
    pub(crate) fn new(fault: Fault, at: usize) -> Arc<Self> {
        Arc::new(Self {
            fault,
            at,
            calls: AtomicUsize::new(0),
            killed: Notify::new(),
        })
    }

    /// How many calls were made.
    pub(crate) fn made(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn struck(&self) -> bool {
        self.calls.load(Ordering::SeqCst) > self.at
    }

    async fn call<T>(&self, call: impl Future<Output = StoreResult<T>> + Send) -> StoreResult<T> {
        let lost = || Err(StoreError::new(StoreErrorKind::Unavailable, "injected"));
        if self.calls.fetch_add(1, Ordering::SeqCst) != self.at {
            return call.await;
        }
        match self.fault {
            Fault::FailBefore => lost(),
            Fault::Conflict => Err(StoreError::new(StoreErrorKind::Conflict, "injected")),
            Fault::FailAfter => call.await.and_then(|_| lost()),
            Fault::KillBefore => self.kill().await,
            Fault::KillAfter => {
                call.await?;
                self.kill().await
            }
        }
    }

    /// A place where the consumer waits for something else than its store.
    pub(crate) async fn wait_here(&self) {
        let kills = matches!(self.fault, Fault::KillBefore | Fault::KillAfter);
        if self.calls.fetch_add(1, Ordering::SeqCst) == self.at && kills {
            self.kill().await
        }
    }

    /// Never comes back: whoever runs the consumer drops it here.
    async fn kill<T>(&self) -> T {
        self.killed.notify_one();
        std::future::pending().await
    }
}

#[derive(Clone)]
pub(crate) struct FaultyStore<S> {
    pub(crate) store: S,
    pub(crate) plan: Arc<Plan>,
}

#[async_trait]
impl<S: ConsumerStore> ConsumerStore for FaultyStore<S> {
    type Conn = S::Conn;

    async fn begin(&self) -> StoreResult<Box<dyn UnitOfWork<Conn = S::Conn>>> {
        let work = self.plan.call(self.store.begin()).await?;
        Ok(Box::new(FaultyWork {
            work,
            plan: Arc::clone(&self.plan),
        }))
    }

    async fn marker(&self, feed_uri: &FeedUri) -> StoreResult<Option<Marker>> {
        self.plan.call(self.store.marker(feed_uri)).await
    }

    /// It is asked as time passes, and so by no plan.
    async fn open_actions(&self, feed_uri: &FeedUri) -> StoreResult<Vec<Action>> {
        self.store.open_actions(feed_uri).await
    }

    fn writes_one_at_a_time(&self) -> bool {
        self.store.writes_one_at_a_time()
    }
}

struct FaultyWork<C: ?Sized> {
    work: Box<dyn UnitOfWork<Conn = C>>,
    plan: Arc<Plan>,
}

#[async_trait]
impl<C: ?Sized + Send + 'static> UnitOfWork for FaultyWork<C> {
    type Conn = C;

    fn conn(&mut self) -> &mut C {
        self.work.conn()
    }

    async fn take_back(&mut self) -> StoreResult<()> {
        self.plan.call(self.work.take_back()).await
    }

    async fn move_claimed_marker(
        &mut self,
        claim: &Claim,
        from: Option<&Marker>,
        to: &Marker,
    ) -> StoreResult<()> {
        let moved = self.work.move_claimed_marker(claim, from, to);
        self.plan.call(moved).await
    }

    async fn commit(self: Box<Self>) -> StoreResult<()> {
        self.plan.call(self.work.commit()).await
    }

    async fn rollback(self: Box<Self>) -> StoreResult<()> {
        self.plan.call(self.work.rollback()).await
    }
}

#[async_trait]
impl<C: ?Sized + Send + 'static> MarkerStore for FaultyWork<C> {
    async fn marker(&mut self, feed_uri: &FeedUri) -> StoreResult<Option<Marker>> {
        self.plan.call(self.work.marker(feed_uri)).await
    }

    async fn markers(&mut self) -> StoreResult<Vec<Marker>> {
        self.plan.call(self.work.markers()).await
    }

    async fn move_marker(&mut self, from: Option<&Marker>, to: &Marker) -> StoreResult<()> {
        self.plan.call(self.work.move_marker(from, to)).await
    }

    async fn would_rebase(&mut self, rebase: &Rebase) -> StoreResult<Rebased> {
        self.plan.call(self.work.would_rebase(rebase)).await
    }

    async fn rebase(&mut self, rebase: &Rebase) -> StoreResult<Rebased> {
        self.plan.call(self.work.rebase(rebase)).await
    }
}

#[async_trait]
impl<C: ?Sized + Send + 'static> FailedEventStore for FaultyWork<C> {
    async fn park(&mut self, event: &Event, failure: &Failure) -> StoreResult<i64> {
        self.plan.call(self.work.park(event, failure)).await
    }

    async fn place(&mut self, feed_uri: &FeedUri, id: i64, place: &Place) -> StoreResult<()> {
        self.plan.call(self.work.place(feed_uri, id, place)).await
    }

    async fn held_keys(
        &mut self,
        feed_uri: &FeedUri,
        keys: &[&str],
    ) -> StoreResult<HashSet<String>> {
        self.plan.call(self.work.held_keys(feed_uri, keys)).await
    }

    async fn failed_events(&mut self, query: &FailedEventQuery) -> StoreResult<Vec<FailedEvent>> {
        self.plan.call(self.work.failed_events(query)).await
    }

    async fn failed_event_count(&mut self, feed_uri: &FeedUri) -> StoreResult<u64> {
        self.plan.call(self.work.failed_event_count(feed_uri)).await
    }

    async fn record_failed_retry(
        &mut self,
        failed: &FailedEvent,
        failure: &Failure,
    ) -> StoreResult<()> {
        self.plan
            .call(self.work.record_failed_retry(failed, failure))
            .await
    }

    async fn remove_failed_event(&mut self, failed: &FailedEvent) -> StoreResult<()> {
        self.plan.call(self.work.remove_failed_event(failed)).await
    }

    async fn retry_log(
        &mut self,
        feed_uri: &FeedUri,
        event_id: &EntryId,
    ) -> StoreResult<Vec<FailedEventRetryLog>> {
        self.plan
            .call(self.work.retry_log(feed_uri, event_id))
            .await
    }
}

#[async_trait]
impl<C: ?Sized + Send + 'static> ClaimStore for FaultyWork<C> {
    async fn claim(&mut self, feed_uri: &FeedUri) -> StoreResult<Option<Claim>> {
        self.plan.call(self.work.claim(feed_uri)).await
    }

    async fn put_claim(&mut self, feed_uri: &FeedUri, claim: &Claim) -> StoreResult<()> {
        self.plan.call(self.work.put_claim(feed_uri, claim)).await
    }

    async fn keep_claim(&mut self, feed_uri: &FeedUri, claim: &Claim) -> StoreResult<()> {
        self.plan.call(self.work.keep_claim(feed_uri, claim)).await
    }

    async fn completed(&mut self, feed_uri: &FeedUri) -> StoreResult<HashSet<EntryId>> {
        self.plan.call(self.work.completed(feed_uri)).await
    }

    async fn complete(&mut self, feed_uri: &FeedUri, events: &[&EntryId]) -> StoreResult<()> {
        self.plan.call(self.work.complete(feed_uri, events)).await
    }

    async fn forget_completed(
        &mut self,
        feed_uri: &FeedUri,
        events: &[&EntryId],
    ) -> StoreResult<()> {
        self.plan
            .call(self.work.forget_completed(feed_uri, events))
            .await
    }
}

#[async_trait]
impl<C: ?Sized + Send + 'static> StatusStore for FaultyWork<C> {
    async fn put_status(&mut self, status: &FeedStatus) -> StoreResult<()> {
        self.plan.call(self.work.put_status(status)).await
    }

    async fn statuses(&mut self) -> StoreResult<Vec<FeedStatus>> {
        self.plan.call(self.work.statuses()).await
    }

    async fn add_counts(&mut self, feed_uri: &FeedUri, counts: &MinuteCounts) -> StoreResult<()> {
        self.plan.call(self.work.add_counts(feed_uri, counts)).await
    }

    async fn counts(
        &mut self,
        feed_uri: &FeedUri,
        since: DateTime<Utc>,
    ) -> StoreResult<Vec<MinuteCounts>> {
        self.plan.call(self.work.counts(feed_uri, since)).await
    }
}

#[async_trait]
impl<C: ?Sized + Send + 'static> ActionStore for FaultyWork<C> {
    async fn ask(&mut self, action: &NewAction, progress: &ActionProgress) -> StoreResult<i64> {
        self.plan.call(self.work.ask(action, progress)).await
    }

    async fn action(&mut self, id: i64) -> StoreResult<Option<Action>> {
        self.plan.call(self.work.action(id)).await
    }

    async fn open_actions(&mut self, feed_uri: &FeedUri) -> StoreResult<Vec<Action>> {
        self.plan.call(self.work.open_actions(feed_uri)).await
    }

    async fn actions(&mut self, query: &ActionQuery) -> StoreResult<Vec<Action>> {
        self.plan.call(self.work.actions(query)).await
    }

    async fn advance(
        &mut self,
        id: i64,
        from: ActionState,
        progress: &ActionProgress,
    ) -> StoreResult<()> {
        self.plan.call(self.work.advance(id, from, progress)).await
    }

    async fn call_off(&mut self, id: i64, said: &str, at: DateTime<Utc>) -> StoreResult<bool> {
        self.plan.call(self.work.call_off(id, said, at)).await
    }
}

#[async_trait]
impl<C: ?Sized + Send + 'static> FailureStore for FaultyWork<C> {
    async fn failures(&mut self, query: &FailureQuery) -> StoreResult<ParkedPage> {
        self.plan.call(self.work.failures(query)).await
    }

    async fn failure_floor(&mut self, before: Option<i64>, many: u32) -> StoreResult<Option<i64>> {
        self.plan.call(self.work.failure_floor(before, many)).await
    }

    async fn failures_in_order(
        &mut self,
        feed_uri: &FeedUri,
        filter: &FailureFilter,
        after: i64,
        limit: u32,
    ) -> StoreResult<Vec<i64>> {
        let ids = self.work.failures_in_order(feed_uri, filter, after, limit);
        self.plan.call(ids).await
    }

    async fn failure_count(&mut self, filter: &FailureFilter) -> StoreResult<u64> {
        self.plan.call(self.work.failure_count(filter)).await
    }

    async fn failure_groups(
        &mut self,
        filter: &FailureFilter,
        limit: u32,
    ) -> StoreResult<Vec<FailureGroup>> {
        self.plan
            .call(self.work.failure_groups(filter, limit))
            .await
    }

    async fn feed_failures(&mut self, dead_at: u32) -> StoreResult<Vec<FeedFailures>> {
        self.plan.call(self.work.feed_failures(dead_at)).await
    }

    async fn parked_event(&mut self, id: i64) -> StoreResult<Option<FailedEvent>> {
        self.plan.call(self.work.parked_event(id)).await
    }

    async fn last_retries(
        &mut self,
        failed: &FailedEvent,
        limit: u32,
    ) -> StoreResult<Vec<Failure>> {
        self.plan.call(self.work.last_retries(failed, limit)).await
    }

    async fn reset_retries(&mut self, failed: &FailedEvent) -> StoreResult<bool> {
        self.plan.call(self.work.reset_retries(failed)).await
    }

    async fn hold(&mut self, failed: &FailedEvent) -> StoreResult<()> {
        self.plan.call(self.work.hold(failed)).await
    }

    async fn edit_content(&mut self, failed: &FailedEvent, content: &str) -> StoreResult<()> {
        self.plan
            .call(self.work.edit_content(failed, content))
            .await
    }

    async fn count_failures(&mut self, limit: u32) -> StoreResult<u64> {
        self.plan.call(self.work.count_failures(limit)).await
    }
}
