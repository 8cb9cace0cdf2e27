//! Assembly of the server: root, accounts, pools, listeners, balancer; start, serve, stop.

mod monitoring;
mod sweeper;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use jiff::Timestamp;
use parking_lot::RwLock;

use crate::acceptors::Acceptors;
use crate::balancer::Balancer;
use crate::balancer::local_backend::LocalBackend;
use crate::balancer::registry::{Registry, SlaveSetup};
use crate::balancer::request::Request;
use crate::control::{self, Controls};
use crate::events::{Event, Events, Observer, Refused};
use crate::log::{Log, Writer};
use crate::net::canonical;
use crate::net::connection_limits::{ConnectionLimits, LimitReached};
use crate::net::listener::{self, Reserve, Shutdown};
use crate::net::public::{self, Renewed};
use crate::net::pulse::{Pulse, Pulses};
use crate::net::tls::Acceptor;
use crate::notify::Notifier;
use crate::pool::{FairPool, Pool};
use crate::reload::{CurrentService, Live, Source, reload, warn_of_expiry};
use crate::session::{Checkers, Security, Service, Session};
use crate::settings::{Config, ConfigError, Listen, processors};
use crate::startup::{Startup, acceptor, bind, cannot_start, hosts, spool};
use crate::status::{self, Metrics, StatusListener};
use crate::storage::{Hosts, Root, all_recovered};
use crate::watchdog::{Watchdog, Watched};

use monitoring::Monitored;

/// Interval between two lookups of the name whose address is in replies to PASV.
const LOOK_UP_INTERVAL: Duration = Duration::from_mins(1);

/// Interval between two warnings of a certificate that expires.
const EXPIRY_INTERVAL: Duration = Duration::from_hours(24);

/// Time that a stop may take beyond that of its transfers, before the service manager ends the process.
const STOP_RESERVE: Duration = Duration::from_secs(10);

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

/// A listener: its address, and its slave, if it belongs to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listener {
    /// The address that it listens on.
    pub address: SocketAddr,
    /// Number of the slave that it belongs to.
    pub slave: Option<u32>,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<Listener>,
    stop: Shutdown,
    /// The main listeners; a slave process has none.
    acceptors: Option<Arc<Acceptors>>,
    /// The question to each accept loop whether it runs.
    pulses: Arc<Pulses>,
    /// The service manager, and the check of the progress that is reported to it.
    manager: Option<(Arc<Notifier>, Watchdog)>,
    /// Threads that are joined at the end: those of slaves' listeners, the registry, and the expiry watch.
    threads: Vec<JoinHandle<()>>,
    backends: Vec<Arc<LocalBackend>>,
    /// The balancer of the main listeners.
    balancer: Arc<Balancer>,
    registry: Option<Arc<Registry>>,
    service: Service,
    live: Arc<Live>,
    /// Requests to the thread that reloads, once it has started.
    reloads: OnceLock<Sender<()>>,
    /// The counters of the status server.
    metrics: Arc<Metrics>,
    /// The queue of the commands of administrators.
    commands: Sender<Request>,
    /// The thread that writes the log, if it ends with the server. The last field: all events are logged before it ends.
    log_writer: Option<Writer>,
}

impl Server {
    /// Opens all resources and begins to accept.
    ///
    /// # Errors
    /// One sentence for the person at the terminal.
    pub fn start(config: &Config, log: Log) -> Result<Self, ConfigError> {
        Self::serve(config, Startup::open(config, Vec::new())?, log)
    }

    /// Begins to accept with resources that are already open.
    ///
    /// # Errors
    /// One sentence for the person at the terminal.
    pub fn serve(config: &Config, startup: Startup, log: Log) -> Result<Self, ConfigError> {
        Self::run(config, startup, log).map_err(|error| cannot_start(&error))
    }

    /// Starts a slave process. It serves the clients that [`Server::receive`] passes to it, and those on its own port,
    /// if it has one.
    ///
    /// # Errors
    /// One sentence for the log.
    pub fn start_slave(
        config: &Config,
        root: Root,
        number: u32,
        log: Log,
    ) -> Result<Self, ConfigError> {
        let own = if config.port == 0 { None } else { Some(bind(config.bind, config.port)?) };
        let hosts = hosts(config, Arc::new(root))?;
        let acceptor = acceptor(config)?;
        // The master has recovered the uploads, or is recovering them.
        all_recovered();
        let start = || {
            let (commands, requests) = control::queue();
            let mut server = Self::new(config, config, hosts, acceptor, log, commands)?;
            let backend = server.add_backend(config, Some(number), config.limits.clients_max)?;
            server.balancer = Arc::new(Balancer::new(vec![backend], None));
            if let Some(listener) = own {
                server.listen(listener, Some(number), Arc::clone(&server.balancer))?;
            }
            server.run_resolver(config)?;
            server.run_control(requests)?;
            Ok(server)
        };
        start().map_err(|error: io::Error| cannot_start(&error))
    }

