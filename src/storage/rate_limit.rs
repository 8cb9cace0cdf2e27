//! Rate limits, which the transfers of a user share.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A rate limit that several transfers share. Each byte delays the moment when the next byte may be transferred.
#[derive(Debug)]
pub struct RateLimit {
    bytes_per_second: NonZeroU64,
    free_at: Mutex<Option<Instant>>,
}

impl RateLimit {
    /// Creates a limit of this number of bytes per second.
    #[must_use]
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, free_at: Mutex::default() }
    }

    /// Returns the limit in bytes per second.
    #[must_use]
    pub fn bytes_per_second(&self) -> NonZeroU64 {
        self.bytes_per_second
    }

    /// Returns the time until which no bytes may be transferred, if it is in the future.
    #[must_use]
    pub fn busy_until(&self, now: Instant) -> Option<Instant> {
        self.free_at.lock().filter(|free_at| *free_at > now)
    }

    /// Returns the number of bytes that may be transferred at once: those of a tenth of a second.
    #[must_use]
    pub fn slice(&self) -> usize {
        usize::try_from(self.bytes_per_second.get() / 10).unwrap_or(usize::MAX).max(1)
    }

    /// Records that this number of bytes was transferred.
    pub fn charge(&self, bytes: u64, now: Instant) {
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact to the byte")]
        let took = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second.get() as f64);
        let mut free_at = self.free_at.lock();
        *free_at = Some(free_at.map_or(now, |free_at| free_at.max(now)) + took);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test knows the time")]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_shared_by_all_who_move_bytes() {
        let (rate_limit, start) = (RateLimit::new(NonZeroU64::new(1000).unwrap()), Instant::now());
        assert_eq!((rate_limit.busy_until(start), rate_limit.slice()), (None, 100));
        rate_limit.charge(500, start);
        rate_limit.charge(500, start);
        let later = start + Duration::from_secs(1);
        assert_eq!(rate_limit.busy_until(start), Some(later));
        assert_eq!(rate_limit.busy_until(later), None);
        rate_limit.charge(1, later + Duration::from_secs(9));
        let end = later + Duration::from_millis(9001);
        assert_eq!(rate_limit.busy_until(later), Some(end), "what was not used is not saved up");
    }
}
