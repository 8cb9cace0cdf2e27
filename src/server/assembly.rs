//! The assembly of a server: from its settings and what the start has opened to the parts of a running server.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use jiff::Timestamp;

use crate::acceptors::Acceptors;
use crate::arrival::Arrivals;
use crate::balancer::Balancer;
use crate::balancer::local_backend::LocalBackend;
use crate::balancer::registry::{Registry, SlaveSetup};
use crate::balancer::request::Request;
use crate::control::{self, Controls};
use crate::events::Event;
use crate::log::Log;
use crate::settings::{Config, Listen};
use crate::startup::{Front, Startup};
use crate::status::{self, StatusListener};
use crate::storage::{Hosts, all_recovered};

use super::foundation::Foundation;
use super::monitoring::Monitored;
use super::slave_sessions::SlaveSessions;
use super::sweeper;
use super::threads::Threads;

/// A listener: its address, and its slave, if it belongs to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listener {
    /// The address that it listens on.
    pub address: SocketAddr,
    /// Number of the slave that it belongs to.
    pub slave: Option<u32>,
}

/// The parts of a running server.
#[derive(Debug)]
pub(super) struct Parts {
    /// The first field: listeners and threads end before all else.
    pub(super) threads: Threads,
    pub(super) listeners: Vec<Listener>,
    pub(super) backends: Vec<Arc<LocalBackend>>,
    /// The balancer of the main listeners.
    pub(super) balancer: Arc<Balancer>,
    pub(super) arrivals: Arrivals,
    pub(super) registry: Option<Arc<Registry>>,
    pub(super) foundation: Foundation,
    /// The queue of the commands of administrators.
    pub(super) commands: Sender<Request>,
}

/// Starts backends and listeners. Without slaves there is one backend, the master itself. With slaves, each has one
/// behind its own listener, and the main listeners balance clients over all of them.
pub(super) fn start(read: &Config, startup: Startup, log: Log) -> io::Result<Parts> {
    let Startup {
        root,
        hosts,
        acceptor,
        public,
        front,
        own,
        status,
        control,
        warnings,
        predecessor,
        state,
    } = startup;
    for (what, why) in &warnings {
        log.server(&Event::Warning { message: what, reason: why });
    }
    let config = effective(read, public, &front)?;
    let (commands, requests) = control::queue();
    let mut threads = Threads::new()?;
    let foundation = Foundation::new(read, &config, hosts, acceptor, log)?;
    let service = &foundation.service;
    if config.allows_writing() {
        sweeper::run(&threads.closing, service, &foundation.live, predecessor)?;
    } else {
        // Nothing is written here, so there is nothing to recover.
        all_recovered();
    }
    if let Some(name) = config.public_name.clone() {
        threads.renew_public_address(name, service.clone())?;
    }
    threads.watch_expiry(service)?;
    threads.watch_roots(service, &foundation.live, now)?;
    let main = front.first().map(|front| front.listener.local_addr()).transpose()?;
    let backends = start_backends(&config, own.len(), &foundation)?;
    control::adopt_state(&state, service, &foundation.live, now());
    let settings = foundation.live.effective().settings();
    let setup = SlaveSetup { settings, root: root.to_descriptor()? };
    let registry =
        main.and_then(|address| open_registry(address, setup, commands.clone(), &foundation));
    let balancer = Arc::new(Balancer::new(backends.clone(), registry.clone()));
    if let Some(registry) = registry.clone() {
        threads.run_registry(registry, Arc::clone(&balancer), service.clone(), now)?;
    }
    let arrivals = arrivals(&foundation, Arc::clone(&balancer));
    let (listeners, commands) = (Vec::new(), commands);
    let mut parts =
        Parts { threads, listeners, backends, balancer, arrivals, registry, foundation, commands };
    parts.accept_main(front)?;
    for (number, listener) in (1..).zip(own) {
        parts.accept_of_slave(number, listener)?;
    }
    if let Some((listener, token)) = status {
        parts.run_status(&config, listener, token.as_deref())?;
    }
    if let (Some(socket), Some(address)) = (control, main) {
        let requests = parts.commands.clone();
        let copy = socket.as_fd().try_clone_to_owned()?;
        let start = |closing| Ok(vec![socket.start(closing, address, requests, now)?]);
        parts.threads.accept(copy, start)?;
    }
    parts.run_control(requests)?;
    Ok(parts)
}

/// Starts a slave process: one backend, which gets its clients from a master, and a listener of its own if it has one.
pub(super) fn start_slave(
    config: &Config,
    hosts: Hosts,
    acceptor: Option<Arc<crate::net::tls::Acceptor>>,
    own: Option<TcpListener>,
    number: u32,
    log: Log,
) -> io::Result<Parts> {
    let (commands, requests) = control::queue();
    let threads = Threads::new()?;
    let foundation = Foundation::new(config, config, hosts, acceptor, log)?;
    let backend = foundation.start_backend(config, Some(number), config.limits.clients_max)?;
    let backends = vec![backend];
    let balancer = Arc::new(Balancer::new(backends.clone(), None));
    if let Some(name) = config.public_name.clone() {
        threads.renew_public_address(name, foundation.service.clone())?;
    }
    let arrivals = arrivals(&foundation, Arc::clone(&balancer));
    let (listeners, registry) = (Vec::new(), None);
    let mut parts =
        Parts { threads, listeners, backends, balancer, arrivals, registry, foundation, commands };
    if let Some(listener) = own {
        parts.accept_of_slave(number, listener)?;
    }
    parts.run_control(requests)?;
    Ok(parts)
}