    fn new(
        read: &Config,
        config: &Config,
        hosts: Hosts,
        acceptor: Option<Arc<Acceptor>>,
        log: Log,
        commands: Sender<Request>,
    ) -> io::Result<Self> {
        let security = acceptor.map(|acceptor| Security {
            acceptor,
            required: config.require_tls,
            implicit_ports: config.implicit_ports(),
            resumption: config.resumption,
        });
        let log = Arc::new(log);
        let metrics: Arc<Metrics> = Arc::default();
        let mut observers: Vec<Arc<dyn Observer>> = vec![Arc::clone(&log) as _];
        if config.status.is_some() {
            observers.push(Arc::clone(&metrics) as _);
        }
        let events = Arc::new(Events::new(observers));
        let authenticators = if config.auth_socket.is_some() { AUTHENTICATORS } else { 0 };
        let waiting_max = config.limits.logins_pending_max;
        let checkers = Checkers::start(checkers(), authenticators, waiting_max)?;
        let stop = Shutdown::new()?;
        let spool = spool(config).map_err(|ConfigError(what)| io::Error::other(what))?;
        let scanners = FairPool::start("scanner", SCANNERS, SCANS_WAITING_MAX)?;
        Ok(Self {
            listeners: Vec::new(),
            stop,
            acceptors: None,
            pulses: Arc::default(),
            manager: None,
            threads: Vec::new(),
            backends: Vec::new(),
            balancer: Arc::new(Balancer::new(Vec::new(), None)),
            registry: None,
            live: Arc::new(Live::new(read, config, log)),
            service: Service::new(config, hosts, security, checkers, scanners, spool, events),
            reloads: OnceLock::new(),
            metrics,
            commands,
            log_writer: None,
        })
    }

    /// Starts backends and listeners. Without slaves there is one backend, the master itself. With slaves, each has one
    /// behind its own listener, and the main listeners balance clients over all of them.
    fn run(config: &Config, startup: Startup, log: Log) -> io::Result<Self> {
        let Startup { root, hosts, acceptor, public, front, own, status, warnings } = startup;
        for (what, why) in &warnings {
            log.server(&Event::Warning { message: what, reason: why });
        }
        let read = config;
        let mut config = config.clone();
        config.public_address = public.or(config.public_address);
        config.listen = front
            .iter()
            .map(|(listen, listener)| Ok(Listen { port: listener.local_addr()?.port(), ..*listen }))
            .collect::<io::Result<_>>()?;
        let config = &config;
        let setup = SlaveSetup { settings: config.settings(), root: root.to_descriptor()? };
        let (commands, requests) = control::queue();
        let mut server = Self::new(read, config, hosts, acceptor, log, commands)?;
        if config.allows_writing() {
            sweeper::run(&server.stop, &server.service, &server.live)?;
        } else {
            // Nothing is written here, so there is nothing to recover.
            all_recovered();
        }
        server.run_resolver(config)?;
        server.run_expiry_watch()?;
        let main = front.first().map(|(_, listener)| listener.local_addr()).transpose()?;
        let registry = main.and_then(|address| server.open_registry(address, setup));
        let slaves = (1..).zip(&own).map(|(number, _)| Some(number));
        let numbers: Vec<Option<u32>> = if own.is_empty() { vec![None] } else { slaves.collect() };
        // A full slave is skipped: none may have more than its share of all clients.
        let share = config.limits.clients_max.div_ceil(numbers.len());
        let backends = numbers.into_iter().map(|number| server.add_backend(config, number, share));
        let backends = backends.collect::<io::Result<Vec<_>>>()?;
        server.balancer = Arc::new(Balancer::new(backends.clone(), registry.clone()));
        if let Some(registry) = registry {
            server.run_registry(registry)?;
        }
        server.accept_main(front)?;
        for ((number, listener), backend) in (1..).zip(own).zip(backends) {
            server.listen(listener, Some(number), Arc::new(Balancer::new(vec![backend], None)))?;
        }
        if let Some((listener, token)) = status {
            server.run_status(config, listener, token.as_deref())?;
        }
        server.run_control(requests)?;
        Ok(server)
    }

