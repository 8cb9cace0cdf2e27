//! Failed logins, counted by address and by user: each delays the reply to the next, and too many lock out.
//!
//! The reply to a wrong password is delayed, equally for names that do not exist. An address is locked out for
//! `lockout` after `lockout_failures` failures with less than `lockout` from each to the next. A user is locked out
//! after [`USER_FACTOR`] times as many failures, from all addresses together. A successful login clears the failures of
//! the user. Trusted networks are never locked out.
//!
//! A user belongs to a host: two hosts may each have a `bob`. An address from which a user has logged in before stays
//! open to this user, even if the address or the user is locked out: the pair has a count of its own. The same wrong
//! password, sent repeatedly, counts once: a device with an old password does not lock out others at its address.
//!
//! Not here: anonymous, where it is served. It has no password, so there is nothing to guess.

mod counted;
mod memory;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::events::BannedTarget;
use crate::net::client_of;
use crate::settings::Limits;

pub(crate) use counted::{ActiveLockout, Counted};
use counted::{Subject, User};
use memory::{Failures, Memory, REMEMBERED_MAX, forget_half};

/// Maximum number of bytes of a user name that are remembered.
const NAME_BYTES_MAX: usize = 255;

/// Maximum number of times that the delay is doubled.
const DOUBLINGS_MAX: u32 = 3;

/// Factor by which the maximum number of failures for one user, from all addresses, exceeds that for one address.
const USER_FACTOR: u32 = 5;

/// An attempt to log in with a password.
#[derive(Debug)]
pub(super) struct Attempt {
    user: User,
    from: IpAddr,
    /// A keyed hash of the password.
    password: u64,
    target: Target,
}

/// The kind of user name in a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// The name of a user who exists.
    Known,
    /// A name that does not exist. It is counted too, so that a client cannot see which names exist.
    Invented,
    /// Anonymous, where it is not served: many programs try it first, and it is no user's name.
    Anonymous,
}

/// The failed logins that are remembered.
#[derive(Debug, Default)]
pub(super) struct LoginThrottle {
    addresses: Mutex<Memory<IpAddr>>,
    /// SECURITY: existing users are counted separately, so that no number of invented names evicts the count of a user.
    known: Mutex<Memory<User>>,
    invented: Mutex<Memory<User>>,
    /// The last wrong password of a user from an address.
    wrong: Mutex<HashMap<(User, IpAddr), Wrong>>,
    /// Users who have logged in from an address, and their failures there since.
    familiar: Mutex<HashMap<(User, IpAddr), Familiar>>,
    /// SECURITY: passwords are never kept. Their hashes are worthless without this key, which each process creates at
    /// random.
    key: RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Wrong {
    password: u64,
    last: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Familiar {
    logged_in: Instant,
    failures: Option<Failures>,
}

/// A failure, as it was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failed {
    /// The delay of the reply, counted from PASS.
    pub(super) delay: Duration,
    /// The lockout that begins with this failure.
    pub(super) begins: Option<Lockout>,
}

/// A lockout that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lockout {
    pub(super) target: BannedTarget,
    /// Number of failures that have led to it.
    pub(super) failures: u32,
}

/// The reason for refusing a login without checking its password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LockedOut {
    /// The address is locked out.
    Address {
        /// Time until the lockout ends.
        remaining: Duration,
    },
    /// The user is locked out. The reply is that to a wrong password.
    User,
}

impl LoginThrottle {
    /// Describes an attempt to log in as this user of a host, with this password.
    pub(super) fn attempt(
        &self,
        host: Option<String>,
        user: &[u8],
        password: &[u8],
        from: IpAddr,
        target: Target,
    ) -> Attempt {
        let user = user.get(..NAME_BYTES_MAX).unwrap_or(user).to_vec();
        let (from, password) = (client_of(from), self.key.hash_one(password));
        Attempt { user: (host, user), from, password, target }
    }

