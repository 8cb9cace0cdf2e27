//! The threads of a server besides its workers: accept loops, the registry, periodic work.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::acceptors::Acceptors;
use crate::balancer::Balancer;
use crate::balancer::registry::Registry;
use crate::events::Event;
use crate::net::listener::Shutdown;
use crate::net::public::{self, Renewed};
use crate::reload::{Live, warn_of_expiry};
use crate::session::Service;
use crate::storage::{HealthWatch, PlaceHealth};

/// Interval between two lookups of the name whose address is in replies to PASV.
const LOOK_UP_INTERVAL: Duration = Duration::from_mins(1);

/// Interval between two warnings of a certificate that expires.
const EXPIRY_INTERVAL: Duration = Duration::from_hours(24);

/// Interval between two probes of the roots, and the time after which their answers are looked at.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
const ANSWER_CHECK: Duration = Duration::from_secs(1);

/// The threads that end with the server, and the signal that ends them. A start that fails ends those that it has
/// started.
#[derive(Debug)]
pub(super) struct Threads {
    /// Triggered when the server accepts no more connections.
    pub(super) closing: Shutdown,
    /// Triggered when the server stops.
    pub(super) stop: Shutdown,
    /// The main listeners; a slave process has none.
    pub(super) acceptors: Option<Arc<Acceptors>>,
    joined: Vec<JoinHandle<()>>,
    /// Those that end when `closing` is triggered.
    accepting: Vec<JoinHandle<()>>,
}

impl Threads {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            closing: Shutdown::new()?,
            stop: Shutdown::new()?,
            acceptors: None,
            joined: Vec::new(),
            accepting: Vec::new(),
        })
    }

    /// Adds threads that accept connections, and end when `closing` is triggered. A successor gets the socket.
    pub(super) fn accept(
        &mut self,
        socket: impl AsFd,
        start: impl FnOnce(Shutdown) -> io::Result<Vec<JoinHandle<()>>>,
    ) -> io::Result<()> {
        if let Some(acceptors) = &self.acceptors {
            acceptors.keep(socket)?;
        }
        self.accepting.extend(start(self.closing.clone())?);
        Ok(())
    }

    /// Starts a thread that ends when `stop` is triggered.
    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.joined.push(std::thread::Builder::new().name(name.to_owned()).spawn(run)?);
        Ok(())
    }

    /// Serves the slave processes.
    pub(super) fn run_registry(
        &mut self,
        registry: Arc<Registry>,
        balancer: Arc<Balancer>,
        service: Service,
        clock: fn() -> Instant,
    ) -> io::Result<()> {
        let stop = self.stop.clone();
        self.spawn("registry", move || {
            if let Err(error) = registry.run(&*balancer, &stop, clock) {
                service.events.server(&Event::Error {
                    message: "the registry of slaves has stopped",
                    error: &error,
                });
            }
        })
    }

    /// Warns of certificates that expire soon, at the start and every day.
    pub(super) fn watch_expiry(&mut self, service: &Service) -> io::Result<()> {
        if service.security.is_none() {
            return Ok(());
        }
        let (stop, service) = (self.stop.clone(), service.clone());
        self.spawn("expiry", move || {
            warn_of_expiry(&service);
            while !stop.wait(EXPIRY_INTERVAL) {
                warn_of_expiry(&service);
            }
        })
    }

    /// Probes the roots and mounts periodically. The thread itself waits for no file system.
    pub(super) fn watch_roots(
        &mut self,
        service: &Service,
        live: &Arc<Live>,
        now: fn() -> Instant,
    ) -> io::Result<()> {
        let mut watch = HealthWatch::new(service.hosts.shared_places());
        live.set_roots(watch.all());
        let (stop, live, events) =
            (self.stop.clone(), Arc::clone(live), Arc::clone(&service.events));
        watch.begin(now());
        self.spawn("health", move || {
            while !stop.wait(ANSWER_CHECK) {
                for PlaceHealth { directory, problem, .. } in watch.collect(now()) {
                    events.server(&match &problem {
                        Some(reason) => Event::RootUnavailable { directory: &directory, reason },
                        None => Event::RootAvailable { directory: &directory },
                    });
                }
                live.set_roots(watch.all());
                if stop.wait(PROBE_INTERVAL.saturating_sub(ANSWER_CHECK)) {
                    break;
                }
                watch.begin(now());
            }
        })
    }

    /// Looks up the name of the public address periodically. The thread is not joined at the end, because the system's
    /// resolver may take long.
    pub(super) fn renew_public_address(&self, name: String, service: Service) -> io::Result<()> {
        let stop = self.stop.clone();
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

    /// Closes the listeners. The registry and the commands of administrators continue.
    pub(super) fn close_listeners(&mut self) {
        self.closing.trigger();
        if let Some(acceptors) = &self.acceptors {
            acceptors.close();
        }
        for thread in self.accepting.drain(..) {
            let _ended = thread.join();
        }
    }

    /// Closes the listeners, and waits for the threads.
    pub(super) fn end(&mut self) {
        self.stop.trigger();
        self.close_listeners();
        for thread in self.joined.drain(..) {
            let _ended = thread.join();
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.end();
    }
}
