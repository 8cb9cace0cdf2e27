//! The sessions of slave processes, for the status server.
//!
//! A thread asks the slave processes, which may hang. So the status server never waits for one. It asks once for each state
//! that it collects, because rates are computed from the bytes in two states.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;

use crate::balancer::control_client::{PART, SEPARATOR, SESSIONS};
use crate::balancer::registry::Registry;
use crate::scoreboard::{Seen, from_records};

/// Maximum time for the answers of all slave processes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The sessions as they were found last.
#[derive(Debug)]
pub(super) struct SlaveSessions {
    ask: Sender<()>,
    found: Arc<Mutex<Vec<Seen>>>,
}

impl SlaveSessions {
    /// Starts the thread. It is not joined; it ends after the status server.
    ///
    /// # Errors
    /// The kernel's error, if there is no thread.
    pub(super) fn start(registry: Arc<Registry>, now: fn() -> Instant) -> io::Result<Self> {
        let (ask, asked) = bounded(1);
        let found = Arc::new(Mutex::new(Vec::new()));
        let latest = Arc::clone(&found);
        let command = [PART, "text", SESSIONS].join(SEPARATOR);
        let run = move || {
            while asked.recv().is_ok() {
                let answers = registry.ask_slaves(&command, now() + ANSWER_TIMEOUT, now);
                let at = now();
                *latest.lock() =
                    answers.iter().flat_map(|answer| from_records(answer, at)).collect();
            }
        };
        std::thread::Builder::new().name("slave-sessions".to_owned()).spawn(run)?;
        Ok(Self { ask, found })
    }

    /// Returns the sessions as they were found last, and has them looked up again.
    pub(super) fn next(&self) -> Vec<Seen> {
        let found = self.found.lock().clone();
        // A full channel means that the question before is not answered yet.
        let _asked = self.ask.try_send(());
        found
    }
}
