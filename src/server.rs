//! A running server: its entry points, what can be asked and changed while it serves, its stop.
//!
//! `assembly` makes its parts; a server exists only when all of them do.

mod assembly;
mod foundation;
mod monitoring;
mod slave_sessions;
mod sweeper;
mod threads;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};

use crate::balancer::Balancer;
use crate::balancer::request::Request;
use crate::events::Event;
use crate::log::{Log, Writer};
use crate::net::listener::Shutdown;
use crate::notify::Notifier;
use crate::reload::{Source, reload};
use crate::settings::{Config, ConfigError};
use crate::startup::{Inherited, Startup, acceptor, bind, cannot_start, hosts};
use crate::storage::{Root, all_recovered};
use crate::watchdog::{Watchdog, Watched};

pub use assembly::Listener;
use assembly::{Parts, now};

/// Time that a stop may take beyond that of its transfers, before the service manager ends the process.
const STOP_RESERVE: Duration = Duration::from_secs(10);

/// Time after the stop grace for the last replies to sessions that have not ended.
const FAREWELL_TIME: Duration = Duration::from_secs(2);

/// Interval at which a server that was replaced looks whether its sessions have ended.
const LEAVE_CHECK: Duration = Duration::from_millis(50);

/// A running server.
#[derive(Debug)]
pub struct Server {
    parts: Parts,
    /// The service manager, and the check of the progress that is reported to it.
    manager: Option<(Arc<Notifier>, Watchdog)>,
    /// Requests to the thread that reloads, once it has started.
    reloads: OnceLock<Sender<()>>,
    /// The thread that writes the log, if it ends with the server. The last field: all events are logged before it ends.
    log_writer: Option<Writer>,
}

impl Server {
    /// Opens all resources and begins to accept.
    ///
    /// # Errors
    /// One sentence for the person at the terminal.
    pub fn start(config: &Config, log: Log) -> Result<Self, ConfigError> {
        Self::serve(config, Startup::open(config, Inherited::default())?, log)
    }

    /// Begins to accept with resources that are already open.
    ///
    /// # Errors
    /// One sentence for the person at the terminal.
    pub fn serve(config: &Config, startup: Startup, log: Log) -> Result<Self, ConfigError> {
        let parts = assembly::start(config, startup, log).map_err(|error| cannot_start(&error))?;
        Ok(Self::of(parts))
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
        let parts = assembly::start_slave(config, hosts, acceptor, own, number, log);
        parts.map(Self::of).map_err(|error| cannot_start(&error))
    }

    fn of(parts: Parts) -> Self {
        Self { parts, manager: None, reloads: OnceLock::new(), log_writer: None }
    }

    /// Makes the thread that writes the log end with the server.
    pub(crate) fn with_log_writer(mut self, writer: Writer) -> Self {
        self.log_writer = Some(writer);
        self
    }

    /// Serves a client that a master has handed over. `peer` is its address.
    pub fn receive(&self, stream: TcpStream, peer: SocketAddr) {
        self.parts.arrivals.admit(stream, peer);
    }

    /// Carries out a command that the master of this slave process has passed on.
    pub fn carry_out(&self, request: Request) {
        if let Err(refused) = self.parts.commands.try_send(request) {
            refused.into_inner().reply(&Err("too many commands wait.".to_owned()));
        }
    }

    /// Returns the listeners: the main ones first, then those of the slaves.
    #[must_use]
    pub fn listeners(&self) -> &[Listener] {
        &self.parts.listeners
    }