    /// Checks that this login is not locked out. Called before a password is checked, and again when it was right:
    /// simultaneous guesses give no more chances than sequential ones, and simultaneous correct logins all succeed.
    pub(super) fn check(
        &self,
        attempt: &Attempt,
        limits: &Limits,
        now: Instant,
    ) -> Result<(), LockedOut> {
        if is_trusted(attempt.from, limits) {
            return Ok(());
        }
        let pair = (attempt.user.clone(), attempt.from);
        let familiar = self.familiar.lock().get(&pair).copied();
        if let Some(familiar) = familiar {
            let found = familiar.failures.filter(|found| found.is_recent(limits.lockout, now));
            let is_locked = found.is_some_and(|found| found.count >= limits.lockout_failures);
            return if is_locked { Err(LockedOut::User) } else { Ok(()) };
        }
        let found = self.addresses.lock().find(&attempt.from, limits.lockout, now);
        if let Some(found) = found.filter(|found| found.count >= limits.lockout_failures) {
            let remaining = (found.last + limits.lockout).saturating_duration_since(now);
            return Err(LockedOut::Address { remaining });
        }
        let found = self
            .users(attempt.target)
            .and_then(|users| users.lock().find(&attempt.user, limits.lockout, now));
        let most = limits.lockout_failures.saturating_mul(USER_FACTOR);
        if found.is_some_and(|found| found.count >= most) { Err(LockedOut::User) } else { Ok(()) }
    }

    /// Returns the lockouts: of addresses, then of users and of users at an address.
    pub(super) fn locked_out(&self, limits: &Limits, now: Instant) -> Vec<ActiveLockout> {
        let is_locked = |factor: u32, address: Option<IpAddr>, found: Failures| {
            found.is_recent(limits.lockout, now)
                && found.count >= limits.lockout_failures.saturating_mul(factor).max(1)
                && !address.is_some_and(|address| is_trusted(address, limits))
        };
        let locked = self.collected(now, is_locked).into_iter();
        let mut locked: Vec<_> = locked
            .map(|counted| counted.lockout(limits.lockout.saturating_sub(counted.age)))
            .collect();
        locked.sort_unstable_by(|one, other| {
            (&one.user, one.address).cmp(&(&other.user, other.address))
        });
        locked
    }

    /// Returns all failures that are remembered, and the users who have logged in from an address.
    pub(super) fn counted(&self, now: Instant) -> Vec<Counted> {
        self.collected(now, |_, _, _| true)
    }

    /// Returns the failures for which `is_wanted` returns true. It receives the factor of their maximum, and the address if
    /// they have one.
    fn collected(
        &self,
        now: Instant,
        is_wanted: impl Fn(u32, Option<IpAddr>, Failures) -> bool,
    ) -> Vec<Counted> {
        let counted = |subject, found: Failures| {
            let age = now.saturating_duration_since(found.last);
            Counted { subject, failures: found.count, age }
        };
        let mut all = Vec::new();
        for (address, found) in &self.addresses.lock().0 {
            if is_wanted(1, Some(*address), *found) {
                all.push(counted(Subject::Address(*address), *found));
            }
        }
        for is_known in [true, false] {
            let users = if is_known { &self.known } else { &self.invented };
            for (user, found) in &users.lock().0 {
                if is_wanted(USER_FACTOR, None, *found) {
                    let user = user.clone();
                    let subject =
                        if is_known { Subject::Known(user) } else { Subject::Invented(user) };
                    all.push(counted(subject, *found));
                }
            }
        }
        for ((user, address), familiar) in self.familiar.lock().iter() {
            let none = Failures { count: 0, last: familiar.logged_in };
            let found = familiar.failures.unwrap_or(none);
            if is_wanted(1, Some(*address), found) {
                all.push(counted(Subject::Familiar(user.clone(), *address), found));
            }
        }
        all
    }

    /// Adopts failures that another server has counted.
    pub(super) fn adopt(&self, counted: Counted, limits: &Limits, now: Instant) {
        let last = now.checked_sub(counted.age).unwrap_or(now);
        let found = Failures { count: counted.failures, last };
        match counted.subject {
            Subject::Address(address) => {
                self.addresses.lock().put(address, found, limits.lockout, now);
            }
            Subject::Known(user) => self.known.lock().put(user, found, limits.lockout, now),
            Subject::Invented(user) => self.invented.lock().put(user, found, limits.lockout, now),
            Subject::Familiar(user, address) => {
                let failures = (found.count > 0).then_some(found);
                self.remember((user, address), Familiar { logged_in: last, failures });
            }
        }
    }

    /// Forgets the failures of the addresses that are wanted; returns the number of lockouts that end with it.
    pub(super) fn forgive_addresses(
        &self,
        limits: &Limits,
        now: Instant,
        is_wanted: impl Fn(IpAddr) -> bool,
    ) -> usize {
        let locked = self.locked_out(limits, now).into_iter();
        let ended = locked.filter(|lockout| lockout.address.is_some_and(&is_wanted)).count();
        self.addresses.lock().0.retain(|address, _| !is_wanted(*address));
        self.familiar.lock().iter_mut().for_each(|((_, address), familiar)| {
            if is_wanted(*address) {
                familiar.failures = None;
            }
        });
        ended
    }

