//! The settings of a running server, and their reload: all of it or nothing.

use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};

use crate::acceptors::Acceptors;
use crate::balancer::local_backend::LocalBackend;
use crate::log::Log;
use crate::net::connection_limits::ConnectionLimits;
use crate::session::Service;
use crate::settings::{Changes, Config, Limits};

/// A function that reads the settings again. It receives the settings in effect, and returns each problem as a sentence.
pub type Source = Box<dyn Fn(&Config) -> Result<Config, Vec<String>> + Send + Sync>;

/// The service of the sessions that begin now. A session keeps the one with which it began.
pub(crate) type CurrentService = Arc<RwLock<Arc<Service>>>;

/// The settings of a running server, and everything that a reload changes.
pub(crate) struct Live {
    /// The settings as they were read.
    config: Mutex<Config>,
    /// The settings with what the start has found out: ports and addresses.
    effective: Mutex<Config>,
    source: OnceLock<Source>,
    backends: Mutex<Vec<(Arc<LocalBackend>, CurrentService)>>,
    connection_limits: Arc<ConnectionLimits>,
    /// The main listeners; a slave process has none.
    acceptors: OnceLock<Arc<Acceptors>>,
    log: Arc<Log>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Live").field("config", &self.config).finish_non_exhaustive()
    }
}

fn connection_limits(limits: &Limits) -> Arc<ConnectionLimits> {
    let new = ConnectionLimits::new(limits.clients_max, limits.per_address_max);
    new.set_connects_per_minute(limits.connects_per_minute);
    new
}

impl Live {
    pub(crate) fn new(read: &Config, effective: &Config, log: Arc<Log>) -> Self {
        let limits = &effective.limits;
        Self {
            config: Mutex::new(read.clone()),
            effective: Mutex::new(effective.clone()),
            source: OnceLock::new(),
            backends: Mutex::default(),
            connection_limits: connection_limits(limits),
            acceptors: OnceLock::new(),
            log,
        }
    }

    /// Returns the permits of all clients.
    pub(crate) fn connection_limits(&self) -> &Arc<ConnectionLimits> {
        &self.connection_limits
    }

    /// Returns the log.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Returns the settings in effect.
    pub(crate) fn effective(&self) -> Config {
        self.effective.lock().clone()
    }

    /// Makes this function the source of a reload. Without one, a reload leaves the settings as they are.
    pub(crate) fn read_from(&self, source: Source) {
        // A server is given one source, before its first reload.
        let _set = self.source.set(source);
    }

    /// Makes these the listeners that a reload changes.
    pub(crate) fn use_acceptors(&self, acceptors: Arc<Acceptors>) {
        // A server has one set of listeners, before its first reload.
        let _set = self.acceptors.set(acceptors);
    }

    /// Adds a backend, whose new sessions get the service of a reload.
    pub(crate) fn add_backend(&self, backend: Arc<LocalBackend>, service: CurrentService) {
        self.backends.lock().push((backend, service));
    }

    /// Reads the settings again, and applies those that may change while the server runs.
    ///
    /// # Errors
    /// Each problem as a sentence; then nothing has changed.
    pub(crate) fn reload(&self) -> Result<Changes, Vec<String>> {
        let Some(source) = self.source.get() else { return Ok(Changes::default()) };
        let mut config = self.config.lock();
        let new = source(&config)?;
        let mut next = config.clone();
        let changes = next.reload(&new);
        let mut effective = self.effective.lock();
        if let Some(acceptors) = self.acceptors.get() {
            let wanted = next.listeners();
            let opened = acceptors.open(&wanted).map_err(|problem| vec![problem])?;
            effective.reload(&new);
            // Before a listener with TLS accepts clients, the sessions must know its port.
            effective.listen.extend(opened.listens());
            self.apply(&effective);
            acceptors.change(&wanted, opened).map_err(|error| vec![error.to_string()])?;
            effective.listen = acceptors.listening();
        } else {
            effective.reload(&new);
        }
        self.apply(&effective);
        *config = next;
        Ok(changes)
    }

    fn apply(&self, config: &Config) {
        let limits = &config.limits;
        self.log.set_level(config.level);
        self.connection_limits.set_limits(limits.clients_max, limits.per_address_max);
        self.connection_limits.set_connects_per_minute(limits.connects_per_minute);
        let backends = self.backends.lock();
        let share = limits.clients_max.div_ceil(backends.len().max(1));
        for (backend, service) in backends.iter() {
            backend.set_sessions_max(share);
            let new = service.read().reloaded(config);
            *service.write() = Arc::new(new);
        }
    }
}
