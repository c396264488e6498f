use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::{Connection, Order};
use super::limits::ServerLimits;
use super::metric;

/// The connections of a server, and which of them has to go.
///
/// It is locked when a connection opens or ends, and when the server looks for those that have gone
/// on for too long; never for a request.
pub(super) struct Connections {
    limits: ServerLimits,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    clients: HashMap<Client, Pool>,
    count: usize,
    next: u64,
    longest_idle: LongestIdle,
}

/// Whose connections are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Client {
    /// An address, or the network of one.
    Of(IpAddr),
    /// Trusted proxies, and who connects to a Unix socket.
    Exempt,
}

#[derive(Default)]
struct Pool {
    connections: HashMap<u64, Arc<Connection>>,
    longest_idle: LongestIdle,
}

/// A place among the open connections, given back when this is dropped.
pub(super) struct Admitted {
    connections: Arc<Connections>,
    client: Client,
    number: u64,
    connection: Arc<Connection>,
}

impl Client {
    pub(super) fn of(address: IpAddr) -> Self {
        Self::Of(match address {
            // Who has one address of such a network has all of them.
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            v4 => v4,
        })
    }
}

impl Connections {
    pub(super) fn new(limits: ServerLimits) -> Self {
        Self {
            limits,
            open: Mutex::default(),
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for a connection, if need be by closing the one that has been idle longest; `None`
    /// where all have a request in hand.
    pub(super) fn admit(self: &Arc<Self>, client: Client) -> Option<Admitted> {
        let mut open = self.open();
        let open = &mut *open;
        if let (Client::Of(_), Some(pool)) = (client, open.clients.get_mut(&client))
            && pool.connections.len() >= self.limits.connections_a_client()
        {
            let all = pool.connections.iter();
            let all = all.map(|(number, connection)| (client, *number, connection));
            let Some(closed) = pool.longest_idle.close(all) else {
                metric::refused("client");
                return None;
            };
            metric::refused("client");
            open.remove(closed);
        }
        if open.count >= self.limits.connections() {
            let all = open.clients.iter().flat_map(|(client, pool)| {
                let all = pool.connections.iter();
                all.map(|(number, connection)| (*client, *number, connection))
            });
            metric::refused("connections");
            let closed = open.longest_idle.close(all)?;
            open.remove(closed);
        }
        let number = open.next;
        let connection = Arc::new(Connection::new());
        let pool = open.clients.entry(client).or_default();
        pool.connections.insert(number, Arc::clone(&connection));
        open.next += 1;
        open.count += 1;
        metric::connections(open.count);
        Some(Admitted {
            connections: Arc::clone(self),
            client,
            number,
            connection,
        })
    }

    /// Closes connections that have gone on for too long, and says when to look again.
    pub(super) fn close_overdue(&self) -> Instant {
        let now = Instant::now();
        let soonest = self.limits.shortest_time();
        let mut next = now + soonest;
        let open = self.open();
        for pool in open.clients.values() {
            for connection in pool.connections.values() {
                let Some((due, why)) = connection.due(&self.limits) else {
                    continue;
                };
                if due > now {
                    next = next.min(due);
                } else if connection.tell(Order::Close) != Order::Close {
                    tracing::debug!(?why, "a connection was closed");
                    metric::overdue(why);
                }
            }
        }
        next.max(now + (soonest / 8).max(Duration::from_millis(1)))
    }

    /// Gives an order to all.
    pub(super) fn tell_all(&self, order: Order) {
        for pool in self.open().clients.values() {
            for connection in pool.connections.values() {
                connection.tell(order);
            }
        }
    }
}

impl Open {
    fn remove(&mut self, (client, number): (Client, u64)) {
        if let Some(pool) = self.clients.get_mut(&client)
            && pool.connections.remove(&number).is_some()
        {
            self.count -= 1;
            if pool.connections.is_empty() {
                self.clients.remove(&client);
            }
            metric::connections(self.count);
        }
    }
}

impl Admitted {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        // Who looks for an idle one may still know it.
        self.connection.tell(Order::Close);
        self.connections.open().remove((self.client, self.number));
    }
}

/// The connections that had been idle longest when they were looked at, the longest first.
///
/// All others have been busy since, or were so for less long: while one of these is still idle since
/// then, it is the one, and only every so many closings are all looked at.
#[derive(Default)]
struct LongestIdle {
    candidates: VecDeque<(Client, u64, Instant, Arc<Connection>)>,
    /// When all were looked at and none was idle.
    none_at: Option<Instant>,
}

impl LongestIdle {
    /// So many are remembered.
    const CANDIDATES: usize = 256;
    /// So long it is taken for granted that none is idle yet.
    const PAUSE: Duration = Duration::from_millis(10);

    /// Closes the one that has been idle longest.
    fn close<'a>(
        &mut self,
        all: impl Iterator<Item = (Client, u64, &'a Arc<Connection>)>,
    ) -> Option<(Client, u64)> {
        if let Some(closed) = self.close_a_candidate() {
            return Some(closed);
        }
        if self.none_at.is_some_and(|at| at.elapsed() < Self::PAUSE) {
            return None;
        }
        let mut idle: Vec<_> = all
            .filter_map(|(client, number, connection)| {
                Some((client, number, connection.idle_since()?, connection))
            })
            .collect();
        if idle.len() > Self::CANDIDATES {
            idle.select_nth_unstable_by_key(Self::CANDIDATES, |(.., since, _)| *since);
            idle.truncate(Self::CANDIDATES);
        }
        idle.sort_unstable_by_key(|(.., since, _)| *since);
        self.candidates = idle
            .into_iter()
            .map(|(client, number, since, connection)| {
                (client, number, since, Arc::clone(connection))
            })
            .collect();
        let closed = self.close_a_candidate();
        self.none_at = closed.is_none().then(Instant::now);
        closed
    }

    fn close_a_candidate(&mut self) -> Option<(Client, u64)> {
        while let Some((client, number, since, connection)) = self.candidates.pop_front() {
            if connection.close_if_idle_since(since) {
                tracing::debug!("an idle connection was closed for another");
                return Some((client, number));
            }
        }
        None
    }
}