    /// Forgets the failures of a user, on all hosts; returns the number of lockouts that end with it.
    pub(super) fn forgive_user(&self, name: &[u8], limits: &Limits, now: Instant) -> usize {
        let most = limits.lockout_failures.saturating_mul(USER_FACTOR);
        let mut ended = 0;
        for users in [&self.known, &self.invented] {
            users.lock().0.retain(|(_, user), found| {
                let is_wanted = user == name;
                let is_locked = found.is_recent(limits.lockout, now) && found.count >= most;
                ended += usize::from(is_wanted && is_locked);
                !is_wanted
            });
        }
        self.familiar.lock().iter_mut().for_each(|((user, _), familiar)| {
            if user.1 == name {
                let failures = familiar.failures.take();
                let is_locked = failures.is_some_and(|found| {
                    found.is_recent(limits.lockout, now) && found.count >= limits.lockout_failures
                });
                ended += usize::from(is_locked);
            }
        });
        ended
    }

    /// Returns the memory that counts failures for this kind of user name.
    fn users(&self, target: Target) -> Option<&Mutex<Memory<User>>> {
        match target {
            Target::Known => Some(&self.known),
            Target::Invented => Some(&self.invented),
            Target::Anonymous => None,
        }
    }

    /// Records a failure. Failures during a lockout do not extend it.
    pub(super) fn failed(&self, attempt: &Attempt, limits: &Limits, now: Instant) -> Failed {
        let (mut doublings, mut begins) = (DOUBLINGS_MAX, None);
        if self.check(attempt, limits, now).is_ok() {
            let count = if self.is_said_again(attempt, limits.lockout, now) {
                self.addresses.lock().find(&attempt.from, limits.lockout, now)
            } else {
                let (found, lockout) = self.count(attempt, limits, now);
                begins = lockout;
                Some(found)
            };
            let count = count.map_or(1, |found| found.count);
            doublings = count.saturating_sub(1).min(DOUBLINGS_MAX);
        }
        Failed { delay: limits.login_delay * 2_u32.pow(doublings), begins }
    }

    /// Adds a guess to every count that it belongs to; returns the count of its address, and the lockout that begins
    /// with it.
    fn count(
        &self,
        attempt: &Attempt,
        limits: &Limits,
        now: Instant,
    ) -> (Failures, Option<Lockout>) {
        let found = self.addresses.lock().add(attempt.from, limits.lockout, now);
        if is_trusted(attempt.from, limits) {
            return (found, None);
        }
        let (most, mut begins) = (limits.lockout_failures, None);
        let mut begin = |target, failures: u32, most| {
            if failures == most && !limits.lockout.is_zero() {
                begins = Some(Lockout { target, failures });
            }
        };
        if let Some(users) = self.users(attempt.target) {
            let found = users.lock().add(attempt.user.clone(), limits.lockout, now);
            begin(BannedTarget::User, found.count, most.saturating_mul(USER_FACTOR));
        }
        let pair = (attempt.user.clone(), attempt.from);
        if let Some(familiar) = self.familiar.lock().get_mut(&pair) {
            let found = Failures::one_more(familiar.failures, limits.lockout, now);
            familiar.failures = Some(found);
            begin(BannedTarget::User, found.count, most);
        }
        begin(BannedTarget::Address(attempt.from), found.count, most);
        (found, begins)
    }

    /// Returns whether this password equals the user's last wrong one from this address, and remembers it.
    fn is_said_again(&self, attempt: &Attempt, memory: Duration, now: Instant) -> bool {
        let mut wrong = self.wrong.lock();
        let pair = (attempt.user.clone(), attempt.from);
        if wrong.len() >= REMEMBERED_MAX && !wrong.contains_key(&pair) {
            wrong.retain(|_, found| now < found.last + memory);
            forget_half(&mut wrong, |found| found.last);
        }
        let before = wrong.insert(pair, Wrong { password: attempt.password, last: now });
        before
            .is_some_and(|before| before.password == attempt.password && now < before.last + memory)
    }

    /// Clears the failures of a user who has logged in. Failures of other users from this address stay: the owner of
    /// one account may be guessing at another.
    pub(super) fn succeeded(&self, attempt: &Attempt, now: Instant) {
        let pair = (attempt.user.clone(), attempt.from);
        if let Some(users) = self.users(attempt.target) {
            users.lock().0.remove(&attempt.user);
        }
        self.wrong.lock().remove(&pair);
        self.remember(pair, Familiar { logged_in: now, failures: None });
    }

