//! The sessions and the lockouts of slave processes, for the status server.
//!
//! A thread asks the slave processes, which may hang. So the status server never waits for one. It asks once for each state
//! that it collects, because rates are computed from the bytes in two states.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;
use serde_json::Value;

use crate::balancer::control_client::{PART, SEPARATOR, SESSIONS};
use crate::balancer::registry::Registry;
use crate::scoreboard::{Seen, from_records};
use crate::status::Ban;

/// Maximum time for the answers of all slave processes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The sessions and the lockouts as they were found last.
type Found = (Vec<Seen>, Vec<Ban>);

/// The thread that asks the slave processes, and what it has found.
#[derive(Debug)]
pub(super) struct SlaveSessions {
    ask: Sender<()>,
    found: Arc<Mutex<Found>>,
}

impl SlaveSessions {
    /// Starts the thread. It is not joined; it ends after the status server.
    ///
    /// # Errors
    /// The kernel's error, if there is no thread.
    pub(super) fn start(registry: Arc<Registry>, now: fn() -> Instant) -> io::Result<Self> {
        let (ask, asked) = bounded(1);
        let found: Arc<Mutex<Found>> = Arc::default();
        let latest = Arc::clone(&found);
        let answers = move |command: &[&str]| {
            registry.ask_slaves(&command.join(SEPARATOR), now() + ANSWER_TIMEOUT, now)
        };
        let run = move || {
            while asked.recv().is_ok() {
                let sessions = answers(&[PART, "text", SESSIONS]);
                let at = now();
                let sessions = sessions.iter().flat_map(|answer| from_records(answer, at));
                let bans = answers(&[PART, "json", "bans"]);
                let bans = bans.iter().flat_map(|answer| answer.lines().filter_map(lockout));
                *latest.lock() = (sessions.collect(), bans.collect());
            }
        };
        std::thread::Builder::new().name("slave-sessions".to_owned()).spawn(run)?;
        Ok(Self { ask, found })
    }

    /// Returns the sessions and the lockouts as they were found last, and has them looked up again.
    pub(super) fn next(&self) -> Found {
        let found = self.found.lock().clone();
        // A full channel means that the question before is not answered yet.
        let _asked = self.ask.try_send(());
        found
    }
}

/// Parses a line of the answer to `bans` in JSON.
fn lockout(line: &str) -> Option<Ban> {
    let row: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| row.get(name).and_then(Value::as_str);
    let number = |name: &str| row.get(name)?.as_u64();
    Some(Ban {
        address: text("network").and_then(|address| address.parse().ok()),
        user: text("user").map(ToOwned::to_owned),
        host: text("host").map(ToOwned::to_owned),
        failures: u32::try_from(number("failures")?).ok()?,
        remaining: Duration::from_secs(number("remaining")?),
    })
}