/// Returns the settings with what the start has found out: ports, and the public address.
fn effective(
    read: &Config,
    public: Option<std::net::Ipv4Addr>,
    front: &[Front],
) -> io::Result<Config> {
    let mut config = read.clone();
    config.public_address = public.or(config.public_address);
    config.listen = front
        .iter()
        .map(|Front { listen, listener, .. }| {
            Ok(Listen { port: listener.local_addr()?.port(), ..*listen })
        })
        .collect::<io::Result<_>>()?;
    Ok(config)
}

/// Opens the registration socket for slave processes. Without it, the server still serves clients.
fn open_registry(
    address: SocketAddr,
    setup: SlaveSetup,
    commands: Sender<Request>,
    foundation: &Foundation,
) -> Option<Arc<Registry>> {
    let what = "slave processes cannot register";
    let events = &foundation.service.events;
    let limits = Arc::clone(foundation.live.connection_limits());
    Registry::open(address, setup, commands, limits)
        .inspect_err(|error| events.server(&Event::Error { message: what, error }))
        .ok()
}

/// Starts the backends: one for each slave, or one for the master itself.
fn start_backends(
    config: &Config,
    slaves: usize,
    foundation: &Foundation,
) -> io::Result<Vec<Arc<LocalBackend>>> {
    let numbers: Vec<Option<u32>> =
        if slaves == 0 { vec![None] } else { (1..).map(Some).take(slaves).collect() };
    // A full slave is skipped: none may have more than its share of all clients.
    let share = config.limits.clients_max.div_ceil(numbers.len());
    numbers.into_iter().map(|number| foundation.start_backend(config, number, share)).collect()
}

/// Returns the arrivals at the listeners of a balancer.
fn arrivals(foundation: &Foundation, balancer: Arc<Balancer>) -> Arrivals {
    Arrivals {
        balancer,
        connection_limits: Arc::clone(foundation.live.connection_limits()),
        pulses: Arc::clone(&foundation.pulses),
        events: Arc::clone(&foundation.service.events),
        proxies: foundation.proxies.clone(),
        clock: now,
    }
}

impl Parts {
    /// Begins to accept on the main listeners, which a reload can change.
    fn accept_main(&mut self, front: Vec<Front>) -> io::Result<()> {
        let arrivals = self.arrivals.clone();
        let accept = move |listener, stop| arrivals.listen(listener, None, stop);
        let acceptors = Arc::new(Acceptors::new(Box::new(accept)));
        self.threads.acceptors = Some(Arc::clone(&acceptors));
        for front in front {
            self.listeners.push(Listener { address: front.listener.local_addr()?, slave: None });
            acceptors.add(front)?;
        }
        self.foundation.live.use_acceptors(acceptors);
        Ok(())
    }

    /// Begins to accept on the listener of a slave, for the slave alone.
    fn accept_of_slave(&mut self, number: u32, listener: TcpListener) -> io::Result<()> {
        self.listeners.push(Listener { address: listener.local_addr()?, slave: Some(number) });
        let is_own = |backend: &&Arc<LocalBackend>| backend.number() == Some(number);
        let own = self.backends.iter().filter(is_own).cloned().collect();
        let arrivals = arrivals(&self.foundation, Arc::new(Balancer::new(own, None)));
        let copy = listener.as_fd().try_clone_to_owned()?;
        let start = |closing| Ok(vec![arrivals.listen(listener, Some(number), closing)?]);
        self.threads.accept(copy, start)
    }

    /// Serves metrics, health and the status page.
    fn run_status(
        &mut self,
        config: &Config,
        listener: StatusListener,
        token: Option<&str>,
    ) -> io::Result<()> {
        let own = self.listeners.iter().filter(|listener| listener.slave.is_some());
        let slaves = self.registry.clone();
        let slaves = slaves.map(|registry| SlaveSessions::start(registry, now)).transpose()?;
        let monitored = Monitored {
            slaves,
            live: Arc::clone(&self.foundation.live),
            service: self.foundation.service.clone(),
            backends: self.backends.clone(),
            balancer: Arc::clone(&self.balancer),
            acceptors: self.threads.acceptors.clone(),
            own: own.map(|listener| listener.address).collect(),
            shows_paths: config.status_paths,
        };
        let source = monitored.into_source(Arc::clone(&self.foundation.counters));
        let copy = listener.as_fd().try_clone_to_owned()?;
        self.threads.accept(copy, |closing| status::start(listener, token, source, &closing))
    }

    /// Carries out the commands of administrators.
    fn run_control(&self, requests: Receiver<Request>) -> io::Result<()> {
        let controls = Controls {
            service: self.foundation.service.clone(),
            live: Arc::clone(&self.foundation.live),
            balancer: Arc::clone(&self.balancer),
            backends: self.backends.clone(),
            registry: self.registry.clone(),
            acceptors: self.threads.acceptors.clone(),
            counting: Arc::default(),
            waiting: Arc::default(),
            handing_over: Arc::default(),
            begun: Timestamp::now(),
            clock: now,
        };
        controls.start(requests, self.threads.stop.clone())
    }
}

/// Returns the time for the loops of the acceptors, the registry and the stop.
#[expect(
    clippy::disallowed_methods,
    reason = "the loops of the acceptors and the stop: time enters here"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}
