//! The other end of `ftpserver ctl`: finds the running servers, and sends one a command over the socket of its slave
//! processes.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::geteuid;

use super::handover::{Channel, Of, names, user_of};
use super::request::receive_answer;

/// The maximum time that a server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The separator of the words of a command, so that a name may contain blanks. The first word is `text` or `json`.
pub const SEPARATOR: &str = "\u{1f}";

/// The first word of a command that a master sends to its slave processes.
pub const PART: &str = "part";

/// The command of a master that bans networks in a slave process: pairs of a network and its time in seconds, or 0 for a
/// ban without an end.
pub const ADOPT_BANS: &str = "adopt-bans";

/// The command that asks for the address of a server.
pub(super) const WHERE: &str = "where";

/// A running server: the name of its socket, its user and its address.
#[derive(Debug)]
struct Running {
    name: String,
    user: u32,
    address: Option<IpAddr>,
}

/// The server that gets a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The server with this socket file.
    File(PathBuf),
    /// The server on a port.
    Port {
        /// The port.
        port: u16,
        /// The address, if several servers run on the port.
        at: Option<IpAddr>,
        /// The socket file of another server, for when none runs on the port.
        otherwise: Option<&'static Path>,
    },
}

/// Sends a command to a server, and returns the answer.
///
/// # Errors
/// Returns one sentence: no such server, several of them, or the reason why the command was not carried out.
pub fn ask(asked: &Asked, command: &str) -> Result<String, String> {
    match *asked {
        Asked::File(ref path) => ask_file(path, command),
        Asked::Port { port, at, otherwise } => ask_port(port, at, otherwise, command),
    }
}

/// Sends a command to the server on a port. Root reaches the servers of all users; its own are preferred.
fn ask_port(
    port: u16,
    at: Option<IpAddr>,
    otherwise: Option<&Path>,
    command: &str,
) -> Result<String, String> {
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
    match (running.as_slice(), otherwise.filter(|path| path.exists())) {
        ([], Some(path)) => ask_file(path, command),
        ([], None) => Err(format!(
            "no ftpserver of this user is running on port {port}; select another with --port."
        )),
        ([server], _) => ask_one(&server.name, command),
        // `status` changes nothing, so all servers are shown.
        (servers, _) if command.ends_with("status") => {
            let shown = servers.iter().map(|server| {
                Ok(format!("server {}\n{}", place(server), ask_one(&server.name, command)?))
            });
            shown.collect::<Result<Vec<_>, String>>().map(|all| all.join("\n"))
        }
        (servers, _) => {
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

fn ask_one(name: &str, command: &str) -> Result<String, String> {
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
