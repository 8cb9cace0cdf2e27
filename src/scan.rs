//! The client of a virus scanner that uses the protocol of clamd: the content of a file is sent by INSTREAM.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::sockets::Connection;

/// Number of bytes of a chunk.
const CHUNK_BYTES: usize = 64 * 1024;

/// Maximum number of bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 4096;

/// The place where the scanner listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScannerAddress {
    /// A Unix socket.
    Unix(PathBuf),
    /// `HOST:PORT`.
    Tcp(String),
}

impl FromStr for ScannerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self::Tcp(text.to_owned()))
            }
            _ => Err(format!("'{text}' is neither the absolute path of a socket nor HOST:PORT")),
        }
    }
}

impl fmt::Display for ScannerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "{}", path.display()),
            Self::Tcp(address) => formatter.write_str(address),
        }
    }
}

/// The finding about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Nothing was found.
    Clean,
    /// A signature of this name was found.
    Infected(String),
    /// The program that is asked about uploads has refused it, for this reason.
    Refused(String),
}

/// A virus scanner.
#[derive(Debug)]
pub struct Scanner {
    address: ScannerAddress,
    timeout: Duration,
}

impl Scanner {
    /// Creates the client of a scanner. It connects for each file; `timeout` is the maximum time for one.
    #[must_use]
    pub fn new(address: ScannerAddress, timeout: Duration) -> Self {
        Self { address, timeout }
    }

    /// Connects to the scanner.
    fn connect(&self) -> io::Result<Connection> {
        match &self.address {
            ScannerAddress::Unix(path) => Connection::unix(path, self.timeout),
            ScannerAddress::Tcp(address) => Connection::tcp(address, self.timeout),
        }
    }

    /// Checks that the scanner can be reached.
    pub fn reach(&self) -> io::Result<()> {
        self.connect().map(drop)
    }

    /// Scans a file. Must run on a thread that may wait.
    ///
    /// # Errors
    /// When the file cannot be read, or the scanner does not answer in time, or reports an error.
    pub fn scan(&self, content: &mut impl Read) -> io::Result<Finding> {
        let wrong =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.address));
        let mut connection = self.connect().map_err(wrong)?;
        let sent = send(&mut connection, content);
        let mut answer = Vec::new();
        let read = connection.take(ANSWER_BYTES_MAX).read_to_end(&mut answer);
        // A scanner that has seen enough, or too much, answers before the end and closes. Its answer says more than the
        // error of sending.
        match (sent, read) {
            (Err(error), _) if answer.is_empty() => Err(error),
            (_, Err(error)) if answer.is_empty() => Err(error),
            (sent, _) => match parse(&answer)? {
                Finding::Clean => sent.map(|()| Finding::Clean),
                found => Ok(found),
            },
        }
    }
}

/// Sends a file in chunks, each after its length; a chunk of no bytes is the end.
fn send(connection: &mut impl Write, content: &mut impl Read) -> io::Result<()> {
    connection.write_all(b"zINSTREAM\0")?;
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let count = match content.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let length = u32::try_from(count).unwrap_or_default();
        connection.write_all(&length.to_be_bytes())?;
        if count == 0 {
            return Ok(());
        }
        connection.write_all(buffer.get(..count).unwrap_or_default())?;
    }
}

/// Reads an answer: `stream: OK`, `stream: NAME FOUND`, or an error.
fn parse(answer: &[u8]) -> io::Result<Finding> {
    let answer = String::from_utf8_lossy(answer);
    let answer = answer.trim_end_matches(['\0', '\n', '\r']);
    let found = answer.strip_prefix("stream: ").unwrap_or(answer);
    match found.strip_suffix(" FOUND") {
        Some(name) => Ok(Finding::Infected(name.to_owned())),
        None if found == "OK" => Ok(Finding::Clean),
        None if answer.contains("size limit exceeded") => Err(io::Error::other(
            "the file is larger than the scanner accepts; raise StreamMaxLength in clamd.conf",
        )),
        None => Err(io::Error::other(format!("the scanner answered '{}'", answer.escape_debug()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_finding_or_an_error() {
        assert_eq!(parse(b"stream: OK\0").unwrap(), Finding::Clean);
        let found = Finding::Infected("Eicar-Test-Signature".to_owned());
        assert_eq!(parse(b"stream: Eicar-Test-Signature FOUND\0").unwrap(), found);
        let large = parse(b"INSTREAM size limit exceeded. ERROR\0").unwrap_err().to_string();
        assert!(large.contains("StreamMaxLength"), "{large}");
        for wrong in [&b""[..], b"stream: ", b"UNKNOWN COMMAND\0", b"stream: x ERROR\0", b"\xff"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_file_is_sent_in_chunks_with_their_lengths() {
        let content = vec![7; CHUNK_BYTES + 3];
        let mut sent = Vec::new();
        send(&mut sent, &mut content.as_slice()).unwrap();
        let mut expected = b"zINSTREAM\0\0\x01\0\0".to_vec();
        expected.extend_from_slice(&content[..CHUNK_BYTES]);
        expected.extend_from_slice(b"\0\0\0\x03\x07\x07\x07\0\0\0\0");
        assert_eq!(sent, expected);
    }

    #[test]
    fn an_address_is_a_path_or_a_host_with_a_port() {
        for text in ["/run/clamav/clamd.ctl", "localhost:3310", "[::1]:3310"] {
            assert_eq!(text.parse::<ScannerAddress>().unwrap().to_string(), text);
        }
        for text in ["", "clamd", ":3310", "host:", "host:x", "run/clamd"] {
            assert!(text.parse::<ScannerAddress>().is_err(), "{text}");
        }
    }
}
