//! The maximum number of concurrent clients: in total, and per address.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::address::client_of;
use super::ban_list::BanList;
use super::frequency::Frequency;

/// A counter of the connected clients, with its limits.
#[derive(Debug)]
pub struct ConnectionLimits {
    clients_max: AtomicUsize,
    max_per_ip: AtomicUsize,
    connects_per_minute: AtomicU32,
    connects: Frequency,
    bans: BanList,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The part of all clients, above which an address is turned away while descriptors are scarce.
const SCARCE_SHARE: usize = 4;

/// The limit that a client exceeds; its text is that of the 421 reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitReached {
    /// `--max-clients`.
    Clients,
    /// `--max-per-ip`.
    Address,
    /// The address has more than a quarter of all clients, and few descriptors are free.
    Descriptors,
    /// `--max-connects-per-minute`.
    Frequency,
    /// A ban of an administrator.
    Banned,
}

impl fmt::Display for LimitReached {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Clients => "Too many clients are connected; try again later.",
            Self::Address => "Too many connections from your address.",
            Self::Descriptors => NO_DESCRIPTORS,
            Self::Frequency => {
                "Too many connections per minute from your address; try again later."
            }
            Self::Banned => "Connections from your address are not accepted.",
        })
    }
}

/// The reply to an address that has more than a quarter of all clients while few descriptors are free.
pub const NO_DESCRIPTORS: &str =
    "Too many connections from your address; the server has few file descriptors left.";

/// A permit for one client; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    connection_limits: Arc<ConnectionLimits>,
    address: IpAddr,
    /// A permit of this client from another counter; given back with this one.
    beside: Option<Box<Self>>,
}

impl Permit {
    /// Returns true if the client's address may get no further descriptor while few are free.
    #[must_use]
    pub fn has_large_share(&self) -> bool {
        self.connection_limits.has_large_share(self.address)
    }

    /// Joins two permits of one client, so that they are given back together.
    #[must_use]
    pub fn beside(mut self, other: Self) -> Self {
        self.beside = Some(Box::new(other));
        self
    }
}

impl ConnectionLimits {
    /// Creates a counter with a maximum number of clients, in total and per address.
    #[must_use]
    pub fn new(clients_max: usize, max_per_ip: usize) -> Arc<Self> {
        Arc::new(Self {
            clients_max: clients_max.into(),
            max_per_ip: max_per_ip.into(),
            connects_per_minute: 0.into(),
            connects: Frequency::default(),
            bans: BanList::default(),
            taken: Mutex::default(),
        })
    }

    /// Sets the maximum number of clients, in total and per address. Clients above it keep their permits.
    pub fn set_limits(&self, clients_max: usize, max_per_ip: usize) {
        self.clients_max.store(clients_max, Ordering::Relaxed);
        self.max_per_ip.store(max_per_ip, Ordering::Relaxed);
    }

    /// Returns the maximum number of clients.
    #[must_use]
    pub fn clients_max(&self) -> usize {
        self.clients_max.load(Ordering::Relaxed)
    }

    /// Sets the maximum number of connections per minute from one address; 0 for no limit.
    pub fn set_connects_per_minute(&self, most: u32) {
        self.connects_per_minute.store(most, Ordering::Relaxed);
    }

