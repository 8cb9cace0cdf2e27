//! The other end of `ftpserver ctl`: finds the running servers, and sends one a command over the socket of its slave
//! processes.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rustix::process::geteuid;

use super::handover::{Channel, Of, names, user_of};
use super::request::receive_answer;

/// The maximum time that a server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The separator of the words of a command, so that a name may contain blanks. The first word is `text` or `json`.
pub const SEPARATOR: &str = "\u{1f}";

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
        servers if command.ends_with("status") => {
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
    receive_answer(&channel, now() + ANSWER_TIMEOUT, now)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the deadline of an answer, in the program of an administrator"
)]
fn now() -> Instant {
    Instant::now()
}
