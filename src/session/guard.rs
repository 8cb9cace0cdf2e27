//! Logins that failed, remembered by address and by user: who guesses waits longer each time, and is locked out.
//!
//! The answer to a wrong password comes late, and as late for a name that nobody has. After `lockout_failures`, none of which
//! is older than `lockout`, an address is refused for that long, and so is a user, who may have been guessed at from many
//! addresses. A user who logs in is forgiven; networks that are trusted are never locked out.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::Limits;

/// How many addresses and how many users are remembered. Beyond, those are forgotten that failed longest ago.
const REMEMBERED_MAX: usize = 16 * 1024;

/// How much of a name is remembered, in bytes.
const NAME_BYTES_MAX: usize = 255;

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
    /// Lets a user try from an address. The try counts as a failure until it is known to be none, so that many at once are
    /// not more than one after the other. Returns how long the answer has to wait if it is one.
    pub(super) fn attempt(
        &self,
        user: &[u8],
        from: IpAddr,
        limits: &Limits,
        now: Instant,
    ) -> Result<Duration, LockedOut> {
        let (network, user) = (network_of(from), key_of(user));
        let trusted = is_trusted(from, limits);
        // Both are held: who is refused for one of them counts for neither.
        let (mut addresses, mut users) = (self.addresses.lock(), self.users.lock());
        if !trusted {
            let found = addresses.find(&network, limits.lockout, now);
            if let Some(found) = found.filter(|found| found.count >= limits.lockout_failures) {
                let remaining = (found.last + limits.lockout).saturating_duration_since(now);
                return Err(LockedOut::Address { remaining });
            }
            let most = limits.lockout_failures.saturating_mul(USER_FACTOR);
            let found = users.find(&user, limits.lockout, now);
            if found.is_some_and(|found| found.count >= most) {
                return Err(LockedOut::User);
            }
            users.add(user, limits.lockout, now);
        }
        let count = addresses.add(network, limits.lockout, now);
        Ok(limits.login_delay * 2_u32.pow(count.saturating_sub(1).min(DOUBLINGS_MAX)))
    }

    /// A try was none that failed.
    pub(super) fn undo(&self, user: &[u8], from: IpAddr) {
        self.addresses.lock().take_back(&network_of(from));
        self.users.lock().take_back(&key_of(user));
    }

    /// The password was right: what was tried before at this user is forgotten. What was tried from this address at others
    /// is not: who has one account, or is anonymous, may be guessing at another.
    pub(super) fn succeeded(&self, user: &[u8], from: IpAddr) {
        self.undo(user, from);
        self.users.lock().0.remove(&key_of(user));
    }
}

/// A name as it is remembered: nobody has a longer one.
fn key_of(user: &[u8]) -> Vec<u8> {
    user.get(..NAME_BYTES_MAX).unwrap_or(user).to_vec()
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

    /// One less.
    fn take_back(&mut self, key: &K) {
        if let Some(found) = self.0.get_mut(key) {
            found.count = found.count.saturating_sub(1);
            if found.count == 0 {
                self.0.remove(key);
            }
        }
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
            let delay = guard.attempt(b"a", from, &limits, now);
            assert_eq!(delay, Ok(Duration::from_secs(seconds)));
        }
        let locked = Err(LockedOut::Address { remaining: limits.lockout });
        assert_eq!(guard.attempt(b"other", from, &limits, now), locked);
        assert!(guard.attempt(b"a", IpAddr::from([127, 0, 0, 2]), &limits, now).is_ok());
        // Trying meanwhile does not make it longer.
        assert!(guard.attempt(b"a", from, &limits, now + limits.lockout).is_ok());
    }

    #[test]
    fn who_logs_in_is_forgiven_and_what_was_tried_at_others_is_not() {
        let (guard, limits, now) = (Guard::default(), limits(), Instant::now());
        let from = IpAddr::from([127, 0, 0, 1]);
        for _ in 0..2 {
            // One guess, and one login of one's own.
            assert!(guard.attempt(b"victim", from, &limits, now).is_ok());
            assert!(guard.attempt(b"own", from, &limits, now).is_ok());
            guard.succeeded(b"own", from);
        }
        assert!(guard.attempt(b"victim", from, &limits, now).is_ok());
        assert!(guard.attempt(b"victim", from, &limits, now).is_err());
        // However many logins succeed, there is nothing left of them.
        for _ in 0..10 {
            let elsewhere = IpAddr::from([127, 0, 0, 9]);
            assert!(guard.attempt(b"own", elsewhere, &limits, now).is_ok());
            guard.succeeded(b"own", elsewhere);
        }
        assert_eq!(guard.addresses.lock().0.len(), 1);
    }

    #[test]
    fn a_user_who_is_guessed_at_from_everywhere_is_locked_out_but_for_trusted_networks() {
        let (guard, limits, now) = (Guard::default(), limits(), Instant::now());
        for last in 0..15 {
            let from = IpAddr::from([198, 51, 100, last]);
            assert!(guard.attempt(b"a", from, &limits, now).is_ok());
        }
        let from = IpAddr::from([203, 0, 113, 1]);
        for seconds in 0..5 {
            let later = now + Duration::from_secs(seconds);
            assert_eq!(guard.attempt(b"a", from, &limits, later), Err(LockedOut::User));
        }
        assert!(guard.attempt(b"b", from, &limits, now).is_ok());
        assert!(guard.attempt(b"a", IpAddr::from([192, 0, 2, 9]), &limits, now).is_ok());
        // That it was tried again meanwhile does not count.
        assert!(guard.attempt(b"a", from, &limits, now + limits.lockout).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_memory_is_bounded() {
        let (guard, limits, now) = (Guard::default(), limits(), Instant::now());
        for last in 1..=3_u128 {
            let from = Ipv6Addr::from_bits((0x2001_0db8 << 96) + last).into();
            assert!(guard.attempt(b"a", from, &limits, now).is_ok());
        }
        let other = Ipv6Addr::from_bits((0x2001_0db8 << 96) + 99).into();
        assert!(guard.attempt(b"b", other, &limits, now).is_err());
        for number in 0..40_000_u32 {
            let now = now + Duration::from_millis(number.into());
            let (name, from) = (number.to_be_bytes(), IpAddr::from(number.to_be_bytes()));
            assert!(guard.attempt(&name.repeat(1000), from, &limits, now).is_ok());
        }
        assert!(guard.addresses.lock().0.len() <= REMEMBERED_MAX);
        let users = guard.users.lock();
        assert!(users.0.len() <= REMEMBERED_MAX);
        assert!(users.0.keys().all(|name| name.len() <= NAME_BYTES_MAX));
    }
}
