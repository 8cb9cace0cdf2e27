//! What the sessions of a server share, and what they do, counted.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::config::{Config, Limits};
use crate::log::Log;
use crate::net::passive::PassivePorts;
use crate::net::public::PublicAddress;
use crate::storage::{Disks, Durability, FairCrew, Hosts, Openers};

use super::guard::Guard;
use super::patience::UnansweredCalls;
use super::security::Security;

/// What the sessions of a server share; those of one slave, where there are slaves.
#[derive(Debug, Clone)]
pub struct Service {
    /// Who may log in, by the name that the client asks for.
    pub hosts: Arc<Hosts>,
    /// The limits.
    pub limits: Arc<Limits>,
    /// The ports for passive data connections.
    pub passive_ports: Arc<PassivePorts>,
    /// The address told in replies to PASV, if it is not the control connection's.
    pub public_address: Arc<PublicAddress>,
    /// TLS, where there is any.
    pub security: Option<Security>,
    /// Threads that check passwords, in turn for each address.
    pub checkers: Arc<FairCrew<IpAddr>>,
    /// Threads that open homes.
    pub openers: Arc<Openers>,
    /// Threads for what waits for a disk: flushes, copies, commits.
    pub disks: Arc<Disks>,
    /// Calls of file systems that have not returned in time.
    pub(super) unanswered: Arc<UnansweredCalls>,
    /// When what is stored counts as stored.
    pub durability: Durability,
    /// Where events go.
    pub log: Arc<Log>,
    pub(super) guard: Arc<Guard>,
    pub(super) slave: Option<u32>,
    pub(super) meter: Arc<Meter>,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) sessions: Arc<AtomicU64>,
}

/// What the sessions of one slave do, counted.
#[derive(Debug, Default)]
pub struct Meter {
    transfers: AtomicU64,
    pub(super) bytes: AtomicU64,
}

/// A transfer under way, counted until it is dropped.
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
    /// How many transfers are under way.
    #[must_use]
    pub fn transfers(&self) -> u64 {
        self.transfers.load(Ordering::Relaxed)
    }

    /// How many bytes went over data connections so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Service {
    /// With these parts.
    #[must_use]
    pub fn new(
        config: &Config,
        hosts: Hosts,
        security: Option<Security>,
        checkers: FairCrew<IpAddr>,
        log: Log,
    ) -> Self {
        Self {
            hosts: Arc::new(hosts),
            limits: Arc::new(config.limits.clone()),
            passive_ports: Arc::new(
                PassivePorts::new(
                    config.passive_ports.clone(),
                    config.limits.passive_ports_open_max,
                )
                .with_others(config.data_from.clone()),
            ),
            public_address: Arc::new(PublicAddress::new(config.public_address)),
            security,
            checkers: Arc::new(checkers),
            disks: Arc::default(),
            unanswered: Arc::default(),
            openers: Arc::default(),
            durability: if config.flush { Durability::Flushed } else { Durability::Cached },
            log: Arc::new(log),
            guard: Arc::default(),
            slave: None,
            meter: Arc::default(),
            stopping: Arc::default(),
            sessions: Arc::default(),
        }
    }

    /// The same for the sessions of one slave, which name it and are counted by themselves.
    #[must_use]
    pub fn of_slave(&self, number: u32) -> Self {
        Self { slave: Some(number), meter: Arc::default(), ..self.clone() }
    }

    /// The threads that wait for disks.
    pub(super) fn disks(&self) -> Arc<Disks> {
        Arc::clone(&self.disks)
    }

    /// What its sessions do.
    #[must_use]
    pub fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// How the greeting begins: `slave 1 poolftpd ready.`
    pub(super) fn greeting(&self) -> String {
        self.slave.map_or_else(
            || "poolftpd ready.".to_owned(),
            |slave| format!("slave {slave} poolftpd ready."),
        )
    }

    /// Ends every session when its transfer, if it has one, is finished. To be seen by those that wait, the pool must be
    /// roused after this.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}