    /// Opens the registration socket for slave processes. Without it, the server still serves clients.
    fn open_registry(&self, address: SocketAddr, setup: SlaveSetup) -> Option<Arc<Registry>> {
        let opened = Registry::open(address, setup, self.commands.clone());
        let what = "slave processes cannot register";
        opened
            .inspect_err(|error| self.service.events.server(&Event::Error { message: what, error }))
            .ok()
    }

    fn run_registry(&mut self, registry: Arc<Registry>) -> io::Result<()> {
        self.registry = Some(Arc::clone(&registry));
        let (balancer, stop, service) =
            (Arc::clone(&self.balancer), self.stop.clone(), self.service.clone());
        let run = move || {
            if let Err(error) = registry.run(&*balancer, &stop, now) {
                service.events.server(&Event::Error {
                    message: "the registry of slaves has stopped",
                    error: &error,
                });
            }
        };
        self.threads.push(std::thread::Builder::new().name("registry".to_owned()).spawn(run)?);
        Ok(())
    }

    /// Looks up the name of the public address periodically. The thread is not joined at the end, because the system's
    /// resolver may take long.
    fn run_resolver(&self, config: &Config) -> io::Result<()> {
        let Some(name) = config.public_name.clone() else { return Ok(()) };
        let (stop, service) = (self.stop.clone(), self.service.clone());
        let run = move || {
            while !stop.wait(LOOK_UP_INTERVAL) {
                match service.public_address.renew(public::look_up(&name)) {
                    Renewed::Changed(address) => {
                        service.events.server(&Event::PublicAddress { name: &name, address });
                    }
                    Renewed::Failed(why) => service.events.server(&Event::Error {
                        message: "cannot look up the name of --public-address; keeping the last address",
                        error: &io::Error::other(why),
                    }),
                    Renewed::Same | Renewed::FailedAgain => {}
                }
            }
        };
        std::thread::Builder::new().name("resolver".to_owned()).spawn(run).map(drop)
    }

    /// Warns of certificates that expire soon, at the start and every day.
    fn run_expiry_watch(&mut self) -> io::Result<()> {
        if self.service.security.is_none() {
            return Ok(());
        }
        let (stop, service) = (self.stop.clone(), self.service.clone());
        let run = move || {
            warn_of_expiry(&service);
            while !stop.wait(EXPIRY_INTERVAL) {
                warn_of_expiry(&service);
            }
        };
        self.threads.push(std::thread::Builder::new().name("expiry".to_owned()).spawn(run)?);
        Ok(())
    }

    /// Carries out the commands of administrators.
    fn run_control(&self, requests: Receiver<Request>) -> io::Result<()> {
        let controls = Controls {
            service: self.service.clone(),
            live: Arc::clone(&self.live),
            balancer: Arc::clone(&self.balancer),
            backends: self.backends.clone(),
            registry: self.registry.clone(),
            acceptors: self.acceptors.clone(),
            begun: Timestamp::now(),
            clock: now,
        };
        controls.start(requests, self.stop.clone())
    }

    /// Carries out a command that the master of this slave process has passed on.
    pub fn carry_out(&self, request: Request) {
        if let Err(refused) = self.commands.try_send(request) {
            refused.into_inner().reply(&Err("too many commands wait.".to_owned()));
        }
    }

    /// Serves metrics, health and the status page.
    fn run_status(
        &mut self,
        config: &Config,
        listener: StatusListener,
        token: Option<&str>,
    ) -> io::Result<()> {
        let own = self.listeners.iter().filter(|listener| listener.slave.is_some());
        let monitored = Monitored {
            live: Arc::clone(&self.live),
            service: self.service.clone(),
            backends: self.backends.clone(),
            balancer: Arc::clone(&self.balancer),
            acceptors: self.acceptors.clone(),
            own: own.map(|listener| listener.address).collect(),
            shows_paths: config.status_paths,
        };
        let source = monitored.into_source(Arc::clone(&self.metrics));
        self.threads.extend(status::start(listener, token, source, &self.stop)?);
        Ok(())
    }

    /// Serves a client that a master has handed over.
    pub fn receive(&self, stream: TcpStream) {
        // A client that is already gone needs no session.
        if let Ok(peer) = stream.peer_addr() {
            admit(
                stream,
                canonical(peer),
                &self.service,
                self.live.connection_limits(),
                &self.balancer,
            );
        }
    }

