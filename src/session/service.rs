//! State that the sessions of a server share, and counters of their activity.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::approval::Approver;
use crate::events::{Events, ServerId};
use crate::net::data::Resumption;
use crate::net::frequency::Frequency;
use crate::net::passive::PassivePorts;
use crate::net::public::PublicAddress;
use crate::net::tls::{Acceptor, Direction};
use crate::pool::{DiskPool, FairPool, HomePool};
use crate::scan::Scanner;
use crate::scoreboard::{ClientFacts, Scoreboard};
use crate::settings::{Config, Limits};
use crate::spool::Spool;
use crate::storage::{Durability, Hosts, SharedRates};

use super::patience::UnansweredCalls;
use super::stop_phase::StopPhase;
use super::throttle::{ActiveLockout, Counted, LoginThrottle};

/// The TLS settings of a server.
#[derive(Debug, Clone)]
pub struct Security {
    /// The acceptor of TLS connections.
    pub acceptor: Arc<Acceptor>,
    /// `--require-tls`: logins and data transfers need TLS.
    pub required: bool,
    /// The ports of implicit TLS.
    pub implicit_ports: Vec<u16>,
    /// Required or optional resumption of the control connection's TLS session on data connections.
    pub resumption: Resumption,
}

/// State that the sessions of a server share; with slaves, the sessions of one slave.
#[derive(Debug, Clone)]
pub struct Service {
    /// The accounts of each host; the client selects the host.
    pub hosts: Arc<Hosts>,
    /// The limits of the server.
    pub limits: Arc<Limits>,
    /// The ports for passive data connections.
    pub passive_ports: Arc<PassivePorts>,
    /// The address in replies to PASV, if it is not that of the control connection.
    pub public_address: Arc<PublicAddress>,
    /// TLS, if it is set up.
    pub security: Option<Security>,
    /// Threads that check passwords.
    pub checkers: Arc<Checkers>,
    /// The virus scanner of uploads.
    pub scanner: Option<Arc<Scanner>>,
    /// The program that allows or refuses uploads.
    pub approver: Option<Arc<Approver>>,
    /// Threads that wait for the scanner, in turn for each address.
    pub scanners: Arc<FairPool<IpAddr>>,
    /// The queue of events for hooks.
    pub spool: Option<Arc<Spool>>,
    /// Threads that open homes.
    pub openers: Arc<HomePool>,
    /// Threads for work that waits for a disk: flushes, copies, commits.
    pub disks: Arc<DiskPool>,
    /// Calls of file systems that have not returned in time.
    pub(super) unanswered: Arc<UnansweredCalls>,
    /// When stored data is acknowledged: once it is cached, or once it is flushed.
    pub durability: Durability,
    /// The live sessions.
    pub(crate) scoreboard: Arc<Scoreboard>,
    /// The stream of events.
    pub events: Arc<Events>,
    pub(super) id: ServerId,
    pub(super) throttle: Arc<LoginThrottle>,
    /// The logins of each address.
    pub(super) logins: Arc<Frequency>,
    /// The rate limits of downloads and of uploads.
    pub(super) rates_down: Arc<SharedRates>,
    pub(super) rates_up: Arc<SharedRates>,
    pub(super) slave: Option<u32>,
    pub(super) meter: Arc<Meter>,
    pub(super) stop: Arc<StopPhase>,
    pub(super) sessions: Arc<AtomicU64>,
}

/// Threads that check passwords, in turn for each address.
#[derive(Debug)]
pub struct Checkers {
    /// Threads that compute hashes.
    pub(super) hashes: FairPool<IpAddr>,
    /// Threads that wait for the authenticator. Local users do not wait behind them.
    pub(super) authenticator: FairPool<IpAddr>,
}

impl Checkers {
    /// Starts the threads. In each of the two pools, at most `waiting_max` logins may wait.
    pub fn start(hashes: usize, authenticator: usize, waiting_max: usize) -> io::Result<Self> {
        Ok(Self {
            hashes: FairPool::start("checker", hashes, waiting_max)?,
            authenticator: FairPool::start("authenticator", authenticator, waiting_max)?,
        })
    }
}

