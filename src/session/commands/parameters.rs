//! The settings of the next transfer: TYPE, MODE, PORT, PASV and their like, REST, RANG, ALLO, OPTS MLST.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::ftp::address::{Protocol, host_port};
use crate::ftp::command::{ExtendedPassive, Mode, Range, Type};
use crate::ftp::listing::Facts;
use crate::ftp::{Code, Reply};
use crate::session::context::Context;
use crate::session::parameters::{Pending, Route, Spare};
use crate::session::refusal::Refusal;

/// First port that is not reserved for the system. A client has no reason to name a lower one (RFC 2577 §3).
const SYSTEM_PORTS_END: u16 = 1024;

/// TYPE: sets the representation.
pub(in crate::session) fn set_type(cx: &mut Context, representation: Type) -> Reply {
    cx.data.parameters.representation = representation;
    cx.data.parameters.chosen_type = Some(representation);
    let text = match representation {
        Type::Ascii => "Type set to A.",
        Type::Image => "Type set to I.",
    };
    Reply::new(Code::OK, text)
}

/// OPTS MLST: selects the facts of MLSD and MLST.
pub(in crate::session) fn select_facts(cx: &mut Context, names: &str) -> Reply {
    let facts = &mut cx.data.parameters.facts;
    *facts = Facts::select(names);
    Reply::new(Code::OK, format!("MLST OPTS {}", facts.selection()).trim_end())
}

/// MODE: sets the mode. In stream mode no data connection outlives its transfer.
pub(in crate::session) fn set_mode(cx: &mut Context, mode: Mode) -> Reply {
    cx.data.parameters.mode = mode;
    let text = match mode {
        Mode::Stream => {
            cx.data.close_open_route();
            "Mode set to S."
        }
        Mode::Block => "Mode set to B.",
    };
    Reply::new(Code::OK, text)
}

/// PORT: routes the next data connection to an IPv4 port of the client.
pub(in crate::session) fn port(cx: &mut Context, to: SocketAddr) -> Result<Reply, Refusal> {
    connect_to(cx, to)?;
    Ok(Reply::new(Code::OK, "PORT accepted."))
}

/// EPRT: routes the next data connection to a port of the client.
pub(in crate::session) fn extended_port(
    cx: &mut Context,
    to: SocketAddr,
) -> Result<Reply, Refusal> {
    let own = Protocol::of(cx.control.peer().ip());
    if Protocol::of(to.ip()) != own {
        return Err(Refusal::OtherProtocol(own));
    }
    connect_to(cx, to)?;
    Ok(Reply::new(Code::OK, "EPRT accepted."))
}

/// Routes the next data connection to a port of the client.
///
/// SECURITY: accepts only the client's own address, and no system port, because the bounce attack needs one of the two.
fn connect_to(cx: &mut Context, to: SocketAddr) -> Result<(), Refusal> {
    if cx.data.parameters.extended_passive_only {
        return Err(Refusal::ExtendedPassiveOnly);
    }
    cx.data.route = None;
    // lftp sends `EPRT |2|::|port|` to name its own address.
    let itself = to.ip() == cx.control.peer().ip() || to.ip().is_unspecified();
    if !itself || to.port() < SYSTEM_PORTS_END {
        return Err(Refusal::ForeignAddress);
    }
    // The peer's address includes the scope that a link-local address needs.
    let port = to.port();
    let mut to = cx.control.peer();
    to.set_port(port);
    cx.data.route = Some(Route::Active { to, until: route_deadline(cx) });
    Ok(())
}

/// PASV: opens an IPv4 port for the next data connection.
pub(in crate::session) fn passive(cx: &mut Context) -> Result<Reply, Refusal> {
    if cx.data.parameters.extended_passive_only {
        return Err(Refusal::ExtendedPassiveOnly);
    }
    let IpAddr::V4(local) = cx.control.local().ip() else {
        return Err(Refusal::PassiveNeedsIpv4);
    };
    let port = listen(cx)?;
    let (service, client) = (&cx.service, cx.control.peer().ip());
    let advertised = service.public_address.advertised(client, local, &service.limits.trusted);
    let text = format!("Entering Passive Mode ({}).", host_port(advertised, port));
    Ok(Reply::new(Code::PASSIVE, text))
}

/// EPSV: opens a port for the next data connection.
pub(in crate::session) fn extended_passive(
    cx: &mut Context,
    wanted: ExtendedPassive,
) -> Result<Reply, Refusal> {
    let own = Protocol::of(cx.control.local().ip());
    match wanted {
        ExtendedPassive::All => {
            cx.data.parameters.extended_passive_only = true;
            return Ok(Reply::new(Code::OK, "Only EPSV is accepted from now on."));
        }
        ExtendedPassive::Only(protocol) if protocol != own => {
            return Err(Refusal::OtherProtocol(own));
        }
        ExtendedPassive::Any | ExtendedPassive::Only(_) => {}
    }
    let port = listen(cx)?;
    Ok(Reply::new(Code::EXTENDED_PASSIVE, format!("Entering Extended Passive Mode (|||{port}|)")))
}

fn listen(cx: &mut Context) -> Result<u16, Refusal> {
    // The previous port is freed first: the range may have only one.
    cx.data.route = None;
    let (local, peer) = (cx.control.local(), cx.control.peer().ip());
    // SECURITY: turns away connections that others have opened before the port is announced again.
    let spare = cx.data.spare.take().filter(|spare| spare.listener.turn_away());
    let listener = if let Some(Spare { listener, .. }) = spare {
        listener
    } else {
        let ports = &cx.service.passive_ports;
        let listener = ports.listen(local, peer).map_err(Refusal::NoPassivePort)?;
        cx.check_share(listener.descriptor())?;
        listener
    };
    let port = listener.port();
    cx.data.route = Some(Route::Passive { listener, until: route_deadline(cx) });
    Ok(port)
}

fn route_deadline(cx: &Context) -> Instant {
    cx.now + cx.service.limits.data_connect_timeout
}

/// REST: sets the offset at which the next transfer starts.
pub(in crate::session) fn restart(cx: &mut Context, restart: u64) -> Result<Reply, Refusal> {
    cx.data.marker(&Pending { restart, ..Pending::default() })?;
    cx.data.pending.restart = restart;
    Ok(Reply::new(Code::PENDING, format!("Restarting at {restart}.")))
}

/// RANG: sets the range that the next command covers.
pub(in crate::session) fn range(cx: &mut Context, range: Option<Range>) -> Reply {
    cx.data.pending.range = range;
    Reply::new(Code::PENDING, "Range accepted.")
}

/// ALLO: notes the size of the next upload.
pub(in crate::session) fn allocate(cx: &mut Context, size: u64) -> Reply {
    cx.data.pending.allocated = Some(size);
    Reply::new(Code::OK, "No allocation is necessary.")
}

/// ABOR between transfers: drops the route.
pub(in crate::session) fn abort(cx: &mut Context) -> Reply {
    cx.data.route = None;
    Reply::new(Code::NO_TRANSFER, "No transfer to abort.")
}
