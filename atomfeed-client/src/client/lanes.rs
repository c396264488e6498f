use std::collections::{HashSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;

use atomfeed_core::{EntryId, Event, Marker};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use tokio_util::sync::CancellationToken;

use super::AtomFeedClient;
use super::apply::Batch;
use super::intake::Intake;
use super::ledger::Ledger;
use crate::outcome::Processed;
use crate::worker::Prepared;
use crate::{ProcessErrorKind, WorkerError};

/// Several transactions at once, over different keys.
///
/// Each lane takes events whose keys no other one has in hand, in the order of the feed, and writes
/// down, in the same transaction, that they were dealt with. The marker follows up to the first event
/// that was not; what stands beyond it is in the table `atomfeed_completed_events`, and is passed over
/// by whoever goes on.
impl<C: ?Sized + Send + 'static> AtomFeedClient<C> {
    /// How many transactions are open at once, at most.
    pub(super) fn lanes(&self) -> usize {
        // Where the worker moves the marker, it says that everything before was dealt with.
        match self.store.writes_one_at_a_time() || self.settings.worker_moves_marker {
            true => 1,
            false => self.settings.workers,
        }
    }

    /// Applies events up to the head of the feed, except those that were dealt with before.
    pub(super) async fn work_in_lanes(
        &self,
        intake: Intake<'_, C>,
        completed: HashSet<EntryId>,
        marker: &mut Option<Marker>,
        processed: &mut Processed,
        stop: &CancellationToken,
    ) -> Result<(), ProcessErrorKind> {
        // A stream keeps what it waits for from one look to the next.
        let mut events = pin!(stream::unfold(intake, |mut intake| async {
            let next = intake.next().await.transpose()?;
            Some((next, intake))
        }));
        let lanes = self.lanes();
        let mut window = Window::default();
        let mut running: FuturesUnordered<BoxFuture<'_, Ended>> = FuturesUnordered::new();
        let mut end = Ok(());
        let mut is_reading = true;
        let (mut is_moving, mut is_telling) = (false, false);
        loop {
            let most = self.batch_size();
            // Enough for each lane to find keys that are free.
            let is_room = window.slots.len() < lanes * most * 2 && window.bytes < MANY_BYTES;
            let others = usize::from(is_moving) + usize::from(is_telling);
            while end.is_ok() && running.len() - others < lanes {
                let idle = lanes - (running.len() - others);
                // When it stops, what stands before events that were dealt with is still to be done.
                let is_over = stop.is_cancelled();
                let Some((numbers, batch)) = window.take(most, idle, is_over) else {
                    break;
                };
                running.push(Box::pin(async move {
                    let mut processed = Processed::default();
                    let mut ledger = Ledger::EachEvent;
                    let applied = self.apply_batch(batch, &mut ledger, &mut processed).await;
                    Ended::Lane(numbers, processed, applied)
                }));
            }
            let done = window.done();
            let is_idle = running.is_empty();
            if !is_moving && done > 0 && (done >= most || is_idle) {
                is_moving = true;
                let from = marker.clone();
                let events = window.first(done);
                running.push(Box::pin(async move {
                    Ended::Moved(done, self.catch_up(from.as_ref(), &events).await)
                }));
            } else if is_idle && (!is_reading || end.is_err() || stop.is_cancelled()) {
                return end;
            }
            tokio::select! {
                biased;
                Some(ended) = running.next() => match ended {
                    Ended::Lane(numbers, more, applied) => {
                        processed.add(more);
                        match applied {
                            Ok(()) => window.are_done(&numbers),
                            // Some of them may have been dealt with; who goes on reads which.
                            Err(error) => end = worse(end, error),
                        }
                    }
                    Ended::Told => is_telling = false,
                    Ended::Moved(done, moved) => {
                        is_moving = false;
                        match moved {
                            Ok(to) => {
                                *marker = Some(to);
                                window.drop_first(done);
                                if let Some(slot) = window.slots.front() {
                                    self.watch.before(&slot.event);
                                }
                                // Beside the lanes, which would stand still meanwhile.
                                if !is_telling {
                                    is_telling = true;
                                    running.push(Box::pin(async move {
                                        self.write_status(false).await;
                                        Ended::Told
                                    }));
                                }
                            }
                            // Nothing more is to be moved.
                            Err(error) => return worse(end, error),
                        }
                    }
                },
                next = events.next(), if is_reading && is_room && end.is_ok() => match next {
                    Some(Ok((event, prepared))) => {
                        let (key, prepared) = match self.key(&event, prepared.as_ref().ok()) {
                            Ok(key) => (key, prepared),
                            Err(error) => (None, Err(error)),
                        };
                        let is_done = completed.contains(event.id());
                        if is_done {
                            // It may be by a commit that was answered with an error.
                            self.outages.over(&[&event], false);
                            self.watch.passed(1);
                        }
                        window.push(event, prepared, key, is_done);
                    }
                    Some(Err(error)) => {
                        is_reading = false;
                        end = Err(error);
                    }
                    None => is_reading = false,
                },
                () = stop.cancelled(), if is_reading => is_reading = false,
            }
        }
    }

    /// Moves the marker behind events that were all dealt with, and forgets that each of them was.
    async fn catch_up(
        &self,
        from: Option<&Marker>,
        events: &[Arc<Event>],
    ) -> Result<Marker, ProcessErrorKind> {
        let Some(last) = events.last() else {
            return Ok(from
                .cloned()
                .unwrap_or_else(|| Marker::new(self.feed.clone())));
        };
        let to = self.marker_behind(last);
        let ids: Vec<&EntryId> = events.iter().map(|event| event.id()).collect();
        let mut work = self.store.begin().await?;
        self.move_marker(work.as_mut(), from, &to).await?;
        work.forget_completed(&self.feed, &ids).await?;
        work.commit().await?;
        Ok(to)
    }
}

