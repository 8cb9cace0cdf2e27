//! The listener that clients connect to, and the loop that accepts them.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SendFlags, sockopt};

use super::address::canonical;
use super::pulse::Pulse;
use super::socket::open;
use crate::ftp::{Code, Reply};
use crate::sys::{Interest, Wakeup, is_ready, wait, wait_any};

/// The listen backlog: the number of connections that the kernel keeps between two accepts, enough for a burst of
/// thousands. The kernel limits it to `net.core.somaxconn`.
const BACKLOG: i32 = 8192;

/// The pause of the accept loop when no descriptor is left.
pub const PAUSE: Duration = Duration::from_millis(100);

/// The idle time after which a control connection is probed (TCP keepalive). A gateway forgets a connection that is
/// idle for a few minutes, as during a long transfer, so this is shorter. The default of Linux is two hours.
const KEEPALIVE_IDLE: Duration = Duration::from_mins(1);

/// The time between two unanswered probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// The number of unanswered probes after which the client counts as vanished.
const KEEPALIVE_PROBES: u32 = 5;

/// A signal that ends the accept loops.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<Wakeup>);

impl Shutdown {
    /// Creates a signal that is not rung yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Wakeup::new()?)))
    }

    /// Returns `true` if the signal was rung.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        is_ready(self.0.as_fd(), Interest::Readable).unwrap_or(true)
    }

    /// Waits until the signal is rung, at most for `timeout`; returns `true` if it was rung.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> bool {
        // An interrupting signal only shortens the wait.
        let _ready = wait(self.0.as_fd(), Interest::Readable, timeout);
        self.is_triggered()
    }

    /// Ends every loop that watches this signal, permanently.
    pub fn trigger(&self) {
        self.0.signal();
    }
}

impl AsFd for Shutdown {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Opens a listener. Without an address, it listens on every address, IPv6 and IPv4 on one socket, or on IPv4 only
/// where there is no IPv6.
pub fn bind(address: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    match address {
        Some(address) => listen(address, port),
        None => listen(Ipv6Addr::UNSPECIFIED.into(), port).or_else(|error| {
            if error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
                || error.kind() == io::ErrorKind::AddrNotAvailable
            {
                listen(Ipv4Addr::UNSPECIFIED.into(), port)
            } else {
                Err(error)
            }
        }),
    }
}

fn listen(address: IpAddr, port: u16) -> io::Result<TcpListener> {
    open(SocketAddr::new(address, port), BACKLOG, prepare_clients)
}

/// A spare descriptor. When no other descriptor is left, it is closed for a moment, so that a client can be accepted
/// and sent the reason why it is refused.
#[derive(Debug)]
pub struct Reserve(Option<File>);

impl Reserve {
    /// Opens the spare descriptor.
    #[must_use]
    pub fn new() -> Self {
        Self(Self::open())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "/dev/null is a descriptor like any other, and no client names it"
    )]
    fn open() -> Option<File> {
        File::open("/dev/null").ok()
    }

    /// Accepts one connection and refuses it.
    fn refuse_one(&mut self, listener: &TcpListener) {
        self.give_up();
        if let Ok((stream, _)) = listener.accept() {
            refuse(&stream, "Out of resources; try again later.");
        }
        self.restore();
    }

    /// Closes the spare descriptor, to make room for another; returns `false` if it is closed already.
    pub fn give_up(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// Opens the spare descriptor again, if that is possible.
    pub fn restore(&mut self) {
        if self.0.is_none() {
            self.0 = Self::open();
        }
    }
}

impl Default for Reserve {
    fn default() -> Self {
        Self::new()
    }
}

/// Accepts clients and passes each, with its address, to `admit`, until `stop` is rung.
///
/// Without free descriptors it refuses one client, passes the error to `report` and pauses. It continues by itself when
/// there are descriptors again.
pub fn accept_all(
    listener: &TcpListener,
    stop: &Shutdown,
    pulse: &Pulse,
    reserve: &mut Reserve,
    mut admit: impl FnMut(TcpStream, SocketAddr),
    mut report: impl FnMut(&io::Error),
) -> io::Result<()> {
    // A listener that systemd has opened may be in blocking mode; see `socket::open`.
    listener.set_nonblocking(true)?;
    prepare_clients(listener.as_fd())?;
    loop {
        let ready = wait_any(&[listener.as_fd(), pulse.as_fd(), stop.0.as_fd()], None)?;
        if ready.last() == Some(&true) {
            return Ok(());
        }
        pulse.answer();
        match listener.accept() {
            Ok((stream, peer)) => admit(stream, canonical(peer)),
            // The client has closed the connection before it was accepted.
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                if is_shortage(&error) {
                    reserve.refuse_one(listener);
                    report(&error);
                }
                if stop.wait(PAUSE) {
                    return Ok(());
                }
            }
        }
    }
}

/// Sets the options that each control connection needs, on the listener: on Linux, accepted sockets inherit them. Small
/// replies leave at once, urgent data (a Telnet Synch) stays in the stream, and a vanished client is noticed.
fn prepare_clients(listener: BorrowedFd<'_>) -> io::Result<()> {
    sockopt::set_tcp_nodelay(listener, true)?;
    sockopt::set_socket_oobinline(listener, true)?;
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(listener, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(listener, KEEPALIVE_PROBES)?;
    Ok(())
}

/// Returns `true` for an error after which the next accept may succeed at once.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | ConnectionAborted | ConnectionReset | Interrupted)
}

/// Sends a client one 421 reply with the reason why it is not served, without waiting.
pub fn refuse(stream: &TcpStream, reason: &str) {
    let mut line = Vec::new();
    Reply::new(Code::SERVICE_NOT_AVAILABLE, reason).encode(&mut line);
    // A client that has left already misses nothing.
    let _sent = rustix::net::send(stream, &line, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}

/// Returns `true` for an error caused by a shortage of descriptors, or of memory for one.
#[must_use]
pub fn is_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    shortages.iter().any(|shortage| error.raw_os_error() == Some(shortage.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_descriptors_one_client_is_refused_at_a_time() {
        let listener = bind(Some(Ipv4Addr::LOCALHOST.into()), 0).unwrap();
        let address = listener.local_addr().unwrap();
        let crowd: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        let mut reserve = Reserve::new();
        reserve.refuse_one(&listener);
        assert!(reserve.0.is_some(), "it is there for the next");
        // The other clients still wait: the accept loop pauses between two refusals.
        for _ in 1..crowd.len() {
            assert!(listener.accept().is_ok());
        }
        assert!(listener.accept().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock));
    }

    #[test]
    fn an_accepted_connection_is_probed_before_a_gateway_forgets_it() {
        let listener = bind(Some(Ipv4Addr::LOCALHOST.into()), 0).unwrap();
        let address = listener.local_addr().unwrap();
        let _client = TcpStream::connect(address).unwrap();
        let (stop, mut found) = (Shutdown::new().unwrap(), None);
        let trigger = stop.clone();
        let admit = |stream, _| {
            found = Some(stream);
            trigger.trigger();
        };
        let report = |error: &io::Error| panic!("{error}");
        let pulse = Pulse::new().unwrap();
        accept_all(&listener, &stop, &pulse, &mut Reserve::new(), admit, report).unwrap();
        let accepted = found.unwrap();
        assert!(sockopt::socket_keepalive(&accepted).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&accepted).unwrap(), KEEPALIVE_IDLE);
        assert_eq!(sockopt::tcp_keepintvl(&accepted).unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(sockopt::tcp_keepcnt(&accepted).unwrap(), KEEPALIVE_PROBES);
    }
}
