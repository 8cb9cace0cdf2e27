//! The commands of `ftpserver ctl`, which an administrator sends to a running server over the slave processes' socket.

use std::fmt::Write;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::geteuid;

use super::backend::{Dispatcher, Load};
use super::handover::{Channel, Of, names, user_of};

/// The maximum time that a server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The prefix of an answer to a command that was not carried out.
const FAILED: &str = "error: ";

/// The command that asks for the address of a server.
pub(super) const WHERE: &str = "where";

/// A running server: the name of its socket, its user and its address.
#[derive(Debug)]
struct Running {
    name: String,
    user: u32,
    address: Option<IpAddr>,
}

/// Sends a command to the server on this port, at this address if one is given, and returns the answer. Root reaches
/// the servers of all users; its own are preferred.
///
/// # Errors
/// Returns one sentence: no such server, several of them, or the reason why the command was not carried out.
pub fn ask(port: u16, at: Option<IpAddr>, command: &str) -> Result<String, String> {
    let of = if geteuid().is_root() { Of::All } else { Of::This };
    let mut running = running(port, of);
    if let Some(at) = at {
        running.retain(|server| server.address == Some(at));
    } else if running.iter().any(|server| server.user == geteuid().as_raw()) {
        running.retain(|server| server.user == geteuid().as_raw());
    }
    let place = |server: &Running| {
        let address = server
            .address
            .map_or_else(|| "?".to_owned(), |ip| SocketAddr::new(ip, port).to_string());
        format!("{address} (user {})", server.user)
    };
    match running.as_slice() {
        [] => Err(format!(
            "no ftpserver of this user is running on port {port}; select another with --port."
        )),
        [server] => ask_one(&server.name, command),
        // `status` changes nothing, so all servers are shown.
        servers if command == "status" => {
            let shown = servers.iter().map(|server| {
                Ok(format!("server {}\n{}", place(server), ask_one(&server.name, command)?))
            });
            shown.collect::<Result<Vec<_>, String>>().map(|all| all.join("\n"))
        }
        servers => {
            let places: Vec<String> = servers.iter().map(place).collect();
            Err(format!(
                "several servers run on port {port}: {}; select one with --bind.",
                places.join(", ")
            ))
        }
    }
}

/// Returns the servers of a port that answer.
fn running(port: u16, of: Of) -> Vec<Running> {
    let servers = names(port, of).into_iter().filter_map(|name| {
        let answer = ask_one(&name, WHERE).ok()?;
        let address = answer.trim().parse::<SocketAddr>().ok();
        Some(Running { user: user_of(&name)?, name, address: address.map(|address| address.ip()) })
    });
    servers.collect()
}

/// Connects to the master of this port. If there are several, connects to the one at this address, or at all addresses;
/// without an address, to the first.
///
/// # Errors
/// Returns the errors of [`Channel::connect`].
pub fn connect(port: u16, at: Option<IpAddr>) -> io::Result<Channel> {
    let Some(at) = at.filter(|_| names(port, Of::This).len() > 1) else {
        return Channel::connect(port);
    };
    let mut running = running(port, Of::This);
    running.retain(|server| server.address.is_some_and(|ip| ip == at || ip.is_unspecified()));
    let found = running.first().ok_or(io::ErrorKind::ConnectionRefused)?;
    Channel::connect_to(&found.name)
}

fn ask_one(name: &str, command: &str) -> Result<String, String> {
    let gone = |_| "the server closed the connection.".to_owned();
    let channel = Channel::connect_to(name).map_err(gone)?;
    channel.send(command.as_bytes(), &[]).map_err(gone)?;
    let timeout = Timespec { tv_sec: ANSWER_TIMEOUT.as_secs().cast_signed(), tv_nsec: 0 };
    match poll(&mut [PollFd::new(&channel.as_fd(), PollFlags::IN)], Some(&timeout)) {
        Ok(1..) => {}
        _ => return Err("the server does not respond.".to_owned()),
    }
    let answer = channel
        .receive()
        .and_then(|answer| answer.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()));
    let (answer, _) =
        answer.map_err(|error| format!("the server closed the connection: {error}."))?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    match answer.strip_prefix(FAILED) {
        Some(why) => Err(why.to_owned()),
        None => Ok(answer),
    }
}

/// Returns the server's answer to a command.
pub(super) fn answer(command: &str, dispatcher: &dyn Dispatcher) -> String {
    let words: Vec<&str> = command.split_ascii_whitespace().collect();
    match words.as_slice() {
        ["status"] => table(&dispatcher.loads()),
        [verb @ ("drain" | "resume"), number] => {
            let draining = *verb == "drain";
            match number.parse() {
                Ok(number) if dispatcher.set_draining(number, draining) => {
                    let state =
                        if draining { "accepts no new clients" } else { "accepts new clients" };
                    format!("slave {number} {state}\n")
                }
                _ => format!("{FAILED}no such slave: {number}."),
            }
        }
        _ => format!("{FAILED}unknown command; use status, drain N or resume N."),
    }
}

fn table(loads: &[Load]) -> String {
    let mut text = "slave    process  sessions  transfers             bytes  state\n".to_owned();
    for load in loads {
        let name = load.slave.map_or_else(|| "-".to_owned(), |slave| slave.to_string());
        let process =
            load.process.map_or_else(|| "in master".to_owned(), |process| process.to_string());
        let state = if load.draining { "draining" } else { "serving" };
        // Writing to a String cannot fail.
        let _written = writeln!(
            text,
            "{name:<6} {process:>9}  {:>8}  {:>9}  {:>16}  {state}",
            load.sessions, load.transfers, load.bytes
        );
    }
    text
}
