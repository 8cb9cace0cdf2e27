//! The client of `ftpserver ctl`: finds the running servers, and sends a command to one of them. The command goes to the
//! Unix socket at which slave processes register.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::geteuid;

use super::handover::{Channel, Of, names, user_of};
use super::identity::{Program, ServerIdentity};
use super::request::receive_answer;
use crate::sys::wait_any;

/// The maximum time that a server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The interval of the question whether a server leaves.
const LEAVE_INTERVAL: Duration = Duration::from_millis(20);

/// The separator of the words of a command, so that a name may contain blanks. The first word is `text` or `json`.
pub const SEPARATOR: &str = "\u{1f}";

/// The first word of a command that a master sends to its slave processes.
pub const PART: &str = "part";

/// The command of a master that bans networks in a slave process: pairs of a network and its time in seconds, or 0 for a
/// ban without an end.
pub const ADOPT_BANS: &str = "adopt-bans";

/// The command of a master that asks a slave process for its sessions, as lines for programs.
pub const SESSIONS: &str = "sessions";

/// The command that asks for the identity of a server.
pub(super) const WHERE: &str = "where";

/// A running server: the name of its socket, its user and its identity.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) name: String,
    pub(super) user: u32,
    pub(super) identity: ServerIdentity,
}

/// The server that gets a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The server with this socket file.
    File(PathBuf),
    /// The server on a port.
    Port {
        /// The port, address and process.
        selection: Selection,
        /// The socket file of another server, for when none runs on the port.
        otherwise: Option<&'static Path>,
    },
}

/// The selection of one of several servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// The port.
    pub port: u16,
    /// The address, if one is given.
    pub at: Option<IpAddr>,
    /// The process ID, if one is given.
    pub process: Option<u32>,
}

/// Sends a command to a server, and returns the answer.
///
/// # Errors
/// Returns one sentence: no such server, several of them, or the reason why the command was not carried out.
pub fn ask(asked: &Asked, command: &str) -> Result<String, String> {
    match *asked {
        Asked::File(ref path) => ask_file(path, command),
        Asked::Port { selection, otherwise } => ask_port(selection, otherwise, command),
    }
}

/// Sends a command to the server on a port. Root reaches the servers of all users; its own are preferred. A server that
/// only finishes its sessions is not asked, unless it is the only one or is selected by its process.
fn ask_port(
    selection: Selection,
    otherwise: Option<&Path>,
    command: &str,
) -> Result<String, String> {
    let shows_all = command.ends_with("status");
    let running = selected(selection, shows_all);
    match (running.as_slice(), otherwise.filter(|path| path.exists())) {
        ([], Some(path)) => ask_file(path, command),
        ([], None) => Err(format!(
            "no ftpserver of this user is running on port {}; select another with --port.",
            selection.port
        )),
        ([server], _) => ask_one(&server.name, command),
        // `status` changes nothing, so all servers are shown.
        (servers, _) if shows_all => {
            let shown = servers.iter().map(|server| {
                Ok(format!("server {}\n{}", server.place(), ask_one(&server.name, command)?))
            });
            shown.collect::<Result<Vec<_>, String>>().map(|all| all.join("\n"))
        }
        (servers, _) => {
            let places: Vec<String> = servers.iter().map(Running::place).collect();
            Err(format!(
                "several servers run on port {}: {}; select one with --bind or --process.",
                selection.port,
                places.join(", ")
            ))
        }
    }
}

impl Running {
    /// Returns the address, user and process, for a person.
    fn place(&self) -> String {
        let Self { user, identity: ServerIdentity { address, process, is_leaving, .. }, .. } = self;
        let state = if *is_leaving { ", finishes its sessions" } else { "" };
        format!("{address} (user {user}, process {process}{state})")
    }

    fn is_at(&self, ip: IpAddr) -> bool {
        self.identity.address.ip() == ip
    }
}

