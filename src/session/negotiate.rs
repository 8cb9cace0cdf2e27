//! How data will travel: TYPE and the facts of MLST, and where the next data connection comes from.

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

/// Ports below are the system's: a client has no business to send us there (RFC 2577 §3).
const SYSTEM_PORTS_END: u16 = 1024;

/// What TYPE and OPTS set.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    pub(super) representation: Type,
    /// The type that the client chose by TYPE.
    pub(super) chosen_type: Option<Type>,
    pub(super) mode: Mode,
    pub(super) facts: Facts,
    /// What HASH uses.
    pub(super) algorithm: Algorithm,
    /// EPSV ALL was said.
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

/// How long a passive port stays open for the next transfer. Clients that fetch many files ask for the next at once.
const SPARE_TIMEOUT: Duration = Duration::from_secs(1);

/// A passive port whose connection has come, kept for the next.
#[derive(Debug)]
pub(super) struct Spare {
    listener: PassiveListener,
    pub(super) until: Instant,
}

/// Where the next data connection comes from. Used once, and given back at its deadline.
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
    /// Block mode: the connection of the transfer before.
    Open {
        connection: DataConnection,
    },
}

impl Route {
    /// An open connection stays as long as its session.
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

    /// SECURITY: only to the client itself, and not to a port of the system: the bounce attack needs either.
    fn connect_to(&mut self, to: SocketAddr, now: Instant) -> Result<(), Refusal> {
        if self.parameters.extended_passive_only {
            return Err(Refusal::ExtendedPassiveOnly);
        }
        self.route = None;
        // lftp says `EPRT |2|::|port|` where it means itself.
        let itself = to.ip() == self.control.peer().ip() || to.ip().is_unspecified();
        if !itself || to.port() < SYSTEM_PORTS_END {
            return Err(Refusal::ForeignAddress);
        }
        // The peer's address with its scope, which a link-local one needs.
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
        let told = service.public_address.told(client, local, &service.limits.trusted);
        Ok(Reply::new(Code::PASSIVE, format!("Entering Passive Mode ({}).", host_port(told, port))))
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
                return Ok(Reply::new(Code::OK, "Only EPSV is taken from now on."));
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
        // The port of before is free again at once: the range may have only one.
        self.route = None;
        let (local, peer) = (self.control.local(), self.control.peer().ip());
        // SECURITY: nobody who has found the port waits there already.
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

    /// Opening a port costs as much as sending a small file. Where ports are few it goes back at once.
    pub(super) fn keep_listener(&mut self, listener: Option<PassiveListener>, now: Instant) {
        if let Some(listener) = listener.filter(|_| !self.service.passive_ports.are_scarce()) {
            self.spare = Some(Spare { listener, until: now + SPARE_TIMEOUT });
        }
    }

    /// MODE: in stream mode no data connection outlasts its transfer.
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

    /// Whether there is a way for data; a connection that the client has closed meanwhile is none.
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
            return Err(Refusal::Marker("REST needs TYPE I: an offset has no meaning in TYPE A."));
        }
        self.pending.restart = offset;
        Ok(Reply::new(Code::PENDING, format!("Restarting at {offset}.")))
    }
}
