//! Rate limits, which transfers share: those of a user, of an address, or of the server.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A rate limit that several transfers share. Each byte delays the moment when the next byte may be transferred.
#[derive(Debug, Default)]
pub struct RateLimit {
    /// The maximum number of bytes per second; 0 for no limit.
    bytes_per_second: AtomicU64,
    free_at: Mutex<Option<Instant>>,
}

impl RateLimit {
    /// Creates a limit of this number of bytes per second.
    #[must_use]
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second: bytes_per_second.get().into(), free_at: Mutex::default() }
    }

    /// Returns the limit in bytes per second.
    #[must_use]
    pub fn bytes_per_second(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.bytes_per_second.load(Ordering::Relaxed))
    }

    /// Sets the limit, also for the transfers that run.
    pub fn set(&self, bytes_per_second: Option<NonZeroU64>) {
        let rate = bytes_per_second.map_or(0, NonZeroU64::get);
        if self.bytes_per_second.swap(rate, Ordering::Relaxed) != rate {
            // A pause for the earlier rate does not go on.
            *self.free_at.lock() = None;
        }
    }

    /// Returns the time until which no bytes may be transferred, if it is in the future.
    #[must_use]
    pub fn busy_until(&self, now: Instant) -> Option<Instant> {
        self.bytes_per_second()?;
        self.free_at.lock().filter(|free_at| *free_at > now)
    }

    /// Returns the number of bytes that may be transferred at once: those of a tenth of a second.
    #[must_use]
    pub fn slice(&self) -> usize {
        self.bytes_per_second().map_or(usize::MAX, |rate| {
            usize::try_from(rate.get() / 10).unwrap_or(usize::MAX).max(1)
        })
    }

    /// Records that this number of bytes was transferred.
    pub fn charge(&self, bytes: u64, now: Instant) {
        let Some(rate) = self.bytes_per_second() else { return };
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact to the byte")]
        let took = Duration::from_secs_f64(bytes as f64 / rate.get() as f64);
        let mut free_at = self.free_at.lock();
        *free_at = Some(free_at.map_or(now, |free_at| free_at.max(now)) + took);
    }
}

/// The rate limits of one direction: that of the server, and one for each address.
#[derive(Debug, Default)]
pub struct SharedRates {
    server: Arc<RateLimit>,
    per_address: Mutex<PerAddress>,
}

#[derive(Debug, Default)]
struct PerAddress {
    rate: Option<NonZeroU64>,
    /// The limits of the addresses with a transfer.
    limits: HashMap<IpAddr, Weak<RateLimit>>,
}

impl SharedRates {
    /// Sets the limits in bytes per second, also for the transfers that run.
    pub fn set(&self, server: Option<NonZeroU64>, address: Option<NonZeroU64>) {
        self.server.set(server);
        let mut per_address = self.per_address.lock();
        per_address.rate = address;
        for limit in per_address.limits.values().filter_map(Weak::upgrade) {
            limit.set(address);
        }
    }

    /// Returns the limit of the server.
    #[must_use]
    pub fn of_server(&self) -> Arc<RateLimit> {
        Arc::clone(&self.server)
    }

    /// Returns the limit that all transfers of an address share.
    #[must_use]
    pub fn of_address(&self, address: IpAddr) -> Arc<RateLimit> {
        let mut per_address = self.per_address.lock();
        if let Some(limit) = per_address.limits.get(&address).and_then(Weak::upgrade) {
            return limit;
        }
        // Before the map grows, those of addresses without a transfer go.
        if per_address.limits.len() == per_address.limits.capacity() {
            per_address.limits.retain(|_, limit| limit.strong_count() > 0);
        }
        let limit = Arc::new(RateLimit::default());
        limit.set(per_address.rate);
        per_address.limits.insert(address, Arc::downgrade(&limit));
        limit
    }
}

/// The rate limits of one transfer: of the user, of the address and of the server.
#[derive(Debug, Default)]
pub struct TransferRates(Vec<Arc<RateLimit>>);

impl TransferRates {
    /// Creates the limits of a transfer.
    #[must_use]
    pub fn new(limits: impl IntoIterator<Item = Arc<RateLimit>>) -> Self {
        Self(limits.into_iter().collect())
    }

    /// Returns the time until which no bytes may be transferred, if it is in the future.
    #[must_use]
    pub fn busy_until(&self, now: Instant) -> Option<Instant> {
        self.0.iter().filter_map(|limit| limit.busy_until(now)).max()
    }

    /// Returns how many of `bytes` may be transferred at once.
    #[must_use]
    pub fn slice(&self, bytes: usize) -> usize {
        self.0.iter().fold(bytes, |bytes, limit| bytes.min(limit.slice()))
    }

    /// Records that this number of bytes was transferred.
    pub fn charge(&self, bytes: u64, now: Instant) {
        self.0.iter().for_each(|limit| limit.charge(bytes, now));
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test knows the time")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_rate_is_shared_by_all_who_move_bytes() {
        let (rate_limit, start) = (RateLimit::new(NonZeroU64::new(1000).unwrap()), Instant::now());
        assert_eq!((rate_limit.busy_until(start), rate_limit.slice()), (None, 100));
        rate_limit.charge(500, start);
        rate_limit.charge(500, start);
        let later = start + SECOND;
        assert_eq!(rate_limit.busy_until(start), Some(later));
        assert_eq!(rate_limit.busy_until(later), None);
        rate_limit.charge(1, later + Duration::from_secs(9));
        let end = later + Duration::from_millis(9001);
        assert_eq!(rate_limit.busy_until(later), Some(end), "what was not used is not saved up");
    }

    #[test]
    fn of_several_limits_the_lowest_counts() {
        let rates = SharedRates::default();
        let [here, there] = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])];
        rates.set(NonZeroU64::new(1000), NonZeroU64::new(100));
        let of = |address| TransferRates::new([rates.of_server(), rates.of_address(address)]);
        let (one, two, other) = (of(here), of(here), of(there));
        let start = Instant::now();
        assert_eq!(one.slice(1 << 20), 10);
        one.charge(100, start);
        assert_eq!(one.busy_until(start), Some(start + SECOND));
        assert_eq!(two.busy_until(start), Some(start + SECOND), "the address is the same");
        assert_eq!(other.busy_until(start), Some(start + SECOND / 10), "of the server only");
    }

    #[test]
    fn a_new_limit_holds_for_the_transfers_that_run() {
        let rates = SharedRates::default();
        let here = IpAddr::from([127, 0, 0, 1]);
        let one = TransferRates::new([rates.of_server(), rates.of_address(here)]);
        let start = Instant::now();
        one.charge(1 << 40, start);
        assert_eq!((one.busy_until(start), one.slice(1 << 20)), (None, 1 << 20));
        rates.set(None, NonZeroU64::new(1000));
        one.charge(1 << 20, start);
        assert!(one.busy_until(start).is_some() && one.slice(1 << 20) == 100);
        rates.set(NonZeroU64::new(500), None);
        assert_eq!((one.busy_until(start), one.slice(1 << 20)), (None, 50));
    }

    #[test]
    fn limits_of_addresses_without_a_transfer_are_forgotten() {
        let rates = SharedRates::default();
        for number in 0..100_000_u32 {
            drop(rates.of_address(IpAddr::from(number.to_be_bytes())));
        }
        assert!(rates.per_address.lock().limits.len() < 1000);
    }
}