    /// Takes a permit for a client that connects now; `is_scarce` if few descriptors are free.
    pub fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        is_scarce: bool,
        now: Instant,
    ) -> Result<Permit, LimitReached> {
        if self.bans.contains(address, now) {
            return Err(LimitReached::Banned);
        }
        if is_scarce && self.has_large_share(address) {
            return Err(LimitReached::Descriptors);
        }
        let most = self.connects_per_minute.load(Ordering::Relaxed);
        if self.connects.admits(address, most, now) {
            self.take(address)
        } else {
            Err(LimitReached::Frequency)
        }
    }

    /// Returns the bans of an administrator.
    pub(crate) fn bans(&self) -> &BanList {
        &self.bans
    }

    /// Returns whether all permits are in use.
    #[must_use]
    pub fn are_full(&self) -> bool {
        self.taken() >= self.clients_max.load(Ordering::Relaxed)
    }

    /// Takes a permit for a client from this address.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<Permit, LimitReached> {
        let address = client_of(address);
        let mut taken = self.taken.lock();
        if taken.all >= self.clients_max.load(Ordering::Relaxed) {
            return Err(LimitReached::Clients);
        }
        let here = taken.by_address.entry(address).or_default();
        if *here >= self.max_per_ip.load(Ordering::Relaxed) {
            return Err(LimitReached::Address);
        }
        *here += 1;
        taken.all += 1;
        Ok(Permit { connection_limits: Arc::clone(self), address, beside: None })
    }

    /// Returns true if more than a quarter of all clients come from this address.
    fn has_large_share(&self, address: IpAddr) -> bool {
        let taken = self.taken.lock();
        let here = taken.by_address.get(&client_of(address)).copied().unwrap_or_default();
        here > taken.all / SCARCE_SHARE
    }

    /// Returns the number of permits in use.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.lock().all
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        drop(self.beside.take());
        let mut taken = self.connection_limits.taken.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Some(here) = taken.by_address.get_mut(&self.address) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test knows the time")]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_counted_until_it_is_dropped() {
        let connection_limits = ConnectionLimits::new(3, 2);
        let [here, there] = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])];
        let first = connection_limits.take(here).unwrap();
        let _second = connection_limits.take(here).unwrap();
        assert_eq!(connection_limits.take(here).unwrap_err(), LimitReached::Address);
        let _third = connection_limits.take(there).unwrap();
        assert_eq!(connection_limits.take(there).unwrap_err(), LimitReached::Clients);
        drop(first);
        let _fourth = connection_limits.take(here).unwrap();
        assert_eq!(connection_limits.taken(), 3);
    }

    #[test]
    fn a_new_limit_holds_for_the_next_client() {
        let limits = ConnectionLimits::new(2, 2);
        let here = IpAddr::from([127, 0, 0, 1]);
        let taken = [limits.take(here).unwrap(), limits.take(here).unwrap()];
        assert!(limits.are_full());
        limits.set_limits(3, 3);
        assert!(!limits.are_full() && limits.take(here).is_ok());
        limits.set_limits(1, 3);
        assert_eq!(limits.take(here).unwrap_err(), LimitReached::Clients);
        drop(taken);
        assert!(limits.take(here).is_ok());
    }

    #[test]
    fn while_descriptors_are_scarce_an_address_with_many_clients_gets_no_further_one() {
        let limits = ConnectionLimits::new(99, 99);
        let [here, there] = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])];
        let now = Instant::now();
        let crowd: Vec<Permit> = (0..8).map(|_| limits.take(here).unwrap()).collect();
        assert_eq!(limits.admit(here, true, now).unwrap_err(), LimitReached::Descriptors);
        assert!(limits.admit(here, false, now).is_ok());
        limits.bans().add(here.into(), None, now).unwrap();
        assert_eq!(limits.admit(here, true, now).unwrap_err(), LimitReached::Banned);
        let others = [0; 2].map(|_| limits.admit(there, true, now).unwrap());
        assert!(crowd[0].has_large_share() && !others[0].has_large_share());
        // A third of the clients is a large share, too.
        let _third = limits.admit(there, true, now).unwrap();
        assert_eq!(limits.admit(there, true, now).unwrap_err(), LimitReached::Descriptors);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let connection_limits = ConnectionLimits::new(9, 2);
        let take = |address: &str| connection_limits.take(address.parse().unwrap());
        let seated = [take("2001:db8::1").unwrap(), take("2001:db8::2").unwrap()];
        assert_eq!(take("2001:db8::3").unwrap_err(), LimitReached::Address);
        assert!(take("2001:db8:0:1::1").is_ok());
        drop(seated);
        assert_eq!((connection_limits.taken(), take("2001:db8::3").is_ok()), (0, true));
    }
}
