//! The state of the server at one moment, and its last five minutes. One thread collects it once a second, so that no
//! request of a client causes work in the server.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::balancer::Load;
use crate::events::SessionId;
use crate::pool::Census;
use crate::scoreboard::Seen;
use crate::storage::PlaceHealth;

/// Number of seconds that the graph shows.
pub(super) const HISTORY_SECONDS: usize = 300;

/// Maximum number of sessions and of lockouts that are shown; all are counted.
pub(super) const SHOWN_MAX: usize = 1000;

/// The facts that the server knows of itself. Collected by a function of the server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) listeners: Vec<String>,
    pub(crate) clients: usize,
    pub(crate) clients_max: usize,
    pub(crate) sessions: Vec<Seen>,
    pub(crate) sessions_begun: u64,
    pub(crate) transfers: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) pool: Census,
    pub(crate) slaves: Vec<Load>,
    pub(crate) bans: Vec<Ban>,
    /// Each certificate with its end.
    pub(crate) certificates: Vec<(String, Timestamp)>,
    /// The health of the roots and mounts.
    pub(crate) roots: Vec<PlaceHealth>,
    pub(crate) log_lines_lost: u64,
    pub(crate) is_stopping: bool,
    pub(crate) shows_paths: bool,
}

/// A lockout: of an address, of a user, or of a user at an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ban {
    pub(crate) address: Option<IpAddr>,
    pub(crate) user: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) failures: u32,
    pub(crate) remaining: Duration,
}

/// Bytes a second in each direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rates {
    pub(super) incoming: u64,
    pub(super) outgoing: u64,
}

/// The state at one moment.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) number: u64,
    pub(super) time: Timestamp,
    pub(super) at: Instant,
    pub(super) facts: Facts,
    /// The rates of the last five minutes, the newest last.
    pub(super) history: Arc<VecDeque<Rates>>,
    /// Bytes a second of each transfer in progress.
    pub(super) session_rates: Arc<HashMap<SessionId, u64>>,
}

impl Snapshot {
    /// Returns the first snapshot.
    pub(super) fn first(facts: Facts, at: Instant) -> Self {
        Self {
            number: 0,
            time: Timestamp::now(),
            at,
            facts,
            history: Arc::default(),
            session_rates: Arc::default(),
        }
    }

    /// Returns the snapshot after this one.
    pub(super) fn next(&self, facts: Facts, at: Instant) -> Self {
        let elapsed = at.saturating_duration_since(self.at).as_secs_f64().max(0.001);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate"
        )]
        let rate = |before: u64, now: u64| (now.saturating_sub(before) as f64 / elapsed) as u64;
        let mut history = VecDeque::clone(&self.history);
        if history.len() >= HISTORY_SECONDS {
            history.pop_front();
        }
        history.push_back(Rates {
            incoming: rate(self.facts.bytes_in, facts.bytes_in),
            outgoing: rate(self.facts.bytes_out, facts.bytes_out),
        });
        let before: HashMap<SessionId, u64> = transfers(&self.facts).collect();
        let session_rates = transfers(&facts)
            .map(|(session, bytes)| {
                (session, rate(before.get(&session).copied().unwrap_or(0).min(bytes), bytes))
            })
            .collect();
        Self {
            number: self.number + 1,
            time: Timestamp::now(),
            at,
            facts,
            history: Arc::new(history),
            session_rates: Arc::new(session_rates),
        }
    }

    /// Returns the newest rates.
    pub(super) fn rates(&self) -> Rates {
        self.history.back().copied().unwrap_or_default()
    }

    /// Returns the word for the state, and why the server is not ready, if it is not.
    pub(super) fn state(&self) -> (&'static str, Vec<&'static str>) {
        let facts = &self.facts;
        let is_draining =
            !facts.slaves.is_empty() && facts.slaves.iter().all(|slave| slave.draining);
        let mut because = Vec::new();
        for (is_so, word) in [
            (facts.is_stopping, "stopping"),
            (is_draining, "draining"),
            (facts.clients >= facts.clients_max, "full"),
            (facts.roots.iter().any(|root| root.problem.is_some()), "root-unavailable"),
        ] {
            if is_so {
                because.push(word);
            }
        }
        (because.first().copied().unwrap_or("serving"), because)
    }
}

fn transfers(facts: &Facts) -> impl Iterator<Item = (SessionId, u64)> + '_ {
    facts.sessions.iter().filter_map(|seen| Some((seen.session, seen.transfer.as_ref()?.bytes)))
}
