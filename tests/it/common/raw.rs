//! A client of raw sockets: sends given lines, and returns what it receives.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::net::RecvFlags;
use rustix::net::sockopt::set_socket_linger;

use super::{PATIENCE, until};

pub(crate) struct RawClient {
    pub(crate) stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl RawClient {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).unwrap())
    }

    fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    /// Connects, reads the greeting, logs in as anonymous, and sets TYPE I.
    pub(crate) fn log_in(address: SocketAddr) -> Self {
        Self::log_in_as(address, "anonymous", "x")
    }

    /// Logs in as a user of a users file.
    pub(crate) fn log_in_as(address: SocketAddr, user: &str, password: &str) -> Self {
        let mut client = Self::greeted(address);
        let reply = client.try_log_in(user, password);
        assert!(reply.starts_with("230 "), "{reply}");
        assert!(client.ask("TYPE I").starts_with("200 "));
        client
    }

    /// Connects and reads the greeting.
    pub(crate) fn greeted(address: SocketAddr) -> Self {
        let mut client = Self::connect(address);
        assert!(client.line().starts_with("220 "));
        client
    }

    /// Connects from another address of this machine, and reads the greeting.
    pub(crate) fn greeted_from(from: SocketAddr, to: SocketAddr) -> Self {
        let mut client = Self::connect_from(from, to);
        assert!(client.line().starts_with("220 "));
        client
    }

    /// Connects from another address of this machine.
    pub(crate) fn connect_from(from: SocketAddr, to: SocketAddr) -> Self {
        let family = rustix::net::AddressFamily::INET;
        let socket = rustix::net::socket(family, rustix::net::SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &from).unwrap();
        rustix::net::connect(&socket, &to).unwrap();
        Self::of(TcpStream::from(socket))
    }

    /// Returns the reply to USER and PASS.
    pub(crate) fn try_log_in(&mut self, user: &str, password: &str) -> String {
        let reply = self.ask(&format!("USER {user}"));
        assert!(reply.starts_with("331 "), "{reply}");
        self.ask(&format!("PASS {password}"))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn say(&mut self, line: &str) {
        self.send(format!("{line}\r\n").as_bytes());
    }

    /// Returns the next line, without its end; empty if the server has closed the connection.
    pub(crate) fn line(&mut self) -> String {
        String::from_utf8_lossy(&self.raw_line()).into_owned()
    }

    pub(crate) fn raw_line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).unwrap();
        if line.ends_with(b"\r\n") {
            line.truncate(line.len() - 2);
        }
        line
    }

    /// Sends a line, and returns the last line of its reply.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.reply()
    }

    /// Returns the last line of the next reply.
    pub(crate) fn reply(&mut self) -> String {
        let first = self.line();
        let Some(code) = first
            .strip_suffix(first.get(4..).unwrap_or_default())
            .filter(|code| code.ends_with('-'))
        else {
            return first;
        };
        let last = code.replace('-', " ");
        loop {
            let line = self.line();
            if line.starts_with(&last) || line.is_empty() {
                return line;
            }
        }
    }

    /// Returns the address of a port opened by EPSV.
    pub(crate) fn extended_passive(&mut self) -> SocketAddr {
        let reply = self.ask("EPSV");
        let port = reply.rsplit('|').nth(1).unwrap_or_else(|| panic!("{reply}")).parse().unwrap();
        SocketAddr::new(self.stream.peer_addr().unwrap().ip(), port)
    }

    /// Opens a data connection with EPSV.
    pub(crate) fn open_data(&mut self) -> TcpStream {
        let address = self.extended_passive();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Listens for a data connection with PORT, to be accepted after the 150.
    pub(crate) fn listen(&mut self) -> TcpListener {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let IpAddr::V4(address) = listener.local_addr().unwrap().ip() else { unreachable!() };
        let [a, b, c, d] = address.octets();
        let [high, low] = listener.local_addr().unwrap().port().to_be_bytes();
        let reply = self.ask(&format!("PORT {a},{b},{c},{d},{high},{low}"));
        assert!(reply.starts_with("200 "), "{reply}");
        listener
    }

    /// Fetches a file over a new data connection.
    pub(crate) fn retrieve(&mut self, name: &str) -> Vec<u8> {
        let data = self.open_data();
        let reply = self.ask(&format!("RETR {name}"));
        assert!(reply.starts_with("150 "), "{reply}");
        let bytes = read_all(data);
        let reply = self.reply();
        assert!(reply.starts_with("226 "), "{reply}");
        bytes
    }

    /// Stores a file over a new data connection.
    pub(crate) fn store(&mut self, name: &str, bytes: &[u8]) {
        let mut data = self.open_data();
        let reply = self.ask(&format!("STOR {name}"));
        assert!(reply.starts_with("150 "), "{reply}");
        data.write_all(bytes).unwrap();
        drop(data);
        let reply = self.reply();
        assert!(reply.starts_with("226 "), "{reply}");
    }

    /// Begins to store, and resets the data connection once all these bytes have arrived.
    pub(crate) fn cut_off(&mut self, name: &str, bytes: &[u8]) {
        let data = self.open_data();
        let reply = self.ask(&format!("STOR {name}"));
        assert!(reply.starts_with("150 "), "{reply}");
        self.send_and_reset(data, bytes);
        let reply = self.reply();
        assert!(reply.starts_with("426 "), "{reply}");
    }

    /// Sends bytes over a data connection, and resets it once they have arrived.
    pub(crate) fn send_and_reset(&mut self, mut data: TcpStream, bytes: &[u8]) {
        data.write_all(bytes).unwrap();
        // STAT reports the number of bytes received.
        let all = format!(" {} bytes ", bytes.len());
        until("the bytes do not arrive", || self.ask("STAT").contains(&all));
        set_socket_linger(&data, Some(Duration::ZERO)).unwrap();
        drop(data);
    }

    /// Returns whether there is something to read.
    pub(crate) fn has_more(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        !self.reader.buffer().is_empty()
            || rustix::net::recv(&self.stream, &mut [0; 1], flags).is_ok()
    }

    /// Returns whether the server has closed the connection.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.reader.read(&mut [0]), Ok(0) | Err(_))
    }
}

pub(crate) fn read_all(mut data: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    data.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Reads a file in block mode up to its last block, and no further; checks that each marker is the offset.
pub(crate) fn read_blocks(data: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let mut header = [0; 3];
        data.read_exact(&mut header).unwrap();
        let mut block = vec![0; usize::from(u16::from_be_bytes([header[1], header[2]]))];
        data.read_exact(&mut block).unwrap();
        if header[0] & 16 != 0 {
            assert_eq!(String::from_utf8(block).unwrap(), bytes.len().to_string());
        } else {
            bytes.extend_from_slice(&block);
        }
        if header[0] & 64 != 0 {
            return bytes;
        }
    }
}
