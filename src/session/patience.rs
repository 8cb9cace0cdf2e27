//! Bounds on the wait of a command for the file system. While calls of a user are not answered, the other commands of that
//! user wait for a short time only: their sessions are free again soon, and the calls, each of which holds a thread, stay few.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::storage::{Owner, Pending};

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

/// A session's wait for the answer to a call.
#[derive(Debug)]
pub(super) struct CallWait<T> {
    shared: Arc<Shared<T>>,
    /// The time at which the call is given up.
    until: Instant,
    slow_at: Instant,
    is_slow: bool,
}

/// The state that a call and its session share.
#[derive(Debug)]
struct Shared<T> {
    calls: Arc<UnansweredCalls>,
    owner: Owner,
    call: Mutex<CallState<T>>,
}

#[derive(Debug)]
struct CallState<T> {
    progress: CallProgress,
    answer: Option<Pending<T>>,
}

#[derive(Debug, PartialEq, Eq)]
enum CallProgress {
    UnderWay,
    /// Nothing waits for it any more; it counts as late until it returns.
    GivenUp,
    Returned,
}

/// Held by a call while it runs, on whatever thread.
#[derive(Debug)]
pub(super) struct RunningCall<T>(Arc<Shared<T>>);

/// The place of the answer to a call.
#[derive(Debug)]
pub(super) struct AnswerSlot<T>(Arc<Shared<T>>);

impl<T> CallWait<T> {
    pub(super) fn new(
        calls: &Arc<UnansweredCalls>,
        owner: Owner,
        now: Instant,
        until: Instant,
    ) -> (Self, RunningCall<T>) {
        let call = Mutex::new(CallState { progress: CallProgress::UnderWay, answer: None });
        let shared = Arc::new(Shared { calls: Arc::clone(calls), owner, call });
        let running = RunningCall(Arc::clone(&shared));
        (Self { shared, until, slow_at: now + SLOW_AFTER, is_slow: false }, running)
    }

    /// Returns the time at which [`CallWait::expire`] is to be called although nothing happened.
    pub(super) fn due_at(&self) -> Instant {
        if self.is_slow { self.until } else { self.until.min(self.slow_at) }
    }

    /// Returns whether the time is over.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }

    /// Takes the answer, if there is one.
    pub(super) fn take_answer(&self) -> Option<Pending<T>> {
        self.shared.call.lock().answer.take()
    }

    /// Counts the call as slow when it has become that. Returns whether it is given up: its time is over, and it has not
    /// returned.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let mut call = self.shared.call.lock();
        if call.progress != CallProgress::UnderWay {
            return false;
        }
        if now >= self.until {
            call.progress = CallProgress::GivenUp;
            self.shared.change(|unanswered| unanswered.late += 1);
            return true;
        }
        if now >= self.slow_at && !self.is_slow {
            self.is_slow = true;
            self.shared.change(|unanswered| unanswered.slow += 1);
        }
        false
    }
}

impl<T> Shared<T> {
    fn change(&self, change: impl FnOnce(&mut Unanswered)) {
        self.calls.change(self.owner, change);
    }
}

impl<T> Drop for CallWait<T> {
    fn drop(&mut self) {
        if self.is_slow {
            self.shared.change(|unanswered| unanswered.slow -= 1);
        }
    }
}

impl<T> RunningCall<T> {
    /// Returns whether the session has given the call up.
    pub(super) fn is_given_up(&self) -> bool {
        self.0.call.lock().progress == CallProgress::GivenUp
    }

    /// Returns the place of the answer.
    pub(super) fn slot(&self) -> AnswerSlot<T> {
        AnswerSlot(Arc::clone(&self.0))
    }
}

impl<T> AnswerSlot<T> {
    /// Leaves the answer for the session. If that has given the call up, the answer is dropped.
    pub(super) fn fill(self, answer: Pending<T>) {
        self.0.call.lock().answer = Some(answer);
    }
}

impl<T> Drop for RunningCall<T> {
    fn drop(&mut self) {
        let mut call = self.0.call.lock();
        let before = std::mem::replace(&mut call.progress, CallProgress::Returned);
        drop(call);
        if before == CallProgress::GivenUp {
            self.0.change(|unanswered| unanswered.late -= 1);
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
        let (mut wait, running) = CallWait::<()>::new(&calls, user, start, start + STALL);
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
            let (mut wait, running) = CallWait::<()>::new(&calls, user, start, start);
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
        let (mut wait, running) = CallWait::<()>::new(&calls, Owner::default(), start, start);
        drop(running);
        assert!(!wait.expire(start + STALL));
        assert_eq!(calls.0.lock().len(), 0);
    }
}
