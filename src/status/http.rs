//! A small HTTP/1.1 server for GET and HEAD: threads of its own, at most one request a connection, and a bound for
//! everything that a client sends or holds. `httparse` parses the requests.
//!
//! Written here because the blocking servers at hand start a thread for each client and have no deadline for a slow
//! request.

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::net::listener::Shutdown;
use crate::sys::wait_any;

/// Maximum size of a request in bytes.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// Maximum number of header lines in a request.
const HEADERS_MAX: usize = 64;

/// Maximum time for a client to send its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum time for a client to take some bytes of a response.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum number of connections. Further ones are closed.
const CONNECTIONS_MAX: usize = 32;

/// The headers of every response: nothing is kept, framed, guessed or sent to other sites.
const HEADERS: &str = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
                       X-Frame-Options: DENY\r\nCross-Origin-Resource-Policy: same-origin\r\nConnection: close\r\n";

/// The socket that the server accepts on.
#[derive(Debug)]
pub(crate) enum StatusListener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl AsFd for StatusListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(super) enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connection {
    fn set_timeouts(&self, read: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(read))?;
                stream.set_write_timeout(Some(WRITE_TIMEOUT))
            }
            Self::Unix(stream) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(read))?;
                stream.set_write_timeout(Some(WRITE_TIMEOUT))
            }
        }
    }
}

impl Read for Connection {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(bytes),
            Self::Unix(stream) => stream.read(bytes),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A request, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) path: String,
    pub(super) is_head: bool,
    pub(super) host: Option<String>,
    pub(super) authorization: Option<String>,
}

/// The code and reason of a response to a request that is not served.
pub(super) type Wrong = (u16, &'static str);

/// A function that serves a request on its connection.
pub(super) type Serve = dyn Fn(&Request, &mut Connection) -> io::Result<()> + Send + Sync;

/// Accepts until the server stops. Each connection has a thread, and there is a maximum of both.
pub(super) fn accept(listener: &StatusListener, stop: &Shutdown, serve: &Arc<Serve>) {
    let connections = Arc::new(AtomicUsize::new(0));
    while !stop.is_triggered() {
        let ready = wait_any(&[listener.as_fd(), stop.as_fd()], None).unwrap_or_default();
        if ready.first() != Some(&true) {
            continue;
        }
        let accepted = match listener {
            StatusListener::Tcp(listener) => {
                listener.accept().map(|(stream, _)| Connection::Tcp(stream))
            }
            StatusListener::Unix(listener) => {
                listener.accept().map(|(stream, _)| Connection::Unix(stream))
            }
        };
        let Ok(connection) = accepted else {
            // Without descriptors, an accept fails at once again and again.
            let _stopped = stop.wait(Duration::from_millis(100));
            continue;
        };
        let place = Place::take(&connections);
        if let Some(place) = place {
            let serve = Arc::clone(serve);
            let run = move || {
                let _place = place;
                // A client that breaks off gets no answer.
                let _served = converse(connection, &*serve);
            };
            // Without a thread, the connection is closed.
            let _started = std::thread::Builder::new().name("status client".to_owned()).spawn(run);
        }
    }
}

/// A place among the connections; given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(taken: &Arc<AtomicUsize>) -> Option<Self> {
        if taken.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS_MAX {
            taken.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Self(Arc::clone(taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn converse(mut connection: Connection, serve: &Serve) -> io::Result<()> {
    match receive(&mut connection)? {
        Ok(request) => serve(&request, &mut connection),
        Err((code, reason)) => respond(&mut connection, code, "text/plain", "", reason, false),
    }
}

/// Receives a request, in the time and the size that it may take.
fn receive(connection: &mut Connection) -> io::Result<Result<Request, Wrong>> {
    let until = now() + REQUEST_TIMEOUT;
    let mut bytes = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let left = until.saturating_duration_since(now());
        if left.is_zero() {
            return Ok(Err((408, "The request took too long.")));
        }
        connection.set_timeouts(left)?;
        let count = match connection.read(&mut piece) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        bytes.extend_from_slice(piece.get(..count).unwrap_or_default());
        match parse(&bytes) {
            Some(request) => return Ok(request),
            None if bytes.len() > REQUEST_BYTES_MAX => {
                return Ok(Err((431, "The request is too long.")));
            }
            None => {}
        }
    }
}

/// Parses a request; returns `None` if more bytes are to come.
fn parse(bytes: &[u8]) -> Option<Result<Request, Wrong>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Partial) => return None,
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => {
            return Some(Err((431, "The request has too many headers.")));
        }
        Err(_) => return Some(Err((400, "This is no request."))),
    }
    let is_head = match parsed.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Some(Err((405, "Only GET and HEAD are allowed."))),
    };
    let header = |name: &str| {
        let mut found =
            parsed.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        match (found.next(), found.next()) {
            (None, _) => Some(None),
            (Some(header), None) => {
                Some(Some(String::from_utf8_lossy(header.value).trim().to_owned()))
            }
            _ => None,
        }
    };
    let (Some(host), Some(authorization)) = (header("host"), header("authorization")) else {
        return Some(Err((400, "A header is given twice.")));
    };
    let path = parsed.path.unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default().to_owned();
    Some(Ok(Request { path, is_head, host, authorization }))
}

/// Returns whether the Host header names this machine by an address, or as localhost. A page of another site that has
/// changed the address of its name cannot send such a header.
pub(super) fn is_own_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Sends a response. `more` is further header lines, each with its end.
pub(super) fn respond(
    connection: &mut Connection,
    code: u16,
    kind: &str,
    more: &str,
    body: &str,
    is_head: bool,
) -> io::Result<()> {
    let reason = match code {
        200 => "OK",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Bad Request",
    };
    let allow = if code == 405 { "Allow: GET, HEAD\r\n" } else { "" };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {code} {reason}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {length}\r\n{HEADERS}{allow}{more}\r\n"
    );
    let body = if is_head { "" } else { body };
    connection.write_all(format!("{head}{body}").as_bytes())
}

/// Sends the head of a response without an end.
pub(super) fn begin_stream(connection: &mut Connection, kind: &str) -> io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}; charset=utf-8\r\n{HEADERS}\r\n");
    connection.write_all(head.as_bytes())
}

#[expect(clippy::disallowed_methods, reason = "a client has real time to send its request")]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Option<u16> {
        parse(text.as_bytes()).map(|parsed| parsed.map_or_else(|(code, _)| code, |_| 200))
    }

    #[test]
    fn only_get_and_head_are_requests_and_each_header_counts_once() {
        assert_eq!(code("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), Some(200));
        assert_eq!(code("HEAD /x?y HTTP/1.1\r\n\r\n"), Some(200));
        assert_eq!(code("GET / HTTP/1.1\r\nHost: a\r\n"), None);
        assert_eq!(code("POST / HTTP/1.1\r\n\r\n"), Some(405));
        assert_eq!(code("GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n"), Some(400));
        assert_eq!(code("USER anonymous\r\n\r\n"), Some(400));
        assert_eq!(code("\x16\x03\x01\r\n"), Some(400));
        let many = "a: b\r\n".repeat(HEADERS_MAX + 1);
        assert_eq!(code(&format!("GET / HTTP/1.1\r\n{many}\r\n")), Some(431));
    }

    #[test]
    fn a_host_is_an_address_or_localhost() {
        for host in ["127.0.0.1", "127.0.0.1:9121", "[::1]:9121", "LOCALHOST:1", "192.0.2.7"] {
            assert!(is_own_host(host), "{host}");
        }
        for host in ["", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80"] {
            assert!(!is_own_host(host), "{host}");
        }
    }
}
