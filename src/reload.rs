//! The settings of a running server, and their reload: all of it or nothing.

mod adjustments;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard, RwLock};

use crate::acceptors::Acceptors;
use crate::balancer::local_backend::LocalBackend;
use crate::balancer::registry::Registry;
use crate::balancer::takeover::Successor;
use crate::events::Event;
use crate::log::Log;
use crate::net::connection_limits::ConnectionLimits;
use crate::net::tls::ReadCertificates;
use crate::notify::Notifier;
use crate::scoreboard::ClientFacts;
use crate::session::Service;
use crate::settings::{Changes, Config, Limits, Row};
use crate::storage::{HostUsers, PlaceHealth, ReloadedUsers};

pub(crate) use adjustments::Adjustments;

/// Time before the end of a certificate at which warnings begin.
const EXPIRY_WARNING: Duration = Duration::from_hours(14 * 24);

/// A function that reads the settings again. It receives the settings in effect, and returns each problem as a sentence.
pub type Source = Box<dyn Fn(&Config) -> Result<Config, Vec<String>> + Send + Sync>;

/// The service of the sessions that begin now. A session keeps the one with which it began.
pub(crate) type CurrentService = Arc<RwLock<Arc<Service>>>;

/// The settings of a running server, and everything that a reload changes.
pub(crate) struct Live {
    /// Locked during a reload. The settings are not locked while files are read, because a file system may hang, and a
    /// stop needs them.
    reloading: Mutex<()>,
    /// The settings as they were read.
    config: Mutex<Config>,
    /// The settings with what the start has found out: ports and addresses.
    effective: Mutex<Config>,
    source: OnceLock<Source>,
    adjustments: Adjustments,
    backends: Mutex<Vec<(Arc<LocalBackend>, CurrentService)>>,
    connection_limits: Arc<ConnectionLimits>,
    /// The main listeners; a slave process has none.
    acceptors: OnceLock<Arc<Acceptors>>,
    log: Arc<Log>,
    /// The health of the roots and mounts, as it was found last.
    roots: Mutex<Vec<PlaceHealth>>,
    /// The service manager, which waits for the end of a reload.
    notifier: OnceLock<Arc<Notifier>>,
    /// The process that has taken the place of this server. It sees the end of this process by the connection.
    successor: OnceLock<Successor>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Live").field("config", &self.config).finish_non_exhaustive()
    }
}

fn connection_limits(limits: &Limits) -> Arc<ConnectionLimits> {
    let new = ConnectionLimits::new(limits.clients_max, limits.max_per_ip);
    new.set_connects_per_minute(limits.connects_per_minute);
    new
}

impl Live {
    pub(crate) fn new(read: &Config, effective: &Config, log: Arc<Log>) -> Self {
        let limits = &effective.limits;
        Self {
            reloading: Mutex::default(),
            config: Mutex::new(read.clone()),
            effective: Mutex::new(effective.clone()),
            source: OnceLock::new(),
            adjustments: Adjustments::default(),
            backends: Mutex::default(),
            connection_limits: connection_limits(limits),
            acceptors: OnceLock::new(),
            log,
            roots: Mutex::default(),
            notifier: OnceLock::new(),
            successor: OnceLock::new(),
        }
    }

    /// Records that this process has taken the place of the server.
    pub(crate) fn replace_by(&self, successor: Successor) {
        // Only one is let in at a time.
        let _set = self.successor.set(successor);
    }

    /// Returns whether a successor has taken the place of the server.
    pub(crate) fn is_replaced(&self) -> bool {
        self.successor.get().is_some()
    }