    fn add_backend(
        &mut self,
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
        let greet = move |stream, peer, permit, now| {
            let service = Arc::clone(&newest.read());
            let session = Session::greet(Arc::clone(&service), stream, peer, permit, now);
            session.map(|session| Box::new(session) as _).inspect_err(|error| {
                service.events.server(&Event::Error { message: "cannot start a session", error });
            })
        };
        let gauge = move || (meter.transfers(), meter.bytes());
        let pool = Pool::start(&name, config.workers)?;
        let backend =
            LocalBackend::new(slave, pool, sessions_max, Box::new(greet), Box::new(gauge));
        self.backends.push(Arc::clone(&backend));
        self.live.add_backend(Arc::clone(&backend), current);
        Ok(backend)
    }

    /// Begins to accept on the main listeners, which a reload can change.
    fn accept_main(&mut self, front: Vec<(Listen, TcpListener)>) -> io::Result<()> {
        let (service, balancer) = (self.service.clone(), Arc::clone(&self.balancer));
        let limits = Arc::clone(self.live.connection_limits());
        let pulses = Arc::clone(&self.pulses);
        let accept = move |listener, stop| {
            let (balancer, limits) = (Arc::clone(&balancer), Arc::clone(&limits));
            accept_apart(listener, stop, None, service.clone(), limits, balancer, &pulses)
        };
        let acceptors = Arc::new(Acceptors::new(Box::new(accept)));
        for (listen, listener) in front {
            self.listeners.push(Listener { address: listener.local_addr()?, slave: None });
            acceptors.add(listen, listener)?;
        }
        self.live.use_acceptors(Arc::clone(&acceptors));
        self.acceptors = Some(acceptors);
        Ok(())
    }

    /// Begins to accept on the listener of a slave. Its clients are handed to this balancer.
    fn listen(
        &mut self,
        listener: TcpListener,
        slave: Option<u32>,
        balancer: Arc<Balancer>,
    ) -> io::Result<()> {
        self.listeners.push(Listener { address: listener.local_addr()?, slave });
        let limits = Arc::clone(self.live.connection_limits());
        let (stop, service) = (self.stop.clone(), self.service.clone());
        let pulses = Arc::clone(&self.pulses);
        self.threads.push(accept_apart(listener, stop, slave, service, limits, balancer, &pulses)?);
        Ok(())
    }

    /// Returns the listeners: the main ones first, then those of the slaves.
    #[must_use]
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Returns the address of the main listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let first = self.listeners.first();
        first.map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), |listener| listener.address)
    }

    /// Returns the port of the main listener.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address().port()
    }

    /// Makes the thread that writes the log end with the server.
    pub(crate) fn with_log_writer(mut self, writer: Writer) -> Self {
        self.log_writer = Some(writer);
        self
    }

    /// Returns the number of connected clients.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.live.connection_limits().taken()
    }

    /// Returns whether the maximum number of clients is connected.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.live.connection_limits().are_full()
    }

    /// Returns the balancer of the main listeners, which has the load of each slave and drains slaves.
    #[must_use]
    pub fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    /// Makes this function the source of the settings in a reload. Without one, a reload leaves them as they are.
    pub fn read_settings_from(&self, source: Source) {
        self.live.read_from(source);
    }

    /// Reports to this service manager from now on: that the server is ready, its state, its progress, and its stop.
    ///
    /// # Errors
    /// Returns the kernel's error when it refuses a thread.
    pub fn report_to(&mut self, notifier: Notifier) -> io::Result<()> {
        let notifier = Arc::new(notifier);
        let watched = Watched {
            backends: self.backends.clone(),
            pulses: Arc::clone(&self.pulses),
            balancer: Arc::clone(&self.balancer),
        };
        self.live.report_to(Arc::clone(&notifier));
        let watchdog = Watchdog::start(Arc::clone(&notifier), watched)?;
        self.manager = Some((notifier, watchdog));
        Ok(())
    }

    /// Reads settings, users and certificates again. A file that cannot be read changes nothing, and is logged.
    pub fn reload(&self) {
        // Each problem was logged.
        let _outcome = reload(&self.service, &self.live, self.registry.as_deref());
    }

    /// Reloads on a separate thread: a file may be on a disk that hangs, and the caller has more signals to handle.
    /// During a reload one further request waits, which covers all later ones.
    pub fn reload_apart(&self) {
        let requests = self.reloads.get_or_init(|| {
            let (sender, requests) = bounded(1);
            let (service, registry) = (self.service.clone(), self.registry.clone());
            let live = Arc::clone(&self.live);
            let reload = move || drop(reload(&service, &live, registry.as_deref()));
            let run = move || requests.iter().for_each(|()| reload());
            let spawned = std::thread::Builder::new().name("reloader".to_owned()).spawn(run);
            if let Err(error) = spawned {
                let what = "cannot start the reload thread";
                self.service.events.server(&Event::Error { message: what, error: &error });
            }
            sender
        });
        // If the channel is full, the request in it will read the newest files.
        let _asked = requests.try_send(());
    }

    /// Opens the files of the log again, after they were moved, here and in slave processes.
    pub fn reopen_log(&self) {
        self.live.log().reopen();
        if let Some(registry) = &self.registry {
            registry.send_to_slaves(b"reopen");
        }
    }

    /// Stops accepting, lets transfers finish within the configured time, and ends.
    pub fn stop(mut self) {
        self.service.events.server(&Event::Stopping { sessions: self.clients() });
        let grace = self.live.effective().limits.stop_grace;
        if let Some((notifier, watchdog)) = &self.manager {
            watchdog.stop_checking();
            notifier.stopping(grace + STOP_RESERVE);
        }
        self.close_listeners();
        self.service.stop();
        if let Some(registry) = &self.registry {
            registry.send_to_slaves(b"stop");
        }
        for backend in &self.backends {
            backend.pool().wake_all();
        }
        let until = now() + grace;
        let in_time =
            self.backends.iter().filter(|backend| !backend.pool().drain(until)).count() == 0;
        self.service.events.server(&Event::Stopped { in_time });
    }

    fn close_listeners(&mut self) {
        self.stop.trigger();
        if let Some(acceptors) = &self.acceptors {
            acceptors.close();
        }
        for thread in self.threads.drain(..) {
            let _ended = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close_listeners();
    }
}

