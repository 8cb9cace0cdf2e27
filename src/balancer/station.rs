//! A station: one pool and the sessions it serves. Each slave in process is one, and a server without slaves has one.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::{Load, Taker, Unable};
use crate::net::seats::{Seat, Seats};
use crate::pool::{Pool, Task};

/// Makes a session of a connection. The balancer need not know what kind.
pub type Greet =
    Box<dyn Fn(TcpStream, SocketAddr, Seat, Instant) -> io::Result<Box<dyn Task>> + Send + Sync>;

/// Tells how many transfers are under way, and how many bytes went over data connections.
pub type Gauge = Box<dyn Fn() -> (u64, u64) + Send + Sync>;

/// One pool and the sessions it serves.
pub struct Station {
    number: Option<u32>,
    pool: Pool,
    seats: Arc<Seats>,
    greet: Greet,
    gauge: Gauge,
    draining: AtomicBool,
}

impl fmt::Debug for Station {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Station").field("load", &self.load()).finish_non_exhaustive()
    }
}

impl Station {
    /// A pool with room for so many sessions; `number` is that of the slave it is, if it is one.
    #[must_use]
    pub fn new(
        number: Option<u32>,
        pool: Pool,
        sessions_max: usize,
        greet: Greet,
        gauge: Gauge,
    ) -> Arc<Self> {
        // Addresses are counted where clients come in, for all stations together.
        let seats = Seats::new(sessions_max, usize::MAX);
        Arc::new(Self { number, pool, seats, greet, gauge, draining: AtomicBool::new(false) })
    }

    /// Its pool.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}

impl Taker for Station {
    /// A connection that turns out to be broken is taken, too: nobody else could do more with it.
    fn take(
        &self,
        stream: &mut Option<TcpStream>,
        peer: SocketAddr,
        seat: &mut Option<Seat>,
        now: Instant,
    ) -> Result<(), Unable> {
        if self.draining.load(Ordering::Acquire) {
            return Err(Unable::Draining);
        }
        let own = self.seats.take(peer.ip()).map_err(Unable::Full)?;
        if let (Some(stream), Some(seat)) = (stream.take(), seat.take())
            && let Ok(session) = (self.greet)(stream, peer, own.beside(seat), now)
        {
            self.pool.admit(session);
        }
        Ok(())
    }

    fn load(&self) -> Load {
        let (transfers, bytes) = (self.gauge)();
        let draining = self.draining.load(Ordering::Acquire);
        Load {
            slave: self.number,
            process: None,
            sessions: self.seats.taken(),
            transfers,
            bytes,
            draining,
        }
    }

    fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Release);
    }
}
