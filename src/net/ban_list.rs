//! Networks whose connections an administrator has banned.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use parking_lot::Mutex;

/// Maximum number of bans.
const BANS_MAX: usize = 4096;

/// The bans of a server. They end with its process.
#[derive(Debug, Default)]
pub(crate) struct BanList {
    bans: Mutex<Vec<(IpNet, Option<Instant>)>>,
    /// Number of bans, so that a server without bans takes no lock for a connection.
    count: AtomicUsize,
}

/// The list is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BanListFull;

impl BanList {
    /// Bans a network until a time, or until it is unbanned.
    ///
    /// # Errors
    /// If there are too many bans.
    pub(crate) fn add(
        &self,
        network: IpNet,
        until: Option<Instant>,
        now: Instant,
    ) -> Result<(), BanListFull> {
        let mut bans = self.bans.lock();
        bans.retain(|(other, until)| *other != network && is_in_force(*until, now));
        if bans.len() >= BANS_MAX {
            return Err(BanListFull);
        }
        bans.push((network, until));
        self.count.store(bans.len(), Ordering::Release);
        Ok(())
    }

    /// Removes the bans that contain this network or are within it; returns their number.
    pub(crate) fn remove(&self, network: &IpNet) -> usize {
        let mut bans = self.bans.lock();
        let before = bans.len();
        bans.retain(|(other, _)| !other.contains(network) && !network.contains(other));
        self.count.store(bans.len(), Ordering::Release);
        before - bans.len()
    }

    /// Returns whether this address is banned.
    pub(crate) fn contains(&self, address: IpAddr, now: Instant) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let bans = self.bans.lock();
        bans.iter().any(|(network, until)| network.contains(&address) && is_in_force(*until, now))
    }

    /// Returns all bans, with the time that is left of each.
    pub(crate) fn all(&self, now: Instant) -> Vec<(IpNet, Option<Duration>)> {
        let bans = self.bans.lock();
        let in_force = bans.iter().filter(|(_, until)| is_in_force(*until, now));
        in_force
            .map(|(network, until)| {
                (*network, until.map(|until| until.saturating_duration_since(now)))
            })
            .collect()
    }
}

fn is_in_force(until: Option<Instant>, now: Instant) -> bool {
    until.is_none_or(|until| now < until)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test knows the time")]
mod tests {
    use super::*;

    #[test]
    fn a_ban_holds_for_its_network_until_its_time_or_until_it_is_removed() {
        let (list, now) = (BanList::default(), Instant::now());
        let (minute, address) = (Duration::from_mins(1), "192.0.2.7".parse().unwrap());
        assert!(!list.contains(address, now));
        list.add("192.0.2.0/24".parse().unwrap(), Some(now + minute), now).unwrap();
        assert!(list.contains(address, now));
        assert!(!list.contains("192.0.3.7".parse().unwrap(), now));
        assert!(!list.contains(address, now + minute));
        list.add("2001:db8::/32".parse().unwrap(), None, now).unwrap();
        assert_eq!(list.all(now + minute), [("2001:db8::/32".parse().unwrap(), None)]);
        assert_eq!(list.remove(&"192.0.2.7/32".parse().unwrap()), 1);
        assert!(!list.contains(address, now));
    }

    #[test]
    fn a_full_list_is_an_error_and_ended_bans_make_room() {
        let (list, now) = (BanList::default(), Instant::now());
        let network = |number: usize| {
            let [.., a, b] = u32::try_from(number).unwrap().to_be_bytes();
            IpNet::from(IpAddr::from([10, 0, a, b]))
        };
        for number in 0..BANS_MAX {
            list.add(network(number), Some(now + Duration::from_secs(1)), now).unwrap();
        }
        assert_eq!(list.add(network(BANS_MAX), None, now), Err(BanListFull));
        assert_eq!(list.add(network(BANS_MAX), None, now + Duration::from_secs(1)), Ok(()));
    }
}