/// The contents of all events in hand are no larger than this, by and large.
const MANY_BYTES: usize = 64 << 20;

/// What ends a walk that has ended with this already: what puts effects in doubt goes before all else.
fn worse(
    end: Result<(), ProcessErrorKind>,
    error: ProcessErrorKind,
) -> Result<(), ProcessErrorKind> {
    match &end {
        Err(known) if !matches!(error, ProcessErrorKind::BrokenTransaction { .. }) => {
            tracing::warn!(%error, %known, "one more error beside the one that ends this");
            end
        }
        _ => Err(error),
    }
}

/// What has ended.
enum Ended {
    /// How far it is was told to those who watch.
    Told,
    /// A lane, with the numbers of its events.
    Lane(Vec<u64>, Processed, Result<(), ProcessErrorKind>),
    /// So many events were all dealt with, and the marker was to move behind them.
    Moved(usize, Result<Marker, ProcessErrorKind>),
}

/// The events in front of the marker that were taken in, in the order of the feed.
#[derive(Default)]
struct Window {
    slots: VecDeque<Slot>,
    /// Of their contents, together.
    bytes: usize,
    /// The number of the first one.
    first: u64,
}

struct Slot {
    event: Arc<Event>,
    key: Option<String>,
    state: State,
}

enum State {
    Waiting(Result<Prepared, WorkerError>),
    InHand,
    Done,
}

impl Window {
    fn push(
        &mut self,
        event: Arc<Event>,
        prepared: Result<Prepared, WorkerError>,
        key: Option<String>,
        is_done: bool,
    ) {
        let state = match is_done {
            true => State::Done,
            false => State::Waiting(prepared),
        };
        self.bytes += event.content().len();
        self.slots.push_back(Slot { event, key, state });
    }

    /// Takes events for one of so many idle lanes: those that come first of which no other lane has the
    /// key, up to `most`. With `to_last`, only those that stand before one that another lane has or had.
    fn take(&mut self, most: usize, idle: usize, to_last: bool) -> Option<(Vec<u64>, Batch)> {
        let end = match to_last {
            true => self.slots.iter().rposition(|slot| !slot.is_waiting())?,
            false => self.slots.len(),
        };
        let slots = || self.slots.iter();
        let in_hand = slots().filter(|slot| matches!(slot.state, State::InHand));
        let busy: HashSet<&str> = in_hand.filter_map(|slot| slot.key.as_deref()).collect();
        let is_free = |slot: &&Slot| {
            let key = slot.key.as_deref();
            slot.is_waiting() && key.is_none_or(|key| !busy.contains(key))
        };
        let free = slots().take(end).filter(is_free).count();
        let most = free.div_ceil(idle.max(1)).clamp(1, most);
        let taken = slots().take(end).enumerate();
        let taken = taken.filter(|(_, slot)| is_free(slot)).take(most);
        let mut indices: Vec<_> = taken.map(|(index, _)| index).collect();
        let mut batch = Batch::default();
        let mut count = 0;
        for &index in &indices {
            let slot = &mut self.slots[index];
            let State::Waiting(prepared) = std::mem::replace(&mut slot.state, State::InHand) else {
                continue;
            };
            count += 1;
            let event = Arc::clone(&slot.event);
            match prepared {
                Ok(prepared) => batch.push((event, prepared)),
                Err(error) => {
                    // It comes last in a batch, and the next ones have their turn after it.
                    batch.broken = Some((event, error));
                    break;
                }
            }
        }
        indices.truncate(count);
        let numbers = indices.into_iter().map(|index| self.first + index as u64);
        let numbers: Vec<_> = numbers.collect();
        (!numbers.is_empty()).then_some((numbers, batch))
    }

    fn are_done(&mut self, numbers: &[u64]) {
        for number in numbers {
            let index = usize::try_from(number - self.first).unwrap_or(usize::MAX);
            if let Some(slot) = self.slots.get_mut(index) {
                slot.state = State::Done;
            }
        }
    }

    /// How many events from the first one on were all dealt with.
    fn done(&self) -> usize {
        let slots = self.slots.iter();
        slots
            .take_while(|slot| matches!(slot.state, State::Done))
            .count()
    }

    fn first(&self, count: usize) -> Vec<Arc<Event>> {
        let slots = self.slots.iter().take(count);
        slots.map(|slot| Arc::clone(&slot.event)).collect()
    }

    fn drop_first(&mut self, count: usize) {
        for slot in self.slots.drain(..count) {
            self.bytes -= slot.event.content().len();
        }
        self.first += count as u64;
    }
}

impl Slot {
    fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting(_))
    }
}
