//! Logins that failed, remembered by address and by user: who guesses waits longer each time, and is locked out.
//!
//! The answer to a wrong password comes late, and as late for a name that nobody has. After `lockout_failures` in a row an
//! address is refused for `lockout`, and so is a user, who may have been guessed at from many addresses. A login that
//! succeeds forgets both; networks that are trusted are never locked out.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::Limits;

/// How many addresses and how many users are remembered. Beyond, those are forgotten that failed longest ago.
const REMEMBERED_MAX: usize = 16 * 1024;

/// How often the delay is doubled.
const DOUBLINGS_MAX: u32 = 3;

/// By how much more than of an address the guesses at one user may be, from everywhere together.
const USER_FACTOR: u32 = 5;

/// An IPv6 client has a whole network to guess from.
const IPV6_PREFIX_BITS: u32 = 64;

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Guard {
    addresses: Mutex<Memory<IpAddr>>,
    users: Mutex<Memory<Vec<u8>>>,
}

/// Why a login is not even tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LockedOut {
    /// Its address is.
    Address {
        /// For so long.
        remaining: Duration,
    },
    /// The user is: told as a wrong password is.
    User,
}

impl Guard {
    /// Whether this user may try from this address.
    pub(super) fn check(
        &self,
        user: &[u8],
        from: IpAddr,
        limits: &Limits,
        now: Instant,
    ) -> Result<(), LockedOut> {
        if is_trusted(from, limits) {
            return Ok(());
        }
        let remaining = |at: Instant| (at + limits.lockout).saturating_duration_since(now);
        let found = self.addresses.lock().find(&network_of(from), limits.lockout, now);
        match found {
            Some(Failures { count, last }) if count >= limits.lockout_failures => {
                return Err(LockedOut::Address { remaining: remaining(last) });
            }
            _ => {}
        }
        let found = self.users.lock().find(&user.to_vec(), limits.lockout, now);
        let most = limits.lockout_failures.saturating_mul(USER_FACTOR);
        if found.is_some_and(|found| found.count >= most) { Err(LockedOut::User) } else { Ok(()) }
    }

    /// Notes a failure; how long its answer has to wait.
    pub(super) fn failed(
        &self,
        user: &[u8],
        from: IpAddr,
        limits: &Limits,
        now: Instant,
    ) -> Duration {
        let count = self.addresses.lock().add(network_of(from), limits.lockout, now);
        if !is_trusted(from, limits) {
            self.users.lock().add(user.to_vec(), limits.lockout, now);
        }
        limits.login_delay * 2_u32.pow(count.saturating_sub(1).min(DOUBLINGS_MAX))
    }

    /// Forgets the failures.
    pub(super) fn succeeded(&self, user: &[u8], from: IpAddr) {
        self.addresses.lock().0.remove(&network_of(from));
        self.users.lock().0.remove(user);
    }
}

fn is_trusted(address: IpAddr, limits: &Limits) -> bool {
    limits.trusted.iter().any(|network| network.contains(&address))
}

fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - IPV6_PREFIX_BITS))).into()
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

#[derive(Debug)]
struct Memory<K>(HashMap<K, Failures>);

impl<K> Default for Memory<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Clone> Memory<K> {
    /// The failures of the last time.
    fn find(&self, key: &K, memory: Duration, now: Instant) -> Option<Failures> {
        self.0.get(key).copied().filter(|found| now < found.last + memory)
    }

    /// One more; how many there are now.
    fn add(&mut self, key: K, memory: Duration, now: Instant) -> u32 {
        let count = self.find(&key, memory, now).map_or(0, |found| found.count).saturating_add(1);
        if self.0.len() >= REMEMBERED_MAX && !self.0.contains_key(&key) {
            self.make_room(memory, now);
        }
        self.0.insert(key, Failures { count, last: now });
        count
    }

    /// The older half goes; most of it has been forgiven by then.
    fn make_room(&mut self, memory: Duration, now: Instant) {
        self.0.retain(|_, found| now < found.last + memory);
        let mut times: Vec<Instant> = self.0.values().map(|found| found.last).collect();
        if times.len() >= REMEMBERED_MAX {
            let middle = times.len() / 2;
            let (_, median, _) = times.select_nth_unstable(middle);
            let median = *median;
            self.0.retain(|_, found| found.last > median);
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test knows the time")]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            login_delay: Duration::from_secs(1),
            lockout_failures: 3,
            lockout: Duration::from_mins(10),
            trusted: vec!["192.0.2.0/24".parse().unwrap()],
            ..Limits::default()
        }
    }

    #[test]
    fn who_fails_waits_longer_each_time_and_is_locked_out_until_the_time_is_over() {
        let (guard, limits, now) = (Guard::default(), limits(), Instant::now());
        let from = IpAddr::from([127, 0, 0, 1]);
        for seconds in [1, 2, 4] {
            assert_eq!(guard.check(b"a", from, &limits, now), Ok(()));
            assert_eq!(guard.failed(b"a", from, &limits, now), Duration::from_secs(seconds));
        }
        let remaining = limits.lockout;
        assert_eq!(
            guard.check(b"other", from, &limits, now),
            Err(LockedOut::Address { remaining })
        );
        let elsewhere = IpAddr::from([127, 0, 0, 2]);
        assert_eq!(guard.check(b"a", elsewhere, &limits, now), Ok(()));
        assert_eq!(guard.check(b"a", from, &limits, now + limits.lockout), Ok(()));
        guard.succeeded(b"a", from);
        assert_eq!(guard.failed(b"a", from, &limits, now), Duration::from_secs(1));
    }

    #[test]
    fn a_user_who_is_guessed_at_from_everywhere_is_locked_out_but_for_trusted_networks() {
        let (guard, limits, now) = (Guard::default(), limits(), Instant::now());
        for last in 0..15 {
            let from = IpAddr::from([198, 51, 100, last]);
            assert_eq!(guard.check(b"a", from, &limits, now), Ok(()));
            guard.failed(b"a", from, &limits, now);
        }
        let from = IpAddr::from([203, 0, 113, 1]);
        assert_eq!(guard.check(b"a", from, &limits, now), Err(LockedOut::User));
        assert_eq!(guard.check(b"b", from, &limits, now), Ok(()));
        assert_eq!(guard.check(b"a", IpAddr::from([192, 0, 2, 9]), &limits, now), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_memory_is_bounded() {
        let (guard, limits, now) = (Guard::default(), limits(), Instant::now());
        for last in 1..=3_u128 {
            guard.failed(
                b"a",
                Ipv6Addr::from_bits((0x2001_0db8 << 96) + last).into(),
                &limits,
                now,
            );
        }
        let other = Ipv6Addr::from_bits((0x2001_0db8 << 96) + 99).into();
        assert!(guard.check(b"b", other, &limits, now).is_err());
        for number in 0..40_000_u32 {
            let now = now + Duration::from_millis(number.into());
            guard.failed(&number.to_be_bytes(), IpAddr::from(number.to_be_bytes()), &limits, now);
        }
        assert!(guard.addresses.lock().0.len() <= REMEMBERED_MAX);
        assert!(guard.users.lock().0.len() <= REMEMBERED_MAX);
    }
}
