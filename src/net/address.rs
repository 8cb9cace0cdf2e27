//! The address under which a client is known.

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
