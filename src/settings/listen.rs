//! A listener, and its text `[ADDRESS:]PORT[,tls]`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::kind::Kind;
use super::words::{Table, Words, key};

/// A listener for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Listen {
    /// The address; all addresses, if it is `None`.
    pub address: Option<IpAddr>,
    /// The port; 0 selects a free one.
    pub port: u16,
    /// True if TLS begins at once (implicit TLS).
    pub tls: bool,
}

/// The form of the table.
pub(super) const TABLE: Table = Table {
    name: "listen",
    row: "listen",
    first: key("address", Kind::Text),
    keys: &[key("port", Kind::Number), key("tls", Kind::Switch)],
};

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = Words::parse(text, &TABLE)?;
        let number = |text: &str| {
            text.parse().map_err(|_| format!("'{text}' is not a number from 0 to 65535"))
        };
        let given = words.read("port", number)?;
        let (address, port) = place(&words.first).map_err(|error| format!("address: {error}"))?;
        if given.is_some() && port.is_some() {
            return Err("port: the address has a port already".to_owned());
        }
        let port = given.or(port).ok_or("port is missing")?;
        Ok(Self { address, port, tls: words.is_on("tls") })
    }
}

/// Parses an address, a port, or both.
fn place(text: &str) -> Result<(Option<IpAddr>, Option<u16>), String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(place) = text.parse::<SocketAddr>() {
        Ok((Some(place.ip()), Some(place.port())))
    } else if let Ok(address) = bare.parse() {
        Ok((Some(address), None))
    } else if let Ok(port) = text.strip_prefix("*:").unwrap_or(text).parse() {
        Ok((None, Some(port)))
    } else if matches!(text, "" | "*") {
        Ok((None, None))
    } else {
        Err(format!("'{text}' is not an address with a port, such as 192.0.2.1:21 or [::]:21"))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => SocketAddr::new(address, self.port).fmt(formatter)?,
            None => self.port.fmt(formatter)?,
        }
        formatter.write_str(if self.tls { ",tls" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_an_address_and_a_port_and_may_begin_with_tls() {
        for (text, expected) in [
            ("21", "21"),
            ("*:21", "21"),
            (",port=21", "21"),
            ("192.0.2.1:21", "192.0.2.1:21"),
            ("192.0.2.1,port=990,tls", "192.0.2.1:990,tls"),
            ("[::]:990,tls", "[::]:990,tls"),
            ("::1,port=0", "[::1]:0"),
        ] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!(listen.to_string(), expected, "{text}");
            assert_eq!(expected.parse(), Ok(listen), "{text}");
        }
        for (text, expected) in [
            ("", "port is missing"),
            ("192.0.2.1", "port is missing"),
            ("192.0.2.1:21,port=22", "port: the address has"),
            ("host:21", "address: 'host:21' is not an address"),
            ("70000", "address: '70000'"),
            (",port=x", "port: 'x' is not"),
            ("21,tls=no", "'tls=no' is none of"),
        ] {
            let error = text.parse::<Listen>().unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
