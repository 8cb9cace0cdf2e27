//! Wires: listeners, the control connection's lines, data connections, and the copying between them and files.
//!
//! Sockets stay in blocking mode. A worker touches one only when it is ready, by calls that never wait
//! (`MSG_DONTWAIT`) or wait a millisecond at most (`SO_SNDTIMEO`, for sendfile, accept and connect).
//!
//! Depends on `ftp`. Not here: what a line means, who may open what.

pub mod control;
pub mod copy;
pub mod data;
mod expiry;
pub mod listener;
pub mod passive;
pub mod public;
mod resumption;
pub mod seats;
pub mod self_signed;
mod socket;
pub mod tls;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The address with an IPv4 client's own form, where a listener for both protocols shows it as `::ffff:1.2.3.4`. Others
/// stay as they are, with the scope that a link-local address needs.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// The bits of an IPv6 address that are its network's: a client has all addresses of one.
const IPV6_NETWORK_BITS: u32 = 64;

/// The address by which a client is counted: of IPv6 its network, of which it has every address.
#[must_use]
pub fn client_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - IPV6_NETWORK_BITS))).into()
        }
    }
}
