//! The functions that all sockets share: listening, and bounding the calls that could block a worker.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::net::sockopt;

use crate::sys::{tcp_socket, use_reno};

/// Opens a listening socket on this address; on `[::]` it accepts IPv4 clients, too. Listening sockets are the only
/// ones in non-blocking mode: a client that connects and resets at once could leave an accept waiting for the next
/// client. Accepted sockets block like all others.
///
/// `prepare` sets options that accepted connections inherit, before the first one can arrive.
pub(super) fn open(
    address: SocketAddr,
    backlog: i32,
    prepare: fn(BorrowedFd<'_>) -> io::Result<()>,
) -> io::Result<TcpListener> {
    let socket = tcp_socket(address)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, address.ip() != IpAddr::from(Ipv6Addr::UNSPECIFIED))?;
    }
    disable_pacing_on_loopback(&socket, address);
    prepare(socket.as_fd())?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, backlog)?;
    Ok(TcpListener::from(socket))
}

/// Turns off pacing on loopback, which has no congestion to control. Where BBR is the system's default, its pacing
/// takes half of the throughput there and much processor time. So such connections, and those that a listener on
/// loopback accepts, use Reno, the simplest algorithm.
pub(super) fn disable_pacing_on_loopback(socket: impl AsFd, address: SocketAddr) {
    if address.ip().to_canonical().is_loopback() {
        // A system without Reno uses another algorithm, which works, too.
        let _set = use_reno(socket);
    }
}

/// The maximum time that a call on a data socket may block a worker.
const CALL_TIMEOUT: Duration = Duration::from_millis(1);

/// Bounds every call on this socket that could wait: connect, sendfile, splice.
pub(super) fn bound_waits(socket: BorrowedFd<'_>) -> io::Result<()> {
    sockopt::set_socket_timeout(socket, sockopt::Timeout::Recv, Some(CALL_TIMEOUT))?;
    sockopt::set_socket_timeout(socket, sockopt::Timeout::Send, Some(CALL_TIMEOUT))?;
    Ok(())
}
