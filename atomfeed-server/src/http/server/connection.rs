use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;

use super::limits::ServerLimits;

/// One connection: what it is doing, since when, and what it is told to do.
///
/// Its task, the tasks of its requests and the server look at it; only that one connection's, so
/// that its lock is hardly ever contended.
pub(super) struct Connection {
    doing: Mutex<Doing>,
    order: AtomicU8,
    waker: AtomicWaker,
}

struct Doing {
    between: Between,
    /// When what is in `between` began, or a client that had been slow to read read on.
    since: Instant,
    is_http2: bool,
    in_hand: u32,
    /// When the responses that are on their way began.
    responses: Vec<Instant>,
    /// Until when the client must have read on, where it has not.
    read_by: Option<Instant>,
    /// Whether more may come of something that was refused.
    has_unread: bool,
}

/// What there is when no request is in hand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Between {
    /// Not yet a request.
    Beginning,
    /// A part of a header.
    Header,
    /// Nothing.
    Requests,
}

/// What a connection is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Order {
    Serve,
    /// To end when there is no request in hand.
    Finish,
    /// To end.
    Close,
}

/// Why a connection is closed that has gone on for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    Header,
    Idle,
    Write,
    Response,
}

impl Connection {
    pub(super) fn new() -> Self {
        Self {
            doing: Mutex::new(Doing {
                between: Between::Beginning,
                since: Instant::now(),
                is_http2: false,
                in_hand: 0,
                responses: Vec::new(),
                read_by: None,
                has_unread: false,
            }),
            order: AtomicU8::new(Order::Serve as u8),
            waker: AtomicWaker::new(),
        }
    }

    fn doing(&self) -> MutexGuard<'_, Doing> {
        // Nothing that is done under the lock panics halfway.
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is in hand until what this returns is dropped.
    pub(super) fn begin(self: &Arc<Self>, is_http2: bool) -> InHand {
        let mut doing = self.doing();
        doing.in_hand += 1;
        doing.is_http2 = is_http2;
        InHand {
            connection: Arc::clone(self),
            responding: None,
        }
    }

    /// Bytes have come.
    pub(super) fn heard(&self) {
        let mut doing = self.doing();
        // Frames of HTTP/2 mostly are no headers.
        if doing.in_hand == 0 && doing.between == Between::Requests && !doing.is_http2 {
            doing.between = Between::Header;
            doing.since = Instant::now();
        }
    }

    /// The client's side is full.
    pub(super) fn blocked(&self, limits: &ServerLimits) {
        let mut doing = self.doing();
        if doing.read_by.is_none() {
            doing.read_by = Some(Instant::now() + limits.write_time());
        }
    }

    /// So many bytes were written.
    pub(super) fn wrote(&self, bytes: usize, limits: &ServerLimits) {
        let mut doing = self.doing();
        if let Some(read_by) = doing.read_by {
            let now = Instant::now();
            if doing.between == Between::Requests {
                doing.since = now;
            }
            let gained = bytes as f64 / f64::from(limits.write_rate().max(1));
            let by = read_by + Duration::from_secs_f64(gained);
            doing.read_by = Some(by.min(now + limits.write_time()));
        }
    }

    /// All that there was to write is written.
    pub(super) fn drained(&self) {
        self.doing().read_by = None;
    }

    /// More may come of something that was refused; it is to be read, so that the client gets to read
    /// why.
    pub(super) fn refused(&self) {
        self.doing().has_unread = true;
    }

    /// Says, when it ends from our side, whether the client may still be sending what nobody reads. It
    /// has the time of a header for that.
    pub(super) fn is_cut_short(&self) -> bool {
        let mut doing = self.doing();
        let is_cut_short = doing.has_unread || doing.between != Between::Requests;
        if is_cut_short {
            doing.between = Between::Header;
            doing.since = Instant::now();
        }
        is_cut_short
    }

    /// Since when there has been no request in hand.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let doing = self.doing();
        (doing.in_hand == 0).then_some(doing.since)
    }

    /// Closes it if it has been idle since then.
    pub(super) fn close_if_idle_since(&self, since: Instant) -> bool {
        self.order() != Order::Close
            && self.idle_since() == Some(since)
            && self.tell(Order::Close) != Order::Close
    }

    /// When it will have gone on for too long, and why.
    pub(super) fn due(&self, limits: &ServerLimits) -> Option<(Instant, Overdue)> {
        let doing = self.doing();
        let idle = (doing.in_hand == 0).then(|| match doing.between {
            Between::Requests => (doing.since + limits.idle_time(), Overdue::Idle),
            _ => (doing.since + limits.header_time(), Overdue::Header),
        });
        let write = doing.read_by.map(|by| (by, Overdue::Write));
        let response = doing.responses.iter().min();
        let response = response.map(|began| (*began + limits.response_time(), Overdue::Response));
        let all = [idle, write, response];
        all.into_iter().flatten().min_by_key(|(due, _)| *due)
    }

    /// Gives an order, and says which one held before. An order is never taken back.
    pub(super) fn tell(&self, order: Order) -> Order {
        let before = self.order.fetch_max(order as u8, Ordering::AcqRel);
        self.waker.wake();
        Order::from_number(before)
    }

    pub(super) fn order(&self) -> Order {
        Order::from_number(self.order.load(Ordering::Acquire))
    }

    /// Wakes this task when an order is given.
    pub(super) fn wake_on_order(&self, waker: &Waker) {
        self.waker.register(waker);
    }
}

impl Order {
    fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Serve,
            1 => Self::Finish,
            _ => Self::Close,
        }
    }
}

/// A request that is in hand, until its response is written or dropped.
pub(super) struct InHand {
    connection: Arc<Connection>,
    responding: Option<Instant>,
}

impl InHand {
    /// Its response begins.
    pub(super) fn responds(&mut self) {
        let now = Instant::now();
        self.responding = Some(now);
        self.connection.doing().responses.push(now);
    }

    /// See [`Connection::refused`].
    pub(super) fn refused(&self) {
        self.connection.refused();
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        let mut doing = self.connection.doing();
        if let Some(began) = self.responding
            && let Some(place) = doing.responses.iter().position(|other| *other == began)
        {
            doing.responses.swap_remove(place);
        }
        doing.in_hand -= 1;
        if doing.in_hand == 0 {
            doing.between = Between::Requests;
            doing.since = Instant::now();
        }
    }
}
