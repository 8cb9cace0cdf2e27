//! The hand-over of the listening sockets of a running server to its *successor*, a new process of the same user.
//!
//! The successor asks over the registration socket, receives the sockets, and starts. Both servers then accept. When the
//! successor serves, it reports that, and the earlier server, its *predecessor*, accepts no more and finishes its sessions.
//! The sockets stay open throughout, so no waiting connection is lost. If the successor ends before, the predecessor
//! continues.
//!
//! SECURITY: the credentials of both ends are checked as for every connection to the registration socket. A successor
//! that root starts also accepts the sockets of the user whose identity it will take, and of no other.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_acceptconn;

use super::control_client::{Running, SEPARATOR, ask_one, running};
use super::handover::{Channel, Of};
use super::request::{FAILED, Request, send, wait};
use crate::sys::Interest;

/// The command that asks for the listening sockets.
pub const TAKE_OVER: &str = "take-over";

/// The command that asks for the rest of the state: bans, failed logins, and what administrators have changed.
pub const STATE: &str = "state";

/// The maximum time between two messages of a predecessor.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum time for a successor to start.
const START_TIMEOUT: Duration = Duration::from_mins(5);

/// The maximum number of sockets.
const SOCKETS_MAX: usize = 1024;

/// The messages of a predecessor: a socket of its own, one that the service manager had opened, and the end of the list,
/// followed by the interval of the watchdog in microseconds.
const OWN: &[u8] = b"own";
const ACTIVATED: &[u8] = b"activated";
const END: &str = "end ";

/// The message of a successor that serves.
const SERVES: &[u8] = b"serves";

/// A listening socket that is handed over.
#[derive(Debug)]
pub struct HandedSocket {
    /// The socket.
    pub socket: OwnedFd,
    /// True if the service manager had opened it.
    pub is_activated: bool,
}

/// A running server, whose place this process takes.
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
    name: String,
    /// Its listening sockets, in its order.
    pub sockets: Vec<HandedSocket>,
    /// The interval in which the service manager expects a sign of life, if it does.
    pub watchdog: Option<Duration>,
}

impl Predecessor {
    /// Asks the server on this port for its sockets, at this address if one is given. Its user must be one of these.
    /// Returns `None` if there is no such server.
    ///
    /// # Errors
    /// One sentence: there are several servers, or the server refuses.
    pub fn ask(port: u16, at: Option<IpAddr>, users: &[u32]) -> Result<Option<Self>, String> {
        let mut found = running(port, Of::All);
        found.retain(|server| {
            let ip = server.identity.address.ip();
            users.contains(&server.user)
                && !server.identity.is_leaving
                && at.is_none_or(|at| ip == at || ip.is_unspecified())
        });
        match found.as_slice() {
            [] => Ok(None),
            [server] => Self::receive(server).map(Some),
            _ => Err(format!("several servers run on port {port}; select one with --bind.")),
        }
    }

    fn receive(server: &Running) -> Result<Self, String> {
        let failed = |error: io::Error| format!("the running server hands over nothing: {error}.");
        let channel = Channel::connect_to(&server.name).map_err(failed)?;
        let command = format!("text{SEPARATOR}{TAKE_OVER}");
        channel.send(command.as_bytes(), &[]).map_err(failed)?;
        let mut sockets = Vec::new();
        while sockets.len() < SOCKETS_MAX {
            wait(&channel, Interest::Readable, MESSAGE_TIMEOUT).map_err(failed)?;
            let message = channel.receive().map_err(failed)?;
            let (message, mut descriptors) =
                message.ok_or_else(|| failed(io::ErrorKind::UnexpectedEof.into()))?;
            let text = String::from_utf8_lossy(&message);
            if let Some(micros) = text.strip_prefix(END) {
                let watchdog = micros.parse().ok().map(Duration::from_micros);
                let name = server.name.clone();
                return Ok(Self { channel, name, sockets, watchdog });
            }
            if let Some((&FAILED, why)) = message.split_first() {
                return Err(format!(
                    "the running server hands over nothing: {}",
                    String::from_utf8_lossy(why)
                ));
            }
            let socket = descriptors.pop().filter(|socket| socket_acceptconn(socket) == Ok(true));
            let socket = socket.ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
            sockets.push(HandedSocket { socket, is_activated: message == ACTIVATED });
        }
        Err(failed(io::ErrorKind::InvalidData.into()))
    }

    /// Returns the state that administrators have changed, the bans and the failed logins, in JSON. From the request for its
    /// sockets on, the server refuses such changes.
    ///
    /// # Errors
    /// One sentence: the server does not answer.
    pub fn state(&self) -> Result<String, String> {
        ask_one(&self.name, &["json", STATE].join(SEPARATOR))
    }

