//! The maximum number of concurrent clients: in total, and per address.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::client_of;

/// A counter of the connected clients, with its limits.
#[derive(Debug)]
pub struct Seats {
    clients_max: AtomicUsize,
    per_address_max: AtomicUsize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The limit that a client exceeds; its text is that of the 421 reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// `--max-clients`.
    Clients,
    /// `--max-per-ip`.
    Address,
}

impl fmt::Display for Full {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Clients => "Too many clients are connected; try again later.",
            Self::Address => "Too many connections from your address.",
        })
    }
}

/// A permit for one client; given back when dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    address: IpAddr,
    /// A permit of this client from another counter; given back with this one.
    beside: Option<Box<Self>>,
}

impl Seat {
    /// Joins two permits of one client, so that they are given back together.
    #[must_use]
    pub fn beside(mut self, other: Self) -> Self {
        self.beside = Some(Box::new(other));
        self
    }
}

impl Seats {
    /// Creates a counter with a maximum number of clients, in total and per address.
    #[must_use]
    pub fn new(clients_max: usize, per_address_max: usize) -> Arc<Self> {
        Arc::new(Self {
            clients_max: clients_max.into(),
            per_address_max: per_address_max.into(),
            taken: Mutex::default(),
        })
    }

    /// Sets the maximum number of clients, in total and per address. Clients above it keep their permits.
    pub fn set_limits(&self, clients_max: usize, per_address_max: usize) {
        self.clients_max.store(clients_max, Ordering::Relaxed);
        self.per_address_max.store(per_address_max, Ordering::Relaxed);
    }

    /// Returns whether all permits are in use.
    #[must_use]
    pub fn are_full(&self) -> bool {
        self.taken() >= self.clients_max.load(Ordering::Relaxed)
    }

    /// Takes a permit for a client from this address.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<Seat, Full> {
        let address = client_of(address);
        let mut taken = self.taken.lock();
        if taken.all >= self.clients_max.load(Ordering::Relaxed) {
            return Err(Full::Clients);
        }
        let here = taken.by_address.entry(address).or_default();
        if *here >= self.per_address_max.load(Ordering::Relaxed) {
            return Err(Full::Address);
        }
        *here += 1;
        taken.all += 1;
        Ok(Seat { seats: Arc::clone(self), address, beside: None })
    }

    /// Returns the number of permits in use.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.lock().all
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        drop(self.beside.take());
        let mut taken = self.seats.taken.lock();
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
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_counted_until_it_is_dropped() {
        let seats = Seats::new(3, 2);
        let [here, there] = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])];
        let first = seats.take(here).unwrap();
        let _second = seats.take(here).unwrap();
        assert_eq!(seats.take(here).unwrap_err(), Full::Address);
        let _third = seats.take(there).unwrap();
        assert_eq!(seats.take(there).unwrap_err(), Full::Clients);
        drop(first);
        let _fourth = seats.take(here).unwrap();
        assert_eq!(seats.taken(), 3);
    }

    #[test]
    fn a_new_limit_holds_for_the_next_client() {
        let seats = Seats::new(2, 2);
        let here = IpAddr::from([127, 0, 0, 1]);
        let seated = [seats.take(here).unwrap(), seats.take(here).unwrap()];
        assert!(seats.are_full());
        seats.set_limits(3, 3);
        assert!(!seats.are_full() && seats.take(here).is_ok());
        seats.set_limits(1, 3);
        assert_eq!(seats.take(here).unwrap_err(), Full::Clients);
        drop(seated);
        assert!(seats.take(here).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let seats = Seats::new(9, 2);
        let take = |address: &str| seats.take(address.parse().unwrap());
        let seated = [take("2001:db8::1").unwrap(), take("2001:db8::2").unwrap()];
        assert_eq!(take("2001:db8::3").unwrap_err(), Full::Address);
        assert!(take("2001:db8:0:1::1").is_ok());
        drop(seated);
        assert_eq!((seats.taken(), take("2001:db8::3").is_ok()), (0, true));
    }
}
