//! `--limit`: transfers with a maximum rate in bytes per second, which all connections of a client share.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::error::ClientError;
use super::interrupt::Interrupt;

/// Maximum length of one wait before it checks for an interrupt by the user.
const INTERRUPT_CHECK: Duration = Duration::from_millis(100);

/// Number of chunks per second that a limited transfer moves; more chunks make a smoother flow.
const CHUNKS_PER_SECOND: u64 = 16;

/// A maximum transfer rate. Clones share it: it is the rate of all their transfers together.
#[derive(Debug, Clone)]
pub struct RateLimit {
    bytes_per_second: NonZeroU64,
    /// Time at which all bytes that have moved are paid for.
    paid: Arc<Mutex<Instant>>,
}

impl RateLimit {
    /// Creates a limit in bytes per second.
    #[must_use]
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, paid: Arc::new(Mutex::new(now())) }
    }

    /// Returns the maximum number of bytes to move at once, so that the flow is smooth.
    pub(super) fn chunk(limit: Option<&Self>, bytes_max: usize) -> usize {
        let smooth =
            limit.map_or(u64::MAX, |limit| limit.bytes_per_second.get() / CHUNKS_PER_SECOND);
        usize::try_from(smooth).unwrap_or(usize::MAX).clamp(1, bytes_max)
    }

    /// Counts `bytes` as moved, and waits until the rate of all transfers is within the limit.
    pub(super) fn moved(
        limit: Option<&Self>,
        bytes: usize,
        interrupt: &Interrupt,
    ) -> Result<(), ClientError> {
        limit.map_or(Ok(()), |limit| wait_until(limit.pay(now(), bytes), interrupt))
    }

    /// Returns the time at which these bytes are paid for, behind all bytes before them.
    fn pay(&self, now: Instant, bytes: usize) -> Instant {
        let nanoseconds = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_second.get());
        let price = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let mut paid = self.paid.lock();
        *paid = (*paid).max(now) + price;
        *paid
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_one_rate_and_idle_time_is_not_saved_up() {
        let second = Duration::from_secs(1);
        let one = RateLimit::new(NonZeroU64::new(1000).unwrap());
        let (other, start) = (one.clone(), now());
        assert_eq!(one.pay(start, 1000), start + second);
        assert_eq!(other.pay(start, 500), start + second * 3 / 2);
        assert_eq!(one.pay(start + second * 9, 1000), start + second * 10);
        assert_eq!(RateLimit::chunk(Some(&one), 9000), 62);
        assert_eq!(RateLimit::chunk(None, 9000), 9000);
    }
}
