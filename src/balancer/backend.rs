//! A backend: what can be handed a client, and why it may not take it.

use std::fmt;
use std::time::Instant;

use crate::net::admitted::AdmittedClient;
use crate::net::connection_limits::LimitReached;

/// The reason why a slave does not take a client; its text is that of the 421 reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// The slave has its maximum number of clients.
    LimitReached(LimitReached),
    /// An administrator drains the slave.
    Draining,
    /// The slave does not answer, or has just died.
    Silent,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LimitReached(full) => full.fmt(formatter),
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

/// A backend or a slave process: it can be handed a client.
pub(super) trait Backend {
    /// Takes the client over, or returns it with the reason.
    fn take(
        &self,
        client: AdmittedClient,
        now: Instant,
    ) -> Result<(), (AdmittedClient, Unavailable)>;

    fn load(&self) -> Load;

    fn set_draining(&self, draining: bool);
}

/// All slaves together, as a slave process and an administrator see them.
pub trait Dispatcher {
    /// Hands a connection to the next slave; if none takes the client, refuses it with the reason.
    fn hand_over_or_refuse(&self, client: AdmittedClient, now: Instant);

    /// Returns the load of each slave.
    fn loads(&self) -> Vec<Load>;

    /// Makes a slave, or without a number all of them, take no new clients, or take them again; returns `false` if no
    /// slave has this number.
    fn set_draining(&self, slave: Option<u32>, draining: bool) -> bool;
}
