//! Connections to other programs of the administrator, such as an authenticator or a virus scanner. Each has one deadline
//! for everything.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{SocketAddrUnix, SocketType, connect};

use crate::sys::unix_socket;

/// A connection with a deadline: reads and writes after it fail with [`io::ErrorKind::TimedOut`].
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    until: Instant,
}

#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Connection {
    /// Connects to a Unix socket. The queue of the other end may be full, so this may take the whole time.
    pub fn unix(path: &Path, timeout: Duration) -> io::Result<Self> {
        let until = now() + timeout;
        let socket = unix_socket(SocketType::STREAM)?;
        set_socket_timeout(&socket, Timeout::Send, Some(timeout))?;
        let connected = connect(&socket, &SocketAddrUnix::new(path)?).map_err(io::Error::from);
        connected.map_err(|error| in_time(&error))?;
        Ok(Self { stream: Stream::Unix(UnixStream::from(socket)), until })
    }

    /// Ends the data of this end; the other end may still send.
    pub fn end_data(&self) -> io::Result<()> {
        match &self.stream {
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Connects to `HOST:PORT`; tries each address of the host.
    pub fn tcp(address: &str, timeout: Duration) -> io::Result<Self> {
        let until = now() + timeout;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, left(until)?) {
                Ok(stream) => return Ok(Self { stream: Stream::Tcp(stream), until }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = Some(left(self.until)?);
        let read = match &mut self.stream {
            Stream::Unix(stream) => {
                stream.set_read_timeout(left).and_then(|()| stream.read(buffer))
            }
            Stream::Tcp(stream) => stream.set_read_timeout(left).and_then(|()| stream.read(buffer)),
        };
        read.map_err(|error| in_time(&error))
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = Some(left(self.until)?);
        let written = match &mut self.stream {
            Stream::Unix(stream) => {
                stream.set_write_timeout(left).and_then(|()| stream.write(bytes))
            }
            Stream::Tcp(stream) => {
                stream.set_write_timeout(left).and_then(|()| stream.write(bytes))
            }
        };
        written.map_err(|error| in_time(&error))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the error of a call that ran into its time limit as such: the kernel reports it as one of waiting.
fn in_time(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        _ if error.kind() == io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        Some(number) => io::Error::from_raw_os_error(number),
        None => error.kind().into(),
    }
}

/// Returns the time that is left.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[expect(
    clippy::disallowed_methods,
    reason = "only threads that wait for another program connect to it"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test has a listener of its own")]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_silent_peer_is_given_up_at_the_deadline_however_it_is_reached() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _unix = UnixListener::bind(&path).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap().to_string();
        let soon = Duration::from_millis(50);
        for mut connection in
            [Connection::unix(&path, soon).unwrap(), Connection::tcp(&address, soon).unwrap()]
        {
            let error = connection.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert_eq!(connection.write(&[0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        let missing = Connection::unix(&folder.path().join("none"), soon).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
