//! The arrival of a client, before it has a session: accepted connection, address, permit, backend.
//!
//! The PROXY header of a proxy comes between the accept loop and [`Arrivals::admit`], in a task of a pool
//! ([`proxied`]): the accept loop waits for no client. Implicit TLS comes later, because its
//! handshake is that of AUTH TLS. It belongs to the session, which has the permit, and whose process has the keys.

mod proxied;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::balancer::Balancer;
use crate::events::{Event, Events, Refused};
use crate::net::admitted::AdmittedClient;
use crate::net::connection_limits::{ConnectionLimits, LimitReached};
use crate::net::descriptors::{FOR_SESSIONS, are_scarce};
use crate::net::listener::{self, Reserve, Shutdown};
use crate::net::pulse::{Pulse, Pulses};

use proxied::Proxied;
pub(crate) use proxied::Proxies;

/// The minimum interval between two lines in the log about a shortage of descriptors.
const REPORT_INTERVAL: Duration = Duration::from_mins(1);

/// The arrivals at the listeners of one balancer.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    pub(crate) balancer: Arc<Balancer>,
    pub(crate) connection_limits: Arc<ConnectionLimits>,
    /// The question to each accept loop whether it runs.
    pub(crate) pulses: Arc<Pulses>,
    pub(crate) events: Arc<Events>,
    pub(crate) proxies: Proxies,
    pub(crate) clock: fn() -> Instant,
}

impl Arrivals {
    /// Accepts the clients of a listener on a thread of its own, until `stop` is triggered. `slave` is the number of
    /// the slave that the listener belongs to.
    pub(crate) fn listen(
        &self,
        listener: TcpListener,
        slave: Option<u32>,
        stop: Shutdown,
    ) -> io::Result<JoinHandle<()>> {
        let address = listener.local_addr()?;
        let pulse = self.pulses.add()?;
        self.events.server(&Event::Listening { address, slave });
        let (arrivals, mut reserve) = (self.clone(), Reserve::new());
        let accept = move || arrivals.accept(&listener, &stop, &pulse, &mut reserve);
        std::thread::Builder::new().name(format!("acceptor {}", address.port())).spawn(accept)
    }

    fn accept(
        &self,
        listener: &TcpListener,
        stop: &Shutdown,
        pulse: &Pulse,
        reserve: &mut Reserve,
    ) {
        let receive = |stream, peer| self.receive(stream, peer);
        let mut reported: Option<Instant> = None;
        let report = |error: &io::Error| {
            let now = (self.clock)();
            if reported.is_none_or(|last| now >= last + REPORT_INTERVAL) {
                reported = Some(now);
                let message = if Errno::from_io_error(error) == Some(Errno::MFILE) {
                    "clients are refused; raise the limit of open files (LimitNOFILE=)"
                } else {
                    "clients are refused"
                };
                self.events.server(&Event::Error { message, error });
            }
        };
        match listener::accept_all(listener, stop, pulse, reserve, receive, report) {
            Ok(()) => pulse.end(),
            Err(error) => self.events.server(&Event::Error {
                message: "the listener has stopped accepting connections",
                error: &error,
            }),
        }
    }

    /// Receives a connection: of a proxy, after its header.
    fn receive(&self, stream: TcpStream, peer: SocketAddr) {
        if !self.proxies.contain(peer) {
            return self.admit(stream, peer);
        }
        let Some(awaited) = self.proxies.place() else {
            let reason = "Too many connections of proxies wait; try again later.";
            return self.refuse(&stream, peer, reason, Refused::ProxyHeader);
        };
        let arrivals = self.clone();
        let admit = move |stream, client: Result<SocketAddr, &str>| match client {
            Ok(client) => arrivals.admit(stream, client),
            // The reason is for the administrator: what is no proxy gets no reply.
            Err(reason) => {
                let cause = Refused::ProxyHeader;
                arrivals.events.server(&Event::Refused { peer, reason, cause });
            }
        };
        let task = Proxied::new(stream, peer, awaited, (self.clock)(), Box::new(admit));
        self.balancer.run(Box::new(task));
    }

    /// Gives a client a permit and hands it to a backend, or sends it the reason why not.
    pub(crate) fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let now = (self.clock)();
        let is_scarce = are_scarce(&stream, FOR_SESSIONS);
        match self.connection_limits.admit(peer.ip(), is_scarce, now) {
            Ok(permit) => {
                let client = AdmittedClient { stream, peer, permit };
                if let Err((client, unable)) = self.balancer.hand_over(client, now) {
                    self.refuse(&client.stream, peer, &unable.to_string(), Refused::NoSlave);
                }
            }
            Err(reached) => {
                let cause = match reached {
                    LimitReached::Clients => Refused::Clients,
                    LimitReached::Address => Refused::Address,
                    LimitReached::Descriptors => Refused::Descriptors,
                    LimitReached::Frequency => Refused::Frequency,
                    LimitReached::Banned => Refused::Banned,
                };
                self.refuse(&stream, peer, &reached.to_string(), cause);
            }
        }
    }

    fn refuse(&self, stream: &TcpStream, peer: SocketAddr, reason: &str, cause: Refused) {
        listener::refuse(stream, reason);
        self.events.server(&Event::Refused { peer, reason, cause });
    }
}
