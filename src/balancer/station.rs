//! A station: one pool and the sessions it serves. Each slave in process is one, and a server without slaves has one.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::net::seats::{Full, Seat, Seats};
use crate::pool::{Pool, Task};

/// Makes a session of a connection. The balancer need not know what kind.
pub type Greet =
    Box<dyn Fn(TcpStream, SocketAddr, Seat, Instant) -> io::Result<Box<dyn Task>> + Send + Sync>;

/// Why a station does not take a client; its text is that of the 421.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unable {
    /// It has as many as it may have.
    Full(Full),
    /// An administrator drains it.
    Draining,
}

impl fmt::Display for Unable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(full) => full.fmt(formatter),
            Self::Draining => {
                formatter.write_str("This server takes no new clients now; try again later.")
            }
        }
    }
}

/// One pool and the sessions it serves.
pub struct Station {
    pool: Pool,
    seats: Arc<Seats>,
    greet: Greet,
    draining: AtomicBool,
}

impl fmt::Debug for Station {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Station")
            .field("seats", &self.seats)
            .field("draining", &self.draining)
            .finish_non_exhaustive()
    }
}

impl Station {
    /// A pool with room for so many sessions.
    #[must_use]
    pub fn new(pool: Pool, sessions_max: usize, greet: Greet) -> Arc<Self> {
        // Addresses are counted where clients come in, for all stations together.
        let seats = Seats::new(sessions_max, usize::MAX);
        Arc::new(Self { pool, seats, greet, draining: AtomicBool::new(false) })
    }

    /// Takes the connection over, or leaves it where it is and says why. `seat` is the client's among all stations.
    ///
    /// A connection that turns out to be broken is taken, too: nobody else could do more with it.
    pub fn take(
        &self,
        stream: &mut Option<TcpStream>,
        peer: SocketAddr,
        seat: &mut Option<Seat>,
        now: Instant,
    ) -> Result<(), Unable> {
        if self.is_draining() {
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

    /// How many sessions it has.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.seats.taken()
    }

    /// Whether it takes no new clients.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Takes no new clients from now on, or takes them again.
    pub fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Release);
    }

    /// Its pool.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}
