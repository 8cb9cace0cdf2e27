//! Parameters of the next transfer: TYPE, MODE, the facts of MLST, and the route of the data connection.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::ftp::address::{Protocol, host_port};
use crate::ftp::checksum::Algorithm;
use crate::ftp::command::{ExtendedPassive, Mode, Type};
use crate::ftp::listing::Facts;
use crate::ftp::{Code, Reply};
use crate::net::data::DataConnection;
use crate::net::passive::PassiveListener;

use super::Session;
use super::refusal::Refusal;

/// First port that is not reserved for the system. A client has no reason to name a lower one (RFC 2577 §3).
const SYSTEM_PORTS_END: u16 = 1024;

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
    extended_passive_only: bool,
}

impl Parameters {
    pub(super) fn set_type(&mut self, representation: Type) -> Reply {
        self.representation = representation;
        self.chosen_type = Some(representation);
        let text = match representation {
            Type::Ascii => "Type set to A.",
            Type::Image => "Type set to I.",
        };
        Reply::new(Code::OK, text)
    }

    pub(super) fn select_facts(&mut self, names: &str) -> Reply {
        self.facts = Facts::select(names);
        Reply::new(Code::OK, format!("MLST OPTS {}", self.facts.selection()).trim_end())
    }
}

/// Maximum time for which a passive port stays open for the next transfer. Clients that fetch many files ask for the
/// next port at once.
const SPARE_TIMEOUT: Duration = Duration::from_secs(1);

/// A passive port whose connection has arrived, kept for the next transfer.
#[derive(Debug)]
pub(super) struct Spare {
    listener: PassiveListener,
    pub(super) until: Instant,
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

impl Session {
    pub(super) fn port(&mut self, to: SocketAddr, now: Instant) -> Result<Reply, Refusal> {
        self.connect_to(to, now)?;
        Ok(Reply::new(Code::OK, "PORT accepted."))
    }

    pub(super) fn extended_port(&mut self, to: SocketAddr, now: Instant) -> Result<Reply, Refusal> {
        let own = Protocol::of(self.control.peer().ip());
        if Protocol::of(to.ip()) != own {
            return Err(Refusal::OtherProtocol(own));
        }
        self.connect_to(to, now)?;
        Ok(Reply::new(Code::OK, "EPRT accepted."))
    }

    /// Routes the next data connection to a port of the client.
    ///
    /// SECURITY: accepts only the client's own address, and no system port, because the bounce attack needs one of the
    /// two.
    fn connect_to(&mut self, to: SocketAddr, now: Instant) -> Result<(), Refusal> {
        if self.parameters.extended_passive_only {
            return Err(Refusal::ExtendedPassiveOnly);
        }
        self.route = None;
        // lftp sends `EPRT |2|::|port|` to name its own address.
        let itself = to.ip() == self.control.peer().ip() || to.ip().is_unspecified();
        if !itself || to.port() < SYSTEM_PORTS_END {
            return Err(Refusal::ForeignAddress);
        }
        // The peer's address includes the scope that a link-local address needs.
        let port = to.port();
        let mut to = self.control.peer();
        to.set_port(port);
        self.route = Some(Route::Active { to, until: self.route_deadline(now) });
        Ok(())
    }

    pub(super) fn passive(&mut self, now: Instant) -> Result<Reply, Refusal> {
        if self.parameters.extended_passive_only {
            return Err(Refusal::ExtendedPassiveOnly);
        }
        let IpAddr::V4(local) = self.control.local().ip() else {
            return Err(Refusal::PassiveNeedsIpv4);
        };
        let port = self.listen(now)?;
        let (service, client) = (&self.service, self.control.peer().ip());
        let advertised = service.public_address.advertised(client, local, &service.limits.trusted);
        Ok(Reply::new(
            Code::PASSIVE,
            format!("Entering Passive Mode ({}).", host_port(advertised, port)),
        ))
    }

    pub(super) fn extended_passive(
        &mut self,
        wanted: ExtendedPassive,
        now: Instant,
    ) -> Result<Reply, Refusal> {
        let own = Protocol::of(self.control.local().ip());
        match wanted {
            ExtendedPassive::All => {
                self.parameters.extended_passive_only = true;
                return Ok(Reply::new(Code::OK, "Only EPSV is accepted from now on."));
            }
            ExtendedPassive::Only(protocol) if protocol != own => {
                return Err(Refusal::OtherProtocol(own));
            }
            ExtendedPassive::Any | ExtendedPassive::Only(_) => {}
        }
        let port = self.listen(now)?;
        Ok(Reply::new(
            Code::EXTENDED_PASSIVE,
            format!("Entering Extended Passive Mode (|||{port}|)"),
        ))
    }

    fn listen(&mut self, now: Instant) -> Result<u16, Refusal> {
        // The previous port is freed first: the range may have only one.
        self.route = None;
        let (local, peer) = (self.control.local(), self.control.peer().ip());
        // SECURITY: turns away connections that others have opened before the port is announced again.
        let spare = self.spare.take().filter(|spare| spare.listener.turn_away());
        let listener = match spare {
            Some(Spare { listener, .. }) => listener,
            None => {
                self.service.passive_ports.listen(local, peer).map_err(Refusal::NoPassivePort)?
            }
        };
        let port = listener.port();
        self.route = Some(Route::Passive { listener, until: self.route_deadline(now) });
        Ok(port)
    }

    /// Keeps a listener for the next transfer: opening a port costs as much as sending a small file. If ports are
    /// scarce, closes it at once.
    pub(super) fn keep_listener(&mut self, listener: Option<PassiveListener>, now: Instant) {
        if let Some(listener) = listener.filter(|_| !self.service.passive_ports.are_scarce()) {
            self.spare = Some(Spare { listener, until: now + SPARE_TIMEOUT });
        }
    }

    /// MODE: sets the mode. In stream mode no data connection outlives its transfer.
    pub(super) fn set_mode(&mut self, mode: Mode) -> Reply {
        self.parameters.mode = mode;
        if mode == Mode::Stream && matches!(self.route, Some(Route::Open { .. })) {
            self.route = None;
        }
        let text = match mode {
            Mode::Stream => "Mode set to S.",
            Mode::Block => "Mode set to B.",
        };
        Reply::new(Code::OK, text)
    }

    /// Checks that there is a route and that it is secure enough. A connection that the client has closed is no route.
    pub(super) fn check_route(&mut self) -> Result<(), Refusal> {
        if matches!(&self.route, Some(Route::Open { connection }) if connection.is_closed()) {
            self.route = None;
        }
        self.check_data_security()?;
        self.route.as_ref().map(drop).ok_or(Refusal::NoRoute)
    }

    fn route_deadline(&self, now: Instant) -> Instant {
        now + self.service.limits.data_connect_timeout
    }

    pub(super) fn restart(&mut self, offset: u64) -> Result<Reply, Refusal> {
        if offset > 0 && self.parameters.representation == Type::Ascii {
            return Err(Refusal::Marker("REST requires TYPE I."));
        }
        self.pending.restart = offset;
        Ok(Reply::new(Code::PENDING, format!("Restarting at {offset}.")))
    }
}
