//! What every kind of socket here needs: to listen, to be looked at, and never to hold a worker.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// A listening socket on this address; on `[::]` it takes IPv4 clients, too. It is the one kind of socket that does not
/// block: a client that connects and resets at once could leave an accept waiting for the next one. What is accepted
/// blocks as all others.
///
/// `prepare` sets what the connections that it accepts are to have: before the first can come.
pub(super) fn open(
    address: SocketAddr,
    backlog: i32,
    prepare: fn(BorrowedFd<'_>) -> io::Result<()>,
) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, address.ip() != IpAddr::from(Ipv6Addr::UNSPECIFIED))?;
    }
    spare_loopback_pacing(&socket, address);
    prepare(socket.as_fd())?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, backlog)?;
    Ok(TcpListener::from(socket))
}

/// Loopback has no congestion to control. Where the system's own way is BBR, its pacing takes half of the throughput there
/// and a good part of the processor time, so such connections, and those that a listener there accepts, have the plainest.
pub(super) fn spare_loopback_pacing(socket: impl AsFd, address: SocketAddr) {
    if address.ip().to_canonical().is_loopback() {
        // A system without it has something else, and that works, too.
        let _set = sockopt::set_tcp_congestion(socket, "reno");
    }
}

/// The longest that a call on a data socket may hold a worker.
const CALL_TIMEOUT: Duration = Duration::from_millis(1);

/// Bounds every call on this socket that could wait: connect, sendfile, splice.
pub(super) fn bound_waits(socket: BorrowedFd<'_>) -> io::Result<()> {
    sockopt::set_socket_timeout(socket, sockopt::Timeout::Recv, Some(CALL_TIMEOUT))?;
    sockopt::set_socket_timeout(socket, sockopt::Timeout::Send, Some(CALL_TIMEOUT))?;
    Ok(())
}

/// Whether a socket can be read, written or accepted from now; a broken one can, and then says how it is broken.
pub(super) fn is_ready(socket: BorrowedFd<'_>, wanted: PollFlags) -> io::Result<bool> {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut [PollFd::new(&socket, wanted)], Some(&at_once)) {
        Err(Errno::INTR) => Ok(false),
        ready => Ok(ready? > 0),
    }
}
