//! The settings of the next transfer: TYPE, MODE, the facts of MLST, the route of the data connection, and what a command
//! leaves for the next.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::ftp::VirtualPath;
use crate::ftp::checksum::Algorithm;
use crate::ftp::command::{Mode, Range, Type};
use crate::ftp::listing::Facts;
use crate::net::data::DataConnection;
use crate::net::passive::PassiveListener;

use super::refusal::Refusal;

/// The settings of TYPE, MODE, OPTS and EPSV ALL.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    pub(super) representation: Type,
    /// The type that the client set by TYPE, if it did.
    pub(super) chosen_type: Option<Type>,
    pub(super) mode: Mode,
    pub(super) facts: Facts,
    /// The algorithm of HASH.
    pub(super) algorithm: Algorithm,
    /// EPSV ALL was received.
    pub(super) extended_passive_only: bool,
}

/// State that one command leaves for the next. Commands that prepare a transfer keep it until the transfer; all others
/// take it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pending {
    /// REST: offset in bytes at which the next transfer starts.
    pub(super) restart: u64,
    /// RANG: range of bytes that the next command covers.
    pub(super) range: Option<Range>,
    /// ALLO: size of the next upload in bytes.
    pub(super) allocated: Option<u64>,
    /// RNFR: path to rename.
    pub(super) rename: Option<VirtualPath>,
}

/// Maximum time for which a passive port stays open for the next transfer. Clients that fetch many files ask for the
/// next port at once.
const SPARE_TIMEOUT: Duration = Duration::from_secs(1);

/// A passive port whose connection has arrived, kept for the next transfer.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) listener: PassiveListener,
    until: Instant,
}

impl Spare {
    fn new(listener: PassiveListener, now: Instant) -> Self {
        Self { listener, until: now + SPARE_TIMEOUT }
    }
}

/// The route of the next data connection. It is used once, and dropped at its deadline.
#[derive(Debug)]
pub(super) enum Route {
    Passive {
        listener: PassiveListener,
        until: Instant,
    },
    Active {
        to: SocketAddr,
        until: Instant,
    },
    /// Block mode: the connection of the previous transfer.
    Open {
        connection: DataConnection,
    },
}

impl Route {
    /// Returns the deadline. An open connection has none: it stays open until its session ends.
    pub(super) fn until(&self) -> Option<Instant> {
        match self {
            Self::Passive { until, .. } | Self::Active { until, .. } => Some(*until),
            Self::Open { .. } => None,
        }
    }
}

/// The settings of the data connections of a session.
#[derive(Debug, Default)]
pub(super) struct DataSettings {
    pub(super) parameters: Parameters,
    pub(super) route: Option<Route>,
    pub(super) spare: Option<Spare>,
    pub(super) pending: Pending,
    /// Path and length of the last upload that ended in order but was judged to be cut off.
    pub(super) short_upload: Option<(VirtualPath, u64)>,
}

impl DataSettings {
    /// Returns the offset in bytes that REST set for a transfer.
    pub(super) fn marker(&self, pending: &Pending) -> Result<u64, Refusal> {
        match pending.restart {
            1.. if self.parameters.representation == Type::Ascii => {
                Err(Refusal::Marker("REST requires TYPE I."))
            }
            offset => Ok(offset),
        }
    }

    /// Closes the connection that block mode has left open, if there is one.
    pub(super) fn close_open_route(&mut self) {
        self.route.take_if(|route| matches!(route, Route::Open { .. }));
    }

    /// Keeps a listener for the next transfer: opening a port costs as much as sending a small file.
    pub(super) fn keep_spare(&mut self, listener: PassiveListener, now: Instant) {
        self.spare = Some(Spare::new(listener, now));
    }

    /// Returns the earliest deadline of the route and of the spare port.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let unused = self.route.as_ref().and_then(Route::until);
        let spare = self.spare.as_ref().map(|spare| spare.until);
        [unused, spare].into_iter().flatten().min()
    }

    /// Drops the route and the spare port if their time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        self.route.take_if(|route| route.until().is_some_and(|until| until <= now));
        self.spare.take_if(|spare| spare.until <= now);
    }
}
