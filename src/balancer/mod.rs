//! The balancer: hands each new client to the next slave, round robin.
//!
//! The connection itself is handed over, not relayed: the slave that takes it serves the client alone from then on. So
//! data connections of every mode, and the client's address, are as without a balancer. A slave is a [`station`] in
//! this process, or a process that has registered with the [`registry`].
//!
//! Depends on `pool` and `net`. It is given a function that makes sessions, and does not depend on them.

pub mod control;
pub mod handover;
pub mod registry;
mod round_robin;
pub mod station;

use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::net::listener::refuse;
use crate::net::seats::{Full, Seat};
use registry::Registry;
use round_robin::RoundRobin;
use station::Station;

/// The reason why a slave does not take a client; its text is that of the 421 reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unable {
    /// The slave has its maximum number of clients.
    Full(Full),
    /// An administrator drains the slave.
    Draining,
    /// The slave does not answer, or has just died.
    Silent,
}

impl fmt::Display for Unable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(full) => full.fmt(formatter),
            Self::Draining => {
                formatter.write_str("This server accepts no new clients now; try again later.")
            }
            Self::Silent => formatter.write_str("No slave responds; try again later."),
        }
    }
}

/// The current load of a slave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// The slave's number; `None` for a server that serves its clients itself.
    pub slave: Option<u32>,
    /// The slave's process ID, if it is not in the master's process.
    pub process: Option<u32>,
    /// The number of sessions.
    pub sessions: usize,
    /// The number of transfers under way.
    pub transfers: u64,
    /// The number of bytes over data connections since the slave started.
    pub bytes: u64,
    /// True while the slave takes no new clients.
    pub draining: bool,
}

/// A station or a slave process: it can be handed a client.
trait Taker {
    /// Takes the connection over, or leaves it in place and returns the reason. `seat` is the client's permit in the
    /// server.
    fn take(
        &self,
        stream: &mut Option<TcpStream>,
        peer: SocketAddr,
        seat: &mut Option<Seat>,
        now: Instant,
    ) -> Result<(), Unable>;

    fn load(&self) -> Load;

    fn set_draining(&self, draining: bool);
}

/// The slaves, and the order of their turns.
#[derive(Debug)]
pub struct Balancer {
    stations: Vec<Arc<Station>>,
    registry: Option<Arc<Registry>>,
    ring: Mutex<RoundRobin>,
}

impl Balancer {
    /// Creates a balancer for these stations, and for the slave processes of a registry.
    ///
    /// A station without a number is not a slave but the master itself: it serves when no slave is registered, or none
    /// can.
    #[must_use]
    pub fn new(stations: Vec<Arc<Station>>, registry: Option<Arc<Registry>>) -> Self {
        Self { stations, registry, ring: Mutex::default() }
    }

    /// Hands a connection to the next slave that takes it.
    ///
    /// # Errors
    /// Returns the connection when no slave takes it, and the reason of the last slave asked.
    pub fn hand_over(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        seat: Seat,
        now: Instant,
    ) -> Result<(), (TcpStream, Unable)> {
        let (mut stream, mut seat, mut unable) = (Some(stream), Some(seat), Unable::Silent);
        let mut offer = |taker: &dyn Taker| {
            taker.take(&mut stream, peer, &mut seat, now).map_err(|why| unable = why).is_ok()
        };
        let (slaves, master): (Vec<_>, Vec<_>) =
            self.takers().into_iter().partition(|taker| taker.load().slave.is_some());
        let picked = self
            .ring
            .lock()
            .pick(slaves.len(), |number| slaves.get(number).is_some_and(|taker| offer(&**taker)));
        if picked.is_none() {
            master.iter().any(|taker| offer(&**taker));
        }
        stream.map_or(Ok(()), |stream| Err((stream, unable)))
    }

    /// Hands a connection to the next slave; if none takes the client, refuses it with the reason.
    fn hand_over_or_refuse(&self, stream: TcpStream, peer: SocketAddr, seat: Seat, now: Instant) {
        if let Err((stream, unable)) = self.hand_over(stream, peer, seat, now) {
            refuse(&stream, &unable.to_string());
        }
    }

    /// Returns the load of each slave.
    #[must_use]
    pub fn loads(&self) -> Vec<Load> {
        self.takers().iter().map(|taker| taker.load()).collect()
    }

    /// Makes a slave take no new clients, or take them again; returns `false` if no slave has this number.
    #[must_use]
    pub fn set_draining(&self, slave: u32, draining: bool) -> bool {
        let found = self.takers().into_iter().find(|taker| taker.load().slave == Some(slave));
        found.inspect(|taker| taker.set_draining(draining)).is_some()
    }

    fn takers(&self) -> Vec<Arc<dyn Taker>> {
        let stations = self.stations.iter().map(|station| Arc::clone(station) as Arc<dyn Taker>);
        let processes = self
            .registry
            .iter()
            .flat_map(|registry| registry.slaves())
            .map(|slave| slave as Arc<dyn Taker>);
        stations.chain(processes).collect()
    }
}
