//! Connecting to a host: all its addresses are tried, and the first that answers wins (RFC 8305).

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};

use super::control::bound;
use super::endpoint::Endpoint;
use super::error::{ClientError, ErrorKind, reason};
use super::options::{Family, Options};
use super::proxy::Proxy;

/// Delay before the next address of a host is tried in parallel (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Interval at which a wait checks for an interrupt by the user.
const INTERRUPT_CHECK: Duration = Duration::from_millis(100);

/// Connects to the address of the server that answers first, and prepares the socket with `set_up`.
pub(super) fn dial<T>(
    server: &Endpoint,
    options: &Options,
    set_up: impl FnOnce(TcpStream) -> io::Result<T>,
) -> Result<T, ClientError> {
    let (next, proxy) = match &options.proxy {
        Some(proxy) => (&proxy.server, Some(proxy)),
        None => (server, None),
    };
    let addresses = resolve(&next.host, next.port, options.family)?;
    let stream = race(&addresses, options).map_err(|error| match error {
        Race::Interrupted => ClientError::interrupted(),
        Race::Lost(error) => no_connection(next, &addresses, &error, proxy),
    })?;
    if let Some(proxy) = proxy {
        bound(&stream, options.timeout)
            .and_then(|()| proxy.connect(&mut &stream, server))
            .map_err(|error| refused_by_proxy(proxy, server, &error))?;
    }
    set_up(stream).map_err(|error| no_connection(server, &addresses, &error, proxy))
}

/// Reports a connection that a proxy does not make.
pub(super) fn refused_by_proxy(proxy: &Proxy, server: &Endpoint, error: &io::Error) -> ClientError {
    let message = format!("{server}, by the proxy {}: {}", proxy.server, reason(error));
    ClientError::new(ErrorKind::NoConnection, message)
}

fn resolve(host: &str, port: u16, family: Family) -> Result<Vec<SocketAddr>, ClientError> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found = (host, port).to_socket_addrs().map_err(|_| {
        ClientError::new(ErrorKind::NoConnection, format!("{host}: no such host. Check the name."))
    })?;
    let mut addresses: Vec<SocketAddr> = found
        .filter(|address| match family {
            Family::Any => true,
            Family::Ipv4 => address.is_ipv4(),
            Family::Ipv6 => address.is_ipv6(),
        })
        .collect();
    addresses.dedup();
    if addresses.is_empty() {
        let wanted = if family == Family::Ipv4 { "IPv4" } else { "IPv6" };
        return Err(ClientError::new(
            ErrorKind::NoConnection,
            format!("{host} has no {wanted} address"),
        ));
    }
    Ok(addresses)
}

/// Reason why no address of a host was reached.
enum Race {
    Interrupted,
    Lost(io::Error),
}

/// Tries the addresses in parallel, each a little later than the one before, and returns the first connection.
fn race(addresses: &[SocketAddr], options: &Options) -> Result<TcpStream, Race> {
    let (sender, results) = bounded(addresses.len());
    let timeout = options.timeout.min(options.connect_timeout);
    let mut waiting = addresses.iter();
    let mut running = 0;
    let mut last_error = io::ErrorKind::NotFound.into();
    let mut next_start = now();
    loop {
        let now = now();
        if (now >= next_start || running == 0)
            && let Some(&address) = waiting.next()
        {
            let sender = sender.clone();
            // A connection made after the end of the race is dropped with the channel.
            thread::spawn(move || sender.send(TcpStream::connect_timeout(&address, timeout)));
            running += 1;
            next_start = now + HEAD_START;
        }
        match results.recv_timeout(INTERRUPT_CHECK) {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => {
                last_error = error;
                running -= 1;
                if running == 0 && waiting.len() == 0 {
                    return Err(Race::Lost(last_error));
                }
            }
            Err(RecvTimeoutError::Timeout) if options.interrupt.is_set() => {
                return Err(Race::Interrupted);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Race::Lost(last_error)),
        }
    }
}

/// Builds a message such as `localhost:2121: connection refused (::1, 127.0.0.1). Is ftpserver running there?`
fn no_connection(
    server: &Endpoint,
    addresses: &[SocketAddr],
    error: &io::Error,
    proxy: Option<&Proxy>,
) -> ClientError {
    let tried: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    let hint = match error.kind() {
        _ if proxy.is_some() => "Check the proxy in ftp_proxy or ALL_PROXY.",
        io::ErrorKind::ConnectionRefused => "Is ftpserver running there?",
        _ => "Check the host and the port.",
    };
    let message = format!("{server}: {} ({}). {hint}", reason(error), tried.join(", "));
    ClientError::new(ErrorKind::NoConnection, message).unreached()
}

#[expect(clippy::disallowed_methods, reason = "a person waits here: the clock is theirs")]
fn now() -> Instant {
    Instant::now()
}