    /// Returns the interval in which the service manager expects a sign of life, if it does.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.notifier.get()?.watchdog()
    }

    /// Reports reloads to this service manager from now on.
    pub(crate) fn report_to(&self, notifier: Arc<Notifier>) {
        // A server has one manager.
        let _set = self.notifier.set(notifier);
    }

    /// Reports that a reload begins.
    pub(crate) fn report_reloading(&self) {
        self.notifier.get().into_iter().for_each(|notifier| notifier.reloading());
    }

    /// Reports that a reload has ended.
    pub(crate) fn report_ready(&self, status: &str) {
        self.notifier.get().into_iter().for_each(|notifier| notifier.ready(status));
    }

    /// Sets the health of the roots and mounts.
    pub(crate) fn set_roots(&self, roots: Vec<PlaceHealth>) {
        *self.roots.lock() = roots;
    }

    /// Returns the health of the roots and mounts, as it was found last.
    pub(crate) fn roots(&self) -> Vec<PlaceHealth> {
        self.roots.lock().clone()
    }

    /// Returns the permits of all clients.
    pub(crate) fn connection_limits(&self) -> &Arc<ConnectionLimits> {
        &self.connection_limits
    }

    /// Returns the service of each backend.
    pub(crate) fn services(&self) -> Vec<Arc<Service>> {
        self.backends.lock().iter().map(|(_, service)| Arc::clone(&service.read())).collect()
    }

    /// Returns the log.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Returns the changes of administrators since the last reload.
    pub(crate) fn adjustments(&self) -> &Adjustments {
        &self.adjustments
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

    /// Gives every session a turn.
    pub(crate) fn wake_all(&self) {
        for (backend, _) in self.backends.lock().iter() {
            backend.pool().wake_all();
        }
    }

    /// Reads the settings again, and applies those that may change while the server runs. Before the first change, `read`
    /// reads the files that the new settings name.
    ///
    /// # Errors
    /// Each problem as a sentence; then nothing has changed.
    pub(crate) fn reload<T>(
        &self,
        read: impl FnOnce(&Config) -> Result<T, Vec<String>>,
    ) -> Result<(Changes, T), Vec<String>> {
        if self.is_replaced() {
            return Err(vec!["a successor has taken the place of this server".to_owned()]);
        }
        let Some(source) = self.source.get() else {
            return Ok((Changes::default(), read(&self.effective())?));
        };
        let mut next = self.config.lock().clone();
        let new = source(&next)?;
        let changes = next.reload(&new);
        let mut wanted = self.effective();
        wanted.reload(&new);
        let files = read(&wanted)?;
        let mut config = self.config.lock();
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
        Ok((changes, files))
    }

    /// Changes one setting until the next reload, as a reload does.
    ///
    /// # Errors
    /// A clause with what was found and what is expected; then nothing has changed.
    pub(crate) fn set(&self, row: &Row, value: &str) -> Result<(), String> {
        let mut config = self.config.lock();
        let mut new = config.clone();
        row.set(&mut new, value)?;
        let _changes = config.reload(&new);
        let mut effective = self.effective.lock();
        let _changes = effective.reload(&new);
        self.apply(&effective);
        // A transfer may wait for a rate that has changed.
        self.wake_all();
        Ok(())
    }

    fn apply(&self, config: &Config) {
        let limits = &config.limits;
        self.log.set_level(config.level);
        self.connection_limits.set_limits(limits.clients_max, limits.max_per_ip);
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

/// Reads settings, users and certificates again, and requests slave processes to do so. A mistake in any of them changes
/// nothing. Waits for the end of another reload.
///
/// # Errors
/// The first problem; each was logged.
pub(crate) fn reload(
    service: &Service,
    live: &Live,
    registry: Option<&Registry>,
) -> Result<(), String> {
    reload_alone(service, live, registry, live.reloading.lock())
}

/// Reloads as [`reload`] does, but not while another reload runs, which may wait for a file.
///
/// # Errors
/// As for [`reload`], and a sentence about the other reload.
pub(crate) fn try_reload(
    service: &Service,
    live: &Live,
    registry: Option<&Registry>,
) -> Result<(), String> {
    let Some(alone) = live.reloading.try_lock() else {
        return Err("another reload is under way.".to_owned());
    };
    reload_alone(service, live, registry, alone)
}

/// Reloads, and reports the begin and the end to the service manager.
fn reload_alone(
    service: &Service,
    live: &Live,
    registry: Option<&Registry>,
    _alone: MutexGuard<'_, ()>,
) -> Result<(), String> {
    live.report_reloading();
    let outcome = reload_all(service, live, registry);
    let status = match &outcome {
        Ok(()) => "Reloaded".to_owned(),
        Err(why) => format!("Not reloaded: {why}"),
    };
    live.report_ready(&status);
    outcome
}

/// The files that were read, before they are in use.
type ReadFiles = (HostUsers, Option<ReadCertificates>);

/// Reads the users files and the certificates.
fn read_files(service: &Service, config: &Config) -> Result<ReadFiles, Vec<String>> {
    let users = service.hosts.read(&config.groups);
    let certificates = service.security.as_ref().map(|security| security.acceptor.read());
    match (users, certificates.transpose()) {
        (Ok(users), Ok(certificates)) => Ok((users, certificates)),
        (users, certificates) => {
            let wrong = users.err().into_iter().flatten();
            Err(wrong.chain(certificates.err()).collect())
        }
    }
}

/// Reads everything again. Returns the first problem; each was logged.
fn reload_all(service: &Service, live: &Live, registry: Option<&Registry>) -> Result<(), String> {
    let (changes, (users, certificates)) = match live.reload(|config| read_files(service, config)) {
        Ok(read) => read,
        Err(problems) => {
            for what in &problems {
                service.events.server(&Event::NotReloaded { reason: what });
            }
            return Err(problems.into_iter().next().unwrap_or_default());
        }
    };
    if !changes.restart.is_empty() {
        let (what, why) = ("changed settings need a restart", changes.restart.join("; "));
        service.events.server(&Event::Warning { message: what, reason: &why });
    }
    live.adjustments().clear();
    let effective = live.effective();
    service.hosts.set_rules(&effective.directories);
    let is_user = |client: &ClientFacts| service.is_user_of_file(client);
    let mut clients = service.scoreboard.clients();
    clients.retain(is_user);
    let ReloadedUsers { users, unreachable } = service.hosts.adopt(users, &effective.groups);
    clients.retain(|client| !is_user(client));
    service.scoreboard.kick(|_, client| client.is_some_and(|client| clients.contains(client)));
    let acceptor = service.security.as_ref().map(|security| &security.acceptor);
    let certificates = acceptor.zip(certificates).map(|(acceptor, read)| acceptor.adopt(read));
    service.events.server(&Event::Reloaded {
        users,
        certificates: certificates.unwrap_or_default(),
        settings: &changes.applied,
        unreachable: &unreachable,
    });
    // A transfer may wait for a rate that has changed.
    live.wake_all();
    warn_of_expiry(service);
    if let Some(registry) = registry {
        registry.reload_slaves(live.effective().settings());
    }
    Ok(())
}

/// Warns of served certificates that expire soon or have expired: a renewal that could not be read leaves the old one
/// in use.
pub(crate) fn warn_of_expiry(service: &Service) {
    let Some(security) = &service.security else { return };
    for (file, at) in security.acceptor.ends() {
        let left = at.as_second() - Timestamp::now().as_second();
        if left < EXPIRY_WARNING.as_secs().cast_signed() {
            let days = left.div_euclid(24 * 3600);
            service.events.server(&Event::CertificateExpires { file: &file, at, days });
        }
    }
}
