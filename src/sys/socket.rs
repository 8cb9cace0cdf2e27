//! Sockets that are created closed on exec, and options of TCP and of Unix sockets that only Linux has.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

#[cfg(feature = "server")]
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with,
    recv, socket_with, socketpair, sockopt,
};

/// The flag of a send that more data follows at once, which shares a packet.
pub(crate) const MORE: SendFlags = SendFlags::MORE;

/// The flag of a receive that closes received descriptors on exec.
pub(crate) const RECEIVED_CLOSE_ON_EXEC: RecvFlags = RecvFlags::CMSG_CLOEXEC;

/// Creates a TCP socket of the family of this address, in non-blocking mode.
pub(crate) fn tcp_socket(address: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family, SocketType::STREAM, flags, None)
}

/// Creates a Unix socket.
pub(crate) fn unix_socket(kind: SocketType) -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
}

/// Creates both ends of a Unix connection.
pub(crate) fn unix_pair(kind: SocketType) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
}

/// Accepts a connection.
pub(crate) fn accept(listener: impl AsFd) -> rustix::io::Result<OwnedFd> {
    accept_with(listener, SocketFlags::CLOEXEC)
}

/// Makes a connection use Reno, the simplest congestion control.
pub(crate) fn use_reno(socket: impl AsFd) -> rustix::io::Result<()> {
    sockopt::set_tcp_congestion(socket, "reno")
}

/// Sends only full packets, until the connection is closed or a fifth of a second has passed (`TCP_CORK`).
pub(crate) fn send_full_packets(socket: impl AsFd) -> rustix::io::Result<()> {
    sockopt::set_tcp_cork(socket, true)
}

/// Acknowledges received packets without delay (`TCP_QUICKACK`).
pub(crate) fn acknowledge_at_once(socket: impl AsFd) -> rustix::io::Result<()> {
    sockopt::set_tcp_quickack(socket, true)
}

/// Receives bytes without copying them, at most as many as `room` has; returns their number, 0 at the end.
pub(crate) fn discard(socket: impl AsFd, room: &mut [u8]) -> Result<usize, Errno> {
    recv(socket, room, RecvFlags::DONTWAIT | RecvFlags::TRUNC).map(|(_, count)| count)
}

/// Returns the abstract address of a name, which leaves no file behind.
pub(crate) fn abstract_name(name: &str) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new_abstract_name(name.as_bytes())?)
}

/// The process at the other end of a Unix socket, as the kernel reports it.
#[cfg(feature = "server")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) user: u32,
    /// Absent for a process outside of the PID namespace.
    pub(crate) process: Option<u32>,
}

/// Returns the process that has connected a Unix socket, or created it.
#[cfg(feature = "server")]
pub(crate) fn peer(socket: impl AsFd) -> io::Result<Peer> {
    let found = getsockopt(&socket, PeerCredentials)?;
    let process = u32::try_from(found.pid()).ok().filter(|&number| number != 0);
    Ok(Peer { user: found.uid(), process })
}