/// Counters of the sessions of one slave.
#[derive(Debug, Default)]
pub struct Meter {
    transfers: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

/// A transfer in progress, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Metered(Arc<Meter>);

impl Metered {
    pub(super) fn new(meter: Arc<Meter>) -> Self {
        meter.transfers.fetch_add(1, Ordering::Relaxed);
        Self(meter)
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        self.0.transfers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Meter {
    /// Counts bytes that were transferred.
    pub(super) fn count(&self, bytes: u64, direction: Direction) {
        let counter = match direction {
            Direction::FromClient => &self.received,
            Direction::ToClient => &self.sent,
        };
        counter.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns the number of bytes received so far over data connections.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Returns the number of bytes sent so far over data connections.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Returns the number of transfers in progress.
    #[must_use]
    pub fn transfers(&self) -> u64 {
        self.transfers.load(Ordering::Relaxed)
    }

    /// Returns the number of bytes transferred so far, over all data connections.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.received() + self.sent()
    }
}

impl Service {
    /// Creates the state of a server from its configuration and these parts.
    #[must_use]
    pub fn new(
        config: &Config,
        hosts: Hosts,
        security: Option<Security>,
        checkers: Checkers,
        scanners: FairPool<IpAddr>,
        spool: Option<Spool>,
        events: Arc<Events>,
    ) -> Self {
        let new = Self {
            hosts: Arc::new(hosts),
            limits: Arc::new(config.limits.clone()),
            passive_ports: Arc::new(passive_ports(config)),
            public_address: Arc::new(PublicAddress::new(config.public_address)),
            security,
            checkers: Arc::new(checkers),
            scanner: scanner(config),
            approver: approver(config),
            scanners: Arc::new(scanners),
            spool: spool.map(Arc::new),
            disks: Arc::default(),
            unanswered: Arc::default(),
            openers: Arc::default(),
            durability: durability(config),
            scoreboard: Arc::default(),
            events,
            id: ServerId::of_now(),
            throttle: Arc::default(),
            logins: Arc::default(),
            rates_down: Arc::default(),
            rates_up: Arc::default(),
            slave: None,
            meter: Arc::default(),
            stop: Arc::default(),
            sessions: Arc::default(),
        };
        new.set_rates(&config.limits);
        new
    }

    /// Counts a login; returns false if its address has had the maximum number of them in a minute.
    pub(super) fn admits_login(&self, from: IpAddr, now: Instant) -> bool {
        let is_trusted = self.limits.trusted.iter().any(|network| network.contains(&from));
        is_trusted || self.logins.admits(from, self.limits.logins_per_minute, now)
    }

    /// Sets the rate limits, also for the transfers that run.
    fn set_rates(&self, limits: &Limits) {
        self.rates_down.set(limits.rate_down, limits.rate_down_per_address);
        self.rates_up.set(limits.rate_up, limits.rate_up_per_address);
    }

    /// Returns this state with new settings, for the sessions that begin from now on.
    #[must_use]
    pub fn reloaded(&self, config: &Config) -> Self {
        let mut new = self.clone();
        new.set_rates(&config.limits);
        new.limits = Arc::new(config.limits.clone());
        new.durability = durability(config);
        new.scanner = scanner(config);
        new.passive_ports = Arc::new(self.passive_ports.replaced_by(passive_ports(config)));
        if config.public_name.is_none() {
            new.public_address = Arc::new(PublicAddress::new(config.public_address));
        }
        if let Some(security) = &mut new.security {
            security.required = config.require_tls;
            security.implicit_ports = config.implicit_ports();
            security.resumption = config.resumption;
        }
        new
    }

    /// Returns the state for the sessions of one slave, which name the slave and have their own counters.
    #[must_use]
    pub fn of_slave(&self, number: u32) -> Self {
        Self { slave: Some(number), meter: Arc::default(), ..self.clone() }
    }

    /// Returns the number of sessions that have begun.
    #[must_use]
    pub(crate) fn sessions_begun(&self) -> u64 {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Returns whether the sessions end as soon as they can.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_stopping()
    }

    /// Returns the lockouts of addresses and users.
    pub(crate) fn locked_out(&self, now: Instant) -> Vec<ActiveLockout> {
        self.throttle.locked_out(&self.limits, now)
    }

    /// Returns the failed logins that are remembered.
    pub(crate) fn failures(&self, now: Instant) -> Vec<Counted> {
        self.throttle.counted(now)
    }

    /// Adopts failed logins of another server, so that its lockouts last for the time that is left.
    pub(crate) fn adopt_failures(&self, counted: Counted, now: Instant) {
        self.throttle.adopt(counted, &self.limits, now);
    }

    /// Returns whether this client is a user of a users file, and may still log in.
    pub(crate) fn is_user_of_file(&self, client: &ClientFacts) -> bool {
        self.hosts.accounts(client.host.as_deref()).has_enabled(&client.user)
    }

    /// Ends the lockouts of these addresses; returns their number.
    pub(crate) fn forgive_addresses(
        &self,
        now: Instant,
        is_wanted: impl Fn(IpAddr) -> bool,
    ) -> usize {
        self.throttle.forgive_addresses(&self.limits, now, is_wanted)
    }

    /// Ends the lockouts of a user; returns their number.
    pub(crate) fn forgive_user(&self, now: Instant, name: &[u8]) -> usize {
        self.throttle.forgive_user(name, &self.limits, now)
    }

    /// Returns the threads that wait for disks.
    pub(super) fn disks(&self) -> Arc<DiskPool> {
        Arc::clone(&self.disks)
    }

    /// Returns the counters of the sessions.
    #[must_use]
    pub fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// Returns whether uploads are checked before they get their names.
    pub(super) fn checks_uploads(&self) -> bool {
        self.scanner.is_some() || self.approver.is_some()
    }

    /// Returns the maximum time for the checks of one upload.
    pub(super) fn check_time(&self) -> Duration {
        let approver = self.approver.as_ref().map_or(Duration::ZERO, |approver| approver.timeout());
        approver + self.scanner.as_ref().map_or(Duration::ZERO, |_| self.limits.scan_timeout)
    }

    /// Returns whether logins and data transfers need TLS.
    pub(super) fn requires_tls(&self) -> bool {
        self.security.as_ref().is_some_and(|security| security.required)
    }

    /// Returns the greeting, such as `slave 1 poolftpd ready.`
    pub(super) fn greeting(&self) -> String {
        self.slave.map_or_else(
            || "poolftpd ready.".to_owned(),
            |slave| format!("slave {slave} poolftpd ready."),
        )
    }

    /// Ends every session after the transfer that it runs or is about to begin, or when its client is quiet. Waiting
    /// sessions notice only when the pool is woken after this.
    pub fn stop(&self) {
        self.stop.advance(StopPhase::FINISHING);
    }

    /// Ends every session at its next command, or now if it has none. Waiting sessions notice only when the pool is woken
    /// after this.
    pub fn dismiss(&self) {
        self.stop.advance(StopPhase::DISMISSING);
    }
}

fn scanner(config: &Config) -> Option<Arc<Scanner>> {
    let address = config.scan.clone()?;
    Some(Arc::new(Scanner::new(address, config.limits.scan_timeout)))
}

fn approver(config: &Config) -> Option<Arc<Approver>> {
    let socket = config.check_socket.clone()?;
    Some(Arc::new(Approver::new(socket, config.hook_timeout)))
}

fn durability(config: &Config) -> Durability {
    if config.flush { Durability::Flushed } else { Durability::Cached }
}

fn passive_ports(config: &Config) -> PassivePorts {
    PassivePorts::new(config.passive_ports.clone(), config.limits.passive_ports_open_max)
        .with_others(config.data_from.clone())
}
