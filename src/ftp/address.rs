//! Addresses of data connections: `PORT`/`PASV` (RFC 959 §4.1.2) and `EPRT`/`EPSV` (RFC 2428).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The network protocol number of EPRT and EPSV (RFC 2428 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// 1, Internet Protocol version 4.
    Ipv4,
    /// 2, Internet Protocol version 6.
    Ipv6,
}

impl Protocol {
    /// Returns the protocol of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }

    /// Parses its number.
    #[must_use]
    pub fn from_number(number: &[u8]) -> Option<Self> {
        match number {
            b"1" => Some(Self::Ipv4),
            b"2" => Some(Self::Ipv6),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ipv4 => "1",
            Self::Ipv6 => "2",
        })
    }
}

/// Formats `h1,h2,h3,h4,p1,p2`, the argument of PORT and of the reply to PASV.
#[must_use]
pub fn host_port(address: Ipv4Addr, port: u16) -> String {
    let [h1, h2, h3, h4] = address.octets();
    let [p1, p2] = port.to_be_bytes();
    format!("{h1},{h2},{h3},{h4},{p1},{p2}")
}

/// Parses `h1,h2,h3,h4,p1,p2`.
#[must_use]
pub fn parse_host_port(text: &[u8]) -> Option<SocketAddr> {
    let mut numbers =
        text.split(|byte| *byte == b',').map(|number| decimal::<u8>(number.trim_ascii()));
    let mut next = || numbers.next().flatten();
    let address = Ipv4Addr::new(next()?, next()?, next()?, next()?);
    let port = u16::from_be_bytes([next()?, next()?]);
    numbers.next().is_none().then_some(SocketAddr::new(address.into(), port))
}

/// Returns the port in the text of a 227 reply. Ignores its address on purpose: behind NAT it is often wrong, and a
/// client that connects to it can be directed anywhere.
#[must_use]
pub fn parse_passive_port(text: &str) -> Option<u16> {
    // Some servers omit the parentheses (RFC 1123 §4.1.2.6) or add blanks, and some write the address in another form.
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let port = |parts: &[&str]| {
        let [high, low] = parts else { return None };
        let end = low.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(low.len());
        let low = decimal(low.get(..end)?.as_bytes())?;
        Some(u16::from_be_bytes([decimal(high.as_bytes())?, low]))
    };
    let numbers = |parts: &[&str]| {
        let (first, rest) = parts.split_first()?;
        let (middle, last) = rest.split_at_checked(3)?;
        let start = first.rfind(|letter: char| !letter.is_ascii_digit()).map_or(0, |at| at + 1);
        decimal::<u8>(first.as_bytes().get(start..)?)?;
        middle.iter().all(|part| decimal::<u8>(part.as_bytes()).is_some()).then_some(())?;
        port(last)
    };
    let address = |parts: &[&str]| {
        let (first, last) = parts.split_first()?;
        last_word(first).trim_matches(['[', ']']).parse::<IpAddr>().ok()?;
        port(last)
    };
    let socket = || {
        let found = text.split_whitespace().find_map(|word| {
            last_word(word).trim_end_matches([')', '.']).parse::<SocketAddr>().ok()
        });
        found.map(|address| address.port())
    };
    let separated = || {
        let digits = text.split(|letter: char| !letter.is_ascii_digit());
        let numbers: Option<Vec<u8>> = digits
            .filter(|digits| !digits.is_empty())
            .map(|digits| decimal(digits.as_bytes()))
            .collect();
        let [_, _, _, _, high, low] = *numbers?.as_slice() else { return None };
        Some(u16::from_be_bytes([high, low]))
    };
    let found = parts.windows(6).rev().find_map(numbers);
    found
        .or_else(|| parts.windows(3).rev().find_map(address))
        .or_else(socket)
        .or_else(|| parse_extended_passive(text))
        .or_else(separated)
        .filter(|port| *port > 0)
}

/// Returns the last word of a text, where words also end at an opening parenthesis and at `=`.
fn last_word(text: &str) -> &str {
    text.rsplit([' ', '(', '=']).next().unwrap_or(text)
}

/// Formats `|protocol|address|port|`, the argument of EPRT.
#[must_use]
pub fn extended_port(address: SocketAddr) -> String {
    format!("|{}|{}|{}|", Protocol::of(address.ip()), address.ip(), address.port())
}

/// An error in an argument of EPRT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtendedPortError {
    /// An argument that is not of the form `|protocol|address|port|`: 501.
    Malformed,
    /// A protocol that is neither 1 nor 2: 522.
    Protocol,
}

/// Parses `|protocol|address|port|` with any delimiter of ASCII 33 to 126.
pub fn parse_extended_port(text: &[u8]) -> Result<SocketAddr, ExtendedPortError> {
    use ExtendedPortError::{Malformed, Protocol as Unknown};
    let [delimiter @ 33..=126, inner @ .., last] = text else { return Err(Malformed) };
    if delimiter != last {
        return Err(Malformed);
    }
    let mut fields = inner.split(|byte| byte == delimiter);
    let (Some(protocol), Some(address), Some(port), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(Malformed);
    };
    let address = str::from_utf8(address).map_err(|_| Malformed)?;
    let port = decimal(port).ok_or(Malformed)?;
    let address: IpAddr = match Protocol::from_number(protocol) {
        Some(Protocol::Ipv4) => address.parse::<Ipv4Addr>().map_err(|_| Malformed)?.into(),
        Some(Protocol::Ipv6) => address.parse::<Ipv6Addr>().map_err(|_| Malformed)?.into(),
        None if decimal::<u32>(protocol).is_some() => return Err(Unknown),
        None => return Err(Malformed),
    };
    Ok(SocketAddr::new(address, port))
}

