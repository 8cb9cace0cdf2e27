//! Network I/O: listeners, the control connection, data connections, and copying between them and files.
//!
//! Sockets stay in blocking mode. A worker uses a socket only when it is ready. Its calls never wait (`MSG_DONTWAIT`),
//! or wait at most a millisecond (`SO_SNDTIMEO`, for sendfile, accept and connect).
//!
//! Depends on `ftp`. Not here: the meaning of a line, and permissions.

pub mod connection_limits;
pub mod control;
pub mod copy;
pub mod data;
pub mod listener;
pub mod passive;
pub mod public;
mod socket;
pub mod tls;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Returns an IPv4 client's address in IPv4 form, where a dual-stack listener reports it as `::ffff:1.2.3.4`. Other
/// addresses stay unchanged, with the scope that a link-local address needs.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// The number of leading bits of an IPv6 address that name its network: a client owns all addresses of one network.
const IPV6_NETWORK_BITS: u32 = 64;

/// Returns the address under which a client is counted: for IPv6 its network, because a client owns every address of
/// it.
#[must_use]
pub fn client_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - IPV6_NETWORK_BITS))).into()
        }
    }
}
