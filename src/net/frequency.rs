//! The maximum number of events per minute from one address, such as connections or logins.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::address::client_of;

/// The time in which the events are counted.
const MINUTE: Duration = Duration::from_mins(1);

/// Maximum number of addresses that are remembered. Addresses beyond it are not limited.
const ADDRESSES_MAX: usize = 65_536;

/// A counter of events by address. An address that has been silent may use its events of a minute at once; then they
/// become available one by one.
#[derive(Debug, Default)]
pub struct Frequency {
    /// The time at which all events of an address are available again.
    full_at: Mutex<HashMap<IpAddr, Instant>>,
}

impl Frequency {
    /// Counts an event; returns false if the address has had `most` of them in a minute. With `most` 0 there is no limit.
    pub fn admits(&self, address: IpAddr, most: u32, now: Instant) -> bool {
        let Some(each) = MINUTE.checked_div(most) else { return true };
        let address = client_of(address);
        let mut full_at = self.full_at.lock();
        let found = full_at.get(&address).copied().unwrap_or(now).max(now);
        if found + each > now + MINUTE {
            return false;
        }
        if full_at.len() >= ADDRESSES_MAX {
            full_at.retain(|_, full_at| *full_at > now);
        }
        if full_at.len() < ADDRESSES_MAX || full_at.contains_key(&address) {
            full_at.insert(address, found + each);
        }
        true
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test knows the time")]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn the_events_of_a_minute_are_available_at_once_and_then_one_by_one() {
        let (frequency, start) = (Frequency::default(), Instant::now());
        let admits = |seconds| frequency.admits(HERE, 6, start + Duration::from_secs(seconds));
        assert!((0..6).all(|_| admits(0)));
        assert!(!admits(0) && !admits(9), "a refused event is not counted");
        assert!(admits(10) && !admits(10) && admits(30) && admits(30) && !admits(30));
        assert!((0..6).all(|_| admits(100)) && !admits(100));
        let other = IpAddr::from([127, 0, 0, 2]);
        assert!(frequency.admits(other, 6, start) && frequency.admits(HERE, 0, start));
    }

    #[test]
    fn the_number_of_addresses_is_bounded() {
        let (frequency, start) = (Frequency::default(), Instant::now());
        for number in 0..=u32::try_from(ADDRESSES_MAX).unwrap() {
            assert!(frequency.admits(IpAddr::from(number.to_be_bytes()), 1, start));
        }
        assert_eq!(frequency.full_at.lock().len(), ADDRESSES_MAX);
        assert!(frequency.admits(IpAddr::from([255, 0, 0, 1]), 1, start + MINUTE));
        assert_eq!(frequency.full_at.lock().len(), 1, "silent addresses are forgotten");
    }
}
