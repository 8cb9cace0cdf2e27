//! `--limit`: transfers with a maximum rate in bytes per second.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use super::error::ClientError;
use super::interrupt::Interrupt;

/// Maximum length of one wait before it checks for an interrupt by the user.
const INTERRUPT_CHECK: Duration = Duration::from_millis(100);

/// Number of chunks per second that a limited transfer moves; more chunks make a smoother flow.
const CHUNKS_PER_SECOND: u64 = 16;

/// Keeps one transfer within its rate limit.
#[derive(Debug)]
pub(super) struct RateLimit {
    limit: Option<NonZeroU64>,
    begun: Instant,
    bytes: u64,
}

impl RateLimit {
    pub(super) fn new(limit: Option<NonZeroU64>) -> Self {
        Self { limit, begun: now(), bytes: 0 }
    }

    /// Returns the maximum number of bytes to move at once, so that the flow is smooth.
    pub(super) fn chunk(&self, bytes_max: usize) -> usize {
        let smooth = self.limit.map_or(u64::MAX, |limit| limit.get() / CHUNKS_PER_SECOND);
        usize::try_from(smooth).unwrap_or(usize::MAX).clamp(1, bytes_max)
    }

    /// Counts `bytes` as moved, and waits until the average rate is within the limit.
    pub(super) fn moved(&mut self, bytes: usize, interrupt: &Interrupt) -> Result<(), ClientError> {
        let Some(limit) = self.limit else { return Ok(()) };
        self.bytes += bytes as u64;
        let nanoseconds = u128::from(self.bytes) * 1_000_000_000 / u128::from(limit.get());
        let due = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        wait_until(self.begun + due, interrupt)
    }
}

/// Waits for `duration`; an interrupt by the user ends the wait with an error.
pub(super) fn wait(duration: Duration, interrupt: &Interrupt) -> Result<(), ClientError> {
    wait_until(now() + duration, interrupt)
}

fn wait_until(until: Instant, interrupt: &Interrupt) -> Result<(), ClientError> {
    loop {
        interrupt.check()?;
        let left = until.saturating_duration_since(now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::park_timeout(left.min(INTERRUPT_CHECK));
    }
}

#[expect(clippy::disallowed_methods, reason = "a person waits here: the clock is theirs")]
fn now() -> Instant {
    Instant::now()
}
