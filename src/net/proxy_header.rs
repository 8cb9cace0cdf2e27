//! The PROXY header (versions 1 and 2), by which a proxy names its client at the beginning of a connection.
//!
//! The crate `ppp` parses a whole header. Here it is received: no byte behind it is taken from the socket, and it has a
//! maximum length.

use std::io;
use std::net::{SocketAddr, TcpStream};

use ppp::{v1, v2};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::address::canonical;

/// The maximum length of a header of version 1, which the protocol defines.
const TEXT_BYTES_MAX: usize = 107;

/// The length of a header of version 2 up to its addresses, and the place of the length of the rest.
const FIXED_BYTES: usize = 16;
const LENGTH_AT: usize = 14;

/// The maximum length of the addresses and other facts in a header of version 2.
const FACTS_BYTES_MAX: usize = 2048;

/// The beginning of a header of version 1.
const TEXT_START: &[u8] = b"PROXY ";

/// The client that a header names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// The address of the client.
    Client(SocketAddr),
    /// None: the proxy connects for itself, for example to check the server.
    Proxy,
}

/// A header that arrives.
#[derive(Debug, Default)]
pub struct ProxyHeader(Vec<u8>);

impl ProxyHeader {
    /// Receives what has arrived of the header. Returns `None` if more is to come.
    ///
    /// # Errors
    /// The reason why it is no header, or the error of the connection.
    pub fn receive(&mut self, stream: &TcpStream) -> io::Result<Option<Named>> {
        let mut bytes = [0; FACTS_BYTES_MAX];
        loop {
            let place = bytes.get_mut(..self.missing()?).unwrap_or_default();
            let count = match recv(stream, &mut *place, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((count, _)) => count,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let arrived = place.get(..count).unwrap_or_default();
            let end = if self.is_text(arrived) { line_end(arrived) } else { None };
            let own = end.unwrap_or(count);
            self.0.extend_from_slice(arrived.get(..own).unwrap_or_default());
            // Takes the bytes of the header, of those that were looked at.
            recv(stream, place.get_mut(..own).unwrap_or_default(), RecvFlags::DONTWAIT)?;
            if let Some(named) = self.parse()? {
                return Ok(Some(named));
            }
        }
    }

    fn is_text(&self, arrived: &[u8]) -> bool {
        self.0.first().or_else(|| arrived.first()) == TEXT_START.first()
    }

    /// Returns the number of bytes that may still belong to the header.
    fn missing(&self) -> io::Result<usize> {
        let had = self.0.len();
        let most = if had == 0 {
            FIXED_BYTES.min(TEXT_BYTES_MAX)
        } else if self.is_text(&[]) {
            TEXT_BYTES_MAX
        } else {
            self.binary_length().unwrap_or(FIXED_BYTES)
        };
        if most > FIXED_BYTES + FACTS_BYTES_MAX || most <= had {
            return Err(wrong("the PROXY header is too long"));
        }
        Ok((most - had).min(FACTS_BYTES_MAX))
    }

    /// Returns the length of a header of version 2, once it has arrived.
    fn binary_length(&self) -> Option<usize> {
        let length = self.0.get(LENGTH_AT..FIXED_BYTES)?.try_into().ok()?;
        Some(FIXED_BYTES + usize::from(u16::from_be_bytes(length)))
    }

    /// Parses the header if it is whole.
    fn parse(&self) -> io::Result<Option<Named>> {
        let bytes = self.0.as_slice();
        let start = if self.is_text(&[]) { TEXT_START } else { v2::PROTOCOL_PREFIX };
        let common = start.len().min(bytes.len());
        if bytes.get(..common) != start.get(..common) {
            return Err(wrong("the connection of a proxy does not begin with a PROXY header"));
        }
        if self.is_text(&[]) {
            return if bytes.ends_with(b"\n") { named_in_text(bytes).map(Some) } else { Ok(None) };
        }
        if self.binary_length() == Some(bytes.len()) {
            return named_in_binary(bytes).map(Some);
        }
        Ok(None)
    }
}

fn line_end(bytes: &[u8]) -> Option<usize> {
    Some(bytes.iter().position(|byte| *byte == b'\n')? + 1)
}

fn named_in_text(bytes: &[u8]) -> io::Result<Named> {
    let header = v1::Header::try_from(bytes).map_err(|_| malformed())?;
    Ok(match header.addresses {
        v1::Addresses::Tcp4(found) => client(found.source_address.into(), found.source_port),
        v1::Addresses::Tcp6(found) => client(found.source_address.into(), found.source_port),
        v1::Addresses::Unknown => Named::Proxy,
    })
}

fn named_in_binary(bytes: &[u8]) -> io::Result<Named> {
    let header = v2::Header::try_from(bytes).map_err(|_| malformed())?;
    Ok(match (header.command, header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(found)) => {
            client(found.source_address.into(), found.source_port)
        }
        (v2::Command::Proxy, v2::Addresses::IPv6(found)) => {
            client(found.source_address.into(), found.source_port)
        }
        // A client that cannot be named by an address counts as the proxy, as the protocol demands.
        _ => Named::Proxy,
    })
}