    /// Returns the address of the main listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let first = self.parts.listeners.first();
        first.map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), |listener| listener.address)
    }

    /// Returns the port of the main listener.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address().port()
    }

    /// Returns the number of connected clients.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.parts.foundation.live.connection_limits().taken()
    }

    /// Returns whether the maximum number of clients is connected.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.parts.foundation.live.connection_limits().are_full()
    }

    /// Returns the balancer of the main listeners, which has the load of each slave and drains slaves.
    #[must_use]
    pub fn balancer(&self) -> &Balancer {
        &self.parts.balancer
    }

    /// Makes this function the source of the settings in a reload. Without one, a reload leaves them as they are.
    pub fn read_settings_from(&self, source: Source) {
        self.parts.foundation.live.read_from(source);
    }

    /// Reports to this service manager from now on: that the server is ready, its state, its progress, and its stop.
    ///
    /// # Errors
    /// Returns the kernel's error when it refuses a thread.
    pub fn report_to(&mut self, notifier: Notifier) -> io::Result<()> {
        let notifier = Arc::new(notifier);
        let watched = Watched {
            backends: self.parts.backends.clone(),
            pulses: Arc::clone(&self.parts.foundation.pulses),
            balancer: Arc::clone(&self.parts.balancer),
        };
        self.parts.foundation.live.report_to(Arc::clone(&notifier));
        let watchdog = Watchdog::start(Arc::clone(&notifier), watched)?;
        self.manager = Some((notifier, watchdog));
        Ok(())
    }

    /// Reads settings, users and certificates again. A file that cannot be read changes nothing, and is logged.
    pub fn reload(&self) {
        // Each problem was logged.
        let _outcome = reload(
            &self.parts.foundation.service,
            &self.parts.foundation.live,
            self.parts.registry.as_deref(),
        );
    }

    /// Reloads on a separate thread: a file may be on a disk that hangs, and the caller has more signals to handle.
    /// During a reload one further request waits, which covers all later ones.
    pub fn reload_apart(&self) {
        let requests = self.reloads.get_or_init(|| {
            let (sender, requests) = bounded(1);
            let (service, registry) =
                (self.parts.foundation.service.clone(), self.parts.registry.clone());
            let live = Arc::clone(&self.parts.foundation.live);
            let reload = move || drop(reload(&service, &live, registry.as_deref()));
            let run = move || requests.iter().for_each(|()| reload());
            let spawned = std::thread::Builder::new().name("reloader".to_owned()).spawn(run);
            if let Err(error) = spawned {
                let what = "cannot start the reload thread";
                self.parts
                    .foundation
                    .service
                    .events
                    .server(&Event::Error { message: what, error: &error });
            }
            sender
        });
        // If the channel is full, the request in it will read the newest files.
        let _asked = requests.try_send(());
    }

    /// Opens the files of the log again, after they were moved, here and in slave processes.
    pub fn reopen_log(&self) {
        self.parts.foundation.live.log().reopen();
        if let Some(registry) = &self.parts.registry {
            registry.send_to_slaves(b"reopen");
        }
    }

    /// Returns a function that opens the files of the log again while the server ends.
    pub fn log_opener(&self) -> impl Fn() + Send + 'static {
        let live = Arc::clone(&self.parts.foundation.live);
        move || live.log().reopen()
    }

    /// Returns whether a successor has taken the place of this server.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        self.parts.foundation.live.is_replaced()
    }

    /// Stops accepting, lets transfers finish within the configured time, and ends.
    pub fn stop(self) {
        let grace = self.parts.foundation.live.effective().limits.stop_grace;
        self.stop_within(grace);
    }

    /// Ends after a successor has taken the place of this server: sessions continue within the stop grace. When `hurry` is
    /// rung, only transfers do.
    pub fn leave(mut self, hurry: &Shutdown) {
        // The manager has the successor as the main process by now.
        self.manager = None;
        let sessions = self.clients();
        self.parts.foundation.service.events.server(&Event::Replaced { sessions });
        self.parts.threads.close_listeners();
        if let Some(registry) = &self.parts.registry {
            registry.release_slaves();
        }
        let grace = self.parts.foundation.live.effective().limits.stop_grace;
        let until = now() + grace;
        let proxies = self.parts.foundation.proxies.clone();
        while (self.clients() > 0 || proxies.are_awaited())
            && now() < until
            && !hurry.is_triggered()
        {
            let _rung = hurry.wait(LEAVE_CHECK);
        }
        self.stop_within(if hurry.is_triggered() { grace } else { Duration::ZERO });
    }

    fn stop_within(mut self, grace: Duration) {
        let sessions = self.clients();
        self.parts.foundation.service.events.server(&Event::Stopping { sessions });
        if let Some((notifier, watchdog)) = &self.manager {
            watchdog.stop_checking();
            notifier.stopping(grace + STOP_RESERVE);
        }
        self.parts.threads.end();
        self.parts.foundation.service.stop();
        if let Some(registry) = &self.parts.registry {
            registry.send_to_slaves(b"stop");
        }
        self.wake_all();
        let in_time = self.drain(now() + grace);
        if !in_time {
            self.parts.foundation.service.dismiss();
            self.wake_all();
            self.drain(now() + FAREWELL_TIME);
        }
        self.parts.foundation.service.events.server(&Event::Stopped { in_time });
    }

    /// Gives every session a turn.
    fn wake_all(&self) {
        self.parts.backends.iter().for_each(|backend| backend.pool().wake_all());
    }

    /// Waits until every session has ended, at most until `until`; returns `true` if all have.
    fn drain(&self, until: Instant) -> bool {
        self.parts.backends.iter().filter(|backend| !backend.pool().drain(until)).count() == 0
    }
}
