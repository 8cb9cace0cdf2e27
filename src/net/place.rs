//! A place to listen at: a TCP address, or the path of a Unix socket.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// A place to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An address and a port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Place {
    /// Returns whether only users of this machine reach the place.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{text}' is no place such as unix:/run/poolftpd/status, 9121 or 192.0.2.7:9121"
            )
        };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = std::path::absolute(path).map_err(|_| wrong())?;
            return Ok(Self::Unix(path));
        }
        if let Ok(port) = text.parse() {
            return Ok(Self::Tcp((Ipv4Addr::LOCALHOST, port).into()));
        }
        let address = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        address.as_deref().unwrap_or(text).parse().map(Self::Tcp).map_err(|_| wrong())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_path_a_port_of_this_machine_or_an_address() {
        let place =
            |text: &str| text.parse::<Place>().map(|place| (place.to_string(), place.is_local()));
        assert_eq!(place("9121"), Ok(("127.0.0.1:9121".to_owned(), true)));
        assert_eq!(place("localhost:1"), Ok(("127.0.0.1:1".to_owned(), true)));
        assert_eq!(place("[::1]:9121"), Ok(("[::1]:9121".to_owned(), true)));
        assert_eq!(place("0.0.0.0:9121"), Ok(("0.0.0.0:9121".to_owned(), false)));
        assert_eq!(place("unix:/run/a"), Ok(("unix:/run/a".to_owned(), true)));
        for text in ["", "unix:", "99999", "a.example:1", "192.0.2.7"] {
            assert!(place(text).is_err(), "{text}");
        }
    }
}