/// Returns the port in the text of a 229 reply: `... (|||port|)`. Some servers omit the parentheses, or write their
/// address between the delimiters.
#[must_use]
pub fn parse_extended_passive(text: &str) -> Option<u16> {
    let bare = || {
        text.as_bytes().windows(3).enumerate().rev().find_map(|(at, window)| {
            let [first @ 33..=126, second, third] = window else { return None };
            if first != second || first != third || first.is_ascii_alphanumeric() {
                return None;
            }
            let rest = text.as_bytes().get(at + window.len()..)?;
            let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
            (rest.get(end) == Some(first)).then(|| decimal(rest.get(..end)?)).flatten()
        })
    };
    let with_address = || {
        let inner = text.rsplit_once('(')?.1.split_once(')')?.0;
        parse_extended_port(inner.as_bytes()).ok().map(|address| address.port())
    };
    bare().or_else(with_address).filter(|port| *port > 0)
}

/// Parses a plain decimal number: only digits, no sign.
#[must_use]
pub fn decimal<N: std::str::FromStr>(digits: &[u8]) -> Option<N> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn malformed_host_ports_are_refused() {
        for text in [
            "",
            "1,2,3,4,5",
            "1,2,3,4,5,6,7",
            "256,0,0,1,4,1",
            "-1,0,0,1,4,1",
            "1,2,3,4,5,6x",
            "1,2,3,4,,6",
        ] {
            assert_eq!(parse_host_port(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_passive_port_is_found_with_and_without_parentheses() {
        for text in [
            "Entering Passive Mode (127,0,0,1,4,1).",
            "Entering Passive Mode 127,0,0,1,4,1",
            "=127,0,0,1,4,1",
            "Entering Passive Mode (127, 0, 0, 1, 4, 1)",
            "Entering Passive Mode ( 127 ,0 ,0 ,1 ,4 ,1 )",
            "Entering Passive Mode 127 ,0,0,1,4,1.",
            "Entering Passive Mode 127 0 0 1 4 1",
            "Passive mode, listening on 127.0.0.1.4.1",
            "Entering Passive Mode (127.0.0.1,4,1)",
            "Entering Passive Mode (::1,4,1)",
            "Entering Passive Mode ([fe80::1], 4, 1)",
            "Entering Passive Mode (0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1,4,1)",
            "Entering Passive Mode (|||1025|)",
            "Entering Passive Mode (127.0.0.1:1025).",
            "Entering Passive Mode =[::1]:1025",
            "Ready, 3 users, (127,0,0,1,4,1), bye",
        ] {
            assert_eq!(parse_passive_port(text), Some(1025), "{text}");
        }
        for text in [
            "Entering Passive Mode",
            "(127,0,0,1,4)",
            "(127,0,0,1,400,1)",
            "(127,0,0,1,4,256)",
            "(127,0,0,1,0,0)",
            "1,2",
        ] {
            assert_eq!(parse_passive_port(text), None, "{text}");
        }
    }

    #[test]
    fn an_extended_port_takes_any_delimiter_and_names_what_is_wrong() {
        assert_eq!(
            parse_extended_port(b"|1|127.0.0.1|1025|"),
            Ok("127.0.0.1:1025".parse().unwrap())
        );
        assert_eq!(parse_extended_port(b"!2!::1!1025!"), Ok("[::1]:1025".parse().unwrap()));
        assert_eq!(parse_extended_port(b"|3|::1|1025|"), Err(ExtendedPortError::Protocol));
        for text in [
            "",
            "|",
            "||||",
            "|1|::1|1025|",
            "|2|127.0.0.1|5|",
            "|1|127.0.0.1|65536|",
            "|x|::1|5|",
            "|1|127.0.0.1|5",
        ] {
            assert_eq!(
                parse_extended_port(text.as_bytes()),
                Err(ExtendedPortError::Malformed),
                "{text}"
            );
        }
    }

    #[test]
    fn an_extended_passive_port_is_found() {
        assert_eq!(parse_extended_passive("Entering Extended Passive Mode (|||6446|)"), Some(6446));
        for text in ["Ok (!!!6446!).", "Ok |||6446|", "(|2|::1|6446|)", "(see) |||6446|."] {
            assert_eq!(parse_extended_passive(text), Some(6446), "{text}");
        }
        for text in ["(||6446|)", "(|||0|)", "(|||x|)", "(|||6446)", "Ok... 6446"] {
            assert_eq!(parse_extended_passive(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(v4: [u8; 4], v6: [u8; 16], port: u16) {
            let v4 = Ipv4Addr::from(v4);
            prop_assert_eq!(parse_host_port(host_port(v4, port).as_bytes()), Some(SocketAddr::new(v4.into(), port)));
            for address in [IpAddr::from(v4), IpAddr::from(v6)] {
                let address = SocketAddr::new(address, port);
                prop_assert_eq!(parse_extended_port(extended_port(address).as_bytes()), Ok(address));
            }
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _read = (parse_host_port(&bytes), parse_extended_port(&bytes).ok());
            let text = String::from_utf8_lossy(&bytes);
            let _read = (parse_passive_port(&text), parse_extended_passive(&text));
        }
    }
}
