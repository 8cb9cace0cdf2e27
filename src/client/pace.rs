//! `--limit`: transfers that take no more than so many bytes a second.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use super::{ClientError, Interrupt};

/// How long one wait lasts at most before it looks whether the user wants it to end.
const INTERRUPT_CHECK: Duration = Duration::from_millis(100);

/// How often a second a limited transfer moves something: the smoothness of its flow.
const CHUNKS_PER_SECOND: u64 = 16;

/// Keeps one transfer at its rate.
#[derive(Debug)]
pub(super) struct Pace {
    limit: Option<NonZeroU64>,
    begun: Instant,
    bytes: u64,
}

impl Pace {
    pub(super) fn new(limit: Option<NonZeroU64>) -> Self {
        Self { limit, begun: now(), bytes: 0 }
    }

    /// How much may be moved at once, so that the flow is smooth.
    pub(super) fn chunk(&self, bytes_max: usize) -> usize {
        let smooth = self.limit.map_or(u64::MAX, |limit| limit.get() / CHUNKS_PER_SECOND);
        usize::try_from(smooth).unwrap_or(usize::MAX).clamp(1, bytes_max)
    }

    /// So many bytes were moved: waits until that is no faster than the limit.
    pub(super) fn moved(&mut self, bytes: usize, interrupt: &Interrupt) -> Result<(), ClientError> {
        let Some(limit) = self.limit else { return Ok(()) };
        self.bytes += bytes as u64;
        let nanoseconds = u128::from(self.bytes) * 1_000_000_000 / u128::from(limit.get());
        let due = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        wait_until(self.begun + due, interrupt)
    }
}

/// Waits for a while, or until the user wants it to end.
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

#[allow(clippy::disallowed_methods, reason = "a person waits here: the clock is theirs")]
fn now() -> Instant {
    Instant::now()
}