    /// Remembers a user who has logged in from an address.
    fn remember(&self, pair: (User, IpAddr), found: Familiar) {
        let mut familiar = self.familiar.lock();
        if familiar.len() >= REMEMBERED_MAX && !familiar.contains_key(&pair) {
            forget_half(&mut familiar, |found| found.logged_in);
        }
        familiar.insert(pair, found);
    }
}

fn is_trusted(address: IpAddr, limits: &Limits) -> bool {
    limits.trusted.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test knows the time")]
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

    /// A guard, and the number of the next password; every attempt uses a different one.
    struct Scene {
        throttle: LoginThrottle,
        limits: Limits,
        number: std::cell::Cell<u32>,
    }

    impl Scene {
        fn new() -> Self {
            Self { throttle: LoginThrottle::default(), limits: limits(), number: 0.into() }
        }

        fn attempt(&self, user: &str, from: impl Into<IpAddr>) -> Attempt {
            self.number.set(self.number.get() + 1);
            let password = self.number.get().to_string();
            self.attempt_with(None, user, &password, from, Target::Known)
        }

        fn attempt_with(
            &self,
            host: Option<&str>,
            user: &str,
            password: &str,
            from: impl Into<IpAddr>,
            target: Target,
        ) -> Attempt {
            let host = host.map(str::to_owned);
            self.throttle.attempt(host, user.as_bytes(), password.as_bytes(), from.into(), target)
        }

        fn check(&self, attempt: &Attempt, now: Instant) -> Result<(), LockedOut> {
            self.throttle.check(attempt, &self.limits, now)
        }

        /// Tries a wrong password; returns the delay of its reply, or `None` if it is locked out.
        fn guess(&self, attempt: &Attempt, now: Instant) -> Option<Duration> {
            self.check(attempt, now).ok()?;
            Some(self.throttle.failed(attempt, &self.limits, now).delay)
        }

        /// Returns whether a correct password is accepted.
        fn lets_in(&self, user: &str, from: [u8; 4], now: Instant) -> bool {
            self.check(&self.attempt(user, from), now).is_ok()
        }
    }

    const HERE: [u8; 4] = [127, 0, 0, 1];
    const THERE: [u8; 4] = [127, 0, 0, 2];

    #[test]
    fn who_fails_waits_longer_each_time_and_is_locked_out_until_the_time_is_over() {
        let (scene, now) = (Scene::new(), Instant::now());
        for seconds in [1, 2, 4] {
            let delay = scene.guess(&scene.attempt("a", HERE), now);
            assert_eq!(delay, Some(Duration::from_secs(seconds)));
        }
        let locked = Err(LockedOut::Address { remaining: scene.limits.lockout });
        assert_eq!(scene.check(&scene.attempt("other", HERE), now), locked);
        assert!(scene.guess(&scene.attempt("a", THERE), now).is_some());
        // Failures during the lockout do not extend it.
        let later = now + Duration::from_secs(5);
        scene.throttle.failed(&scene.attempt("a", HERE), &scene.limits, later);
        assert!(scene.lets_in("a", HERE, now + scene.limits.lockout));
    }

    #[test]
    fn of_guesses_at_once_no_more_count_than_one_after_the_other() {
        let (scene, now) = (Scene::new(), Instant::now());
        // All ten attempts pass the first check; three have failed by the time the correct one is known.
        let attempts: Vec<Attempt> = (0..10).map(|_| scene.attempt("a", HERE)).collect();
        assert!(attempts.iter().all(|attempt| scene.check(attempt, now).is_ok()));
        for attempt in &attempts[..3] {
            scene.throttle.failed(attempt, &scene.limits, now);
        }
        assert!(scene.check(&attempts[9], now).is_err());
    }

    #[test]
    fn who_logs_in_is_forgiven_and_what_was_tried_at_others_is_not() {
        let (scene, now) = (Scene::new(), Instant::now());
        for _ in 0..3 {
            // One guess at the victim, and one login to an account of one's own.
            assert!(scene.guess(&scene.attempt("victim", HERE), now).is_some());
            scene.throttle.succeeded(&scene.attempt("own", HERE), now);
        }
        assert!(scene.guess(&scene.attempt("victim", HERE), now).is_none());
        scene.throttle.succeeded(&scene.attempt("victim", THERE), now);
        assert!(scene.throttle.known.lock().0.is_empty());
    }

    #[test]
    fn a_user_who_is_guessed_at_from_everywhere_is_locked_out_but_for_trusted_networks() {
        let (scene, now) = (Scene::new(), Instant::now());
        for last in 0..15 {
            assert!(scene.guess(&scene.attempt("a", [198, 51, 100, last]), now).is_some());
        }
        let from = [203, 0, 113, 1];
        assert_eq!(scene.check(&scene.attempt("a", from), now), Err(LockedOut::User));
        assert!(scene.lets_in("b", from, now) && scene.lets_in("a", [192, 0, 2, 9], now));
        // Failures during the lockout do not extend it.
        let later = now + Duration::from_secs(5);
        scene.throttle.failed(&scene.attempt("a", from), &scene.limits, later);
        assert!(scene.lets_in("a", from, now + scene.limits.lockout));
    }

    #[test]
    fn the_same_wrong_password_is_one_guess() {
        let (scene, now) = (Scene::new(), Instant::now());
        let camera = || scene.attempt_with(None, "camera", "old", HERE, Target::Known);
        for minute in 0..600 {
            let now = now + Duration::from_mins(minute);
            assert_eq!(scene.guess(&camera(), now), Some(scene.limits.login_delay));
            assert!(scene.lets_in("beside", HERE, now));
        }
        // The password counts again for another user or from another address, and a different password counts, too.
        let elsewhere = Scene::new();
        for user in ["a", "b", "c"] {
            let attempt = elsewhere.attempt_with(None, user, "old", HERE, Target::Known);
            assert!(elsewhere.guess(&attempt, now).is_some());
        }
        assert!(!elsewhere.lets_in("d", HERE, now));
        let turns = Scene::new();
        for password in ["x", "y", "x"] {
            let attempt = turns.attempt_with(None, "a", password, HERE, Target::Known);
            assert!(turns.guess(&attempt, now).is_some());
        }
        assert!(!turns.lets_in("d", HERE, now));
    }

    #[test]
    fn a_user_who_has_logged_in_from_an_address_is_spared_there() {
        let (scene, now) = (Scene::new(), Instant::now());
        scene.throttle.succeeded(&scene.attempt("own", HERE), now);
        for _ in 0..3 {
            assert!(scene.guess(&scene.attempt("other", HERE), now).is_some());
        }
        assert!(!scene.lets_in("other", HERE, now) && scene.lets_in("own", HERE, now));
        assert!(scene.lets_in("own", THERE, now), "which is not locked out");
        // Guesses at that user from many addresses do not lock it out there.
        for last in 0..15 {
            scene.guess(&scene.attempt("own", [198, 51, 100, last]), now);
        }
        assert!(scene.lets_in("own", HERE, now) && !scene.lets_in("own", THERE, now));
        // The number of guesses is limited there, too.
        for _ in 0..3 {
            assert!(scene.guess(&scene.attempt("own", HERE), now).is_some());
        }
        assert!(!scene.lets_in("own", HERE, now));
        assert!(scene.lets_in("own", HERE, now + scene.limits.lockout));
    }

    #[test]
    fn a_successor_locks_out_whom_its_predecessor_has_locked_out() {
        let (scene, now) = (Scene::new(), Instant::now());
        scene.throttle.succeeded(&scene.attempt("own", HERE), now);
        for _ in 0..3 {
            scene.guess(&scene.attempt("own", HERE), now);
        }
        for last in 0..15 {
            scene.guess(&scene.attempt("victim", [198, 51, 100, last]), now);
            let name = scene.number.get().to_string();
            let invented =
                scene.attempt_with(None, "none", &name, [203, 0, 113, last], Target::Invented);
            scene.guess(&invented, now);
        }
        scene.throttle.succeeded(&scene.attempt("spared", THERE), now);
        let later = now + Duration::from_mins(1);
        let next = Scene::new();
        for counted in scene.throttle.counted(later) {
            next.throttle.adopt(counted, &next.limits, later);
        }
        let listed = |scene: &Scene| scene.throttle.locked_out(&scene.limits, later);
        assert_eq!(listed(&next), listed(&scene));
        let names = listed(&next).into_iter().map(|lockout| lockout.user.map(|(_, name)| name));
        let names: Vec<_> = names.flatten().collect();
        assert_eq!(names, [b"none".to_vec(), b"own".to_vec(), b"victim".to_vec()]);
        let end = now + scene.limits.lockout;
        for now in [later, end] {
            let is_over = now == end;
            assert_eq!(next.lets_in("own", HERE, now), is_over);
            assert_eq!(next.lets_in("victim", [192, 0, 3, 1], now), is_over);
            assert_eq!(next.lets_in("other", HERE, now), is_over);
        }
        // The new server knows who has logged in, too.
        for _ in 0..3 {
            next.guess(&next.attempt("x", THERE), later);
        }
        assert!(next.lets_in("spared", THERE, later) && !next.lets_in("x", THERE, later));
    }

    #[test]
    fn users_of_two_hosts_are_two_and_anonymous_is_none() {
        let (scene, now) = (Scene::new(), Instant::now());
        let at = |host, last| {
            let password = scene.number.replace(scene.number.get() + 1).to_string();
            scene.attempt_with(host, "bob", &password, [198, 51, 100, last], Target::Known)
        };
        for last in 0..15 {
            scene.guess(&at(Some("a"), last), now);
            scene.throttle.succeeded(&at(Some("b"), last), now);
        }
        assert_eq!(scene.check(&at(Some("a"), 99), now), Err(LockedOut::User));
        assert!(scene.check(&at(Some("b"), 99), now).is_ok());
        assert!(scene.check(&at(None, 99), now).is_ok());
        for number in 0..200 {
            let from = [203, 0, 113, number];
            let password = number.to_string();
            let attempt = scene.attempt_with(None, "ftp", &password, from, Target::Anonymous);
            assert!(scene.guess(&attempt, now).is_some());
        }
    }

    #[test]
    fn invented_names_push_no_user_out() {
        let (scene, now) = (Scene::new(), Instant::now());
        for last in 0..14 {
            scene.guess(&scene.attempt("victim", [198, 51, 100, last]), now);
        }
        for number in 0..40_000_u32 {
            let now = now + Duration::from_millis(number.into());
            let (name, from) = (number.to_string(), IpAddr::from(number.to_be_bytes()));
            let attempt = scene.attempt_with(None, &name, "x", from, Target::Invented);
            scene.throttle.failed(&attempt, &scene.limits, now);
        }
        let later = now + Duration::from_mins(1);
        assert!(scene.guess(&scene.attempt("victim", THERE), later).is_some());
        assert_eq!(
            scene.check(&scene.attempt("victim", [203, 0, 113, 1]), later),
            Err(LockedOut::User)
        );
    }

    #[test]
    fn an_address_that_is_locked_out_is_not_pushed_out_by_others() {
        let (scene, now) = (Scene::new(), Instant::now());
        for _ in 0..3 {
            scene.guess(&scene.attempt("a", HERE), now);
        }
        for number in 0..40_000_u32 {
            let from = IpAddr::from((number + (10 << 24)).to_be_bytes());
            let attempt = scene.attempt_with(None, "x", "x", from, Target::Invented);
            scene.throttle.failed(&attempt, &scene.limits, now);
        }
        assert!(!scene.lets_in("a", HERE, now));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_memory_is_bounded() {
        let (scene, now) = (Scene::new(), Instant::now());
        let address = |last: u128| Ipv6Addr::from_bits((0x2001_0db8 << 96) + last);
        for last in 1..=3_u128 {
            scene.throttle.failed(&scene.attempt("a", address(last)), &scene.limits, now);
        }
        assert!(scene.check(&scene.attempt("b", address(99)), now).is_err());
        for number in 0..40_000_u32 {
            let now = now + Duration::from_millis(number.into());
            let (name, from) =
                (number.to_string().repeat(1000), IpAddr::from(number.to_be_bytes()));
            let known = scene.attempt(&name, from);
            scene.throttle.failed(&known, &scene.limits, now);
            scene.throttle.succeeded(&scene.attempt(&name[1..], from), now);
            let invented = scene.attempt_with(None, &name, "x", from, Target::Invented);
            scene.throttle.failed(&invented, &scene.limits, now);
        }
        let throttle = &scene.throttle;
        assert!(throttle.addresses.lock().0.len() <= REMEMBERED_MAX);
        assert!(throttle.wrong.lock().len() <= REMEMBERED_MAX);
        assert!(throttle.familiar.lock().len() <= REMEMBERED_MAX);
        for users in [&throttle.known, &throttle.invented] {
            let users = users.lock();
            assert!(users.0.len() <= REMEMBERED_MAX);
            assert!(users.0.keys().all(|(_, name)| name.len() <= NAME_BYTES_MAX));
        }
    }
}
