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
use crate::session::Service;
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
        let mut facts = Facts {
            listeners: self.listeners(),
            clients: limits.taken(),
            clients_max: limits.clients_max(),
            sessions: self.sessions(now),
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
        facts.bans = services.first().map_or_else(Vec::new, |service| bans(service, now));
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

    /// Returns the sessions of this process and of all slave processes, the oldest first.
    fn sessions(&self, now: Instant) -> Vec<Seen> {
        let mut sessions = self.service.scoreboard.all(now);
        if let Some(slaves) = &self.slaves {
            sessions.extend(slaves.next());
            sessions.sort_by_key(|seen| (seen.since, seen.session.number));
        }
        sessions
    }

    fn listeners(&self) -> Vec<String> {
        let main = self.acceptors.iter().flat_map(|acceptors| acceptors.addresses());
        main.chain(self.own.iter().copied()).map(|address| address.to_string()).collect()
    }
}

fn bans(service: &Service, now: Instant) -> Vec<Ban> {
    let found = service.locked_out(now).into_iter();
    found.map(|(address, failures, remaining)| Ban { address, failures, remaining }).collect()
}

fn certificates(service: &Service) -> Vec<(String, Timestamp)> {
    let ends = service.security.iter().flat_map(|security| security.acceptor.ends());
    ends.map(|(file, at)| (file.display().to_string(), at)).collect()
}