fn client(address: std::net::IpAddr, port: u16) -> Named {
    Named::Client(canonical(SocketAddr::new(address, port)))
}

fn malformed() -> io::Error {
    wrong("the PROXY header is malformed")
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    const V2_CLIENT: &[u8] =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc0\x00\x02\x01\x13\x88\x00\x15";
    const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_nodelay(true).unwrap();
        (client, listener.accept().unwrap().0)
    }

    /// Receives a header whose bytes come in pieces of this size, and a line behind it.
    fn receive(bytes: &[u8], size: usize) -> Result<Named, String> {
        let (mut client, mut server) = pair();
        let mut header = ProxyHeader::default();
        let mut named = None;
        for piece in bytes.chunks(size) {
            client.write_all(piece).unwrap();
            server.peek(&mut [0]).unwrap();
            named = header.receive(&server).map_err(|error| error.to_string())?;
        }
        client.write_all(b"NOOP\r\n").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = String::new();
        let named = match named {
            Some(named) => named,
            None => header.receive(&server).map_err(|error| error.to_string())?.unwrap(),
        };
        server.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "NOOP\r\n");
        Ok(named)
    }

    #[test]
    fn a_header_is_taken_and_nothing_behind_it_however_it_is_split() {
        let alice = Named::Client(SocketAddr::from(([192, 0, 2, 7], 5000)));
        let six = Named::Client("[2001:db8::7]:5000".parse().unwrap());
        let mut with_facts = V2_CLIENT.to_vec();
        with_facts[15] = 12 + 6;
        with_facts.extend(b"\x04\x00\x03\x00\x00\x00");
        for (bytes, named) in [
            (&b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 21\r\n"[..], alice),
            (b"PROXY TCP6 2001:db8::7 ::1 5000 21\r\n", six),
            (b"PROXY UNKNOWN\r\n", Named::Proxy),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Named::Proxy),
            (V2_CLIENT, alice),
            (&with_facts, alice),
            (V2_LOCAL, Named::Proxy),
        ] {
            for size in [1, 7, 16, bytes.len()] {
                assert_eq!(receive(bytes, size), Ok(named), "{bytes:?} by {size}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused_without_waiting_for_its_end() {
        let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; TEXT_BYTES_MAX]].concat();
        let mut large = V2_CLIENT.to_vec();
        large[14] = 0xff;
        for (bytes, reason) in [
            (&b"USER anonymous\r\n"[..], "does not begin"),
            (b"PASV\r\n", "does not begin"),
            (b"\x16\x03\x01\x02\x00", "does not begin"),
            (b"PROXY TCP4 192.0.2.7\r\n", "malformed"),
            (b"PROXY TCP4 192.0.2.700 192.0.2.1 5000 21\r\n", "malformed"),
            (b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x00", "malformed"),
            (&long, "too long"),
            (&large, "too long"),
        ] {
            let why = receive(bytes, bytes.len()).unwrap_err();
            assert!(why.contains(reason), "{bytes:?}: {why}");
        }
    }
}
