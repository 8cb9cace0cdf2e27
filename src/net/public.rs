//! The public address in replies to PASV, where it differs from the control connection's address. It is fixed, or the
//! address of a name, which is looked up again from time to time.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::units::{Networks, reason};

/// The maximum length of a DNS name.
const NAME_BYTES_MAX: usize = 253;

/// An address, or a name that has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressOrName {
    /// A fixed address.
    Address(Ipv4Addr),
    /// A name to look up.
    Name(String),
}

impl FromStr for AddressOrName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) if is_usable(address) => Ok(Self::Address(address)),
            Ok(IpAddr::V4(_)) => {
                Err(format!("'{text}' is not an address that clients can connect to"))
            }
            Ok(IpAddr::V6(_)) => {
                Err(format!("'{text}' is an IPv6 address, but PASV supports only IPv4"))
            }
            Err(_) if is_name(text) => Ok(Self::Name(text.to_owned())),
            Err(_) => Err(format!("'{text}' is neither an IPv4 address nor a name")),
        }
    }
}

impl fmt::Display for AddressOrName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(formatter),
            Self::Name(name) => name.fmt(formatter),
        }
    }
}

/// Returns `true` for an address that clients can connect to.
fn is_usable(address: Ipv4Addr) -> bool {
    // 0.0.0.0/8 is this host, 240.0.0.0/4 is reserved and ends with the broadcast address.
    !(address.octets()[0] == 0 || address.is_multicast() || address.octets()[0] >= 240)
}