/// Returns the process and the program of the selected server; `None` if there is no such server. It may not show its
/// program.
#[must_use]
pub fn process_and_program_of(selection: Selection) -> Option<(u32, Option<Program>)> {
    let found = selected(selection, false);
    found.first().map(|server| (server.identity.process, server.identity.program))
}

/// Waits until a server has ended or only finishes its sessions, so that commands go to its successor; at most
/// ten seconds.
pub fn wait_for_leave(selection: Selection, process: u32) {
    let (selection, until) =
        (Selection { process: Some(process), ..selection }, now() + ANSWER_TIMEOUT);
    while selected(selection, true).iter().any(|server| !server.identity.is_leaving)
        && now() < until
    {
        // If the wait fails, the next question comes sooner.
        let _ready = wait_any(&[], Some(LEAVE_INTERVAL));
    }
}

/// Returns the selected servers.
fn selected(selection: Selection, shows_all: bool) -> Vec<Running> {
    let own = geteuid();
    let mut found = running(selection.port, if own.is_root() { Of::All } else { Of::This });
    if selection.at.is_none() && found.iter().any(|server| server.user == own.as_raw()) {
        found.retain(|server| server.user == own.as_raw());
    }
    found.retain(|server| selection.at.is_none_or(|at| server.is_at(at)));
    match selection.process {
        Some(process) => found.retain(|server| server.identity.process == process),
        None if !shows_all && found.iter().any(|server| !server.identity.is_leaving) => {
            found.retain(|server| !server.identity.is_leaving);
        }
        None => {}
    }
    found
}

/// Returns the servers of a port that answer.
pub(super) fn running(port: u16, of: Of) -> Vec<Running> {
    let servers = names(port, of).into_iter().filter_map(|name| {
        let identity = ServerIdentity::read(&ask_one(&name, WHERE).ok()?)?;
        Some(Running { user: user_of(&name)?, name, identity })
    });
    servers.collect()
}

/// Connects to the master of this port. If there are several, connects to the one at this address, or at all addresses;
/// without an address, to the first. One that only finishes its sessions is left out.
///
/// # Errors
/// Returns the errors of [`Channel::connect`].
pub fn connect(port: u16, at: Option<IpAddr>) -> io::Result<Channel> {
    if names(port, Of::This).len() <= 1 {
        return Channel::connect(port);
    }
    let mut running = running(port, Of::This);
    running.retain(|server| {
        let ip = server.identity.address.ip();
        !server.identity.is_leaving && at.is_none_or(|at| ip == at || ip.is_unspecified())
    });
    let found = running.first().ok_or(io::ErrorKind::ConnectionRefused)?;
    Channel::connect_to(&found.name)
}

/// Sends a command to the server with this socket file.
fn ask_file(path: &Path, command: &str) -> Result<String, String> {
    let channel = Channel::connect_file(path).map_err(|error| {
        let place = path.display();
        match error.kind() {
            io::ErrorKind::PermissionDenied => format!(
                "{place}: permission denied; only root, the user of the server and the group of the file may use it."
            ),
            io::ErrorKind::NotFound => format!("{place}: no such socket; is the server running?"),
            io::ErrorKind::ConnectionRefused => format!("{place}: no server listens there."),
            _ => format!("{place}: {error}."),
        }
    })?;
    ask_at(&channel, command)
}

pub(super) fn ask_one(name: &str, command: &str) -> Result<String, String> {
    let gone = |_| "the server closed the connection.".to_owned();
    ask_at(&Channel::connect_to(name).map_err(gone)?, command)
}

fn ask_at(channel: &Channel, command: &str) -> Result<String, String> {
    let gone = |_| "the server closed the connection.".to_owned();
    channel.send(command.as_bytes(), &[]).map_err(gone)?;
    receive_answer(channel, now() + ANSWER_TIMEOUT, now)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the deadline of an answer, in the program of an administrator"
)]
fn now() -> Instant {
    Instant::now()
}
