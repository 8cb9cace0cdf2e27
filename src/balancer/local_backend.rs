//! A backend: one pool and the sessions it serves. Each in-process slave is one, and a server without slaves has one.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::backend::{Backend, Load, Unavailable};
use crate::net::admitted::AdmittedClient;
use crate::net::connection_limits::ConnectionLimits;
use crate::pool::{Pool, Task};

/// A function that makes a session for a client, so that the balancer does not depend on the kind of session.
pub type Greet = Box<dyn Fn(AdmittedClient, Instant) -> io::Result<Box<dyn Task>> + Send + Sync>;

/// A function that returns the number of transfers under way and the number of bytes over data connections.
pub type Gauge = Box<dyn Fn() -> (u64, u64) + Send + Sync>;

/// One pool and the sessions it serves.
pub struct LocalBackend {
    number: Option<u32>,
    pool: Pool,
    connection_limits: Arc<ConnectionLimits>,
    greet: Greet,
    gauge: Gauge,
    draining: AtomicBool,
}

impl fmt::Debug for LocalBackend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LocalBackend").field("load", &self.load()).finish_non_exhaustive()
    }
}

impl LocalBackend {
    /// Creates a backend for at most `sessions_max` sessions; `number` is its number as a slave, if it is one.
    #[must_use]
    pub fn new(
        number: Option<u32>,
        pool: Pool,
        sessions_max: usize,
        greet: Greet,
        gauge: Gauge,
    ) -> Arc<Self> {
        // Clients per address are counted at the listener, for all backends together.
        let connection_limits = ConnectionLimits::new(sessions_max, usize::MAX);
        Arc::new(Self {
            number,
            pool,
            connection_limits,
            greet,
            gauge,
            draining: AtomicBool::new(false),
        })
    }

    /// Sets the maximum number of sessions, for clients that come from now on.
    pub fn set_sessions_max(&self, sessions_max: usize) {
        self.connection_limits.set_limits(sessions_max, usize::MAX);
    }

    /// Returns its number as a slave, if it is one.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        self.number
    }

    /// Returns the backend's pool.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}

impl Backend for LocalBackend {
    /// Takes a connection even if it turns out to be broken: another backend could not use it either.
    fn take(
        &self,
        client: AdmittedClient,
        now: Instant,
    ) -> Result<(), (AdmittedClient, Unavailable)> {
        if self.draining.load(Ordering::Acquire) {
            return Err((client, Unavailable::Draining));
        }
        let own = match self.connection_limits.take(client.peer.ip()) {
            Ok(own) => own,
            Err(reached) => return Err((client, Unavailable::LimitReached(reached))),
        };
        let AdmittedClient { stream, peer, permit } = client;
        let client = AdmittedClient { stream, peer, permit: own.beside(permit) };
        let _broken = self.pool.admit_new(|| (self.greet)(client, now));
        Ok(())
    }

    fn load(&self) -> Load {
        let (transfers, bytes) = (self.gauge)();
        let draining = self.draining.load(Ordering::Acquire);
        Load {
            slave: self.number,
            process: None,
            sessions: self.connection_limits.taken(),
            transfers,
            bytes,
            draining,
        }
    }

    fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Release);
    }
}
