//! The facts of a running server, for the status server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use crate::acceptors::Acceptors;
use crate::balancer::local_backend::LocalBackend;
use crate::balancer::{Balancer, Dispatcher};
use crate::pool::Task;
use crate::reload::Live;
use crate::scoreboard::Seen;
use crate::session::{ActiveLockout, Service};
use crate::status::{Ban, Counters, Facts, Source};

use super::slave_sessions::SlaveSessions;

/// The parts of a server that the status server reads.
pub(super) struct Monitored {
    pub(super) live: Arc<Live>,
    pub(super) service: Service,
    pub(super) backends: Vec<Arc<LocalBackend>>,
    pub(super) balancer: Arc<Balancer>,
    /// The sessions of slave processes.
    pub(super) slaves: Option<SlaveSessions>,
    /// The main listeners.
    pub(super) acceptors: Option<Arc<Acceptors>>,
    /// The addresses of the slaves' own listeners.
    pub(super) own: Vec<SocketAddr>,
    pub(super) shows_paths: bool,
}

impl Monitored {
    /// Returns the functions with which the status server reads these parts, and its counters.
    pub(super) fn into_source(self, counters: Arc<Counters>) -> Source {
        let backends = self.backends.clone();
        let admit = move |task: &dyn Fn() -> Box<dyn Task>| {
            for backend in &backends {
                backend.pool().admit(task());
            }
        };
        Source { facts: Box::new(move |now| self.facts(now)), admit: Box::new(admit), counters }
    }

    fn facts(&self, now: Instant) -> Facts {
        let limits = self.live.connection_limits();
        let loads = self.balancer.loads().into_iter();
        let (sessions, mut bans) = self.sessions_and_bans(now);
        let mut facts = Facts {
            listeners: self.listeners(),
            clients: limits.taken(),
            clients_max: limits.clients_max(),
            sessions,
            sessions_begun: self.service.sessions_begun(),
            slaves: loads.filter(|load| load.slave.is_some()).collect(),
            certificates: certificates(&self.service),
            roots: self.live.roots(),
            log_lines_lost: self.live.log().lines_lost(),
            is_stopping: self.service.is_stopping(),
            shows_paths: self.shows_paths,
            ..Facts::default()
        };
        let services = self.live.services();
        // The failed logins are those of all backends.
        bans.extend(services.first().into_iter().flat_map(|service| lockouts(service, now)));
        bans.sort_unstable();
        // The same address may be locked out in several processes.
        bans.dedup_by(|one, other| {
            (&one.address, &one.user, &one.host) == (&other.address, &other.user, &other.host)
        });
        facts.bans = bans;
        for meter in services.iter().map(|service| service.meter()) {
            facts.transfers += meter.transfers();
            facts.bytes_in += meter.received();
            facts.bytes_out += meter.sent();
        }
        for backend in &self.backends {
            facts.pool += backend.pool().census();
        }
        facts
    }

    /// Returns the sessions of this process and of all slave processes, the oldest first, and the lockouts of the slave
    /// processes.
    fn sessions_and_bans(&self, now: Instant) -> (Vec<Seen>, Vec<Ban>) {
        let mut sessions = self.service.scoreboard.all(now);
        let (of_slaves, bans) = self.slaves.as_ref().map(SlaveSessions::next).unwrap_or_default();
        if !of_slaves.is_empty() {
            sessions.extend(of_slaves);
            sessions.sort_by_key(|seen| (seen.since, seen.session.number));
        }
        (sessions, bans)
    }

    fn listeners(&self) -> Vec<String> {
        let main = self.acceptors.iter().flat_map(|acceptors| acceptors.addresses());
        main.chain(self.own.iter().copied()).map(|address| address.to_string()).collect()
    }
}

fn lockouts(service: &Service, now: Instant) -> Vec<Ban> {
    let of = |lockout: ActiveLockout| {
        let (host, user) = lockout.shown_user();
        let host = host.map(ToOwned::to_owned);
        let ActiveLockout { address, failures, remaining, .. } = lockout;
        Ban { address, user, host, failures, remaining }
    };
    service.locked_out(now).into_iter().map(of).collect()
}

fn certificates(service: &Service) -> Vec<(String, Timestamp)> {
    let ends = service.security.iter().flat_map(|security| security.acceptor.ends());
    ends.map(|(file, at)| (file.display().to_string(), at)).collect()
}