/// Runs an acceptor on a thread of its own, until `stop` is rung. Each client gets a permit, and is handed to the next
/// slave of this balancer.
fn accept_apart(
    listener: TcpListener,
    stop: Shutdown,
    slave: Option<u32>,
    service: Service,
    connection_limits: Arc<ConnectionLimits>,
    balancer: Arc<Balancer>,
    pulses: &Pulses,
) -> io::Result<JoinHandle<()>> {
    let address = listener.local_addr()?;
    let pulse = pulses.add()?;
    service.events.server(&Event::Listening { address, slave });
    let name = format!("acceptor {}", address.port());
    let accept = move || accept(&listener, &stop, &pulse, &service, &connection_limits, &balancer);
    std::thread::Builder::new().name(name).spawn(accept)
}

/// Runs an acceptor until the server stops.
fn accept(
    listener: &TcpListener,
    stop: &Shutdown,
    pulse: &Pulse,
    service: &Service,
    connection_limits: &Arc<ConnectionLimits>,
    balancer: &Balancer,
) {
    let mut reserve = Reserve::new();
    let admit = |stream, peer| admit(stream, peer, service, connection_limits, balancer);
    match listener::accept_all(listener, stop, pulse, &mut reserve, admit) {
        Ok(()) => pulse.end(),
        Err(error) => service.events.server(&Event::Error {
            message: "the listener has stopped accepting connections",
            error: &error,
        }),
    }
}

/// Admits a client, or sends it the reason why not.
fn admit(
    stream: TcpStream,
    peer: SocketAddr,
    service: &Service,
    connection_limits: &Arc<ConnectionLimits>,
    balancer: &Balancer,
) {
    let refuse = |stream: &TcpStream, why: &str, cause| {
        listener::refuse(stream, why);
        service.events.server(&Event::Refused { peer, reason: why, cause });
    };
    match connection_limits.admit(peer.ip(), now()) {
        Ok(permit) => {
            if let Err((stream, unable)) = balancer.hand_over(stream, peer, permit, now()) {
                refuse(&stream, &unable.to_string(), Refused::NoSlave);
            }
        }
        Err(full) => {
            let cause = match full {
                LimitReached::Clients => Refused::Clients,
                LimitReached::Address => Refused::Address,
                LimitReached::Frequency => Refused::Frequency,
                LimitReached::Banned => Refused::Banned,
            };
            refuse(&stream, &full.to_string(), cause);
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the loops of the acceptors and the stop: time enters here"
)]
fn now() -> Instant {
    Instant::now()
}
