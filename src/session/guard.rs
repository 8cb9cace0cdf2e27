//! Logins that failed, remembered by address and by user: who guesses waits longer each time, and is locked out.
//!
//! The answer to a wrong password comes late, and as late for a name that nobody has. After `lockout_failures`, none of which
//! is older than `lockout`, an address is refused for that long, and so is a user, who may have been guessed at from many
//! addresses. A user who logs in is forgiven; networks that are trusted are never locked out.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::Limits;
use crate::net::client_of;

/// How many addresses and how many users are remembered. Beyond, those are forgotten that failed longest ago.
const REMEMBERED_MAX: usize = 16 * 1024;

/// How much of a name is remembered, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// How often the delay is doubled.
const DOUBLINGS_MAX: u32 = 3;

/// By how much more than of an address the guesses at one user may be, from everywhere together.
const USER_FACTOR: u32 = 5;

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
    /// Whether this user may log in from this address. Asked before a password is checked, and again when it was right: of
    /// many guesses at once no more count than one after the other, and many who are right at once are all let in.
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
        let found = self.addresses.lock().find(&client_of(from), limits.lockout, now);
        if let Some(found) = found.filter(|found| found.count >= limits.lockout_failures) {
            let remaining = (found.last + limits.lockout).saturating_duration_since(now);
            return Err(LockedOut::Address { remaining });
        }
        let found = self.users.lock().find(&key_of(user), limits.lockout, now);
        let most = limits.lockout_failures.saturating_mul(USER_FACTOR);
        if found.is_some_and(|found| found.count >= most) { Err(LockedOut::User) } else { Ok(()) }
    }

    /// Notes a failure; how long after PASS its answer may come. Who is locked out already makes that no longer by trying.
    pub(super) fn failed(
        &self,
        user: &[u8],
        from: IpAddr,
        limits: &Limits,
        now: Instant,
    ) -> Duration {
        let mut doublings = DOUBLINGS_MAX;
        if self.check(user, from, limits, now).is_ok() {
            let count = self.addresses.lock().add(client_of(from), limits.lockout, now);
            if !is_trusted(from, limits) {
                self.users.lock().add(key_of(user), limits.lockout, now);
            }
            doublings = count.saturating_sub(1).min(DOUBLINGS_MAX);
        }
        limits.login_delay * 2_u32.pow(doublings)
    }

    /// The password was right: what was tried before at this user is forgotten. What was tried from this address at others
    /// is not: who has one account, or is anonymous, may be guessing at another.
    pub(super) fn succeeded(&self, user: &[u8]) {
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
    use std::net::Ipv6Addr;

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

    /// A wrong password; how long its answer takes.
    fn guess(
        guard: &Guard,
        user: &[u8],
        from: [u8; 4],
        limits: &Limits,
        now: Instant,
    ) -> Option<Duration> {
        guard.check(user, from.into(), limits, now).ok()?;
        Some(guard.failed(user, from.into(), limits, now))
    }

    #[test]
    fn who_fails_waits_longer_each_time_and_is_locked_out_until_the_time_is_over() {
        let (guard, limits, now) = (Guard::default(), limits(), Instant::now());
        for seconds in [1, 2, 4] {
            let delay = guess(&guard, b"a", [127, 0, 0, 1], &limits, now);
            assert_eq!(delay, Some(Duration::from_secs(seconds)));
        }
        let locked = Err(LockedOut::Address { remaining: limits.lockout });
        assert_eq!(guard.check(b"other", [127, 0, 0, 1].into(), &limits, now), locked);
        assert!(guess(&guard, b"a", [127, 0, 0, 2], &limits, now).is_some());
        // Failing meanwhile does not make it longer.
        let later = now + Duration::from_secs(5);
        guard.failed(b"a", [127, 0, 0, 1].into(), &limits, later);
        assert_eq!(guard.check(b"a", [127, 0, 0, 1].into(), &limits, now + limits.lockout), Ok(()));
    }

    #[test]
    fn of_guesses_at_once_no_more_count_than_one_after_the_other() {
        let (guard, limits, now) = (Guard::default(), limits(), Instant::now());
        let from = IpAddr::from([127, 0, 0, 1]);
        // All are let in to be checked, and three have failed when the one that is right is known.
        for _ in 0..10 {
            assert_eq!(guard.check(b"a", from, &limits, now), Ok(()));
        }
        for _ in 0..3 {
            guard.failed(b"a", from, &limits, now);
        }
        assert!(guard.check(b"a", from, &limits, now).is_err());
    }

    #[test]
    fn who_logs_in_is_forgiven_and_what_was_tried_at_others_is_not() {
        let (guard, limits, now) = (Guard::default(), limits(), Instant::now());
        for _ in 0..3 {
            // One guess, and one login of one's own.
            assert!(guess(&guard, b"victim", [127, 0, 0, 1], &limits, now).is_some());
            guard.succeeded(b"own");
        }
        assert!(guess(&guard, b"victim", [127, 0, 0, 1], &limits, now).is_none());
        guard.succeeded(b"victim");
        assert!(guard.users.lock().0.is_empty());
    }

    #[test]
    fn a_user_who_is_guessed_at_from_everywhere_is_locked_out_but_for_trusted_networks() {
        let (guard, limits, now) = (Guard::default(), limits(), Instant::now());
        for last in 0..15 {
            assert!(guess(&guard, b"a", [198, 51, 100, last], &limits, now).is_some());
        }
        let from = IpAddr::from([203, 0, 113, 1]);
        assert_eq!(guard.check(b"a", from, &limits, now), Err(LockedOut::User));
        assert_eq!(guard.check(b"b", from, &limits, now), Ok(()));
        assert_eq!(guard.check(b"a", [192, 0, 2, 9].into(), &limits, now), Ok(()));
        // Failing meanwhile does not make it longer.
        guard.failed(b"a", from, &limits, now + Duration::from_secs(5));
        assert_eq!(guard.check(b"a", from, &limits, now + limits.lockout), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_memory_is_bounded() {
        let (guard, limits, now) = (Guard::default(), limits(), Instant::now());
        for last in 1..=3_u128 {
            let from = Ipv6Addr::from_bits((0x2001_0db8 << 96) + last).into();
            guard.failed(b"a", from, &limits, now);
        }
        let other = Ipv6Addr::from_bits((0x2001_0db8 << 96) + 99).into();
        assert!(guard.check(b"b", other, &limits, now).is_err());
        for number in 0..40_000_u32 {
            let now = now + Duration::from_millis(number.into());
            let (name, from) = (number.to_be_bytes(), IpAddr::from(number.to_be_bytes()));
            guard.failed(&name.repeat(1000), from, &limits, now);
        }
        assert!(guard.addresses.lock().0.len() <= REMEMBERED_MAX);
        let users = guard.users.lock();
        assert!(users.0.len() <= REMEMBERED_MAX);
        assert!(users.0.keys().all(|name| name.len() <= NAME_BYTES_MAX));
    }
}
