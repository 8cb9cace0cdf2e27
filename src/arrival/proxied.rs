//! A connection of a proxy: a task that receives the PROXY header, before the client is admitted.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::net::proxy_header::{Named, ProxyHeader};
use crate::pool::{Class, Task, Turn, Watch};
use crate::units::Networks;

/// Maximum time for a header to arrive. A proxy sends it with the first packet; to send a lost one again takes up to three
/// seconds.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum number of connections whose headers have not arrived.
const HEADERS_AWAITED_MAX: usize = 1024;

/// The proxies, whose connections begin with a PROXY header.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies {
    networks: Networks,
    /// The number of connections whose headers have not arrived.
    awaited: Arc<AtomicUsize>,
}

impl Proxies {
    /// Creates the proxies of these networks.
    pub(crate) fn new(networks: Networks) -> Self {
        Self { networks, awaited: Arc::default() }
    }

    /// Returns whether this is the address of a proxy.
    pub(super) fn contain(&self, peer: SocketAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&peer.ip()))
    }

    /// Returns whether a header has not arrived.
    pub(crate) fn are_awaited(&self) -> bool {
        self.awaited.load(Ordering::Acquire) > 0
    }

    /// Returns a place among the connections whose headers have not arrived; `None` if there are too many.
    pub(super) fn place(&self) -> Option<Awaited> {
        if self.awaited.fetch_add(1, Ordering::AcqRel) >= HEADERS_AWAITED_MAX {
            self.awaited.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Awaited(Arc::clone(&self.awaited)))
    }
}

/// A place among the connections whose headers have not arrived, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Awaited(Arc<AtomicUsize>);

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The function that gets the connection, with the address of the client or the reason why there is none.
type Admit = Box<dyn FnOnce(TcpStream, Result<SocketAddr, &str>) + Send>;

/// A connection whose header arrives.
pub(super) struct Proxied {
    connection: Option<(TcpStream, Admit)>,
    proxy: SocketAddr,
    header: ProxyHeader,
    until: Instant,
    _awaited: Awaited,
}

impl Proxied {
    /// Begins to wait for the header of a connection of this proxy.
    pub(super) fn new(
        stream: TcpStream,
        proxy: SocketAddr,
        awaited: Awaited,
        now: Instant,
        admit: Admit,
    ) -> Self {
        let (header, until) = (ProxyHeader::default(), now + HEADER_TIMEOUT);
        Self { connection: Some((stream, admit)), proxy, header, until, _awaited: awaited }
    }

    /// Returns the address of the client, or the reason why there is none; `None` if more of the header is to come.
    fn receive(&mut self, now: Instant) -> Option<Result<SocketAddr, String>> {
        let (stream, _) = self.connection.as_ref()?;
        match self.header.receive(stream) {
            Ok(Some(Named::Client(client))) => Some(Ok(client)),
            Ok(Some(Named::Proxy)) => Some(Ok(self.proxy)),
            Ok(None) if now < self.until => None,
            Ok(None) => Some(Err("the PROXY header has not arrived in time".to_owned())),
            Err(error) => Some(Err(error.to_string())),
        }
    }
}

impl Task for Proxied {
    fn turn(&mut self, now: Instant, _: Class) -> Turn {
        let Some(outcome) = self.receive(now) else { return Turn::Park { until: self.until } };
        if let Some((stream, admit)) = self.connection.take() {
            admit(stream, outcome.as_ref().copied().map_err(String::as_str));
        }
        Turn::Done
    }

    fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        if let Some((stream, _)) = &self.connection {
            watch.readable(stream.as_fd(), Class::Interactive);
        }
    }
}
