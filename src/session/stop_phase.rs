//! The stop of a server, as its sessions see it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// The time after its last command in which a client is expected to send the next one. A program that has connected, or
/// is about to begin a transfer, sends its commands one after the other.
const QUIET_TIME: Duration = Duration::from_secs(1);

/// The phase of the stop. It only advances.
#[derive(Debug, Default)]
pub(super) struct StopPhase(AtomicU8);

impl StopPhase {
    /// Each session may finish one transfer; those whose clients are quiet end.
    pub(super) const FINISHING: u8 = 1;
    /// Every session ends at its next command.
    pub(super) const DISMISSING: u8 = 2;

    pub(super) fn advance(&self, phase: u8) {
        self.0.fetch_max(phase, Ordering::AcqRel);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.0.load(Ordering::Acquire) >= Self::FINISHING
    }

    /// Returns when a session ends that has received its last command at this time; `None` if the server does not stop.
    pub(super) fn ends_at(&self, last_activity: Instant) -> Option<Instant> {
        match self.0.load(Ordering::Acquire) {
            Self::DISMISSING => Some(last_activity),
            Self::FINISHING => Some(last_activity + QUIET_TIME),
            _ => None,
        }
    }
}