/// Returns `true` for a text that can be a DNS name; a mistyped address cannot.
fn is_name(text: &str) -> bool {
    let labels = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let last = labels.rsplit('.').next().unwrap_or_default();
    labels.len() <= NAME_BYTES_MAX
        && labels.split('.').all(is_label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

/// Looks a name up. It may take as long as the system's resolver takes, so it must not run on a worker.
///
/// # Errors
/// Returns the last part of a sentence.
pub fn look_up(name: &str) -> Result<Vec<Ipv4Addr>, String> {
    let found = (name, 0).to_socket_addrs().map_err(|error| complaint(&error))?;
    let addresses: Vec<Ipv4Addr> = found
        .filter_map(|found| match found.ip() {
            IpAddr::V4(address) if is_usable(address) => Some(address),
            _ => None,
        })
        .collect();
    if addresses.is_empty() { Err("it has no IPv4 address".to_owned()) } else { Ok(addresses) }
}

/// Returns the resolver's message without the words that every such message begins with.
fn complaint(error: &io::Error) -> String {
    let text = reason(error);
    text.rsplit(": ").next().unwrap_or(&text).to_owned()
}

/// The outcome of one look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewed {
    /// The address has changed.
    Changed(Ipv4Addr),
    /// The address is unchanged.
    Same,
    /// The look-up failed, and the one before had not; the last address stays in use.
    Failed(String),
    /// The look-up failed, like the one before.
    FailedAgain,
}

/// The public address, shared by all sessions.
#[derive(Debug, Default)]
pub struct PublicAddress {
    /// The address in bits; 0.0.0.0 where there is none.
    current: AtomicU32,
    /// The number of failed look-ups since the last success.
    failures: AtomicU32,
}

impl PublicAddress {
    /// Creates it with its first address, if there is one.
    #[must_use]
    pub fn new(address: Option<Ipv4Addr>) -> Self {
        let current = address.map_or(0, Ipv4Addr::to_bits);
        Self { current: AtomicU32::new(current), failures: AtomicU32::default() }
    }

    fn current(&self) -> Option<Ipv4Addr> {
        Some(Ipv4Addr::from_bits(self.current.load(Ordering::Acquire)))
            .filter(|address| !address.is_unspecified())
    }

    /// Applies the result of a look-up. The current address stays if it is among those found.
    pub fn renew(&self, found: Result<Vec<Ipv4Addr>, String>) -> Renewed {
        let found = match found {
            Ok(found) => found,
            Err(why) if self.failures.fetch_add(1, Ordering::AcqRel) == 0 => {
                return Renewed::Failed(why);
            }
            Err(_) => return Renewed::FailedAgain,
        };
        self.failures.store(0, Ordering::Release);
        let current = self.current();
        match found.first() {
            Some(first) if current.is_none_or(|current| !found.contains(&current)) => {
                self.current.store(first.to_bits(), Ordering::Release);
                Renewed::Changed(*first)
            }
            _ => Renewed::Same,
        }
    }

    /// Returns the address to announce to a client that connected from `client` to `local`.
    ///
    /// A client in a private network that connected to a private address gets that address, because it may not reach
    /// the public one from inside. This does not apply to a gateway, by whose address other clients come, nor if the
    /// public address is private.
    #[must_use]
    pub fn advertised(&self, client: IpAddr, local: Ipv4Addr, gateways: &Networks) -> Ipv4Addr {
        let Some(public) = self.current() else { return local };
        let IpAddr::V4(from) = client else { return public };
        let is_gateway = gateways.iter().any(|network| network.contains(&client));
        let is_inside = is_inner(from) && is_inner(local);
        if is_inside && !is_gateway && !is_inner(public) { local } else { public }
    }
}

fn is_inner(address: Ipv4Addr) -> bool {
    address.is_private() || address.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::networks;

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_one_that_clients_can_connect_to_and_all_else_is_a_name_or_wrong() {
        assert_eq!("192.0.2.7".parse(), Ok(AddressOrName::Address(ip("192.0.2.7"))));
        for name in ["ftp.example.net", "localhost", "a-b.example.", "x"] {
            assert_eq!(name.parse(), Ok(AddressOrName::Name(name.to_owned())), "{name}");
        }
        for wrong in [
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "240.0.0.1",
            "::1",
            "2001:db8::1",
            "",
            "1.2.3",
            "1.2.3.4.5",
            "300.1.1.1",
            "192.0.2.7,192.0.2.8",
            "a b",
            "a..b",
            ".",
            "192.0.2.7:21",
        ] {
            assert!(wrong.parse::<AddressOrName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_look_up_that_fails_changes_nothing_and_is_told_once() {
        let public = PublicAddress::new(Some(ip("192.0.2.1")));
        let advertised =
            || public.advertised(ip("198.51.100.1").into(), ip("10.0.0.1"), &Vec::new());
        assert_eq!(public.renew(Ok(vec![ip("192.0.2.2"), ip("192.0.2.1")])), Renewed::Same);
        let failed = Err("no such name".to_owned());
        assert_eq!(public.renew(failed.clone()), Renewed::Failed("no such name".to_owned()));
        assert_eq!(public.renew(failed.clone()), Renewed::FailedAgain);
        assert_eq!(advertised(), ip("192.0.2.1"));
        let other = ip("192.0.2.3");
        assert_eq!(public.renew(Ok(vec![other])), Renewed::Changed(other));
        assert_eq!(advertised(), other);
        assert!(matches!(public.renew(failed), Renewed::Failed(_)));
    }

    #[test]
    fn who_is_inside_is_told_the_inner_address() {
        let public = PublicAddress::new(Some(ip("203.0.113.5")));
        let advertised = |client: &str, local: &str, gateways: &str| {
            let gateways = networks(gateways).unwrap();
            public.advertised(client.parse().unwrap(), ip(local), &gateways).to_string()
        };
        assert_eq!(advertised("192.168.1.9", "192.168.1.2", "::1"), "192.168.1.2");
        assert_eq!(advertised("127.0.0.1", "127.0.0.1", "::1"), "127.0.0.1");
        assert_eq!(advertised("198.51.100.9", "192.168.1.2", "::1"), "203.0.113.5");
        assert_eq!(advertised("192.168.1.9", "203.0.113.5", "::1"), "203.0.113.5");
        assert_eq!(advertised("172.17.0.1", "172.17.0.2", "172.17.0.1"), "203.0.113.5");
        let inner = PublicAddress::new(Some(ip("10.1.1.1")));
        let inside = ip("127.0.0.1").into();
        assert_eq!(inner.advertised(inside, ip("127.0.0.2"), &Vec::new()), ip("10.1.1.1"));
        assert_eq!(
            PublicAddress::default().advertised(inside, ip("127.0.0.2"), &Vec::new()),
            ip("127.0.0.2")
        );
    }
}
