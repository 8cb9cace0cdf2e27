//! The parts that all backends of a server share: service, settings, counters.

use std::io;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::arrival::Proxies;
use crate::balancer::local_backend::LocalBackend;
use crate::events::{Event, Events, Observer};
use crate::log::Log;
use crate::net::pulse::Pulses;
use crate::net::tls::Acceptor;
use crate::pool::{FairPool, Pool};
use crate::reload::{CurrentService, Live};
use crate::session::{Checkers, Security, Service, Session};
use crate::settings::{Config, ConfigError, processors};
use crate::startup::spool;
use crate::status::Counters;
use crate::storage::Hosts;

/// Maximum number of threads that check passwords. Each check takes a processor, and 19 MiB, for some ten milliseconds.
const CHECKERS_MAX: usize = 2;

/// Number of threads that wait for the authenticator, each for one login.
const AUTHENTICATORS: usize = 8;

/// Number of threads that wait for the virus scanner, each for one file.
const SCANNERS: usize = 4;

/// Maximum number of files that wait for such a thread.
const SCANS_WAITING_MAX: usize = 1024;

/// Returns the number of threads that check passwords. With several processors, one is left to the users who are logged
/// in: with a thread on each, a command waits for a time slice of the scheduler, three milliseconds
/// (`stress/guessing.sh`).
fn checkers() -> usize {
    processors().saturating_sub(1).clamp(1, CHECKERS_MAX)
}

/// The parts that all backends of a server share.
#[derive(Debug)]
pub(super) struct Foundation {
    pub(super) service: Service,
    pub(super) live: Arc<Live>,
    /// The counters of the status server.
    pub(super) counters: Arc<Counters>,
    /// The question to each accept loop whether it runs.
    pub(super) pulses: Arc<Pulses>,
    /// The proxies whose connections begin with the address of the client.
    pub(super) proxies: Proxies,
}

impl Foundation {
    /// Starts the threads that all sessions share. `read` are the settings as they were read, `config` those in effect.
    pub(super) fn new(
        read: &Config,
        config: &Config,
        hosts: Hosts,
        acceptor: Option<Arc<Acceptor>>,
        log: Log,
    ) -> io::Result<Self> {
        let security = acceptor.map(|acceptor| Security {
            acceptor,
            required: config.require_tls,
            implicit_ports: config.implicit_ports(),
            resumption: config.resumption,
        });
        let log = Arc::new(log);
        let counters: Arc<Counters> = Arc::default();
        let mut observers: Vec<Arc<dyn Observer>> = vec![Arc::clone(&log) as _];
        if config.status.is_some() {
            observers.push(Arc::clone(&counters) as _);
        }
        let events = Arc::new(Events::new(observers));
        let of_hosts = config.virtual_hosts.iter().any(|host| host.auth_socket.is_some());
        let asks = config.auth_socket.is_some() || of_hosts;
        let authenticators = if asks { AUTHENTICATORS } else { 0 };
        let waiting_max = config.limits.logins_pending_max;
        let checkers = Checkers::start(checkers(), authenticators, waiting_max)?;
        let spool = spool(config).map_err(|ConfigError(what)| io::Error::other(what))?;
        let scanners = FairPool::start("scanner", SCANNERS, SCANS_WAITING_MAX)?;
        let service = Service::new(config, hosts, security, checkers, scanners, spool, events);
        let live = Arc::new(Live::new(read, config, log));
        let proxies = Proxies::new(config.proxy_from.clone());
        Ok(Self { service, live, counters, pulses: Arc::default(), proxies })
    }

    /// Starts a backend for at most `sessions_max` sessions, and lets a reload change it. `slave` is its number as a
    /// slave.
    pub(super) fn start_backend(
        &self,
        config: &Config,
        slave: Option<u32>,
        sessions_max: usize,
    ) -> io::Result<Arc<LocalBackend>> {
        let service =
            slave.map_or_else(|| self.service.clone(), |number| self.service.of_slave(number));
        let name = slave.map_or_else(|| "pool".to_owned(), |number| format!("slave {number}"));
        let meter = service.meter();
        let current: CurrentService = Arc::new(RwLock::new(Arc::new(service)));
        let newest = Arc::clone(&current);
        let greet = move |client, now| {
            let service = Arc::clone(&newest.read());
            let session = Session::greet(Arc::clone(&service), client, now);
            session.map(|session| Box::new(session) as _).inspect_err(|error| {
                service.events.server(&Event::Error { message: "cannot start a session", error });
            })
        };
        let gauge = move || (meter.transfers(), meter.bytes());
        let pool = Pool::start(&name, config.workers)?;
        let backend =
            LocalBackend::new(slave, pool, sessions_max, Box::new(greet), Box::new(gauge));
        self.live.add_backend(Arc::clone(&backend), current);
        Ok(backend)
    }
}