    /// Returns a descriptor that hangs up when the server has ended.
    ///
    /// # Errors
    /// Returns the kernel's error when there is no descriptor left.
    pub fn end(&self) -> io::Result<OwnedFd> {
        self.channel.as_fd().try_clone_to_owned()
    }

    /// Tells the server that this process serves: it accepts no more clients.
    pub fn replace(self) {
        // A server that has ended meanwhile accepts no more anyway.
        let _sent = self.channel.send(SERVES, &[]);
    }
}

/// A process that has received the listening sockets, and starts.
#[derive(Debug)]
pub struct Successor(Channel);

impl Successor {
    /// Sends the sockets to the process that has asked for them.
    ///
    /// # Errors
    /// Returns the system's error; then the process does not start.
    pub fn offer(
        request: Request,
        sockets: &[(BorrowedFd<'_>, bool)],
        watchdog: Option<Duration>,
    ) -> io::Result<Self> {
        let channel = request.into_channel();
        for (socket, is_activated) in sockets {
            send(&channel, if *is_activated { ACTIVATED } else { OWN }, &[*socket])?;
        }
        let micros = watchdog.map(|time| time.as_micros().to_string()).unwrap_or_default();
        send(&channel, format!("{END}{micros}").as_bytes(), &[])?;
        Ok(Self(channel))
    }

    /// Waits until the successor serves.
    ///
    /// # Errors
    /// The reason why it does not.
    pub fn wait(&self, clock: impl Fn() -> Instant) -> Result<(), &'static str> {
        let until = clock() + START_TIMEOUT;
        let left = until.saturating_duration_since(clock());
        wait(&self.0, Interest::Readable, left).map_err(|_| "it did not start in time")?;
        match self.0.receive() {
            Ok(Some((message, _))) if message == SERVES => Ok(()),
            _ => Err("it has ended"),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test knows the time")]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use rustix::process::geteuid;

    use super::*;
    use crate::balancer::handover::RegistrationSocket;
    use crate::balancer::identity::ServerIdentity;

    /// The port of the name of a socket; no TCP listener is opened on it.
    const PORT: u16 = 3;

    /// Answers the question for the identity and one request, as a server does.
    fn predecessor(socket: &RegistrationSocket, sockets: &[&TcpListener]) -> Option<Successor> {
        loop {
            let channel = socket.accept().unwrap().unwrap();
            wait(&channel, Interest::Readable, MESSAGE_TIMEOUT).unwrap();
            let (message, _) = channel.receive().unwrap()?;
            let request = Request::new(channel, String::from_utf8(message).unwrap());
            if request.command == "where" {
                let address = SocketAddr::from(([127, 0, 0, 1], PORT));
                let identity =
                    ServerIdentity { address, process: 1, is_leaving: false, program: None };
                request.reply(&Ok(identity.to_string()));
            } else if sockets.is_empty() {
                request.reply(&Err("not now.".to_owned()));
                return None;
            } else {
                let sockets: Vec<_> = sockets.iter().map(|own| (own.as_fd(), true)).collect();
                return Successor::offer(request, &sockets, Some(Duration::from_secs(3))).ok();
            }
        }
    }

    #[test]
    fn a_successor_gets_the_sockets_and_says_when_it_serves() {
        let address = SocketAddr::from(([127, 0, 0, 1], PORT));
        let socket = RegistrationSocket::open(address).unwrap();
        let own = [geteuid().as_raw()];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        std::thread::scope(|scope| {
            for serves in [true, false] {
                let old = scope.spawn(|| {
                    let successor = predecessor(&socket, &[&listener]).unwrap();
                    successor.wait(Instant::now)
                });
                let found = Predecessor::ask(PORT, None, &own).unwrap().unwrap();
                assert_eq!(found.watchdog, Some(Duration::from_secs(3)));
                let [HandedSocket { socket, is_activated: true }] = found.sockets.as_slice() else {
                    panic!("{found:?}")
                };
                let taken = TcpListener::from(socket.try_clone().unwrap());
                assert_eq!(taken.local_addr().unwrap(), listener.local_addr().unwrap());
                if serves {
                    found.replace();
                } else {
                    drop(found);
                }
                assert_eq!(old.join().unwrap().is_ok(), serves);
            }
            let old = scope.spawn(|| predecessor(&socket, &[]));
            let refused = Predecessor::ask(PORT, None, &own).unwrap_err();
            assert!(refused.ends_with("not now."), "{refused}");
            assert!(old.join().unwrap().is_none());
        });
        let other = [own[0] + 1];
        assert!(matches!(
            std::thread::scope(|scope| {
                scope.spawn(|| socket.accept());
                Predecessor::ask(PORT, Some([127, 0, 0, 9].into()), &other)
            }),
            Ok(None)
        ));
    }
}
