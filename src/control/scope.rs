//! The parts of a server that a command uses, the form of its answer, and the answers of slave processes.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::acceptors::Acceptors;
use crate::balancer::Balancer;
use crate::balancer::control_client::{PART, SEPARATOR};
use crate::balancer::local_backend::LocalBackend;
use crate::balancer::registry::Registry;
use crate::reload::Live;
use crate::session::Service;

use super::output::{Form, list};

/// Maximum time for the answers of all slave processes.
const SLAVES_TIMEOUT: Duration = Duration::from_secs(2);

/// The parts of a server that the commands read and change.
pub(crate) struct Controls {
    pub(crate) service: Service,
    pub(crate) live: Arc<Live>,
    pub(crate) balancer: Arc<Balancer>,
    pub(crate) backends: Vec<Arc<LocalBackend>>,
    /// The slave processes; a slave process has none.
    pub(crate) registry: Option<Arc<Registry>>,
    /// The main listeners; a slave process has none.
    pub(crate) acceptors: Option<Arc<Acceptors>>,
    /// Locked while the files of users are counted.
    pub(crate) counting: Arc<Mutex<()>>,
    /// Each command that has a thread of its own holds a clone.
    pub(crate) waiting: Arc<()>,
    /// True while a successor starts.
    pub(crate) handing_over: Arc<AtomicBool>,
    /// The time of the start.
    pub(crate) begun: Timestamp,
    pub(crate) clock: fn() -> Instant,
}

/// One command that is carried out.
pub(super) struct Scope<'a> {
    pub(super) controls: &'a Controls,
    pub(super) line: &'a str,
    pub(super) form: Form,
    /// True in a slave process, for a command of its master.
    pub(super) is_part: bool,
    pub(super) now: Instant,
}

impl Scope<'_> {
    /// Returns the service with the limits in effect.
    pub(super) fn service(&self) -> Arc<Service> {
        let newest = self.controls.live.services().into_iter().next();
        newest.unwrap_or_else(|| Arc::new(self.controls.service.clone()))
    }

    /// Joins rows of this process with those of all slave processes.
    pub(super) fn joined(&self, columns: &[&str], mut rows: Vec<String>) -> String {
        if self.is_part {
            rows.push(String::new());
            return rows.join("\n");
        }
        for answer in self.slaves() {
            rows.extend(answer.lines().map(ToOwned::to_owned));
        }
        list(self.form, columns, &rows)
    }

    /// Sends the command to all slave processes, and returns the answers of those that respond.
    pub(super) fn slaves(&self) -> Vec<String> {
        let Some(registry) = self.controls.registry.as_ref().filter(|_| !self.is_part) else {
            return Vec::new();
        };
        let command = format!("{PART}{SEPARATOR}{}", self.line);
        let until = self.now + SLAVES_TIMEOUT;
        registry.ask_slaves(&command, until, self.controls.clock)
    }

    /// Sends the command to all slave processes, and returns the sum of their answers.
    pub(super) fn count_of_slaves(&self) -> usize {
        self.slaves().iter().filter_map(|answer| answer.trim().parse::<usize>().ok()).sum()
    }
}
