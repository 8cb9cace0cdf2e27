//! Bounds on the wait of a command for the file system. While calls of a user are not answered, the other commands of that
//! user wait for a short time only: their sessions are free again soon, and the calls, each of which holds a thread, stay few.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::storage::Owner;

/// A call that takes longer is slow: until it returns, the user's other commands wait for [`PATIENCE_MAX`] at most.
const SLOW_AFTER: Duration = Duration::from_secs(5);

/// The maximum wait of a command while another call of the same user is slow, or was given up and has not returned.
const PATIENCE_MAX: Duration = Duration::from_secs(2);

/// The maximum number of calls of one user at one address that were given up and have not returned. Beyond, that user's
/// commands are refused at once.
const LATE_MAX: usize = 8;

/// Counts the calls of each user to which the file system does not respond.
#[derive(Debug, Default)]
pub(super) struct UnansweredCalls(Mutex<HashMap<Owner, Unanswered>>);

/// The calls of one user that have not returned.
#[derive(Debug, Default, PartialEq, Eq)]
struct Unanswered {
    /// Calls that are slow, and whose sessions wait.
    slow: usize,
    /// Calls that were given up.
    late: usize,
}

impl UnansweredCalls {
    /// Returns the maximum wait for the next call of this user; none if that must not be made.
    pub(super) fn patience(&self, owner: Owner, stall_timeout: Duration) -> Option<Duration> {
        match self.0.lock().get(&owner) {
            None => Some(stall_timeout),
            Some(unanswered) if unanswered.late >= LATE_MAX => None,
            Some(_) => Some(stall_timeout.min(PATIENCE_MAX)),
        }
    }

    fn change(&self, owner: Owner, change: impl FnOnce(&mut Unanswered)) {
        let mut calls = self.0.lock();
        let unanswered = calls.entry(owner).or_default();
        change(unanswered);
        if *unanswered == Unanswered::default() {
            calls.remove(&owner);
        }
    }
}

/// A session's wait for a call.
#[derive(Debug)]
pub(super) struct CallWait {
    calls: Arc<UnansweredCalls>,
    owner: Owner,
    /// The time at which the call is given up.
    until: Instant,
    slow_at: Instant,
    is_slow: bool,
    state: Arc<Mutex<CallState>>,
}

#[derive(Debug, PartialEq, Eq)]
enum CallState {
    UnderWay,
    /// Nothing waits for it any more; it counts as late until it returns.
    GivenUp,
    Returned,
}

/// Held by a call while it runs.
#[derive(Debug)]
pub(super) struct RunningCall {
    calls: Arc<UnansweredCalls>,
    owner: Owner,
    state: Arc<Mutex<CallState>>,
}

impl CallWait {
    pub(super) fn new(
        calls: &Arc<UnansweredCalls>,
        owner: Owner,
        now: Instant,
        until: Instant,
    ) -> (Self, RunningCall) {
        let state = Arc::new(Mutex::new(CallState::UnderWay));
        let running = RunningCall { calls: Arc::clone(calls), owner, state: Arc::clone(&state) };
        let (calls, slow_at) = (Arc::clone(calls), now + SLOW_AFTER);
        (Self { calls, owner, until, slow_at, is_slow: false, state }, running)
    }

    /// Returns the time at which [`CallWait::expire`] is to be called although nothing happened.
    pub(super) fn due_at(&self) -> Instant {
        if self.is_slow { self.until } else { self.until.min(self.slow_at) }
    }

    /// Counts the call as slow when it has become that. Returns whether it is given up: its time is over, and it has not
    /// returned.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let mut state = self.state.lock();
        if *state != CallState::UnderWay {
            return false;
        }
        if now >= self.until {
            *state = CallState::GivenUp;
            self.calls.change(self.owner, |unanswered| unanswered.late += 1);
            return true;
        }
        if now >= self.slow_at && !self.is_slow {
            self.is_slow = true;
            self.calls.change(self.owner, |unanswered| unanswered.slow += 1);
        }
        false
    }
}

impl Drop for CallWait {
    fn drop(&mut self) {
        if self.is_slow {
            self.calls.change(self.owner, |unanswered| unanswered.slow -= 1);
        }
    }
}

impl RunningCall {
    /// Returns whether the session has given the call up.
    pub(super) fn is_given_up(&self) -> bool {
        *self.state.lock() == CallState::GivenUp
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        let before = std::mem::replace(&mut *self.state.lock(), CallState::Returned);
        if before == CallState::GivenUp {
            self.calls.change(self.owner, |unanswered| unanswered.late -= 1);
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test knows the time")]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_mins(2);

    #[test]
    fn while_a_call_is_not_answered_its_user_waits_shorter_and_others_as_long_as_ever() {
        let (calls, start) = (Arc::<UnansweredCalls>::default(), Instant::now());
        let (user, other) = (Owner::default(), Owner(1));
        let (mut wait, running) = CallWait::new(&calls, user, start, start + STALL);
        assert_eq!(calls.patience(user, STALL), Some(STALL));
        assert_eq!(wait.due_at(), start + SLOW_AFTER);
        assert!(!wait.expire(start + SLOW_AFTER));
        assert_eq!(wait.due_at(), start + STALL);
        assert_eq!(calls.patience(user, STALL), Some(PATIENCE_MAX));
        assert_eq!(calls.patience(other, STALL), Some(STALL));
        assert!(wait.expire(start + STALL) && running.is_given_up());
        drop(wait);
        assert_eq!(calls.patience(user, STALL), Some(PATIENCE_MAX));
        drop(running);
        assert_eq!(calls.patience(user, STALL), Some(STALL));
    }

    #[test]
    fn beyond_the_maximum_of_calls_that_were_given_up_the_next_is_refused() {
        let (calls, start) = (Arc::<UnansweredCalls>::default(), Instant::now());
        let user = Owner::default();
        let given_up = || {
            let (mut wait, running) = CallWait::new(&calls, user, start, start);
            assert!(wait.expire(start));
            running
        };
        let mut running: Vec<_> = (0..LATE_MAX).map(|_| given_up()).collect();
        assert_eq!(calls.patience(user, STALL), None);
        running.pop();
        assert_eq!(calls.patience(user, STALL), Some(PATIENCE_MAX));
    }

    #[test]
    fn a_call_that_has_returned_is_neither_slow_nor_given_up() {
        let (calls, start) = (Arc::<UnansweredCalls>::default(), Instant::now());
        let (mut wait, running) = CallWait::new(&calls, Owner::default(), start, start);
        drop(running);
        assert!(!wait.expire(start + STALL));
        assert_eq!(calls.0.lock().len(), 0);
    }
}
